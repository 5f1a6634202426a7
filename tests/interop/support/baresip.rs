//! baresip without a sound card: says a WAV file, records what arrives, is told what to do over TCP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::exchange::Exchange;
use super::process::{Running, program, tail};
use super::scratch::loopback;
use super::sipp::{DOMAIN, PASSWORD};
use super::sound::{Heard, heard, write_voice};
use super::wait_for;

/// Where Debian keeps baresip's modules.
const MODULES: &str = "/usr/lib/baresip/modules";
/// Port of its control interface, on its own address.
const CONTROL_PORT: u16 = 4444;
/// How long a phone may take to start and register.
const REGISTER_LIMIT: Duration = Duration::from_secs(8);

/// What a phone does with sound.
pub enum Sound {
    /// Says the test tone for up to so many seconds.
    Voice(usize),
    /// Says what it hears.
    Echo,
}

/// A registered phone.
pub struct Baresip {
    name: String,
    folder: PathBuf,
    running: Running,
    control: TcpStream,
    unread: Vec<u8>,
    seen: Vec<Value>,
}

impl Baresip {
    /// A phone of `user` that is registered over `udp` or `tcp`. One that echoes also answers every call.
    pub fn registered(exchange: &Exchange, user: &str, transport: &str, sound: Sound) -> Baresip {
        let ip = loopback();
        let name = format!("baresip-{user}");
        let folder = exchange.folder.join(&name);
        std::fs::create_dir_all(&folder).expect("a folder for baresip");
        let answer_mode = if matches!(sound, Sound::Echo) { ";answermode=auto" } else { "" };
        let account = format!(
            "<sip:{user}@{DOMAIN};transport={transport}>;auth_user={user};auth_pass={PASSWORD};\
             outbound=\"sip:{}:5060;transport={transport}\";regint=600{answer_mode}\n",
            exchange.ip
        );
        let voice = folder.join("voice.wav");
        let (source, player) = match sound {
            Sound::Voice(seconds) => {
                write_voice(&voice, seconds);
                // a player is needed; nobody listens at this one
                (format!("aufile,{}", voice.display()), "aubridge,nobody")
            }
            Sound::Echo => ("aubridge,echo".to_owned(), "aubridge,echo"),
        };
        for (file, text) in
            [("config", configuration(ip, &source, player, &folder.display().to_string())), ("accounts", account)]
        {
            std::fs::write(folder.join(file), text).expect("baresip's configuration");
        }
        for file in ["contacts", "uuid"] {
            std::fs::write(folder.join(file), "").expect("baresip's configuration");
        }
        let mut command = program("baresip", "baresip-core");
        command.arg("-f").arg(&folder).arg("-v").arg("-s");
        let mut running = Running::start(command, exchange.folder.path(), &name);
        wait_for("baresip's registration", REGISTER_LIMIT, || {
            let printed = running.out() + &running.err();
            let ended = running.status().is_some();
            assert!(
                !ended && !printed.contains("reg: sip:"),
                "{name} cannot register over {transport}:\n{}",
                tail(&printed)
            );
            printed.contains("200 OK () [1 binding]").then_some(())
        });
        let control = TcpStream::connect(SocketAddr::from((ip, CONTROL_PORT))).expect("baresip's control interface");
        control.set_read_timeout(Some(Duration::from_millis(50))).expect("a read timeout");
        Baresip { name, folder, running, control, unread: Vec::new(), seen: Vec::new() }
    }

    /// Gives it a command.
    pub fn command(&mut self, command: &str, parameters: &str) {
        let text = serde_json::json!({"command": command, "params": parameters, "token": command}).to_string();
        write!(self.control, "{}:{text},", text.len()).expect("baresip's control interface");
    }

    /// Waits for an event of a type, such as `CALL_ESTABLISHED`; events that came before it was asked for count.
    pub fn event(&mut self, kind: &str, limit: Duration) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = self.seen.iter().position(|event| event["type"] == kind) {
                return self.seen.remove(at);
            }
            assert!(
                Instant::now() < deadline,
                "{}: no {kind} within {limit:?}; it saw {:?}\n{}",
                self.name,
                self.seen.iter().map(|event| format!("{} {}", event["type"], event["param"])).collect::<Vec<_>>(),
                tail(&self.running.out()),
            );
            self.read();
        }
    }

    /// Reads what the control interface says: netstrings of JSON.
    fn read(&mut self) {
        let mut octets = [0; 4096];
        let count = self.control.read(&mut octets).unwrap_or(0);
        self.unread.extend_from_slice(&octets[..count]);
        while let Some(colon) = self.unread.iter().position(|octet| *octet == b':') {
            let length =
                std::str::from_utf8(&self.unread[..colon]).ok().and_then(|digits| digits.parse::<usize>().ok());
            let end = colon + 1 + length.expect("a netstring of baresip");
            if self.unread.len() <= end {
                break;
            }
            let event = serde_json::from_slice(&self.unread[colon + 1..end]).expect("JSON of baresip");
            self.unread.drain(..=end);
            self.seen.push(event);
        }
    }

    /// Everything it heard, in order: the recordings of its calls.
    pub fn heard(&self) -> Vec<Heard> {
        let entries = std::fs::read_dir(&self.folder).expect("baresip's folder");
        let mut recordings: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        recordings.retain(|path| path.to_string_lossy().ends_with("-dec.wav"));
        recordings.sort();
        recordings.iter().flat_map(|recording| heard(recording)).collect()
    }

    /// Ends it as its user would: it takes its binding away.
    pub fn quits(mut self) {
        self.command("quit", "");
        let finished = self.running.finish(Duration::from_secs(5));
        assert!(finished.status.success(), "{} ended with {}", self.name, finished.status);
    }
}

fn configuration(ip: Ipv4Addr, source: &str, player: &str, folder: &str) -> String {
    format!(
        "poll_method epoll
sip_listen {ip}:0
net_interface {ip}
rtp_ports 31000-31100
audio_path /usr/share/baresip
audio_source {source}
audio_player {player}
audio_alert nil
ringback_disabled yes
statmode_default off
module_path {MODULES}
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
snd_path {folder}
module_tmp account.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {ip}:{CONTROL_PORT}
"
    )
}
