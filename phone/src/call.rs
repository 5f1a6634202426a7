//! One call: its signalling and its sound, from the first event to the outcome.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strowger_dialog::{CallId32, Command, EndReason, Refused, UserAgentEvent};
use strowger_net::SystemClock;
use strowger_sip::{Header, Message};
use strowger_transaction::Flow;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::audio::{AudioSource, Playing, write_wav};
use crate::config::{AnswerOptions, CallOptions, CallProgress};
use crate::media::{self, Report, Start, Stream};
use crate::outcome::{CallOutcome, EndedBy};
use crate::phone::{Inner, invite};
use crate::session::{Plan, Session, read};

/// How long the end of a call may take after hanging up before the phone stops waiting for it.
const GOODBYE: Duration = Duration::from_secs(40);
/// The same when the whole phone stops.
const HURRIED_GOODBYE: Duration = Duration::from_secs(2);
const DIGITS_MAX: usize = 256;

/// The call an event names.
pub(crate) fn call_of(event: &UserAgentEvent) -> Option<CallId32> {
    match event {
        UserAgentEvent::CommandRefused { call, .. } => *call,
        UserAgentEvent::Dialing { call, .. }
        | UserAgentEvent::IncomingCall { call, .. }
        | UserAgentEvent::Progress { call, .. }
        | UserAgentEvent::Answered { call, .. }
        | UserAgentEvent::Confirmed { call, .. }
        | UserAgentEvent::Redirected { call, .. }
        | UserAgentEvent::Rejected { call, .. }
        | UserAgentEvent::Ended { call, .. }
        | UserAgentEvent::Reoffer { call, .. }
        | UserAgentEvent::Reanswered { call, .. }
        | UserAgentEvent::ReofferRefused { call, .. }
        | UserAgentEvent::Info { call, .. }
        | UserAgentEvent::InfoDone { call, .. } => Some(*call),
        UserAgentEvent::Registered { .. }
        | UserAgentEvent::Unregistered { .. }
        | UserAgentEvent::RegistrationFailed { .. } => None,
    }
}

/// Whether no event of the call follows.
pub(crate) fn is_last(event: &UserAgentEvent) -> bool {
    matches!(event, UserAgentEvent::Rejected { .. } | UserAgentEvent::Redirected { .. } | UserAgentEvent::Ended { .. })
}

/// The sound of a call that is being set up or up.
struct Sound {
    plan: watch::Sender<Option<Plan>>,
    digits: mpsc::Sender<char>,
    heard_digits: mpsc::Receiver<char>,
    heard: watch::Receiver<bool>,
    stop: CancellationToken,
    running: JoinHandle<Report>,
    local: std::net::SocketAddr,
}

/// The task of a call.
pub(crate) struct CallTask {
    inner: Arc<Inner>,
    events: mpsc::Receiver<UserAgentEvent>,
    outgoing: bool,
    clock: SystemClock,
    call: Option<CallId32>,
    session: Option<Session>,
    sound: Option<Sound>,
    progress: Option<mpsc::Sender<CallProgress>>,
    record: Option<PathBuf>,
    answered_at: Option<strowger_clock::Moment>,
    began_at: strowger_clock::Moment,
}

impl CallTask {
    pub(crate) fn new(inner: Arc<Inner>, events: mpsc::Receiver<UserAgentEvent>, outgoing: bool) -> CallTask {
        let clock = SystemClock::new();
        let began_at = clock.now();
        CallTask {
            inner,
            events,
            outgoing,
            clock,
            call: None,
            session: None,
            sound: None,
            progress: None,
            record: None,
            answered_at: None,
            began_at,
        }
    }

    fn tell(&self, progress: CallProgress) {
        if let Some(told) = &self.progress {
            let _ = told.try_send(progress);
        }
    }

