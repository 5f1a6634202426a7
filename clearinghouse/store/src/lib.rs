//! The clearinghouse's memory on disk.
//!
//! **What comes in:** [`Batch`]es of [`Record`]s: accounts, transfers, authorizations, usage reports, call detail records, certificates, audit
//! entries. One batch is kept in full or not at all.
//!
//! **What goes out:** a [`Durable`] future per batch, resolved when the batch would survive a power cut and never before; everything again after
//! a restart ([`Contents`]); pages for people to read.
//!
//! **What it never does:** decide anything about money or calls, change or delete a transfer or a report, or take batches in another order than
//! they were handed over.
//!
//! **Sources:** SQLite's write-ahead log, `synchronous = FULL`; one writer thread that commits many batches with one disk flush. [`Store`] is the
//! interface; [`Sqlite`] is the one engine so far.

mod records;
mod schema;
mod sqlite;
mod writer;

pub use records::{
    AuditRecord, AuthorityRecord, AuthorizationRecord, AuthorizationState, CandidateRecord, CdrRecord,
    CertificateRecord, DroppedRecord, Outcome, Record, UsageRecord,
};
pub use sqlite::Sqlite;
pub use writer::{Durable, MAXIMUM_QUEUED_BATCHES, Slot};

use strowger_ledger::{Account, Record as TransferRecord};

/// Records that are kept together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order in which they are written.
    pub records: Vec<Record>,
}

impl From<Vec<Record>> for Batch {
    fn from(records: Vec<Record>) -> Batch {
        Batch { records }
    }
}

/// Everything that a clearinghouse needs to go on after a restart.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Every account.
    pub accounts: Vec<Account>,
    /// Every transfer, oldest first.
    pub transfers: Vec<TransferRecord>,
    /// Authorizations whose call is not settled yet.
    pub open: Vec<AuthorizationRecord>,
    /// What was reported about them, oldest first.
    pub usage: Vec<UsageRecord>,
    /// The largest transaction number ever given.
    pub last_transaction: u64,
    /// The certificate authority, once made.
    pub authority: Option<AuthorityRecord>,
}

/// Why the store does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// [`MAXIMUM_QUEUED_BATCHES`] wait to be written: try later. Nothing was taken.
    #[error("the store is overloaded")]
    Overloaded,
    /// A write failed (disk full, file damaged), so that memory and disk may differ: the store takes nothing more until it is opened again.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The file was written by a newer version.
    #[error("the store's file has schema {found}, this program knows {known}: run the newer program")]
    Newer {
        /// Schema of the file.
        found: i64,
        /// Schema of this program.
        known: i64,
    },
    /// The file cannot be opened or read.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
}

/// A page of a list, newest first.
#[derive(Copy, Clone, Debug)]
pub struct Page {
    /// Only entries older than this key (a transfer's sequence, a transaction number, an audit sequence).
    pub before: Option<u64>,
    /// At most so many; [`Page::MAXIMUM_ENTRIES`] at most are given.
    pub entries: usize,
}

impl Page {
    /// The longest page.
    pub const MAXIMUM_ENTRIES: usize = 1000;

    /// The newest entries.
    pub const fn newest(entries: usize) -> Page {
        Page { before: None, entries }
    }
}

/// A storage engine. Reading blocks on the disk: call it off asynchronous workers.
pub trait Store: Send + Sync + 'static {
    /// Takes a place in the writer's queue, without waiting. Batches are written in the order of the calls to [`Slot::commit`].
    fn reserve(&self) -> Result<Slot, StoreError>;
    /// Reads back everything needed to go on.
    fn contents(&self) -> Result<Contents, StoreError>;
    /// Transfers by sequence, newest first.
    fn transfers(&self, page: Page) -> Result<Vec<TransferRecord>, StoreError>;
    /// Authorizations by transaction number, newest first.
    fn authorizations(&self, page: Page) -> Result<Vec<AuthorizationRecord>, StoreError>;
    /// One authorization.
    fn authorization(&self, transaction: u64) -> Result<Option<AuthorizationRecord>, StoreError>;
    /// Call detail records by transaction number, newest first.
    fn cdrs(&self, page: Page) -> Result<Vec<CdrRecord>, StoreError>;
    /// One call detail record.
    fn cdr(&self, transaction: u64) -> Result<Option<CdrRecord>, StoreError>;
    /// Every usage report of a call, oldest first.
    fn usage(&self, transaction: u64) -> Result<Vec<UsageRecord>, StoreError>;
    /// Audit entries, newest first.
    fn audit(&self, page: Page) -> Result<Vec<AuditRecord>, StoreError>;
    /// Every device certificate.
    fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError>;
}
