//! Puts messages and streams into calls. The keys are in the crate's documentation.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use strowger_cops as cops;
use strowger_sip::Method;

use crate::capture::Limits;
use crate::dissect::Found;
use crate::model::{Call, Event, Outcome};
use crate::names::Names;
use crate::parties;
use crate::sighting::{ConnectionId, CopsFacts, Endpoint, Facts, IsupFacts, OspFacts, Sighting, SipFacts};

/// A further leg begins within so long of the INVITE that it follows.
const LEG_NANOS: u64 = 10_000_000_000;
/// Calls looked at, newest first, for a leg or a trunk.
const RECENT_MAX: usize = 512;
/// A stream belongs to a call when it begins no earlier than so long before the call, and no later than so long after it.
const MEDIA_SLACK_NANOS: u64 = 5_000_000_000;
/// Digits that two numbers must share at their ends.
const DIGITS_SHARED_MIN: usize = 3;

/// A call being put together.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub call_ids: Vec<String>,
    pub from: String,
    pub to: String,
    pub called: String,
    pub started: u64,
    pub last: u64,
    /// Indices of its messages.
    pub messages: Vec<usize>,
    pub messages_dropped: u64,
    /// Media addresses and who first named them.
    pub media: Vec<(SocketAddr, Endpoint)>,
    /// Indices of its streams.
    pub streams: Vec<usize>,
    pub transaction_ids: Vec<u64>,
    pub circuits: Vec<u16>,
    /// Where INVITEs went, and when: for further legs.
    invited: Vec<(Endpoint, u64)>,
}

/// Media addresses, circuits and transactions of one call.
const KEYS_MAX: usize = 64;

#[derive(Debug, Default)]
struct Correlation {
    drafts: Vec<Draft>,
    by_call_id: HashMap<String, usize>,
    by_transaction: HashMap<u64, usize>,
    by_media: HashMap<SocketAddr, usize>,
    by_handle: HashMap<(ConnectionId, bytes::Bytes), usize>,
    /// What a PDP installed for which call, by the connection to the router.
    by_instance: HashMap<(ConnectionId, u32), usize>,
    /// Decisions that wait for their report, oldest first.
    decided: HashMap<(ConnectionId, bytes::Bytes), VecDeque<Option<usize>>>,
    /// Calls that wait for an answer of this PDP.
    asking: HashMap<Endpoint, Vec<usize>>,
    /// OSP questions that wait for their answer.
    asked: HashMap<ConnectionId, VecDeque<(String, Option<usize>)>>,
    by_circuit: HashMap<(u16, u16, u16), usize>,
    over_limits: u64,
}

/// OSP questions and COPS decisions of one connection that wait.
const WAITING_MAX: usize = 1_024;

pub(crate) fn calls(found: &mut Found, names: &Names, limits: &Limits) -> Vec<Call> {
    // copies of other interfaces may stand anywhere in the file
    found.messages.sort_by_key(|message| (message.at, message.frame));
    let mut correlation = Correlation::default();
    for (index, message) in found.messages.iter().enumerate() {
        let draft = match &message.facts {
            Facts::Sip(facts) => correlation.sip(message, facts, limits),
            Facts::Cops(facts) => correlation.cops(message, facts),
            Facts::Osp(facts) => correlation.osp(facts),
            Facts::Isup(facts) => correlation.isup(message, facts, limits),
        };
        if let Some(draft) = draft.and_then(|draft| correlation.drafts.get_mut(draft)) {
            draft.last = draft.last.max(message.at);
            if draft.messages.len() < limits.events_per_call {
                draft.messages.push(index);
            } else {
                draft.messages_dropped += 1;
            }
        }
    }
    correlation.streams(found);
    found.summary.over_limits += correlation.over_limits;
    correlation.drafts.iter().map(|draft| call(draft, found, names)).collect()
}

fn digits_match(one: &str, other: &str) -> bool {
    let (long, short) = if one.len() >= other.len() { (one, other) } else { (other, one) };
    one == other && !one.is_empty()
        || short.len() >= DIGITS_SHARED_MIN && short.bytes().all(|c| c.is_ascii_digit()) && long.ends_with(short)
}

impl Correlation {
    fn open(&mut self, draft: Draft, limits: &Limits) -> Option<usize> {
        if self.drafts.len() >= limits.calls {
            self.over_limits += 1;
            return None;
        }
        self.drafts.push(draft);
        Some(self.drafts.len() - 1)
    }

