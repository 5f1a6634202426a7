//! A user that rings, answers, rejects or lets ring, repeats its 2xx until the ACK, and writes down how each call ended.

use std::collections::BTreeMap;
use std::time::Duration;

use strowger_clock::{Moment, Random};
use strowger_sip::{Builder, Message, Method};
use strowger_transaction::{Event, Failure, Layer, ServerKey, TransactionUser};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// How long a phone rings that nobody answers.
const RINGING_MAX: Duration = Duration::from_secs(60);

/// One request and what was done about it.
pub struct Incoming {
    key: ServerKey,
    request: Message,
    tag: String,
    due: BTreeMap<Moment, Due>,
    /// The final response sent.
    pub answered: Option<u16>,
    /// The ACK for our 2xx came.
    pub is_confirmed: bool,
    /// Nobody acknowledged our final response.
    pub is_unacknowledged: bool,
    pub is_terminated: bool,
    interval: Duration,
    give_up_at: Moment,
}

#[derive(Copy, Clone)]
enum Due {
    Provisional(u16),
    Final(u16),
    Repeat,
}

pub struct Callee {
    random: Random,
    pub incoming: BTreeMap<String, Incoming>,
    keys: BTreeMap<ServerKey, String>,
}

impl Callee {
    pub fn new(random: Random) -> Self {
        Callee { random, incoming: BTreeMap::new(), keys: BTreeMap::new() }
    }

    /// Draws what will be done: ring or not, answer or reject, now or later.
    fn plan(&mut self, now: Moment, method: &Method) -> BTreeMap<Moment, Due> {
        let mut after = |most_ms: u64| now + Duration::from_millis(self.random.below(most_ms));
        let mut due = BTreeMap::new();
        if *method != Method::Invite {
            due.insert(after(3_000), Due::Provisional(100));
            due.insert(after(3_000) + Duration::from_nanos(1), Due::Final(200));
            return due;
        }
        due.insert(after(2_000), Due::Provisional(180));
        due.insert(after(4_000), Due::Provisional(183));
        let (at, status) = match self.random.below(4) {
            0 => (now + RINGING_MAX, 480),
            1 => (now + Duration::from_millis(self.random.below(6_000)), 486),
            _ => (now + Duration::from_millis(self.random.below(6_000)), 200),
        };
        due.insert(at + Duration::from_nanos(1), Due::Final(status));
        due
    }

    fn by_key(&mut self, key: ServerKey) -> &mut Incoming {
        let call_id = self.keys.get(&key).expect("events bear keys that came with a request");
        self.incoming.get_mut(call_id).expect("kept for ever")
    }
}

impl Incoming {
    fn respond(&self, now: Moment, status: u16, layer: &mut Layer) {
        layer.respond(now, self.key, Builder::response(&self.request, status, None).to_tag(&self.tag).build());
    }

    fn finish(&mut self, now: Moment, status: u16, layer: &mut Layer) {
        assert_eq!(self.answered, None, "one final response");
        self.answered = Some(status);
        self.due.clear();
        self.respond(now, status, layer);
        if status == 200 && self.request.method() == Method::Invite {
            self.interval = T1;
            self.give_up_at = now + 64 * T1;
            self.due.insert(now + T1, Due::Repeat);
        }
    }

    /// RFC 3261 §13.3.1.4: the 2xx is the user's to repeat, from T1 up to T2, for 64*T1.
    fn repeat(&mut self, now: Moment, layer: &mut Layer) {
        if now >= self.give_up_at {
            self.is_unacknowledged = true;
            return;
        }
        self.respond(now, 200, layer);
        self.interval = (self.interval * 2).min(T2);
        self.due.insert((now + self.interval).min(self.give_up_at), Due::Repeat);
    }
}

impl TransactionUser for Callee {
    type Input = ();
    type Effect = ();

    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer) {
        match event {
            Event::Request { key, message, .. } => {
                let call_id = message.call_id().expect("a Call-ID").to_owned();
                let due = self.plan(now, &message.method());
                let incoming = Incoming {
                    key,
                    request: message,
                    tag: self.random.alphanumeric(8),
                    due,
                    answered: None,
                    is_confirmed: false,
                    is_unacknowledged: false,
                    is_terminated: false,
                    interval: T1,
                    give_up_at: Moment::MAX,
                };
                let before = self.incoming.insert(call_id.clone(), incoming);
                assert!(before.is_none(), "a request is handed up once");
                self.keys.insert(key, call_id);
            }
            Event::Ack { message, .. } => {
                let call_id = message.call_id().expect("a Call-ID");
                let incoming = self.incoming.get_mut(call_id).expect("an ACK for a call of ours");
                assert_eq!(incoming.answered, Some(200), "only a 2xx's ACK is the user's");
                incoming.is_confirmed = true;
                incoming.due.clear();
            }
            Event::Cancel { invite, .. } => {
                let incoming = self.by_key(invite);
                assert_eq!(incoming.answered, None, "a CANCEL after the final response is no event");
                incoming.finish(now, 487, layer);
            }
            Event::ServerFailed { key, why: Failure::Timeout } => self.by_key(key).is_unacknowledged = true,
            Event::ServerTerminated { key } => {
                let incoming = self.by_key(key);
                assert!(incoming.answered.is_some() && !incoming.is_terminated);
                incoming.is_terminated = true;
            }
            other => panic!("not for a callee: {other:?}"),
        }
    }

    fn input(&mut self, _now: Moment, (): (), _layer: &mut Layer) {}

    fn timeout(&mut self, now: Moment, layer: &mut Layer) {
        for incoming in self.incoming.values_mut() {
            while let Some(entry) = incoming.due.first_entry().filter(|entry| *entry.key() <= now) {
                match entry.remove() {
                    Due::Provisional(status) => incoming.respond(now, status, layer),
                    Due::Final(status) => incoming.finish(now, status, layer),
                    Due::Repeat => incoming.repeat(now, layer),
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.incoming.values().filter_map(|incoming| incoming.due.first_key_value()).map(|(at, _)| *at).min()
    }

    fn poll_effect(&mut self) -> Option<()> {
        None
    }
}
