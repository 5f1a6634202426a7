//! The demo's calls and what must have come of them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use strowger_clearinghouse_server::{AccountView, Clearinghouse};
use strowger_net::ListenAddress;
use strowger_pdp::Event as PolicyEvent;
use strowger_phone::{AnswerOptions, AudioSource, CallOptions, CallOutcome, CallProgress, Phone, PhoneConfig};
use strowger_store::{Page, Sqlite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::network::Network;
use super::report::Report;
use crate::config::File;
use crate::exchange::Exchange;

/// Synchronization source of packets that belong to no call.
pub const PROBE_SSRC: u32 = 0x5052_4f42;
/// How long the main call is held.
const CALL: Duration = Duration::from_secs(6);
/// What the phone says: heard back from the echo number.
const TONE_HERTZ: u16 = 440;

/// What happened.
#[derive(Default)]
pub struct Outcome {
    /// Every call, as the calling phone saw it.
    pub calls: Vec<CallOutcome>,
    /// Accounts before the first call.
    pub before: serde_json::Value,
    /// In the middle of the main call.
    pub during: serde_json::Value,
    /// After the last.
    pub after: serde_json::Value,
    /// Call detail records.
    pub cdrs: serde_json::Value,
    /// Sums per currency.
    pub sums: Vec<(String, i128)>,
    /// RTP addresses of the main call: phone, gateway.
    pub media: Option<(SocketAddr, SocketAddr)>,
    /// Ports of the probes that were sent outside any call: before, after.
    pub probes: Vec<SocketAddr>,
}

/// Runs every call against the running exchange.
pub async fn run(
    network: &Network,
    running: &Exchange,
    policy: mpsc::UnboundedReceiver<PolicyEvent>,
    folder: &Path,
    report: &mut Report,
) -> Result<Outcome> {
    let house = running.clearinghouse.clone().context("the demo's configuration has a clearinghouse")?;
    let unready: Vec<&str> = running.unready.iter().map(String::as_str).collect();
    report.check("roles", unready.is_empty(), format!("{} listening addresses", running.addresses.len()));
    let mut outcome = Outcome { before: accounts(&house), ..Outcome::default() };
    let progress = Progress { house: Arc::clone(&house), policy, report, outcome: &mut outcome };
    on_the_edge(network, folder, progress).await?;

    report.stage("the books");
    settle(&house).await;
    outcome.after = accounts(&house);
    outcome.sums = house.sums().iter().map(|sums| (sums.currency.to_string(), sums.posted_nanos)).collect();
    books(&house, &mut outcome, report).await?;
    let idle = wait_for(Duration::from_secs(10), || running.calls_now() == 0).await;
    report.check("gauges", idle, format!("{} calls left", running.calls_now()));
    Ok(outcome)
}

/// What the scripted calls may touch besides their phones.
struct Progress<'a> {
    house: Arc<Clearinghouse>,
    policy: mpsc::UnboundedReceiver<PolicyEvent>,
    report: &'a mut Report,
    outcome: &'a mut Outcome,
}

/// Phones live in the edge's namespace: on threads of their own, with a runtime of their own.
async fn on_the_edge(network: &Network, folder: &Path, progress: Progress<'_>) -> Result<()> {
    let runtime = std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<tokio::runtime::Runtime> {
            network.enter_edge()?;
            Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
        });
        thread.join().unwrap_or_else(|_| anyhow::bail!("cannot start the phones' runtime"))
    })?;
    let edge = Edge { network, folder, handle: runtime.handle().clone() };
    let result = edge.script(progress).await;
    runtime.shutdown_background();
    result
}

struct Edge<'a> {
    network: &'a Network,
    folder: &'a Path,
    handle: tokio::runtime::Handle,
}

