//! From messages to what a ladder says of them, and to what ties them to a call.

use std::net::{IpAddr, SocketAddr};

use strowger_cops as cops;
use strowger_isup as isup;
use strowger_osp as osp;
use strowger_pib::named::{self, NamedObject};
use strowger_pib::{Class, Row};
use strowger_sdp::SessionDescription;
use strowger_sip as sip;

use crate::media::Format;
use crate::sighting::{ConnectionId, CopsFacts, IsupFacts, OspFacts, SipFacts};

/// Media addresses taken from one SDP.
const MEDIA_LINES_MAX: usize = 16;
/// Longest label, in characters.
const LABEL_CHARS_MAX: usize = 160;
/// Longest detail, in characters.
const DETAIL_CHARS_MAX: usize = 400;
/// Call ids, flows and instances taken from one message.
const KEYS_MAX: usize = 64;

/// A label and a detail: printable, on one line, bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub label: String,
    pub detail: String,
}

impl Words {
    fn new(label: impl AsRef<str>, detail: impl AsRef<str>) -> Words {
        Words { label: line(label.as_ref(), LABEL_CHARS_MAX), detail: line(detail.as_ref(), DETAIL_CHARS_MAX) }
    }
}

/// One line of printable characters: what a peer wrote must not draw on the terminal.
pub(crate) fn line(text: &str, chars_max: usize) -> String {
    let printable = |c: char| if c.is_control() || is_invisible(c) { '·' } else { c };
    text.chars().map(printable).take(chars_max).collect()
}

/// Characters that move others about, or have no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{300}'..='\u{36f}')
}

/// The media of a SIP message's SDP: address and formats of each line.
pub(crate) fn described_media(message: &sip::Message) -> Vec<(SocketAddr, Vec<Format>)> {
    if !message.has_body_of("application/sdp") {
        return Vec::new();
    }
    let Some(sdp) = std::str::from_utf8(message.body()).ok().and_then(|text| SessionDescription::parse(text).ok())
    else {
        return Vec::new();
    };
    let lines = sdp.media.iter().enumerate().take(MEDIA_LINES_MAX);
    let described = lines.filter_map(|(index, media)| {
        let (address, port) = sdp.media_address(index)?;
        let formats = media.payloads().into_iter().map(|payload| Format {
            payload_type: payload.payload_type,
            encoding: line(&payload.codec.encoding, 32),
            clock_rate_hz: payload.codec.clock_rate_hz,
        });
        Some((SocketAddr::new(address, port), formats.collect()))
    });
    described.collect()
}

/// A URI up to its parameters; those of a user part stay.
fn without_parameters(uri: &str) -> &str {
    let host = uri.find('@').unwrap_or(0);
    let end = uri.get(host..).and_then(|tail| tail.find([';', '?'])).map_or(uri.len(), |end| host + end);
    uri.get(..end).unwrap_or(uri)
}

/// The number or user part that a URI calls.
fn called(uri: &str) -> String {
    let Ok(uri) = sip::Uri::parse(uri) else { return String::new() };
    if let Some(digits) = uri.phone_number() {
        return digits.trim_start_matches('+').to_owned();
    }
    uri.user_unescaped().map(|user| user.into_owned()).unwrap_or_default()
}

