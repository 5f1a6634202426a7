//! One dialog: RFC 3261 §12.

use std::net::{IpAddr, SocketAddr};

use strowger_sip::{Builder, Header, Message, Method, NameAddr, Uri};
use strowger_transaction::{Flow, Target, Transport};

/// Most Record-Route values taken into a route set.
pub(crate) const ROUTES_MAX: usize = 64;

/// The state of §12.1 that both sides keep.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// From or To of ours, without tag.
    pub(crate) local: String,
    pub(crate) local_tag: String,
    /// The peer's, without tag.
    pub(crate) remote: String,
    /// Empty for a peer of RFC 2543 (§12.1.1).
    pub(crate) remote_tag: String,
    pub(crate) remote_target: String,
    pub(crate) route_set: Vec<String>,
    pub(crate) local_sequence: u32,
    pub(crate) remote_sequence: Option<u32>,
    /// What the message that made the dialog came by.
    pub(crate) flow: Flow,
}

/// The value of a From or To without its tag.
pub(crate) fn untagged(address: &NameAddr<'_>) -> String {
    match address.display {
        Some(display) => format!("{display} <{}>", address.uri),
        None => format!("<{}>", address.uri),
    }
}

fn routes(message: &Message) -> Vec<String> {
    message.values(Header::RecordRoute).take(ROUTES_MAX).map(str::to_owned).collect()
}

/// The URI of the first Contact.
pub(crate) fn contact(message: &Message) -> Option<String> {
    message.contacts().next()?.ok().filter(|contact| !contact.is_wildcard()).map(|contact| contact.uri.to_owned())
}

impl Dialog {
    /// §12.1.1: the UAS's side, from the request.
    pub(crate) fn of_request(request: &Message, flow: Flow, local_tag: String) -> Option<Dialog> {
        let from = request.from().ok()?;
        let to = request.to().ok()?;
        Some(Dialog {
            call_id: request.call_id()?.to_owned(),
            local: untagged(&to),
            local_tag,
            remote: untagged(&from),
            remote_tag: from.tag().unwrap_or_default().to_owned(),
            remote_target: contact(request)?,
            route_set: routes(request),
            local_sequence: 0,
            remote_sequence: Some(request.cseq().ok()?.number),
            flow,
        })
    }

    /// §12.1.2: the UAC's side, from the request and a response with a To tag.
    pub(crate) fn of_response(request: &Message, response: &Message, flow: Flow) -> Option<Dialog> {
        let from = request.from().ok()?;
        let to = response.to().ok()?;
        let mut route_set = routes(response);
        route_set.reverse();
        Some(Dialog {
            call_id: request.call_id()?.to_owned(),
            local: untagged(&from),
            local_tag: from.tag().unwrap_or_default().to_owned(),
            remote: untagged(&request.to().ok()?),
            remote_tag: to.tag().unwrap_or_default().to_owned(),
            // a provisional response may come without Contact: the request's URI serves until the 2xx brings one
            remote_target: contact(response).unwrap_or_else(|| request.request_uri().to_owned()),
            route_set,
            local_sequence: request.cseq().ok()?.number,
            remote_sequence: None,
            flow,
        })
    }

    /// §13.2.2.4: a 2xx sets the route set and remote target of an early dialog anew.
    pub(crate) fn confirm(&mut self, response: &Message, flow: Flow) {
        self.route_set = routes(response);
        self.route_set.reverse();
        self.refresh_target(response);
        self.flow = flow;
    }

    /// §12.2.1.2, §12.2.2: target refresh.
    pub(crate) fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = contact(message) {
            self.remote_target = target;
        }
    }

    /// Whether a request's Call-ID and From tag are this dialog's.
    pub(crate) fn matches(&self, request: &Message) -> bool {
        request.call_id() == Some(self.call_id.as_str())
            && request.from().is_ok_and(|from| from.tag().unwrap_or_default() == self.remote_tag)
    }

    /// §12.2.1.1: a request within the dialog, with the sequence number given (an ACK has its INVITE's). Via is the layer's.
    pub(crate) fn request(&self, method: Method, sequence: u32) -> Builder {
        let mut routes = self.route_set.clone();
        let strict = routes.first().is_some_and(|first| !is_loose(first));
        let request_uri = if strict {
            // a strict router takes the Request-URI for itself and the target from the end of Route
            let first = routes.remove(0);
            routes.push(format!("<{}>", self.remote_target));
            uri_of(&first).map_or_else(|| self.remote_target.clone(), |uri| without_headers(uri).to_owned())
        } else {
            self.remote_target.clone()
        };
        let remote = match self.remote_tag.as_str() {
            "" => self.remote.clone(),
            tag => format!("{};tag={tag}", self.remote),
        };
        let name = method.to_string();
        let mut builder = Builder::request(method, &request_uri)
            .header(Header::From, &format!("{};tag={}", self.local, self.local_tag))
            .header(Header::To, &remote)
            .header(Header::CallId, &self.call_id)
            .header(Header::CSeq, &format!("{sequence} {name}"));
        for route in &routes {
            builder = builder.header(Header::Route, route);
        }
        builder
    }

    /// The next sequence number of ours.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.local_sequence = self.local_sequence.wrapping_add(1) & (u32::MAX >> 1);
        self.local_sequence
    }

    /// Where a request of this dialog goes (§12.2.1.1, §8.1.2): the first route or the remote target when it is a literal
    /// address, otherwise back the way the peer came. A connection that the peer came by is used as long as it leads there.
    pub(crate) fn next_hop(&self) -> Target {
        let hop = match self.route_set.first() {
            Some(route) => uri_of(route),
            None => Some(self.remote_target.as_str()),
        };
        let back = self.flow.reply_target();
        let Some((transport, address)) = hop.and_then(|hop| literal(hop, self.flow.transport)) else { return back };
        if transport != self.flow.transport {
            return Target::new(transport, address);
        }
        if transport.is_reliable() {
            // the same host: the port of its Contact is where it listens, not where it connected from
            let same = address.ip() == self.flow.peer.ip();
            return if same { Target { address, ..back } } else { Target { flow: None, address, ..back } };
        }
        Target { address, ..back }
    }
}

fn uri_of(route: &str) -> Option<&str> {
    NameAddr::parse(route).ok().map(|route| route.uri)
}

fn without_headers(uri: &str) -> &str {
    uri.split('?').next().unwrap_or(uri)
}

fn is_loose(route: &str) -> bool {
    uri_of(route).and_then(|uri| Uri::parse(uri).ok().map(|uri| uri.is_loose_router())).unwrap_or(false)
}

/// The address of a URI whose host (or maddr) is a literal one. Without a transport parameter the dialog's own transport is
/// used, so that a peer on a connection is not sent datagrams.
pub(crate) fn literal(uri: &str, used: Transport) -> Option<(Transport, SocketAddr)> {
    let uri = Uri::parse(uri).ok()?;
    let host = uri.param("maddr").and_then(|maddr| maddr.value).unwrap_or(uri.host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ip: IpAddr = bare.parse().ok()?;
    let transport = match uri.transport() {
        Some(name) => Transport::parse(name)?,
        None => used,
    };
    Some((transport, SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port()))))
}
