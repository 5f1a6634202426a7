//! Opening the books.

use crate::books::{AuditRate, Books, code, opening_id};
use crate::config::{ClearinghouseConfig, ConfigError};
use crate::{Clearinghouse, Clock, EVENTS_BUFFERED};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strowger_cdr::{Matcher, MatcherConfig};
use strowger_clock::{Random, Timestamp};
use strowger_enrollment::{Authority, AuthorityError, Revocations, serial_and_expiry};
use strowger_ledger::{
    Account, AccountId, AccountKind, Currency, Imbalance, Ledger, Limits, Money, Refusal, Transfer, TransferKind, Why,
};
use strowger_routing::Health;
use strowger_store::{AuthorityRecord, Batch, CertificateRecord, Contents, Record, Store, StoreError};
use strowger_token::{KeyError, Signer, Verifier, VerifyingKey};
use tokio::sync::broadcast;

/// How long the authority's certificate is valid.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why the clearinghouse cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store does not serve.
    #[error("clearinghouse: {0}")]
    Store(#[from] StoreError),
    /// The stored books do not balance: restore the store from a backup.
    #[error("clearinghouse: the stored books do not balance, restore them from a backup: {0}")]
    Imbalance(#[from] Imbalance),
    /// An account cannot be opened.
    #[error("clearinghouse: account {name:?}: {why}")]
    Account {
        /// The customer or `house`.
        name: String,
        /// Why not.
        why: Why,
    },
    /// An opening deposit is refused.
    #[error("clearinghouse: opening deposit: {0}")]
    Deposit(#[from] Refusal),
    /// The authority's key cannot be made or read.
    #[error("clearinghouse: {0}")]
    Authority(#[from] AuthorityError),
    /// The authority's key does not sign tokens.
    #[error("clearinghouse: the authority's key: {0}")]
    Key(#[from] KeyError),
    /// The system gives no randomness.
    #[error("clearinghouse: the system gives no randomness")]
    Randomness,
}

pub(crate) async fn open(
    config: ClearinghouseConfig,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Result<Clearinghouse, OpenError> {
    let table = config.table()?;
    let reading = Arc::clone(&store);
    let read = move || Ok::<_, StoreError>((reading.contents()?, reading.certificates()?));
    let (contents, certificates) =
        tokio::task::spawn_blocking(read).await.map_err(|error| StoreError::Unreadable(error.to_string()))??;
    let now = clock.timestamp();
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|_| OpenError::Randomness)?;
    let mut random = Random::from_key(key);
    let mut batch = Batch::default();

    let (authority, certificate, pkcs8) = authority(&contents, now, &mut random, &mut batch)?;
    let signer = Signer::from_pkcs8(&pkcs8, &certificate)?;
    let verifier = Verifier::new(vec![VerifyingKey::from_certificate(&certificate)?]);
    let mut books = books(&config, contents, now, random, &mut batch)?;
    books.revocations = revocations(&certificates, now);
    store.reserve()?.commit(batch).await?;
    let (events, _) = broadcast::channel(EVENTS_BUFFERED);
    let books = Mutex::new(books);
    Ok(Clearinghouse { config, table, store, books, clock, authority, signer, verifier, events })
}

fn authority(
    contents: &Contents,
    now: Timestamp,
    random: &mut Random,
    batch: &mut Batch,
) -> Result<(Authority, Vec<u8>, Vec<u8>), OpenError> {
    if let Some(kept) = &contents.authority {
        let authority = Authority::from_der(&kept.key, &kept.certificate)?;
        return Ok((authority, kept.certificate.clone(), kept.key.clone()));
    }
    let mut serial = [0; 16];
    random.fill(&mut serial);
    // a day earlier than now: devices' clocks differ
    let valid_from = now.saturating_sub(Duration::from_secs(24 * 3600));
    let authority = Authority::create("Strowger", "Strowger clearinghouse", valid_from, AUTHORITY_VALIDITY, serial)?;
    let (certificate, key) = (authority.certificate().to_vec(), authority.key_pkcs8());
    batch.records.push(Record::Authority(AuthorityRecord { certificate: certificate.clone(), key: key.clone() }));
    Ok((authority, certificate, key))
}

/// What was revoked and has not expired by itself.
fn revocations(certificates: &[CertificateRecord], now: Timestamp) -> Revocations {
    let mut revocations = Revocations::default();
    for certificate in certificates.iter().filter(|certificate| certificate.revoked_at_unix_nanos.is_some()) {
        let Some((serial, valid_until)) = serial_and_expiry(&certificate.der) else { continue };
        if valid_until > now && !revocations.revoke(serial, now, valid_until) {
            tracing::error!(serial = certificate.serial, "too many certificates are revoked: this one is not refused");
        }
    }
    revocations
}

fn books(
    config: &ClearinghouseConfig,
    contents: Contents,
    now: Timestamp,
    random: Random,
    batch: &mut Batch,
) -> Result<Books, OpenError> {
    let kept = contents.accounts.clone();
    let ledger = Ledger::restore(Limits::default(), contents.accounts, contents.transfers)?;
    let mut books = Books {
        ledger,
        matcher: Matcher::new(MatcherConfig {
            match_window: Duration::from_secs(config.usage_match_seconds.into()),
            failed_window: Duration::from_secs(config.failed_match_seconds.into()),
            tolerance_seconds: config.disagreement_tolerance_seconds.into(),
            rule: config.duration_rule,
        }),
        health: Health::new(),
        open: HashMap::new(),
        accounts: HashMap::new(),
        last_transaction: contents.last_transaction,
        random,
        bills: BTreeMap::new(),
        audits: AuditRate::default(),
        revocations: Revocations::default(),
    };
    for account in &kept {
        books.accounts.insert((account.kind.into(), account.name.clone(), account.currency), account.id);
    }
    open_accounts(config, &kept, &mut books, batch)?;
    deposit(config, &mut books, now, batch)?;
    // calls that were open when the last process ended go on
    for record in contents.open {
        books.matcher.authorized(record.call.clone());
        books.open.insert(record.call.transaction, record);
    }
    for usage in contents.usage {
        books.matcher.handle(usage.report.received_at, usage.report);
    }
    Ok(books)
}

fn open_accounts(
    config: &ClearinghouseConfig,
    kept: &[Account],
    books: &mut Books,
    batch: &mut Batch,
) -> Result<(), OpenError> {
    let mut currencies = BTreeSet::from([config.currency]);
    currencies.extend(config.customers.iter().filter_map(|customer| customer.currency));
    currencies.extend(config.routes.iter().filter_map(|route| route.currency));
    let mut wanted: Vec<(AccountKind, String, Currency, Option<i64>)> = Vec::new();
    for currency in &currencies {
        wanted.push((AccountKind::Bank, "bank".into(), *currency, None));
        wanted.push((AccountKind::House, "house".into(), *currency, None));
    }
    for customer in &config.customers {
        let currency = customer.currency.unwrap_or(config.currency);
        wanted.push((AccountKind::Customer, customer.id.clone(), currency, Some(customer.credit_limit.0)));
        // a gateway is paid in the currency of its route; what it may owe there is nothing
        let owns = |device: &str| config.device(device).is_some_and(|device| device.customer == customer.id);
        let paid_in = config.routes.iter().filter(|route| owns(&route.device));
        let paid_in: BTreeSet<Currency> = paid_in.map(|route| route.currency.unwrap_or(config.currency)).collect();
        let others = paid_in.into_iter().filter(|other| *other != currency);
        wanted.extend(others.map(|other| (AccountKind::Customer, customer.id.clone(), other, Some(0))));
    }
    let mut next = kept.iter().map(|account| account.id.0).max().unwrap_or(0) + 1;
    for (kind, name, currency, credit_limit_nanos) in wanted {
        let key = (kind.into(), name.clone(), currency);
        let id = books.accounts.get(&key).copied().unwrap_or_else(|| {
            next += 1;
            AccountId(next - 1)
        });
        let account = Account { id, name: name.clone(), currency, kind, credit_limit_nanos };
        if kept.contains(&account) {
            continue;
        }
        books.ledger.open(account.clone()).map_err(|why| OpenError::Account { name, why })?;
        books.accounts.insert(key, id);
        batch.records.push(Record::Account(account));
    }
    Ok(())
}

/// Opening deposits, once per account, whatever the configuration says later.
fn deposit(
    config: &ClearinghouseConfig,
    books: &mut Books,
    now: Timestamp,
    batch: &mut Batch,
) -> Result<(), OpenError> {
    for customer in config.customers.iter().filter(|customer| customer.opening_balance.0 > 0) {
        let currency = customer.currency.unwrap_or(config.currency);
        let bank = books.accounts.get(&(AccountKind::Bank.into(), "bank".to_owned(), currency)).copied();
        let Some((debit, credit)) = bank.zip(books.customer_account(&customer.id, currency)) else { continue };
        let id = opening_id(credit);
        let amount = Money::from_nanos(customer.opening_balance.0, currency);
        if let Some(made) = books.ledger.transfer(id) {
            if made.amount != amount {
                tracing::warn!(customer = customer.id, made = %made.amount, configured = %amount, "the opening deposit was made before and stays");
            }
            continue;
        }
        let kind = TransferKind::Direct;
        let transfer = Transfer { id, debit, credit, amount, kind, code: code::OPENING, reference: 0 };
        let records = books.ledger.apply(now, &[transfer])?.into_records();
        batch.records.extend(records.into_iter().map(Record::Transfer));
    }
    Ok(())
}
