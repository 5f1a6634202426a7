use strowger_ladder::{Capture, Names, Reader, link_type};

use crate::call::{Wires, names, socket, whole_call};
use crate::wire::{self, ETHERNET, Pcapng, RAW, START, Tcp};

const INVITE: &str = "INVITE sip:bob@b.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
    From: <sip:alice@a.test>;tag=1\r\nTo: <sip:bob@b.test>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

fn read(bytes: &[u8]) -> Capture {
    Capture::read(bytes, &Names::new()).unwrap()
}

#[test]
fn the_classic_format_is_read_in_both_orders_and_both_resolutions() {
    let packet = wire::udp(&socket("10.0.0.1:5060"), &socket("10.0.0.2:5060"), 0, 64, INVITE.as_bytes());
    for (nanos, big_endian) in [(false, false), (false, true), (true, false), (true, true)] {
        let frame = wire::ethernet(&packet, 5);
        let capture = read(&wire::pcap(ETHERNET, nanos, big_endian, &[(START + 1_000, frame)]));
        assert_eq!((capture.summary().format.as_str(), capture.summary().trouble_count), ("pcap", 0));
        assert_eq!(capture.calls()[0].started_unix_nanos, START + 1_000);
    }
}

#[test]
fn interfaces_have_their_own_resolution_and_unknown_blocks_are_stepped_over() {
    let packet = wire::udp(&socket("10.0.0.1:5060"), &socket("10.0.0.2:5060"), 0, 64, INVITE.as_bytes());
    let mut file = Pcapng::new(true);
    file.interface("micros", RAW, 6);
    file.interface("binary", RAW, 0x80 | 10);
    file.block(4, &[0; 16]); // name resolution
    file.block(0x0000_0bad, &[1; 70_000]);
    file.block(5, &[0; 12]); // statistics
    file.packet(0, START / 1_000, 0, &packet);
    file.packet(1, (START / 1_000_000_000) * 1_024 + 512, 0, &packet);
    let mut reader = Reader::new(&file.bytes[..]).unwrap();
    let times: Vec<u64> = std::iter::from_fn(|| reader.next().map(|packet| packet.at_unix_nanos)).collect();
    assert_eq!(times, [START, START + 500_000_000]);
    assert_eq!(reader.interface_names(), ["micros", "binary"]);
    assert_eq!((reader.troubles().len(), reader.offset()), (0, file.bytes.len() as u64));
}

#[test]
fn a_second_section_has_its_own_interfaces_and_byte_order() {
    let packet = wire::udp(&socket("10.0.0.1:5060"), &socket("10.0.0.2:5060"), 0, 64, INVITE.as_bytes());
    let (mut first, mut second) = (Pcapng::new(true), Pcapng::new(false));
    first.interface("a", RAW, 9);
    second.interface("b", ETHERNET, 9);
    second.packet(0, START, 0, &wire::ethernet(&packet, 0));
    let both = [first.bytes, second.bytes].concat();
    let mut reader = Reader::new(&both[..]).unwrap();
    let found = reader.next().map(|packet| (packet.interface, packet.link_type));
    assert_eq!(found, Some((1, link_type::ETHERNET)));
    assert_eq!(read(&both).calls().len(), 1);
}

#[test]
fn a_cut_file_gives_what_is_whole_and_where_it_stops() {
    let whole = whole_call().pcapng(false);
    let full = Capture::read(&whole[..], &names()).unwrap();
    for cut in [whole.len() - 1, whole.len() - 50, whole.len() / 2, 300] {
        let capture = Capture::read(&whole[..cut], &names()).unwrap();
        assert!(capture.summary().packets <= full.summary().packets);
        let [trouble] = &capture.summary().troubles[..] else { panic!("{:?}", capture.summary().troubles) };
        assert!(trouble.what.contains("ends inside"), "{trouble:?}");
        assert!(trouble.offset < cut as u64 && trouble.offset + 70_000 > cut as u64);
    }
}

#[test]
fn a_broken_block_length_stops_the_reading_there() {
    let whole = whole_call().pcapng(false);
    let mut reader = Reader::new(&whole[..]).unwrap();
    let offset = std::iter::from_fn(|| reader.next().map(|packet| packet.offset)).nth(50).unwrap() as usize;
    let mut broken = whole.clone();
    broken[offset + 4..offset + 8].copy_from_slice(&7u32.to_le_bytes());
    let capture = read(&broken);
    assert_eq!(capture.summary().packets, 50);
    assert_eq!((capture.summary().troubles[0].offset, capture.summary().trouble_count), (offset as u64, 1));
}

#[test]
fn malformed_messages_are_counted_with_their_offsets_and_the_rest_is_read() {
    let (from, to) = (socket("10.0.0.1:5060"), socket("10.0.0.2:5060"));
    let bad = wire::udp(&from, &to, 0, 64, b"INVITE sip:bob@b.test SIP/2.0\r\nVia\r\n\r\n");
    let good = wire::udp(&from, &to, 0, 64, INVITE.as_bytes());
    let capture = read(&wire::pcap(RAW, true, false, &[(START, bad), (START, vec![0x45; 10]), (START + 1, good)]));
    let troubles = &capture.summary().troubles;
    assert_eq!((capture.calls().len(), capture.summary().trouble_count), (1, 2));
    assert_eq!((troubles[0].offset, troubles[0].frame), (24, 1));
    assert!(troubles[0].what.starts_with("SIP: ") && troubles[1].what.contains("IPv4"), "{troubles:?}");
}

