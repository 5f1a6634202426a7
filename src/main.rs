//! `strowger`: a SIP/RTP telephony exchange with a clearinghouse, COPS policy and a DiffServ router, in one program.
//!
//! - In: the command line, one configuration file.
//! - Out: roles wired together, verbs for people and programs.
//! - Never: protocol knowledge. What a message means is in the crates.
//! - The contract of the command line is ARCHITECTURE.md, "What the outside can rely on".
#![allow(clippy::disallowed_methods)] // the binary is the outermost driver: files, sockets and processes are its work

mod admin;
mod config;
mod demo;
mod exchange;
mod gauges;
mod keys;
mod phone;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "strowger", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// Where the console of a running exchange is.
#[derive(clap::Args)]
struct ConsoleArgs {
    /// URL of the console
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    console: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the exchange: prints one line per listening address, then `ready`
    Up {
        /// Configuration; the built-in example without it
        #[arg(long)]
        config: Option<PathBuf>,
        /// Roles to run, comma-separated: proxy, gateway, policy, router, clearinghouse, console
        #[arg(long, value_delimiter = ',')]
        roles: Vec<String>,
        /// Folder of the store; overrides `data`
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Bring everything up, make real calls through all of it, check every step
    Demo {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Write a capture of everything
        #[arg(long)]
        pcap: Option<PathBuf>,
        /// Do not make network namespaces: all on loopback, no router in the path
        #[arg(long)]
        no_namespaces: bool,
    },
    /// Configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// A command-line softphone
    Phone(Box<phone::PhoneArgs>),
    /// OSP devices
    #[command(subcommand)]
    Osp(OspVerb),
    /// Captures
    #[command(subcommand)]
    Pcap(PcapVerb),
    /// What a running exchange does
    Status {
        #[command(flatten)]
        console: ConsoleArgs,
    },
    /// Accounts with their balances, and the proof that they sum to zero
    Ledger {
        #[command(flatten)]
        console: ConsoleArgs,
    },
    /// Transfers of the ledger
    Transfers {
        #[command(flatten)]
        console: ConsoleArgs,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Call detail records
    Cdrs {
        #[command(flatten)]
        console: ConsoleArgs,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// The bill of one call, growing while it runs
    Bill {
        /// The clearinghouse's number of the call
        transaction: u64,
        #[command(flatten)]
        console: ConsoleArgs,
    },
    /// Calls that are authorized and not settled, with their bills so far
    Calls {
        #[command(flatten)]
        console: ConsoleArgs,
    },
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Print a complete commented configuration
    Example,
    /// Say whether a configuration is right
    Check {
        /// The file
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum OspVerb {
    /// Enroll a device at the clearinghouse of a configuration: writes pkey.pem, localcert.pem, cacert_0.pem
    Enroll {
        /// Configuration that names the clearinghouse and the device
        #[arg(long)]
        config: Option<PathBuf>,
        /// Where to write the files
        #[arg(long)]
        directory: PathBuf,
        /// Customer
        #[arg(long)]
        customer: String,
        /// Device; the customer's first that can enroll
        #[arg(long)]
        device: Option<String>,
    },
}

#[derive(Subcommand)]
enum PcapVerb {
    /// Draw the calls of a capture as ladders
    Ladder {
        /// Capture
        file: PathBuf,
        /// Plain ASCII
        #[arg(long)]
        ascii: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// RTP streams with loss, jitter, MOS and DSCP
    Streams {
        /// Capture
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = run(cli);
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("strowger: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

fn run(cli: Cli) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match cli.verb {
        Verb::Up { config, roles, data } => runtime()?.block_on(up::up(config, roles, data)).map(done),
        Verb::Demo { json, pcap, no_namespaces } => demo::run(&demo::Options { json, pcap, no_namespaces }),
        Verb::Config(ConfigVerb::Example) => {
            print!("{}", config::EXAMPLE);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Config(ConfigVerb::Check { file }) => {
            config::File::load(Some(&file))?;
            println!("{}: right", file.display());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Phone(arguments) => runtime()?.block_on(phone::run(*arguments)),
        Verb::Osp(OspVerb::Enroll { config, directory, customer, device }) => {
            runtime()?.block_on(enroll(config, directory, customer, device)).map(done)
        }
        Verb::Pcap(PcapVerb::Ladder { file, ascii, json }) => demo::captures::ladder(&file, ascii, json).map(done),
        Verb::Pcap(PcapVerb::Streams { file, json }) => demo::captures::streams(&file, json).map(done),
        Verb::Status { console } => runtime()?.block_on(admin::status(&console.console, console.json)).map(done),
        Verb::Ledger { console } => runtime()?.block_on(admin::ledger(&console.console, console.json)).map(done),
        Verb::Transfers { console, limit } => {
            runtime()?.block_on(admin::transfers(&console.console, console.json, limit)).map(done)
        }
        Verb::Cdrs { console, limit } => {
            runtime()?.block_on(admin::cdrs(&console.console, console.json, limit)).map(done)
        }
        Verb::Bill { transaction, console } => {
            runtime()?.block_on(admin::bill(&console.console, console.json, transaction)).map(done)
        }
        Verb::Calls { console } => runtime()?.block_on(admin::calls(&console.console, console.json)).map(done),
    }
}

async fn enroll(config: Option<PathBuf>, directory: PathBuf, customer: String, device: Option<String>) -> Result<()> {
    let mut file = config::File::load(config.as_deref())?;
    file.with_spare_enrollment(false)?;
    let Some(house) = &file.clearinghouse else { bail!("the configuration has no [clearinghouse]") };
    let plain = |url: &&String| url.starts_with("http://");
    let url = house.listen.iter().find(plain).context("clearinghouse.listen has no http:// address to enroll at")?;
    let fits = |known: &&strowger_clearinghouse_server::DeviceConfig| {
        known.customer == customer
            && device.as_ref().is_none_or(|device| *device == known.id)
            && known.enrollment_password.is_some()
    };
    // other makes' clients read device numbers as numbers: such a one first
    let digits =
        |known: &&strowger_clearinghouse_server::DeviceConfig| known.id.bytes().all(|octet| octet.is_ascii_digit());
    let mut fitting = house.devices.iter().filter(fits);
    let Some(known) = fitting.clone().find(digits).or_else(|| fitting.next()) else {
        bail!(
            "no device of customer {customer} can enroll: none in the configuration has an enrollment_password, and no \
             clearinghouse has run with it yet"
        );
    };
    let password = known.enrollment_password.clone().unwrap_or_default();
    let kind = strowger_clearinghouse_client::DeviceKeyKind::Rsa2048;
    let credentials = strowger_clearinghouse_client::enroll(url, &customer, &known.id, &password, kind).await?;
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    credentials.write(&directory).with_context(|| format!("cannot write into {}", directory.display()))?;
    println!("{}: device {} of customer {customer} enrolled", directory.display(), known.id);
    Ok(())
}
