//! Namespaces joined by virtual Ethernet pairs, for demonstrations and tests; made with the `ip` command and gone on drop.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::interface::set_transmit_checksum;
use crate::netns;

/// Why a topology could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// `ip` is not installed or cannot be started.
    #[error("cannot run `ip` ({0}); install iproute2")]
    NoIpCommand(io::Error),
    /// A command was refused.
    #[error("`{command}` was refused: {said}")]
    Refused {
        /// The command line.
        command: String,
        /// What it wrote to its standard error, in one line.
        said: String,
    },
    /// A builder call named a namespace that was not declared.
    #[error("namespace `{0}` is used but was not declared")]
    UnknownNamespace(String),
    /// Something inside a namespace could not be set.
    #[error("{0}")]
    Io(#[from] io::Error),
}

#[derive(Clone, Debug)]
enum Step {
    Veth { a: (String, String), b: (String, String) },
    Address { namespace: String, interface: String, address: String },
    Route { namespace: String, destination: String, via: String },
}

/// Collects what to make; see [`Topology::builder`].
#[derive(Clone, Debug)]
pub struct TopologyBuilder {
    prefix: String,
    namespaces: Vec<String>,
    steps: Vec<Step>,
}

/// Namespaces that exist as long as this value does.
#[derive(Debug)]
pub struct Topology {
    names: BTreeMap<String, String>,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Topology {
    /// Starts a topology. The real namespaces are called `PREFIX-PID-SERIAL-NAME`, so that several can live side by
    /// side and what a killed process left can be told from what is in use.
    pub fn builder(prefix: &str) -> TopologyBuilder {
        TopologyBuilder { prefix: prefix.to_owned(), namespaces: Vec::new(), steps: Vec::new() }
    }

    /// The real name of a declared namespace, as `ip netns` and [`netns::in_namespace`] know it; `name` itself when it
    /// was not declared.
    pub fn name<'a>(&'a self, name: &'a str) -> &'a str {
        self.names.get(name).map_or(name, String::as_str)
    }

    /// Runs `body` inside the declared namespace `name`.
    ///
    /// # Errors
    /// As [`netns::in_namespace`].
    pub fn within<R: Send>(&self, name: &str, body: impl FnOnce() -> R + Send) -> io::Result<R> {
        netns::in_namespace(self.name(name), body)
    }

    /// Deletes namespaces with this prefix whose process is gone (killed before it could tidy up); returns how many.
    pub fn remove_stale(prefix: &str) -> usize {
        let Ok(entries) = fs::read_dir("/run/netns") else { return 0 };
        let mut removed = 0;
        for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
            let process =
                name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).and_then(|r| r.split('-').next());
            let Some(Ok(process)) = process.map(str::parse::<u32>) else { continue };
            let gone = !std::path::Path::new(&format!("/proc/{process}")).exists();
            if gone && ip(&["netns", "delete", &name]).is_ok() {
                removed += 1;
            }
        }
        removed
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for name in self.names.values() {
            // the veth pairs go with their namespaces; an error here has no one left to tell
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

impl TopologyBuilder {
    /// Declares a namespace. Its loopback interface will be up and IPv6 autoconfiguration off.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        self.namespaces.push(name.to_owned());
        self
    }

    /// A veth pair between two `(namespace, interface)` ends, both up, transmit checksum offload off.
    #[must_use]
    pub fn veth(mut self, a: (&str, &str), b: (&str, &str)) -> Self {
        let own = |(n, i): (&str, &str)| (n.to_owned(), i.to_owned());
        self.steps.push(Step::Veth { a: own(a), b: own(b) });
        self
    }

    /// An address such as `10.0.1.2/24` on an interface. Leave the router's own interfaces without: the kernel would
    /// answer beside it.
    #[must_use]
    pub fn address(mut self, namespace: &str, interface: &str, address: &str) -> Self {
        let (namespace, interface, address) = (namespace.to_owned(), interface.to_owned(), address.to_owned());
        self.steps.push(Step::Address { namespace, interface, address });
        self
    }

    /// A route (`default` or a prefix) through a next hop.
    #[must_use]
    pub fn route(mut self, namespace: &str, destination: &str, via: &str) -> Self {
        let (namespace, destination, via) = (namespace.to_owned(), destination.to_owned(), via.to_owned());
        self.steps.push(Step::Route { namespace, destination, via });
        self
    }

    /// Makes everything, in the order it was declared. What was made before a failure is removed again.
    ///
    /// # Errors
    /// [`TopologyError`], one sentence that says what was refused.
    pub fn build(self) -> Result<Topology, TopologyError> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut topology = Topology { names: BTreeMap::new() };
        for name in &self.namespaces {
            let real = format!("{}-{}-{serial}-{name}", self.prefix, std::process::id());
            ip(&["netns", "add", &real])?;
            topology.names.insert(name.clone(), real.clone());
            ip(&["-n", &real, "link", "set", "lo", "up"])?;
            netns::in_namespace(&real, || {
                // kernels without IPv6 have no such file, and then nothing to switch off
                let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
                let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            })?;
        }
        for step in &self.steps {
            topology.take(step)?;
        }
        Ok(topology)
    }
}

impl Topology {
    fn real(&self, name: &str) -> Result<&str, TopologyError> {
        self.names.get(name).map(String::as_str).ok_or_else(|| TopologyError::UnknownNamespace(name.to_owned()))
    }

    fn take(&self, step: &Step) -> Result<(), TopologyError> {
        match step {
            Step::Veth { a, b } => {
                let (in_a, in_b) = (self.real(&a.0)?, self.real(&b.0)?);
                ip(&["-n", in_a, "link", "add", "name", &a.1, "type", "veth", "peer", "name", &b.1, "netns", in_b])?;
                for (namespace, interface) in [(in_a, &a.1), (in_b, &b.1)] {
                    ip(&["-n", namespace, "link", "set", "dev", interface, "up"])?;
                    netns::in_namespace(namespace, || set_transmit_checksum(interface, false))??;
                }
                Ok(())
            }
            Step::Address { namespace, interface, address } => {
                ip(&["-n", self.real(namespace)?, "address", "add", address, "dev", interface])
            }
            Step::Route { namespace, destination, via } => {
                ip(&["-n", self.real(namespace)?, "route", "add", destination, "via", via])
            }
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), TopologyError> {
    let output = Command::new("ip").args(arguments).output().map_err(TopologyError::NoIpCommand)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(TopologyError::Refused { command: format!("ip {}", arguments.join(" ")), said })
}