#[test]
fn what_is_no_capture_is_an_error() {
    for bytes in [&b""[..], b"\x0a\x0d", b"PK\x03\x04abcdefgh", b"<html>"] {
        let error = Capture::read(bytes, &Names::new()).unwrap_err();
        assert!(error.to_string().contains("neither a pcap nor a pcapng"), "{error}");
    }
}

#[test]
fn fragments_of_a_datagram_make_one_message() {
    let (from, to) = (socket("10.0.0.1:5060"), socket("10.0.0.2:5060"));
    let long = INVITE.replace("Max-Forwards", &format!("Subject: {}\r\nMax-Forwards", "x".repeat(3_000)));
    let datagram = wire::udp_segment(&from, &to, long.as_bytes());
    let pieces: Vec<&[u8]> = datagram.chunks(1_480).collect();
    assert_eq!(pieces.len(), 3);
    let packets: Vec<(u64, Vec<u8>)> = [2, 0, 1]
        .iter()
        .map(|&n| (START, wire::fragment(&from, &to, 17, 0, 64, (77, n * 1_480, n < 2), pieces[n])))
        .collect();
    let capture = read(&wire::pcap(RAW, true, false, &packets));
    assert_eq!((capture.calls().len(), capture.calls()[0].events[0].frame), (1, 3));
}

#[test]
fn sip_over_tcp_is_followed_through_late_and_repeated_segments() {
    let mut connection = Tcp::new(socket("10.0.0.1:40000"), socket("10.0.0.2:5060"));
    let mut segments = connection.open();
    let mut data = connection.send(true, format!("\r\n\r\n{INVITE}").as_bytes(), 20);
    data.swap(1, 4);
    data.swap(6, 2);
    data.insert(5, data[0].clone());
    segments.extend(data);
    let ringing = INVITE
        .replace("INVITE sip:bob@b.test SIP/2.0", "SIP/2.0 180 Ringing")
        .replace("bob@b.test>", "bob@b.test>;tag=2");
    segments.extend(connection.send(false, ringing.as_bytes(), 100));
    let packets: Vec<_> = segments.into_iter().enumerate().map(|(n, s)| (START + n as u64, s)).collect();
    let capture = read(&wire::pcap(RAW, true, false, &packets));
    let call = &capture.calls()[0];
    let labels: Vec<&str> = call.events.iter().map(|event| event.label.as_str()).collect();
    assert_eq!(labels, ["INVITE sip:bob@b.test", "180 Ringing"]);
    assert_eq!(call.parties.len(), 2, "the client's own port is the phone of the Via: {:?}", call.parties);
}

#[test]
fn a_second_call_id_behind_the_same_element_is_a_further_leg() {
    let (phone, middle, far) = (socket("10.0.0.1:5060"), socket("10.0.0.2:5060"), socket("10.0.0.3:5060"));
    let other = INVITE.replace("c1", "c2").replace("10.0.0.1", "10.0.0.2");
    let unrelated = INVITE.replace("c1", "c3").replace("bob@", "carol@").replace("10.0.0.1", "10.0.0.2");
    let packets = [
        (START, wire::udp(&phone, &middle, 0, 64, INVITE.as_bytes())),
        (START + 5_000_000, wire::udp(&middle, &far, 0, 64, other.as_bytes())),
        (START + 6_000_000, wire::udp(&middle, &far, 0, 64, unrelated.as_bytes())),
    ];
    let capture = read(&wire::pcap(RAW, true, false, &packets));
    let ids: Vec<&[String]> = capture.calls().iter().map(|call| &call.call_ids[..]).collect();
    assert_eq!(ids, [&["c1".to_owned(), "c2".to_owned()][..], &["c3".to_owned()]]);
}

#[test]
fn one_message_on_many_interfaces_is_one_and_the_n_th_on_each_is_sent_n_times() {
    let packet = wire::udp(&socket("10.0.0.1:5060"), &socket("10.0.0.2:5060"), 0, 64, INVITE.as_bytes());
    let mut file = Pcapng::new(false);
    for name in ["a", "b", "c"] {
        file.interface(name, RAW, 9);
    }
    // the interfaces' packets stand one interface after the other, as merged files have them
    for interface in [2, 0, 1] {
        for sending in 0..3u64 {
            file.packet(interface, START + sending * 500_000_000 + u64::from(interface), 0, &packet);
        }
    }
    let capture = read(&file.bytes);
    let seen: Vec<(u64, bool)> =
        capture.calls()[0].events.iter().map(|event| (event.at_unix_nanos - START, event.retransmission)).collect();
    assert_eq!(seen, [(0, false), (500_000_000, true), (1_000_000_000, true)]);
}

#[test]
fn limits_are_counted() {
    let packets: Vec<(u64, Vec<u8>)> = (0..4)
        .map(|n| {
            let text = INVITE.replace("c1", &format!("call{n}"));
            (START + n, wire::udp(&socket("10.0.0.1:5060"), &socket("10.0.0.2:5060"), 0, 64, text.as_bytes()))
        })
        .collect();
    let file = wire::pcap(RAW, true, false, &packets);
    for (calls, over) in [(4, 0), (3, 1)] {
        let limits = strowger_ladder::Limits { calls, ..strowger_ladder::Limits::DEFAULT };
        let capture = Capture::read_with(&file[..], &Names::new(), &limits).unwrap();
        assert_eq!((capture.calls().len(), capture.summary().over_limits), (calls, over));
    }
    let limits = strowger_ladder::Limits { events_per_call: 10, ..strowger_ladder::Limits::DEFAULT };
    let wires: Wires = whole_call();
    let capture = Capture::read_with(&wires.pcapng(false)[..], &names(), &limits).unwrap();
    assert_eq!((capture.calls()[0].events.len(), capture.calls()[0].events_dropped), (10, 31));
}
