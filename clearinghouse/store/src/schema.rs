//! Tables, and how older files are brought up to date.

use crate::StoreError;
use rusqlite::Connection;

/// One entry per version, applied in order; never edited once released.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE accounts (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, currency TEXT NOT NULL, kind TEXT NOT NULL, credit_limit_nanos INTEGER
    ) STRICT;
    CREATE TABLE transfers (
        sequence INTEGER PRIMARY KEY, group_sequence INTEGER NOT NULL, group_size INTEGER NOT NULL, at_unix_nanos INTEGER NOT NULL,
        id BLOB NOT NULL UNIQUE, debit INTEGER NOT NULL, credit INTEGER NOT NULL,
        amount_nanos INTEGER NOT NULL CHECK (amount_nanos > 0), currency TEXT NOT NULL,
        kind TEXT NOT NULL, pending BLOB, expires_unix_nanos INTEGER, code INTEGER NOT NULL, reference INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX transfers_by_reference ON transfers (reference);
    CREATE TABLE authorizations (
        transaction_id INTEGER PRIMARY KEY, state TEXT NOT NULL, customer TEXT NOT NULL, device TEXT NOT NULL,
        at_unix_nanos INTEGER NOT NULL, record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX authorizations_open ON authorizations (state) WHERE state = 'open';
    CREATE TABLE usage (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, transaction_id INTEGER NOT NULL, key TEXT NOT NULL UNIQUE,
        received_at_unix_nanos INTEGER NOT NULL, report TEXT NOT NULL, xml TEXT NOT NULL
    ) STRICT;
    CREATE INDEX usage_by_transaction ON usage (transaction_id);
    CREATE TABLE cdrs (
        transaction_id INTEGER PRIMARY KEY, closed_at_unix_nanos INTEGER NOT NULL, state TEXT NOT NULL, outcome TEXT NOT NULL,
        source_customer TEXT NOT NULL, destination_customer TEXT, record TEXT NOT NULL
    ) STRICT;
    CREATE TABLE certificates (
        serial TEXT PRIMARY KEY, customer TEXT NOT NULL, device TEXT NOT NULL, der BLOB NOT NULL,
        issued_at_unix_nanos INTEGER NOT NULL, revoked_at_unix_nanos INTEGER
    ) STRICT;
    CREATE TABLE authority (one INTEGER PRIMARY KEY CHECK (one = 1), certificate BLOB NOT NULL, key BLOB NOT NULL) STRICT;
    CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_unix_nanos INTEGER NOT NULL, what TEXT NOT NULL,
        transaction_id INTEGER, detail TEXT NOT NULL
    ) STRICT;
"];

/// Sets up a writing connection and brings the tables up to date.
pub(crate) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::Unreadable(error.to_string());
    // FULL: a commit has been flushed when it returns, also in write-ahead mode
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(failed)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (migration, version) in MIGRATIONS.iter().zip(1i64..).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
