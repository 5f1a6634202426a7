//! From rows of the DiffServ PIB (RFC 3317) to rules: each classifier element is followed through meter, action, mark and
//! drop to one rule under the element's instance number.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use strowger_diffserv::{
    Action, Dscp, Filter, FilterFault, InstanceId, MeterSpec, Prefix, Rule, Transaction, TransactionError,
};
use strowger_pep::{Installed, PolicySink};
use strowger_pib::flow::{PROTOCOL_ANY, algorithm};
use strowger_pib::{
    ClassError, DsAction, DsAlgDrop, DsClfrElement, DsTbParam, FrwkBaseFilter, FrwkFeedbackTraffic, FrwkIpFilter,
    GlobalError, Oid, PibError, Row,
};

use crate::handle::{RouterError, RouterHandle};

/// dsAlgDropType alwaysDrop (RFC 3317 §6).
const ALWAYS_DROP: i32 = 5;
/// Elements in a row that are followed before a path counts as endless.
const PATH_MAXIMUM: usize = 16;

/// Carries COPS-PR policy into a router.
#[derive(Clone, Debug)]
pub struct PibSink {
    router: RouterHandle,
    /// The rules in effect, by element, with the instance of the meter that usage is reported by.
    elements: BTreeMap<u32, (Rule, u32)>,
}

impl PibSink {
    /// A sink for one router; nobody else should install rules in it.
    pub fn new(router: RouterHandle) -> Self {
        Self { router, elements: BTreeMap::new() }
    }
}

impl PolicySink for PibSink {
    fn apply(&mut self, transaction: &strowger_pep::Transaction, installed: &Installed) -> Result<(), PibError> {
        let mut wanted = BTreeMap::new();
        let mut removed = BTreeSet::new();
        match touched(transaction) {
            Some(instances) => {
                for instance in instances {
                    match installed.row(&DsClfrElement::prid(instance)) {
                        Some(Row::DsClfrElement(element)) => match compile(element, installed)? {
                            Some(rule) => drop(wanted.insert(instance, rule)),
                            None => drop(removed.insert(instance)),
                        },
                        _ => {
                            removed.insert(instance);
                        }
                    }
                }
            }
            None => {
                for row in installed.of_class(&DsClfrElement::CLASS) {
                    if let Row::DsClfrElement(element) = row
                        && let Some(rule) = compile(element, installed)?
                    {
                        wanted.insert(element.instance, rule);
                    }
                }
                removed = self.elements.keys().filter(|n| !wanted.contains_key(n)).copied().collect();
            }
        }
        removed.retain(|n| self.elements.contains_key(n));
        // an unchanged rule keeps its meter's state
        wanted.retain(|n, rule| self.elements.get(n) != Some(rule));
        let id = |n: &u32| InstanceId(u64::from(*n));
        let change = Transaction {
            removes: removed.iter().map(id).collect(),
            installs: wanted.iter().map(|(n, (rule, _))| (id(n), rule.clone())).collect(),
        };
        if !change.removes.is_empty() || !change.installs.is_empty() {
            self.router.apply(change).map_err(|error| refusal(&error))?;
        }
        for n in removed {
            self.elements.remove(&n);
        }
        self.elements.append(&mut wanted);
        Ok(())
    }

    fn usage(&mut self, instances: Option<&[u32]>) -> Vec<FrwkFeedbackTraffic> {
        let Ok(flows) = self.router.flows() else { return Vec::new() };
        let mut usage = Vec::new();
        for flow in flows {
            let element = u32::try_from(flow.id.0).ok().and_then(|n| self.elements.get(&n));
            let Some((Rule { meter: Some(_), .. }, meter)) = element else { continue };
            if instances.is_none_or(|asked| asked.contains(meter)) {
                // what was carried: the rest was dropped at the policer
                let packets = flow.counters.packets - flow.counters.dropped_packets;
                let octets = flow.counters.octets - flow.counters.dropped_octets;
                usage.push(FrwkFeedbackTraffic { instance: *meter, reference: *meter, packets, octets });
            }
        }
        usage
    }
}

