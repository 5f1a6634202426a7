//! A bounded pool of even ports. A lease gives its port back when dropped, after the sockets that used it.

use super::MediaError;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

/// Ports that something else holds are passed over, so often for one lease.
const MAX_TRIES: usize = 64;

#[derive(Debug)]
struct Pool {
    taken: Vec<bool>,
    cursor: usize,
}

/// The pool; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PortPool {
    range: (u16, u16),
    first: u16,
    pool: Arc<Mutex<Pool>>,
}

/// One even port, ours until dropped.
#[derive(Debug)]
pub(crate) struct PortLease {
    pub port: u16,
    index: usize,
    pool: Arc<Mutex<Pool>>,
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = pool.taken.get_mut(self.index) {
            *taken = false;
        }
    }
}

impl PortPool {
    pub fn new(range: &RangeInclusive<u16>) -> Self {
        let (start, end) = (*range.start(), *range.end());
        let first = start.saturating_add(start % 2);
        // a pair is an even port and the odd one after it, both in the range
        let pairs = (usize::from(end) + 1).saturating_sub(usize::from(first)) / 2;
        Self { range: (start, end), first, pool: Arc::new(Mutex::new(Pool { taken: vec![false; pairs], cursor: 0 })) }
    }

    pub fn in_use(&self) -> usize {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).taken.iter().filter(|taken| **taken).count()
    }

    /// The next free pair, round the range, so a port rests as long as it can before it is used again.
    fn reserve(&self) -> Option<PortLease> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let (pairs, cursor) = (pool.taken.len(), pool.cursor);
        let index = (0..pairs).map(|n| (cursor + n) % pairs).find(|index| pool.taken.get(*index) == Some(&false))?;
        *pool.taken.get_mut(index)? = true;
        pool.cursor = index + 1;
        Some(PortLease { port: self.first + 2 * index as u16, index, pool: Arc::clone(&self.pool) })
    }

    /// Binds RTP and RTCP on a free pair.
    pub fn bind(&self, local: IpAddr) -> Result<(PortLease, UdpSocket, UdpSocket), MediaError> {
        let mut refused = Vec::new(); // kept until the end, so the next try gets another port
        for _ in 0..MAX_TRIES {
            let Some(lease) = self.reserve() else { break };
            let bind = |port| UdpSocket::bind(SocketAddr::new(local, port));
            match bind(lease.port).and_then(|rtp| Ok((rtp, bind(lease.port + 1)?))) {
                Ok((rtp, rtcp)) => return Ok((lease, rtp, rtcp)),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => refused.push((lease, error)),
                Err(error) => return Err(MediaError::Bind(local, error)),
            }
        }
        match refused.pop() {
            Some((_, error)) => Err(MediaError::Bind(local, error)),
            None => Err(MediaError::NoPort(self.range.0, self.range.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_even_bounded_and_come_back() {
        let pool = PortPool::new(&(40_001..=40_006)); // pairs 40002 and 40004; 40006 has no odd one in the range
        let (a, b) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        assert_eq!((a.port, b.port, pool.in_use()), (40_002, 40_004, 2));
        assert!(pool.reserve().is_none());
        drop(a);
        assert_eq!(pool.reserve().unwrap().port, 40_002);
        drop(b);
        assert_eq!(pool.in_use(), 0);
        assert!(matches!(PortPool::new(&(5..=5)).bind([127, 0, 0, 1].into()), Err(MediaError::NoPort(5, 5))));
        assert_eq!(PortPool::new(&(65_534..=65_535)).reserve().unwrap().port, 65_534);
    }

    #[test]
    fn a_port_that_another_program_holds_is_passed_over() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port() & !1;
        let last = port.saturating_add(41);
        let (lease, ..) = PortPool::new(&(port..=last)).bind([127, 0, 0, 1].into()).unwrap();
        assert_ne!(lease.port, port);
    }
}
