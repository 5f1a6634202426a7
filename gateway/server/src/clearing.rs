//! From the core's words to OSP's: usage reports and capabilities.

use std::net::SocketAddr;

use strowger_clock::Timestamp;
use strowger_gateway_core::{CallUsage, Law, MediaStatistics, ReleaseSource};
use strowger_osp as osp;

/// `[ip]:port`, as OSP writes addresses.
fn bracketed(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}

/// The destination's report of a call (TS 101 321).
pub(crate) fn usage(usage: &CallUsage, here: Option<SocketAddr>, now: Timestamp) -> osp::UsageIndication {
    let address = |address| osp::Typed::new(osp::alternate::TRANSPORT, bracketed(address));
    osp::UsageIndication {
        timestamp: Some(now),
        role_info: Some(osp::RoleInfo { state: Some(osp::State::Stop), ..osp::RoleInfo::default() }),
        source_info: vec![osp::Typed::new("e164", usage.calling.clone())],
        source_alternates: vec![address(usage.peer)],
        destination_info: vec![osp::Typed::new("e164", usage.called.clone())],
        destination_alternates: here.into_iter().map(address).collect(),
        usage_details: vec![detail(usage)],
        ..osp::UsageIndication::new(osp::Role::Destination, usage.transaction_id, usage.call_id.clone().into_bytes())
    }
}

fn detail(usage: &CallUsage) -> osp::UsageDetail {
    let release = match usage.release {
        ReleaseSource::Source => "source",
        ReleaseSource::Destination => "destination",
        ReleaseSource::Gateway => "unknown",
    };
    let codec = usage.law.map(|law| osp::CodecName {
        service: Some("voice".to_owned()),
        side: Some("source".to_owned()),
        name: match law {
            Law::A => "g711A".to_owned(),
            Law::Mu => "g711U".to_owned(),
        },
    });
    let delay = usage.alert.or(usage.connect).map(|ringing| {
        let nanos = ringing.unix_nanos().saturating_sub(usage.start.unix_nanos());
        osp::Typed::new("destination", osp::Decimal::from_millis(whole(nanos as f64 / 1e6)))
    });
    osp::UsageDetail {
        service: Some(osp::Service::default()),
        termination_causes: vec![osp::TerminationCause {
            kind: Some("q850".to_owned()),
            code: u32::from(usage.cause.0),
            description: Some(usage.cause.text().to_owned()),
        }],
        signaling_protocols: vec![osp::Typed::new("source", "sip"), osp::Typed::new("destination", "isup")],
        codecs: codec.into_iter().collect(),
        amount: Some(usage.duration_seconds()),
        increment: Some(1),
        unit: Some("s".to_owned()),
        start_time: Some(usage.start),
        alert_time: usage.alert,
        connect_time: usage.connect,
        end_time: Some(usage.end),
        post_dial_delay: delay.into_iter().collect(),
        release_source: Some(release.to_owned()),
        statistics: usage.media.as_ref().map(statistics),
        ..osp::UsageDetail::default()
    }
}

/// A measured value as a whole number; what is no number is 0.
fn whole(value: f64) -> i32 {
    value.round() as i32 // saturates
}

fn milliseconds(value: f64) -> u64 {
    value.round() as u64 // saturates at 0
}

const TO_US: &str = "source-to-reporter";
const FROM_US: &str = "reporter-to-source";

