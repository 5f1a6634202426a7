use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strowger_osp::UsageIndication;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::OspClient;

/// Reports that wait for the clearinghouse at most: an hour of a hundred calls a second is more than a machine of this kind carries
/// without it.
pub const MAX_QUEUED_USAGE: usize = 65_536;
/// Reports in one message.
pub const MAX_USAGE_PER_MESSAGE: usize = 16;

const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
const LAST_BACK_OFF: Duration = Duration::from_secs(30);

/// What became of the reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageCounts {
    /// Waiting, or on their way.
    pub queued: u64,
    /// Taken by the clearinghouse.
    pub delivered: u64,
    /// Refused for good (status 4xx), and named in the log.
    pub refused: u64,
    /// Not taken into the queue because it was full, and named in the log.
    pub overflowed: u64,
    /// Attempts that failed and were repeated.
    pub retries: u64,
}

/// [`MAX_QUEUED_USAGE`] reports wait already; the report is given back.
#[derive(Debug, thiserror::Error)]
#[error("usage queue is full")]
pub struct UsageQueueFull(pub Box<UsageIndication>);

/// Sends usage reports until they are taken. Dropping every clone stops the sending: [`UsageReporter::drain`] first.
#[derive(Clone, Debug)]
pub struct UsageReporter {
    shared: Arc<Shared>,
    _task: Arc<StopOnDrop>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    arrived: Notify,
    settled: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<UsageIndication>,
    on_their_way: usize,
    counts: UsageCounts,
}

#[derive(Debug)]
struct StopOnDrop(JoinHandle<()>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between statements; a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsageReporter {
    /// Starts the sending task; must be called inside a tokio runtime.
    pub fn spawn(client: OspClient) -> UsageReporter {
        UsageReporter::with_capacity(client, MAX_QUEUED_USAGE)
    }

    /// With a shorter queue.
    pub fn with_capacity(client: OspClient, capacity: usize) -> UsageReporter {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            arrived: Notify::new(),
            settled: Notify::new(),
            capacity,
        });
        let task = tokio::spawn(send(client, Arc::clone(&shared)));
        UsageReporter { shared, _task: Arc::new(StopOnDrop(task)) }
    }

    /// Takes a report; returns at once.
    ///
    /// # Errors
    /// When the queue is full; the report comes back, and the loss is counted.
    pub fn report(&self, usage: UsageIndication) -> Result<(), UsageQueueFull> {
        let mut state = self.shared.state();
        if state.waiting.len() + state.on_their_way >= self.shared.capacity {
            state.counts.overflowed += 1;
            tracing::error!(transaction = usage.transaction_id, role = %usage.role, "usage queue is full");
            return Err(UsageQueueFull(Box::new(usage)));
        }
        state.waiting.push_back(usage);
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// What became of the reports so far.
    pub fn counts(&self) -> UsageCounts {
        let state = self.shared.state();
        UsageCounts { queued: (state.waiting.len() + state.on_their_way) as u64, ..state.counts }
    }

    /// Waits until nothing is queued, at most this long; the counts tell whether it was enough.
    pub async fn drain(&self, limit: Duration) -> UsageCounts {
        let deadline = Instant::now() + limit;
        loop {
            let settled = self.shared.settled.notified();
            let counts = self.counts();
            if counts.queued == 0 || tokio::time::timeout_at(deadline, settled).await.is_err() {
                return self.counts();
            }
        }
    }
}

/// The sending task: a batch at a time, in order; what was not taken goes back to the front.
async fn send(client: OspClient, shared: Arc<Shared>) {
    let mut back_off = FIRST_BACK_OFF;
    loop {
        let batch = take(&shared);
        if batch.is_empty() {
            shared.arrived.notified().await;
            continue;
        }
        let answer = client.report(batch.clone()).await;
        let failed = settle(&shared, batch, answer);
        shared.settled.notify_waiters();
        if failed {
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(LAST_BACK_OFF);
        } else {
            back_off = FIRST_BACK_OFF;
        }
    }
}

fn take(shared: &Shared) -> Vec<UsageIndication> {
    let mut state = shared.state();
    let count = state.waiting.len().min(MAX_USAGE_PER_MESSAGE);
    let batch: Vec<_> = state.waiting.drain(..count).collect();
    state.on_their_way = batch.len();
    batch
}

/// Counts what was taken and what was refused, and puts the rest back. Returns whether there is a rest.
fn settle(
    shared: &Shared,
    batch: Vec<UsageIndication>,
    answer: Result<Vec<strowger_osp::Status>, crate::OspClientError>,
) -> bool {
    let mut state = shared.state();
    state.on_their_way = 0;
    let mut failed = false;
    match answer {
        Ok(statuses) => {
            for (usage, status) in batch.into_iter().zip(statuses) {
                if status.is_success() {
                    state.counts.delivered += 1;
                } else if crate::OspClientError::Refused(status.clone()).is_transient() {
                    // To the back: a report that the server stumbles over must not hold up the others.
                    failed = true;
                    state.waiting.push_back(usage);
                } else {
                    state.counts.refused += 1;
                    let (transaction, code) = (usage.transaction_id, status.code);
                    tracing::error!(transaction, code, description = %status.description, "usage was refused");
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, reports = batch.len(), "usage could not be reported, trying again");
            failed = true;
            for usage in batch.into_iter().rev() {
                state.waiting.push_front(usage);
            }
        }
    }
    state.counts.retries += u64::from(failed);
    failed
}
