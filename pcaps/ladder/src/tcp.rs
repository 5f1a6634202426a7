//! Puts one direction of a TCP connection in order (RFC 9293 §3.4), within bounds.

use std::collections::BTreeMap;

/// A segment further ahead than this belongs to something else (largest window with scaling is 1 GiB, none here comes near).
const AHEAD_OCTETS_MAX: i64 = 16 << 20;
/// Segments that may wait.
const WAITING_SEGMENTS_MAX: usize = 1_024;

/// Where and when a segment was captured.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub at: u64,
    pub frame: u64,
    pub offset: u64,
    pub interface: u32,
}

/// What comes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The next octets.
    Data(&'a [u8], Seen),
    /// Octets are missing here, or another connection begins on the same ports.
    Break,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    /// Sequence number and count of the next octet.
    next: Option<(u32, i64)>,
    first: Option<u32>,
    waiting: BTreeMap<i64, (Vec<u8>, Seen)>,
    waiting_octets: usize,
    pub gaps: u64,
}

impl Direction {
    /// Takes a segment. `syn` is whether it carries that flag; then its data begin one number later.
    pub(crate) fn segment(
        &mut self,
        sequence: u32,
        syn: bool,
        data: &[u8],
        seen: Seen,
        limit: usize,
        out: &mut impl FnMut(Piece<'_>),
    ) {
        if syn {
            if self.first != Some(sequence) {
                if self.next.is_some() {
                    out(Piece::Break);
                }
                *self = Direction { gaps: self.gaps, ..Direction::default() };
                self.first = Some(sequence);
                self.next = Some((sequence.wrapping_add(1), 0));
            }
            if !data.is_empty() {
                self.place(sequence.wrapping_add(1), data, seen, limit, out);
            }
        } else if !data.is_empty() {
            self.place(sequence, data, seen, limit, out);
        }
    }

    fn place(&mut self, sequence: u32, data: &[u8], seen: Seen, limit: usize, out: &mut impl FnMut(Piece<'_>)) {
        let (next, count) = *self.next.get_or_insert((sequence, 0));
        let ahead = i64::from(sequence.wrapping_sub(next) as i32);
        if ahead > AHEAD_OCTETS_MAX {
            return;
        }
        if ahead > 0 {
            let known = self.waiting.get(&(count + ahead)).map_or(0, |(octets, _)| octets.len());
            if data.len() > known {
                self.waiting_octets += data.len() - known;
                self.waiting.insert(count + ahead, (data.to_vec(), seen));
            }
            while self.waiting_octets > limit || self.waiting.len() > WAITING_SEGMENTS_MAX {
                self.skip_gap(out);
            }
            return;
        }
        let Some(fresh) = usize::try_from(-ahead).ok().and_then(|known| data.get(known..)) else { return };
        if fresh.is_empty() {
            return;
        }
        self.advance(fresh, seen, out);
        self.drain(Some(seen), out);
    }

    fn advance(&mut self, octets: &[u8], seen: Seen, out: &mut impl FnMut(Piece<'_>)) {
        if let Some((next, count)) = &mut self.next {
            *next = next.wrapping_add(octets.len() as u32);
            *count += octets.len() as i64;
        }
        out(Piece::Data(octets, seen));
    }

    /// Gives out what waited for this place. What completes a gap is as late as the segment that closed it.
    fn drain(&mut self, closed_by: Option<Seen>, out: &mut impl FnMut(Piece<'_>)) {
        while let Some((_, count)) = self.next {
            let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() <= count) else { return };
            let (at, (octets, seen)) = entry.remove_entry();
            self.waiting_octets -= octets.len();
            if let Some(fresh) = usize::try_from(count - at).ok().and_then(|known| octets.get(known..))
                && !fresh.is_empty()
            {
                let late = closed_by.filter(|closed_by| closed_by.at > seen.at).unwrap_or(seen);
                self.advance(fresh, late, out);
            }
        }
    }

    /// Gives the gap up and goes on behind it.
    fn skip_gap(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        let (Some((next, count)), Some((&at, _))) = (self.next, self.waiting.first_key_value()) else { return };
        self.gaps += 1;
        self.next = Some((next.wrapping_add((at - count) as u32), at));
        out(Piece::Break);
        self.drain(None, out);
    }

    /// Gives out everything that still waits: the capture is over.
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        while !self.waiting.is_empty() {
            self.skip_gap(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEEN: Seen = Seen { at: 0, frame: 0, offset: 0, interface: 0 };

    fn run(segments: &[(u32, bool, &[u8])], limit: usize) -> (Vec<u8>, usize) {
        let (mut direction, mut octets, mut breaks) = (Direction::default(), Vec::new(), 0);
        let mut out = |piece: Piece<'_>| match piece {
            Piece::Data(data, _) => octets.extend_from_slice(data),
            Piece::Break => breaks += 1,
        };
        for (sequence, syn, data) in segments {
            direction.segment(*sequence, *syn, data, SEEN, limit, &mut out);
        }
        direction.finish(&mut out);
        (octets, breaks)
    }

    #[test]
    fn late_repeated_and_overlapping_segments_give_the_stream() {
        let start = u32::MAX - 2; // wraps
        let segments: [(u32, bool, &[u8]); 6] = [
            (start, true, b""),
            (start.wrapping_add(4), false, b"def"),
            (start.wrapping_add(1), false, b"abc"),
            (start.wrapping_add(1), false, b"abc"),
            (start.wrapping_add(3), false, b"cdefgh"),
            (start, true, b""), // the copy that another interface saw
        ];
        assert_eq!(run(&segments, 100), (b"abcdefgh".to_vec(), 0));
    }

    #[test]
    fn a_gap_is_given_up_at_the_limit_and_at_the_end() {
        let segments: [(u32, bool, &[u8]); 3] = [(1, false, b"ab"), (5, false, b"ef"), (7, false, b"gh")];
        assert_eq!(run(&segments, 4), (b"abefgh".to_vec(), 1), "just inside: only the end gives it up");
        assert_eq!(run(&segments, 3), (b"abefgh".to_vec(), 1), "just outside");
        let (mut direction, mut breaks) = (Direction::default(), 0);
        for (sequence, syn, data) in segments {
            direction.segment(sequence, syn, data, SEEN, 4, &mut |piece| breaks += u64::from(piece == Piece::Break));
        }
        assert_eq!((breaks, direction.gaps), (0, 0));
    }

    #[test]
    fn a_new_connection_on_the_same_ports_breaks_the_stream() {
        let segments: [(u32, bool, &[u8]); 4] =
            [(1, true, b""), (2, false, b"a"), (900, true, b""), (901, false, b"b")];
        assert_eq!(run(&segments, 100), (b"ab".to_vec(), 1));
    }

    proptest! {
        #[test]
        fn any_order_of_the_pieces_gives_the_whole(
            octets in proptest::collection::vec(any::<u8>(), 1..200), start: u32,
            cuts in proptest::collection::vec((0usize..200, 1usize..60), 1..40),
        ) {
            let whole = |from: usize, to: usize| (start.wrapping_add(1 + from as u32), false, &octets[from..to]);
            let mut segments = vec![(start, true, &octets[..0])];
            for (from, length) in cuts {
                let from = from % octets.len();
                segments.push(whole(from, (from + length).min(octets.len())));
            }
            segments.push(whole(0, octets.len()));
            prop_assert_eq!(run(&segments, 1 << 20), (octets.clone(), 0));
        }

        #[test]
        fn arbitrary_segments_never_panic(
            segments in proptest::collection::vec((any::<u32>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..50),
        ) {
            let borrowed: Vec<(u32, bool, &[u8])> = segments.iter().map(|(s, syn, d)| (*s, *syn, &d[..])).collect();
            run(&borrowed, 30);
        }
    }
}
