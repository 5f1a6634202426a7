//! Child processes: found or missed with a sentence, bounded in time, ended when their owner goes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A program of a Debian package; without it the test fails and says what to install.
pub fn program(name: &str, package: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(
        found,
        "{name} is not installed: run `apt-get install {package}`, or `./run setup` for all that the tests need"
    );
    Command::new(name)
}

/// Our own program, as cargo built it for this test run.
pub fn strowger() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
    command.env_remove("RUST_LOG");
    command
}

/// A file of this folder.
pub fn material(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// A running child that is killed when this is dropped. What it prints is in files.
pub struct Running {
    child: Child,
    name: String,
    out: PathBuf,
    err: PathBuf,
}

/// How a child ended.
pub struct Finished {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed.
    pub out: String,
    /// What it complained.
    pub err: String,
}

impl Running {
    /// Starts it; `name` is that of its output files in `folder`.
    pub fn start(mut command: Command, folder: &Path, name: &str) -> Running {
        let (out, err) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let file = |path: &Path| Stdio::from(File::create(path).expect("an output file"));
        let child = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Running { child, name: name.to_owned(), out, err }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn out(&self) -> String {
        text(&self.out)
    }

    /// What it has complained so far.
    pub fn err(&self) -> String {
        text(&self.err)
    }

    /// Sends it a signal: `TERM`, `HUP`, `KILL`.
    pub fn signal(&self, name: &str) {
        let status = program("kill", "procps").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send {name} to {}", self.name);
    }

    /// Its status, if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child's status")
    }

    /// Waits for its end.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.status() {
                return Finished { status, out: self.out(), err: self.err() };
            }
            if Instant::now() > deadline {
                panic!(
                    "{} did not end within {limit:?}; its last words:\n{}{}",
                    self.name,
                    tail(&self.out()),
                    tail(&self.err())
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub fn run(command: Command, folder: &Path, name: &str, limit: Duration) -> Finished {
    Running::start(command, folder, name).finish(limit)
}

/// A file that may hold anything, as text.
pub fn text(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last lines of much output.
pub fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(60)..].join("\n") + "\n"
}
