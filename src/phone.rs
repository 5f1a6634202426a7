//! `strowger phone`: a command-line softphone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use strowger_net::ListenAddress;
use strowger_phone::{AnswerOptions, AudioSource, CallOptions, CallOutcome, Phone, PhoneConfig};

/// Arguments of `strowger phone`.
#[derive(clap::Args)]
pub struct PhoneArgs {
    #[command(subcommand)]
    verb: PhoneVerb,
    /// Address of record
    #[arg(long, global = true, default_value = "sip:alice@example.test")]
    aor: String,
    /// Password; or in the environment variable STROWGER_PASSWORD
    #[arg(long, global = true)]
    password: Option<String>,
    /// Registrar and outbound proxy
    #[arg(long, global = true, default_value = "udp://127.0.0.1:5060")]
    proxy: String,
    /// Own address; port 0 takes a free one; the transport of the proxy by default
    #[arg(long, global = true)]
    listen: Option<String>,
    /// What the other side hears (WAV, 8 kHz mono or anything that can be brought to it)
    #[arg(long, global = true)]
    play: Option<PathBuf>,
    /// Send a tone of so many Hz in place of a file
    #[arg(long, global = true)]
    tone: Option<u16>,
    /// Where to write what is heard
    #[arg(long, global = true)]
    record: Option<PathBuf>,
    /// Hang up so many seconds after the answer
    #[arg(long, global = true, default_value_t = 10.0)]
    seconds: f64,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum PhoneVerb {
    /// Register, and say for how long
    Register,
    /// Call a number or a URI
    Call {
        /// `+12125550100`, `bob` or a SIP URI
        target: String,
        /// Digits to send once the call is up
        #[arg(long, default_value = "")]
        digits: String,
        /// Do not register first
        #[arg(long)]
        no_register: bool,
    },
    /// Register and answer one call
    Answer {
        /// Send back what is heard
        #[arg(long)]
        echo: bool,
        /// Ring so many seconds first
        #[arg(long, default_value_t = 1.0)]
        ring: f64,
    },
}

/// Runs it. The exit status is that of the call: 0 when it was answered.
pub async fn run(arguments: PhoneArgs) -> Result<ExitCode> {
    crate::up::log_to_stderr("warn");
    let proxy = ListenAddress::parse(&arguments.proxy).context("--proxy")?;
    let listen = match &arguments.listen {
        Some(text) => ListenAddress::parse(text).context("--listen")?,
        None => ListenAddress {
            transport: proxy.transport,
            address: (if proxy.address.ip().is_loopback() { proxy.address.ip() } else { unspecified(&proxy) }, 0)
                .into(),
        },
    };
    let mut config = PhoneConfig::new(listen, arguments.aor.clone());
    config.password = arguments.password.clone().or_else(|| std::env::var("STROWGER_PASSWORD").ok());
    config.proxy = Some(proxy);
    let source = match (&arguments.play, arguments.tone) {
        (Some(path), _) => AudioSource::Wav { path: path.clone(), repeat: true },
        (None, Some(hertz)) => AudioSource::Tone { hertz },
        (None, None) => AudioSource::Silence,
    };
    let longest = Duration::from_secs_f64(arguments.seconds.clamp(0.0, 86_400.0));
    if let PhoneVerb::Answer { echo, ring } = &arguments.verb {
        config.answer = Some(AnswerOptions {
            ring: Duration::from_secs_f64(ring.clamp(0.0, 600.0)),
            source: if *echo { AudioSource::Echo } else { source.clone() },
            record: arguments.record.clone(),
            max_duration: longest,
            ..AnswerOptions::default()
        });
    }
    let domain = arguments.aor.rsplit_once('@').map_or("example.test", |(_, domain)| domain).to_owned();
    let phone = Phone::start(config).await?;
    let outcome = match &arguments.verb {
        PhoneVerb::Register => {
            let seconds = phone.register().await?;
            match arguments.json {
                true => println!("{}", serde_json::json!({"registered": true, "expires_seconds": seconds})),
                false => println!("registered {} for {seconds} s", arguments.aor),
            }
            None
        }
        PhoneVerb::Call { target, digits, no_register } => {
            if !no_register {
                phone.register().await?;
            }
            let uri = match target {
                uri if uri.starts_with("sip:") || uri.starts_with("sips:") || uri.starts_with("tel:") => uri.clone(),
                user => format!("sip:{user}@{domain}"),
            };
            let options = CallOptions {
                source,
                record: arguments.record.clone(),
                max_duration: longest,
                digits: digits.clone(),
                ..CallOptions::default()
            };
            Some(phone.call(&uri, options).await)
        }
        PhoneVerb::Answer { .. } => {
            let seconds = phone.register().await?;
            eprintln!("registered {} for {seconds} s; waiting for a call", arguments.aor);
            phone.next_outcome().await
        }
    };
    phone.unregister().await;
    phone.stop().await;
    let Some(outcome) = outcome else { return Ok(ExitCode::SUCCESS) };
    match arguments.json {
        true => println!("{}", serde_json::to_string(&outcome)?),
        false => print(&outcome),
    }
    Ok(if outcome.answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn unspecified(near: &ListenAddress) -> std::net::IpAddr {
    match near.address {
        std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn print(outcome: &CallOutcome) {
    println!("{} {} {}", outcome.peer, outcome.status, outcome.reason);
    if let Some(cause) = &outcome.cause {
        println!("cause      {cause}");
    }
    println!("setup      {} ms{}", outcome.setup_ms, if outcome.early_media { ", ringback heard" } else { "" });
    if outcome.answered {
        let rtp = &outcome.rtp;
        println!("duration   {:.1} s, ended by {:?}", outcome.duration_ms as f64 / 1000.0, outcome.ended_by);
        println!("sent       {} packets {}", rtp.sent, rtp.codec);
        println!(
            "received   {} packets, {} lost, jitter {:.1} ms, MOS {:.2}",
            rtp.received, rtp.lost, rtp.jitter_ms, rtp.mos
        );
    }
    if let Some(path) = &outcome.recorded {
        println!("recorded   {}", path.display());
    }
    if let Some(error) = &outcome.error {
        println!("trouble    {error}");
    }
}
