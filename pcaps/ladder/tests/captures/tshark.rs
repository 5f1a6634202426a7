use std::process::Command;

use strowger_ladder::{Capture, Names, Stream};

use crate::call::{names, socket, whole_call};
use crate::wire::{self, RAW, START};

/// Debian's sip-tester package brings it: one G.711 stream of 2002, on Ethernet.
const REAL_CAPTURE: &str = "/usr/share/sip-tester/g711a.pcap";

fn tshark(arguments: &[&str]) -> String {
    let output =
        Command::new("tshark").arg("-n").args(arguments).output().expect("tshark is installed by the test setup");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn file(name: &str, bytes: &[u8]) -> String {
    let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// One line of `rtp,streams`.
#[derive(Debug)]
struct Row {
    source_port: u16,
    ssrc: u32,
    packets: u64,
    lost: i64,
    mean_jitter_ms: f64,
    max_jitter_ms: f64,
}

fn rows(path: &str, more: &[&str]) -> Vec<Row> {
    let mut arguments = vec!["-r", path, "-q", "-z", "rtp,streams", "--enable-heuristic", "rtp_udp"];
    arguments.extend(more);
    let table = tshark(&arguments);
    let lines = table.lines().filter(|line| line.contains("0x"));
    let rows: Vec<Row> = lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ssrc_at = words.iter().position(|word| word.starts_with("0x")).unwrap();
            // SSRC, payload, packets, lost, (percent), min/mean/max delta, min/mean/max jitter
            let after = &words[ssrc_at + 1..];
            let lost_at = after.iter().position(|word| word.ends_with("%)")).unwrap() - 1;
            let number = |at: usize| after[at].parse::<f64>().unwrap();
            Row {
                source_port: words[ssrc_at - 3].parse().unwrap(),
                ssrc: u32::from_str_radix(&words[ssrc_at][2..], 16).unwrap(),
                packets: after[lost_at - 1].parse().unwrap(),
                lost: after[lost_at].parse().unwrap(),
                mean_jitter_ms: number(lost_at + 6),
                max_jitter_ms: number(lost_at + 7),
            }
        })
        .collect();
    assert!(!rows.is_empty(), "{table}");
    rows
}

fn agree(streams: &[&Stream], rows: &[Row]) {
    assert_eq!(streams.len(), rows.len(), "{rows:?}");
    for stream in streams {
        let row = rows.iter().find(|row| (row.ssrc, row.source_port) == (stream.ssrc, stream.source.port())).unwrap();
        assert_eq!((stream.packets, stream.lost as i64), (row.packets, row.lost), "{row:?}");
        assert!((stream.jitter_mean_ms - row.mean_jitter_ms).abs() < 0.0011, "{} {row:?}", stream.jitter_mean_ms);
        assert!((stream.jitter_max_ms - row.max_jitter_ms).abs() < 0.0011, "{} {row:?}", stream.jitter_max_ms);
    }
}

/// Two streams with loss, a late packet and jitter; one crosses the end of the sequence numbers.
fn lossy() -> Vec<u8> {
    let mut packets = Vec::new();
    for n in 0..400u32 {
        for (ssrc, port, lost) in [(0x1111_1111, 30_000, n % 37 == 5), (0x2222_2222, 30_002, (100..110).contains(&n))] {
            if lost {
                continue;
            }
            let late = if n == 200 { 25_000_000 } else { 0 };
            let wobble = u64::from(n * 7_919 % 13) * 310_000;
            let header = strowger_rtp::Header {
                marker: n == 0,
                payload_type: 8,
                sequence: 65_300u16.wrapping_add(n as u16),
                timestamp: 5_000 + n * 160,
                ssrc,
            };
            let payload = [&header.to_bytes()[..], &[0xd5; 160]].concat();
            let (from, to) = (socket(&format!("10.0.0.1:{port}")), socket("10.0.0.2:40000"));
            packets.push((START + u64::from(n) * 20_000_000 + wobble + late, wire::udp(&from, &to, 46, 64, &payload)));
        }
    }
    packets.sort_by_key(|packet| packet.0);
    wire::pcap(RAW, true, false, &packets)
}

#[test]
fn statistics_agree_on_streams_with_loss_and_jitter() {
    let bytes = lossy();
    let capture = Capture::read(&bytes[..], &Names::new()).unwrap();
    let streams: Vec<&Stream> = capture.streams().iter().collect();
    assert_eq!(streams.iter().map(|stream| stream.lost).collect::<Vec<_>>(), [11, 10]);
    assert_eq!((streams[0].dscp, streams[0].codec.as_str(), streams[0].reordered), (46, "PCMA", 1));
    agree(&streams, &rows(&file("lossy.pcap", &bytes), &[]));
}

#[test]
fn statistics_agree_on_a_capture_of_others() {
    let bytes = std::fs::read(REAL_CAPTURE).expect("sip-tester is installed by the test setup");
    let capture = Capture::read(&bytes[..], &Names::new()).unwrap();
    let streams: Vec<&Stream> = capture.streams().iter().collect();
    assert_eq!((capture.summary().packets, streams.len()), (236, 1));
    agree(&streams, &rows(REAL_CAPTURE, &[]));
}

#[test]
fn each_interface_of_the_whole_call_agrees_and_nothing_is_malformed() {
    let bytes = whole_call().pcapng(false);
    let path = file("whole-call.pcapng", &bytes);
    assert_eq!(tshark(&["-r", &path, "-Y", "_ws.malformed"]), "");
    let capture = Capture::read(&bytes[..], &names()).unwrap();
    for interface in 0..2 {
        let filter = format!("frame.interface_id == {interface}");
        let streams: Vec<&Stream> =
            capture.streams().iter().filter(|stream| stream.interface_index == interface).collect();
        agree(&streams, &rows(&path, &["-2", "-R", &filter]));
    }
    // what tshark takes for our protocols is what we take for them
    let count =
        |filter: &str| tshark(&["-r", &path, "-Y", filter, "-T", "fields", "-e", "frame.number"]).lines().count();
    assert_eq!(capture.summary().isup as usize, count("isup"));
    assert_eq!(capture.summary().cops as usize, count("cops"));
    assert_eq!(capture.summary().rtp as usize, count("rtp"));
}
