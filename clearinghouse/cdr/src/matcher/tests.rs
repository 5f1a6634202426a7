//! Would catch: a call that never closes, closes twice, or pays for seconds one end denies; a stranger's report that moves money; a repeated
//! report counted twice; a lost failed attempt.

use super::*;
use crate::report::Candidate;
use proptest::prelude::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + seconds)
}

fn party(name: &str) -> Party {
    Party { customer: format!("c-{name}"), device: name.into() }
}

fn call() -> AuthorizedCall {
    let candidate = |name: &str, address: &str| Candidate { party: party(name), address: address.into() };
    AuthorizedCall {
        transaction: 7,
        calling: "14045550199".into(),
        called: "12125550100".into(),
        source: party("proxy"),
        candidates: vec![candidate("g1", "10.0.0.1:5070"), candidate("g2", "10.0.0.2:5070")],
        at: at(0),
        expires: at(4000),
    }
}

fn report(role: Role, by: &str, attempt: u32, seconds: u64, cause: u32) -> Report {
    let party = party(by);
    Report {
        key: ReportKey {
            customer: party.customer,
            device: party.device,
            transaction: 7,
            role,
            call_id: b"abc".to_vec(),
            destination: format!("12125550100 {attempt}"),
            attempt,
            state: ReportState::Stop,
            interim_seconds: 0,
        },
        received_at: at(100),
        calling: "14045550199".into(),
        called: "12125550100".into(),
        destination_address: (attempt > 0).then(|| format!("10.0.0.{attempt}:5070")),
        total_attempts: None,
        duration_seconds: seconds,
        cause: Some(cause),
        sip_status: None,
        start: Some(at(10)),
        alert: None,
        connect: (seconds > 0).then(|| at(12)),
        end: Some(at(12 + seconds)),
        release_source: None,
    }
}

fn source(attempt: u32, total: u32, seconds: u64, cause: u32) -> Report {
    Report { total_attempts: Some(total), ..report(Role::Source, "proxy", attempt, seconds, cause) }
}

fn matcher() -> Matcher {
    let mut matcher = Matcher::new(MatcherConfig::default());
    assert!(matcher.authorized(call()));
    matcher
}

#[test]
fn both_ends_close_the_call_in_either_order() {
    let (caller, gateway) = (source(1, 1, 60, 16), report(Role::Destination, "g1", 0, 61, 16));
    for reports in [[caller.clone(), gateway.clone()], [gateway, caller]] {
        let mut matcher = matcher();
        for report in reports {
            assert_eq!(matcher.poll_output(), None);
            assert_eq!(matcher.handle(at(100), report), Disposition::Taken);
        }
        let cdr = matcher.poll_output().unwrap();
        assert_eq!((cdr.state, cdr.rated_seconds, cdr.difference_seconds), (CdrState::Matched, 60, Some(1)));
        assert!(!cdr.disagreement);
        assert_eq!(cdr.destination, Some(party("g1")));
        assert_eq!((cdr.attempts.len(), cdr.cause), (1, Some(16)));
        assert_eq!((matcher.open_calls(), matcher.next_deadline()), (0, None));
    }
}

#[test]
fn a_failed_gateway_is_an_attempt_of_its_own() {
    let mut matcher = matcher();
    matcher.handle(at(100), source(1, 2, 0, 34));
    matcher.handle(at(100), source(2, 2, 60, 16));
    matcher.handle(at(101), report(Role::Destination, "g2", 0, 60, 16));
    let cdr = matcher.poll_output().unwrap();
    assert_eq!(cdr.destination, Some(party("g2")));
    let causes: Vec<_> =
        cdr.attempts.iter().map(|a| (a.number, a.source_report.as_ref().unwrap().cause.unwrap())).collect();
    assert_eq!(causes, [(1, 34), (2, 16)]);
}

#[test]
fn differing_ends_are_both_kept_and_the_shorter_is_paid() {
    for (gateway, disagreement) in [(62, false), (63, true), (10, true)] {
        let mut matcher = matcher();
        matcher.handle(at(100), source(1, 1, 60, 16));
        matcher.handle(at(100), report(Role::Destination, "g1", 0, gateway, 16));
        let cdr = matcher.poll_output().unwrap();
        assert_eq!((cdr.disagreement, cdr.rated_seconds), (disagreement, 60.min(gateway)));
        assert_eq!(cdr.attempts[0].reports().count(), 2);
    }
}

#[test]
fn one_end_alone_is_waited_for_and_then_counts() {
    let mut matcher = matcher();
    matcher.handle(at(100), source(1, 1, 60, 16));
    assert_eq!(matcher.next_deadline(), Some(at(130)));
    matcher.timeout(at(129));
    assert_eq!(matcher.poll_output(), None);
    matcher.timeout(at(130));
    let cdr = matcher.poll_output().unwrap();
    assert_eq!((cdr.state, cdr.rated_seconds, cdr.destination_seconds), (CdrState::OneSided, 60, None));
}

#[test]
fn all_attempts_failed_closes_soon_and_costs_nothing() {
    let mut matcher = matcher();
    matcher.handle(at(100), source(1, 1, 0, 17));
    assert_eq!(matcher.next_deadline(), Some(at(102)));
    matcher.handle(at(101), report(Role::Destination, "g1", 0, 0, 17));
    let cdr = matcher.poll_output().unwrap();
    assert_eq!((cdr.state, cdr.rated_seconds, cdr.cause, cdr.destination), (CdrState::Failed, 0, Some(17), None));
}

#[test]
fn a_denied_conversation_is_a_disagreement() {
    let mut matcher = matcher();
    matcher.handle(at(100), source(1, 1, 0, 16));
    matcher.handle(at(101), report(Role::Destination, "g1", 0, 300, 16));
    let cdr = matcher.poll_output().unwrap();
    assert_eq!((cdr.state, cdr.disagreement, cdr.rated_seconds), (CdrState::Matched, true, 0));
}

