//! The queues of one outgoing interface: expedited first but policed, the others by weighted deficit round robin, early
//! random drop by drop precedence in the assured ones, tail drop in all.

use std::collections::VecDeque;

use strowger_clock::{Moment, Random};

use crate::datapath::DropReason;
use crate::dscp::QueueClass;
use crate::meter::{Colour, TokenBucket};

const CLASSES: usize = QueueClass::ALL.len();
/// Octets that a weight of one may send in its turn: a full Ethernet frame.
const QUANTUM_OCTETS: i64 = 1_600;
/// Weights of the classes after expedited, in the order of [`QueueClass::ALL`].
const WEIGHTS: [i64; CLASSES] = [0, 4, 8, 4, 3, 2, 2];
/// The average queue length moves by this part of the difference with every packet, as a shift.
const AVERAGE_SHIFT: u32 = 4;
/// Fixed-point bits of the average.
const AVERAGE_FRACTION: u32 = 8;

/// Sizes and rates of the queues.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Rate of the link in kbit/s; `None` sends at once whatever the transmit ring takes.
    pub link_kbps: Option<u32>,
    /// Most that expedited forwarding may use, in kbit/s; `None` for no limit beyond each flow's own meter.
    pub expedited_kbps: Option<u32>,
    /// Burst of the expedited limit in octets.
    pub expedited_burst_octets: u32,
    /// Packets that may wait in each queue.
    pub queue_maximum: usize,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self { link_kbps: None, expedited_kbps: None, expedited_burst_octets: 32_000, queue_maximum: 128 }
    }
}

/// What went through one queue.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassCounters {
    /// Packets sent on.
    pub packets: u64,
    /// Octets sent on.
    pub octets: u64,
    /// Packets dropped here.
    pub dropped: u64,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<(usize, T)>,
    deficit: i64,
    /// Average length in packets, with [`AVERAGE_FRACTION`] bits.
    average: u64,
    counters: ClassCounters,
}

/// Holds packets `T` (frame handles) until it is their turn.
#[derive(Debug)]
pub struct Scheduler<T> {
    config: SchedulerConfig,
    queues: [Queue<T>; CLASSES],
    /// The class whose turn it is among those that share.
    turn: usize,
    link: Option<TokenBucket>,
    expedited: Option<TokenBucket>,
    random: Random,
    waiting: usize,
}

