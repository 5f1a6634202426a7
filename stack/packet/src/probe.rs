//! What this process may do here, and what to do about what it may not.

use std::process::Command;

use crate::capture::packet_socket;
use crate::xdp::bpf;

/// One capability and, when it is missing, one sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// It is there.
    Present,
    /// It is missing; why, and what to do.
    Missing(String),
}

impl Capability {
    /// Whether it is there.
    pub fn is_present(&self) -> bool {
        matches!(self, Self::Present)
    }

    /// Why it is missing.
    pub fn explanation(&self) -> Option<&str> {
        match self {
            Self::Present => None,
            Self::Missing(why) => Some(why),
        }
    }
}

/// What this process may do with packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// AF_PACKET sockets: TPACKET_V3 ports and captures.
    pub raw_sockets: Capability,
    /// bpf(2) and AF_XDP: the fastest tier.
    pub bpf: Capability,
    /// Making and entering network namespaces: demonstrations and tests with a router between hosts.
    pub namespaces: Capability,
}

impl Capabilities {
    /// Whether a router can run between hosts in namespaces.
    pub fn can_route(&self) -> bool {
        self.raw_sockets.is_present() && self.namespaces.is_present()
    }

    /// The sentences about everything that is missing.
    pub fn missing(&self) -> Vec<&str> {
        [&self.raw_sockets, &self.bpf, &self.namespaces].into_iter().filter_map(Capability::explanation).collect()
    }
}

/// Tries each capability and undoes the trial.
pub fn probe() -> Capabilities {
    let raw_sockets = match packet_socket(0) {
        Ok(_) => Capability::Present,
        Err(e) => Capability::Missing(format!(
            "no raw packet sockets ({e}): run as root or give the program CAP_NET_RAW, else media bypasses the router"
        )),
    };
    let bpf = match bpf::probe() {
        Ok(()) => Capability::Present,
        Err(e) => Capability::Missing(format!(
            "no AF_XDP ({e}): run as root or give the program CAP_BPF, CAP_NET_RAW and CAP_NET_ADMIN, else TPACKET_V3 is used"
        )),
    };
    Capabilities { raw_sockets, bpf, namespaces: namespaces() }
}

fn namespaces() -> Capability {
    let trial = std::thread::Builder::new()
        .name("namespace-probe".into())
        .spawn(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET));
    match trial.map(|thread| thread.join()) {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(e))) => {
            return Capability::Missing(format!(
                "no network namespaces ({e}): run as root, else demonstrations run without a router"
            ));
        }
        _ => return Capability::Missing("no network namespaces: no thread to try with; free some memory".into()),
    }
    match Command::new("ip").arg("-V").output() {
        Ok(output) if output.status.success() => Capability::Present,
        _ => Capability::Missing("no `ip` command: install iproute2, else demonstrations run without a router".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_capability_says_what_to_do() {
        for sentence in probe().missing() {
            assert!(sentence.contains(": "), "{sentence}");
        }
    }
}
