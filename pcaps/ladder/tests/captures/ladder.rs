use strowger_ladder::{Capture, Names, Outcome, Protocol, Role, Style, render};

use crate::call::{self, CALL_ID, names, whole_call};

fn golden(name: &str, drawn: &str) {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("STROWGER_BLESS").is_some() {
        std::fs::write(&path, drawn).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == drawn, "{path} differs (STROWGER_BLESS=1 accepts):\n{drawn}");
}

#[test]
fn the_whole_call_is_one_ladder() {
    for big_endian in [false, true] {
        let capture = Capture::read(&whole_call().pcapng(big_endian)[..], &names()).unwrap();
        assert_eq!(capture.summary().trouble_count, 0, "{:?}", capture.summary().troubles);
        assert_eq!(capture.summary().over_limits, 0);
        let [call] = capture.calls() else { panic!("{} calls", capture.calls().len()) };
        golden("whole-call.txt", &render(call, &Style::default()));
        golden("whole-call-ascii.txt", &render(call, &Style { width: 120, ascii: true, color: false }));
    }
}

#[test]
fn every_message_has_its_sender_receiver_and_call() {
    let capture = Capture::read(&whole_call().pcapng(false)[..], &names()).unwrap();
    let call = &capture.calls()[0];
    assert_eq!(call.call_ids, [CALL_ID]);
    assert_eq!((&call.transaction_ids[..], &call.circuits[..]), (&[4711][..], &[17][..]));
    let columns: Vec<(&str, Role)> = call.parties.iter().map(|party| (party.name.as_str(), party.role)).collect();
    assert_eq!(
        columns,
        [
            ("phone alice", Role::Caller),
            ("router", Role::Router),
            ("proxy", Role::Proxy),
            ("policy", Role::Policy),
            ("clearinghouse", Role::Clearinghouse),
            ("gateway", Role::Gateway),
            ("exchange", Role::Exchange),
        ]
    );
    let count = |protocol| call.events.iter().filter(|event| event.protocol == protocol).count();
    assert_eq!(
        [Protocol::Sip, Protocol::Cops, Protocol::Osp, Protocol::Isup].map(count),
        [14, 14, 6, 7],
        "and nothing twice"
    );
    assert_eq!(call.events.iter().filter(|event| event.retransmission).count(), 1, "the 200 that was sent again");
    assert!(call.events.is_sorted_by_key(|event| event.at_unix_nanos));
    let Outcome::Completed { talked_ms, ended_by } = call.outcome else { panic!("{:?}", call.outcome) };
    assert_eq!((talked_ms, call.parties[ended_by].name.as_str()), (3013, "phone alice"));
    let [there, back] = &call.media[..] else { panic!("{} streams", call.media.len()) };
    for media in [there, back] {
        assert_eq!(media.routers, [1]);
        assert_eq!(media.points.iter().map(|point| point.dscp).collect::<Vec<_>>(), [0, 46]);
    }
    assert_eq!(there.points.iter().map(|point| (point.packets, point.lost)).collect::<Vec<_>>(), [(150, 0), (148, 2)]);
    assert_eq!((there.from, there.to, back.from, back.to), (0, 5, 5, 0));
}

#[test]
fn without_names_the_roles_are_found() {
    let capture = Capture::read(&whole_call().pcapng(false)[..], &Names::new()).unwrap();
    let names: Vec<&str> = capture.calls()[0].parties.iter().map(|party| party.name.as_str()).collect();
    assert_eq!(names, ["caller", "router edge", "proxy", "policy", "clearinghouse", "gateway", "exchange"]);
}

#[test]
fn values_serialise() {
    let capture = Capture::read(&whole_call().pcapng(false)[..], &names()).unwrap();
    let call = serde_json::to_value(&capture.calls()[0]).unwrap();
    assert_eq!(call["events"][0]["protocol"], "SIP");
    assert_eq!(call["outcome"]["state"], "completed");
    let streams = serde_json::to_value(capture.streams()).unwrap();
    assert_eq!(streams[0]["source"], "10.1.0.2:4000");
    assert_eq!(streams.as_array().unwrap().len(), 4);
    assert_eq!(serde_json::to_value(capture.summary()).unwrap()["interfaces"][0], "edge/left");
}

#[test]
fn rows_stay_in_their_columns_at_every_width() {
    let capture = Capture::read(&whole_call().pcapng(false)[..], &names()).unwrap();
    let call = &capture.calls()[0];
    for width in (0..260).step_by(13) {
        for ascii in [false, true] {
            let drawn = render(call, &Style { width, ascii, color: false });
            let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
            let joint = if ascii { '+' } else { '┬' };
            let top = lines.iter().position(|line| line.contains(&'┬')).unwrap_or(7);
            let columns: Vec<usize> = if ascii {
                // a box's corners and its middle are all crosses: every second of three
                lines[top]
                    .iter()
                    .enumerate()
                    .filter(|(_, c)| **c == joint)
                    .map(|(at, _)| at)
                    .skip(1)
                    .step_by(3)
                    .collect()
            } else {
                lines[top].iter().enumerate().filter(|(_, c)| **c == joint).map(|(at, _)| at).collect()
            };
            assert_eq!(columns.len(), 7, "{drawn}");
            let bottom =
                lines.iter().rposition(|line| line.get(columns[0]) == Some(&if ascii { '+' } else { '┴' })).unwrap();
            assert!(bottom > top + 40);
            for line in &lines[top + 1..bottom.min(lines.len())] {
                if line.get(columns[6]).is_none_or(|c| *c == ' ') {
                    panic!("a lifeline is broken at width {width}:\n{drawn}");
                }
            }
            if width >= 140 {
                assert!(lines[4..=bottom].iter().all(|line| line.len() <= width), "wider than {width}:\n{drawn}");
            }
        }
    }
    assert_eq!(call::socket("10.1.0.2:4000").port(), 4000);
}

#[test]
fn colours_do_not_change_what_is_drawn() {
    let capture = Capture::read(&whole_call().pcapng(false)[..], &names()).unwrap();
    let plain = render(&capture.calls()[0], &Style::default());
    let mut colored = render(&capture.calls()[0], &Style { color: true, ..Style::default() });
    assert_ne!(plain, colored);
    for code in ["\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[0m"] {
        colored = colored.replace(code, "");
    }
    assert_eq!(plain, colored);
}
