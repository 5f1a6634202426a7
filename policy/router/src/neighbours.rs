//! Ethernet addresses of neighbours (RFC 826): asked for, remembered, refreshed, and given up; with a bounded queue of
//! what waits for an answer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use strowger_clock::Moment;

/// Most neighbours.
pub(crate) const NEIGHBOURS_MAXIMUM: usize = 1_024;
/// Packets that may wait for one neighbour.
pub(crate) const PENDING_PER_NEIGHBOUR: usize = 8;
/// Packets that may wait for all.
pub(crate) const PENDING_MAXIMUM: usize = 64;
/// Requests before a neighbour is given up, one a second (RFC 1122 §2.3.2.1).
const TRIES: u32 = 3;
const TRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer is believed without asking again.
const LIFETIME: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum State {
    /// Known; asked again when used after `until`.
    Known { mac: [u8; 6], until: Moment },
    /// Known, but asking again.
    Refreshing { mac: [u8; 6], tries: u32, next: Moment },
    /// Asking.
    Asking { tries: u32, next: Moment },
}

#[derive(Debug)]
struct Neighbour<T> {
    state: State,
    pending: Vec<T>,
}

/// What to do with a packet for a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Send to this address.
    Known([u8; 6]),
    /// Keep it with [`Neighbours::wait`].
    Unknown,
    /// There is no room for another neighbour.
    Full,
}

/// The table, for packets `T` that wait.
#[derive(Debug)]
pub(crate) struct Neighbours<T> {
    table: BTreeMap<(usize, Ipv4Addr), Neighbour<T>>,
    waiting: usize,
    requests: Vec<(usize, Ipv4Addr)>,
}

impl<T> Neighbours<T> {
    pub(crate) fn new() -> Self {
        Self { table: BTreeMap::new(), waiting: 0, requests: Vec::new() }
    }

    /// The address of `neighbour` at `port`; asks for it when it is not known or old.
    pub(crate) fn resolve(&mut self, now: Moment, port: usize, neighbour: Ipv4Addr) -> Resolution {
        if let Some(entry) = self.table.get_mut(&(port, neighbour)) {
            return match entry.state {
                State::Known { mac, until } => {
                    if now >= until {
                        entry.state = State::Refreshing { mac, tries: 1, next: now + TRY_INTERVAL };
                        self.requests.push((port, neighbour));
                    }
                    Resolution::Known(mac)
                }
                State::Refreshing { mac, .. } => Resolution::Known(mac),
                State::Asking { .. } => Resolution::Unknown,
            };
        }
        if !self.make_room(now) {
            return Resolution::Full;
        }
        let state = State::Asking { tries: 1, next: now + TRY_INTERVAL };
        self.table.insert((port, neighbour), Neighbour { state, pending: Vec::new() });
        self.requests.push((port, neighbour));
        Resolution::Unknown
    }

    /// In a full table, a neighbour that was not used since its answer grew old gives way.
    fn make_room(&mut self, now: Moment) -> bool {
        if self.table.len() < NEIGHBOURS_MAXIMUM {
            return true;
        }
        let old = self.table.iter().find(|(_, n)| matches!(n.state, State::Known { until, .. } if until <= now));
        match old.map(|(key, _)| *key) {
            Some(key) => self.table.remove(&key).is_some(),
            None => false,
        }
    }

    /// Keeps a packet until the neighbour answers.
    ///
    /// # Errors
    /// The packet, when too many wait already.
    pub(crate) fn wait(&mut self, port: usize, neighbour: Ipv4Addr, packet: T) -> Result<(), T> {
        match self.table.get_mut(&(port, neighbour)) {
            Some(entry) if entry.pending.len() < PENDING_PER_NEIGHBOUR && self.waiting < PENDING_MAXIMUM => {
                entry.pending.push(packet);
                self.waiting += 1;
                Ok(())
            }
            _ => Err(packet),
        }
    }

    /// A neighbour named its address; returns what waited for it. One never asked for is taken in only when it asks for
    /// the router (`asked_us`): others could fill the table.
    pub(crate) fn learn(
        &mut self,
        now: Moment,
        port: usize,
        neighbour: Ipv4Addr,
        mac: [u8; 6],
        asked_us: bool,
    ) -> Vec<T> {
        let state = State::Known { mac, until: now + LIFETIME };
        match self.table.get_mut(&(port, neighbour)) {
            Some(entry) => {
                entry.state = state;
                self.waiting -= entry.pending.len();
                std::mem::take(&mut entry.pending)
            }
            None => {
                if asked_us && self.make_room(now) {
                    self.table.insert((port, neighbour), Neighbour { state, pending: Vec::new() });
                }
                Vec::new()
            }
        }
    }