impl<T> Scheduler<T> {
    /// Empty queues.
    pub fn new(config: SchedulerConfig, random: Random) -> Self {
        let queue = || Queue { items: VecDeque::new(), deficit: 0, average: 0, counters: ClassCounters::default() };
        Self {
            queues: std::array::from_fn(|_| queue()),
            turn: 1,
            // a burst of two frames: enough to keep the link busy between two looks at the clock
            link: config.link_kbps.map(|kbps| TokenBucket::from_kbps(kbps, 2 * QUANTUM_OCTETS as u32)),
            expedited: config.expedited_kbps.map(|kbps| TokenBucket::from_kbps(kbps, config.expedited_burst_octets)),
            config,
            random,
            waiting: 0,
        }
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// What went through a queue.
    pub fn counters(&self, class: QueueClass) -> ClassCounters {
        self.queues[class.index()].counters
    }

    /// Takes a packet in.
    ///
    /// # Errors
    /// The packet, with the reason why it must be dropped.
    pub fn enqueue(
        &mut self,
        now: Moment,
        class: QueueClass,
        colour: Colour,
        octets: usize,
        item: T,
    ) -> Result<(), (T, DropReason)> {
        let reason = self.refusal(now, class, colour, octets);
        let queue = &mut self.queues[class.index()];
        match reason {
            Some(reason) => {
                queue.counters.dropped += 1;
                Err((item, reason))
            }
            None => {
                queue.items.push_back((octets, item));
                self.waiting += 1;
                Ok(())
            }
        }
    }

    fn refusal(&mut self, now: Moment, class: QueueClass, colour: Colour, octets: usize) -> Option<DropReason> {
        let most = self.config.queue_maximum;
        let queue = &mut self.queues[class.index()];
        let length = queue.items.len();
        if length >= most {
            return Some(DropReason::QueueFull);
        }
        match class {
            QueueClass::Expedited => {
                // strict priority without a limit would let a flood starve signalling (RFC 3246 §2.8)
                let within = self.expedited.as_mut().is_none_or(|bucket| bucket.take(now, octets));
                (!within).then_some(DropReason::ExpeditedLimit)
            }
            QueueClass::Assured1 | QueueClass::Assured2 | QueueClass::Assured3 | QueueClass::Assured4 => {
                let length = (length as u64) << AVERAGE_FRACTION;
                queue.average = if length == 0 {
                    queue.average / 2
                } else {
                    queue.average + (length >> AVERAGE_SHIFT) - (queue.average >> AVERAGE_SHIFT)
                };
                early(queue.average >> AVERAGE_FRACTION, most as u64, colour, &mut self.random)
                    .then_some(DropReason::EarlyRandom)
            }
            QueueClass::Signalling | QueueClass::BestEffort => None,
        }
    }

    /// The next packet to send, if the link has room for it now.
    pub fn dequeue(&mut self, now: Moment) -> Option<T> {
        if self.waiting == 0 {
            return None;
        }
        let chosen = if self.queues[0].items.is_empty() { self.choose() } else { 0 };
        let octets = self.queues[chosen].items.front()?.0;
        if let Some(link) = &mut self.link
            && !link.take(now, octets)
        {
            return None;
        }
        let queue = &mut self.queues[chosen];
        let (octets, item) = queue.items.pop_front()?;
        queue.counters.packets += 1;
        queue.counters.octets += octets as u64;
        if chosen > 0 {
            queue.deficit -= octets as i64;
            if queue.items.is_empty() {
                queue.deficit = 0;
            }
        }
        self.waiting -= 1;
        Some(item)
    }

    /// The shared class that may send its first packet: deficit round robin.
    fn choose(&mut self) -> usize {
        loop {
            let queue = &mut self.queues[self.turn];
            if let Some((octets, _)) = queue.items.front() {
                if queue.deficit >= *octets as i64 {
                    return self.turn;
                }
                // its turn is over; it comes back with a fresh share
                queue.deficit += WEIGHTS[self.turn] * QUANTUM_OCTETS;
                if queue.deficit >= *octets as i64 && self.only(self.turn) {
                    return self.turn;
                }
            }
            self.turn = if self.turn + 1 < CLASSES { self.turn + 1 } else { 1 };
        }
    }

    fn only(&self, class: usize) -> bool {
        self.queues.iter().enumerate().all(|(i, queue)| i == class || queue.items.is_empty())
    }

    /// When [`Scheduler::dequeue`] is worth calling again after it returned none; `None` when nothing waits.
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.waiting == 0 {
            return None;
        }
        let octets = self.queues.iter().filter_map(|queue| queue.items.front()).map(|(octets, _)| *octets).min()?;
        match &self.link {
            Some(link) => link.ready_at(octets),
            None => Some(Moment::ZERO),
        }
    }

    /// Takes everything out, unsent.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting = 0;
        self.queues.iter_mut().flat_map(|queue| queue.items.drain(..)).map(|(_, item)| item)
    }
}

