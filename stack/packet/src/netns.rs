//! Network namespaces by name (the ones `ip netns` shows), for the calling thread or a scoped one.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

/// Where named namespaces are kept by iproute2.
const NAMED: &str = "/run/netns";

/// A handle on a network namespace; the namespace lives at least as long as the handle.
#[derive(Debug)]
pub struct NetNamespace {
    name: String,
    file: File,
}

impl NetNamespace {
    /// Opens the namespace called `name`.
    ///
    /// # Errors
    /// `NotFound` with a sentence when there is none of that name; `InvalidInput` for a name with a slash.
    pub fn open(name: &str) -> io::Result<Self> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no namespace name")));
        }
        let file = File::open(Path::new(NAMED).join(name)).map_err(|e| {
            let sentence = format!("no network namespace `{name}` ({e}); `ip netns add {name}` makes one");
            io::Error::new(e.kind(), sentence)
        })?;
        Ok(Self { name: name.to_owned(), file })
    }

    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn current() -> io::Result<Self> {
        Ok(Self { name: String::from("(current)"), file: File::open("/proc/thread-self/ns/net")? })
    }

    /// The name it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread, and no other, into the namespace. Sockets keep the namespace they were made in.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_SYS_ADMIN.
    pub fn enter(&self) -> io::Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|e| {
            let sentence = format!("cannot enter network namespace `{}` ({e}); it needs CAP_SYS_ADMIN", self.name);
            io::Error::new(io::Error::from(e).kind(), sentence)
        })
    }
}

/// Runs `body` on a thread of its own inside the namespace `name` and returns what it returned. The calling thread
/// waits and stays where it is; sockets made in `body` belong to the namespace and may be used anywhere.
///
/// # Errors
/// When the namespace cannot be opened or entered, or no thread can be made. A panic in `body` goes on in the caller.
pub fn in_namespace<R: Send>(name: &str, body: impl FnOnce() -> R + Send) -> io::Result<R> {
    let namespace = NetNamespace::open(name)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(format!("netns-{name}")).spawn_scoped(scope, || {
            namespace.enter()?;
            Ok(body())
        })?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Like [`in_namespace`], in the caller's own namespace (and on its thread) when `name` is `None`.
///
/// # Errors
/// As [`in_namespace`].
pub fn in_optional_namespace<R: Send>(name: Option<&str>, body: impl FnOnce() -> R + Send) -> io::Result<R> {
    match name {
        Some(name) => in_namespace(name, body),
        None => Ok(body()),
    }
}
