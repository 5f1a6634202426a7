//! Where responses go: `received` and `rport` on arrival (RFC 3261 §18.2.1, RFC 3581 §4), the target from them (§18.2.2).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use strowger_sip::{Header, Message, Via};

use crate::{Flow, Target, Transport};

/// The request with its top Via saying where it really came from. Untouched when there is nothing to add.
///
/// A `received` or a filled `rport` that the sender wrote itself is replaced: it would let it aim our responses at others.
pub(crate) fn mark_received(message: &Message, via: &Via<'_>, peer: SocketAddr) -> Message {
    let asked_rport = via.rport().is_some();
    let from_elsewhere = host_address(via.host) != Some(peer.ip().to_canonical());
    if !asked_rport && !from_elsewhere && !via.params.has("received") {
        return message.clone();
    }
    let mut value = format!("{}/{}/{} {}", via.protocol, via.version, via.transport, via.host);
    if let Some(port) = via.port {
        let _ = write!(value, ":{port}");
    }
    for param in via.params.iter() {
        if ["received", "rport"].iter().any(|ours| param.name.eq_ignore_ascii_case(ours)) {
            continue;
        }
        let _ = write!(value, ";{}", param.name);
        if let Some(text) = param.value {
            let _ = write!(value, "={text}");
        }
    }
    if asked_rport || from_elsewhere {
        let _ = write!(value, ";received={}", peer.ip().to_canonical());
    }
    if asked_rport {
        let _ = write!(value, ";rport={}", peer.port());
    }
    let mut edit = message.edit();
    edit.replace_first(Header::Via, &value);
    edit.finish()
}

/// Where the responses to a request go. `via` is its top Via, with or without our marks; the flow tells where it came from.
pub(crate) fn server_target(via: &Via<'_>, flow: &Flow) -> Target {
    let back = flow.reply_target();
    let sent_by_port = via.port.unwrap_or(flow.transport.default_port());
    if flow.transport.is_reliable() {
        // by the same connection; should it have closed, to `received` (which is where it came from) and the sent-by's port
        return Target { address: SocketAddr::new(flow.peer.ip(), sent_by_port), ..back };
    }
    let address = match via.maddr().and_then(host_address) {
        Some(maddr) => SocketAddr::new(maddr, sent_by_port),
        None if via.rport().is_some() => return back,
        None => SocketAddr::new(flow.peer.ip(), sent_by_port),
    };
    if address == flow.peer { back } else { Target { address, flow: None, ..back } }
}

/// Where a response goes by its top Via alone (RFC 3261 §18.2.2, RFC 3581 §4): for elements that keep no state about it.
///
/// `None` when the Via cannot be read, names a transport we do not speak, or a host that is a name and no `received`:
/// names are resolved elsewhere.
pub fn response_target(response: &Message) -> Option<Target> {
    let via = response.top_via().ok()?;
    let transport = Transport::parse(via.transport)?;
    let sent_by_port = via.port.unwrap_or(transport.default_port());
    if !transport.is_reliable()
        && let Some(maddr) = via.maddr().and_then(host_address)
    {
        return Some(Target::new(transport, SocketAddr::new(maddr, sent_by_port)));
    }
    let ip = via.received().or_else(|| host_address(via.host))?;
    let port = via.rport().flatten().unwrap_or(sent_by_port);
    Some(Target::new(transport, SocketAddr::new(ip, port)))
}

/// A host that is an address literal; IPv6 with or without brackets.
fn host_address(host: &str) -> Option<IpAddr> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    literal.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}