fn statistics(media: &MediaStatistics) -> osp::Statistics {
    let fraction = |lost: f64| Some(milliseconds(lost.clamp(0.0, 1.0) * 255.0) as u32);
    let expected = media.packets_received.saturating_add(media.packets_lost);
    let share = if expected == 0 { 0.0 } else { media.packets_lost as f64 / expected as f64 };
    let lost = osp::Loss { direction: None, packets: Some(media.packets_lost), fraction: fraction(share) };
    let spread = |value: f64| osp::Spread { mean: Some(milliseconds(value)), ..osp::Spread::default() };
    let metrics = osp::Metrics {
        service: Some("voice".to_owned()),
        kind: Some("rtp".to_owned()),
        lost: vec![osp::Loss { direction: Some(TO_US.to_owned()), ..lost.clone() }],
        jitter: vec![osp::Spread { direction: Some(TO_US.to_owned()), ..spread(media.jitter_ms) }],
        total_octets: vec![
            osp::Directed::new(TO_US, media.octets_received),
            osp::Directed::new(FROM_US, media.octets_sent),
        ],
        total_packets: vec![
            osp::Directed::new(TO_US, media.packets_received),
            osp::Directed::new(FROM_US, media.packets_sent),
        ],
        ..osp::Metrics::default()
    };
    let heard = media.packets_received > 0;
    osp::Statistics {
        loss_sent: media.remote_loss.map(|lost| osp::Loss { fraction: fraction(lost), ..osp::Loss::default() }),
        loss_received: Some(lost),
        round_trip_delay: media.round_trip_ms.map(spread),
        metrics: vec![metrics],
        mos_cq: heard
            .then(|| osp::Directed::new(TO_US, osp::Decimal::from_millis(whole(media.mos * 1000.0))))
            .into_iter()
            .collect(),
        ..osp::Statistics::default()
    }
}

/// "I am here": how many calls more would fit, and whether they should rather go elsewhere.
pub(crate) fn capabilities(
    here: Option<SocketAddr>,
    channels: u32,
    almost_out: bool,
    now: Timestamp,
) -> osp::CapabilitiesIndication {
    osp::CapabilitiesIndication {
        timestamp: Some(now),
        source_alternates: here
            .map(|address| osp::Typed::new(osp::alternate::TRANSPORT, bracketed(address)))
            .into_iter()
            .collect(),
        osp_version: Some("2.1.1".to_owned()),
        resources: Some(osp::Resources {
            data_rate: vec![osp::DataRate { number_of_channels: Some(channels), bandwidth: Some(64_000) }],
            almost_out_of_resources: Some(osp::Flag(almost_out)),
        }),
        ..osp::CapabilitiesIndication::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_isup::Cause;

    #[test]
    fn a_report_can_be_sent_and_read_again() {
        let at = |seconds: u64| Timestamp::from_unix_seconds(1_795_255_200 + seconds);
        let call = CallUsage {
            transaction_id: 4711,
            call_id: "call-1".to_owned(),
            calling: "14045550001".to_owned(),
            called: "12125550100".to_owned(),
            peer: "192.0.2.1:5060".parse().unwrap(),
            start: at(0),
            alert: Some(at(1)),
            connect: Some(at(2)),
            end: at(12),
            cause: Cause::NORMAL_CLEARING,
            release: ReleaseSource::Source,
            law: Some(Law::A),
            media: Some(MediaStatistics {
                packets_received: 99,
                packets_lost: 1,
                jitter_ms: 1.6,
                mos: 4.2,
                round_trip_ms: Some(f64::NAN),
                ..MediaStatistics::default()
            }),
        };
        let report = usage(&call, Some("192.0.2.2:5070".parse().unwrap()), at(13));
        let component = osp::Component { component_id: "1".to_owned(), body: osp::Body::UsageIndication(report) };
        let message = osp::Message { message_id: "1".to_owned(), random: None, components: vec![component] };
        let read = osp::Message::parse(message.to_xml().as_bytes()).unwrap();
        let osp::Body::UsageIndication(read) = &read.components[0].body else { panic!("{read:?}") };
        assert_eq!((read.duration_seconds(), read.q850_cause()), (10, Some(16)));
        assert_eq!(read.role, osp::Role::Destination);
        assert_eq!(read.destination_address(), Some("[192.0.2.2]:5070"));
        let statistics = read.usage_details[0].statistics.as_ref().unwrap();
        assert_eq!(statistics.loss_received.as_ref().unwrap().fraction, Some(3));
        assert_eq!(statistics.metrics[0].jitter[0].mean, Some(2));
        assert_eq!(statistics.mos_cq[0].value.as_millis(), 4200);
    }
}