    /// The newest drafts first, with their indices.
    fn recent(&self) -> impl Iterator<Item = (usize, &Draft)> {
        self.drafts.iter().enumerate().rev().take(RECENT_MAX)
    }

    fn sip(&mut self, message: &Sighting, facts: &SipFacts, limits: &Limits) -> Option<usize> {
        let is_invite = facts.status.is_none() && facts.method == Method::Invite;
        let known = self.by_call_id.get(&facts.call_id).copied();
        let index = match known {
            Some(index) => index,
            None if is_invite && facts.initial => {
                let index = match self.earlier_leg(message, facts) {
                    Some(index) => index,
                    None => self.open(
                        Draft {
                            from: facts.from.clone(),
                            to: facts.uri.clone(),
                            called: facts.called.clone(),
                            started: message.at,
                            ..Draft::default()
                        },
                        limits,
                    )?,
                };
                self.by_call_id.insert(facts.call_id.clone(), index);
                if let Some(draft) = self.drafts.get_mut(index) {
                    draft.call_ids.push(facts.call_id.clone());
                }
                index
            }
            None => return None,
        };
        let draft = self.drafts.get_mut(index)?;
        if is_invite && draft.invited.len() < KEYS_MAX {
            draft.invited.push((message.destination, message.at));
        }
        for address in &facts.media {
            if draft.media.len() < KEYS_MAX && draft.media.iter().all(|(known, _)| known != address) {
                draft.media.push((*address, message.source));
            }
            self.by_media.insert(*address, index);
        }
        Some(index)
    }

    /// The call that an INVITE with a new Call-ID carries on: an element just got an INVITE to the same number.
    fn earlier_leg(&self, message: &Sighting, facts: &SipFacts) -> Option<usize> {
        let source = message.source.ip()?;
        let follows = |draft: &Draft| {
            digits_match(&draft.called, &facts.called)
                && draft.invited.iter().any(|(element, at)| {
                    element.ip() == Some(source)
                        && *element != message.destination
                        && message.at.saturating_sub(*at) <= LEG_NANOS
                })
                // on one host, a call between other elements of it is another call
                && draft.invited.iter().all(|(element, _)| *element != message.destination)
        };
        self.recent().find(|(_, draft)| follows(draft)).map(|(index, _)| index)
    }

    fn cops(&mut self, message: &Sighting, facts: &CopsFacts) -> Option<usize> {
        let handle = (facts.connection, facts.handle.clone());
        if facts.client_type == cops::CLIENT_TYPE_PROVISIONING {
            return self.provisioning(message, facts, handle);
        }
        match facts.op {
            cops::Op::Request => {
                let named = facts.call_id.as_ref().and_then(|call_id| self.by_call_id.get(call_id)).copied();
                let index = named.or_else(|| self.by_handle.get(&handle).copied())?;
                self.by_handle.insert(handle, index);
                let asking = self.asking.entry(message.destination).or_default();
                if asking.len() < WAITING_MAX {
                    asking.push(index);
                }
                Some(index)
            }
            cops::Op::Decision => {
                let index = self.by_handle.get(&handle).copied()?;
                let asking = self.asking.entry(message.source).or_default();
                if let Some(place) = asking.iter().position(|asking| *asking == index) {
                    asking.remove(place);
                }
                Some(index)
            }
            cops::Op::DeleteRequestState => self.by_handle.remove(&handle),
            _ => self.by_handle.get(&handle).copied(),
        }
    }

