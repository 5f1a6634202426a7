use std::sync::LazyLock;

use proptest::prelude::*;
use strowger_ladder::{Capture, Style, render};

use crate::call::{names, whole_call};
use crate::wire::{self, ETHERNET, MTP3, Pcapng, RAW, START};

fn survives(bytes: &[u8]) {
    let Ok(capture) = Capture::read(bytes, &names()) else { return };
    for call in capture.calls() {
        for ascii in [false, true] {
            let drawn = render(call, &Style { ascii, ..Style::default() });
            assert!(!drawn.contains('\u{1b}') && !drawn.contains('\r'));
            assert!(!ascii || drawn.is_ascii());
        }
    }
    for stream in capture.streams() {
        assert!((1.0..=4.5).contains(&stream.mos) && stream.jitter_ms >= 0.0);
    }
    serde_json::to_string(capture.calls()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn changed_captures_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        cut in any::<prop::sample::Index>(), big_endian: bool,
    ) {
        static WHOLE: [LazyLock<Vec<u8>>; 2] =
            [LazyLock::new(|| whole_call().pcapng(false)), LazyLock::new(|| whole_call().pcapng(true))];
        let mut bytes = WHOLE[usize::from(big_endian)].clone();
        // most of the file is media: keep to the signalling half of the time
        let end = bytes.len();
        for (n, (at, value)) in changes.iter().enumerate() {
            let range = if n % 2 == 0 { end } else { 40_000.min(end) };
            bytes[at.index(range)] = *value;
        }
        survives(&bytes);
        bytes.truncate(cut.index(end));
        survives(&bytes);
    }

    #[test]
    fn arbitrary_frames_never_panic(frames in proptest::collection::vec((0u32..4, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..120)), 0..40)) {
        let mut file = Pcapng::new(false);
        for (name, link) in [("a", ETHERNET), ("b", RAW), ("c", MTP3), ("d", 0)] {
            file.interface(name, link, 9);
        }
        for (interface, at, frame) in &frames {
            file.packet(*interface, *at, 0, frame);
        }
        survives(&file.bytes);
    }

    #[test]
    fn arbitrary_payloads_never_panic(payloads in proptest::collection::vec((any::<u16>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..200), 0u8..5), 0..40)) {
        let (a, b) = (crate::call::socket("10.0.0.1:5060"), crate::call::socket("10.0.0.2:3288"));
        let starts: [&[u8]; 5] = [b"", b"POST /osp HTTP/1.1\r\n", b"SIP/2.0 200 OK\r\n", b"\x10\x01\x40\x01\x00\x00\x00\x40", b"\x80\x08"];
        let packets: Vec<(u64, Vec<u8>)> = payloads.iter().map(|(at, sequence, payload, start)| {
            let data = [starts[usize::from(*start)], payload].concat();
            let packet = if at % 2 == 0 { wire::udp(&a, &b, 0, 9, &data) } else { wire::tcp(&a, &b, sequence % 500, 0, 0x10, &data) };
            (START + u64::from(*at), packet)
        }).collect();
        survives(&wire::pcap(RAW, true, false, &packets));
    }

    #[test]
    fn arbitrary_files_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in 0usize..4) {
        let magics: [[u8; 4]; 4] = [[0x0a, 0x0d, 0x0d, 0x0a], [0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x34, 0xcd, 0xb2, 0xa1]];
        bytes.splice(0..0, magics[magic]);
        survives(&bytes);
    }
}

#[test]
fn what_a_peer_writes_does_not_draw_on_the_terminal() {
    let text = "INVITE sip:b\u{202e}ob@b.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
        From: \"\u{1b}[2J\" <sip:a@a.test>;tag=1\r\nTo: <sip:bob@b.test>\r\nCall-ID: c\u{7}1\r\nCSeq: 1 INVITE\r\n\
        Reason: \u{1b}]0;x\u{7}\r\nContent-Length: 0\r\n\r\n";
    let (from, to) = (crate::call::socket("10.0.0.1:5060"), crate::call::socket("10.0.0.2:5060"));
    survives(&wire::pcap(RAW, true, false, &[(START, wire::udp(&from, &to, 0, 64, text.as_bytes()))]));
}
