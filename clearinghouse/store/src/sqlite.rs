//! The SQLite engine.

use crate::records::{
    AuditRecord, AuthorityRecord, AuthorizationRecord, AuthorizationState, CdrRecord, CertificateRecord, Record,
    UsageRecord,
};
use crate::writer::{Slot, Writer};
use crate::{Batch, Contents, Page, Store, StoreError, schema};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use strowger_clock::Timestamp;
use strowger_ledger::{
    Account, AccountId, AccountKind, Money, Record as TransferRecord, Transfer, TransferId, TransferKind,
};

/// A store in one SQLite file, with its write-ahead log beside it. One process at a time may write.
pub struct Sqlite {
    writer: Writer,
    reader: Mutex<Connection>,
}

impl Sqlite {
    /// Opens the file, making it (readable by its owner alone: it holds the authority's key) and its tables when they are not there.
    pub fn open(file: &Path) -> Result<Sqlite, StoreError> {
        let unreadable = |error: String| StoreError::Unreadable(format!("{}: {error}", file.display()));
        create_private(file).map_err(|error| unreadable(error.to_string()))?;
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(file)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            Ok(connection)
        };
        let mut connection = connect().map_err(|error| unreadable(error.to_string()))?;
        schema::prepare(&mut connection)?;
        let reader = connect().map_err(|error| unreadable(error.to_string()))?;
        let writer = Writer::start(move |batches| write_all(&mut connection, batches))?;
        Ok(Sqlite { writer, reader: Mutex::new(reader) })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, StoreError> {
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        read(&connection).map_err(|error| StoreError::Unreadable(error.to_string()))
    }
}

#[cfg(unix)]
fn create_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file).map(drop)
}

#[cfg(not(unix))]
fn create_private(_file: &Path) -> std::io::Result<()> {
    Ok(())
}

/// A row that cannot be understood.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("a kept record: {0}")]
    Record(#[from] serde_json::Error),
    #[error("the {0} of a kept record is unknown")]
    Unknown(&'static str),
}

impl Store for Sqlite {
    fn reserve(&self) -> Result<Slot, StoreError> {
        self.writer.reserve()
    }

    fn contents(&self) -> Result<Contents, StoreError> {
        self.read(|connection| {
            // one transaction: one moment of the file
            let connection = connection.unchecked_transaction()?;
            let last: Option<i64> = connection
                .query_row("SELECT max(transaction_id) FROM authorizations", [], |row| row.get(0))
                .optional()?
                .flatten();
            Ok(Contents {
                accounts: all(&connection, "SELECT id, name, currency, kind, credit_limit_nanos FROM accounts ORDER BY id", [], account)?,
                transfers: all(&connection, &format!("{TRANSFERS} ORDER BY sequence"), [], transfer)?,
                open: json(&connection, "SELECT record FROM authorizations WHERE state = 'open' ORDER BY transaction_id", [])?,
                usage: all(
                    &connection,
                    "SELECT report, xml FROM usage WHERE transaction_id IN (SELECT transaction_id FROM authorizations WHERE state = 'open')
                     ORDER BY sequence",
                    [],
                    usage,
                )?,
                last_transaction: last.map_or(0, i64::cast_unsigned),
                authority: connection
                    .query_row("SELECT certificate, key FROM authority", [], |row| {
                        Ok(AuthorityRecord { certificate: row.get(0)?, key: row.get(1)? })
                    })
                    .optional()?,
            })
        })
    }

    fn transfers(&self, page: Page) -> Result<Vec<TransferRecord>, StoreError> {
        let sql = format!("{TRANSFERS} WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2");
        self.read(|connection| all(connection, &sql, bounds(page), transfer))
    }

    fn authorizations(&self, page: Page) -> Result<Vec<AuthorizationRecord>, StoreError> {
        let sql = "SELECT record FROM authorizations WHERE transaction_id < ?1 ORDER BY transaction_id DESC LIMIT ?2";
        self.read(|connection| json(connection, sql, bounds(page)))
    }

    fn authorization(&self, transaction: u64) -> Result<Option<AuthorizationRecord>, StoreError> {
        let sql = "SELECT record FROM authorizations WHERE transaction_id = ?1";
        self.read(|connection| Ok(json(connection, sql, [transaction.cast_signed()])?.pop()))
    }

    fn cdrs(&self, page: Page) -> Result<Vec<CdrRecord>, StoreError> {
        let sql = "SELECT record FROM cdrs WHERE transaction_id < ?1 ORDER BY transaction_id DESC LIMIT ?2";
        self.read(|connection| json(connection, sql, bounds(page)))
    }

    fn cdr(&self, transaction: u64) -> Result<Option<CdrRecord>, StoreError> {
        let sql = "SELECT record FROM cdrs WHERE transaction_id = ?1";
        self.read(|connection| Ok(json(connection, sql, [transaction.cast_signed()])?.pop()))
    }

    fn usage(&self, transaction: u64) -> Result<Vec<UsageRecord>, StoreError> {
        let sql = "SELECT report, xml FROM usage WHERE transaction_id = ?1 ORDER BY sequence";
        self.read(|connection| all(connection, sql, [transaction.cast_signed()], usage))
    }

    fn audit(&self, page: Page) -> Result<Vec<AuditRecord>, StoreError> {
        let sql = "SELECT sequence, at_unix_nanos, what, transaction_id, detail FROM audit WHERE sequence < ?1
                   ORDER BY sequence DESC LIMIT ?2";
        let row = |row: &Row<'_>| {
            Ok(AuditRecord {
                sequence: unsigned(row, 0)?,
                at_unix_nanos: unsigned(row, 1)?,
                what: row.get(2)?,
                transaction: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
                detail: row.get(4)?,
            })
        };
        self.read(|connection| all(connection, sql, bounds(page), row))
    }

    fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        let sql = "SELECT serial, customer, device, der, issued_at_unix_nanos, revoked_at_unix_nanos FROM certificates
                   ORDER BY issued_at_unix_nanos";
        let row = |row: &Row<'_>| {
            Ok(CertificateRecord {
                serial: row.get(0)?,
                customer: row.get(1)?,
                device: row.get(2)?,
                der: row.get(3)?,
                issued_at_unix_nanos: unsigned(row, 4)?,
                revoked_at_unix_nanos: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
            })
        };
        self.read(|connection| all(connection, sql, [], row))
    }
}