impl Edge<'_> {
    /// Runs something of the phones' in their namespace.
    async fn there<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.handle.spawn(task).await.context("a phone ended unexpectedly")
    }

    fn proxy(&self, transport: &str) -> Result<ListenAddress> {
        Ok(ListenAddress::parse(&format!("{transport}://{}:5060", self.network.core))?)
    }

    async fn phone(&self, user: &str, password: &str, at: IpAddr, transport: &str) -> Result<Arc<Phone>> {
        let listen = ListenAddress::parse(&format!("{transport}://{}", SocketAddr::new(at, 0)))?;
        let mut config = PhoneConfig::new(listen, format!("sip:{user}@example.test"));
        config.password = Some(password.to_owned());
        config.proxy = Some(self.proxy(transport)?);
        if user == "bob" {
            config.answer = Some(AnswerOptions {
                ring: Duration::from_millis(300),
                source: AudioSource::Echo,
                max_duration: Duration::from_secs(30),
                ..AnswerOptions::default()
            });
        }
        Ok(Arc::new(self.there(Phone::start(config)).await??))
    }

    async fn script(&self, progress: Progress<'_>) -> Result<()> {
        let Progress { house, mut policy, report, outcome } = progress;
        report.stage("registering: alice over UDP, bob over TCP");
        let alice = self.phone("alice", "wonderland", self.network.alice, "udp").await?;
        let bob = self.phone("bob", "builder", self.network.bob, "tcp").await?;
        for (name, phone) in [("alice", &alice), ("bob", &bob)] {
            let phone = Arc::clone(phone);
            let registered = self.there(async move { phone.register().await }).await?;
            let detail =
                registered.as_ref().map_or_else(ToString::to_string, |seconds| format!("for {seconds} s, digest"));
            report.check(&format!("register {name}"), registered.is_ok(), detail);
        }
        let wrong = self.phone("alice", "not-her-password", self.network.alice, "udp").await?;
        let refused = self.there(async move { wrong.register().await }).await?;
        report.check(
            "wrong password",
            refused.is_err(),
            refused.map_or_else(|error| error.to_string(), |_| "accepted".into()),
        );

        outcome.probes.push(self.probe(SocketAddr::new(self.network.alice, 0), 40_000)?);

        report.stage("alice calls +12125550100: two gateways fail, the third carries the call to the echo number");
        self.main_call(&alice, &house, report, outcome).await?;
        if let Some((phone, gateway)) = outcome.media {
            outcome.probes.push(self.probe(phone, gateway.port())?);
        }
        decisions(&mut policy, report, self.network.has_router());

        report.stage("calls that the telephone network refuses");
        for (number, status, cause, name) in [
            ("+12125550101", 486, 17, "busy"),
            ("+12125550104", 404, 1, "unallocated"),
            ("+12125550105", 500, 34, "congestion"),
        ] {
            let call = self.call(&alice, &format!("sip:{number}@example.test"), CallOptions::default()).await?;
            let said = call.cause.clone().unwrap_or_default();
            let good = call.status == status && said.contains(&format!("cause={cause}"));
            report.check(name, good, format!("{} {} ({said})", call.status, call.reason));
            outcome.calls.push(call);
        }
        let call = self.call(&alice, "sip:+442079460100@example.test", CallOptions::default()).await?;
        report.check("no route", call.status == 404, format!("{} {}", call.status, call.reason));
        outcome.calls.push(call);

        report.stage("gateway asked directly, without and with a forged token");
        for (name, headers) in [
            ("token missing", Vec::new()),
            ("token forged", vec![("P-OSP-Auth-Token".to_owned(), "MIIBAAYJKoZIhvcNAQcCoIHy".to_owned())]),
        ] {
            let uri = format!("sip:+12125550100@{}", SocketAddr::new(self.network.core, 5074));
            let stranger = self.stranger().await?;
            let call = self.call(&stranger, &uri, CallOptions { headers, ..CallOptions::default() }).await?;
            report.check(name, call.status == 403, format!("{} {}", call.status, call.reason));
            outcome.calls.push(call);
        }

        report.stage("alice calls bob");
        let options = CallOptions {
            source: AudioSource::Tone { hertz: TONE_HERTZ },
            max_duration: Duration::from_secs(2),
            ..CallOptions::default()
        };
        let call = self.call(&alice, "sip:bob@example.test", options).await?;
        let good = call.answered && call.rtp.received > 50 && call.rtp.lost == 0;
        report.check("phone to phone", good, summary(&call));
        outcome.calls.push(call);
        Ok(())
    }

    async fn main_call(
        &self,
        alice: &Arc<Phone>,
        house: &Arc<Clearinghouse>,
        report: &mut Report,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let recording = self.folder.join("heard.wav");
        let (progress, mut seen) = mpsc::channel(16);
        let hang_up = CancellationToken::new();
        let options = CallOptions {
            source: AudioSource::Tone { hertz: TONE_HERTZ },
            record: Some(recording.clone()),
            max_duration: CALL * 3,
            hang_up: hang_up.clone(),
            progress: Some(progress),
            ..CallOptions::default()
        };
        let phone = Arc::clone(alice);
        let call = self.handle.spawn(async move { phone.call("sip:+12125550100@example.test", options).await });
        while let Some(event) = seen.recv().await {
            if let CallProgress::Answered { local_rtp, remote_rtp } = event {
                outcome.media = remote_rtp.map(|remote| (local_rtp, remote));
                break;
            }
        }
        // longer than the announcement: what comes after it is the caller's own voice
        let hang_up_at = CALL + Duration::from_secs(4);
        tokio::time::sleep(hang_up_at / 2).await;
        outcome.during = accounts(house);
        let open = house.open_calls();
        let reserved = house.account("1000").map(|account| account.pending_debits.nanos).unwrap_or_default();
        report.check(
            "money reserved during the call",
            open.len() == 1 && reserved > 0,
            format!("{reserved} nanos pending"),
        );
        let bill = open.first().and_then(|open| house.live_bill(open.call.transaction));
        let growing = bill.as_ref().is_some_and(|bill| bill.total.nanos > 0);
        report.check(
            "bill grows during the call",
            growing,
            bill.map_or("none".into(), |bill| format!("{} so far", bill.total)),
        );
        tokio::time::sleep(hang_up_at / 2).await;
        hang_up.cancel();
        let call = call.await.context("the phone ended unexpectedly")?;
        report.check("call answered by the third gateway", call.answered, summary(&call));
        report.check("ringback heard before the answer", call.early_media, format!("setup {} ms", call.setup_ms));
        let heard = call.rtp.received > 100 && call.rtp.lost == 0;
        report.check("audio both ways", heard, format!("{} sent, {} received", call.rtp.sent, call.rtp.received));
        let share = tone_share(&recording)?;
        report.check(
            "own voice echoed by the trunk",
            share > 0.5,
            format!("{:.0} % of the end is the tone sent", share * 100.0),
        );
        outcome.calls.push(call);
        Ok(())
    }

    async fn call(&self, phone: &Arc<Phone>, uri: &str, options: CallOptions) -> Result<CallOutcome> {
        let (phone, uri) = (Arc::clone(phone), uri.to_owned());
        self.there(async move { phone.call(&uri, options).await }).await
    }

    /// A phone that knows no proxy.
    async fn stranger(&self) -> Result<Arc<Phone>> {
        let listen = ListenAddress::parse(&format!("udp://{}", SocketAddr::new(self.network.bob, 0)))?;
        let config = PhoneConfig::new(listen, "sip:stranger@elsewhere.test");
        Ok(Arc::new(self.there(Phone::start(config)).await??))
    }

    /// Sends a few packets marked EF to the core that belong to no call; returns where from.
    fn probe(&self, from: SocketAddr, to_port: u16) -> Result<SocketAddr> {
        let target = SocketAddr::new(self.network.core, to_port);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<SocketAddr> {
                self.network.enter_edge()?;
                let socket = UdpSocket::bind(from)?;
                socket2::SockRef::from(&socket).set_tos_v4(46 << 2)?;
                let mut packet = [0u8; 172];
                // an RTP header of version 2, payload type PCMA (RFC 3550 §5.1)
                packet[0] = 0x80;
                packet[1] = 8;
                packet[8..12].copy_from_slice(&PROBE_SSRC.to_be_bytes());
                for sequence in 0..5u8 {
                    packet[3] = sequence;
                    packet[6..8].copy_from_slice(&(u16::from(sequence) * 160).to_be_bytes());
                    // nobody listens there: a refusal of the far kernel is no failure of the probe
                    let _ = socket.send_to(&packet, target);
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(socket.local_addr()?)
            });
            thread.join().unwrap_or_else(|_| anyhow::bail!("the probe ended unexpectedly"))
        })
    }
}