    /// Asks again, or gives up; returns the packets that waited in vain.
    pub(crate) fn timeout(&mut self, now: Moment) -> Vec<T> {
        let (mut given_up, mut lost) = (Vec::new(), Vec::new());
        for (key, entry) in &mut self.table {
            let (tries, next) = match &mut entry.state {
                State::Refreshing { tries, next, .. } | State::Asking { tries, next } => (tries, next),
                State::Known { .. } => continue,
            };
            if now < *next {
                continue;
            }
            if *tries >= TRIES {
                given_up.push(*key);
            } else {
                *tries += 1;
                *next = now + TRY_INTERVAL;
                self.requests.push(*key);
            }
        }
        for key in given_up {
            if let Some(entry) = self.table.remove(&key) {
                self.waiting -= entry.pending.len();
                lost.extend(entry.pending);
            }
        }
        lost
    }

    /// When [`Neighbours::timeout`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.table
            .values()
            .filter_map(|entry| match entry.state {
                State::Refreshing { next, .. } | State::Asking { next, .. } => Some(next),
                State::Known { .. } => None,
            })
            .min()
    }

    /// The next request to send, as (port, address asked for).
    pub(crate) fn poll_request(&mut self) -> Option<(usize, Ipv4Addr)> {
        self.requests.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn requests(n: &mut Neighbours<u32>) -> usize {
        std::iter::from_fn(|| n.poll_request()).count()
    }

    #[test]
    fn packets_wait_for_the_answer_in_order() {
        let mut n = Neighbours::new();
        for packet in 0..3 {
            assert_eq!(n.resolve(at(0), 1, A), Resolution::Unknown);
            n.wait(1, A, packet).unwrap();
        }
        assert_eq!(requests(&mut n), 1, "one request, however many packets");
        assert_eq!(n.learn(at(1), 0, A, MAC, false), [], "another port");
        assert_eq!(n.learn(at(1), 1, A, MAC, false), [0, 1, 2]);
        assert_eq!(n.resolve(at(2), 1, A), Resolution::Known(MAC));
        assert_eq!((n.waiting, n.next_deadline(), requests(&mut n)), (0, None, 0));
    }

    #[test]
    fn a_silent_neighbour_is_given_up_after_three_requests() {
        let mut n = Neighbours::new();
        n.resolve(at(0), 0, A);
        n.wait(0, A, 7).unwrap();
        let mut asked = requests(&mut n);
        while let Some(deadline) = n.next_deadline() {
            let lost = n.timeout(deadline);
            asked += requests(&mut n);
            assert_eq!(lost, if deadline == at(3) { vec![7] } else { vec![] });
        }
        assert_eq!((asked, n.waiting), (3, 0));
    }

    #[test]
    fn an_old_answer_is_used_while_it_is_refreshed_and_dropped_when_that_fails() {
        let mut n = Neighbours::<u32>::new();
        n.learn(at(0), 0, A, MAC, true);
        assert_eq!((n.resolve(at(59), 0, A), requests(&mut n)), (Resolution::Known(MAC), 0));
        assert_eq!((n.resolve(at(60), 0, A), requests(&mut n)), (Resolution::Known(MAC), 1));
        while let Some(deadline) = n.next_deadline() {
            n.timeout(deadline);
        }
        assert_eq!(n.resolve(at(64), 0, A), Resolution::Unknown);
    }

    #[test]
    fn every_limit_holds_the_last_and_refuses_one_more() {
        let mut n = Neighbours::new();
        let address = |i: usize| Ipv4Addr::from(i as u32);
        for i in 0..NEIGHBOURS_MAXIMUM {
            assert_eq!(n.resolve(at(0), 0, address(i)), Resolution::Unknown);
        }
        assert_eq!(n.resolve(at(0), 0, address(NEIGHBOURS_MAXIMUM)), Resolution::Full);
        for i in 0..PENDING_PER_NEIGHBOUR {
            n.wait(0, address(0), i).unwrap();
        }
        assert_eq!(n.wait(0, address(0), 99), Err(99));
        for i in PENDING_PER_NEIGHBOUR..PENDING_MAXIMUM {
            n.wait(0, address(i), i).unwrap();
        }
        assert_eq!(n.wait(0, address(1), 99), Err(99));
        n.learn(at(0), 0, address(5), MAC, false);
        assert_eq!(n.resolve(at(70), 0, address(9_999)), Resolution::Unknown, "an old one gave way");
    }

    #[test]
    fn a_stranger_is_remembered_only_when_it_asks_for_us() {
        let mut n = Neighbours::<u32>::new();
        n.learn(at(0), 0, A, MAC, false);
        assert!(n.table.is_empty());
        n.learn(at(0), 0, A, MAC, true);
        assert_eq!(n.resolve(at(0), 0, A), Resolution::Known(MAC));
    }
}
