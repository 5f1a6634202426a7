//! One whole call as it is on the wires: phone, router, and a host on which proxy, PDP, clearinghouse and gateway share an
//! address; a trunk. The router's two interfaces both see what crosses it, and the far one 0.3 ms later.

use std::net::SocketAddr;

use bytes::Bytes;
use strowger_clock::Timestamp;
use strowger_cops as cops;
use strowger_isup as isup;
use strowger_ladder::Names;
use strowger_osp as osp;
use strowger_pib::flow::{self, Excess, MediaFlow};
use strowger_sip::{Builder, Header, Message, Method};

use crate::wire::{self, ETHERNET, MTP3, Pcapng, RAW, START, Tcp};

pub const CALL_ID: &str = "f81d4fae-7dec-11d0@10.1.0.2";
const LEFT: u32 = 0;
const RIGHT: u32 = 1;
const HOST: u32 = 2;
const TRUNK: u32 = 3;
/// Packets of each direction.
pub const RTP_PACKETS: u32 = 150;

pub fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn names() -> Names {
    Names::new()
        .host("10.1.0.2".parse().unwrap(), "phone alice")
        .socket(socket("10.2.0.2:5060"), "proxy")
        .socket(socket("10.2.0.2:3288"), "policy")
        .socket(socket("10.2.0.2:5045"), "clearinghouse")
        .socket(socket("10.2.0.2:5070"), "gateway")
        .point_code(2002, "exchange")
        .interface("edge", "router")
        .pep("edge", "router")
}

pub struct Wires {
    /// In order of time; what one interface sees.
    packets: Vec<(u64, u32, u32, Vec<u8>)>,
}

impl Wires {
    fn at(ms: f64) -> u64 {
        START + (ms * 1e6) as u64
    }

    /// Between the phone and the host: both sides of the router.
    fn across(&mut self, ms: f64, from: &str, to: &str, marks: [u8; 2], payload: &[u8]) {
        let (from, to) = (socket(from), socket(to));
        let near = if from.ip().to_string() == "10.1.0.2" { [LEFT, RIGHT] } else { [RIGHT, LEFT] };
        self.seen(ms, near[0], 1, wire::ethernet(&wire::udp(&from, &to, marks[0], 64, payload), 0));
        self.seen(ms + 0.3, near[1], 2, wire::ethernet(&wire::udp(&from, &to, marks[1], 63, payload), 0));
    }

    fn seen(&mut self, ms: f64, interface: u32, direction: u32, frame: Vec<u8>) {
        self.packets.push((Wires::at(ms), interface, direction, frame));
    }

    fn inside(&mut self, ms: f64, from: &str, to: &str, payload: &[u8]) {
        self.seen(ms, HOST, 0, wire::udp(&socket(from), &socket(to), 0, 64, payload));
    }

    fn segments(&mut self, ms: f64, interface: u32, segments: Vec<Vec<u8>>) {
        for (index, segment) in segments.into_iter().enumerate() {
            let frame = if interface == HOST { segment } else { wire::ethernet(&segment, 0) };
            self.seen(ms + index as f64 * 0.02, interface, 0, frame);
        }
    }

    fn unit(&mut self, ms: f64, to_exchange: bool, message: isup::Message) {
        let code = |code| isup::PointCode::new(code).unwrap();
        let forward = isup::RoutingLabel {
            network: isup::NetworkIndicator::National,
            destination: code(2002),
            origin: code(1001),
            selection: 3,
        };
        let label = if to_exchange { forward } else { forward.reversed() };
        let unit = isup::Msu { label, cic: isup::Cic::new(17).unwrap(), message };
        self.seen(ms, TRUNK, if to_exchange { 2 } else { 1 }, unit.encode().unwrap());
    }

    pub fn pcapng(mut self, big_endian: bool) -> Vec<u8> {
        self.packets.sort_by_key(|packet| packet.0);
        let mut file = Pcapng::new(big_endian);
        for (name, link) in [("edge/left", ETHERNET), ("edge/right", ETHERNET), ("core/lo", RAW), ("trunk", MTP3)] {
            file.interface(name, link, 9);
        }
        for (at, interface, direction, frame) in &self.packets {
            file.packet(*interface, *at, *direction, frame);
        }
        file.bytes
    }
}