fn summary(call: &CallOutcome) -> String {
    format!(
        "{} {}, {:.1} s, {} packets received, {} lost, jitter {:.1} ms, MOS {:.2}",
        call.status,
        call.reason,
        call.duration_ms as f64 / 1000.0,
        call.rtp.received,
        call.rtp.lost,
        call.rtp.jitter_ms,
        call.rtp.mos
    )
}

/// What part of the last two seconds' power is the tone (Goertzel's algorithm in windows of 50 ms).
fn tone_share(recording: &Path) -> Result<f64> {
    let samples = strowger_phone::read_wav(recording)?;
    let end = samples.get(samples.len().saturating_sub(16_000)..).unwrap_or_default();
    let coefficient = 2.0 * (std::f64::consts::TAU * f64::from(TONE_HERTZ) / 8_000.0).cos();
    let (mut tone, mut total) = (0.0, 0.0);
    for window in end.chunks_exact(400) {
        let (mut before, mut last) = (0.0, 0.0);
        for sample in window {
            let sample = f64::from(*sample);
            total += sample * sample;
            (before, last) = (last, sample + coefficient * last - before);
        }
        // power of a bin of n samples is 2|X|²/n
        tone += 2.0 * (last * last + before * before - coefficient * last * before) / 400.0;
    }
    Ok(if total > 0.0 { tone / total } else { 0.0 })
}

