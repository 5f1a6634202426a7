//! Between the core's words for clearing and OSP's.

use std::net::SocketAddr;

use base64::Engine as _;

use strowger_clearinghouse_client::{OspClient, OspClientError};
use strowger_clock::Timestamp;
use strowger_osp as osp;
use strowger_proxy_core::{
    Attempt, Authorization, AuthorizationQuery, CallUsage, Cause, ClearingRefusal, Destination, ReleaseSource,
};

/// Asks the clearinghouse who may carry a call.
pub(crate) async fn authorize(
    client: &OspClient,
    query: AuthorizationQuery,
    now: Timestamp,
) -> Result<Authorization, ClearingRefusal> {
    let kind = if query.calling_is_number { "e164" } else { "sip" };
    let request = osp::AuthorizationRequest {
        timestamp: Some(now),
        call_ids: vec![osp::Base64(query.call_id.clone().into_bytes())],
        source_info: vec![osp::Typed::new(kind, query.calling.clone())],
        source_alternates: vec![osp::Typed::new(osp::alternate::TRANSPORT, bracketed(query.source))],
        destination_info: vec![osp::Typed::new("e164", query.called.clone())],
        service: Some(osp::Service::default()),
        maximum_destinations: Some(query.destinations_max),
        ..osp::AuthorizationRequest::default()
    };
    let response = client.authorize(request).await.map_err(refusal)?;
    let transaction_id = response.transaction_id.unwrap_or_default();
    let destinations: Vec<Destination> =
        response.destinations.iter().filter_map(|destination| read_destination(destination, &query)).collect();
    if destinations.is_empty() {
        return Err(ClearingRefusal::Refused { code: 404, description: "no usable destination".to_owned() });
    }
    Ok(Authorization { transaction_id, destinations })
}

fn refusal(error: OspClientError) -> ClearingRefusal {
    match error {
        OspClientError::Refused(status) => {
            tracing::info!(code = status.code, description = status.description, "clearinghouse refuses the call");
            ClearingRefusal::Refused { code: status.code, description: status.description }
        }
        other => {
            tracing::warn!(error = %other, "no clearinghouse answers: calls to numbers are refused until one does");
            ClearingRefusal::Unavailable
        }
    }
}

fn read_destination(destination: &osp::Destination, query: &AuthorizationQuery) -> Option<Destination> {
    let address = parse_bracketed(destination.signal_address.as_deref()?)?;
    let number = |typed: Option<&osp::Typed>, otherwise: &str| {
        typed.map_or_else(|| otherwise.to_owned(), |typed| typed.value.trim_start_matches('+').to_owned())
    };
    Some(Destination {
        calling: number(destination.source_info.first(), &query.calling),
        called: number(destination.destination_info.first(), &query.called),
        address,
        token_base64: base64::engine::general_purpose::STANDARD.encode(&destination.tokens.first()?.0),
        granted_seconds: destination
            .usage_details
            .first()
            .and_then(|detail| detail.amount)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(3600),
    })
}

/// The source's reports of a call, one for each attempt (TS 101 321: several components in one message).
pub(crate) fn usage_reports(usage: &CallUsage, now: Timestamp) -> Vec<osp::UsageIndication> {
    let total = u32::try_from(usage.attempts.len()).unwrap_or(u32::MAX);
    usage
        .attempts
        .iter()
        .zip(1u32..)
        .map(|(attempt, number)| osp::UsageIndication {
            timestamp: Some(now),
            role: osp::Role::Source,
            role_info: Some(osp::RoleInfo { state: Some(osp::State::Stop), ..osp::RoleInfo::default() }),
            transaction_id: usage.transaction_id,
            call_id: osp::Base64(usage.call_id.clone().into_bytes()),
            source_info: vec![osp::Typed::new("e164", attempt.destination.calling.clone())],
            destination_info: vec![osp::Typed::new("e164", attempt.destination.called.clone())],
            destination_alternates: vec![osp::Typed::new(
                osp::alternate::TRANSPORT,
                bracketed(attempt.destination.address),
            )],
            setup_attempt: Some(number),
            total_setup_attempts: Some(total),
            usage_details: vec![detail(attempt)],
            ..osp::UsageIndication::default()
        })
        .collect()
}

fn detail(attempt: &Attempt) -> osp::UsageDetail {
    let (kind, code) = match attempt.cause {
        Cause::Q850(cause) => ("q850", u32::from(cause)),
        Cause::Sip(status) => ("sip", u32::from(status)),
    };
    let release = match attempt.release {
        ReleaseSource::Source => "source",
        ReleaseSource::Destination => "destination",
        ReleaseSource::Intermediate => "unknown",
    };
    let delay = attempt.alert.or(attempt.connect).map(|ringing| {
        let nanos = ringing.unix_nanos().saturating_sub(attempt.start.unix_nanos());
        osp::Typed::new("source", osp::Decimal::from_millis(i32::try_from(nanos / 1_000_000).unwrap_or(i32::MAX)))
    });
    osp::UsageDetail {
        service: Some(osp::Service::default()),
        termination_causes: vec![osp::TerminationCause { kind: Some(kind.to_owned()), code, description: None }],
        amount: Some(attempt.duration_seconds()),
        increment: Some(1),
        unit: Some("s".to_owned()),
        start_time: Some(attempt.start),
        alert_time: attempt.alert,
        connect_time: attempt.connect,
        end_time: Some(attempt.end),
        post_dial_delay: delay.into_iter().collect(),
        release_source: Some(release.to_owned()),
        ..osp::UsageDetail::default()
    }
}

/// `[ip]:port`, as OSP writes an address.
pub(crate) fn bracketed(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}

/// Reads `[ip]:port`, `ip:port`, `[ip]` and `ip` (port 5060).
fn parse_bracketed(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (ip, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => (ip, 5060),
        Some((ip, port)) => (ip, port.strip_prefix(':')?.parse().ok()?),
        None => (text, 5060),
    };
    Some(SocketAddr::new(ip.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_osp_writes_them() {
        let v4: SocketAddr = "192.0.2.1:5070".parse().unwrap();
        assert_eq!(bracketed(v4), "[192.0.2.1]:5070");
        assert_eq!(parse_bracketed("[192.0.2.1]:5070"), Some(v4));
        assert_eq!(parse_bracketed("[192.0.2.1]"), "192.0.2.1:5060".parse().ok());
        assert_eq!(parse_bracketed("[2001:db8::1]:5070"), "[2001:db8::1]:5070".parse().ok());
        assert_eq!(parse_bracketed("gw.example.test:5070"), None);
    }
}
