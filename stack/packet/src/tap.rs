//! A tap copies what a port carries to a pcapng file without holding the port up: a bounded queue, a writing thread,
//! and a count of what did not fit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use strowger_clock::Timestamp;

use crate::pcapng::{Direction, InterfaceId, SharedWriter};

/// Frames that may wait for the writer.
pub const TAP_QUEUE_MAXIMUM: usize = 4_096;

struct Record {
    interface: InterfaceId,
    at: Timestamp,
    direction: Direction,
    octets: Vec<u8>,
}

/// The writing side: one thread that serves any number of taps. Dropping it, after its taps, writes what is queued.
#[derive(Debug)]
pub struct TapRecorder {
    sender: SyncSender<Record>,
    spent: Arc<std::sync::Mutex<Receiver<Vec<u8>>>>,
    dropped: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl TapRecorder {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(writer: SharedWriter) -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Record>(TAP_QUEUE_MAXIMUM);
        let (give_back, spent) = sync_channel::<Vec<u8>>(TAP_QUEUE_MAXIMUM);
        let thread = std::thread::Builder::new().name("tap".into()).spawn(move || {
            while let Ok(record) = receiver.recv() {
                let mut writer = writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let result = writer.packet(record.interface, record.at, Some(record.direction), &record.octets);
                if let Err(error) = result {
                    tracing::warn!(%error, "the capture file cannot be written; the tap stops");
                    return;
                }
                drop(writer);
                let _ = give_back.try_send(record.octets);
            }
            let mut writer = writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = writer.flush();
        })?;
        let spent = Arc::new(std::sync::Mutex::new(spent));
        Ok(Self { sender, spent, dropped: Arc::default(), thread })
    }

    /// A tap that records as `interface` of the file.
    pub fn tap(&self, interface: InterfaceId) -> Tap {
        Tap { interface, sender: self.sender.clone(), spent: self.spent.clone(), dropped: self.dropped.clone() }
    }

    /// Frames that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything queued is written; every [`Tap`] must be gone by then.
    pub fn finish(self) {
        drop(self.sender);
        let _ = self.thread.join();
    }
}

/// The port's end of a tap.
#[derive(Clone, Debug)]
pub struct Tap {
    interface: InterfaceId,
    sender: SyncSender<Record>,
    spent: Arc<std::sync::Mutex<Receiver<Vec<u8>>>>,
    dropped: Arc<AtomicU64>,
}

impl Tap {
    /// Copies one frame to the queue, in a used buffer where there is one; counts it as dropped when the queue is full.
    pub fn record(&mut self, direction: Direction, octets: &[u8]) {
        let at = now();
        let mut copy = self.spent.try_lock().ok().and_then(|spent| spent.try_recv().ok()).unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(octets);
        match self.sender.try_send(Record { interface: self.interface, at, direction, octets: copy }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The wall clock, for capture timestamps.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcapng::{LinkType, Writer};
    use std::io::Write;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn recorder() -> (Sink, SharedWriter, InterfaceId, TapRecorder) {
        let sink = Sink::default();
        let out: Box<dyn Write + Send> = Box::new(sink.clone());
        let writer: SharedWriter = Arc::new(Mutex::new(Writer::new(out, "t").unwrap()));
        let id = writer.lock().unwrap().add_interface("r0", LinkType::Ethernet).unwrap();
        let recorder = TapRecorder::start(writer.clone()).unwrap();
        (sink, writer, id, recorder)
    }

    #[test]
    fn what_is_recorded_is_in_the_file_after_finish() {
        let (sink, _writer, id, recorder) = recorder();
        let mut tap = recorder.tap(id);
        tap.record(Direction::Inbound, b"first frame of two");
        tap.record(Direction::Outbound, b"second");
        drop(tap);
        recorder.finish();
        let file = sink.0.lock().unwrap().clone();
        assert!(file.windows(18).any(|w| w == b"first frame of two"));
        assert!(file.windows(6).any(|w| w == b"second"));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (_sink, writer, id, recorder) = recorder();
        let mut tap = recorder.tap(id);
        let held = writer.lock().unwrap(); // the writing thread cannot go on: it holds at most one record
        for _ in 0..TAP_QUEUE_MAXIMUM + 1 {
            tap.record(Direction::Inbound, b"x");
        }
        assert!(recorder.dropped() <= 1);
        tap.record(Direction::Inbound, b"x");
        assert!(recorder.dropped() >= 1);
        drop(held);
        drop(tap);
        recorder.finish();
    }
}