/// Weighted random early drop: nothing below the lower threshold, everything above the upper one, a rising share between;
/// thresholds and share by drop precedence (the higher ones go first, RFC 2597 §2).
fn early(average: u64, most: u64, colour: Colour, random: &mut Random) -> bool {
    let (low, high, share_per_mille) = match colour {
        Colour::Green => (most * 3 / 4, most, 50),
        Colour::Yellow => (most / 2, most * 3 / 4, 100),
        Colour::Red => (most / 4, most / 2, 200),
    };
    if average < low {
        false
    } else if average >= high {
        true
    } else {
        random.below((high - low) * 1000) < (average - low) * share_per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use QueueClass::{Assured1, Assured4, BestEffort, Expedited, Signalling};

    fn scheduler(config: SchedulerConfig) -> Scheduler<QueueClass> {
        Scheduler::new(config, Random::from_seed(1))
    }

    fn put(scheduler: &mut Scheduler<QueueClass>, class: QueueClass, octets: usize) -> Result<(), DropReason> {
        scheduler.enqueue(Moment::ZERO, class, Colour::Green, octets, class).map_err(|(_, reason)| reason)
    }

    #[test]
    fn expedited_goes_first_and_the_others_share_by_weight() {
        let mut s = scheduler(SchedulerConfig::default());
        for _ in 0..100 {
            for class in [BestEffort, Assured4, Signalling] {
                put(&mut s, class, 1_600).unwrap();
            }
        }
        for _ in 0..5 {
            put(&mut s, Expedited, 200).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| s.dequeue(Moment::ZERO)).collect();
        assert_eq!(order[..5], [Expedited; 5]);
        assert_eq!(order.len(), 305);
        let in_first = |class| order[5..75].iter().filter(|c| **c == class).count();
        // weights 4, 8, 2: seventy packets are five rounds
        assert_eq!((in_first(Signalling), in_first(Assured4), in_first(BestEffort)), (20, 40, 10));
        assert!(s.is_empty());
    }

    #[test]
    fn an_expedited_flood_is_policed_and_signalling_gets_through() {
        let config = SchedulerConfig {
            link_kbps: Some(8_000), // one octet a microsecond
            expedited_kbps: Some(4_000),
            expedited_burst_octets: 3_000,
            ..SchedulerConfig::default()
        };
        let mut s = scheduler(config);
        let mut signalling = 0;
        for micros in (0..1_000_000u64).step_by(500) {
            let now = Moment::from_nanos(micros * 1000);
            // twice the link's rate in EF, a tenth of it in signalling
            let _ = s.enqueue(now, Expedited, Colour::Green, 1_000, Expedited);
            if micros % 10_000 == 0 {
                s.enqueue(now, Signalling, Colour::Green, 1_000, Signalling).unwrap();
            }
            while let Some(class) = s.dequeue(now) {
                signalling += usize::from(class == Signalling);
            }
        }
        assert!(signalling >= 99, "{signalling}");
        let ef = s.counters(Expedited);
        assert!((500_000..=504_000).contains(&ef.octets), "{ef:?}");
        assert!(ef.dropped > 1_400);
    }

    #[test]
    fn the_last_place_is_filled_and_one_more_packet_is_dropped() {
        let config = SchedulerConfig { queue_maximum: 3, ..SchedulerConfig::default() };
        let mut s = scheduler(config);
        for class in [Expedited, BestEffort] {
            for _ in 0..3 {
                put(&mut s, class, 100).unwrap();
            }
            assert_eq!(put(&mut s, class, 100), Err(DropReason::QueueFull));
        }
        assert_eq!(s.drain().count(), 6);
        assert_eq!(s.len(), 0);
    }

    #[test]
    fn the_link_rate_paces_and_says_when_to_come_back() {
        let mut s = scheduler(SchedulerConfig { link_kbps: Some(8), ..SchedulerConfig::default() }); // one octet a millisecond
        for _ in 0..3 {
            put(&mut s, BestEffort, 1_600).unwrap();
        }
        assert!(s.dequeue(Moment::ZERO).is_some() && s.dequeue(Moment::ZERO).is_some());
        assert!(s.dequeue(Moment::ZERO).is_none());
        assert_eq!(s.next_deadline(), Some(Moment::from_millis(1_600)));
        assert!(s.dequeue(Moment::from_millis(1_599)).is_none());
        assert!(s.dequeue(Moment::from_millis(1_600)).is_some());
        assert_eq!(s.next_deadline(), None);
    }

    #[test]
    fn early_drop_takes_the_higher_precedences_first() {
        let mut s = scheduler(SchedulerConfig { queue_maximum: 100, ..SchedulerConfig::default() });
        let mut dropped = [0; 3];
        // the queue is kept about two fifths full for long
        for n in 0..9_000 {
            let colour = [Colour::Green, Colour::Yellow, Colour::Red][n % 3];
            if s.enqueue(Moment::ZERO, Assured1, colour, 100, Assured1).is_err() {
                dropped[n % 3] += 1;
            }
            while s.len() > 40 {
                s.dequeue(Moment::ZERO);
            }
        }
        assert_eq!((dropped[0], dropped[1]), (0, 0));
        assert!((200..700).contains(&dropped[2]), "{dropped:?}");
    }
}