/// The elements that a change concerns, when it consists of whole flows (each with its element under the instance number
/// of all its rows); `None` when rows changed that others may point at, and everything is to be looked at again.
fn touched(transaction: &strowger_pep::Transaction) -> Option<BTreeSet<u32>> {
    let rows = || transaction.removes.iter().chain(&transaction.installs);
    let elements: BTreeSet<u32> =
        rows().filter(|row| matches!(row, Row::DsClfrElement(_))).map(Row::instance).collect();
    let own = |row: &Row| {
        let per_flow = matches!(
            row,
            Row::DsClfrElement(_) | Row::DsMeter(_) | Row::DsTbParam(_) | Row::FrwkIpFilter(_) | Row::FrwkBaseFilter(_)
        );
        per_flow && elements.contains(&row.instance())
    };
    rows().all(own).then_some(elements)
}

fn refusal(error: &RouterError) -> PibError {
    match error {
        RouterError::Transaction(TransactionError::Filter(id, fault)) => {
            let instance = u32::try_from(id.0).unwrap_or_default();
            match fault {
                FilterFault::Full => PibError::class(DsClfrElement::prid(instance), ClassError::PriSpaceExhausted, 0),
                _ => PibError::class(DsClfrElement::prid(instance), ClassError::AttrValueInvalid, 5),
            }
        }
        RouterError::Transaction(TransactionError::UnknownInstance(id)) => {
            let instance = u32::try_from(id.0).unwrap_or_default();
            PibError::class(DsClfrElement::prid(instance), ClassError::PriInstanceInvalid, 0)
        }
        _ => PibError::global(GlobalError::UnknownError, 0),
    }
}

fn unsupported(prid: Oid, column: u16) -> PibError {
    PibError::class(prid, ClassError::AttrValueSupLimited, column)
}

/// The rule of an element, and its meter's instance. `None` for the catch-all that only names best effort: the router
/// bleaches untrusted traffic by itself, and trusted marks must stay.
fn compile(element: &DsClfrElement, installed: &Installed) -> Result<Option<(Rule, u32)>, PibError> {
    let here = || DsClfrElement::prid(element.instance);
    let filter = match installed.row(&element.specific) {
        Some(Row::FrwkIpFilter(filter)) => ip_filter(filter, installed)?,
        None if element.specific.is_zero_dot_zero() => Filter::any(),
        _ => return Err(unsupported(here(), 5)),
    };
    let catch_all = filter == Filter::any();
    let (meter, green, yellow, red, reference) = match installed.row(&element.next) {
        Some(Row::DsMeter(meter)) => {
            let first = bucket(&meter.specific, installed)?;
            let green = action(&meter.succeed_next, installed)?;
            match installed.row(&meter.fail_next) {
                // the PIB writes a three-colour meter as two in a row
                Some(Row::DsMeter(second)) => {
                    let excess = bucket(&second.specific, installed)?;
                    let spec = three_colours(first, excess)?;
                    let yellow = action(&second.succeed_next, installed)?;
                    (Some(spec), green, yellow, action(&second.fail_next, installed)?, meter.instance)
                }
                _ => {
                    let red = action(&meter.fail_next, installed)?;
                    let spec = MeterSpec::TokenBucket { rate_kbps: first.rate_kbps, burst_octets: first.burst_octets };
                    (Some(spec), green, red, red, meter.instance)
                }
            }
        }
        _ => {
            let action = action(&element.next, installed)?;
            (None, action, action, action, 0)
        }
    };
    if catch_all && meter.is_none() && green == Action::Forward(Some(Dscp::DEFAULT)) {
        return Ok(None);
    }
    Ok(Some((Rule { filter, precedence: element.precedence, meter, green, yellow, red }, reference)))
}

fn bucket<'a>(prid: &Oid, installed: &'a Installed) -> Result<&'a DsTbParam, PibError> {
    match installed.row(prid) {
        Some(Row::DsTbParam(bucket)) => Ok(bucket),
        _ => Err(PibError::class(prid.clone(), ClassError::AttrReferenceUnknown, 4)),
    }
}

fn three_colours(first: &DsTbParam, second: &DsTbParam) -> Result<MeterSpec, PibError> {
    let kind = &first.kind;
    let single = [(algorithm::sr_tcm_blind(), false), (algorithm::sr_tcm_aware(), true)];
    let two = [(algorithm::tr_tcm_blind(), false), (algorithm::tr_tcm_aware(), true)];
    if *kind == second.kind {
        if let Some((_, aware)) = single.iter().find(|(known, _)| known == kind) {
            return Ok(MeterSpec::SingleRate {
                committed_kbps: first.rate_kbps,
                committed_burst_octets: first.burst_octets,
                excess_burst_octets: second.burst_octets,
                aware: *aware,
            });
        }
        if let Some((_, aware)) = two.iter().find(|(known, _)| known == kind) {
            return Ok(MeterSpec::TwoRate {
                committed_kbps: first.rate_kbps,
                committed_burst_octets: first.burst_octets,
                peak_kbps: second.rate_kbps,
                peak_burst_octets: second.burst_octets,
                aware: *aware,
            });
        }
    }
    Err(unsupported(DsTbParam::prid(second.instance), 2))
}

