//! The machine that pairs reports.

use crate::record::{Attempt, Cdr, CdrState, DurationRule};
use crate::report::{AuthorizedCall, Party, Report, ReportKey, ReportState, Role};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;
use strowger_clock::Timestamp;

/// How many calls may be open at once.
pub const MAXIMUM_OPEN_CALLS: usize = 1_000_000;

/// How many reports one call may have, all parts and attempts together.
pub const MAXIMUM_REPORTS_PER_CALL: usize = 128;

/// How long a caller is waited for that reported a failed attempt and did not say whether it was the last: longer than a phone rings.
const UNTOLD_WINDOW: Duration = Duration::from_secs(180);

/// The machine's settings.
#[derive(Copy, Clone, Debug)]
pub struct MatcherConfig {
    /// How long the second report of a conversation is waited for.
    pub match_window: Duration,
    /// How long the gateways' reports are waited for when the calling device says that every attempt failed: shorter, because a gateway
    /// that was never reached reports nothing.
    pub failed_window: Duration,
    /// Differences up to this are no disagreement: clocks and ends of calls are not exact.
    pub tolerance_seconds: u64,
    /// Which duration counts.
    pub rule: DurationRule,
}

impl Default for MatcherConfig {
    fn default() -> Self {
        MatcherConfig {
            match_window: Duration::from_secs(30),
            failed_window: Duration::from_secs(2),
            tolerance_seconds: 2,
            rule: DurationRule::Shorter,
        }
    }
}

/// What became of a report.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// New: it is to be kept.
    Taken,
    /// It came before: it is to be confirmed and not kept again.
    Repeated,
    /// No open call has this number.
    Unknown,
    /// The reporter is neither the caller nor one of the call's gateways: the report is not theirs to make.
    NotAParty,
    /// The call has [`MAXIMUM_REPORTS_PER_CALL`].
    TooMany,
}

#[derive(Clone, Debug)]
struct Open {
    call: AuthorizedCall,
    seen: HashSet<ReportKey>,
    attempts: Vec<Attempt>,
    total_attempts: Option<u32>,
    deadline: Timestamp,
}

/// Open calls and what was reported of them.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    config: MatcherConfig,
    open: HashMap<u64, Open>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    closed: VecDeque<Cdr>,
}

impl Matcher {
    /// No call is open.
    pub fn new(config: MatcherConfig) -> Matcher {
        Matcher { config, ..Matcher::default() }
    }

    /// Takes a call that was authorized. Refused (false) when the number is taken or [`MAXIMUM_OPEN_CALLS`] are open.
    pub fn authorized(&mut self, call: AuthorizedCall) -> bool {
        if self.open.len() >= MAXIMUM_OPEN_CALLS || self.open.contains_key(&call.transaction) {
            return false;
        }
        let (transaction, deadline) = (call.transaction, call.expires);
        self.deadlines.insert((deadline, transaction));
        let open = Open { call, seen: HashSet::new(), attempts: Vec::new(), total_attempts: None, deadline };
        self.open.insert(transaction, open);
        true
    }

    /// Moves an open call's latest end, after more time was granted.
    pub fn extend(&mut self, transaction: u64, expires: Timestamp) {
        if let Some(open) = self.open.get_mut(&transaction) {
            // a window that is already running stays
            let running = open.deadline < open.call.expires;
            open.call.expires = expires;
            if !running {
                self.deadlines.remove(&(open.deadline, transaction));
                open.deadline = expires;
                self.deadlines.insert((expires, transaction));
            }
        }
    }

