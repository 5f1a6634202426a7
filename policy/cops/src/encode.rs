//! Values to bytes (RFC 2748 §2.1, §2.2): lengths filled in, objects padded with zeros to 32-bit words.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

use crate::message::{ClientSi, DecisionObject, Message, Object};

/// Largest contents one object can carry: its length field has 16 bits and counts the 4 header octets.
pub(crate) const OBJECT_CONTENTS_OCTETS_MAX: usize = 0xFFFF - 4;

impl Message {
    /// The message on the wire. Contents longer than an object can carry (65,531 octets) are cut there; the machines
    /// split or refuse such data before they come here.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        out.put_u8(0x10 | u8::from(self.solicited));
        out.put_u8(self.op.number());
        out.put_u16(self.client_type);
        out.put_u32(0);
        for object in &self.objects {
            put_object(&mut out, object);
        }
        let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
        if let Some(field) = out.get_mut(4..8) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        out.freeze()
    }
}

fn put_object(out: &mut BytesMut, object: &Object) {
    match object {
        Object::Handle(handle) => put(out, 1, 1, handle),
        Object::Context(context) => put_pair(out, 2, context.request_type.0, context.message_type),
        Object::InInterface(interface) => put_interface(out, 3, interface.address, interface.ifindex),
        Object::OutInterface(interface) => put_interface(out, 4, interface.address, interface.ifindex),
        Object::Reason(reason) => put_pair(out, 5, reason.code.number(), reason.sub_code),
        Object::Decision(decision) => put_decision(out, 6, decision),
        Object::LpdpDecision(decision) => put_decision(out, 7, decision),
        Object::Error(error) => put_pair(out, 8, error.code.number(), error.sub_code),
        Object::ClientSi(ClientSi::Signaled(bytes)) => put(out, 9, 1, bytes),
        Object::ClientSi(ClientSi::Named(bytes)) => put(out, 9, 2, bytes),
        Object::KeepAliveTimer(seconds) => put_pair(out, 10, 0, *seconds),
        Object::PepId(id) => put_pep_id(out, id),
        Object::ReportType(kind) => put_pair(out, 12, kind.number(), 0),
        Object::PdpRedirectAddress(address) => put_address(out, 13, *address),
        Object::LastPdpAddress(address) => put_address(out, 14, *address),
        Object::AccountingTimer(seconds) => put_pair(out, 15, 0, *seconds),
        Object::Integrity { key_id, sequence, digest } => {
            let mut contents = Vec::with_capacity(8 + digest.len());
            contents.extend_from_slice(&key_id.to_be_bytes());
            contents.extend_from_slice(&sequence.to_be_bytes());
            contents.extend_from_slice(digest);
            put(out, 16, 1, &contents);
        }
    }
}

fn put(out: &mut BytesMut, c_num: u8, c_type: u8, contents: &[u8]) {
    let contents = contents.get(..OBJECT_CONTENTS_OCTETS_MAX).unwrap_or(contents);
    let length = contents.len() + 4;
    out.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
    out.put_u8(c_num);
    out.put_u8(c_type);
    out.put_slice(contents);
    out.put_bytes(0, length.next_multiple_of(4) - length);
}

fn put_pair(out: &mut BytesMut, c_num: u8, first: u16, second: u16) {
    let [a, b] = first.to_be_bytes();
    let [c, d] = second.to_be_bytes();
    put(out, c_num, 1, &[a, b, c, d]);
}

fn put_decision(out: &mut BytesMut, c_num: u8, decision: &DecisionObject) {
    match decision {
        DecisionObject::Flags { command, flags } => put_pair(out, c_num, command.number(), *flags),
        DecisionObject::Stateless(bytes) => put(out, c_num, 2, bytes),
        DecisionObject::Replacement(bytes) => put(out, c_num, 3, bytes),
        DecisionObject::ClientSpecific(bytes) => put(out, c_num, 4, bytes),
        DecisionObject::Named(bytes) => put(out, c_num, 5, bytes),
    }
}

fn put_interface(out: &mut BytesMut, c_num: u8, address: IpAddr, ifindex: u32) {
    let (c_type, mut contents) = address_octets(address);
    contents.extend_from_slice(&ifindex.to_be_bytes());
    put(out, c_num, c_type, &contents);
}

fn put_address(out: &mut BytesMut, c_num: u8, address: SocketAddr) {
    let (c_type, mut contents) = address_octets(address.ip());
    contents.extend_from_slice(&[0, 0]);
    contents.extend_from_slice(&address.port().to_be_bytes());
    put(out, c_num, c_type, &contents);
}

fn address_octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    }
}

/// A PEPID is NUL-terminated and its own length is a multiple of four: the padding counts (RFC 2748 §2.2.11).
fn put_pep_id(out: &mut BytesMut, id: &str) {
    let mut contents: Vec<u8> = id.bytes().filter(|octet| octet.is_ascii() && *octet != 0).collect();
    contents.truncate(OBJECT_CONTENTS_OCTETS_MAX / 4 * 4 - 4);
    contents.push(0);
    contents.resize(contents.len().next_multiple_of(4), 0);
    put(out, 11, 1, &contents);
}