fn sdp(address: &str, port: u16, codecs: &str) -> String {
    let maps = "a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n";
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP {codecs}\r\n{maps}"
    )
}

fn via(host: &str, branch: &str) -> String {
    format!("SIP/2.0/UDP {host};branch=z9hG4bK{branch}")
}

fn request(method: Method, cseq: u32, to_tag: &str) -> Builder {
    let name = method.to_string();
    Builder::request(method, "sip:+12125550100@example.test")
        .header(Header::MaxForwards, "70")
        .header(Header::From, "<sip:alice@example.test>;tag=9fxced76sl")
        .header(Header::To, &format!("<sip:+12125550100@example.test>{to_tag}"))
        .header(Header::CallId, CALL_ID)
        .header(Header::CSeq, &format!("{cseq} {name}"))
        .header(Header::Contact, "<sip:alice@10.1.0.2:5060>")
}

/// Through the proxy: its Via on top.
fn through(message: &Message, branch: &str) -> Message {
    let mut edit = message.edit();
    edit.push_front(Header::Via, &via("10.2.0.2:5060", branch));
    edit.finish()
}

fn post(xml: &str) -> Vec<u8> {
    format!(
        "POST /osp HTTP/1.1\r\nHost: 10.2.0.2:5045\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{xml}",
        xml.len()
    )
    .into_bytes()
}

fn answer(xml: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{xml}", xml.len()).into_bytes()
}

fn one(message_id: &str, body: osp::Body) -> String {
    let component = osp::Component { component_id: message_id.to_owned(), body };
    osp::Message { message_id: message_id.to_owned(), random: None, components: vec![component] }.to_xml()
}

fn sip_request(handle: &Bytes, phase: cops::sip::Phase, message: &Message) -> Vec<u8> {
    let request = cops::Message::new(cops::Op::Request, cops::CLIENT_TYPE_SIP)
        .with(cops::Object::Handle(handle.clone()))
        .with(cops::Object::Context(phase.context()))
        .with(cops::Object::ClientSi(cops::ClientSi::Signaled(message.as_bytes().clone())));
    request.encode().to_vec()
}

fn sip_decision(handle: &Bytes, phase: cops::sip::Phase, command: cops::Command, dscp: Option<u8>) -> Vec<u8> {
    let data = cops::sip::DecisionData { reason: "as asked".into(), dscp, routers: 1, token: None };
    let decision = cops::Decision {
        context: phase.context(),
        command,
        flags: 0,
        data: vec![cops::DecisionObject::ClientSpecific(data.encode())],
    };
    cops::Message::decision(cops::CLIENT_TYPE_SIP, handle.clone(), true, &[decision]).encode().to_vec()
}

fn router_decision(handle: &Bytes, command: cops::Command, data: Vec<u8>) -> Vec<u8> {
    let context = cops::Context { request_type: cops::RequestType::CONFIGURATION, message_type: 0 };
    let decision = cops::Decision { context, command, flags: 0, data: vec![cops::DecisionObject::Named(data.into())] };
    cops::Message::decision(cops::CLIENT_TYPE_PROVISIONING, handle.clone(), false, &[decision]).encode().to_vec()
}

fn report(client_type: u16, handle: &Bytes) -> Vec<u8> {
    cops::Message::report(client_type, handle.clone(), cops::ReportType::Success, true).encode().to_vec()
}

fn media_flows() -> [MediaFlow; 2] {
    let (phone, gateway) = (socket("10.1.0.2:4000"), socket("10.2.0.2:20000"));
    [(phone, gateway), (gateway, phone)].map(|(from, to)| MediaFlow {
        source: from.ip(),
        destination: to.ip(),
        source_port: None,
        destination_port: to.port(),
        protocol: 17,
        rate_kbps: 90,
        burst_octets: 1_600,
        excess: Excess::Bleach,
    })
}

