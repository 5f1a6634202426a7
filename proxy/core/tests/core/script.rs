//! Requests and responses written by hand.

use strowger_sip::digest::{Algorithm, Challenge, answer};
use strowger_sip::{Builder, Header, Message, Method};

use crate::world::{DOMAIN, address, login, sdp};

/// A request of a raw peer: `branch` must differ for each.
pub struct Raw<'a> {
    pub method: Method,
    pub uri: &'a str,
    pub host: u8,
    pub branch: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub call_id: &'a str,
    pub cseq: u32,
}

impl<'a> Raw<'a> {
    pub fn new(method: Method, uri: &'a str, host: u8, branch: &'a str) -> Raw<'a> {
        Raw {
            method,
            uri,
            host,
            branch,
            from: "<sip:carol@elsewhere.test>;tag=c1",
            to: "<sip:bob@example.test>",
            call_id: branch,
            cseq: 1,
        }
    }

    pub fn build(&self) -> Builder {
        let Raw { method, uri, host, branch, from, to, call_id, cseq } = self;
        Builder::request(method.clone(), uri)
            .header(Header::Via, &format!("SIP/2.0/UDP {};branch=z9hG4bK{branch}", address(*host)))
            .header(Header::From, from)
            .header(Header::To, to)
            .header(Header::CallId, call_id)
            .header(Header::CSeq, &format!("{cseq} {method}"))
            .header(Header::Contact, &format!("<sip:peer@{}>", address(*host)))
    }
}

pub fn register<'a>(branch: &'a str, call_id: &'a str, cseq: u32) -> Raw<'a> {
    Raw {
        from: "<sip:alice@example.test>;tag=a1",
        to: "<sip:alice@example.test>",
        call_id,
        cseq,
        ..Raw::new(Method::Register, "sip:example.test", 10, branch)
    }
}

/// The headers of a REGISTER without the default contact.
pub fn register_with(raw: &Raw<'_>, contacts: &[&str]) -> Builder {
    let Raw { uri, host, branch, from, to, call_id, cseq, .. } = raw;
    let mut builder = Builder::request(Method::Register, uri)
        .header(Header::Via, &format!("SIP/2.0/UDP {};branch=z9hG4bK{branch}", address(*host)))
        .header(Header::From, from)
        .header(Header::To, to)
        .header(Header::CallId, call_id)
        .header(Header::CSeq, &format!("{cseq} REGISTER"));
    for contact in contacts {
        builder = builder.header(Header::Contact, contact);
    }
    builder
}

/// The challenges of a 401 or 407.
pub fn challenges(response: &Message) -> Vec<Challenge> {
    let header = if response.status() == Some(401) { Header::WwwAuthenticate } else { Header::ProxyAuthenticate };
    response.values(header).map(|value| Challenge::parse(value).expect("a challenge")).collect()
}

pub fn credentials(
    response: &Message,
    algorithm: Algorithm,
    user: &str,
    request: (&Method, &str),
    count: u32,
) -> String {
    let all = challenges(response);
    let challenge = all.iter().find(|challenge| challenge.algorithm == algorithm).expect("offered");
    answer(challenge, &login(user), request.0, request.1, b"", "cnonce", count).to_string()
}

/// The response to a request as a user agent server at `host` writes it, with a Contact and perhaps SDP.
pub fn response(request: &Message, status: u16, tag: &str, host: u8, version: Option<u32>) -> Message {
    let mut builder = Builder::response(request, status, None);
    if status > 100 {
        builder = builder.to_tag(tag);
    }
    if status < 300 && status > 100 {
        builder =
            builder.copy(Header::RecordRoute, request).header(Header::Contact, &format!("<sip:gw@{}>", address(host)));
    }
    match version {
        Some(version) => builder.body("application/sdp", &sdp(host, version)).build(),
        None => builder.build(),
    }
}

pub fn bob() -> String {
    format!("sip:bob@{DOMAIN}")
}

pub fn number() -> String {
    format!("sip:+{}@{DOMAIN}", crate::world::NUMBER)
}