fn decisions(policy: &mut mpsc::UnboundedReceiver<PolicyEvent>, report: &mut Report, has_router: bool) {
    let (mut installs, mut routers, mut ended) = (Vec::new(), 0, false);
    while let Ok(event) = policy.try_recv() {
        match event {
            PolicyEvent::Decision { phase, install, reason, routers: confirmed, .. } => {
                routers = routers.max(confirmed);
                installs.push(format!("{phase:?} {}: {reason}", if install { "install" } else { "remove" }));
            }
            PolicyEvent::CallEnded(_) => ended = true,
            _ => {}
        }
    }
    for line in &installs {
        report.note(line);
    }
    report.check(
        "COPS decisions for setup, answer and teardown",
        installs.len() >= 3 && ended,
        format!("{} decisions", installs.len()),
    );
    if has_router {
        report.check("router confirmed before the answer passed", routers >= 1, format!("{routers} router(s)"));
    }
}

fn accounts(house: &Clearinghouse) -> serde_json::Value {
    let view = |account: AccountView| {
        serde_json::json!({
            "name": account.name,
            "posted": account.posted.to_string(),
            "pending_debits": account.pending_debits.to_string(),
            "pending_credits": account.pending_credits.to_string(),
        })
    };
    house.accounts().into_iter().map(view).collect()
}

/// Waits until every call is settled.
async fn settle(house: &Arc<Clearinghouse>) {
    wait_for(Duration::from_secs(20), || house.open_calls().is_empty()).await;
}

async fn wait_for(limit: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + limit;
    while !done() {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

async fn books(house: &Arc<Clearinghouse>, outcome: &mut Outcome, report: &mut Report) -> Result<()> {
    let cdrs = house.cdrs(Page::newest(100)).await?;
    let paid: Vec<_> = cdrs.iter().filter(|record| record.sell.nanos > 0).collect();
    let detail = paid.iter().map(|record| {
        let cdr = &record.cdr;
        let attempts = cdr.attempts.len();
        format!(
            "{} -> {}, {} s, {attempts} gateways tried, sold for {}, cost {}",
            cdr.calling, cdr.called, cdr.rated_seconds, record.sell, record.cost
        )
    });
    let detail = detail.collect::<Vec<_>>().join("; ");
    let matched =
        paid.iter().all(|record| record.cdr.state == strowger_cdr::CdrState::Matched && !record.cdr.disagreement);
    report.check("one paid CDR, matched from both ends", paid.len() == 1 && matched, detail);
    let failed = cdrs.len().saturating_sub(paid.len());
    report.check(
        "failed calls void their reservations",
        failed >= 3 && house.open_calls().is_empty(),
        format!("{failed} unpaid"),
    );
    for account in house.accounts() {
        report.note(format!("{:<10} {:>16}", account.name, account.posted.to_string()));
    }
    let balanced = house.prove().is_ok() && outcome.sums.iter().all(|(_, sum)| *sum == 0);
    report.check("ledger sums to zero", balanced, format!("{:?}", outcome.sums));
    let (caller, carrier) = (house.account("1000"), house.account("2002"));
    let paid_on = caller.zip(carrier).is_some_and(|(caller, carrier)| {
        caller.posted.nanos < 100_000_000_000 && caller.pending_debits.nanos == 0 && carrier.posted.nanos > 0
    });
    report.check("caller's carrier paid, terminating carrier was paid", paid_on, "pending amounts are back to zero");
    outcome.cdrs = serde_json::to_value(&cdrs)?;
    Ok(())
}

/// Opens the store again and compares the books.
pub fn reopen(file: &File, outcome: &Outcome, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = file.clearinghouse.clone().context("the demo's configuration has a clearinghouse")?;
    let again = runtime.block_on(async {
        let store = Sqlite::open(&file.data.join("strowger.db"))?;
        let house = Clearinghouse::open(config, Arc::new(store)).await?;
        anyhow::Ok((accounts(&house), house.prove().is_ok()))
    })?;
    let same = again.0 == outcome.after && again.1;
    report.check("books the same after a restart", same, "every account read back from the store");
    Ok(())
}