    /// Opens the RTP socket and starts the stream, which waits for a plan.
    async fn open_sound(&mut self, source: &AudioSource, record: Option<PathBuf>) -> Result<(), String> {
        let config = &self.inner.config;
        let address: IpAddr = config.rtp_address.unwrap_or(self.inner.local.address.ip());
        let salt = self.inner.random_u64();
        let socket = media::socket(address, config.rtp_ports, salt as u16)
            .map_err(|error| format!("no RTP port on {address}: {error}"))?;
        let local = UdpSocket::local_addr(&socket).map_err(|error| error.to_string())?;
        let opened = source.clone();
        // reading a file may take a while
        let playing = tokio::task::spawn_blocking(move || Playing::open(&opened)).await;
        let playing = playing.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let (plan, planned) = watch::channel(None);
        let (digits, digits_out) = mpsc::channel(DIGITS_MAX);
        let (digits_in, heard_digits) = mpsc::channel(DIGITS_MAX);
        let (hearing, heard) = watch::channel(false);
        let (a, b) = (self.inner.random_u64(), self.inner.random_u64());
        // below half: RFC 3711 §3.3.1 asks for it, and a first wrap that is far away is easier to read
        let start = Start { sequence: (a & 0x7fff) as u16, timestamp: (a >> 32) as u32, ssrc: b as u32 };
        let stop = CancellationToken::new();
        let digits_in = (digits_out, Some(digits_in));
        let stream = Stream::new(socket, planned, digits_in, playing, record.is_some(), start, hearing);
        let running = tokio::spawn(stream.run(stop.clone()));
        self.session = Some(Session::new(local, &config.codecs, b >> 33));
        self.sound = Some(Sound { plan, digits, heard_digits, heard, stop, running, local });
        self.record = record;
        Ok(())
    }

    fn play(&self, plan: Option<Plan>) {
        if let (Some(sound), Some(plan)) = (&self.sound, plan) {
            sound.plan.send_replace(Some(plan));
        }
    }

    /// A call of ours, from INVITE to the end.
    pub(crate) async fn call(mut self, reference: u64, uri: &str, options: CallOptions) -> CallOutcome {
        let mut outcome = CallOutcome::new(self.outgoing, uri);
        self.progress = options.progress.clone();
        let Some(target) = self.inner.first_hop(uri).await else {
            outcome.status = 404;
            outcome.error = Some(format!("`{uri}` names no address that can be called"));
            return outcome;
        };
        if let Err(error) = self.open_sound(&options.source, options.record.clone()).await {
            outcome.status = 500;
            outcome.error = Some(error);
            return outcome;
        }
        let Some(offer) = self.session.as_mut().map(Session::offer) else { return outcome };
        self.began_at = self.clock.now();
        let invite = invite(&self.inner, uri, target, offer, &options);
        self.inner.command(Command::Invite { reference, invite }).await;
        let ring_until = Instant::now() + options.ring_timeout;
        self.follow(&mut outcome, ring_until, &options).await;
        self.finish(outcome).await
    }

    /// A call to us, from ringing to the end.
    pub(crate) async fn answer(
        mut self,
        call: CallId32,
        (request, _flow, offer): (Message, Flow, Option<Bytes>),
        options: AnswerOptions,
    ) -> CallOutcome {
        let peer = request.from().map(|from| from.uri.to_owned()).unwrap_or_default();
        let mut outcome = CallOutcome::new(false, &peer);
        outcome.call_id = request.call_id().unwrap_or_default().to_owned();
        self.call = Some(call);
        let reject = |status| Command::Reject { call, status, reason: None, headers: Vec::new() };
        let calling = CallOptions { max_duration: options.max_duration, ..CallOptions::default() };
        let far = Instant::now() + Duration::from_secs(24 * 3600);
        let body = match options.refuse {
            Some(status) => Err(status),
            None => match self.open_sound(&options.source, options.record.clone()).await {
                Ok(()) => self.prepare_answer(offer.as_ref()),
                Err(error) => {
                    outcome.error = Some(error);
                    Err(500)
                }
            },
        };
        match body {
            Err(status) => {
                outcome.status = status;
                self.inner.command(reject(status)).await;
            }
            Ok((body, plan)) => {
                self.inner.command(Command::Ring { call, status: 180, sdp: None }).await;
                if self.ring(&mut outcome, options.ring).await {
                    self.inner.command(Command::Answer { call, sdp: Some(body) }).await;
                    outcome.status = 200;
                    self.note_answer(&mut outcome);
                    self.play(plan);
                } else {
                    return self.finish(outcome).await;
                }
            }
        }
        self.follow(&mut outcome, far, &calling).await;
        self.finish(outcome).await
    }

    fn prepare_answer(&mut self, offer: Option<&Bytes>) -> Result<(Bytes, Option<Plan>), u16> {
        let session = self.session.as_mut().ok_or(500u16)?;
        match offer {
            None => Ok((session.offer(), None)),
            Some(offer) => session.answer(&read(offer).ok_or(400u16)?).map_err(|_| 488),
        }
    }