const TRANSFERS: &str =
    "SELECT sequence, group_sequence, group_size, at_unix_nanos, id, debit, credit, amount_nanos, currency, kind,
                                pending, expires_unix_nanos, code, reference FROM transfers";

fn bounds(page: Page) -> [i64; 2] {
    let before = page.before.map_or(i64::MAX, |key| i64::try_from(key).unwrap_or(i64::MAX));
    [before, i64::try_from(page.entries.min(Page::MAXIMUM_ENTRIES)).unwrap_or(i64::MAX)]
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, ReadError>,
) -> Result<Vec<T>, ReadError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut read_rows = Vec::new();
    while let Some(row) = rows.next()? {
        read_rows.push(read(row)?);
    }
    Ok(read_rows)
}

fn json<T: DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<T>, ReadError> {
    all(connection, sql, parameters, |row| {
        Ok(serde_json::from_str(row.get_ref(0)?.as_str().map_err(|_| ReadError::Unknown("text"))?)?)
    })
}

/// SQLite's integers are signed; sequences, times and transaction numbers are stored bit by bit.
fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, ReadError> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

fn usage(row: &Row<'_>) -> Result<UsageRecord, ReadError> {
    let report: String = row.get(0)?;
    Ok(UsageRecord { report: serde_json::from_str(&report)?, xml: row.get(1)? })
}

fn account(row: &Row<'_>) -> Result<Account, ReadError> {
    let (currency, kind): (String, String) = (row.get(2)?, row.get(3)?);
    Ok(Account {
        id: AccountId(unsigned(row, 0)?),
        name: row.get(1)?,
        currency: currency.parse().map_err(|_| ReadError::Unknown("currency"))?,
        kind: match kind.as_str() {
            "customer" => AccountKind::Customer,
            "house" => AccountKind::House,
            "bank" => AccountKind::Bank,
            _ => return Err(ReadError::Unknown("account kind")),
        },
        credit_limit_nanos: row.get(4)?,
    })
}

fn transfer(row: &Row<'_>) -> Result<TransferRecord, ReadError> {
    let (currency, kind): (String, String) = (row.get(8)?, row.get(9)?);
    let pending: Option<[u8; 16]> = row.get(10)?;
    let expires: Option<i64> = row.get(11)?;
    let ended = || pending.map(|id| TransferId(u128::from_be_bytes(id))).ok_or(ReadError::Unknown("pending transfer"));
    let kind = match kind.as_str() {
        "direct" => TransferKind::Direct,
        "pending" => {
            TransferKind::Pending { expires: expires.map(|at| Timestamp::from_unix_nanos(at.cast_unsigned())) }
        }
        "post" => TransferKind::Post { pending: ended()? },
        "void" => TransferKind::Void { pending: ended()? },
        "time-out" => TransferKind::TimeOut { pending: ended()? },
        _ => return Err(ReadError::Unknown("transfer kind")),
    };
    let currency = currency.parse().map_err(|_| ReadError::Unknown("currency"))?;
    Ok(TransferRecord {
        sequence: unsigned(row, 0)?,
        group: unsigned(row, 1)?,
        group_size: row.get(2)?,
        at: Timestamp::from_unix_nanos(unsigned(row, 3)?),
        transfer: Transfer {
            id: TransferId(u128::from_be_bytes(row.get(4)?)),
            debit: AccountId(unsigned(row, 5)?),
            credit: AccountId(unsigned(row, 6)?),
            amount: Money::from_nanos(row.get(7)?, currency),
            kind,
            code: row.get(12)?,
            reference: unsigned(row, 13)?,
        },
    })
}

