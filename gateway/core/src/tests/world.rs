//! A caller, the gateway and the simulated exchange on one virtual clock; messages arrive at once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use strowger_clock::{Moment, Random, Timestamp};
use strowger_dialog::{CallId32, Invite, LocalAddress, UserAgent, UserAgentEvent};
use strowger_enrollment::Authority;
use strowger_isup::Cause;
use strowger_sip::Message;
use strowger_token::{Signer, TokenInfo, Verifier, VerifyingKey};
use strowger_transaction::{Flow, FlowId, Layer, Output, Target, TransactionUser, Transport};
use strowger_trunk::{Circuit, Exchange, ExchangeConfig, TrunkConfig};

use crate::{CallState, CallUsage, Config, Effect, GatewayCore, Input, MediaStatistics, RefusedCall};

pub(super) const START: Timestamp = Timestamp::from_unix_seconds(1_795_255_200);
pub(super) const ECHO: &str = "12125550100";
pub(super) const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0\r\n";

fn caller_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5060))
}

fn gateway_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 5070))
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) caller: UserAgent,
    caller_layer: Layer,
    pub(super) core: GatewayCore,
    pub(super) layer: Layer,
    pub(super) exchange: Exchange,
    pub(super) signer: Signer,
    /// What the caller was told, responses with it.
    pub(super) events: Vec<UserAgentEvent>,
    /// What the gateway asked for, media and units excepted.
    pub(super) effects: Vec<Effect>,
    pub(super) bridges: Vec<Effect>,
    /// The media driver answers; otherwise the test does.
    pub(super) media: bool,
    /// The caller's packets get lost.
    pub(super) caller_is_gone: bool,
    /// The exchange's units get lost.
    pub(super) exchange_is_gone: bool,
    pub(super) seen: Vec<Message>,
    tokens: u64,
}

