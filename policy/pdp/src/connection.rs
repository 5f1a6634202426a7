//! Connections: framing, opening client types, keep-alive, closing (RFC 2748 §3.6 to §3.9).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use strowger_clock::Moment;
use strowger_cops::{
    CLIENT_TYPE_CONNECTION, CLIENT_TYPE_PROVISIONING, CLIENT_TYPE_SIP, DecodeError, ErrorCode, ErrorObject, Fault,
    Framer, Message, Object, Op,
};

use crate::event::{Event, RefusalKind};
use crate::pdp::{ConnectionId, Output, Pdp};

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    pub(crate) framer: Framer,
    pub(crate) pep_id: Option<String>,
    pub(crate) opened: BTreeSet<u16>,
    pub(crate) silent_at: Option<Moment>,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, octets_max: usize, silent_at: Option<Moment>) -> Connection {
        Connection { peer, framer: Framer::new(octets_max), pep_id: None, opened: BTreeSet::new(), silent_at }
    }
}

impl Pdp {
    pub(crate) fn frames(&mut self, now: Moment, id: ConnectionId) {
        while let Some(connection) = self.connections.get_mut(&id) {
            match connection.framer.next() {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    let silent_at = self.silent_at(now);
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.silent_at = silent_at;
                    }
                    match Message::parse(&frame) {
                        Ok(message) => self.message(now, id, message),
                        Err(error) => self.malformed(now, id, error),
                    }
                }
                Err(_) => {
                    self.refuse(id, RefusalKind::Malformed);
                    return self.close(now, id, ErrorCode::BadMessageFormat);
                }
            }
        }
    }

    fn message(&mut self, now: Moment, id: ConnectionId, message: Message) {
        match message.op {
            Op::KeepAlive => return self.send(id, &Message::keep_alive()),
            Op::ClientOpen => return self.client_open(now, id, &message),
            Op::ClientClose => return self.client_close(now, id, message.client_type),
            Op::Decision | Op::SynchronizeState | Op::ClientAccept => {
                return self.refuse(id, RefusalKind::WrongDirection);
            }
            Op::Request | Op::ReportState | Op::DeleteRequestState | Op::SynchronizeComplete => {}
        }
        let Some(connection) = self.connections.get(&id) else { return };
        if !connection.opened.contains(&message.client_type) {
            self.refuse(id, RefusalKind::NotOpened);
            let close = Message::client_close(message.client_type, ErrorCode::UnsupportedClientType, 0);
            return self.send(id, &close);
        }
        let Some(pep_id) = connection.pep_id.clone() else { return };
        match message.client_type {
            CLIENT_TYPE_PROVISIONING => self.router_message(now, id, &pep_id, &message),
            _ => self.proxy_message(now, id, &pep_id, &message),
        }
    }

    fn client_open(&mut self, now: Moment, id: ConnectionId, message: &Message) {
        let client_type = message.client_type;
        let Some(pep_id) = message.pep_id().map(str::to_owned) else { return };
        if client_type == CLIENT_TYPE_CONNECTION {
            // Security is asked for, and no key is configured here (RFC 2748 §4.1).
            return self.send(id, &Message::client_close(client_type, ErrorCode::AuthenticationFailure, 0));
        }
        if client_type != CLIENT_TYPE_PROVISIONING && client_type != CLIENT_TYPE_SIP {
            self.refuse(id, RefusalKind::ClientType(client_type));
            return self.send(id, &Message::client_close(client_type, ErrorCode::UnsupportedClientType, 0));
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.pep_id.as_ref().is_some_and(|known| *known != pep_id) {
            // One connection is one PEP.
            return self.send(id, &Message::client_close(client_type, ErrorCode::ClientFailure, 0));
        }
        let address = connection.peer;
        connection.pep_id = Some(pep_id.clone());
        let again = !connection.opened.insert(client_type);
        self.supersede(now, id, &pep_id, client_type);
        let mut accept =
            Message::new(Op::ClientAccept, client_type).with(Object::KeepAliveTimer(self.config.keep_alive_seconds));
        if client_type == CLIENT_TYPE_PROVISIONING {
            accept.objects.push(Object::AccountingTimer(self.config.accounting_seconds));
        }
        self.send(id, &accept);
        if client_type == CLIENT_TYPE_SIP && !again {
            self.event(Event::ProxyConnected { proxy: pep_id.clone(), address });
            // Calls of an earlier connection, here or at another PDP: ask for what the proxy still has (§2.5).
            if self.has_orphans(&pep_id) || message.last_pdp().is_some() {
                self.send(id, &Message::new(Op::SynchronizeState, client_type));
            }
        }
    }

    /// The same PEP over a new connection: the old one is dead, whether TCP knows it or not.
    fn supersede(&mut self, now: Moment, id: ConnectionId, pep_id: &str, client_type: u16) {
        let old: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(other, connection)| {
                **other != id
                    && connection.pep_id.as_deref() == Some(pep_id)
                    && connection.opened.contains(&client_type)
            })
            .map(|(other, _)| *other)
            .collect();
        for other in old {
            self.close(now, other, ErrorCode::Unspecified);
        }
    }

    fn client_close(&mut self, now: Moment, id: ConnectionId, client_type: u16) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if client_type == CLIENT_TYPE_CONNECTION {
            self.outputs.push_back(Output::Close(id));
            return self.forget(now, id);
        }
        if connection.opened.remove(&client_type)
            && let Some(pep_id) = connection.pep_id.clone()
        {
            self.client_gone(now, id, &pep_id, client_type);
        }
    }

    fn malformed(&mut self, now: Moment, id: ConnectionId, error: DecodeError) {
        self.refuse(id, RefusalKind::Malformed);
        let object: ErrorObject = error.error_object();
        match (error.op, error.handle) {
            // A malformed REQ is answered with a DEC that carries the error (RFC 2748 §3.1).
            (Some(Op::Request), Some(handle)) => {
                self.send(id, &Message::decision_error(error.client_type, handle, object));
            }
            (Some(Op::Request | Op::ClientOpen), _) => {
                self.send(id, &Message::client_close(error.client_type, object.code, object.sub_code));
            }
            // A report that cannot be read leaves reports and decisions out of step: begin again.
            (Some(Op::ReportState), _) => self.close(now, id, ErrorCode::BadMessageFormat),
            _ if matches!(error.fault, Fault::Version(_)) => self.close(now, id, ErrorCode::BadMessageFormat),
            _ => {}
        }
    }

    /// CC for every open client type, then the end of the connection.
    pub(crate) fn close(&mut self, now: Moment, id: ConnectionId, code: ErrorCode) {
        let Some(connection) = self.connections.get(&id) else { return };
        let mut types: Vec<u16> = connection.opened.iter().copied().collect();
        if types.is_empty() {
            types.push(CLIENT_TYPE_CONNECTION);
        }
        for client_type in types {
            self.send(id, &Message::client_close(client_type, code, 0));
        }
        self.outputs.push_back(Output::Close(id));
        self.forget(now, id);
    }

    /// Drops what hung on a connection.
    pub(crate) fn forget(&mut self, now: Moment, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let Some(pep_id) = connection.pep_id else { return };
        for client_type in connection.opened {
            self.client_gone(now, id, &pep_id, client_type);
        }
    }

    fn client_gone(&mut self, now: Moment, id: ConnectionId, pep_id: &str, client_type: u16) {
        if client_type == CLIENT_TYPE_PROVISIONING {
            self.router_lost(now, id, pep_id);
        } else {
            self.proxy_lost(now, id, pep_id);
        }
    }
}
