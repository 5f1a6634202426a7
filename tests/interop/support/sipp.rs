//! SIPp with the scenarios of `sipp/`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::exchange::Exchange;
use super::process::{Running, material, program, tail, text};
use super::scratch::loopback;

/// The domain of the example configuration.
pub const DOMAIN: &str = "example.test";
/// The password of its users.
pub const PASSWORD: &str = "secret";
/// SIPp's port on its own address.
const PORT: u16 = 5060;
/// How much of A-law tone SIPp repeats.
const TONE_SECONDS: usize = 1;

/// What SIP goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// A run of SIPp, to be started.
pub struct Sipp<'a> {
    exchange: &'a Exchange,
    ip: Ipv4Addr,
    scenario: &'static str,
    name: String,
    user: &'static str,
    password: &'static str,
    called: String,
    transport: Transport,
    status: u16,
    talk: Duration,
    limit: Duration,
}

impl<'a> Sipp<'a> {
    fn new(exchange: &'a Exchange, ip: Ipv4Addr, scenario: &'static str, name: String, user: &'static str) -> Sipp<'a> {
        Sipp {
            exchange,
            ip,
            scenario,
            name,
            user,
            password: PASSWORD,
            called: String::new(),
            transport: Transport::Udp,
            status: 0,
            talk: Duration::from_secs(1),
            limit: Duration::from_secs(10),
        }
    }

    /// Registers a user.
    pub fn register(exchange: &'a Exchange, user: &'static str) -> Sipp<'a> {
        Sipp::new(exchange, loopback(), "register.xml", format!("register-{user}"), user)
    }

    /// Calls a user or a number of the domain, as alice.
    pub fn call(exchange: &'a Exchange, called: &str) -> Sipp<'a> {
        let mut sipp = Sipp::new(exchange, loopback(), "call.xml", format!("call-{called}"), "alice");
        sipp.called = called.to_owned();
        sipp
    }

    /// Calls, as alice, and expects to be refused.
    pub fn refused(exchange: &'a Exchange, called: &str, status: u16) -> Sipp<'a> {
        let mut sipp = Sipp::call(exchange, called);
        sipp.scenario = "refused.xml";
        sipp.name = format!("refused-{called}");
        sipp.status = status;
        sipp
    }

    /// The same, without being asked for a password before.
    pub fn refused_at_once(exchange: &'a Exchange, called: &str, status: u16) -> Sipp<'a> {
        let mut sipp = Sipp::refused(exchange, called, status);
        sipp.scenario = "refused-at-once.xml";
        sipp
    }

    /// Answers one call at the address where `user` has registered.
    pub fn answer(exchange: &'a Exchange, user: &'static str, ip: Ipv4Addr) -> Sipp<'a> {
        Sipp::new(exchange, ip, "answer.xml", format!("answer-{user}"), user)
    }

    /// From an address.
    pub fn at(mut self, ip: Ipv4Addr) -> Sipp<'a> {
        self.ip = ip;
        self
    }

    /// Over UDP (as without this) or TCP.
    pub fn over(mut self, transport: Transport) -> Sipp<'a> {
        self.transport = transport;
        self
    }

    /// With another password.
    pub fn with_password(mut self, password: &'static str) -> Sipp<'a> {
        self.password = password;
        self
    }

    /// Talks so long.
    pub fn talking(mut self, talk: Duration) -> Sipp<'a> {
        self.talk = talk;
        self.limit += talk;
        self
    }

