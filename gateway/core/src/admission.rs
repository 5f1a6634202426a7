//! An INVITE from its arrival to IAM: token, codec, circuit, media port, in this order.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use strowger_clock::Moment;
use strowger_dialog::CallId32;
use strowger_isup::{CalledPartyNumber, MAX_DIGITS};
use strowger_sip::Uri;
use strowger_sip::{Header, Message};
use strowger_token::{MAX_TOKEN_OCTETS, Refusal, TokenError, TokenInfo};
use strowger_transaction::Layer;
use strowger_trunk::Setup;

use crate::call::{Call, CallState};
use crate::core::{GatewayCore, Timer};
use crate::effect::{CallNumber, Effect, ReleaseSource};
use crate::refusal::{RefusalReason, RefusedCall};
use crate::release::Farewell;
use crate::session::{Session, is_acceptable, parse};

/// Characters of a token's base64, white space included.
const MAX_TOKEN_CHARACTERS: usize = MAX_TOKEN_OCTETS.div_ceil(3) * 4 + 64;

impl GatewayCore {
    pub(crate) fn invited(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        agent: CallId32,
        invite: &Message,
        peer: SocketAddr,
        sdp: Option<Bytes>,
    ) {
        self.counters.invites += 1;
        let token = match self.admit(now, invite) {
            Ok(token) => token,
            Err(reason) => return self.refuse(now, layer, agent, invite, peer, reason),
        };
        self.counters.calls += 1;
        let number = self.next_number;
        self.next_number += 1;
        let offered = sdp.as_ref().map(parse);
        let session = Session::new(self.random.next_u64() >> 1, offered.clone().flatten());
        let call = Call {
            number,
            agent,
            call_id: invite.call_id().unwrap_or_default().to_owned(),
            token,
            peer,
            state: CallState::OpeningMedia,
            circuit: None,
            timeslot: None,
            media_asked: false,
            session,
            provisional: None,
            start: now,
            alert: None,
            connect: None,
            release: None,
            deadline: None,
            ringing: None,
        };
        self.calls.insert(number, call);
        self.by_agent.insert(agent, number);
        let acceptable = match &offered {
            None => true, // a late offer is ours (RFC 3261 §13.2.1)
            Some(offered) => offered.as_ref().is_some_and(|offered| is_acceptable(offered, self.config.media_address)),
        };
        // calls that wait for their port have no circuit yet, but will want one
        let waiting = self.calls.values().filter(|call| call.state == CallState::OpeningMedia).count();
        if !acceptable {
            self.refuse_call(now, layer, number, invite.request_uri(), RefusalReason::NoCodec);
        } else if self.trunk.gauge().idle < waiting {
            self.refuse_call(now, layer, number, invite.request_uri(), RefusalReason::NoCircuit);
        } else {
            if let Some(call) = self.calls.get_mut(&number) {
                call.media_asked = true;
            }
            self.effects.push_back(Effect::OpenMedia { call: number });
            self.await_until(number, Some((now + self.config.media_timeout, Timer::MediaOpen(number))));
            self.tell(number);
        }
    }

    /// Whether the call is allowed at all: the gateway's own state, then the token.
    fn admit(&mut self, now: Moment, invite: &Message) -> Result<TokenInfo, RefusalReason> {
        if self.config.refuse_all.is_some() {
            return Err(RefusalReason::FaultSwitch);
        }
        if self.draining {
            return Err(RefusalReason::Draining);
        }
        if self.calls.len() >= self.config.limits.calls {
            return Err(RefusalReason::TooManyCalls);
        }
        let Some(verifier) = &self.config.authorities else { return Err(RefusalReason::NoAuthority) };
        let uri = Uri::parse(invite.request_uri()).map_err(|_| RefusalReason::NotANumber)?;
        let called = uri
            .phone_number()
            .filter(|digits| digits.len() < MAX_DIGITS && CalledPartyNumber::international(digits).is_ok())
            .ok_or(RefusalReason::NotANumber)?;
        let header = invite.header(Header::POspAuthToken).ok_or(RefusalReason::TokenMissing)?;
        let token = read_token(header)?;
        let token = verifier.verify(&token).map_err(|error| match error {
            TokenError::Forged | TokenError::Algorithm => RefusalReason::TokenForged,
            _ => RefusalReason::TokenUnreadable,
        })?;
        let call_id = invite.call_id().unwrap_or_default().as_bytes();
        let today = self.config.timestamp(now);
        self.check.check(&token, today, &called, call_id).map_err(|refusal| match refusal {
            Refusal::Expired => RefusalReason::TokenExpired,
            Refusal::NotYetValid => RefusalReason::TokenNotYetValid,
            Refusal::WrongGateway => RefusalReason::TokenForeignGateway,
            Refusal::WrongNumber => RefusalReason::TokenWrongNumber,
            Refusal::WrongCall => RefusalReason::TokenWrongCall,
            Refusal::Replayed => RefusalReason::TokenReplayed,
            Refusal::TooMany => RefusalReason::TokensFull,
        })?;
        Ok(token)
    }

