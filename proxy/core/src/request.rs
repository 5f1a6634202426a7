//! Requests from the network: validation (RFC 3261 §16.3), preprocessing (§16.4), targets (§16.5), forwarding (§16.6).

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method, NameAddr, Scheme, Uri};
use strowger_transaction::{Flow, Layer, ServerKey, Target, Transport, ViaSpec};

use crate::context::{Branch, BranchState, Context, Hop};
use crate::core::{ProxyCore, Timer};
use crate::location::Binding;

/// Max-Forwards where a request has none (RFC 3261 §16.6 step 3).
const MAX_FORWARDS_DEFAULT: u8 = 70;
/// Max-Breadth where a request has none (RFC 5393 §5.3.3).
const MAX_BREADTH_DEFAULT: usize = 60;

/// What a forwarded request can begin.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Opens {
    /// An INVITE outside a dialog.
    Call,
    /// Another request that can open a dialog (RFC 6665, RFC 3515).
    Dialog,
    /// Neither.
    Nothing,
}

/// What preprocessing made of a request.
pub(crate) struct Prepared {
    /// Our Routes taken off, Max-Forwards counted down.
    pub forwardable: Message,
    /// A Route of ours stood on top, with the cookie of this Call-ID: the request came along a path that we recorded.
    pub along_recorded_route: bool,
}

impl ProxyCore {
    pub(crate) fn request(&mut self, now: Moment, layer: &mut Layer, key: ServerKey, message: Message, flow: Flow) {
        self.counters.requests += 1;
        if let Err(status) = self.validate(&message) {
            if matches!(status, 482 | 483) {
                self.counters.loops += 1;
            }
            if status == 420 {
                return self.reject_extensions(now, layer, key, &message, Header::ProxyRequire);
            }
            return self.reject(now, layer, key, &message, status);
        }
        let Some(prepared) = self.prepare(&message) else {
            return self.reject(now, layer, key, &message, 400);
        };
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        let uri_text = prepared.forwardable.request_uri().to_owned();
        let Ok(uri) = Uri::parse(&uri_text) else { return self.reject(now, layer, key, &message, 400) };
        if in_dialog {
            return self.in_dialog(now, layer, key, message, flow, prepared);
        }
        let for_us = match uri.scheme {
            Scheme::Tel => true,
            _ => self.config.is_ours(uri.host, uri.port),
        };
        // §16.3 step 3: at zero, only what ends here goes on: a REGISTER, and an OPTIONS, which is answered in the target's place
        let no_hops_left = matches!(message.max_forwards(), Ok(Some(0)));
        match message.method() {
            Method::Register if for_us => {
                if self.draining {
                    return self.reject(now, layer, key, &message, 503);
                }
                if let Some(user) = self.authenticate(now, layer, key, &message, false) {
                    self.register(now, layer, key, &message, &flow, &user);
                }
            }
            Method::Options if for_us && (uri.user.is_none() || no_hops_left) => {
                let response = Builder::response(&message, 200, None)
                    .to_tag(&self.tag())
                    .header(Header::Allow, "INVITE, ACK, CANCEL, BYE, REGISTER, OPTIONS, MESSAGE, INFO, UPDATE, PRACK, REFER, SUBSCRIBE, NOTIFY, PUBLISH")
                    .header(Header::Accept, "application/sdp")
                    .build();
                layer.respond(now, key, response);
            }
            _ if no_hops_left => {
                self.counters.loops += 1;
                self.reject(now, layer, key, &message, 483);
            }
            // an open relay is nobody's friend: we carry requests for our own users and for telephone numbers, and nothing by
            // a route that others have made
            _ if !for_us || prepared.forwardable.routes().next().is_some() => {
                self.reject(now, layer, key, &message, 403);
            }
            method => {
                if method == Method::Invite && self.draining {
                    return self.reject(now, layer, key, &message, 503);
                }
                self.new_request(now, layer, key, message, flow, prepared, &uri);
            }
        }
    }