pub(crate) fn sip_message(
    message: &sip::Message,
    source: SocketAddr,
    media: &[(SocketAddr, Vec<Format>)],
) -> (SipFacts, Words) {
    let method = message.method();
    let status = message.status();
    let codecs: Vec<&str> = media
        .iter()
        .flat_map(|(_, formats)| formats)
        .map(|format| format.encoding.as_str())
        .filter(|encoding| !encoding.eq_ignore_ascii_case("telephone-event"))
        .collect();
    let sdp = if !media.is_empty() {
        format!("  SDP {}", codecs.first().unwrap_or(&""))
    } else if message.has_body_of("application/sdp") {
        "  SDP".to_owned()
    } else {
        String::new()
    };
    let token = message.header(sip::Header::POspAuthToken).is_some();
    let is_invite = method == sip::Method::Invite;
    let label = match status {
        None if matches!(method, sip::Method::Ack | sip::Method::Bye | sip::Method::Cancel | sip::Method::Prack) => {
            format!("{method}{sdp}")
        }
        None => format!(
            "{method} {}{sdp}{}",
            without_parameters(message.request_uri()),
            if token { "  +token" } else { "" }
        ),
        Some(status) if is_invite => format!("{status} {}{sdp}", message.reason()),
        Some(status) => format!("{status} {} ({method}){sdp}", message.reason()),
    };
    let uri_of = |address: Result<sip::NameAddr<'_>, sip::HeaderError>| {
        address.map(|address| line(address.uri, 200)).unwrap_or_default()
    };
    let cseq = message.cseq().map(|cseq| cseq.number.to_string()).unwrap_or_default();
    let mut detail = format!("CSeq {cseq} {method}, {} octets", message.as_bytes().len());
    if let Some(reason) = message.header(sip::Header::Reason) {
        detail.push_str(", Reason ");
        detail.push_str(reason);
    }
    if status.is_none() {
        detail.push_str(&format!(", {}", message.request_uri()));
    }
    for (address, formats) in media {
        let names: Vec<&str> = formats.iter().map(|format| format.encoding.as_str()).collect();
        detail.push_str(&format!(", media {address} {}", names.join(" ")));
    }
    let sent_by = message.top_via().ok().and_then(|via| {
        let address: IpAddr = via.host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        (address == source.ip()).then(|| SocketAddr::new(address, via.port.unwrap_or(5060)))
    });
    let facts = SipFacts {
        call_id: message.call_id().unwrap_or_default().to_owned(),
        status,
        reason: line(message.reason(), 80),
        initial: message.to().is_ok_and(|to| to.tag().is_none()),
        uri: line(message.request_uri(), 200),
        from: uri_of(message.from()),
        called: called(message.request_uri()),
        token,
        media: media.iter().map(|(address, _)| *address).collect(),
        sent_by: if status.is_none() { sent_by } else { None },
        method,
    };
    (facts, Words::new(label, detail))
}

/// What named decision data says: media addresses of filters, instances, and how many flows.
struct NamedData {
    flows: Vec<SocketAddr>,
    instances: Vec<u32>,
    filters: usize,
    objects: usize,
}

fn address_of(octets: &[u8], port: u32) -> Option<SocketAddr> {
    let address = match octets.len() {
        4 => IpAddr::from(*octets.first_chunk::<4>()?),
        16 => IpAddr::from(*octets.first_chunk::<16>()?),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::try_from(port).ok()?))
}

fn named_data(bytes: &[u8]) -> NamedData {
    let mut data = NamedData { flows: Vec::new(), instances: Vec::new(), filters: 0, objects: 0 };
    let Ok(objects) = named::decode(bytes) else { return data };
    let mut current = None;
    for object in objects {
        match object {
            NamedObject::Prid(prid) => {
                data.objects += 1;
                let class = Class::of(&prid);
                if class.is_some_and(|class| class.name == "frwkIpFilterEntry") {
                    data.filters += 1;
                    if let Some((_, instance)) = prid.split_instance().filter(|_| data.instances.len() < KEYS_MAX) {
                        data.instances.push(instance);
                    }
                }
                current = Some(prid);
            }
            NamedObject::Epd(values) => {
                let row = current.as_ref().and_then(|prid| Row::from_values(prid, &values).ok());
                if let Some(Row::FrwkIpFilter(filter)) = row.filter(|_| data.flows.len() < KEYS_MAX) {
                    if filter.destination_port_min == filter.destination_port_max {
                        data.flows.extend(address_of(&filter.destination, filter.destination_port_min));
                    }
                    if filter.source_port_min == filter.source_port_max {
                        data.flows.extend(address_of(&filter.source, filter.source_port_min));
                    }
                }
            }
            _ => {}
        }
    }
    data
}

