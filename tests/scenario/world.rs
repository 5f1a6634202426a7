//! A running exchange, and who calls through it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strowger_clearinghouse_client::{ClientIdentity, OspClient, OspClientError};
use strowger_net::ListenAddress;
use strowger_osp::{
    AuthorizationRequest, AuthorizationResponse, Base64, Role, RoleInfo, State, TerminationCause, Typed, UsageDetail,
    UsageIndication, alternate,
};
use strowger_phone::{AudioSource, CallOptions, CallOutcome, CallProgress, Phone, PhoneConfig};
use strowger_transaction::Transport;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::exchange::{Configuration, Exchange};
use crate::support::rest::Rest;
use crate::support::wait_for;

/// Rings, answers, speaks, echoes.
pub const ECHO: &str = "12125550100";
/// The same number as a phone calls it.
pub const ECHO_URI: &str = "sip:+12125550100@example.test";
/// How long anything may take that should happen soon.
pub const SOON: Duration = Duration::from_secs(8);

/// A running exchange.
pub struct World {
    pub exchange: Exchange,
    pub rest: Rest,
}

impl World {
    /// The example configuration.
    pub fn example() -> World {
        World::of(Configuration::example())
    }

    /// A configuration.
    pub fn of(configuration: Configuration) -> World {
        let exchange = Exchange::start(configuration);
        let rest = exchange.rest();
        World { exchange, rest }
    }

    /// The URL of its OSP server.
    pub fn osp_url(&self) -> String {
        format!("http://{}:5045/osp", self.exchange.ip)
    }

    /// An OSP client under some device's name.
    pub fn osp(&self, customer: &str, device: &str) -> OspClient {
        let identity = ClientIdentity { customer_id: customer.to_owned(), device_id: device.to_owned() };
        OspClient::new(vec![self.osp_url()], identity).expect("an OSP client")
    }

    /// The OSP client of a program that is no proxy: the device that the example has for other makes.
    pub fn client(&self) -> OspClient {
        self.osp("1000", "1001")
    }

    /// A phone that calls through the proxy.
    pub async fn phone(&self, user: &str, password: &str) -> Phone {
        let mut config = self.phone_config(user);
        config.password = Some(password.to_owned());
        config.proxy = Some(ListenAddress { transport: Transport::Udp, address: (self.exchange.ip, 5060).into() });
        Phone::start(config).await.expect("a phone")
    }

    /// Alice's phone.
    pub async fn alice(&self) -> Phone {
        self.phone("alice", "secret").await
    }

    /// A phone that nobody here knows, without a proxy: it calls addresses.
    pub async fn stranger(&self) -> Phone {
        Phone::start(self.phone_config("stranger")).await.expect("a phone")
    }

    fn phone_config(&self, user: &str) -> PhoneConfig {
        let listen = ListenAddress { transport: Transport::Udp, address: (self.exchange.ip, 0).into() };
        PhoneConfig::new(listen, format!("sip:{user}@example.test"))
    }

    /// The number at a gateway, for who calls it directly.
    pub fn at_gateway(&self, number: &str, port: u16) -> String {
        format!("sip:+{number}@{}:{port};user=phone", self.exchange.ip)
    }

    /// A number of `/metrics`.
    pub fn metric(&self, name: &str, instance: &str) -> u64 {
        let (_, text) = self.rest.get("/metrics");
        let start = format!("strowger_{name}{{instance=\"{instance}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no metric {start}in:\n{text}"))
    }

    /// Whether no role holds anything of any call now.
    pub fn holds_nothing(&self) -> bool {
        let (_, text) = self.rest.get("/metrics");
        let held = |line: &&str| {
            line.starts_with("strowger_") && (line.contains("_calls_now{") || line.contains("_circuits_now{"))
        };
        let lines: Vec<&str> = text.lines().filter(held).collect();
        assert!(lines.len() >= 5, "the gauges of proxy and gateways are gone:\n{text}");
        lines.iter().all(|line| line.ends_with(" 0"))
    }

    /// Waits until the roles hold nothing, every call is settled and no money is reserved; then the books must balance.
    pub fn comes_to_rest(&self) {
        wait_for("calls and circuits to be given back", SOON, || self.holds_nothing().then_some(()));
        self.rest.settled(SOON);
        let callers = self.callers();
        assert_eq!(callers.pending_debits_nanos, 0, "no reservation outlives its call: {callers:?}");
        self.rest.proves_the_books();
    }

    /// The account of the callers' carrier.
    pub fn callers(&self) -> crate::support::rest::Balance {
        self.rest.account("1000")
    }

    /// The number of the only call that is authorized and open.
    pub fn open_transaction(&self) -> String {
        wait_for("an open call", SOON, || {
            let open = self.rest.json("/api/v1/calls/open");
            open["calls"][0]["transaction"].as_str().map(str::to_owned)
        })
    }
}

/// A client program's question for a call to a number.
pub fn asks_for(number: &str, call_id: &str) -> AuthorizationRequest {
    AuthorizationRequest {
        call_ids: vec![Base64(call_id.as_bytes().to_vec())],
        source_info: vec![Typed::new("e164", "12125550001")],
        destination_info: vec![Typed::new("e164", number)],
        ..AuthorizationRequest::default()
    }
}

