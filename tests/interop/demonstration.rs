//! `strowger demo`: exit status, the JSON that others rely on, and its capture as tshark reads it.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Finished, program, run, strowger, tail};
use crate::support::scratch::Scratch;

const DEMO_LIMIT: Duration = Duration::from_secs(80);

fn demo(scratch: &Scratch, arguments: &[&str]) -> Value {
    let mut command = strowger();
    command.args(["demo", "--json"]).args(arguments);
    let finished = run(command, scratch.path(), "demo", DEMO_LIMIT);
    assert!(finished.status.success(), "the demo failed: {}\n{}", finished.status, tail(&finished.err));
    assert_eq!(finished.out.lines().count(), 1, "one JSON object on one line is wanted: {}", finished.out);
    serde_json::from_str(&finished.out).expect("JSON of the demo")
}

/// The shape that stands in ARCHITECTURE.md, and that everything held.
fn holds(demo: &Value) {
    let checks = demo["checks"].as_array().expect("checks");
    assert!(checks.len() > 10, "{checks:?}");
    for check in checks {
        assert!(check["name"].is_string() && check["detail"].is_string(), "{check}");
        assert_eq!(check["ok"], true, "{check}");
    }
    assert!(demo["calls"].as_array().is_some_and(|calls| calls.iter().any(|call| call["answered"] == true)), "{}", demo["calls"]);
    assert_eq!(demo["ledger"]["sum"], 0, "{}", demo["ledger"]);
}

#[test]
fn on_loopback_every_check_holds() {
    let scratch = Scratch::new();
    holds(&demo(&scratch, &["--no-namespaces"]));
}

#[test]
fn its_capture_is_read_by_tshark_and_shows_the_marks() {
    let scratch = Scratch::new();
    let capture = scratch.join("demo.pcapng");
    let report = demo(&scratch, &["--pcap", &capture.display().to_string()]);
    holds(&report);

    let hierarchy = tshark(&scratch, &capture, &["-q", "-z", "io,phs"]).out;
    let layers: HashSet<&str> = hierarchy.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for layer in ["sip", "sdp", "rtp", "cops", "http", "isup"] {
        assert!(layers.contains(layer), "tshark finds no {layer}:\n{hierarchy}");
    }
    let osp = frames(&scratch, &capture, "http && frame contains \"AuthorizationRequest\"", &["frame.number"]);
    assert!(!osp.is_empty(), "no OSP message over HTTP:\n{hierarchy}");
    let malformed = frames(&scratch, &capture, "_ws.malformed", &["frame.number", "_ws.col.Protocol", "_ws.col.Info"]);
    assert_eq!(malformed, Vec::<Vec<String>>::new(), "tshark calls frames malformed");

    let not_checked = report["not_checked"].as_array().cloned().unwrap_or_default();
    if let Some(why) = not_checked.iter().find(|check| check["name"] == "router") {
        // no network namespaces here: the report has to say so, and there are no marks to read
        assert!(why["why"].as_str().is_some_and(|why| !why.is_empty()), "{why}");
    } else {
        marks(&scratch, &capture);
    }
}

/// On the far side of the router: EF while the call is up, no mark on what comes before and after it.
fn marks(scratch: &Scratch, capture: &Path) {
    // from the phones, with a payload as long as 20 ms of G.711 in RTP: the calls' media, and the probes outside of them
    let filter = "frame.interface_name == \"core0\" && ip.src == 10.77.1.0/24 && udp.length == 180";
    let fields = ["frame.time_relative", "ip.dsfield.dscp", "udp.srcport", "udp.dstport"];
    let packets = frames(scratch, capture, filter, &fields);
    assert!(packets.len() > 100, "{} packets of media on core0", packets.len());
    let mark = |packet: &Vec<String>| packet[1].parse::<u8>().expect("a DSCP");
    let marked: Vec<usize> = (0..packets.len()).filter(|at| mark(&packets[*at]) == 46).collect();
    let (Some(first), Some(last)) = (marked.first(), marked.last()) else {
        panic!("no packet of media has the mark EF: {:?}", &packets[..10]);
    };
    let unmarked = |packets: &[Vec<String>]| packets.iter().filter(|packet| mark(packet) == 0).count();
    assert!(unmarked(&packets[..*first]) >= 3, "before the call, probes are seen unmarked: {:?}", &packets[..*first]);
    assert!(unmarked(&packets[*last..]) >= 3, "after the call, probes are seen unmarked");
    assert!(packets.iter().all(|packet| [0, 46].contains(&mark(packet))), "marks are EF or none");
    assert!(marked.len() > 100, "{} packets are marked", marked.len());
    // each pair of ports is either a call's, and marked once it is admitted, or a probe's, and never
    let ports = |at: usize| (&packets[at][2], &packets[at][3]);
    let admitted: HashSet<_> = marked.iter().map(|at| ports(*at)).collect();
    let lost: Vec<_> = (*first..=*last)
        .filter(|at| admitted.contains(&ports(*at)) && mark(&packets[*at]) != 46)
        .collect();
    assert!(lost.len() * 20 <= marked.len(), "{} of {} packets of admitted calls lost their mark", lost.len(), marked.len());
}

fn tshark(scratch: &Scratch, capture: &Path, arguments: &[&str]) -> Finished {
    let mut command = program("tshark", "tshark");
    command.arg("-n").arg("-r").arg(capture).args(arguments);
    let finished = run(command, scratch.path(), "tshark", Duration::from_secs(40));
    assert!(finished.status.success(), "tshark: {}", finished.err);
    finished
}

/// Fields of the frames that a display filter lets through.
fn frames(scratch: &Scratch, capture: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut arguments = vec!["-Y", filter, "-T", "fields", "-E", "occurrence=f"];
    for field in fields {
        arguments.extend(["-e", field]);
    }
    let finished = tshark(scratch, capture, &arguments);
    finished.out.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}
