//! A hierarchical timer wheel.
//!
//! Eight levels of 64 slots; a slot of level `l` is 64^l ticks of one millisecond wide, so the wheel spans 2^48 ms. A
//! timer sits at the level of the highest digit (base 64) in which its tick differs from the wheel's: setting and
//! cancelling are O(1), and a timer moves down at most seven times in its life.

use crate::Moment;

const LEVELS: usize = 8;
const SLOTS: usize = 64;
const BITS: u32 = 6;
const NANOS_PER_TICK: u64 = 1_000_000;
/// No entry: end of a list.
const NIL: u32 = u32::MAX;

/// Names one timer that was set. Once it has expired or was cancelled, the name matches nothing any more.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    /// None: free, `next` then chains the free list.
    key: Option<K>,
    deadline: Moment,
    tick: u64,
    level: u8,
    slot: u8,
    generation: u32,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
    /// No timer of this slot is due before this tick. (Not raised by a cancel: at worst the driver wakes once for nothing.)
    earliest_tick: u64,
}

const EMPTY: Slot = Slot { first: NIL, last: NIL, earliest_tick: u64::MAX };

/// Timers with a key each. Holds no clock: [`TimerWheel::pop_expired`] is told the time.
///
/// Resolution is one millisecond, rounded up: a timer never expires early. Timers of the same millisecond expire in an
/// order that depends on the calls made only, so that a run can be repeated.
#[derive(Clone, Debug)]
pub struct TimerWheel<K> {
    entries: Vec<Entry<K>>,
    free: u32,
    len: usize,
    /// The wheel's present tick; nothing in the wheel is due before it.
    now_tick: u64,
    /// Boxed: 8 kB are too much to move about.
    slots: Box<[[Slot; SLOTS]; LEVELS]>,
    /// One bit per slot that holds a timer.
    occupied: [u64; LEVELS],
}

impl<K> TimerWheel<K> {
    /// An empty wheel at [`Moment::ZERO`].
    pub fn new() -> Self {
        TimerWheel {
            entries: Vec::new(),
            free: NIL,
            len: 0,
            now_tick: 0,
            slots: Box::new([[EMPTY; SLOTS]; LEVELS]),
            occupied: [0; LEVELS],
        }
    }

    /// Sets a timer. A deadline that has passed expires at the next [`TimerWheel::pop_expired`]. O(1).
    pub fn insert(&mut self, deadline: Moment, key: K) -> TimerId {
        let tick = deadline.as_nanos().div_ceil(NANOS_PER_TICK);
        let entry =
            Entry { key: Some(key), deadline, tick, level: 0, slot: 0, generation: 0, previous: NIL, next: NIL };
        let index = if self.free == NIL {
            // u32::MAX entries cannot be reached: at 56 bytes or more each they would fill 240 GB
            let index = self.entries.len() as u32;
            self.entries.push(entry);
            index
        } else {
            let index = self.free;
            let place = &mut self.entries[index as usize];
            let generation = place.generation;
            self.free = place.next;
            *place = Entry { generation, ..entry };
            index
        };
        self.len += 1;
        self.link(index);
        TimerId { index, generation: self.entries[index as usize].generation }
    }

    /// Takes a timer back and returns its key; `None` when it has expired or was cancelled before. O(1).
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let entry = self.entries.get(id.index as usize)?;
        if entry.generation != id.generation || entry.key.is_none() {
            return None;
        }
        self.unlink(id.index);
        self.release(id.index).map(|(_, key)| key)
    }

    /// Takes the next timer that is due at `now`: its deadline and key. `None` when no more is due. Call until `None`.
    pub fn pop_expired(&mut self, now: Moment) -> Option<(Moment, K)> {
        let now_tick = now.as_nanos() / NANOS_PER_TICK;
        while let Some((level, slot)) = self.first_slot() {
            let start_tick = self.start_of(level, slot);
            if start_tick > now_tick {
                break;
            }
            self.now_tick = self.now_tick.max(start_tick);
            if level == 0 {
                let index = self.slots[0][slot].first;
                self.unlink(index);
                return self.release(index);
            }
            // the wheel has reached a wide slot: its timers move to narrower ones
            let mut index = std::mem::replace(&mut self.slots[level][slot], EMPTY).first;
            self.occupied[level] &= !(1 << slot);
            while index != NIL {
                let next = self.entries[index as usize].next;
                self.link(index);
                index = next;
            }
        }
        self.now_tick = self.now_tick.max(now_tick);
        None
    }

    /// When to call [`TimerWheel::pop_expired`] next; `None` when no timer is set.
    ///
    /// Never later than the earliest timer. It is earlier only after a cancel of that timer's slot mate.
    pub fn next_deadline(&self) -> Option<Moment> {
        let (level, slot) = self.first_slot()?;
        let tick = if level == 0 { self.start_of(0, slot) } else { self.slots[level][slot].earliest_tick };
        Some(Moment::from_nanos(tick.saturating_mul(NANOS_PER_TICK)))
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The earliest slot that holds a timer. All of a level's timers are due before any of the next level's, because
    /// those differ from the present tick in a higher digit.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of a slot: the present tick's higher digits, the slot's own, zeros.
    fn start_of(&self, level: usize, slot: usize) -> u64 {
        let shift = BITS * level as u32;
        let span = self.now_tick >> (shift + BITS) << (shift + BITS);
        span | (slot as u64) << shift
    }

    fn link(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let tick = entry.tick.max(self.now_tick);
        let difference = tick ^ self.now_tick;
        let level = if difference == 0 { 0 } else { ((63 - difference.leading_zeros()) / BITS) as usize };
        let slot = (tick >> (BITS * level as u32)) as usize % SLOTS;
        let place = &mut self.slots[level][slot];
        entry.level = level as u8;
        entry.slot = slot as u8;
        entry.next = NIL;
        entry.previous = place.last;
        place.earliest_tick = place.earliest_tick.min(tick);
        let last = std::mem::replace(&mut place.last, index);
        if last == NIL {
            place.first = index;
        } else {
            self.entries[last as usize].next = index;
        }
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { level, slot, previous, next, .. } = self.entries[index as usize];
        let place = &mut self.slots[level as usize][slot as usize];
        if previous == NIL {
            place.first = next;
        }
        if next == NIL {
            place.last = previous;
        }
        if place.first == NIL {
            *place = EMPTY;
            self.occupied[level as usize] &= !(1 << slot);
        }
        if previous != NIL {
            self.entries[previous as usize].next = next;
        }
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
    }

    fn release(&mut self, index: u32) -> Option<(Moment, K)> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        entry.key.take().map(|key| (entry.deadline, key))
    }
}