    /// A request outside a dialog for one of our users, or for a telephone number.
    #[allow(clippy::too_many_arguments)] // the parts of one received request
    fn new_request(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        key: ServerKey,
        message: Message,
        flow: Flow,
        prepared: Prepared,
        uri: &Uri<'_>,
    ) {
        let from_ours =
            message.from().ok().and_then(|from| Some(self.config.is_ours(from.uri().ok()?.host, None))) == Some(true);
        let caller = if from_ours {
            match self.authenticate(now, layer, key, &message, true) {
                Some(user) => Some(user),
                None => return,
            }
        } else {
            None
        };
        let user = uri.user_unescaped().map(|user| user.into_owned());
        // §16.6: contacts of equal preference at once, one preference after the other
        let found = user.as_deref().map(|user| self.location.lookup(user, now)).unwrap_or_default();
        let bindings: Vec<Vec<Hop>> = found
            .chunk_by(|one, next| one.q_thousandths == next.q_thousandths)
            .map(|group| group.iter().map(|binding| hop_of(binding)).collect())
            .collect();
        let number = uri.phone_number();
        let is_subscriber = user.as_deref().is_some_and(|user| self.config.subscribers.contains_key(user));
        let forwardable = self.without_our_credentials(&prepared.forwardable);
        let invite = message.method() == Method::Invite;
        let opens = match message.method() {
            Method::Invite => Opens::Call,
            Method::Subscribe | Method::Refer => Opens::Dialog,
            _ => Opens::Nothing,
        };

        if !bindings.is_empty() || is_subscriber {
            let context = self.open_context(key, message, flow, forwardable, opens);
            if bindings.is_empty() {
                return self.finish_with(now, layer, context, 480);
            }
            if invite {
                let called = user.unwrap_or_default();
                return self.open_call(now, layer, context, caller, called, Some(bindings));
            }
            self.enqueue(context, bindings);
            return self.next_group(now, layer, context);
        }
        let Some(number) = number else { return self.reject(now, layer, key, &message, 404) };
        // numbers cost money: only our own users call them, and only INVITEs go there
        if caller.is_none() {
            return self.reject(now, layer, key, &message, 403);
        }
        if !self.config.clearing {
            return self.reject(now, layer, key, &message, 404);
        }
        if !invite {
            return self.reject(now, layer, key, &message, 405);
        }
        let context = self.open_context(key, message, flow, forwardable, opens);
        self.open_call(now, layer, context, caller, number, None);
    }

    /// §16.3: what has to be right before anything is done.
    fn validate(&self, message: &Message) -> Result<(), u16> {
        match Uri::parse(message.request_uri()).map(|uri| uri.scheme) {
            Ok(Scheme::Sip | Scheme::Sips | Scheme::Tel) => {}
            Ok(Scheme::Other(_)) => return Err(416),
            Err(_) => return Err(400),
        }
        if message.from().is_err() || message.to().is_err() {
            return Err(400);
        }
        match message.max_forwards() {
            // what may end here is told apart later
            Ok(Some(0)) if message.to().is_ok_and(|to| to.tag().is_some()) => return Err(483),
            Ok(_) => {}
            Err(_) => return Err(400),
        }
        if message.values(Header::ProxyRequire).next().is_some() {
            return Err(420);
        }
        if message.header(Header::MaxBreadth).is_some() && breadth(message) == 0 {
            // RFC 5393 §5.3.3
            return Err(440);
        }
        let mark = loop_mark(message);
        let looped = message.vias().filter_map(Result::ok).any(|via| {
            self.config.is_listener(via.host, via.port)
                && via.branch().and_then(|branch| branch.rsplit('.').next()).is_some_and(|suffix| suffix == mark)
        });
        if looped { Err(482) } else { Ok(()) }
    }

    /// §16.4: Max-Forwards counted down, strict routers' rewriting undone, our own Routes taken off.
    pub(crate) fn prepare(&self, message: &Message) -> Option<Prepared> {
        let hops = match message.max_forwards() {
            Ok(Some(hops)) => hops.saturating_sub(1),
            _ => MAX_FORWARDS_DEFAULT,
        };
        let mut edit = message.edit();
        edit.set(Header::MaxForwards, &hops.to_string());
        let mut current = edit.finish();
        let mut along = false;
        // a strict router has put the URI that we recorded into the Request-URI, and the real one last in Route
        if let Ok(uri) = Uri::parse(current.request_uri())
            && uri.param(COOKIE).is_some()
            && self.config.is_listener(uri.host, uri.port)
        {
            along |= self.is_our_cookie(&uri, message);
            let routes: Vec<String> = current.values(Header::Route).map(str::to_owned).collect();
            if let Some((last, rest)) = routes.split_last() {
                let target = NameAddr::parse(last).ok()?.uri.to_owned();
                let mut edit = current.edit();
                edit.set_request_uri(&target);
                edit.remove(Header::Route);
                for route in rest {
                    edit.push_back(Header::Route, route);
                }
                current = edit.finish();
            }
        }
        // two of ours follow each other when the request changes listeners
        for _ in 0..2 {
            let Some(Ok(top)) = current.routes().next() else { break };
            let uri = top.uri().ok()?;
            if !self.config.is_ours(uri.host, uri.port) {
                break;
            }
            along |= self.is_our_cookie(&uri, message);
            let mut edit = current.edit();
            edit.remove_first_value(Header::Route);
            current = edit.finish();
        }
        Some(Prepared { forwardable: current, along_recorded_route: along })
    }