pub(crate) fn cops_message(message: &cops::Message, connection: ConnectionId) -> (CopsFacts, Words) {
    let inside = message.signaled_info().find_map(|info| sip::Message::parse(info.clone()).ok());
    let decisions = message.decisions();
    let command = decisions.first().map(|decision| decision.command);
    let mut flows = Vec::new();
    let mut instances = Vec::new();
    let mut detail = Vec::new();
    if let Some(handle) = message.handle() {
        let hex: String = handle.iter().take(16).map(|octet| format!("{octet:02x}")).collect();
        detail.push(format!("handle {hex}"));
    }
    let label = match message.op {
        cops::Op::Request if message.client_type == cops::CLIENT_TYPE_SIP => {
            let phase = message.context().and_then(|context| cops::sip::Phase::from_message_type(context.message_type));
            phase.map_or_else(|| "REQ".to_owned(), |phase| format!("REQ {phase}"))
        }
        cops::Op::Request if message.client_type == cops::CLIENT_TYPE_PROVISIONING => "REQ configuration".to_owned(),
        cops::Op::Decision => {
            if let Some(error) = message.error() {
                format!("DEC error: {}", error.code)
            } else {
                let word = command.map_or_else(String::new, |command| command.to_string().to_lowercase());
                let mut filters = 0;
                let mut objects = 0;
                let mut mark = String::new();
                for decision in &decisions {
                    if let Some(bytes) = decision.named() {
                        let data = named_data(bytes);
                        filters += data.filters;
                        objects += data.objects;
                        flows.extend(data.flows);
                        instances.extend(data.instances);
                    }
                    if let Some(bytes) = decision.client_specific() {
                        let data = cops::sip::DecisionData::parse(bytes);
                        if let Some(dscp) = data.dscp {
                            mark = format!("  {}", mark_name(dscp));
                        }
                        detail.push(data.reason);
                    }
                }
                flows.truncate(KEYS_MAX);
                instances.truncate(KEYS_MAX);
                if objects > 0 {
                    detail.push(format!("{objects} policy instances"));
                }
                match filters {
                    0 => format!("DEC {word}{mark}"),
                    1 => format!("DEC {word} 1 flow"),
                    n => format!("DEC {word} {n} flows"),
                }
            }
        }
        cops::Op::ReportState => {
            format!("RPT {}", message.report_type().map_or("?", cops::ReportType::text))
        }
        cops::Op::DeleteRequestState => {
            format!("DRQ {}", message.reason().map_or("?", |reason| reason.code.text()))
        }
        cops::Op::ClientClose => format!("CC {}", message.error().map_or("", |error| error.code.text())),
        op => format!("{op} {}", message.pep_id().unwrap_or_default()).trim_end().to_owned(),
    };
    detail.push(format!("client type {:#06x}", message.client_type));
    let facts = CopsFacts {
        connection,
        op: message.op,
        client_type: message.client_type,
        handle: message.handle().cloned().unwrap_or_default(),
        call_id: inside.as_ref().and_then(|inside| inside.call_id()).map(str::to_owned),
        command,
        flows,
        instances,
        accounting: message.report_type() == Some(cops::ReportType::Accounting),
        pep_id: message.pep_id().map(|id| line(id, 64)),
    };
    (facts, Words::new(label, detail.join(", ")))
}

fn call_id(octets: &osp::Base64) -> String {
    // some clients pad with zeros
    String::from_utf8_lossy(octets.as_ref()).trim_end_matches('\0').to_owned()
}

pub(crate) fn osp_component(
    message_id: &str,
    component: &osp::Component,
    connection: ConnectionId,
) -> (OspFacts, Words) {
    let name = component.body.kind().as_str();
    let mut facts = OspFacts {
        connection,
        message_id: message_id.to_owned(),
        answer: component.body.status().is_some(),
        call_ids: Vec::new(),
        transaction_id: None,
        destination_side: false,
    };
    let mut label = name.to_owned();
    let mut detail = Vec::new();
    if let Some(status) = component.body.status() {
        label.push_str(&format!(" {}", status.code));
        detail.push(status.description.clone());
    }
    match &component.body {
        osp::Body::AuthorizationRequest(request) => {
            facts.call_ids = request.call_ids.iter().take(KEYS_MAX).map(call_id).collect();
            if let Some(called) = request.called() {
                label.push_str(&format!(" {}", called.value));
            }
        }
        osp::Body::AuthorizationResponse(answer) => {
            facts.transaction_id = answer.transaction_id;
            label.push_str(&match answer.destinations.len() {
                0 => String::new(),
                1 => ", 1 destination".to_owned(),
                n => format!(", {n} destinations"),
            });
            for destination in answer.destinations.iter().take(8) {
                detail.push(destination.signal_address.clone().unwrap_or_default());
            }
        }
        osp::Body::AuthorizationIndication(request) => {
            facts.call_ids = request.call_id.iter().map(call_id).collect();
            facts.transaction_id = request.transaction_id;
            facts.destination_side = true;
        }
        osp::Body::ReauthorizationRequest(request) => {
            facts.call_ids = vec![call_id(&request.call_id)];
            facts.transaction_id = Some(request.transaction_id);
            facts.destination_side = request.role == osp::Role::Destination;
        }
        osp::Body::ReauthorizationResponse(answer) => facts.transaction_id = answer.transaction_id,
        osp::Body::UsageIndication(usage) => {
            facts.call_ids = vec![call_id(&usage.call_id)];
            facts.transaction_id = Some(usage.transaction_id);
            facts.destination_side = usage.role.as_str().starts_with("destination");
            label.push_str(&format!(" {} s", usage.duration_seconds()));
            detail.push(format!("role {}", usage.role.as_str()));
            if let Some(cause) = usage.q850_cause() {
                detail.push(format!("cause {cause}"));
            }
        }
        _ => {}
    }
    if let Some(transaction) = facts.transaction_id {
        detail.push(format!("transaction {transaction}"));
    }
    (facts, Words::new(label, detail.join(", ")))
}