#[test]
fn a_gateway_that_claims_a_conversation_does_not_end_the_callers_next_attempt() {
    let mut matcher = matcher();
    matcher.handle(at(100), source(1, 2, 0, 34));
    matcher.handle(at(101), report(Role::Destination, "g1", 0, 300, 16));
    assert_eq!(matcher.poll_output(), None);
    matcher.handle(at(110), source(2, 2, 60, 16));
    matcher.handle(at(111), report(Role::Destination, "g2", 0, 60, 16));
    let cdr = matcher.poll_output().unwrap();
    assert_eq!((cdr.destination, cdr.rated_seconds), (Some(party("g2")), 60));
}

#[test]
fn nothing_reported_closes_at_the_end_of_the_grant() {
    let mut matcher = matcher();
    matcher.timeout(at(4000));
    assert_eq!(matcher.poll_output().unwrap().state, CdrState::Unreported);
}

#[test]
fn more_time_moves_the_end() {
    let mut matcher = matcher();
    matcher.extend(7, at(5000));
    assert_eq!(matcher.next_deadline(), Some(at(5000)));
    matcher.handle(at(100), source(1, 1, 60, 16));
    matcher.extend(7, at(6000));
    assert_eq!(matcher.next_deadline(), Some(at(130)), "a running window stays");
}

#[test]
fn strangers_and_false_roles_move_nothing() {
    let mut matcher = matcher();
    assert_eq!(matcher.handle(at(1), report(Role::Destination, "stranger", 0, 60, 16)), Disposition::NotAParty);
    // a gateway speaking as the caller: kept, but no pair
    assert_eq!(matcher.handle(at(1), report(Role::Source, "g1", 1, 60, 16)), Disposition::Taken);
    assert_eq!(matcher.next_deadline(), Some(at(4000)));
    let unknown = Report { key: ReportKey { transaction: 8, ..source(1, 1, 1, 16).key }, ..source(1, 1, 1, 16) };
    assert_eq!(matcher.handle(at(1), unknown), Disposition::Unknown);
}

#[test]
fn a_caller_that_says_it_is_the_gateway_still_pays() {
    let mut matcher = matcher();
    matcher.handle(at(1), report(Role::Destination, "proxy", 1, 60, 16));
    matcher.timeout(at(31));
    let cdr = matcher.poll_output().unwrap();
    assert_eq!((cdr.state, cdr.source_seconds, cdr.destination_seconds), (CdrState::OneSided, Some(60), None));
    // after its word as the caller it is evidence alone
    let mut matcher = self::matcher();
    matcher.handle(at(1), source(1, 2, 0, 34));
    matcher.handle(at(1), report(Role::Destination, "proxy", 1, 60, 16));
    matcher.handle(at(1), source(2, 2, 0, 17));
    matcher.timeout(at(3));
    assert_eq!(matcher.poll_output().unwrap().rated_seconds, 0);
}

#[test]
fn repeats_are_told_apart_from_news() {
    let mut matcher = matcher();
    assert_eq!(matcher.handle(at(1), source(1, 2, 0, 34)), Disposition::Taken);
    assert_eq!(matcher.handle(at(2), source(1, 2, 0, 34)), Disposition::Repeated);
    assert_eq!(matcher.handle(at(2), source(2, 2, 0, 34)), Disposition::Taken);
}

#[test]
fn reports_per_call_just_inside_and_just_outside() {
    let mut matcher = matcher();
    for seconds in 0..MAXIMUM_REPORTS_PER_CALL as u64 {
        let mut interim = source(1, 1, seconds, 16);
        interim.key.state = ReportState::Interim;
        interim.key.interim_seconds = seconds;
        assert_eq!(matcher.handle(at(1), interim), Disposition::Taken);
    }
    assert_eq!(matcher.handle(at(1), source(1, 1, 60, 16)), Disposition::TooMany);
}

#[test]
fn rules_choose_as_named() {
    use DurationRule::{Destination, Shorter, Source};
    assert_eq!(
        (rated(Shorter, Some(5), Some(3)), rated(Shorter, None, Some(3)), rated(Shorter, None, None)),
        (3, 3, 0)
    );
    assert_eq!((rated(Source, Some(5), Some(3)), rated(Source, None, Some(3))), (5, 3));
    assert_eq!((rated(Destination, Some(5), Some(3)), rated(Destination, Some(5), None)), (3, 5));
}

proptest! {
    /// Any order and repetition of any reports: one record per call, none open after its end.
    #[test]
    fn every_call_closes_exactly_once(reports in prop::collection::vec((0..4usize, 0..3u32, 0..3u32, 0..90u64), 0..12)) {
        let mut matcher = matcher();
        let mut now = 0;
        for (who, attempt, total, seconds) in reports {
            now += 3;
            let (role, by) = [(Role::Source, "proxy"), (Role::Destination, "g1"), (Role::Destination, "g2"), (Role::Other, "g1")][who];
            let report = Report { total_attempts: (total > 0).then_some(total), ..report(role, by, attempt, seconds, 16) };
            matcher.handle(at(now), report);
            matcher.timeout(at(now));
        }
        matcher.timeout(at(10_000));
        let cdr = matcher.poll_output().unwrap();
        prop_assert!(matcher.poll_output().is_none());
        prop_assert!(matcher.open_calls() == 0 && matcher.next_deadline().is_none());
        let longest = cdr.source_seconds.into_iter().chain(cdr.destination_seconds).max().unwrap_or(0);
        prop_assert!(cdr.rated_seconds <= longest);
    }
}