    fn is_our_cookie(&self, uri: &Uri<'_>, message: &Message) -> bool {
        let cookie = uri.param(COOKIE).and_then(|param| param.value);
        message.call_id().is_some_and(|call_id| cookie == Some(self.authenticator.cookie(call_id).as_str()))
    }

    pub(crate) fn open_context(
        &mut self,
        key: ServerKey,
        request: Message,
        flow: Flow,
        forwardable: Message,
        opens: Opens,
    ) -> u64 {
        let id = self.number();
        self.by_server.insert(key, id);
        self.contexts.insert(
            id,
            Context {
                key,
                request,
                flow,
                forwardable,
                branches: Vec::new(),
                waiting: VecDeque::new(),
                finals: Vec::new(),
                answered: false,
                accepted: false,
                cancelled: false,
                overloaded: false,
                call: None,
                opens_call: opens == Opens::Call,
                opens_dialog: opens != Opens::Nothing,
            },
        );
        id
    }

    pub(crate) fn enqueue(&mut self, context: u64, groups: Vec<Vec<Hop>>) {
        if let Some(context) = self.contexts.get_mut(&context) {
            context.waiting.extend(groups);
        }
    }

    /// Starts the next group of branches; without one left, answers with the best there is.
    pub(crate) fn next_group(&mut self, now: Moment, layer: &mut Layer, id: u64) {
        loop {
            let Some(context) = self.contexts.get_mut(&id) else { return };
            if context.answered || context.accepted || context.cancelled {
                return self.finish_if_done(now, layer, id);
            }
            let Some(mut group) = context.waiting.pop_front() else { return self.finish_if_done(now, layer, id) };
            // RFC 5393 §5.3.3: branches at a time share what breadth the request has; more of them wait for the first to fail
            let breadth = breadth(&context.request);
            if group.len() > breadth {
                let later = group.split_off(breadth.max(1));
                context.waiting.push_front(later);
            }
            let share = (breadth / group.len().max(1)).max(1);
            let mut started = false;
            for hop in group {
                started |= self.start_branch(now, layer, id, hop, share);
            }
            if started {
                return;
            }
        }
    }

    /// §16.6: one branch. False when it could not even be sent.
    fn start_branch(&mut self, now: Moment, layer: &mut Layer, id: u64, hop: Hop, breadth: usize) -> bool {
        let Some(context) = self.contexts.get(&id) else { return false };
        let flow = context.flow;
        let Some(outgoing) =
            self.config.listener_for(hop.target.transport, hop.target.address, Some(flow.local)).cloned()
        else {
            return false;
        };
        let invite = context.forwardable.method() == Method::Invite;
        let mut edit = context.forwardable.edit();
        edit.set_request_uri(&hop.uri);
        edit.set(Header::MaxBreadth, &breadth.to_string());
        if context.opens_dialog {
            let incoming = self.config.listener_for(flow.transport, flow.peer, Some(flow.local)).cloned();
            let cookie = self.authenticator.cookie(context.request.call_id().unwrap_or_default());
            // RFC 5658: with two listeners, two Record-Routes; the one that faces the callee stands on top
            if let Some(incoming) = incoming
                .filter(|incoming| incoming.address != outgoing.address || incoming.transport != outgoing.transport)
            {
                edit.push_front(Header::RecordRoute, &record_route(&incoming.advertised, incoming.transport, &cookie));
            }
            edit.push_front(Header::RecordRoute, &record_route(&outgoing.advertised, outgoing.transport, &cookie));
        }
        if let Some(destination) = &hop.destination {
            edit.set(Header::POspAuthToken, &destination.token_base64);
        }
        let sent = edit.finish();
        let mut target = hop.target;
        target.local = Some(outgoing.address);
        let mark = loop_mark(&context.request);
        let via = ViaSpec { sent_by: outgoing.advertised.clone(), branch_suffix: mark };
        let call = context.call;
        let index = context.branches.len();
        let Ok(key) = layer.request(now, sent.clone(), target, &via) else {
            if let Some(context) = self.contexts.get_mut(&id) {
                context.overloaded = true;
            }
            return false;
        };

        let trial = call.and_then(|call| self.start_trial(now, call, hop.destination.as_ref()));
        let timer_c =
            invite.then(|| self.timers.insert(now + self.config.timer_c, Timer::C { context: id, branch: index }));
        let silence = (invite && hop.destination.is_some()).then(|| {
            self.timers.insert(now + self.config.gateway_silence, Timer::Silence { context: id, branch: index })
        });
        self.by_client.insert(key, (id, index));
        if let Some(context) = self.contexts.get_mut(&id) {
            context.branches.push(Branch {
                key,
                state: BranchState::Calling,
                abandoned: false,
                accepted: false,
                hung_up: Vec::new(),
                timer_c,
                silence,
                trial,
                sent,
                target,
            });
        }
        true
    }

