//! Registration, its refreshes and its end (RFC 3261 §10.2).

use std::time::Duration;

use strowger_clock::{Moment, TimerId};
use strowger_sip::{Builder, Header, Message, Method, Uri};
use strowger_transaction::{ClientKey, Layer};

use crate::agent::UserAgent;
use crate::call::{Purpose, Timer, after};
use crate::command::Register;
use crate::event::{Refused, RegistrationId, UserAgentEvent};

/// First wait after a refresh that failed; doubled each time up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(30);
const RETRY_MAX: Duration = Duration::from_secs(30 * 60);
/// Longest registration asked for after a 423.
const EXPIRES_MAX_SECONDS: u32 = 7 * 24 * 3600;

/// A registration that is kept.
#[derive(Debug)]
pub(crate) struct Registration {
    wanted: Register,
    call_id: String,
    tag: String,
    pub(crate) sequence: u32,
    pub(crate) request: Option<ClientKey>,
    timer: Option<TimerId>,
    /// It has been granted at least once.
    granted: bool,
    leaving: bool,
    retry: Duration,
    /// Asked for now; raised once by a 423.
    expires_seconds: u32,
    raised: bool,
}

impl UserAgent {
    /// Registers, and refreshes until [`UserAgent::unregister`].
    ///
    /// # Errors
    /// [`Refused::TooMany`], [`Refused::LayerFull`].
    pub fn register(&mut self, now: Moment, layer: &mut Layer, wanted: Register) -> Result<RegistrationId, Refused> {
        if self.registrations.len() >= self.config.registrations_max {
            return Err(Refused::TooMany);
        }
        let id = RegistrationId(self.fresh_id());
        let expires_seconds = wanted.expires_seconds;
        let registration = Registration {
            wanted,
            call_id: self.random.alphanumeric(24),
            tag: self.fresh_tag(),
            sequence: 0,
            request: None,
            timer: None,
            granted: false,
            leaving: false,
            retry: RETRY_FIRST,
            expires_seconds,
            raised: false,
        };
        self.registrations.insert(id, registration);
        self.send_register(now, layer, id).inspect_err(|_| {
            self.registrations.remove(&id);
        })?;
        Ok(id)
    }

    /// Takes the registration back (Contact with expires 0, §10.2.2).
    ///
    /// # Errors
    /// [`Refused::Unknown`], [`Refused::LayerFull`].
    pub fn unregister(&mut self, now: Moment, layer: &mut Layer, id: RegistrationId) -> Result<(), Refused> {
        let registration = self.registrations.get_mut(&id).ok_or(Refused::Unknown)?;
        registration.leaving = true;
        if let Some(timer) = registration.timer.take() {
            self.timers.cancel(timer);
        }
        // §10.2: no new registration before the last one is answered; its answer sends this one
        if registration.request.is_some() {
            return Ok(());
        }
        self.send_register(now, layer, id)
    }

    fn send_register(&mut self, now: Moment, layer: &mut Layer, id: RegistrationId) -> Result<(), Refused> {
        let registration = self.registrations.get_mut(&id).ok_or(Refused::Unknown)?;
        registration.sequence += 1;
        let wanted = registration.wanted.clone();
        let expires = if registration.leaving { 0 } else { registration.expires_seconds };
        let address = if wanted.aor.contains('<') { wanted.aor.clone() } else { format!("<{}>", wanted.aor) };
        let request = Builder::request(Method::Register, &wanted.registrar)
            .header(Header::From, &format!("{address};tag={}", registration.tag))
            .header(Header::To, &address)
            .header(Header::CallId, &registration.call_id)
            .header(Header::CSeq, &format!("{} REGISTER", registration.sequence));
        let contact = format!("{};expires={expires}", self.contact(&wanted.target));
        let mut request = request.header(Header::Contact, &contact).header(Header::Expires, &expires.to_string());
        if !self.config.user_agent.is_empty() {
            request = request.header(Header::UserAgent, &self.config.user_agent);
        }
        let sent = (Purpose::Register(id), request.build(), wanted.target);
        let key = self.send(now, layer, sent, wanted.login)?;
        if let Some(registration) = self.registrations.get_mut(&id) {
            registration.request = Some(key);
        }
        Ok(())
    }

