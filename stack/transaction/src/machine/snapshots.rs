//! The generated tables and pictures against the files in `snapshots/`.
//!
//! Catches: a transition that changed without anyone looking at it. After a wanted change run the tests with
//! `UPDATE_SNAPSHOTS=1` and read the difference.

use std::fmt::Write as _;
use std::path::Path;

use super::{ClientInvite, ClientNonInvite, ServerInvite, ServerNonInvite, Signal, Timer, Transition};

const TIMERS: [Timer; 14] = [
    Timer::A,
    Timer::B,
    Timer::D,
    Timer::E,
    Timer::F,
    Timer::G,
    Timer::H,
    Timer::I,
    Timer::J,
    Timer::K,
    Timer::L,
    Timer::M,
    Timer::Trying,
    Timer::Canceled,
];

fn signals() -> impl Iterator<Item = Signal> {
    use Signal::*;
    [Request, Ack, Provisional, Success, Failure, TransportError].into_iter().chain(TIMERS.into_iter().map(Expired))
}

fn name(signal: Signal) -> String {
    match signal {
        Signal::Expired(timer) => format!("timer {timer:?}"),
        other => format!("{other:?}"),
    }
}

/// Every state × every signal; a dash where nothing happens.
fn table(states: &[&str], transitions: &[Transition]) -> String {
    let mut text = String::new();
    for state in states {
        let _ = writeln!(text, "{state}");
        for signal in signals() {
            let found: Vec<_> = transitions.iter().filter(|t| t.from == *state && t.signal == signal).collect();
            assert!(found.len() <= 1, "{state} has two answers to {signal:?}");
            let answer = match found.first() {
                None => String::from("-"),
                Some(t) => {
                    let actions: Vec<_> = t.actions.iter().map(|action| format!("{action:?}")).collect();
                    format!("{} [{}]", t.to, actions.join(", "))
                }
            };
            let _ = writeln!(text, "  {:<16} {answer}", name(signal));
        }
    }
    text
}

/// A Graphviz picture: `dot -Tsvg`.
fn picture(title: &str, states: &[&str], transitions: &[Transition]) -> String {
    let mut text =
        format!("digraph {title} {{\n  node [shape=box];\n  begin [shape=point];\n  begin -> {};\n", states[0]);
    for t in transitions {
        let actions: Vec<_> = t.actions.iter().map(|action| format!("{action:?}")).collect();
        let _ = writeln!(text, "  {} -> {} [label=\"{}\\n{}\"];", t.from, t.to, name(t.signal), actions.join(", "));
    }
    text.push_str("}\n");
    text
}

fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine/snapshots").join(file);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // a test is its own driver: the snapshot is its output
        #[allow(clippy::disallowed_methods)]
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, text, "{file} is not what the machine gives; UPDATE_SNAPSHOTS=1 writes it anew");
}

macro_rules! snapshot {
    ($test:ident, $machine:ident, $file:literal) => {
        #[test]
        fn $test() {
            let transitions = $machine::transitions();
            check(concat!($file, ".txt"), &table($machine::STATES, &transitions));
            check(concat!($file, ".dot"), &picture(stringify!($machine), $machine::STATES, &transitions));
        }
    };
}

snapshot!(client_invite, ClientInvite, "client_invite");
snapshot!(client_non_invite, ClientNonInvite, "client_non_invite");
snapshot!(server_invite, ServerInvite, "server_invite");
snapshot!(server_non_invite, ServerNonInvite, "server_non_invite");

/// Nothing leaves Terminated, and every other state can get there.
#[test]
fn every_machine_ends() {
    let machines = [
        (ClientInvite::STATES, ClientInvite::transitions()),
        (ClientNonInvite::STATES, ClientNonInvite::transitions()),
        (ServerInvite::STATES, ServerInvite::transitions()),
        (ServerNonInvite::STATES, ServerNonInvite::transitions()),
    ];
    for (states, transitions) in machines {
        assert!(transitions.iter().all(|t| t.from != "Terminated"));
        let mut ends = vec!["Terminated"];
        for _ in states {
            for t in &transitions {
                if ends.contains(&t.to) && !ends.contains(&t.from) {
                    ends.push(t.from);
                }
            }
        }
        assert!(states.iter().all(|state| ends.contains(state)), "{states:?} ends only from {ends:?}");
    }
}