/// Every batch in one transaction: they are durable together, which is why many callers share one flush.
fn write_all(connection: &mut Connection, batches: &mut dyn Iterator<Item = &Batch>) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::Failed(error.to_string());
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    let mut wrote = false;
    for record in batches.flat_map(|batch| &batch.records) {
        write(&transaction, record).map_err(failed)?;
        wrote = true;
    }
    if wrote { transaction.commit().map_err(failed) } else { Ok(()) }
}

fn write(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Account(account) => write_account(transaction, account),
        Record::Transfer(record) => write_transfer(transaction, record),
        Record::Authorization(record) => write_authorization(transaction, record),
        Record::Usage(record) => transaction
            .prepare_cached("INSERT OR IGNORE INTO usage (transaction_id, key, received_at_unix_nanos, report, xml) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                record.report.key.transaction.cast_signed(),
                to_json(&record.report.key)?,
                record.report.received_at.unix_nanos().cast_signed(),
                to_json(&record.report)?,
                record.xml,
            ])
            .map(drop),
        Record::Cdr(record) => write_cdr(transaction, record),
        Record::Certificate(record) => transaction
            .prepare_cached("INSERT OR REPLACE INTO certificates VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                record.serial,
                record.customer,
                record.device,
                record.der,
                record.issued_at_unix_nanos.cast_signed(),
                record.revoked_at_unix_nanos.map(u64::cast_signed),
            ])
            .map(drop),
        Record::Authority(record) => transaction
            .prepare_cached("INSERT OR REPLACE INTO authority (one, certificate, key) VALUES (1, ?1, ?2)")?
            .execute(params![record.certificate, record.key])
            .map(drop),
        Record::Audit(record) => transaction
            .prepare_cached("INSERT INTO audit (at_unix_nanos, what, transaction_id, detail) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                record.at_unix_nanos.cast_signed(),
                record.what,
                record.transaction.map(u64::cast_signed),
                record.detail
            ])
            .map(drop),
    }
}

fn write_account(transaction: &Transaction<'_>, account: &Account) -> rusqlite::Result<()> {
    let kind = match account.kind {
        AccountKind::Customer => "customer",
        AccountKind::House => "house",
        AccountKind::Bank => "bank",
    };
    transaction
        .prepare_cached(
            "INSERT INTO accounts VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, credit_limit_nanos = excluded.credit_limit_nanos",
        )?
        .execute(params![
            account.id.0.cast_signed(),
            account.name,
            account.currency.as_str(),
            kind,
            account.credit_limit_nanos
        ])
        .map(drop)
}

fn write_transfer(transaction: &Transaction<'_>, record: &TransferRecord) -> rusqlite::Result<()> {
    let transfer = &record.transfer;
    let (kind, expires) = match transfer.kind {
        TransferKind::Direct => ("direct", None),
        TransferKind::Pending { expires } => ("pending", expires),
        TransferKind::Post { .. } => ("post", None),
        TransferKind::Void { .. } => ("void", None),
        TransferKind::TimeOut { .. } => ("time-out", None),
    };
    // no "or ignore": a sequence or identifier twice is a fault of ours, and stops the store
    transaction
        .prepare_cached("INSERT INTO transfers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)")?
        .execute(params![
            record.sequence.cast_signed(),
            record.group.cast_signed(),
            record.group_size,
            record.at.unix_nanos().cast_signed(),
            transfer.id.0.to_be_bytes(),
            transfer.debit.0.cast_signed(),
            transfer.credit.0.cast_signed(),
            transfer.amount.nanos,
            transfer.amount.currency.as_str(),
            kind,
            transfer.kind.pending().map(|id| id.0.to_be_bytes()),
            expires.map(|at| at.unix_nanos().cast_signed()),
            transfer.code,
            transfer.reference.cast_signed(),
        ])
        .map(drop)
}

fn write_authorization(transaction: &Transaction<'_>, record: &AuthorizationRecord) -> rusqlite::Result<()> {
    let state = match record.state {
        AuthorizationState::Open => "open",
        AuthorizationState::Closed => "closed",
    };
    transaction
        .prepare_cached("INSERT OR REPLACE INTO authorizations VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            record.call.transaction.cast_signed(),
            state,
            record.call.source.customer,
            record.call.source.device,
            record.call.at.unix_nanos().cast_signed(),
            to_json(record)?,
        ])
        .map(drop)
}

fn write_cdr(transaction: &Transaction<'_>, record: &CdrRecord) -> rusqlite::Result<()> {
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let cdr = &record.cdr;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO cdrs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            cdr.transaction.cast_signed(),
            cdr.closed_at.unix_nanos().cast_signed(),
            word(&serde_json::json!(cdr.state)),
            word(&serde_json::json!(record.outcome)),
            cdr.source.customer,
            cdr.destination.as_ref().map(|party| party.customer.as_str()),
            to_json(record)?,
        ])
        .map(drop)
}

fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
