//! A user that places calls, cancels some, acknowledges 2xx and writes down how each ended.

use std::collections::BTreeMap;
use std::time::Duration;

use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{ClientKey, Event, Failure, Layer, Target, TransactionUser, ViaSpec};

/// RFC 3261 §16.6: timer C is more than three minutes.
const TIMER_C: Duration = Duration::from_secs(181);

/// Something to do.
pub struct Place {
    pub call_id: String,
    pub method: Method,
    pub target: Target,
    pub cancel_after: Option<Duration>,
}

/// How a request ended for the caller.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// 2xx with this To tag.
    Accepted(String),
    Rejected(u16),
    Failed(Failure),
}

/// One request and its fate.
pub struct Placed {
    pub outcome: Option<Outcome>,
    pub is_cancelled: bool,
    pub is_terminated: bool,
    key: ClientKey,
    request: Message,
    target: Target,
    ack: Option<Message>,
    cancel_at: Vec<Moment>,
}

pub struct Caller {
    via: ViaSpec,
    pub placed: BTreeMap<String, Placed>,
    keys: BTreeMap<ClientKey, String>,
}

impl Caller {
    pub fn new(via: ViaSpec) -> Self {
        Caller { via, placed: BTreeMap::new(), keys: BTreeMap::new() }
    }

    fn finish(&mut self, key: ClientKey, outcome: Outcome) {
        let placed = self.by_key(key);
        assert_eq!(placed.outcome, None, "a request ends once");
        placed.outcome = Some(outcome);
        placed.cancel_at.clear();
    }

    fn by_key(&mut self, key: ClientKey) -> &mut Placed {
        let call_id = self.keys.get(&key).expect("events bear keys that request() gave");
        self.placed.get_mut(call_id).expect("kept for ever")
    }

    fn responded(&mut self, key: ClientKey, message: &Message, layer: &mut Layer) {
        let via = self.via.clone();
        let placed = self.by_key(key);
        assert!(!placed.is_terminated, "no event after the last");
        let tag = message.to().expect("a To").tag().unwrap_or_default().to_owned();
        match message.status().expect("a response") {
            100..=199 => assert_eq!(placed.outcome, None, "no provisional response after a final one"),
            200..=299 if placed.request.method() == Method::Invite => {
                match &placed.outcome {
                    None => self.finish(key, Outcome::Accepted(tag)),
                    Some(outcome) => assert_eq!(*outcome, Outcome::Accepted(tag), "the same 2xx again"),
                }
                self.acknowledge(key, message, &via, layer);
            }
            200..=299 => self.finish(key, Outcome::Accepted(tag)),
            status => self.finish(key, Outcome::Rejected(status)),
        }
    }

    /// RFC 3261 §13.2.2.4: the same ACK for each 2xx.
    fn acknowledge(&mut self, key: ClientKey, response: &Message, via: &ViaSpec, layer: &mut Layer) {
        let placed = self.by_key(key);
        let target = placed.target;
        let ack = placed.ack.get_or_insert_with(|| {
            Builder::request(Method::Ack, placed.request.request_uri())
                .header(Header::Via, &layer.via(via, target.transport))
                .copy(Header::From, &placed.request)
                .copy(Header::To, response)
                .copy(Header::CallId, &placed.request)
                .header(Header::CSeq, "1 ACK")
                .build()
        });
        layer.send_stateless(ack.clone(), target);
    }
}

impl TransactionUser for Caller {
    type Input = Place;
    type Effect = ();

    fn event(&mut self, _now: Moment, event: Event, layer: &mut Layer) {
        match event {
            Event::Response { key, message, .. } => self.responded(key, &message, layer),
            Event::ClientFailed { key, why } => self.finish(key, Outcome::Failed(why)),
            Event::ClientTerminated { key } => {
                let placed = self.by_key(key);
                assert!(placed.outcome.is_some(), "terminated without an outcome");
                assert!(!placed.is_terminated, "terminated twice");
                placed.is_terminated = true;
            }
            // a last copy that was long under way
            Event::StrayResponse { .. } => {}
            other => panic!("not for a caller: {other:?}"),
        }
    }

    fn input(&mut self, now: Moment, place: Place, layer: &mut Layer) {
        let cseq = format!("1 {}", place.method);
        let is_invite = place.method == Method::Invite;
        let request = Builder::request(place.method, "sip:bob@example.test")
            .header(Header::From, &format!("<sip:alice@example.test>;tag={}", place.call_id))
            .header(Header::To, "<sip:bob@example.test>")
            .header(Header::CallId, &place.call_id)
            .header(Header::CSeq, &cseq)
            .build();
        let key = layer.request(now, request.clone(), place.target, &self.via).expect("room");
        let timer_c = is_invite.then_some(TIMER_C);
        let cancel_at = place.cancel_after.into_iter().chain(timer_c).map(|after| now + after).collect();
        let placed = Placed {
            outcome: None,
            is_cancelled: false,
            is_terminated: false,
            key,
            request,
            target: place.target,
            ack: None,
            cancel_at,
        };
        self.placed.insert(place.call_id.clone(), placed);
        self.keys.insert(key, place.call_id);
    }

    fn timeout(&mut self, now: Moment, layer: &mut Layer) {
        for placed in self.placed.values_mut().filter(|placed| placed.cancel_at.iter().any(|at| *at <= now)) {
            placed.cancel_at.retain(|at| *at > now);
            placed.is_cancelled = true;
            layer.cancel(now, placed.key);
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.placed.values().flat_map(|placed| &placed.cancel_at).copied().min()
    }

    fn poll_effect(&mut self) -> Option<()> {
        None
    }
}