impl<K> Default for TimerWheel<K> {
    fn default() -> Self {
        TimerWheel::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(n: u64) -> Moment {
        Moment::from_millis(n)
    }

    #[test]
    fn expires_in_order_and_never_early() {
        let mut wheel = TimerWheel::new();
        for n in [70_000, 3, 64, 63, 500, 32_000, 1] {
            wheel.insert(millis(n), n);
        }
        assert_eq!(wheel.next_deadline(), Some(millis(1)));
        assert_eq!(wheel.pop_expired(Moment::from_nanos(999_999)), None);
        let mut seen = Vec::new();
        while let Some(at) = wheel.next_deadline() {
            while let Some((deadline, n)) = wheel.pop_expired(at) {
                assert_eq!((deadline, at), (millis(n), millis(n)));
                seen.push(n);
            }
        }
        assert_eq!(seen, [1, 3, 63, 64, 500, 32_000, 70_000]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn part_of_a_millisecond_rounds_up() {
        let mut wheel = TimerWheel::new();
        wheel.insert(Moment::from_nanos(1_000_001), ());
        assert_eq!(wheel.next_deadline(), Some(millis(2)));
        assert_eq!(wheel.pop_expired(millis(1)), None);
        assert_eq!(wheel.pop_expired(millis(2)), Some((Moment::from_nanos(1_000_001), ())));
    }

    #[test]
    fn a_cancelled_id_names_nothing() {
        let mut wheel = TimerWheel::new();
        let first = wheel.insert(millis(5), 'a');
        assert_eq!(wheel.cancel(first), Some('a'));
        assert_eq!(wheel.cancel(first), None);
        let second = wheel.insert(millis(5), 'b');
        assert_eq!(wheel.cancel(first), None, "the place was used again");
        assert_eq!(wheel.pop_expired(millis(5)), Some((millis(5), 'b')));
        assert_eq!(wheel.cancel(second), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn past_and_far_deadlines() {
        let mut wheel = TimerWheel::new();
        assert_eq!(wheel.pop_expired(millis(1_000_000)), None);
        wheel.insert(millis(3), "past");
        wheel.insert(Moment::MAX, "never");
        assert_eq!(wheel.pop_expired(millis(1_000_000)), Some((millis(3), "past")));
        assert_eq!(wheel.pop_expired(Moment::from_seconds(10_000_000_000)), None);
        assert_eq!(wheel.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0u64..5, 0u64..200, 0u64..100_000, 0u64..100_000_000];
        prop_oneof![
            3 => span.clone().prop_map(Step::Insert),
            1 => (0usize..64).prop_map(Step::Cancel),
            2 => span.prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// The wheel against a plain list: same timers, at the same times, in order of their deadlines.
        #[test]
        fn like_a_list(steps in proptest::collection::vec(step(), 1..120)) {
            let mut wheel = TimerWheel::new();
            let mut list: Vec<(u64, usize, TimerId)> = Vec::new();
            let mut now = 0u64;
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(span) => {
                        let id = wheel.insert(millis(now + span), n);
                        list.push((now + span, n, id));
                    }
                    Step::Cancel(at) if at < list.len() => {
                        let (_, key, id) = list.remove(at);
                        prop_assert_eq!(wheel.cancel(id), Some(key));
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(span) => {
                        now += span;
                        let mut latest = Moment::ZERO;
                        while let Some((deadline, key)) = wheel.pop_expired(millis(now)) {
                            prop_assert!(deadline >= latest);
                            latest = deadline;
                            let at = list.iter().position(|entry| entry.1 == key);
                            prop_assert!(at.is_some());
                            prop_assert_eq!(millis(list.remove(at.unwrap()).0), deadline);
                        }
                        prop_assert!(list.iter().all(|entry| entry.0 > now));
                    }
                }
                prop_assert_eq!(wheel.len(), list.len());
                let earliest = list.iter().map(|entry| millis(entry.0)).min();
                prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
                prop_assert!(wheel.next_deadline() <= earliest);
            }
        }
    }
}