    /// COPS-PR: what a router is told for a call, and what it says to it.
    fn provisioning(
        &mut self,
        message: &Sighting,
        facts: &CopsFacts,
        handle: (ConnectionId, bytes::Bytes),
    ) -> Option<usize> {
        match facts.op {
            cops::Op::Decision => {
                let installing = facts.command == Some(cops::Command::Install);
                let by_flow = facts.flows.iter().find_map(|flow| self.by_media.get(flow)).copied();
                let by_instance =
                    facts.instances.iter().find_map(|n| self.by_instance.get(&(facts.connection, *n))).copied();
                let only_one = || match self.asking.get(&message.source).map(Vec::as_slice) {
                    Some([only]) => Some(*only),
                    _ => None,
                };
                let has_flows = !facts.flows.is_empty() || !facts.instances.is_empty();
                let index = if installing {
                    by_flow.or_else(|| only_one().filter(|_| has_flows))
                } else {
                    by_instance.or_else(|| only_one().filter(|_| has_flows))
                };
                for instance in &facts.instances {
                    match index.filter(|_| installing) {
                        Some(index) => self.by_instance.insert((facts.connection, *instance), index),
                        None => self.by_instance.remove(&(facts.connection, *instance)),
                    };
                }
                let decided = self.decided.entry(handle).or_default();
                if decided.len() < WAITING_MAX {
                    decided.push_back(index);
                }
                index
            }
            cops::Op::ReportState if !facts.accounting => self.decided.get_mut(&handle)?.pop_front()?,
            _ => None,
        }
    }

    fn osp(&mut self, facts: &OspFacts) -> Option<usize> {
        let by_transaction = facts.transaction_id.and_then(|id| self.by_transaction.get(&id)).copied();
        if facts.answer {
            let asked = self.asked.get_mut(&facts.connection)?;
            let place = if facts.message_id.is_empty() {
                (!asked.is_empty()).then_some(0)
            } else {
                asked.iter().position(|(message_id, _)| *message_id == facts.message_id)
            };
            let (_, index) = asked.remove(place?)?;
            let index = index.or(by_transaction);
            self.note_transaction(index, facts);
            return index;
        }
        let index = facts.call_ids.iter().find_map(|id| self.by_call_id.get(id)).copied().or(by_transaction);
        let asked = self.asked.entry(facts.connection).or_default();
        if asked.len() >= WAITING_MAX {
            asked.pop_front();
        }
        asked.push_back((facts.message_id.clone(), index));
        self.note_transaction(index, facts);
        index
    }

    fn note_transaction(&mut self, index: Option<usize>, facts: &OspFacts) {
        let (Some(index), Some(id)) = (index, facts.transaction_id) else { return };
        self.by_transaction.insert(id, index);
        if let Some(draft) = self.drafts.get_mut(index)
            && draft.transaction_ids.len() < KEYS_MAX
            && !draft.transaction_ids.contains(&id)
        {
            draft.transaction_ids.push(id);
        }
    }

    fn isup(&mut self, message: &Sighting, facts: &IsupFacts, limits: &Limits) -> Option<usize> {
        let (low, high) = (facts.origin.min(facts.destination), facts.origin.max(facts.destination));
        let circuit = (low, high, facts.cic);
        let Some(called) = &facts.called else {
            let index = self.by_circuit.get(&circuit).copied();
            if facts.acronym == "RLC" {
                self.by_circuit.remove(&circuit);
            }
            return index;
        };
        let reach = limits.trunk_seconds.saturating_mul(1_000_000_000);
        let free = |draft: &Draft| {
            draft.circuits.is_empty()
                && message.at.saturating_sub(draft.started) <= reach
                && digits_match(&draft.called, called)
        };
        // the one whose INVITE is freshest: a second try on another gateway has its own circuit
        let again = |draft: &Draft| {
            digits_match(&draft.called, called)
                && draft.invited.iter().any(|(_, at)| message.at.saturating_sub(*at) <= reach)
        };
        let index =
            self.recent().find(|(_, draft)| free(draft)).or_else(|| self.recent().find(|(_, draft)| again(draft)));
        let index = match index.map(|(index, _)| index) {
            Some(index) => index,
            None => self.open(
                Draft {
                    from: facts.calling.clone().unwrap_or_default(),
                    to: called.clone(),
                    called: called.clone(),
                    started: message.at,
                    ..Draft::default()
                },
                limits,
            )?,
        };
        self.by_circuit.insert(circuit, index);
        let draft = self.drafts.get_mut(index)?;
        if draft.circuits.len() < KEYS_MAX && !draft.circuits.contains(&facts.cic) {
            draft.circuits.push(facts.cic);
        }
        Some(index)
    }