const PHONE: &str = "10.1.0.2:5060";
const PROXY: &str = "10.2.0.2:5060";
const GATEWAY: &str = "10.2.0.2:5070";

/// Everything that happens.
pub fn whole_call() -> Wires {
    let mut w = Wires { packets: Vec::new() };
    let now = Timestamp::from_unix_nanos(START);
    let mut outsourcing = Tcp::new(socket("10.2.0.2:41001"), socket("10.2.0.2:3288"));
    let mut router = Tcp::new(socket("10.2.0.1:41002"), socket("10.2.0.2:3288"));
    let mut clearing = Tcp::new(socket("10.2.0.2:41003"), socket("10.2.0.2:5045"));
    let mut terminating = Tcp::new(socket("10.2.0.2:41004"), socket("10.2.0.2:5045"));
    for (index, connection) in [&mut outsourcing, &mut clearing, &mut terminating].into_iter().enumerate() {
        w.segments(-400.0 + index as f64, HOST, connection.open());
    }
    w.segments(-400.0, RIGHT, router.open());
    let open = |client_type, id: &str| {
        let open = cops::Message::new(cops::Op::ClientOpen, client_type).with(cops::Object::PepId(id.into()));
        open.encode().to_vec()
    };
    w.segments(-390.0, HOST, outsourcing.send(true, &open(cops::CLIENT_TYPE_SIP, "proxy"), 1448));
    w.segments(-390.0, RIGHT, router.send(true, &open(cops::CLIENT_TYPE_PROVISIONING, "edge"), 1448));
    let (handle, router_handle) = (Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 9]), Bytes::from_static(&[1, 2, 3, 4]));

    // set-up
    let offer = sdp("10.1.0.2", 4000, "8 0 101");
    let invite = request(Method::Invite, 1, "").header(Header::Via, &via("10.1.0.2:5060", "a1"));
    let invite = invite.body("application/sdp", offer.as_bytes()).build();
    let trying = Builder::response(&invite, 100, None).build();
    w.across(0.0, PHONE, PROXY, [0, 40], invite.as_bytes());
    w.across(1.1, PROXY, PHONE, [0, 40], trying.as_bytes());
    w.segments(1.8, HOST, outsourcing.send(true, &sip_request(&handle, cops::sip::Phase::Setup, &invite), 1448));
    let install = sip_decision(&handle, cops::sip::Phase::Setup, cops::Command::Install, None);
    w.segments(2.9, HOST, outsourcing.send(false, &install, 5));
    w.segments(3.2, HOST, outsourcing.send(true, &report(cops::CLIENT_TYPE_SIP, &handle), 1448));
    let typed = |kind: &str, value: &str| osp::Typed::new(kind, value);
    let asked = osp::AuthorizationRequest {
        timestamp: Some(now),
        call_ids: vec![osp::Base64(CALL_ID.as_bytes().to_vec())],
        source_info: vec![typed("e164", "12125550001")],
        destination_info: vec![typed("e164", "12125550100")],
        maximum_destinations: Some(5),
        ..osp::AuthorizationRequest::default()
    };
    let question = post(&one("11", osp::Body::AuthorizationRequest(asked)));
    w.segments(3.5, HOST, clearing.send(true, &question, 500));
    let destination = |address: &str| osp::Destination {
        source_info: vec![typed("e164", "12125550001")],
        destination_info: vec![typed("e164", "12125550100")],
        signal_address: Some(address.to_owned()),
        tokens: vec![osp::Base64(vec![0x30; 300])],
        call_id: Some(osp::Base64(CALL_ID.as_bytes().to_vec())),
        ..osp::Destination::default()
    };
    let granted = osp::AuthorizationResponse {
        timestamp: Some(now),
        status: osp::Status::success(),
        transaction_id: Some(4711),
        destinations: vec![destination("[10.2.0.2]:5070"), destination("[10.2.0.2]:5072")],
    };
    w.segments(8.4, HOST, clearing.send(false, &answer(&one("11", osp::Body::AuthorizationResponse(granted))), 1448));
    let mut edit = through(&invite, "b1").edit();
    edit.push_by_name("P-OSP-Auth-Token", "MIIBIjANBgkq");
    let onward = edit.finish();
    w.inside(9.2, PROXY, GATEWAY, onward.as_bytes());
    let called = isup::CalledPartyNumber::international("12125550100").unwrap();
    let calling = isup::CallingPartyNumber::new(isup::NatureOfAddress::International, "12125550001").unwrap();
    w.unit(10.6, true, isup::Message::InitialAddress(isup::InitialAddress::new(called, Some(&calling))));
    let free = isup::BackwardCallIndicators::new(true, isup::CalledPartyStatus::SubscriberFree);
    w.unit(22.0, false, isup::Message::AddressComplete { backward: free, optional: Vec::new() });
    let tariff = isup::Tariff { currency: *b"USD", setup_micros: 10_000, interval_micros: 20_000, interval_ms: 60_000 };
    w.unit(23.0, false, isup::Message::Charge(isup::Charge::Tariff(tariff)));
    let far =
        |status| Builder::response(&onward, status, None).to_tag("gw1").header(Header::Contact, "<sip:10.2.0.2:5070>");
    let near =
        |status| Builder::response(&invite, status, None).to_tag("gw1").header(Header::Contact, "<sip:10.2.0.2:5070>");
    w.inside(23.6, GATEWAY, PROXY, far(180).build().as_bytes());
    let ringing = near(180).build();
    w.across(24.1, PROXY, PHONE, [0, 40], ringing.as_bytes());

    // answer: marks first, then the 200
    w.unit(1022.0, false, isup::Message::Answer { optional: Vec::new() });
    let answered = sdp("10.2.0.2", 20000, "8 101");
    let far_ok = far(200).body("application/sdp", answered.as_bytes()).build();
    w.inside(1022.8, GATEWAY, PROXY, far_ok.as_bytes());
    w.segments(1023.4, HOST, outsourcing.send(true, &sip_request(&handle, cops::sip::Phase::Answer, &far_ok), 1448));
    let rows: Vec<_> = media_flows().iter().zip(1..).flat_map(|(flow, n)| flow.rows(n).unwrap()).collect();
    let decision = router_decision(&router_handle, cops::Command::Install, flow::install_data(&rows));
    w.segments(1024.2, RIGHT, router.send(false, &decision, 1448));
    w.segments(1025.9, RIGHT, router.send(true, &report(cops::CLIENT_TYPE_PROVISIONING, &router_handle), 1448));
    let install = sip_decision(&handle, cops::sip::Phase::Answer, cops::Command::Install, Some(46));
    w.segments(1026.3, HOST, outsourcing.send(false, &install, 1448));
    w.segments(1026.8, HOST, outsourcing.send(true, &report(cops::CLIENT_TYPE_SIP, &handle), 1448));
    let near_ok = near(200).body("application/sdp", answered.as_bytes()).build();
    w.across(1027.3, PROXY, PHONE, [0, 40], near_ok.as_bytes());
    w.across(1028.2, PROXY, PHONE, [0, 40], near_ok.as_bytes()); // the phone's ACK was late
    let ack = request(Method::Ack, 1, ";tag=gw1").header(Header::Via, &via("10.1.0.2:5060", "a2")).build();
    w.across(1029.0, PHONE, PROXY, [0, 40], ack.as_bytes());
    w.inside(1029.6, PROXY, GATEWAY, through(&ack, "b2").as_bytes());
    media(&mut w);

    // release by the phone
    w.unit(
        3031.0,
        false,
        isup::Message::Charge(isup::Charge::Interval {
            currency: *b"USD",
            number: 1,
            charged_seconds: 60,
            amount_micros: 30_000,
        }),
    );
    let bye = request(Method::Bye, 2, ";tag=gw1").header(Header::Via, &via("10.1.0.2:5060", "a3")).build();
    w.across(4041.0, PHONE, PROXY, [0, 40], bye.as_bytes());
    let far_bye = through(&bye, "b3");
    w.inside(4041.8, PROXY, GATEWAY, far_bye.as_bytes());
    let cause = isup::CauseIndicators::new(isup::Location::User, isup::Cause(16));
    w.unit(4042.5, true, isup::Message::Release { cause, optional: Vec::new() });
    w.inside(4042.9, GATEWAY, PROXY, Builder::response(&far_bye, 200, None).build().as_bytes());
    w.across(4043.4, PROXY, PHONE, [0, 40], Builder::response(&bye, 200, None).build().as_bytes());
    w.segments(4043.9, HOST, outsourcing.send(true, &sip_request(&handle, cops::sip::Phase::Teardown, &bye), 1448));
    let prids: Vec<_> = (1..=2).flat_map(MediaFlow::prids).collect();
    let removal = router_decision(&router_handle, cops::Command::Remove, flow::remove_data(&prids));
    w.segments(4044.5, RIGHT, router.send(false, &removal, 1448));
    w.segments(4045.4, RIGHT, router.send(true, &report(cops::CLIENT_TYPE_PROVISIONING, &router_handle), 1448));
    let remove = sip_decision(&handle, cops::sip::Phase::Teardown, cops::Command::Remove, None);
    w.segments(4045.9, HOST, outsourcing.send(false, &remove, 1448));
    w.segments(4046.3, HOST, outsourcing.send(true, &report(cops::CLIENT_TYPE_SIP, &handle), 1448));
    let gone = cops::Message::delete_request(cops::CLIENT_TYPE_SIP, handle, cops::ReasonCode::Tear, 0);
    w.segments(4046.6, HOST, outsourcing.send(true, &gone.encode(), 1448));
    w.unit(4053.0, false, isup::Message::ReleaseComplete { optional: Vec::new() });
    for (ms, connection, role, id) in
        [(4055.0, &mut clearing, osp::Role::Source, "12"), (4056.0, &mut terminating, osp::Role::Destination, "13")]
    {
        let mut usage = osp::UsageIndication::new(role, 4711, CALL_ID.as_bytes().to_vec());
        usage.usage_details = vec![osp::UsageDetail { amount: Some(3), unit: Some("s".into()), ..Default::default() }];
        w.segments(ms, HOST, connection.send(true, &post(&one(id, osp::Body::UsageIndication(usage))), 700));
        let taken = osp::Confirmation { timestamp: Some(now), status: osp::Status::success() };
        w.segments(
            ms + 4.0,
            HOST,
            connection.send(false, &answer(&one(id, osp::Body::UsageConfirmation(taken))), 1448),
        );
    }
    w
}

/// 3 s of A-law both ways: marked by the router, two packets lost behind it, some jitter.
fn media(w: &mut Wires) {
    for n in 0..RTP_PACKETS {
        let ms = 1035.0 + f64::from(n) * 20.0;
        let wobble = f64::from(n * 7 % 5) * 0.4;
        let header = |ssrc| strowger_rtp::Header {
            marker: n == 0,
            payload_type: 8,
            sequence: 65_500u16.wrapping_add(n as u16),
            timestamp: n * 160,
            ssrc,
        };
        let packet = |ssrc| [&header(ssrc).to_bytes()[..], &[0xd5; 160]].concat();
        let (phone, gateway) = ("10.1.0.2:4000", "10.2.0.2:20000");
        if n == 40 || n == 41 {
            let (from, to) = (socket(phone), socket(gateway));
            let frame = wire::ethernet(&wire::udp(&from, &to, 0, 64, &packet(0x0a0a_0a0a)), 0);
            w.seen(ms + wobble, LEFT, 1, frame);
        } else {
            w.across(ms + wobble, phone, gateway, [0, 46], &packet(0x0a0a_0a0a));
        }
        w.across(ms + 3.0, gateway, phone, [0, 46], &packet(0x0b0b_0b0b));
    }
}