    /// Takes a report.
    pub fn handle(&mut self, now: Timestamp, report: Report) -> Disposition {
        let transaction = report.key.transaction;
        let Some(open) = self.open.get_mut(&transaction) else { return Disposition::Unknown };
        let reporter = Party { customer: report.key.customer.clone(), device: report.key.device.clone() };
        let is_source = reporter == open.call.source;
        let is_candidate = open.call.candidates.iter().any(|candidate| candidate.party == reporter);
        if !is_source && !is_candidate {
            return Disposition::NotAParty;
        }
        if open.seen.contains(&report.key) {
            return Disposition::Repeated;
        }
        if open.seen.len() >= MAXIMUM_REPORTS_PER_CALL {
            return Disposition::TooMany;
        }
        open.seen.insert(report.key.clone());
        // An end can only speak for itself: what it says of the other end is evidence, and pairs with nothing. A calling device that says
        // it is the gateway still speaks of a call that it pays for (OSP Toolkit does so after it has validated its own token): where it
        // says nothing else, that counts as its word.
        let end = match report.key.role {
            Role::Source if is_source => Some(Role::Source),
            Role::Destination if is_candidate => Some(Role::Destination),
            Role::Destination if is_source && open.attempts.iter().all(|attempt| attempt.source_report.is_none()) => {
                Some(Role::Source)
            }
            _ => None,
        };
        if let Some(end) = end.filter(|_| report.key.state == ReportState::Stop) {
            open.take(end, report, reporter);
            self.settle(now, transaction);
        }
        Disposition::Taken
    }

    /// Closes the calls whose time is over.
    pub fn timeout(&mut self, now: Timestamp) {
        while let Some((deadline, transaction)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.close(now, transaction);
        }
    }

    /// When the next call's time is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next record that was closed.
    pub fn poll_output(&mut self) -> Option<Cdr> {
        self.closed.pop_front()
    }

    /// How many calls are open.
    pub fn open_calls(&self) -> usize {
        self.open.len()
    }

    /// The facts of an open call.
    pub fn call(&self, transaction: u64) -> Option<&AuthorizedCall> {
        self.open.get(&transaction).map(|open| &open.call)
    }

    /// Closes the call if everything is known; else says how long the rest is waited for.
    fn settle(&mut self, now: Timestamp, transaction: u64) {
        let Some(open) = self.open.get_mut(&transaction) else { return };
        let conversation = open.conversation();
        let source_is_done = open.source_is_done() || conversation.is_some_and(Attempt::source_is_connected);
        let known = match conversation {
            Some(attempt) => source_is_done && attempt.source_report.is_some() && attempt.destination_report.is_some(),
            None => source_is_done && open.attempts.iter().all(|attempt| attempt.destination_report.is_some()),
        };
        if known {
            self.close(now, transaction);
            return;
        }
        let window = match conversation {
            Some(_) => self.config.match_window,
            None if source_is_done => self.config.failed_window,
            // the caller did not say how many attempts there are: it may be trying the next one
            None if open.attempts.iter().any(|attempt| attempt.source_report.is_some()) => UNTOLD_WINDOW,
            // a gateway's failure alone: the caller is trying the next one, and will say
            None => return,
        };
        let deadline = (now + window).min(open.deadline);
        self.deadlines.remove(&(open.deadline, transaction));
        open.deadline = deadline;
        self.deadlines.insert((deadline, transaction));
    }

    fn close(&mut self, now: Timestamp, transaction: u64) {
        if let Some(open) = self.open.remove(&transaction) {
            self.deadlines.remove(&(open.deadline, transaction));
            self.closed.push_back(open.into_cdr(now, &self.config));
        }
    }
}

impl Open {
    /// The attempt that led to a conversation: by the caller's word, else by the gateway's.
    fn conversation(&self) -> Option<&Attempt> {
        let by_caller = self.attempts.iter().find(|attempt| attempt.source_is_connected());
        by_caller.or_else(|| self.attempts.iter().find(|attempt| attempt.is_connected()))
    }

    /// Whether the calling device reported its last attempt.
    fn source_is_done(&self) -> bool {
        let reported = self.attempts.iter().filter(|attempt| attempt.source_report.is_some()).count();
        let expected = self.total_attempts.map_or(self.call.candidates.len(), |total| total as usize);
        reported > 0 && reported >= expected
    }

