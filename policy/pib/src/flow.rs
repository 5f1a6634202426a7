//! Ready-made rows: a router's base policy, and what one media flow adds to it.
//!
//! Base policy (installed once; instance numbers below [`FLOW_INSTANCE_MIN`]), ingress of every interface with the role:
//! ```text
//! dsDataPath 1 -> dsClfr 1 -+- signalling filters -> action 3: mark CS5 -> queue 2 -+
//!                           +- (flows of calls)                                     +-> scheduler 1 (strict priority)
//!                           +- catch-all          -> action 2: mark 0   -> queue 3 -+
//!   a flow: filter n -> dsMeter n -+- in profile  -> action 1: mark EF  -> queue 1 -+
//!                                  +- out         -> action 2 (or dropped: dsAlgDrop 1)
//! ```
//! A call's flow has one instance number `n` in all five tables, so removal needs no memory but `n`.

use std::net::IpAddr;

use crate::class::*;
use crate::named::{self, NamedObject};
use crate::oid::Oid;

/// Algorithm names of RFC 3289.
pub mod algorithm {
    use crate::oid::Oid;

    const TOKEN_BUCKET: [u32; 10] = [1, 3, 6, 1, 2, 1, 97, 3, 1, 0];
    const SCHEDULER: [u32; 10] = [1, 3, 6, 1, 2, 1, 97, 3, 2, 0];

    fn named(mut oid: [u32; 10], number: u32) -> Oid {
        oid[9] = number;
        Oid::new(&oid)
    }

    /// diffServTBParamSimpleTokenBucket.
    pub fn simple_token_bucket() -> Oid {
        named(TOKEN_BUCKET, 1)
    }
    /// diffServTBParamSrTCMBlind.
    pub fn sr_tcm_blind() -> Oid {
        named(TOKEN_BUCKET, 3)
    }
    /// diffServTBParamSrTCMAware.
    pub fn sr_tcm_aware() -> Oid {
        named(TOKEN_BUCKET, 4)
    }
    /// diffServTBParamTrTCMBlind.
    pub fn tr_tcm_blind() -> Oid {
        named(TOKEN_BUCKET, 5)
    }
    /// diffServTBParamTrTCMAware.
    pub fn tr_tcm_aware() -> Oid {
        named(TOKEN_BUCKET, 6)
    }
    /// diffServSchedulerPriority.
    pub fn priority() -> Oid {
        named(SCHEDULER, 1)
    }
    /// diffServSchedulerWRR.
    pub fn weighted_round_robin() -> Oid {
        named(SCHEDULER, 2)
    }
    /// diffServSchedulerWFQ.
    pub fn weighted_fair() -> Oid {
        named(SCHEDULER, 3)
    }
}

/// First instance number of call flows; below are the base policy's.
pub const FLOW_INSTANCE_MIN: u32 = 1000;
/// The wildcard of `frwkIpFilterProtocol` (RFC 3318 §5).
pub const PROTOCOL_ANY: u32 = 255;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// The classifier that base policy and flows share.
pub const CLASSIFIER_ID: u32 = 1;
/// dsAction that marks media and queues it first.
pub const ACTION_MEDIA: u32 = 1;
/// dsAction that bleaches and queues last.
pub const ACTION_BEST_EFFORT: u32 = 2;
/// dsAction that marks signalling.
pub const ACTION_SIGNALLING: u32 = 3;
/// dsAlgDrop that drops everything.
pub const DROP_ALWAYS: u32 = 1;
/// Precedence of a call's flow, above every element of the base policy.
pub const PRECEDENCE_FLOW: u32 = 1000;
/// Precedence of signalling filters.
pub const PRECEDENCE_SIGNALLING: u32 = 100;
/// Precedence of the catch-all.
pub const PRECEDENCE_CATCH_ALL: u32 = 1;
/// Most signalling filters of a base policy.
pub const SIGNALLING_FILTERS_MAX: usize = 32;

/// What happens to packets of a flow beyond its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Excess {
    /// They go on as best effort, mark 0.
    #[default]
    Bleach,
    /// They are dropped.
    Drop,
}

/// A port of a signalling protocol, let through as CS5 in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignallingPort {
    /// IP protocol number.
    pub protocol: u8,
    /// Port at either end.
    pub port: u16,
}