impl World {
    pub(super) fn new() -> World {
        World::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> World {
        let now = Moment::from_millis(1000);
        let authority = Authority::create("Example", "CA", START, Duration::from_secs(86_400), [7; 16]).unwrap();
        let key = VerifyingKey::from_certificate(authority.certificate()).unwrap();
        let local = |address| vec![LocalAddress { transport: Transport::Udp, address }];
        let mut config = Config::new("gw1", local(gateway_address()), gateway_address().ip(), (now, START));
        config.authorities = Some(Verifier::new(vec![key]));
        change(&mut config);
        let trunk = TrunkConfig::new(1, 2, 0).unwrap();
        let layer = |seed| Layer::new(strowger_transaction::Config::default(), Random::from_seed(seed));
        let caller = strowger_dialog::Config { local: local(caller_address()), ..strowger_dialog::Config::default() };
        let mut world = World {
            now,
            caller: UserAgent::new(caller, Random::from_seed(1)),
            caller_layer: layer(2),
            core: GatewayCore::new(now, config, trunk, Random::from_seed(3), 1),
            layer: layer(4),
            exchange: Exchange::new(ExchangeConfig::new(trunk.reversed())),
            signer: Signer::from_pkcs8(&authority.key_pkcs8(), authority.certificate()).unwrap(),
            events: Vec::new(),
            effects: Vec::new(),
            bridges: Vec::new(),
            media: true,
            caller_is_gone: false,
            exchange_is_gone: false,
            seen: Vec::new(),
            tokens: 0,
        };
        world.drain();
        world
    }

    /// Carries everything to where it belongs until nothing moves.
    pub(super) fn drain(&mut self) {
        let mut wire: VecDeque<(bool, Message)> = VecDeque::new();
        loop {
            let mut quiet = true;
            while let Some(output) = self.caller_layer.poll_output() {
                quiet = false;
                match output {
                    Output::Transmit { message, .. } => wire.push_back((true, message)),
                    Output::Event(event) => self.caller.event(self.now, event, &mut self.caller_layer),
                }
            }
            while let Some(event) = self.caller.poll_effect() {
                self.events.push(event);
            }
            while let Some(output) = self.layer.poll_output() {
                quiet = false;
                match output {
                    Output::Transmit { message, .. } => {
                        self.seen.push(message.clone());
                        wire.push_back((false, message));
                    }
                    Output::Event(event) => self.core.event(self.now, event, &mut self.layer),
                }
            }
            while let Some(effect) = self.core.poll_effect() {
                quiet = false;
                self.effect(effect);
            }
            while let Some(unit) = self.exchange.poll_transmit() {
                quiet = false;
                if !self.exchange_is_gone {
                    self.core.input(self.now, Input::Msu(unit), &mut self.layer);
                }
            }
            while let Some((to_gateway, message)) = wire.pop_front() {
                quiet = false;
                let (caller, gateway) = (caller_address(), gateway_address());
                if self.caller_is_gone {
                    continue;
                }
                // what is parsed on arrival is what a socket would have brought
                let message = Message::parse(message.as_bytes().clone()).unwrap();
                let flow = |local, peer| Flow { id: FlowId(1), transport: Transport::Udp, local, peer };
                if to_gateway {
                    self.layer.received(self.now, message, flow(gateway, caller));
                } else {
                    self.caller_layer.received(self.now, message, flow(caller, gateway));
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Msu(unit) => self.exchange.received(self.now, &unit),
            Effect::OpenMedia { call } if self.media => {
                let port = 20_000 + 2 * u16::try_from(call).unwrap();
                self.core.input(self.now, Input::MediaOpened { call, port }, &mut self.layer);
            }
            Effect::CloseMedia { call } if self.media => {
                let statistics = Some(MediaStatistics { packets_received: 7, ..MediaStatistics::default() });
                self.core.input(self.now, Input::MediaClosed { call, statistics }, &mut self.layer);
            }
            Effect::BridgeMedia { .. } => self.bridges.push(effect),
            other => self.effects.push(other),
        }
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let all = [
                self.caller.next_deadline(),
                self.caller_layer.next_deadline(),
                self.core.next_deadline(),
                self.layer.next_deadline(),
                self.exchange.next_deadline(),
            ];
            let Some(next) = all.into_iter().flatten().min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            self.caller.timeout(self.now, &mut self.caller_layer);
            self.drain();
            self.caller_layer.timeout(self.now);
            self.drain();
            self.core.timeout(self.now, &mut self.layer);
            self.drain();
            self.layer.timeout(self.now);
            self.drain();
            self.exchange.timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    pub(super) fn run_ms(&mut self, milliseconds: u64) {
        self.run(Duration::from_millis(milliseconds));
    }

    pub(super) fn token(&mut self, called: &str, call_id: &str) -> TokenInfo {
        self.tokens += 1;
        let today = START + self.now.saturating_since(Moment::from_millis(1000));
        TokenInfo {
            calling: "14045550001".to_owned(),
            called: called.to_owned(),
            call_id: call_id.as_bytes().to_vec(),
            valid_after: today,
            valid_until: today + Duration::from_secs(300),
            transaction_id: 4711 + self.tokens,
            granted_seconds: 3600,
            gateway: "gw1".to_owned(),
            nonce: format!("n{}", self.tokens),
        }
    }

    pub(super) fn header(&self, token: &TokenInfo) -> (String, String) {
        let der = self.signer.sign(token).unwrap();
        ("P-OSP-Auth-Token".to_owned(), base64::engine::general_purpose::STANDARD.encode(der))
    }

    pub(super) fn invite(
        &mut self,
        called: &str,
        call_id: &str,
        sdp: Option<&str>,
        headers: Vec<(String, String)>,
    ) -> CallId32 {
        let invite = Invite {
            uri: format!("sip:+{called}@{};user=phone", gateway_address()),
            to: None,
            from: "<sip:alice@example.test>".to_owned(),
            target: Target::new(Transport::Udp, gateway_address()),
            route: Vec::new(),
            sdp: sdp.map(|sdp| Bytes::copy_from_slice(sdp.as_bytes())),
            headers,
            login: None,
            call_id: Some(call_id.to_owned()),
        };
        let call = self.caller.invite(self.now, &mut self.caller_layer, invite).unwrap();
        self.drain();
        call
    }

    /// A call with a good token; `call_id` names it.
    pub(super) fn call(&mut self, called: &str, call_id: &str) -> CallId32 {
        let token = self.token(called, call_id);
        let header = self.header(&token);
        self.invite(called, call_id, Some(OFFER), vec![header])
    }

    pub(super) fn caller_does<R>(&mut self, act: impl FnOnce(&mut UserAgent, Moment, &mut Layer) -> R) -> R {
        let result = act(&mut self.caller, self.now, &mut self.caller_layer);
        self.drain();
        result
    }

    pub(super) fn input(&mut self, input: Input) {
        self.core.input(self.now, input, &mut self.layer);
        self.drain();
    }

    pub(super) fn exchange_hangs_up(&mut self, cause: Cause) {
        let circuit = Circuit::all().find(|circuit| self.core.trunk().state(*circuit).has_call()).unwrap();
        self.exchange.hang_up(self.now, circuit, cause);
        self.drain();
    }

    /// The final response to the caller's last INVITE, when it was refused.
    pub(super) fn refusal(&self) -> &Message {
        let refused = self.events.iter().rev().find_map(|event| match event {
            UserAgentEvent::Rejected { response, .. } => response.as_ref(),
            _ => None,
        });
        refused.expect("the call was not refused")
    }

    pub(super) fn refused(&self) -> &RefusedCall {
        let refused = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Refused(refused) => Some(refused),
            _ => None,
        });
        refused.expect("nothing was refused")
    }

    pub(super) fn statuses(&self) -> Vec<u16> {
        self.seen.iter().filter_map(Message::status).filter(|status| *status > 100).collect()
    }

    pub(super) fn states(&self) -> Vec<CallState> {
        let states = self.effects.iter().filter_map(|effect| match effect {
            Effect::Call(summary) => Some(summary.state),
            _ => None,
        });
        let mut states: Vec<CallState> = states.collect();
        states.dedup();
        states
    }

    pub(super) fn usages(&self) -> Vec<CallUsage> {
        let usages = self.effects.iter().filter_map(|effect| match effect {
            Effect::Usage { usage, .. } => Some(usage.as_ref().clone()),
            _ => None,
        });
        usages.collect()
    }

    /// The one usage report.
    pub(super) fn usage(&self) -> CallUsage {
        let usages = self.usages();
        assert_eq!(usages.len(), 1, "{usages:?}");
        usages[0].clone()
    }

    /// Lets every transaction run out, and checks that nothing is kept but used tokens.
    pub(super) fn settle(&mut self) {
        self.run(Duration::from_secs(120));
        let counters = self.core.counters();
        assert_eq!((counters.calls_now, counters.circuits_now, counters.dialogs_now), (0, 0, 0), "{counters:?}");
        assert_eq!(counters.timers_now, 0);
        assert_eq!(counters.circuits_idle, 30);
        assert!(self.layer.gauge().is_zero(), "{:?}", self.layer.gauge());
        assert_eq!(self.caller.gauge(), strowger_dialog::Gauge::default());
    }
}
