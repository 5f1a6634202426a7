//! The demo without root: in a user namespace of its own, where the kernel allows that, it may make network namespaces and raw
//! sockets all the same (AF_XDP stays out of reach: bpf(2) wants real privileges).

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use strowger_packet::probe;

use super::Options;

/// Set in the second run, so that there is no third.
const MARK: &str = "STROWGER_DEMO_OWN_NAMESPACES";
/// Options of util-linux' unshare(1).
const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--net", "--mount"];
/// `ip netns` keeps its names under /run, which is not ours outside.
const SCRIPT: &str = r#"ip link set lo up && mount -t tmpfs tmpfs /run && exec "$0" "$@""#;

/// Starts the demo again inside namespaces of its own, if that is needed, wanted and possible; returns otherwise.
pub fn become_root_of_own_namespaces(options: &Options) {
    if options.no_namespaces || std::env::var_os(MARK).is_some() || probe().can_route() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let allowed = Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-c", "ip link set lo up && mount -t tmpfs tmpfs /run"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if allowed {
        // comes back only when it fails; the demo then runs on loopback and says why
        let error = Command::new("unshare")
            .args(UNSHARE)
            .args(["sh", "-c", SCRIPT])
            .arg(program)
            .args(std::env::args_os().skip(1))
            .env(MARK, "1")
            .exec();
        tracing::debug!(%error, "unshare");
    }
}
