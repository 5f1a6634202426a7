//! What the tests share: the exchange as a child process, its peers, a reader of its REST interface, sound.

pub mod baresip;
pub mod exchange;
pub mod process;
pub mod rest;
pub mod scratch;
pub mod sipp;
pub mod sound;

use std::time::{Duration, Instant};

/// Asks until the answer is there; says after `limit` what did not come.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