    /// Lets the phone ring; false when the caller gave up.
    async fn ring(&mut self, outcome: &mut CallOutcome, ring: Duration) -> bool {
        let until = Instant::now() + ring;
        let stop = self.inner.stop.clone();
        loop {
            tokio::select! {
                _ = sleep_until(until) => return true,
                _ = stop.cancelled() => {
                    self.hang_up().await;
                    return false;
                }
                event = self.events.recv() => {
                    let Some(event) = event else { return false };
                    if self.event(outcome, event).await {
                        return false;
                    }
                }
            }
        }
    }

    fn note_answer(&mut self, outcome: &mut CallOutcome) {
        outcome.answered = true;
        let now = self.clock.now();
        outcome.setup_ms = millis(now.saturating_since(self.began_at));
        self.answered_at = Some(now);
    }

    /// Follows a call until it is over, and hangs up when it is time.
    async fn follow(&mut self, outcome: &mut CallOutcome, ring_until: Instant, options: &CallOptions) {
        let stop = self.inner.stop.clone();
        let mut hung_up = None;
        let mut digits_at = None;
        let mut end_at = None;
        loop {
            if outcome.answered && end_at.is_none() {
                let now = Instant::now();
                end_at = Some(now + options.max_duration);
                digits_at = (!options.digits.is_empty()).then(|| now + options.digits_after);
            }
            let deadline = hung_up.or(end_at).unwrap_or(ring_until);
            let next = digits_at.map_or(deadline, |at: Instant| at.min(deadline));
            tokio::select! {
                event = self.events.recv() => {
                    let Some(event) = event else { return };
                    if self.event(outcome, event).await {
                        return;
                    }
                }
                digit = next_digit(&mut self.sound) => self.tell(CallProgress::Digit(digit)),
                _ = options.hang_up.cancelled(), if hung_up.is_none() => hung_up = Some(self.hang_up().await),
                _ = stop.cancelled(), if hung_up.is_none() => {
                    self.hang_up().await;
                    hung_up = Some(Instant::now() + HURRIED_GOODBYE);
                }
                _ = sleep_until(next) => {
                    if let Some(at) = digits_at
                        && at <= Instant::now()
                    {
                        digits_at = None;
                        if let Some(sound) = &self.sound {
                            for digit in options.digits.chars() {
                                let _ = sound.digits.try_send(digit);
                            }
                        }
                    } else if hung_up.is_some() {
                        outcome.error.get_or_insert_with(|| "the other side did not end the call".to_owned());
                        return;
                    } else {
                        hung_up = Some(self.hang_up().await);
                    }
                }
            }
        }
    }

    async fn hang_up(&mut self) -> Instant {
        // who hangs up stops speaking first: behind the BYE the network no longer protects the packets
        if let Some(sound) = &self.sound {
            sound.plan.send_modify(|plan| {
                if let Some(plan) = plan {
                    plan.sends = false;
                }
            });
        }
        if let Some(call) = self.call {
            self.inner.command(Command::HangUp { call, reason: None }).await;
        }
        Instant::now() + GOODBYE
    }

