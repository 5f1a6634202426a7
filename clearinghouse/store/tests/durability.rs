//! Would catch: an answer before the disk, half a group after `kill -9`, a record that reads back differently, a newer file opened as an older one.
#![allow(clippy::unwrap_used)] // tests: helpers outside #[test] functions too

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strowger_cdr::{
    AuthorizedCall, Candidate, Cdr, CdrState, DurationRule, Party, Report, ReportKey, ReportState, Role,
};
use strowger_clock::Timestamp;
use strowger_ledger::{
    Account, AccountId, AccountKind, Currency, Ledger, Limits, Money, Transfer, TransferId, TransferKind,
};
use strowger_rating::Tariff;
use strowger_store::{
    AuditRecord, AuthorityRecord, AuthorizationRecord, AuthorizationState, CandidateRecord, CdrRecord,
    CertificateRecord, DroppedRecord, Outcome, Page, Record, Sqlite, Store, StoreError, UsageRecord,
};

const FILE: &str = "STROWGER_STORE_TEST_FILE";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("strowger-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }
    fn file(&self) -> PathBuf {
        self.0.join("store.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + seconds)
}

fn accounts() -> Vec<Account> {
    let account = |id, name: &str, kind, limit| Account {
        id: AccountId(id),
        name: name.into(),
        currency: Currency::USD,
        kind,
        credit_limit_nanos: limit,
    };
    vec![
        account(1, "bank", AccountKind::Bank, None),
        account(2, "house", AccountKind::House, None),
        account(3, "1000", AccountKind::Customer, Some(5)),
    ]
}

fn transfer(id: u128, kind: TransferKind) -> Transfer {
    let amount = Money::from_nanos(10, Currency::USD);
    Transfer {
        id: TransferId(id),
        debit: AccountId(1),
        credit: AccountId(2),
        amount,
        kind,
        code: 3,
        reference: u64::MAX >> 1,
    }
}

fn restored(file: &Path) -> Ledger {
    let contents = Sqlite::open(file).unwrap().contents().unwrap();
    Ledger::restore(Limits::default(), contents.accounts, contents.transfers).unwrap()
}

/// Not a test by itself: the process that is killed. Writes groups as fast as it can and says what is durable.
#[test]
fn child_that_is_killed() {
    let Ok(file) = std::env::var(FILE) else { return };
    let store = Sqlite::open(Path::new(&file)).unwrap();
    let contents = store.contents().unwrap();
    let first = contents.accounts.is_empty();
    let accounts = if first { accounts() } else { contents.accounts };
    let mut ledger = Ledger::restore(Limits::default(), accounts.clone(), contents.transfers).unwrap();
    store.reserve().unwrap().commit(accounts.into_iter().map(Record::Account).collect::<Vec<_>>()).wait().unwrap();
    loop {
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let id = u128::from(ledger.sequence()) * 10;
            let pending = TransferKind::Pending { expires: None };
            let mut records = ledger.apply(at(0), &[transfer(id, pending)]).unwrap().into_records();
            let group = [
                transfer(id + 1, TransferKind::Post { pending: TransferId(id) }),
                transfer(id + 2, TransferKind::Direct),
                transfer(id + 3, TransferKind::Direct),
            ];
            records.extend(ledger.apply(at(0), &group).unwrap().into_records());
            waiting
                .push(store.reserve().unwrap().commit(records.into_iter().map(Record::Transfer).collect::<Vec<_>>()));
        }
        waiting.into_iter().for_each(|durable| durable.wait().unwrap());
        println!("durable {}", ledger.sequence());
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let folder = Folder::new("kill");
    let mut before = 0;
    for round in 0..3u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(FILE, folder.file())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut seen = 0;
        while seen < 5 + round * 3 {
            let line = lines.next().unwrap().unwrap();
            if let Some(sequence) = line.split_once("durable ").and_then(|(_, number)| number.parse().ok()) {
                (acknowledged, seen) = (sequence, seen + 1);
            }
        }
        // mid-write: nothing tells the child
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(sequence) = line.split_once("durable ").and_then(|(_, number)| number.parse().ok()) {
                acknowledged = sequence;
            }
        }
        let ledger = restored(&folder.file());
        assert!(ledger.sequence() >= acknowledged && acknowledged > before, "{} < {acknowledged}", ledger.sequence());
        assert!(ledger.sums().iter().all(|sums| sums.posted_nanos == 0 && sums.pending_nanos == 0));
        ledger.prove().unwrap();
        before = ledger.sequence();
    }
}

