//! `strowger up` as a child process, configured with the example that it prints itself.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::process::{Finished, Running, run, strowger, tail};
use super::rest::Rest;
use super::scratch::{Scratch, loopback};
use super::wait_for;

/// How long a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A configuration: the example's text with what a test changes in it.
pub struct Configuration {
    /// The address of every role.
    pub ip: Ipv4Addr,
    text: String,
}

impl Configuration {
    /// `strowger config example`, on an address of its own.
    pub fn example() -> Configuration {
        let scratch = Scratch::new();
        let mut command = strowger();
        command.args(["config", "example"]);
        let printed = run(command, scratch.path(), "example", START_LIMIT);
        assert!(printed.status.success(), "`strowger config example` failed: {}", printed.err);
        let ip = loopback();
        Configuration { ip, text: printed.out.replace("127.0.0.1", &ip.to_string()) }
    }

    /// As few lines as every role can do with. Nothing in it says where the data are: who enrolls knows the file alone.
    pub fn short() -> Configuration {
        let text = r#"
[domain]
name = "example.test"
[proxy]
listen = ["udp://{ip}:5060", "tcp://{ip}:5060"]
[[subscriber]]
user = "alice"
password = "secret"
[gateway]
listen = ["udp://{ip}:5070"]
[clearinghouse]
listen = ["http://{ip}:5045/osp"]
[policy]
listen = "{ip}:3288"
[console]
listen = "{ip}:8080"
"#;
        let ip = loopback();
        Configuration { ip, text: text.replace("{ip}", &ip.to_string()) }
    }

    /// With other text in place of the first that is like `old`. `{ip}` stands for the address in both.
    pub fn with(mut self, old: &str, new: &str) -> Configuration {
        let (old, new) = (self.fill(old), self.fill(new));
        assert!(self.text.contains(&old), "the example configuration does not hold {old:?} any more");
        self.text = self.text.replacen(&old, &new, 1);
        self
    }

    /// As a file holds it.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{ip}", &self.ip.to_string())
    }
}

/// A running exchange.
pub struct Exchange {
    /// The address of every role.
    pub ip: Ipv4Addr,
    /// Its folder: configuration, data, output, and what peers write.
    pub folder: Scratch,
    starts: usize,
    running: Option<Running>,
}

impl Exchange {
    /// The example configuration, running.
    pub fn example() -> Exchange {
        Exchange::start(Configuration::example())
    }

    /// A configuration, running.
    pub fn start(configuration: Configuration) -> Exchange {
        let folder = Scratch::new();
        let mut exchange = Exchange { ip: configuration.ip, folder, starts: 0, running: None };
        std::fs::write(exchange.configuration(), &configuration.text).expect("a configuration file");
        exchange.start_again();
        exchange
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("strowger.toml")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts it on the data that are there, and waits until it is ready.
    pub fn start_again(&mut self) {
        self.running = None;
        self.starts += 1;
        let mut command = strowger();
        command.arg("up").arg("--config").arg(self.configuration()).arg("--data").arg(self.data());
        let mut running = Running::start(command, self.folder.path(), &format!("strowger-{}", self.starts));
        let what = "the line `ready` of `strowger up`";
        wait_for(what, START_LIMIT, || {
            if let Some(status) = running.status() {
                panic!("`strowger up` ended with {status} before it was ready: {}", running.err());
            }
            running.out().lines().any(|line| line == "ready").then_some(())
        });
        self.running = Some(running);
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a running exchange")
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.running.as_ref().map(|running| tail(&running.err())).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        self.running().signal(name);
    }

    /// Kills it as a power failure would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.finish(Duration::from_secs(5));
    }

    /// Waits for its end.
    pub fn finish(&mut self, limit: Duration) -> Finished {
        self.running.take().expect("a running exchange").finish(limit)
    }

    /// Its REST interface.
    pub fn rest(&self) -> Rest {
        Rest::new((self.ip, 8080).into())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the exchange on {}:\n{}", self.ip, self.log());
        }
    }
}