/// What the base policy needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePolicy {
    /// Capability set that the PEP reported.
    pub capability_set: String,
    /// Role combination the policy is for.
    pub roles: String,
    /// DSCP of admitted media.
    pub media_dscp: u8,
    /// DSCP of signalling.
    pub signalling_dscp: u8,
    /// Ports that count as signalling; at most [`SIGNALLING_FILTERS_MAX`]/2.
    pub signalling: Vec<SignallingPort>,
    /// Rate limit of the media queue in kbit/s, 0 for none.
    pub media_rate_kbps_max: u32,
}

impl BasePolicy {
    /// The rows, each after everything it points at (RFC 3317 wants referenced rows to exist).
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        rows.push(
            DsScheduler {
                instance: 1,
                next: Oid::zero_dot_zero(),
                method: algorithm::priority(),
                min_rate: Oid::zero_dot_zero(),
                max_rate: Oid::zero_dot_zero(),
            }
            .into(),
        );
        // Priorities: media before signalling before the rest.
        for (instance, priority) in [(1, 3), (2, 2), (3, 1)] {
            rows.push(DsMinRate { instance, priority, absolute_kbps: 0, relative_per_mille: 0 }.into());
        }
        let limited = self.media_rate_kbps_max > 0;
        if limited {
            rows.push(
                DsMaxRate {
                    instance: 1,
                    id: 1,
                    level: 1,
                    absolute_kbps: self.media_rate_kbps_max,
                    relative_per_mille: 0,
                    threshold_octets: 0,
                }
                .into(),
            );
        }
        for instance in 1..=3 {
            let max_rate = if limited && instance == 1 { DsMaxRate::prid(1) } else { Oid::zero_dot_zero() };
            let min_rate = DsMinRate::prid(instance);
            rows.push(DsQ { instance, next: DsScheduler::prid(1), min_rate, max_rate }.into());
        }
        for (instance, dscp, queue) in [
            (ACTION_MEDIA, self.media_dscp, 1),
            (ACTION_BEST_EFFORT, 0, 3),
            (ACTION_SIGNALLING, self.signalling_dscp, 2),
        ] {
            rows.push(DsDscpMarkAct { instance, dscp: i32::from(dscp & 63) }.into());
            rows.push(DsAction { instance, next: DsQ::prid(queue), specific: DsDscpMarkAct::prid(instance) }.into());
        }
        rows.push(
            DsAlgDrop {
                instance: DROP_ALWAYS,
                kind: 5,
                next: Oid::zero_dot_zero(),
                queue_measure: Oid::zero_dot_zero(),
                queue_threshold_octets: 0,
                specific: Oid::zero_dot_zero(),
            }
            .into(),
        );
        rows.push(DsClfr { instance: 1, id: CLASSIFIER_ID }.into());
        rows.push(element(1, PRECEDENCE_CATCH_ALL, DsAction::prid(ACTION_BEST_EFFORT), Oid::zero_dot_zero()));
        let filters = self.signalling.iter().flat_map(|port| [(port, true), (port, false)]);
        for (instance, (port, to)) in (2u32..).zip(filters.take(SIGNALLING_FILTERS_MAX)) {
            rows.push(FrwkBaseFilter { instance, negation: false }.into());
            rows.push(signalling_filter(instance, *port, to).into());
            // Two patterns of one precedence must not overlap (both ports equal): each gets its own.
            let precedence = PRECEDENCE_SIGNALLING + instance;
            rows.push(element(instance, precedence, DsAction::prid(ACTION_SIGNALLING), FrwkIpFilter::prid(instance)));
        }
        rows.push(
            DsDataPath {
                instance: 1,
                capability_set: self.capability_set.as_bytes().to_vec(),
                roles: self.roles.as_bytes().to_vec(),
                direction: 1,
                start: DsClfr::prid(1),
            }
            .into(),
        );
        rows
    }
}

fn element(instance: u32, precedence: u32, next: Oid, specific: Oid) -> Row {
    DsClfrElement { instance, classifier_id: CLASSIFIER_ID, precedence, next, specific }.into()
}

