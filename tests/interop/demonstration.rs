//! `strowger demo`: exit status, the JSON that others rely on, and its capture as tshark reads it.

use std::collections::{HashMap, HashSet};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Finished, program, run, strowger, tail};
use crate::support::scratch::Scratch;

const DEMO_LIMIT: Duration = Duration::from_secs(80);

fn demo(scratch: &Scratch, arguments: &[&str]) -> Value {
    let mut command = strowger();
    command.args(["demo", "--json"]).args(arguments);
    report(scratch, command)
}

/// What a demo prints, which must succeed.
fn report(scratch: &Scratch, command: Command) -> Value {
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
    assert!(
        demo["calls"].as_array().is_some_and(|calls| calls.iter().any(|call| call["answered"] == true)),
        "{}",
        demo["calls"]
    );
    assert_eq!(demo["ledger"]["sum"], 0, "{}", demo["ledger"]);
}

#[test]
fn on_loopback_every_check_holds() {
    let scratch = Scratch::new();
    holds(&demo(&scratch, &["--no-namespaces"]));
}

/// Somebody who may do nothing in particular: the router is left out if need be, and said to be.
#[test]
fn without_root_every_check_holds() {
    let scratch = Scratch::new();
    let owner = std::fs::metadata(scratch.path()).expect("the folder's owner").uid();
    if owner != 0 {
        return holds(&demo(&scratch, &[]));
    }
    // a copy that nobody in particular can read, wherever the build is
    let copy = scratch.join("strowger");
    std::fs::copy(env!("CARGO_BIN_EXE_strowger"), &copy).expect("a copy of the program");
    for (path, mode) in [(scratch.path(), 0o755), (copy.as_path(), 0o755)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
    }
    let mut command = program("setpriv", "util-linux");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--no-new-privs"]);
    command.arg(&copy).args(["demo", "--json"]).current_dir("/");
    holds(&report(&scratch, command));
}

#[test]
fn its_capture_is_read_by_tshark_and_shows_the_marks() {
    let scratch = Scratch::new();
    let capture = scratch.join("demo.pcapng");
    let report = demo(&scratch, &["--pcap", &capture.display().to_string()]);
    holds(&report);

    let hierarchy = tshark(&scratch, &capture, &["-q", "-z", "io,phs"]).out;
    let layers: HashSet<&str> = hierarchy.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for layer in ["sip", "rtp", "cops", "http", "isup"] {
        assert!(layers.contains(layer), "tshark finds no {layer}:\n{hierarchy}");
    }
    assert!(!frames(&scratch, &capture, "sdp", &["frame.number"]).is_empty(), "no session description:\n{hierarchy}");
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

/// On the far side of the router: EF on every packet of the main call, no mark on what comes before it, nor on what goes the
/// call's own way after it.
fn marks(scratch: &Scratch, capture: &Path) {
    // from the phones, as long as 20 ms of G.711 in RTP: the calls' media, and the probes outside of them
    let filter = "frame.interface_name == \"core0\" && ip.src == 10.77.1.0/24 && udp.length == 180 && !icmp";
    let packets = frames(scratch, capture, filter, &["ip.dsfield.dscp", "udp.srcport", "udp.dstport"]);
    let mark = |packet: &Vec<String>| packet[0].parse::<u8>().expect("a DSCP");
    let before = packets.iter().take_while(|packet| mark(packet) == 0).count();
    assert!(before >= 3, "before the first call, only {before} packets are seen unmarked");

    let mut flows: HashMap<&[String], Vec<u8>> = HashMap::new();
    for packet in &packets {
        flows.entry(&packet[1..]).or_default().push(mark(packet));
    }
    let main = flows.into_values().max_by_key(Vec::len).unwrap_or_default();
    let during = main.iter().take_while(|mark| **mark == 46).count();
    let after = &main[during..];
    assert!(during > 100, "only {during} packets of the main call's {} have the mark EF: {main:?}", main.len());
    assert!(after.len() >= 3 && after.iter().all(|mark| *mark == 0), "after the call, unmarked is wanted: {after:?}");
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