    /// Puts a stop report to its attempt.
    fn take(&mut self, end: Role, report: Report, reporter: Party) {
        match end {
            Role::Source => {
                self.total_attempts = report.total_attempts.or(self.total_attempts);
                let destination = self.named_by(&report);
                let number = match report.key.attempt {
                    // clients that do not number their attempts report them in order
                    0 => {
                        1 + self.attempts.iter().filter(|attempt| attempt.source_report.is_some()).fold(0, |n, _| n + 1)
                    }
                    number => number,
                };
                let waiting = self.attempts.iter_mut().find(|attempt| {
                    attempt.source_report.is_none() && attempt.destination == destination && destination.is_some()
                });
                match waiting {
                    Some(attempt) => {
                        attempt.number = number;
                        attempt.source_report = Some(report);
                    }
                    None => self.attempts.push(Attempt {
                        number,
                        destination,
                        address: report.destination_address.clone(),
                        source_report: Some(report),
                        destination_report: None,
                    }),
                }
            }
            _ => {
                let waiting = self.attempts.iter_mut().find(|attempt| {
                    attempt.destination_report.is_none() && attempt.destination.as_ref() == Some(&reporter)
                });
                match waiting {
                    Some(attempt) => attempt.destination_report = Some(report),
                    None => self.attempts.push(Attempt {
                        number: 0,
                        address: self.call.candidates.iter().find(|c| c.party == reporter).map(|c| c.address.clone()),
                        destination: Some(reporter),
                        source_report: None,
                        destination_report: Some(report),
                    }),
                }
            }
        }
    }

    /// The candidate that the calling device's report names: by address, else by the number of the attempt (attempts follow the rank).
    fn named_by(&self, report: &Report) -> Option<Party> {
        let by_address = report
            .destination_address
            .as_ref()
            .and_then(|address| self.call.candidates.iter().find(|candidate| candidate.address == *address));
        let by_rank = || {
            let index = (report.key.attempt as usize).checked_sub(1);
            match index {
                Some(index) => self.call.candidates.get(index),
                None if self.call.candidates.len() == 1 => self.call.candidates.first(),
                None => None,
            }
        };
        by_address.or_else(by_rank).map(|candidate| candidate.party.clone())
    }

    fn into_cdr(mut self, now: Timestamp, config: &MatcherConfig) -> Cdr {
        self.attempts.sort_by_key(|attempt| if attempt.number == 0 { u32::MAX } else { attempt.number });
        let counts = self.conversation().or(self.attempts.last());
        let source = counts.and_then(|attempt| attempt.source_report.as_ref());
        let destination = counts.and_then(|attempt| attempt.destination_report.as_ref());
        let connected = counts.is_some_and(Attempt::is_connected);
        let (source_seconds, destination_seconds) =
            (source.map(|report| report.duration_seconds), destination.map(|report| report.duration_seconds));
        let difference_seconds = source_seconds.zip(destination_seconds).map(|(left, right)| left.abs_diff(right));
        let one_denies =
            source.zip(destination).is_some_and(|(left, right)| left.is_connected() != right.is_connected());
        let either =
            |time: fn(&Report) -> Option<Timestamp>| source.and_then(time).or_else(|| destination.and_then(time));
        let state = match (connected, source, destination) {
            (true, Some(_), Some(_)) => CdrState::Matched,
            (true, ..) => CdrState::OneSided,
            (false, None, None) => CdrState::Unreported,
            (false, ..) => CdrState::Failed,
        };
        Cdr {
            transaction: self.call.transaction,
            call_id: source.or(destination).map(|report| report.key.call_id.clone()).unwrap_or_default(),
            destination: counts.filter(|_| connected).and_then(|attempt| attempt.destination.clone()),
            start: either(|report| report.start),
            alert: either(|report| report.alert),
            connect: either(|report| report.connect),
            end: either(|report| report.end),
            source_seconds,
            destination_seconds,
            rated_seconds: rated(config.rule, source_seconds, destination_seconds),
            rule: config.rule,
            cause: source.and_then(|report| report.cause).or(destination.and_then(|report| report.cause)),
            disagreement: one_denies || difference_seconds.is_some_and(|seconds| seconds > config.tolerance_seconds),
            difference_seconds,
            state,
            closed_at: now,
            calling: self.call.calling,
            called: self.call.called,
            source: self.call.source,
            attempts: self.attempts,
        }
    }
}

fn rated(rule: DurationRule, source: Option<u64>, destination: Option<u64>) -> u64 {
    match (rule, source, destination) {
        (DurationRule::Shorter, Some(source), Some(destination)) => source.min(destination),
        (DurationRule::Source, Some(source), _) => source,
        (DurationRule::Destination, _, Some(destination)) => destination,
        (_, source, destination) => source.or(destination).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