    /// Where a request with these Routes and this Request-URI goes next (§16.6 step 6, 7). Names are not resolved here:
    /// addresses and our users' own contacts only.
    pub(crate) fn next_hop(&self, now: Moment, message: &Message, near: Option<SocketAddr>) -> Option<Target> {
        let text = match message.routes().next() {
            Some(route) => route.ok()?.uri.to_owned(),
            None => message.request_uri().to_owned(),
        };
        let uri = Uri::parse(&text).ok()?;
        if let Some(target) = self.location.target_of_contact(&uri, now) {
            return Some(target);
        }
        let transport = match uri.transport() {
            Some(name) => Transport::parse(name)?,
            None if uri.scheme == Scheme::Sips => Transport::Tls,
            None => Transport::Udp,
        };
        let host: IpAddr = uri
            .param("maddr")
            .and_then(|param| param.value)
            .unwrap_or(uri.host)
            .trim_matches(['[', ']'])
            .parse()
            .ok()?;
        let address = SocketAddr::new(host, uri.port.unwrap_or(transport.default_port()));
        let listener = self.config.listener_for(transport, address, near)?;
        Some(Target { transport, address, flow: None, local: Some(listener.address) })
    }
}

/// RFC 5393 §5.3: on how many branches at a time a request may be in all; 60 where it does not say.
fn breadth(message: &Message) -> usize {
    let written = message.header(Header::MaxBreadth).and_then(|value| value.parse().ok());
    written.unwrap_or(MAX_BREADTH_DEFAULT)
}

fn hop_of(binding: &Binding) -> Hop {
    Hop { uri: request_uri_of(&binding.contact), target: binding.target, destination: None }
}

/// A binding's contact as a Request-URI: without the headers and the `method` parameter that must not stand there
/// (RFC 3261 §19.1.1, §16.6 step 2).
fn request_uri_of(contact: &str) -> String {
    let Ok(uri) = Uri::parse(contact) else { return contact.to_owned() };
    let bare = match uri.headers() {
        Some(headers) => contact.strip_suffix(headers).and_then(|rest| rest.strip_suffix('?')).unwrap_or(contact),
        None => contact,
    };
    let Some(method) = uri.param("method") else { return bare.to_owned() };
    let written = match method.value {
        Some(value) => format!(";{}={value}", method.name),
        None => format!(";{}", method.name),
    };
    bare.replacen(&written, "", 1)
}

/// URI parameter of our Record-Route that holds a keyed hash of the Call-ID.
pub(crate) const COOKIE: &str = "sc";

fn record_route(advertised: &str, transport: Transport, cookie: &str) -> String {
    match transport {
        Transport::Udp => format!("<sip:{advertised};lr;{COOKIE}={cookie}>"),
        other => format!("<sip:{advertised};transport={};lr;{COOKIE}={cookie}>", other.as_str().to_ascii_lowercase()),
    }
}

/// The loop mark of RFC 5393 §4.2.1: what would make us route the request differently, hashed. Not keyed: a forged one only
/// stops the forger's own request.
pub(crate) fn loop_mark(message: &Message) -> String {
    let mut hasher = DefaultHasher::new();
    message.request_uri().hash(&mut hasher);
    message.call_id().hash(&mut hasher);
    message.from().ok().and_then(|from| from.tag()).hash(&mut hasher);
    message.to().ok().and_then(|to| to.tag()).hash(&mut hasher);
    message.cseq().ok().map(|cseq| cseq.number).hash(&mut hasher);
    for name in [Header::Route, Header::ProxyRequire, Header::ProxyAuthorization] {
        for value in message.values(name) {
            value.hash(&mut hasher);
        }
    }
    format!("{:016x}", hasher.finish())
}
