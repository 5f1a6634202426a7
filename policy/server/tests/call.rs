//! One call over real TCP connections: a proxy's client, the decision point, two routers' PEPs; the order of setup, answer and
//! teardown as the project's call flow has it. Would catch: an answer released before every router has confirmed, rows left
//! behind after teardown, roll-back that forgets a router, a client that does not come back.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may stop

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use strowger_cops::CLIENT_TYPE_PROVISIONING;
use strowger_pdp::{Config, Event};
use strowger_pib::{ClassError, DsMeter, DsTbParam, FrwkFeedbackTraffic, FrwkIpFilter, PibError, Row};
use strowger_policy_server::{
    BindError, BoundPdp, Capabilities, ConfigurationConfig, ConfigurationEvent, Installed, LinkConfig,
    OutsourcingClient, OutsourcingClientConfig, Phase, PolicySink, ReasonCode, RoleInterface, Transaction, Verdict,
    run_configuration_pep, serve_pdp,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Log = Arc<Mutex<Vec<String>>>;

fn say(log: &Log, line: impl Into<String>) {
    log.lock().unwrap().push(line.into());
}

/// A router that only remembers, and refuses meters when told to.
struct Recorder {
    name: &'static str,
    log: Log,
    refuse_meters: bool,
    installed: Arc<Mutex<Vec<Row>>>,
}

impl PolicySink for Recorder {
    fn apply(&mut self, transaction: &Transaction, installed: &Installed) -> Result<(), PibError> {
        let meter = transaction.installs.iter().find(|row| matches!(row, Row::DsMeter(_)));
        if let (true, Some(row)) = (self.refuse_meters, meter) {
            return Err(PibError::class(row.prid(), ClassError::PriSpaceExhausted, 0));
        }
        *self.installed.lock().unwrap() = installed.rows().cloned().collect();
        say(&self.log, format!("{} -{} +{}", self.name, transaction.removes.len(), transaction.installs.len()));
        Ok(())
    }

    fn usage(&mut self, instances: Option<&[u32]>) -> Vec<FrwkFeedbackTraffic> {
        let row = |(instance, reference)| FrwkFeedbackTraffic { instance, reference, packets: 500, octets: 100_000 };
        (1u32..).zip(instances.unwrap_or_default().iter().copied()).map(row).collect()
    }
}

struct House {
    pdp: SocketAddr,
    log: Log,
    events: mpsc::UnboundedReceiver<Event>,
    stop: CancellationToken,
}

async fn house(config: Config) -> House {
    let bound = BoundPdp::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let pdp = bound.local_address();
    let (tell, events) = mpsc::unbounded_channel();
    let log = Log::default();
    let stop = CancellationToken::new();
    let (decisions, ended) = (log.clone(), log.clone());
    let on_event = move |_, event: Event| {
        match &event {
            Event::Decision { phase, install, .. } => {
                say(&decisions, format!("{phase} {}", if *install { "install" } else { "remove" }));
            }
            Event::CallEnded(_) => say(&ended, "ended"),
            _ => {}
        }
        let _ = tell.send(event);
    };
    tokio::spawn(serve_pdp(bound, config, on_event, stop.clone()));
    House { pdp, log, events, stop }
}

impl House {
    /// Starts a router and waits until it has its base policy.
    async fn router(&mut self, name: &'static str, refuse_meters: bool) -> Arc<Mutex<Vec<Row>>> {
        let config = ConfigurationConfig {
            link: LinkConfig::new(vec![self.pdp], name, CLIENT_TYPE_PROVISIONING),
            capabilities: Capabilities {
                device: "test router".to_owned(),
                capability_set: "software".to_owned(),
                interfaces: vec![RoleInterface { ifindex: 2, roles: "edge".to_owned() }],
            },
            hold_seconds: 60,
        };
        let installed = Arc::new(Mutex::new(Vec::new()));
        let sink = Recorder { name, log: self.log.clone(), refuse_meters, installed: installed.clone() };
        tokio::spawn(run_configuration_pep(config, sink, |_: ConfigurationEvent| {}, self.stop.clone()));
        self.until(|event| matches!(event, Event::RouterReady { .. })).await;
        installed
    }

    async fn proxy(&self) -> OutsourcingClient {
        let config = OutsourcingClientConfig::new(vec![self.pdp], "proxy.example.test");
        let client = OutsourcingClient::connect(config, self.stop.clone());
        assert!(client.ready().await);
        client
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.events.recv().await.expect("the decision point runs");
            if wanted(&event) {
                return event;
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn sip(start: &str, sdp: Option<(&str, u16)>) -> Bytes {
    let body = sdp.map(|(address, port)| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
        )
    });
    let body = body.unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let method = if start.starts_with("BYE") { "BYE" } else { "INVITE" };
    Bytes::from(format!(
        "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc\r\nFrom: <sip:alice@example.test>;tag=1\r\n\
         To: <sip:+12125550100@example.test>\r\nCall-ID: one@192.0.2.1\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
         {kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn invite() -> Bytes {
    sip("INVITE sip:+12125550100@example.test SIP/2.0", Some(("192.0.2.1", 30000)))
}

fn ok() -> Bytes {
    sip("SIP/2.0 200 OK", Some(("198.51.100.7", 20000)))
}

fn bye() -> Bytes {
    sip("BYE sip:+12125550100@example.test SIP/2.0", None)
}

#[tokio::test]
async fn setup_answer_teardown_in_order() {
    let mut house = house(Config::default()).await;
    let base = house.router("router-a", false).await;
    house.router("router-b", false).await;
    let base_rows = base.lock().unwrap().len();
    let proxy = house.proxy().await;
    house.lines();

    let verdict = proxy.decide(7, Phase::Setup, invite()).await.unwrap();
    assert!(matches!(verdict, Verdict::Install { .. }), "{verdict:?}");
    proxy.report(7, true).await;

    let Verdict::Install { data } = proxy.decide(7, Phase::Answer, ok()).await.unwrap() else { panic!("refused") };
    assert_eq!((data.dscp, data.routers), (Some(46), 2));
    // Both routers have applied the rows before the proxy hears of it.
    let filters: Vec<FrwkIpFilter> = base
        .lock()
        .unwrap()
        .iter()
        .filter_map(|row| match row {
            Row::FrwkIpFilter(filter) if filter.instance >= 1000 => Some(filter.clone()),
            _ => None,
        })
        .collect();
    let tuple = |filter: &FrwkIpFilter| {
        (filter.source.clone(), filter.source_port_min, filter.destination.clone(), filter.destination_port_max)
    };
    let (alice, gateway) = (vec![192, 0, 2, 1], vec![198, 51, 100, 7]);
    assert_eq!(tuple(&filters[0]), (alice.clone(), 30000, gateway.clone(), 20000));
    assert_eq!(tuple(&filters[1]), (gateway, 20000, alice, 30000));
    // G.711 in 20 ms: 160 octets and 40 of headers, 50 times a second, and a tenth of slack.
    assert!(base.lock().unwrap().iter().any(|row| matches!(row, Row::DsTbParam(DsTbParam { rate_kbps: 88, .. }))));

    let verdict = proxy.decide(7, Phase::Teardown, bye()).await.unwrap();
    assert_eq!(verdict, Verdict::Remove { reason: "released on 2 routers".to_owned() });
    assert_eq!(base.lock().unwrap().len(), base_rows, "only the base policy is left");
    proxy.report(7, true).await;
    proxy.delete(7, ReasonCode::Tear).await;

    let Event::CallEnded(usage) = house.until(|event| matches!(event, Event::CallEnded(_))).await else { panic!() };
    assert_eq!((usage.call.caller.as_str(), usage.flows.len()), ("sip:alice@example.test", 2));
    assert_eq!((usage.flows[0].packets, usage.flows[0].octets), (500, 100_000));
    let lines = house.lines();
    let position = |wanted: &str| lines.iter().position(|line| line == wanted).unwrap_or_else(|| panic!("{lines:?}"));
    for router in ["router-a", "router-b"] {
        assert!(position("setup install") < position(&format!("{router} -0 +10")));
        assert!(position(&format!("{router} -0 +10")) < position("answer install"));
        assert!(position("answer install") < position(&format!("{router} -10 +0")));
        assert!(position(&format!("{router} -10 +0")) < position("teardown remove"));
    }
    house.stop.cancel();
}

#[tokio::test]
async fn one_router_that_fails_undoes_all() {
    let mut house = house(Config::default()).await;
    let good = house.router("router-a", false).await;
    house.router("router-b", true).await;
    let base_rows = good.lock().unwrap().len();
    let proxy = house.proxy().await;
    proxy.decide(1, Phase::Setup, invite()).await.unwrap();
    let Verdict::Remove { reason } = proxy.decide(1, Phase::Answer, ok()).await.unwrap() else { panic!("admitted") };
    assert!(reason.starts_with("router router-b failed"), "{reason}");
    assert!(reason.contains(&DsMeter::prid(1000).to_string()), "{reason}");
    // The removal was sent before the answer; a second call's removal on the same connection comes after it.
    proxy.decide(1, Phase::Teardown, bye()).await.unwrap();
    proxy.delete(1, ReasonCode::Tear).await;
    proxy.decide(2, Phase::Setup, invite()).await.unwrap();
    proxy.decide(2, Phase::Answer, ok()).await.unwrap();
    proxy.decide(2, Phase::Teardown, bye()).await.unwrap();
    for _ in 0..200 {
        if good.lock().unwrap().len() == base_rows {
            house.stop.cancel();
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("rows are left behind");
}

#[tokio::test]
async fn without_a_router_policy_says_what_happens() {
    let admitting = house(Config::default()).await;
    let proxy = admitting.proxy().await;
    proxy.decide(1, Phase::Setup, invite()).await.unwrap();
    let Verdict::Install { data } = proxy.decide(1, Phase::Answer, ok()).await.unwrap() else { panic!("refused") };
    assert_eq!((data.dscp, data.reason.as_str()), (None, "admitted without marks: no router is connected"));
    admitting.stop.cancel();

    let strict = house(Config { require_router: true, ..Config::default() }).await;
    let proxy = strict.proxy().await;
    proxy.decide(1, Phase::Setup, invite()).await.unwrap();
    let verdict = proxy.decide(1, Phase::Answer, ok()).await.unwrap();
    assert_eq!(verdict, Verdict::Remove { reason: "no router is connected".to_owned() });
    strict.stop.cancel();
}

#[tokio::test]
async fn a_router_that_comes_back_gets_the_running_calls() {
    let mut house = house(Config::default()).await;
    let stop = std::mem::take(&mut house.stop);
    house.router("router-a", false).await;
    let router_stop = std::mem::replace(&mut house.stop, stop);
    let proxy = house.proxy().await;
    proxy.decide(1, Phase::Setup, invite()).await.unwrap();
    proxy.decide(1, Phase::Answer, ok()).await.unwrap();
    router_stop.cancel();
    house.until(|event| matches!(event, Event::RouterLost { .. })).await;
    let rows = house.router("router-a", false).await;
    assert_eq!(rows.lock().unwrap().iter().filter(|row| matches!(row, Row::DsMeter(_))).count(), 2);
    house.stop.cancel();
}

#[tokio::test]
async fn a_taken_port_is_one_sentence() {
    let bound = BoundPdp::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = BoundPdp::bind(bound.local_address()).await.unwrap_err();
    assert!(matches!(error, BindError::Taken(_)));
    assert!(error.to_string().contains("is taken"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_policy_unavailable_at_once() {
    let config = OutsourcingClientConfig::new(vec!["127.0.0.1:1".parse().unwrap()], "proxy");
    let proxy = OutsourcingClient::connect(config, CancellationToken::new());
    let error = proxy.decide(1, Phase::Setup, invite()).await.unwrap_err();
    assert!(error.reason.contains("no policy decision point is connected"), "{error}");
}