/// An amount in 1e-6 units, without needless zeros.
fn amount(currency: [u8; 3], micros: u32) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let short = text.trim_end_matches('0');
    let short = if short.ends_with('.') { format!("{short}00") } else { short.to_owned() };
    format!("{} {short}", String::from_utf8_lossy(&currency))
}

pub(crate) fn isup_message(unit: &isup::Msu) -> (IsupFacts, Words) {
    let acronym = unit.message.acronym();
    let mut facts = IsupFacts {
        cic: unit.cic.value(),
        origin: unit.label.origin.value(),
        destination: unit.label.destination.value(),
        acronym,
        called: None,
        calling: None,
        cause: None,
    };
    let mut more = String::new();
    let label = match &unit.message {
        isup::Message::InitialAddress(iam) => {
            facts.called = Some(iam.called.digits().to_owned());
            facts.calling = iam.calling().map(|calling| calling.digits().to_owned());
            format!("{acronym} {}", iam.called.digits())
        }
        isup::Message::SubsequentAddress { digits, .. } => format!("{acronym} {digits}"),
        isup::Message::AddressComplete { backward, .. } | isup::Message::Connect { backward, .. } => {
            match backward.status() {
                isup::CalledPartyStatus::SubscriberFree => format!("{acronym} free"),
                _ => acronym.to_owned(),
            }
        }
        isup::Message::CallProgress { event, .. } => format!(
            "{acronym} {}",
            match event {
                isup::EventInformation::Alerting => "alerting",
                isup::EventInformation::Progress => "progress",
                isup::EventInformation::InBand => "in-band",
                isup::EventInformation::Other(_) => "",
                _ => "forwarded",
            }
        ),
        isup::Message::Release { cause, .. } => {
            facts.cause = Some(cause.cause.0);
            format!("{acronym} {} {}", cause.cause.0, cause.cause.text())
        }
        isup::Message::Charge(isup::Charge::Tariff(tariff)) => format!(
            "{acronym} {}+{}/{}s",
            amount(tariff.currency, tariff.setup_micros),
            amount(tariff.currency, tariff.interval_micros).get(4..).unwrap_or_default(),
            f64::from(tariff.interval_ms) / 1000.0
        ),
        isup::Message::Charge(isup::Charge::Interval { currency, number, charged_seconds, amount_micros }) => {
            more = format!(", charge {number}, {charged_seconds} s so far");
            format!("{acronym} {}", amount(*currency, *amount_micros))
        }
        _ => acronym.to_owned(),
    };
    let detail = format!("circuit {}, {} to {}{more}", facts.cic, facts.origin, facts.destination);
    (facts, Words::new(label.trim_end(), detail))
}

/// A mark by its usual name.
pub(crate) fn mark_name(dscp: u8) -> String {
    match dscp {
        0 => "DSCP 0".to_owned(),
        46 => "DSCP 46 EF".to_owned(),
        44 => "DSCP 44 VA".to_owned(),
        class if class.is_multiple_of(8) => format!("DSCP {class} CS{}", class / 8),
        af @ 10..=38 if af.is_multiple_of(2) && af % 8 != 0 => format!("DSCP {af} AF{}{}", af / 8, af % 8 / 2),
        other => format!("DSCP {other}"),
    }
}