    pub(crate) fn register_response(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        (id, key): (RegistrationId, ClientKey),
        outcome: Result<&Message, u16>,
    ) {
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.done = true;
        }
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        registration.request = None;
        let status = outcome.map_or_else(|status| status, |response| response.status().unwrap_or_default());
        let ours = self.registrations.get(&id).map(|registration| self.contact(&registration.wanted.target));
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        match (status, outcome) {
            (200..=299, Ok(response)) => {
                if registration.leaving && expires_asked(&self.attempts, key) == Some(0) {
                    self.registrations.remove(&id);
                    self.events.push_back(UserAgentEvent::Unregistered { registration: id });
                    return;
                }
                let granted = granted_seconds(response, ours.as_deref()).unwrap_or(registration.expires_seconds).max(1);
                registration.granted = true;
                registration.retry = RETRY_FIRST;
                self.events.push_back(UserAgentEvent::Registered { registration: id, expires_seconds: granted });
                if registration.leaving {
                    if self.send_register(now, layer, id).is_err() {
                        self.registrations.remove(&id);
                    }
                    return;
                }
                // early enough that a lost request can be sent again before the binding is gone
                let early = (u64::from(granted) / 10).clamp(1, 60);
                let wait = Duration::from_secs(u64::from(granted).saturating_sub(early).max(1));
                registration.timer = Some(self.timers.insert(after(now, wait), Timer::Refresh(id)));
            }
            (423, Ok(response)) if !registration.raised && !registration.leaving => {
                let least = response.header(Header::MinExpires).and_then(|least| least.trim().parse::<u32>().ok());
                match least.filter(|least| (registration.expires_seconds..=EXPIRES_MAX_SECONDS).contains(least)) {
                    Some(least) => {
                        registration.expires_seconds = least;
                        registration.raised = true;
                        if self.send_register(now, layer, id).is_err() {
                            self.register_failed(now, id, 503, None);
                        }
                    }
                    None => self.register_failed(now, id, status, Some(response)),
                }
            }
            (_, Ok(response)) => self.register_failed(now, id, status, Some(response)),
            (_, Err(_)) => self.register_failed(now, id, status, None),
        }
    }

    /// A refresh that failed is tried again; a first registration, or the end of one, is not.
    fn register_failed(&mut self, now: Moment, id: RegistrationId, status: u16, response: Option<&Message>) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        // what the registrar will refuse again is not asked again
        let hopeless = matches!(status, 401 | 403 | 404 | 407);
        let retrying = registration.granted && !registration.leaving && !hopeless;
        let reason = response.map_or(strowger_sip::reason_phrase(status), Message::reason).to_owned();
        if retrying {
            let wait = registration.retry;
            registration.retry = (wait * 2).min(RETRY_MAX);
            registration.timer = Some(self.timers.insert(after(now, wait), Timer::Refresh(id)));
        } else {
            self.registrations.remove(&id);
        }
        self.events.push_back(UserAgentEvent::RegistrationFailed { registration: id, status, reason, retrying });
    }

    pub(crate) fn refresh(&mut self, now: Moment, layer: &mut Layer, id: RegistrationId) {
        if let Some(registration) = self.registrations.get_mut(&id) {
            registration.timer = None;
            if self.send_register(now, layer, id).is_err() {
                self.register_failed(now, id, 503, None);
            }
        }
    }
}

fn expires_asked(
    attempts: &std::collections::BTreeMap<ClientKey, crate::call::Attempt>,
    key: ClientKey,
) -> Option<u32> {
    attempts.get(&key)?.request.expires()
}

/// §10.2.4: the expires of our own Contact in the answer, else its Expires header.
fn granted_seconds(response: &Message, ours: Option<&str>) -> Option<u32> {
    let ours = ours.and_then(|ours| ours.strip_prefix('<')?.strip_suffix('>'));
    let ours = ours.and_then(|ours| Uri::parse(ours).ok());
    let contact = response.contacts().flatten().find(|contact| match (&ours, contact.uri()) {
        (Some(ours), Ok(theirs)) => ours.equivalent(&theirs),
        _ => false,
    });
    contact.and_then(|contact| contact.expires()).or_else(|| response.expires())
}