    /// Refuses an INVITE that no token vouches for: nothing is kept and nothing is reported.
    fn refuse(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        agent: CallId32,
        invite: &Message,
        peer: SocketAddr,
        reason: RefusalReason,
    ) {
        let status = self.status_of(reason);
        self.counters.count_refusal(reason);
        self.effects.push_back(Effect::Refused(Box::new(RefusedCall {
            call_id: invite.call_id().unwrap_or_default().to_owned(),
            uri: invite.request_uri().to_owned(),
            peer,
            status,
            reason,
        })));
        self.turn_away(now, layer, agent, &Farewell::refusal(status, reason.cause(), reason.text()));
    }

    /// Refuses a call whose token was good: its end is reported as usage, too.
    fn refuse_call(&mut self, now: Moment, layer: &mut Layer, number: CallNumber, uri: &str, reason: RefusalReason) {
        let Some(call) = self.calls.get(&number) else { return };
        let (status, cause) = (reason.status(), reason.cause());
        self.counters.count_refusal(reason);
        self.effects.push_back(Effect::Refused(Box::new(RefusedCall {
            call_id: call.call_id.clone(),
            uri: uri.to_owned(),
            peer: call.peer,
            status,
            reason,
        })));
        let farewell = Farewell::refusal(status, cause, reason.text());
        self.end(now, layer, number, (cause, ReleaseSource::Gateway), farewell);
    }

    fn status_of(&self, reason: RefusalReason) -> u16 {
        match (reason, self.config.refuse_all) {
            (RefusalReason::FaultSwitch, Some(status)) => status,
            _ => reason.status(),
        }
    }

    /// The port is open: a circuit is seized and the call set up on it.
    pub(crate) fn media_opened(&mut self, now: Moment, layer: &mut Layer, number: CallNumber, port: u16) {
        let Some(call) = self.calls.get_mut(&number).filter(|call| call.state == CallState::OpeningMedia) else {
            return;
        };
        call.session.port = Some(port);
        let uri = format!("sip:+{}", call.token.called);
        // a caller without a number is a name: the telephone network is told nothing then
        let calling = Some(call.token.calling.trim_start_matches('+'))
            .filter(|digits| !digits.is_empty() && digits.len() < MAX_DIGITS)
            .filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
        let Ok(setup) = Setup::international(call.token.called.trim_start_matches('+'), calling) else {
            return self.refuse_call(now, layer, number, &uri, RefusalReason::NotANumber);
        };
        match self.trunk.setup(now, setup) {
            Ok(circuit) => {
                call.circuit = Some(circuit);
                call.timeslot = Some(circuit.timeslot());
                call.state = CallState::AwaitingAddressComplete;
                self.by_circuit.insert(circuit, number);
                self.await_until(number, Some((now + self.config.no_answer, Timer::NoAnswer(number))));
                self.bridge(number);
                self.tell(number);
            }
            Err(_) => self.refuse_call(now, layer, number, &uri, RefusalReason::NoCircuit),
        }
    }

    pub(crate) fn media_failed(&mut self, now: Moment, layer: &mut Layer, number: CallNumber) {
        let Some(call) = self.calls.get(&number).filter(|call| call.state == CallState::OpeningMedia) else { return };
        let uri = format!("sip:+{}", call.token.called);
        self.refuse_call(now, layer, number, &uri, RefusalReason::NoMedia);
    }
}

/// The token's octets. Folded headers may have brought white space into the base64.
fn read_token(header: &str) -> Result<Vec<u8>, RefusalReason> {
    if header.len() > MAX_TOKEN_CHARACTERS {
        return Err(RefusalReason::TokenUnreadable);
    }
    let text: String = header.split_ascii_whitespace().collect();
    if text.is_empty() {
        return Err(RefusalReason::TokenMissing);
    }
    STANDARD.decode(text).map_err(|_| RefusalReason::TokenUnreadable)
}
