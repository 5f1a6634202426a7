//! ICMP that a router says (RFC 792, RFC 1812 §4.3): time exceeded, unreachable, fragmentation needed, and echo replies.

use std::net::Ipv4Addr;

use strowger_packet::frames::internet_checksum;

/// Why a packet could not be carried, for its sender.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No hops left.
    TimeExceeded,
    /// No route.
    NetUnreachable,
    /// The next hop does not answer.
    HostUnreachable,
    /// Longer than the next link carries, and not to be cut; with what it carries.
    FragmentationNeeded(u16),
}

/// Octets of the IPv4 header that is written, without options.
const HEADER_OCTETS: usize = 20;
/// Octets of the offending packet that go back: its header and the first eight of its payload.
const QUOTE_MAXIMUM: usize = 60 + 8;
/// Internetwork control (CS6), as RFC 1812 §4.3.2.5 asks for.
const TOS: u8 = 0xc0;

/// The error message from `source` about the packet `offending`; `None` when RFC 1122 §3.2.2 forbids one.
pub(crate) fn error(problem: Problem, source: Ipv4Addr, offending: &[u8]) -> Option<Vec<u8>> {
    let fixed: &[u8; HEADER_OCTETS] = offending.first_chunk()?;
    let header_octets = usize::from(fixed[0] & 15) * 4;
    let to = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    let destination = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    let later_piece = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0;
    // about ICMP only when it is a question: errors about errors would never end
    let about_error = fixed[9] == 1 && !matches!(offending.get(header_octets), Some(0 | 8 | 13 | 14));
    let no_host = to.is_unspecified() || to.is_broadcast() || to.is_multicast() || to.is_loopback();
    if later_piece || about_error || no_host || destination.is_broadcast() || destination.is_multicast() {
        return None;
    }
    let (kind, code, extra) = match problem {
        Problem::TimeExceeded => (11, 0, 0),
        Problem::NetUnreachable => (3, 0, 0),
        Problem::HostUnreachable => (3, 1, 0),
        Problem::FragmentationNeeded(mtu) => (3, 4, u32::from(mtu)),
    };
    let quote = offending.get(..(header_octets + 8).min(QUOTE_MAXIMUM).min(offending.len()))?;
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&extra.to_be_bytes());
    message.extend_from_slice(quote);
    packet(source, to, &mut message)
}

/// The answer to an echo request `request`, an IPv4 packet to `local`; `None` for anything else.
pub(crate) fn echo_reply(local: Ipv4Addr, request: &[u8]) -> Option<Vec<u8>> {
    let fixed: &[u8; HEADER_OCTETS] = request.first_chunk()?;
    let octets = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let whole = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff == 0;
    let question = request.get(usize::from(fixed[0] & 15) * 4..octets)?;
    if fixed[9] != 1 || !whole || question.first_chunk() != Some(&[8, 0]) || internet_checksum(question) != 0 {
        return None;
    }
    let mut answer = question.to_vec();
    answer.get_mut(..4)?.fill(0);
    packet(local, Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]), &mut answer)
}

fn packet(source: Ipv4Addr, destination: Ipv4Addr, message: &mut [u8]) -> Option<Vec<u8>> {
    let sum = internet_checksum(message);
    message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    let total = u16::try_from(HEADER_OCTETS + message.len()).ok()?;
    let mut octets = vec![0x45, TOS];
    octets.extend_from_slice(&total.to_be_bytes());
    octets.extend_from_slice(&[0, 0, 0, 0, 64, 1, 0, 0]);
    octets.extend_from_slice(&source.octets());
    octets.extend_from_slice(&destination.octets());
    let sum = internet_checksum(&octets);
    octets.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    octets.extend_from_slice(message);
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strowger_packet::frames::UdpPacketSpec;

    fn udp() -> Vec<u8> {
        let at = |last, port| std::net::SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port);
        UdpPacketSpec { source: at(1, 5), destination: at(2, 6), tos: 0, ttl: 1, payload: &[7; 30] }
            .to_ip_packet()
            .unwrap()
    }

    #[test]
    fn an_error_quotes_the_packet_and_has_both_checksums() {
        let message = error(Problem::FragmentationNeeded(1400), Ipv4Addr::new(9, 9, 9, 9), &udp()).unwrap();
        assert_eq!(message.len(), 20 + 8 + 28);
        assert_eq!((internet_checksum(&message[..20]), internet_checksum(&message[20..])), (0, 0));
        assert_eq!(message[20..28], [3, 4, message[22], message[23], 0, 0, 0x05, 0x78]);
        assert_eq!(message[28..], udp()[..28]);
        assert_eq!((&message[12..16], &message[16..20]), (&[9, 9, 9, 9][..], &[10, 0, 0, 1][..]));
        assert_eq!(error(Problem::TimeExceeded, Ipv4Addr::LOCALHOST, &message), None, "no error about an error");
    }

    #[test]
    fn an_echo_request_is_answered_with_its_data() {
        let mut question = vec![8, 0, 0, 0, 1, 2, 3, 4, 5];
        let request = packet(Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(2, 2, 2, 2), &mut question).unwrap();
        let reply = echo_reply(Ipv4Addr::new(2, 2, 2, 2), &request).unwrap();
        assert_eq!(internet_checksum(&reply[20..]), 0);
        assert_eq!((reply[20], &reply[24..], &reply[16..20]), (0, &[1, 2, 3, 4, 5][..], &[1, 1, 1, 1][..]));
        assert_eq!(echo_reply(Ipv4Addr::new(2, 2, 2, 2), &udp()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_do_no_harm(octets in proptest::collection::vec(any::<u8>(), 0..90)) {
            let _ = (error(Problem::NetUnreachable, Ipv4Addr::LOCALHOST, &octets), echo_reply(Ipv4Addr::LOCALHOST, &octets));
        }
    }
}