fn party(device: &str) -> Party {
    Party { customer: "1000".into(), device: device.into() }
}

fn authorization(transaction: u64, state: AuthorizationState) -> AuthorizationRecord {
    AuthorizationRecord {
        call: AuthorizedCall {
            transaction,
            calling: "1404".into(),
            called: "1212".into(),
            source: party("p"),
            candidates: vec![Candidate { party: party("g"), address: "127.0.0.1:5070".into() }],
            at: at(1),
            expires: at(900),
        },
        candidates: vec![CandidateRecord {
            sell: Tariff::per_minute(i64::MAX, Currency::USD),
            cost: Tariff::per_minute(1, Currency::EUR),
            nonce: "n".into(),
            call_id: vec![0, 255],
            prefix: "1".into(),
            why: "cheap".into(),
        }],
        dropped: vec![DroppedRecord { prefix: "1".into(), device: "x".into(), why: "disabled".into() }],
        granted_seconds: 600,
        valid_after_unix_seconds: 1,
        valid_until_unix_seconds: 2,
        reserved: Money::from_nanos(7, Currency::USD),
        pendings: vec![TransferId(u128::MAX >> 1)],
        state,
    }
}

fn usage(transaction: u64, seconds: u64) -> UsageRecord {
    let key = ReportKey {
        customer: "1000".into(),
        device: "p".into(),
        transaction,
        role: Role::Source,
        call_id: vec![1, 2],
        destination: "x".into(),
        attempt: 1,
        state: ReportState::Stop,
        interim_seconds: 0,
    };
    let report = Report {
        key,
        received_at: at(5),
        calling: "1404".into(),
        called: "1212".into(),
        destination_address: None,
        total_attempts: Some(1),
        duration_seconds: seconds,
        cause: Some(16),
        sip_status: None,
        start: Some(at(2)),
        alert: None,
        connect: Some(at(3)),
        end: None,
        release_source: None,
    };
    UsageRecord { report, xml: "<x/>".into() }
}

fn cdr(transaction: u64, outcome: Outcome) -> CdrRecord {
    let cdr = Cdr {
        transaction,
        call_id: vec![9],
        calling: "1404".into(),
        called: "1212".into(),
        source: party("p"),
        destination: Some(party("g")),
        start: None,
        alert: None,
        connect: None,
        end: None,
        source_seconds: Some(1),
        destination_seconds: None,
        rated_seconds: 1,
        rule: DurationRule::Shorter,
        cause: Some(16),
        disagreement: false,
        difference_seconds: None,
        state: CdrState::OneSided,
        attempts: vec![],
        closed_at: at(9),
    };
    let money = Money::from_nanos(3, Currency::USD);
    CdrRecord { cdr, sell: money, cost: money, outcome, beyond_grant: false }
}