fn signalling_filter(instance: u32, port: SignallingPort, to: bool) -> FrwkIpFilter {
    let exact = (u32::from(port.port), u32::from(port.port));
    let any = (0, 65535);
    let ((source_port_min, source_port_max), (destination_port_min, destination_port_max)) =
        if to { (any, exact) } else { (exact, any) };
    FrwkIpFilter {
        instance,
        address_type: 1,
        destination: vec![0; 4],
        destination_prefix_bits: 0,
        source: vec![0; 4],
        source_prefix_bits: 0,
        dscp: -1,
        flow_label: -1,
        protocol: u32::from(port.protocol),
        destination_port_min,
        destination_port_max,
        source_port_min,
        source_port_max,
    }
}

/// One direction of one media stream, and what it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MediaFlow {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Sender's port, `None` for any.
    pub source_port: Option<u16>,
    /// Receiver's port.
    pub destination_port: u16,
    /// IP protocol number, 17 for RTP over UDP.
    pub protocol: u8,
    /// Token rate in kbit/s of IP.
    pub rate_kbps: u32,
    /// Bucket depth in octets.
    pub burst_octets: u32,
    /// What happens beyond the rate.
    pub excess: Excess,
}

impl MediaFlow {
    /// The five rows of this flow as instance `n`, each after what it points at. Fails (`None`) when the two addresses are
    /// not of one family.
    pub fn rows(&self, n: u32) -> Option<Vec<Row>> {
        let (address_type, bits, source, destination) = match (self.source, self.destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => (1, 32, s.octets().to_vec(), d.octets().to_vec()),
            (IpAddr::V6(s), IpAddr::V6(d)) => (2, 128, s.octets().to_vec(), d.octets().to_vec()),
            _ => return None,
        };
        let (source_port_min, source_port_max) = match self.source_port {
            Some(port) => (u32::from(port), u32::from(port)),
            None => (0, 65535),
        };
        let filter = FrwkIpFilter {
            instance: n,
            address_type,
            destination,
            destination_prefix_bits: bits,
            source,
            source_prefix_bits: bits,
            dscp: -1,
            flow_label: -1,
            protocol: u32::from(self.protocol),
            destination_port_min: u32::from(self.destination_port),
            destination_port_max: u32::from(self.destination_port),
            source_port_min,
            source_port_max,
        };
        let rate_kbps = self.rate_kbps.max(1);
        // RFC 3290 §5.1.3: a simple token bucket's interval is burst / rate.
        let interval_us = u64::from(self.burst_octets) * 8000 / u64::from(rate_kbps);
        let bucket = DsTbParam {
            instance: n,
            kind: algorithm::simple_token_bucket(),
            rate_kbps,
            burst_octets: self.burst_octets,
            interval_us: u32::try_from(interval_us.max(1)).unwrap_or(u32::MAX),
        };
        let fail_next = match self.excess {
            Excess::Bleach => DsAction::prid(ACTION_BEST_EFFORT),
            Excess::Drop => DsAlgDrop::prid(DROP_ALWAYS),
        };
        let meter = DsMeter {
            instance: n,
            succeed_next: DsAction::prid(ACTION_MEDIA),
            fail_next,
            specific: DsTbParam::prid(n),
        };
        Some(vec![
            FrwkBaseFilter { instance: n, negation: false }.into(),
            filter.into(),
            bucket.into(),
            meter.into(),
            element(n, PRECEDENCE_FLOW, DsMeter::prid(n), FrwkIpFilter::prid(n)),
        ])
    }

    /// The names of the rows of instance `n`, what points first.
    pub fn prids(n: u32) -> [Oid; 5] {
        [DsClfrElement::prid(n), DsMeter::prid(n), DsTbParam::prid(n), FrwkIpFilter::prid(n), FrwkBaseFilter::prid(n)]
    }
}

/// Named data of an Install decision: one PRID and EPD for each row.
pub fn install_data(rows: &[Row]) -> Vec<u8> {
    let objects: Vec<NamedObject> =
        rows.iter().flat_map(|row| [NamedObject::Prid(row.prid()), NamedObject::Epd(row.to_values())]).collect();
    named::encode(&objects)
}

/// Named data of a Remove decision.
pub fn remove_data(prids: &[Oid]) -> Vec<u8> {
    let objects: Vec<NamedObject> = prids.iter().cloned().map(NamedObject::Prid).collect();
    named::encode(&objects)
}