    /// Takes in an event; true when the call is over.
    async fn event(&mut self, outcome: &mut CallOutcome, event: UserAgentEvent) -> bool {
        match event {
            UserAgentEvent::Dialing { call, .. } => self.call = Some(call),
            UserAgentEvent::CommandRefused { call: None, why, .. } => {
                outcome.status = if why == Refused::TooMany { 486 } else { 503 };
                outcome.error = Some(format!("the call could not be made: {why:?}"));
                return true;
            }
            UserAgentEvent::Progress { status, sdp, response, .. } => {
                note(outcome, &response);
                outcome.ringback_seen |= status == 180;
                self.play(self.read_answer(sdp.as_ref()));
                self.tell(CallProgress::Provisional(status));
            }
            UserAgentEvent::Answered { call, sdp, answer_owed, response } => {
                note(outcome, &response);
                outcome.status = response.status().unwrap_or(200);
                outcome.reason = response.reason().to_owned();
                outcome.early_media = self.sound.as_ref().is_some_and(|sound| *sound.heard.borrow());
                self.note_answer(outcome);
                if answer_owed {
                    let answer = self.prepare_answer(sdp.as_ref()).ok();
                    let (body, plan) = answer.map_or((None, None), |(body, plan)| (Some(body), plan));
                    self.play(plan);
                    self.inner.command(Command::Acknowledge { call, sdp: body }).await;
                } else {
                    self.play(self.read_answer(sdp.as_ref()));
                }
                if let Some(sound) = &self.sound {
                    let remote_rtp = sound.plan.borrow().as_ref().and_then(|plan| plan.remote);
                    self.tell(CallProgress::Answered { local_rtp: sound.local, remote_rtp });
                }
            }
            UserAgentEvent::Confirmed { sdp, .. } | UserAgentEvent::Reanswered { sdp, answer_owed: false, .. } => {
                self.play(self.read_answer(sdp.as_ref()));
            }
            UserAgentEvent::Reoffer { call, sdp, .. } => {
                let command = match self.prepare_answer(sdp.as_ref()) {
                    Ok((body, plan)) => {
                        self.play(plan);
                        Command::AnswerReoffer { call, sdp: Some(body) }
                    }
                    Err(status) => Command::RejectReoffer { call, status },
                };
                self.inner.command(command).await;
            }
            UserAgentEvent::Rejected { status, reason, response, .. } => {
                outcome.status = status;
                outcome.reason = reason;
                self.note_refusal(outcome, response.as_ref());
                return true;
            }
            UserAgentEvent::Redirected { status, response, .. } => {
                outcome.status = status;
                outcome.reason = response.reason().to_owned();
                self.note_refusal(outcome, Some(&response));
                return true;
            }
            UserAgentEvent::Ended { reason, .. } => {
                self.note_end(outcome, reason);
                return true;
            }
            _ => {}
        }
        false
    }

    fn read_answer(&self, sdp: Option<&Bytes>) -> Option<Plan> {
        self.session.as_ref()?.answered(&read(sdp?)?)
    }

    fn note_refusal(&self, outcome: &mut CallOutcome, response: Option<&Message>) {
        if let Some(response) = response {
            note(outcome, response);
        }
        outcome.setup_ms = millis(self.clock.now().saturating_since(self.began_at));
        outcome.early_media = self.sound.as_ref().is_some_and(|sound| *sound.heard.borrow());
    }

    fn note_end(&self, outcome: &mut CallOutcome, reason: EndReason) {
        outcome.ended_by = match &reason {
            EndReason::Local => EndedBy::Us,
            EndReason::Remote(_) | EndReason::Cancelled(_) => EndedBy::Peer,
            EndReason::NotAcknowledged | EndReason::DialogLost(_) => EndedBy::Nobody,
        };
        match reason {
            EndReason::Cancelled(cause) => {
                outcome.status = 487;
                outcome.cause = cause.or(outcome.cause.take());
            }
            EndReason::Remote(cause) => outcome.cause = cause.or(outcome.cause.take()),
            EndReason::NotAcknowledged => {
                outcome.error = Some("our answer was never acknowledged".to_owned());
            }
            EndReason::DialogLost(status) => {
                outcome.error = Some(format!("the other side lost the call ({status})"));
            }
            EndReason::Local => {}
        }
    }

    async fn finish(mut self, mut outcome: CallOutcome) -> CallOutcome {
        if let Some(answered_at) = self.answered_at {
            outcome.duration_ms = millis(self.clock.now().saturating_since(answered_at));
        }
        if outcome.reason.is_empty() && outcome.status != 0 {
            outcome.reason = strowger_sip::reason_phrase(outcome.status).to_owned();
        }
        let Some(sound) = self.sound.take() else { return outcome };
        sound.stop.cancel();
        let Ok(report) = sound.running.await else { return outcome };
        outcome.rtp = report.statistics;
        outcome.digits = report.digits;
        if let Some(path) = self.record.take() {
            let written = path.clone();
            let recording = report.recording;
            match tokio::task::spawn_blocking(move || write_wav(&written, &recording)).await {
                Ok(Ok(())) => outcome.recorded = Some(path),
                Ok(Err(error)) => outcome.error = Some(error.to_string()),
                Err(error) => outcome.error = Some(error.to_string()),
            }
        }
        outcome
    }
}

async fn next_digit(sound: &mut Option<Sound>) -> char {
    match sound {
        Some(sound) => match sound.heard_digits.recv().await {
            Some(digit) => digit,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

fn note(outcome: &mut CallOutcome, response: &Message) {
    if outcome.call_id.is_empty() {
        outcome.call_id = response.call_id().unwrap_or_default().to_owned();
    }
    if let Some(cause) = response.header(Header::Reason) {
        outcome.cause = Some(cause.to_owned());
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