/// Asks for a call to the echo number.
pub async fn authorized(client: &OspClient, call_id: &str) -> AuthorizationResponse {
    client.authorize(asks_for(ECHO, call_id)).await.expect("an authorization")
}

/// The OSP status of a refusal.
pub fn refused_with<T: std::fmt::Debug>(result: Result<T, OspClientError>) -> u16 {
    match result {
        Err(OspClientError::Refused(status)) => status.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The gateways of an answer, best first: their addresses' ports.
pub fn ports(answer: &AuthorizationResponse) -> Vec<u16> {
    let address = |destination: &strowger_osp::Destination| destination.signal_address.clone().expect("an address");
    let port = |text: String| text.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    answer.destinations.iter().map(address).map(port).collect()
}

/// What the calling end reports of a call with one attempt: its length and the Q.850 cause of its end.
pub fn source_usage(
    answer: &AuthorizationResponse,
    call_id: &str,
    rank: usize,
    seconds: u64,
    cause: u32,
) -> UsageIndication {
    let transaction = answer.transaction_id.expect("a transaction");
    let destination = &answer.destinations[rank];
    let mut usage = UsageIndication::new(Role::Source, transaction, call_id.as_bytes().to_vec());
    usage.role_info = Some(RoleInfo { state: Some(State::Stop), ..RoleInfo::default() });
    usage.source_info = vec![Typed::new("e164", "12125550001")];
    usage.destination_info = vec![Typed::new("e164", ECHO)];
    let address = destination.signal_address.clone().expect("an address");
    usage.destination_alternates = vec![Typed::new(alternate::TRANSPORT, address)];
    usage.setup_attempt = Some(1);
    usage.total_setup_attempts = Some(1);
    usage.usage_details = vec![UsageDetail {
        amount: Some(seconds),
        increment: Some(1),
        unit: Some("s".to_owned()),
        termination_causes: vec![TerminationCause { kind: Some("q850".to_owned()), code: cause, description: None }],
        ..UsageDetail::default()
    }];
    usage
}

/// Reports it; it must be taken.
pub async fn report(client: &OspClient, usage: UsageIndication) {
    let statuses = client.report(vec![usage]).await.expect("an answer to a usage report");
    assert!(statuses.iter().all(strowger_osp::Status::is_success), "{statuses:?}");
}

/// A call with a token in its INVITE, under the Call-ID that the token is for.
pub fn with_token(call_id: &str, token: Option<&[u8]>) -> CallOptions {
    let header = |token: &[u8]| ("P-OSP-Auth-Token".to_owned(), STANDARD.encode(token));
    CallOptions {
        headers: token.map(header).into_iter().collect(),
        call_id: Some(call_id.to_owned()),
        ..talks(Duration::from_millis(800))
    }
}

/// A call that talks so long.
pub fn talks(length: Duration) -> CallOptions {
    CallOptions {
        source: AudioSource::Tone { hertz: 1_004 },
        max_duration: length,
        ring_timeout: SOON,
        ..CallOptions::default()
    }
}

/// A call that goes on while the test looks at it.
pub struct Running {
    call: JoinHandle<CallOutcome>,
    progress: mpsc::Receiver<CallProgress>,
    hang_up: CancellationToken,
}

impl Running {
    /// Calls; the call ends with [`Running::hang_up`] or by itself.
    pub fn call(phone: Phone, uri: &str, options: CallOptions) -> Running {
        let (told, progress) = mpsc::channel(64);
        let hang_up = CancellationToken::new();
        let options = CallOptions {
            progress: Some(told),
            hang_up: hang_up.clone(),
            max_duration: Duration::from_secs(60),
            ..options
        };
        let uri = uri.to_owned();
        let call = tokio::spawn(async move {
            let outcome = phone.call(&uri, options).await;
            phone.stop().await;
            outcome
        });
        Running { call, progress, hang_up }
    }

    /// Waits for the answer.
    pub async fn answered(&mut self) -> CallProgress {
        let answered = async {
            loop {
                match self.progress.recv().await.expect("a call that is answered") {
                    CallProgress::Provisional(_) => {}
                    progress => return progress,
                }
            }
        };
        tokio::time::timeout(SOON, answered).await.expect("an answer in time")
    }

    /// Everything that was heard of its progress by now.
    pub fn heard(&mut self) -> Vec<CallProgress> {
        std::iter::from_fn(|| self.progress.try_recv().ok()).collect()
    }

    /// Hangs up and gives what came of it.
    pub async fn hang_up(self) -> CallOutcome {
        self.hang_up.cancel();
        self.outcome().await
    }

    /// What came of it.
    pub async fn outcome(self) -> CallOutcome {
        tokio::time::timeout(SOON, self.call).await.expect("the end of the call in time").expect("the phone")
    }
}

/// The call was up and sound came.
pub fn was_a_conversation(outcome: &CallOutcome) {
    assert!(outcome.answered && outcome.status == 200, "{outcome:?}");
    assert!(outcome.rtp.received > 10, "nothing was heard: {outcome:?}");
}
