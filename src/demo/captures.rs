//! What the demo's capture shows, and the verbs that read captures.

use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use strowger_ladder::{Capture, Names, Stream, Style, render};

use super::calls::{Outcome, PROBE_SSRC};
use super::network::Network;
use super::report::Report;

/// Expedited forwarding (RFC 3246).
const EF: u8 = 46;

fn read(path: &Path, names: &Names) -> Result<Capture> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Capture::read(BufReader::new(file), names)?)
}

/// Draws the calls of a capture.
pub fn ladder(path: &Path, ascii: bool, json: bool) -> Result<()> {
    let capture = read(path, &Names::new())?;
    if json {
        println!("{}", serde_json::json!({"calls": capture.calls(), "summary": capture.summary()}));
        return Ok(());
    }
    let style = Style { ascii, ..Style::default() };
    for call in capture.calls() {
        println!("{}", render(call, &style));
    }
    let summary = capture.summary();
    println!("{} calls in {} packets", capture.calls().len(), summary.packets);
    for trouble in &summary.troubles {
        println!("not understood at octet {}: {}", trouble.offset, trouble.what);
    }
    Ok(())
}

/// Prints the streams of a capture.
pub fn streams(path: &Path, json: bool) -> Result<()> {
    let capture = read(path, &Names::new())?;
    if json {
        println!("{}", serde_json::json!({"streams": capture.streams(), "summary": capture.summary()}));
        return Ok(());
    }
    println!(
        "{:<10} {:<22} {:<22} {:<24} {:<6} {:>7} {:>5} {:>9} {:>5} {:>5}",
        "ssrc", "from", "to", "interface", "codec", "packets", "lost", "jitter ms", "MOS", "DSCP"
    );
    for stream in capture.streams() {
        println!(
            "{:08x}   {:<22} {:<22} {:<24} {:<6} {:>7} {:>5} {:>9.2} {:>5.2} {:>5}",
            stream.ssrc,
            stream.source,
            stream.destination,
            stream.interface,
            stream.codec,
            stream.packets,
            stream.lost,
            stream.jitter_mean_ms,
            stream.mos,
            stream.dscp
        );
    }
    Ok(())
}

/// Reads the marks on the router's far side, and draws the main call's ladder.
pub fn check(path: &Path, network: &Network, outcome: &Outcome, report: &mut Report) -> Result<()> {
    let core = |port| SocketAddr::new(network.core, port);
    let names = Names::new()
        .host(network.alice, "alice")
        .socket(core(5060), "proxy")
        .socket(core(3288), "policy")
        .socket(core(5045), "clearinghouse")
        .socket(core(5070), "gateway 1 (absent)")
        .socket(core(5072), "gateway 2 (full)")
        .socket(core(5074), "gateway 3")
        .point_code(2, "exchange")
        .interface(network.router_name(), "router")
        .pep("router", "router")
        .pep("proxy", "proxy");
    let capture = read(path, &names)?;
    let summary = capture.summary();
    let protocols = [("SIP", summary.sip), ("COPS", summary.cops), ("OSP", summary.osp), ("ISUP", summary.isup)];
    let found = protocols.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ");
    // without raw sockets only the trunks were recorded
    let wanted = if summary.sip > 0 || network.has_router() { 4 } else { 1 };
    let there = protocols.iter().filter(|(_, count)| *count > 0).count();
    let clean = there >= wanted && summary.trouble_count == 0;
    report.check("capture", clean, format!("{found}, {} RTP; {} not understood", summary.rtp, summary.trouble_count));
    let main = capture.calls().iter().find(|call| call.to.contains("12125550100") && !call.transaction_ids.is_empty());
    if let Some(call) = main {
        // the probes came from the call's own ports, but they are none of its media
        let mut call = call.clone();
        call.media.retain(|media| media.ssrc != PROBE_SSRC);
        report.ladder = render(&call, &Style::default());
    }
    report.streams = serde_json::to_value(capture.streams())?;
    if network.has_router() {
        report.check(
            "ladder of the whole call",
            main.is_some_and(|call| call.events.len() > 30),
            "drawn from the capture",
        );
        marks(&capture, outcome, report);
    }
    Ok(())
}

/// EF during the call, nothing before and after: on the interface of the core's own, behind the router.
fn marks(capture: &Capture, outcome: &Outcome, report: &mut Report) {
    let Some((phone, gateway)) = outcome.media else {
        return report.check("EF mark", false, "the call had no media");
    };
    let there =
        |stream: &&Stream, interface: &str| stream.interface == interface || stream.interface.ends_with(interface);
    let find = |from: SocketAddr, interface: &str, probe: bool| -> Vec<&Stream> {
        capture
            .streams()
            .iter()
            .filter(|stream| stream.source == from && (stream.ssrc == PROBE_SSRC) == probe)
            .filter(|stream| there(stream, interface))
            .collect()
    };
    let seen = |streams: &[&Stream]| {
        let packets: u64 = streams.iter().map(|stream| stream.packets).sum();
        let marks: Vec<u8> = streams.iter().flat_map(|stream| stream.dscp_seen.iter().copied()).collect();
        (packets, marks)
    };
    for (name, from, interface, reverse) in [
        ("EF towards the gateway, behind the router", phone, "core0", false),
        ("EF towards the phone, behind the router", gateway, "/to-edge", true),
    ] {
        let (packets, marks) = seen(&find(from, interface, false));
        // the gateway speaks until the BYE reaches it, a moment after the marks are gone
        let good = packets > 100 && marks.contains(&EF) && (reverse || marks.iter().all(|mark| *mark == EF));
        report.check(name, good, format!("{packets} packets, DSCP {marks:?}"));
    }
    for (name, from) in ["before", "after"].into_iter().zip(&outcome.probes) {
        let (sent, sent_marks) = seen(&find(*from, "/to-edge", true));
        let (packets, marks) = seen(&find(*from, "core0", true));
        let good = packets > 0 && sent > 0 && sent_marks.contains(&EF) && marks.iter().all(|mark| *mark == 0);
        let detail = format!("{packets} of {sent} packets sent with DSCP {sent_marks:?} arrive with {marks:?}");
        report.check(&format!("unmarked {name} the call"), good, detail);
    }
}