/// Follows actions to where the packet is queued or dropped; the last mark on the way counts.
fn action(start: &Oid, installed: &Installed) -> Result<Action, PibError> {
    let (mut at, mut mark) = (start.clone(), None);
    for _ in 0..PATH_MAXIMUM {
        match installed.row(&at) {
            Some(Row::DsAction(action)) => {
                match installed.row(&action.specific) {
                    Some(Row::DsDscpMarkAct(act)) => {
                        mark = u8::try_from(act.dscp).ok().and_then(Dscp::new);
                        if mark.is_none() {
                            return Err(unsupported(action.specific.clone(), 2));
                        }
                    }
                    None if action.specific.is_zero_dot_zero() => {}
                    _ => return Err(unsupported(DsAction::prid(action.instance), 3)),
                }
                at = action.next.clone();
            }
            Some(Row::DsAlgDrop(drop)) if drop.kind == ALWAYS_DROP => return Ok(Action::Drop),
            // tail and early drop happen in our queues, whatever their place in the path
            Some(Row::DsAlgDrop(drop)) if (2..=4).contains(&drop.kind) => at = drop.next.clone(),
            Some(Row::DsAlgDrop(drop)) => return Err(unsupported(DsAlgDrop::prid(drop.instance), 2)),
            // the queue is chosen by the mark
            Some(Row::DsQ(_) | Row::DsScheduler(_)) => return Ok(Action::Forward(mark)),
            None if at.is_zero_dot_zero() => return Ok(Action::Forward(mark)),
            _ => return Err(PibError::class(at, ClassError::AttrReferenceUnknown, 0)),
        }
    }
    Err(unsupported(start.clone(), 0))
}

fn ip_filter(row: &FrwkIpFilter, installed: &Installed) -> Result<Filter, PibError> {
    let here = || FrwkIpFilter::prid(row.instance);
    if let Some(Row::FrwkBaseFilter(base)) = installed.row(&FrwkBaseFilter::prid(row.instance))
        && base.negation
    {
        return Err(unsupported(FrwkBaseFilter::prid(row.instance), 2));
    }
    if row.flow_label != -1 {
        return Err(unsupported(here(), 7));
    }
    let prefix = |octets: &[u8], bits: u32, column| -> Result<Option<Prefix>, PibError> {
        // InetAddressType: 0 unknown, 1 IPv4, 2 IPv6
        let address = match (row.address_type, octets.len()) {
            (_, 0) if bits == 0 => return Ok(None),
            (1, 4) => <[u8; 4]>::try_from(octets).map(IpAddr::from),
            (2, 16) => <[u8; 16]>::try_from(octets).map(IpAddr::from),
            _ => return Err(PibError::class(here(), ClassError::AttrValueInvalid, column)),
        };
        let address = address.map_err(|_| PibError::class(here(), ClassError::AttrValueInvalid, column))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most {
            return Err(PibError::class(here(), ClassError::AttrValueInvalid, column + 1));
        }
        Ok((bits > 0 || address.is_ipv6()).then_some(Prefix { address, bits: bits as u8 }))
    };
    let ports = |low: u32, high: u32, column| -> Result<std::ops::RangeInclusive<u16>, PibError> {
        match (u16::try_from(low), u16::try_from(high)) {
            (Ok(low), Ok(high)) if low <= high => Ok(low..=high),
            _ => Err(PibError::class(here(), ClassError::AttrValueInvalid, column)),
        }
    };
    let dscp = u8::try_from(row.dscp).ok().filter(|dscp| *dscp < 64);
    if dscp.is_none() && row.dscp != -1 {
        return Err(PibError::class(here(), ClassError::AttrValueInvalid, 6));
    }
    Ok(Filter {
        destination: prefix(&row.destination, row.destination_prefix_bits, 2)?,
        source: prefix(&row.source, row.source_prefix_bits, 4)?,
        protocol: if row.protocol == PROTOCOL_ANY { None } else { u8::try_from(row.protocol).ok() },
        destination_ports: ports(row.destination_port_min, row.destination_port_max, 10)?,
        source_ports: ports(row.source_port_min, row.source_port_max, 12)?,
        dscp,
    })
}