    /// Starts it.
    pub fn start(self) -> RunningSipp {
        let folder = &self.exchange.folder;
        let tone = folder.join("tone.al");
        std::fs::write(&tone, a_law_tone(TONE_SECONDS)).expect("a tone");
        let scenario = text(&material("sipp").join(self.scenario))
            .replace("@STATUS@", &self.status.to_string())
            .replace("@TONE@", &tone.display().to_string());
        let scenario_file = folder.join(format!("{}.xml", self.name));
        std::fs::write(&scenario_file, scenario).expect("a scenario");
        let messages = folder.join(format!("{}.messages", self.name));
        let errors = folder.join(format!("{}.errors", self.name));

        let ip = self.ip.to_string();
        let mut command = program("sipp", "sip-tester");
        command.current_dir(folder.path()).arg(format!("{}:5060", self.exchange.ip));
        command.arg("-sf").arg(&scenario_file).args(["-m", "1", "-l", "1", "-nostdin"]);
        command.args(["-t", if self.transport == Transport::Tcp { "t1" } else { "u1" }]);
        command.args(["-i", &ip, "-p", &PORT.to_string(), "-mi", &ip, "-ci", &ip, "-bind_local", "-rtp_echo"]);
        command.args(["-s", if self.called.is_empty() { self.user } else { &self.called }]);
        command.args(["-key", "domain", DOMAIN, "-key", "caller", self.user, "-auth_uri", DOMAIN]);
        command.args(["-au", self.user, "-ap", self.password]);
        command.args(["-d", &self.talk.as_millis().to_string()]);
        command.args(["-timeout", &format!("{}s", self.limit.as_secs()), "-timeout_error"]);
        command.args(["-trace_msg", "-trace_err"]);
        command.arg("-message_file").arg(&messages).arg("-error_file").arg(&errors);
        let running = Running::start(command, folder.path(), &self.name);
        RunningSipp { running, name: self.name, messages, errors, limit: self.limit }
    }

    /// Runs it; it must end with one successful call and none failed.
    pub fn succeeds(self) -> Messages {
        self.start().succeeds()
    }

    /// Runs it; whether its call went as its scenario says.
    pub fn tries(self) -> bool {
        let RunningSipp { running, limit, .. } = self.start();
        running.finish(limit + Duration::from_secs(3)).status.success()
    }
}

/// SIPp, running.
pub struct RunningSipp {
    running: Running,
    name: String,
    messages: PathBuf,
    errors: PathBuf,
    limit: Duration,
}

impl RunningSipp {
    /// Waits for its end: one successful call and none failed.
    pub fn succeeds(self) -> Messages {
        let RunningSipp { running, name, messages, errors, limit } = self;
        let finished = running.finish(limit + Duration::from_secs(3));
        let (messages, errors) = (Messages(text(&messages)), text(&errors));
        let count = |what: &str| {
            // the final screen's line: `Successful call | in the last period | in all`
            let line = finished.out.lines().rfind(|line| line.trim_start().starts_with(what));
            line.and_then(|line| line.rsplit('|').next()?.trim().parse::<u32>().ok())
        };
        let calls = (count("Successful call"), count("Failed call"));
        assert!(
            finished.status.success() && calls == (Some(1), Some(0)),
            "SIPp's {name}: {}, calls (successful, failed): {calls:?}\n{}{errors}\n{}",
            finished.status,
            finished.err,
            tail(&messages.0),
        );
        messages
    }
}

/// What SIPp sent and received.
pub struct Messages(String);

impl Messages {
    /// The first received response with a status, as text.
    pub fn response(&self, status: u16) -> Option<&str> {
        let start = format!("SIP/2.0 {status} ");
        self.blocks().find(|block| block.contains("message received") && block.contains(&start))
    }

    fn blocks(&self) -> impl Iterator<Item = &str> {
        self.0.split("-----------------------------------------------")
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A-law samples of a tone: what SIPp sends as RTP.
fn a_law_tone(seconds: usize) -> Vec<u8> {
    use super::sound::{RATE, VOICE_HERTZ};
    // a whole number of periods in every second: no click where it repeats
    let sample =
        |number: usize| (10_000.0 * (std::f64::consts::TAU * VOICE_HERTZ * number as f64 / RATE as f64).sin()) as i16;
    (0..seconds * RATE).map(|number| a_law(sample(number))).collect()
}

/// G.711 A-law of one 16-bit sample.
fn a_law(sample: i16) -> u8 {
    let magnitude = u32::from(sample.unsigned_abs()).min(32_767) >> 4;
    let segment = magnitude.max(1).ilog2().saturating_sub(3);
    let mantissa = magnitude >> segment.saturating_sub(1) & 15;
    let sign = if sample >= 0 { 0x80 } else { 0 };
    // every second bit is turned round on the line
    (sign | segment << 4 | mantissa) as u8 ^ 0x55
}

#[test]
fn a_law_is_that_of_g711() {
    // the recommendation's own: smallest positive, smallest negative, largest positive, largest negative
    assert_eq!([a_law(0), a_law(-1), a_law(32_767), a_law(-32_767)], [0xd5, 0x55, 0xaa, 0x2a]);
}
