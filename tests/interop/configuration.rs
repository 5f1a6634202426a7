//! What an operator is told when something is wrong: one sentence, a failing status, and nothing is started.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::support::exchange::Configuration;
use crate::support::process::{run, strowger};
use crate::support::scratch::Scratch;

/// Runs a command that must fail, and gives its one sentence.
fn complaint(command: Command, scratch: &Scratch) -> String {
    let finished = run(command, scratch.path(), "complaint", Duration::from_secs(10));
    assert!(!finished.status.success(), "it did not fail; it printed {:?} and {:?}", finished.out, finished.err);
    assert_eq!(finished.out, "", "nothing is started, nothing is printed");
    let lines: Vec<&str> = finished.err.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "one sentence is wanted:\n{}", finished.err);
    finished.err.trim().to_owned()
}

fn up(scratch: &Scratch, text: &str) -> Command {
    let path = scratch.join("strowger.toml");
    std::fs::write(&path, text).expect("a configuration file");
    let mut command = strowger();
    command.arg("up").arg("--config").arg(path).arg("--data").arg(scratch.join("data"));
    command
}

#[test]
fn unknown_key_is_named_with_the_nearest() {
    let scratch = Scratch::new();
    let said = complaint(up(&scratch, "[proxy]\nlisen = [\"udp://127.0.0.1:5060\"]\n"), &scratch);
    assert!(said.contains("line 2") && said.contains("`lisen`") && said.contains("`listen`"), "{said}");
    let mut check = strowger();
    check.args(["config", "check"]).arg(scratch.join("strowger.toml"));
    let said = complaint(check, &scratch);
    assert!(said.contains("`lisen`") && said.contains("`listen`"), "{said}");
}

#[test]
fn example_is_checked_and_right() {
    let scratch = Scratch::new();
    let example = Configuration::example();
    let path = scratch.join("strowger.toml");
    std::fs::write(&path, example.text()).expect("a configuration file");
    let mut check = strowger();
    check.args(["config", "check"]).arg(path);
    let finished = run(check, scratch.path(), "check", Duration::from_secs(10));
    assert!(finished.status.success(), "{}", finished.err);
}

#[test]
fn missing_file_says_how_to_get_one() {
    let scratch = Scratch::new();
    let mut command = strowger();
    command.arg("up").arg("--config").arg(scratch.join("nowhere.toml"));
    let said = complaint(command, &scratch);
    assert!(said.contains("nowhere.toml") && said.contains("config example"), "{said}");
}

#[test]
fn unknown_role_is_named_with_the_nearest() {
    let scratch = Scratch::new();
    let mut command = up(&scratch, Configuration::example().text());
    command.args(["--roles", "proxy,gatway"]);
    let said = complaint(command, &scratch);
    assert!(said.contains("gatway") && said.contains("\"gateway\""), "{said}");
}

#[test]
fn taken_port_is_named_and_nothing_starts() {
    for port in [5060, 5070, 5045, 3288, 8080] {
        let scratch = Scratch::new();
        let example = Configuration::example();
        let ip = example.ip;
        let taken = TcpListener::bind((ip, port)).expect("a port of an address of our own");
        let said = complaint(up(&scratch, example.text()), &scratch);
        assert!(said.contains(&format!("{ip}:{port}")), "{said}");
        let why = ["taken", "in use"];
        assert!(why.iter().any(|why| said.contains(why)), "why is not said: {said}");
        drop(taken);
        all_free(ip);
    }
}

/// None of the ports is held by anything.
fn all_free(ip: Ipv4Addr) {
    for port in [5060, 5070, 5072] {
        UdpSocket::bind((ip, port)).unwrap_or_else(|error| panic!("UDP {ip}:{port} is held: {error}"));
    }
}
