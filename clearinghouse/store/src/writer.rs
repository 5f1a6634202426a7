//! The writer: one thread, one queue, many batches per disk flush.

use crate::{Batch, StoreError};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

/// How many batches may wait to be written.
pub const MAXIMUM_QUEUED_BATCHES: usize = 4096;

/// How many batches one disk flush covers at most.
const MAXIMUM_BATCHES_PER_COMMIT: usize = 256;

pub(crate) struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// A place in the writer's queue. Dropping it gives the place back.
pub struct Slot {
    permit: mpsc::OwnedPermit<Job>,
}

impl Slot {
    /// Hands the batch over. An empty batch is a fence: it resolves after everything handed over before is durable.
    pub fn commit(self, batch: impl Into<Batch>) -> Durable {
        let (done, result) = oneshot::channel();
        self.permit.send(Job { batch: batch.into(), done });
        Durable { result }
    }
}

/// Resolves when the batch is durable, or the store failed. Dropping it does not take the batch back.
#[must_use = "nothing may be answered before the batch is durable"]
pub struct Durable {
    result: oneshot::Receiver<Result<(), StoreError>>,
}

impl Durable {
    /// Waits on a thread that is no asynchronous worker.
    pub fn wait(self) -> Result<(), StoreError> {
        self.result.blocking_recv().unwrap_or_else(|_| Err(writer_gone()))
    }
}

impl Future for Durable {
    type Output = Result<(), StoreError>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(context).map(|result| result.unwrap_or_else(|_| Err(writer_gone())))
    }
}

fn writer_gone() -> StoreError {
    StoreError::Failed("the writer ended".into())
}

/// The queue to a writer thread. Dropping it lets the thread finish what is queued and end, and waits for that.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    failure: Arc<OnceLock<StoreError>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// `write` keeps the batches in one transaction, all or none, and returns after the flush.
    pub(crate) fn start(
        write: impl FnMut(&mut dyn Iterator<Item = &Batch>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Writer, StoreError> {
        let (queue, jobs) = mpsc::channel(MAXIMUM_QUEUED_BATCHES);
        let failure = Arc::new(OnceLock::new());
        let theirs = Arc::clone(&failure);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(jobs, &theirs, write))
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Writer { queue: Some(queue), failure, thread: Some(thread) })
    }

    pub(crate) fn reserve(&self) -> Result<Slot, StoreError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        let queue = self.queue.clone().ok_or_else(writer_gone)?;
        match queue.try_reserve_owned() {
            Ok(permit) => Ok(Slot { permit }),
            Err(mpsc::error::TrySendError::Full(_)) => Err(StoreError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(writer_gone()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    mut jobs: mpsc::Receiver<Job>,
    failure: &OnceLock<StoreError>,
    mut write: impl FnMut(&mut dyn Iterator<Item = &Batch>) -> Result<(), StoreError>,
) {
    let mut taken = Vec::with_capacity(MAXIMUM_BATCHES_PER_COMMIT);
    while jobs.blocking_recv_many(&mut taken, MAXIMUM_BATCHES_PER_COMMIT) > 0 {
        let result = match failure.get() {
            // what follows a lost batch may build on it: nothing more is kept
            Some(failure) => Err(failure.clone()),
            None => write(&mut taken.iter().map(|job| &job.batch)),
        };
        if let Err(error) = &result
            && failure.set(error.clone()).is_ok()
        {
            tracing::error!(%error, "the store takes nothing more");
        }
        for job in taken.drain(..) {
            let _ = job.done.send(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn one_failure_refuses_everything_after() {
        let mut good = 1;
        let writer = Writer::start(move |batches| {
            batches.for_each(drop);
            good -= 1;
            if good >= 0 { Ok(()) } else { Err(StoreError::Failed("disk full".into())) }
        })
        .unwrap();
        assert_eq!(writer.reserve().unwrap().commit(vec![]).wait(), Ok(()));
        let late = writer.reserve().unwrap();
        assert!(writer.reserve().unwrap().commit(vec![]).wait().is_err());
        assert!(late.commit(vec![]).wait().is_err(), "a slot taken before the failure");
        assert!(matches!(writer.reserve().err(), Some(StoreError::Failed(_))));
    }

    #[test]
    fn the_queue_just_inside_and_just_outside() {
        let (go, gate) = channel::<()>();
        let writer = Writer::start(move |batches| {
            batches.for_each(drop);
            let _ = gate.recv();
            Ok(())
        })
        .unwrap();
        let mut slots = Vec::new();
        while slots.len() < MAXIMUM_QUEUED_BATCHES {
            slots.push(writer.reserve().unwrap());
        }
        assert_eq!(writer.reserve().err(), Some(StoreError::Overloaded));
        slots.pop();
        assert!(writer.reserve().is_ok());
        drop(slots);
        drop(go);
    }
}