    /// Gives each stream to the call that named one of its addresses, and was there at that time.
    fn streams(&mut self, found: &mut Found) {
        let mut by_address: HashMap<SocketAddr, Vec<usize>> = HashMap::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            for (address, _) in &draft.media {
                by_address.entry(*address).or_default().push(index);
            }
        }
        for (stream_index, stream) in found.streams.iter_mut().enumerate() {
            let candidates = [stream.destination, stream.source];
            let mut calls = candidates.iter().filter_map(|address| by_address.get(address)).flatten().rev();
            let in_time = |index: &&usize| {
                self.drafts.get(**index).is_some_and(|draft| {
                    stream.started_unix_nanos.saturating_add(MEDIA_SLACK_NANOS) >= draft.started
                        && stream.started_unix_nanos <= draft.last.saturating_add(MEDIA_SLACK_NANOS)
                })
            };
            let Some(index) = calls.find(in_time).copied() else { continue };
            let Some(draft) = self.drafts.get_mut(index) else { continue };
            stream.call_id = draft.call_ids.first().cloned();
            if draft.streams.len() < KEYS_MAX {
                draft.streams.push(stream_index);
            } else {
                self.over_limits += 1;
            }
        }
    }
}

/// What became of the call, by the caller's leg, or by the trunk when there is no SIP.
struct Story {
    answered_at: Option<u64>,
    ended: Option<(u64, usize)>,
    failed: Option<(u16, String)>,
    cancelled: bool,
}

fn story(draft: &Draft, found: &Found, events: &[Event]) -> Story {
    let mut story = Story { answered_at: None, ended: None, failed: None, cancelled: false };
    let caller = draft.messages.first().and_then(|index| found.messages.get(*index)).map(|first| first.source);
    let leg = draft.call_ids.first();
    for (index, event) in draft.messages.iter().zip(events) {
        let Some(message) = found.messages.get(*index) else { continue };
        match &message.facts {
            Facts::Sip(facts) if Some(&facts.call_id) == leg => match (facts.status, &facts.method) {
                (Some(200..=299), Method::Invite) if Some(message.destination) == caller => {
                    story.answered_at = story.answered_at.or(Some(message.at));
                }
                (Some(status @ 300..), Method::Invite)
                    if Some(message.destination) == caller
                        && story.answered_at.is_none()
                        && !matches!(status, 401 | 407) =>
                {
                    story.failed = Some((status, facts.reason.clone()));
                }
                (None, Method::Bye) => story.ended = story.ended.or(Some((message.at, event.from))),
                (None, Method::Cancel) if Some(message.source) == caller => story.cancelled = true,
                _ => {}
            },
            Facts::Isup(facts) if leg.is_none() => match facts.acronym {
                "ANM" | "CON" => story.answered_at = story.answered_at.or(Some(message.at)),
                "REL" if story.answered_at.is_none() => {
                    let text = message.label.strip_prefix("REL ").unwrap_or_default().to_owned();
                    story.failed = story.failed.or(Some((0, text)));
                }
                "REL" => story.ended = story.ended.or(Some((message.at, event.from))),
                _ => {}
            },
            _ => {}
        }
    }
    story
}

fn call(draft: &Draft, found: &Found, names: &Names) -> Call {
    let (parties, events, media) = parties::assign(draft, found, names);
    let story = story(draft, found, &events);
    let outcome = match (story.answered_at, story.ended, story.failed) {
        (Some(answered), Some((ended, by)), _) => {
            Outcome::Completed { talked_ms: ended.saturating_sub(answered) / 1_000_000, ended_by: by }
        }
        (Some(_), None, _) => Outcome::Answered,
        (None, _, Some((487, _))) if story.cancelled => Outcome::Cancelled,
        (None, _, Some((status, reason))) => Outcome::Failed { status, reason },
        (None, _, None) if story.cancelled => Outcome::Cancelled,
        (None, _, None) => Outcome::Unfinished,
    };
    let last_media = media.iter().map(|media| media.ended_unix_nanos).max().unwrap_or(0);
    let first_media = media.iter().map(|media| media.started_unix_nanos).min().unwrap_or(u64::MAX);
    Call {
        call_ids: draft.call_ids.clone(),
        from: draft.from.clone(),
        to: draft.to.clone(),
        started_unix_nanos: draft.started.min(first_media),
        ended_unix_nanos: draft.last.max(last_media),
        answered_after_ms: story.answered_at.map(|at| at.saturating_sub(draft.started) / 1_000_000),
        outcome,
        transaction_ids: draft.transaction_ids.clone(),
        circuits: draft.circuits.clone(),
        parties,
        events,
        media,
        events_dropped: draft.messages_dropped,
    }
}