#[test]
fn everything_reads_back_after_a_restart() {
    let folder = Folder::new("restart");
    let mut ledger = Ledger::new(Limits::default());
    accounts().into_iter().for_each(|account| ledger.open(account).unwrap());
    let mut transfers = ledger
        .apply(
            at(0),
            &[transfer(1, TransferKind::Pending { expires: Some(at(50)) }), transfer(2, TransferKind::Direct)],
        )
        .unwrap()
        .into_records();
    transfers
        .extend(ledger.apply(at(1), &[transfer(3, TransferKind::Pending { expires: None })]).unwrap().into_records());
    transfers.extend(
        ledger.apply(at(1), &[transfer(4, TransferKind::Void { pending: TransferId(3) })]).unwrap().into_records(),
    );
    transfers.extend(ledger.expire(at(50), 1));
    let authority = AuthorityRecord { certificate: vec![1], key: vec![2] };
    let certificate = CertificateRecord {
        serial: "0a".into(),
        customer: "1000".into(),
        device: "g".into(),
        der: vec![3],
        issued_at_unix_nanos: 4,
        revoked_at_unix_nanos: None,
    };
    let audit =
        AuditRecord { sequence: 0, at_unix_nanos: 5, what: "w".into(), transaction: Some(7), detail: "d".into() };
    {
        let store = Sqlite::open(&folder.file()).unwrap();
        let mut records: Vec<Record> = accounts().into_iter().map(Record::Account).collect();
        records.extend(transfers.iter().copied().map(Record::Transfer));
        records.push(Record::Authorization(authorization(7, AuthorizationState::Open)));
        records.push(Record::Authorization(authorization(8, AuthorizationState::Open)));
        records.push(Record::Authorization(authorization(8, AuthorizationState::Closed)));
        records.extend([usage(7, 10), usage(8, 10)].map(Record::Usage));
        records.push(Record::Cdr(cdr(8, Outcome::Uncollected)));
        records.push(Record::Cdr(cdr(8, Outcome::Posted)));
        records.push(Record::Authority(authority.clone()));
        records.push(Record::Certificate(certificate.clone()));
        records.push(Record::Audit(audit.clone()));
        store.reserve().unwrap().commit(records).wait().unwrap();
        // the same key with other content: the first stays
        store.reserve().unwrap().commit(vec![Record::Usage(usage(7, 99))]).wait().unwrap();
    }
    let store = Sqlite::open(&folder.file()).unwrap();
    let contents = store.contents().unwrap();
    assert_eq!(contents.accounts, accounts());
    assert_eq!(contents.transfers, transfers);
    assert_eq!(contents.open, [authorization(7, AuthorizationState::Open)]);
    assert_eq!(contents.usage, [usage(7, 10)]);
    assert_eq!(contents.last_transaction, 8);
    assert_eq!(contents.authority, Some(authority));
    let page = Page::newest(10);
    assert_eq!(store.transfers(page).unwrap().first(), transfers.last());
    assert_eq!(store.transfers(Page { before: Some(2), entries: 10 }).unwrap(), [transfers[0]]);
    assert_eq!(store.authorizations(page).unwrap().len(), 2);
    assert_eq!(store.authorization(8).unwrap(), Some(authorization(8, AuthorizationState::Closed)));
    assert_eq!(store.authorization(9).unwrap(), None);
    assert_eq!(store.cdrs(page).unwrap(), [cdr(8, Outcome::Posted)]);
    assert_eq!(store.cdr(8).unwrap(), Some(cdr(8, Outcome::Posted)));
    assert_eq!(store.usage(8).unwrap(), [usage(8, 10)]);
    assert_eq!(store.certificates().unwrap(), [certificate]);
    assert_eq!(store.audit(page).unwrap(), [AuditRecord { sequence: 1, ..audit }]);
    assert_eq!(store.transfers(Page::newest(0)).unwrap(), []);
    let again = Ledger::restore(Limits::default(), contents.accounts, contents.transfers).unwrap();
    assert_eq!(again.account(AccountId(2)).unwrap().1, ledger.account(AccountId(2)).unwrap().1);
}

#[test]
fn a_batch_is_kept_in_full_or_not_at_all() {
    let folder = Folder::new("batch");
    let store = Sqlite::open(&folder.file()).unwrap();
    let mut ledger = Ledger::new(Limits::default());
    accounts().into_iter().for_each(|account| ledger.open(account).unwrap());
    let record = ledger.apply(at(0), &[transfer(1, TransferKind::Direct)]).unwrap().into_records()[0];
    let mut second = record;
    second.sequence = 2;
    // the second has the identifier of the first: a fault that must stop the store, and leave neither
    let batch = vec![Record::Transfer(record), Record::Transfer(second)];
    assert!(matches!(store.reserve().unwrap().commit(batch).wait(), Err(StoreError::Failed(_))));
    assert!(matches!(store.reserve().err(), Some(StoreError::Failed(_))));
    assert_eq!(store.contents().unwrap().transfers, []);
}

#[test]
fn a_newer_file_is_not_touched() {
    let folder = Folder::new("newer");
    drop(Sqlite::open(&folder.file()).unwrap());
    rusqlite::Connection::open(folder.file()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Sqlite::open(&folder.file()).err(), Some(StoreError::Newer { found: 99, .. })));
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    drop(Sqlite::open(&folder.file()).unwrap());
    assert_eq!(std::fs::metadata(folder.file()).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_missing_folder_is_one_clear_sentence() {
    let folder = Folder::new("missing");
    let error = Sqlite::open(&folder.0.join("not-there/store.db")).err().unwrap().to_string();
    assert!(error.contains("store.db") && error.contains("No such file"), "{error}");
}
