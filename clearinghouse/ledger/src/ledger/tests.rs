//! Would catch: money made or lost, half groups, double application, overdrafts by a hair, wrong states after an end, and a ledger that
//! restores to something else than it was.

use super::*;
use crate::account::AccountKind;
use crate::money::Money;
use proptest::prelude::*;

const CALLER: AccountId = AccountId(1);
const HOUSE: AccountId = AccountId(2);
const CARRIER: AccountId = AccountId(3);
const EURO: AccountId = AccountId(4);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + seconds)
}

fn accounts() -> Vec<Account> {
    let account = |id: AccountId, kind, currency, limit| Account {
        id,
        name: format!("account {id}"),
        currency,
        kind,
        credit_limit_nanos: limit,
    };
    vec![
        account(CALLER, AccountKind::Customer, Currency::USD, Some(100)),
        account(HOUSE, AccountKind::House, Currency::USD, None),
        account(CARRIER, AccountKind::Customer, Currency::USD, Some(0)),
        account(EURO, AccountKind::Customer, Currency::EUR, None),
    ]
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(Limits::default());
    for account in accounts() {
        ledger.open(account).unwrap();
    }
    ledger
}

fn transfer(id: u128, debit: AccountId, credit: AccountId, nanos: i64, kind: TransferKind) -> Transfer {
    let amount = Money::from_nanos(nanos, Currency::USD);
    Transfer { id: TransferId(id), debit, credit, amount, kind, code: 7, reference: 9 }
}

fn pending(id: u128, nanos: i64) -> Transfer {
    transfer(id, CALLER, HOUSE, nanos, TransferKind::Pending { expires: Some(at(60)) })
}

fn post(id: u128, of: u128, nanos: i64) -> Transfer {
    transfer(id, CALLER, HOUSE, nanos, TransferKind::Post { pending: TransferId(of) })
}

fn void(id: u128, of: u128, nanos: i64) -> Transfer {
    transfer(id, CALLER, HOUSE, nanos, TransferKind::Void { pending: TransferId(of) })
}

fn why(result: Result<Applied, Refusal>) -> Why {
    result.unwrap_err().why
}

#[test]
fn pending_then_posted_in_part_releases_the_rest() {
    let mut ledger = ledger();
    ledger.apply(at(0), &[pending(1, 80)]).unwrap();
    assert_eq!(ledger.available_nanos(CALLER), Some(20));
    assert_eq!(ledger.account(HOUSE).unwrap().1.pending_credits_nanos, 80);
    ledger.apply(at(1), &[post(2, 1, 30)]).unwrap();
    assert_eq!(ledger.available_nanos(CALLER), Some(70));
    assert_eq!(ledger.account(HOUSE).unwrap().1.posted_nanos, 30);
    assert_eq!(ledger.pending_state(TransferId(1)), Some(PendingState::Posted { amount_nanos: 30 }));
    assert_eq!(ledger.next_deadline(), None);
    ledger.prove().unwrap();
}

#[test]
fn the_credit_limit_holds_to_the_billionth() {
    let mut ledger = ledger();
    assert_eq!(why(ledger.apply(at(0), &[pending(1, 101)])), Why::InsufficientFunds { available_nanos: 100 });
    ledger.apply(at(0), &[pending(1, 60)]).unwrap();
    // reserved money counts: a second call cannot race for it
    assert_eq!(why(ledger.apply(at(0), &[pending(2, 41)])), Why::InsufficientFunds { available_nanos: 40 });
    ledger.apply(at(0), &[pending(2, 40)]).unwrap();
    assert_eq!(
        why(ledger.apply(at(0), &[transfer(3, CALLER, CARRIER, 1, TransferKind::Direct)])),
        Why::InsufficientFunds { available_nanos: 0 }
    );
}

#[test]
fn money_on_its_way_in_cannot_be_spent() {
    let mut ledger = ledger();
    ledger.apply(at(0), &[transfer(1, HOUSE, CARRIER, 50, TransferKind::Pending { expires: None })]).unwrap();
    assert_eq!(ledger.available_nanos(CARRIER), Some(0));
    assert!(ledger.apply(at(0), &[transfer(2, CARRIER, HOUSE, 1, TransferKind::Direct)]).is_err());
}

#[test]
fn posting_more_than_reserved_is_refused_and_exactly_as_much_is_not() {
    let mut ledger = ledger();
    ledger.apply(at(0), &[pending(1, 80)]).unwrap();
    assert_eq!(why(ledger.apply(at(1), &[post(2, 1, 81)])), Why::AmountDiffers { pending_nanos: 80 });
    assert_eq!(why(ledger.apply(at(1), &[void(2, 1, 79)])), Why::AmountDiffers { pending_nanos: 80 });
    ledger.apply(at(1), &[post(2, 1, 80)]).unwrap();
    assert_eq!(
        why(ledger.apply(at(1), &[void(3, 1, 80)])),
        Why::PendingEnded(PendingState::Posted { amount_nanos: 80 })
    );
}

#[test]
fn an_identifier_is_applied_once() {
    let mut ledger = ledger();
    assert!(matches!(ledger.apply(at(0), &[pending(1, 10)]), Ok(Applied::New(_))));
    // a later retry is the same transfer, though the clock moved on
    assert_eq!(ledger.apply(at(5), &[pending(1, 10)]), Ok(Applied::Before));
    assert_eq!(why(ledger.apply(at(5), &[pending(1, 11)])), Why::IdentifierReused);
    ledger.apply(at(5), &[void(2, 1, 10)]).unwrap();
    assert_eq!(ledger.apply(at(70), &[pending(1, 10)]), Ok(Applied::Before), "ended ones too");
    assert_eq!(ledger.apply(at(70), &[void(2, 1, 10)]), Ok(Applied::Before));
    assert_eq!(ledger.sequence(), 2);
}

#[test]
fn a_group_is_all_or_nothing() {
    let mut ledger = ledger();
    ledger.apply(at(0), &[pending(1, 80)]).unwrap();
    let before = ledger.clone();
    let spoiled = [
        post(2, 1, 30),
        transfer(3, HOUSE, CARRIER, 20, TransferKind::Direct),
        pending(4, 70),
        transfer(5, CARRIER, HOUSE, 21, TransferKind::Direct),
    ];
    let refusal = ledger.apply(at(1), &spoiled).unwrap_err();
    assert_eq!((refusal.index, refusal.why), (3, Why::InsufficientFunds { available_nanos: 20 }));
    assert_eq!(ledger.accounts, before.accounts);
    assert_eq!(ledger.expiries, before.expiries);
    assert_eq!(ledger.pending_state(TransferId(1)), Some(PendingState::Pending));
    assert_eq!(ledger.sequence(), 1);
    let good = &spoiled[..3];
    let records = ledger.apply(at(1), good).unwrap().into_records();
    assert!(records.iter().all(|record| record.group == 2 && record.group_size == 3));
    assert_eq!(ledger.apply(at(2), good), Ok(Applied::Before));
    assert_eq!(
        why(ledger
            .apply(at(2), &good[..2])
            .map(|_| Applied::New(vec![]))
            .and(ledger.apply(at(2), &[good[0], pending(9, 1)]))),
        Why::GroupDiffers
    );
    assert_eq!(why(ledger.apply(at(2), &[pending(9, 1), good[0]])), Why::GroupDiffers);
}

#[test]
fn a_group_may_not_name_one_identifier_twice() {
    let mut ledger = ledger();
    assert_eq!(why(ledger.apply(at(0), &[pending(1, 10), pending(1, 10)])), Why::IdentifierReused);
    assert_eq!(ledger.available_nanos(CALLER), Some(100));
}

#[test]
fn group_sizes_just_inside_and_just_outside() {
    let mut ledger = ledger();
    let group: Vec<Transfer> = (1..=65).map(|id| pending(id, 1)).collect();
    assert_eq!(why(ledger.apply(at(0), &group)), Why::GroupSize);
    assert_eq!(why(ledger.apply(at(0), &[])), Why::GroupSize);
    ledger.apply(at(0), &group[..MAXIMUM_GROUP]).unwrap();
}

#[test]
fn expired_money_is_released_and_cannot_be_posted() {
    let mut ledger = ledger();
    ledger.apply(at(0), &[pending(1, 80)]).unwrap();
    assert_eq!(ledger.expire(at(59), 10), vec![]);
    assert_eq!(why(ledger.apply(at(60), &[post(2, 1, 80)])), Why::PendingExpired, "even before the sweep");
    let records = ledger.expire(at(60), 10);
    assert_eq!(records.len(), 1);
    assert_eq!(ledger.available_nanos(CALLER), Some(100));
    assert_eq!(ledger.pending_state(TransferId(1)), Some(PendingState::TimedOut));
    assert_eq!(why(ledger.apply(at(61), &[post(2, 1, 80)])), Why::PendingEnded(PendingState::TimedOut));
    assert_eq!(ledger.expire(at(61), 10), vec![]);
    ledger.prove().unwrap();
}

#[test]
fn malformed_transfers_are_refused() {
    let mut ledger = ledger();
    let direct = TransferKind::Direct;
    let cases = [
        (transfer(1, CALLER, CALLER, 1, direct), Why::SameAccount),
        (transfer(1, CALLER, HOUSE, 0, direct), Why::AmountNotPositive),
        (transfer(1, CALLER, HOUSE, -1, direct), Why::AmountNotPositive),
        (transfer(1, CALLER, AccountId(99), 1, direct), Why::NoAccount(AccountId(99))),
        (transfer(1, CALLER, EURO, 1, direct), Why::CurrencyDiffers(Currency::EUR)),
        (transfer(1 << 127, CALLER, HOUSE, 1, direct), Why::IdentifierReserved),
        (post(1, 55, 1), Why::NoPending),
        (pending(1, 1), Why::ExpiresInThePast),
        (transfer(1, CALLER, HOUSE, 1, TransferKind::TimeOut { pending: TransferId(5) }), Why::TimeOutByCaller),
    ];
    for (transfer, expected) in cases {
        assert_eq!(why(ledger.apply(at(60), &[transfer])), expected);
    }
    assert_eq!(ledger.sequence(), 0);
}

#[test]
fn a_pending_between_other_accounts_is_not_theirs_to_end() {
    let mut ledger = ledger();
    ledger.apply(at(0), &[pending(1, 10)]).unwrap();
    let foreign = transfer(2, CARRIER, HOUSE, 10, TransferKind::Post { pending: TransferId(1) });
    assert_eq!(why(ledger.apply(at(1), &[foreign])), Why::PendingDiffers);
}

#[test]
fn balances_do_not_wrap() {
    let mut ledger = ledger();
    let all = transfer(1, HOUSE, CARRIER, i64::MAX, TransferKind::Direct);
    ledger.apply(at(0), &[all]).unwrap();
    assert_eq!(why(ledger.apply(at(0), &[transfer(2, HOUSE, CARRIER, 1, TransferKind::Direct)])), Why::Overflow);
    ledger.prove().unwrap();
}

#[test]
fn full_is_typed_just_outside() {
    let mut ledger = Ledger::new(Limits { accounts: 3, transfers: 2 });
    let mut open = accounts();
    let fourth = open.pop().unwrap();
    open.into_iter().for_each(|account| ledger.open(account).unwrap());
    assert_eq!(ledger.open(fourth), Err(Why::Full));
    ledger.apply(at(0), &[pending(1, 1), pending(2, 1)]).unwrap();
    assert_eq!(why(ledger.apply(at(0), &[pending(3, 1)])), Why::Full);
    // time-outs always fit: reserved money never gets stuck
    assert_eq!(ledger.expire(at(60), 10).len(), 2);
}

#[test]
fn a_damaged_history_is_found() {
    let mut ledger = ledger();
    let mut records = ledger.apply(at(0), &[pending(1, 80)]).unwrap().into_records();
    let group = [post(2, 1, 30), transfer(3, HOUSE, CARRIER, 20, TransferKind::Direct)];
    records.extend(ledger.apply(at(1), &group).unwrap().into_records());
    let restore = |records: Vec<Record>| Ledger::restore(Limits::default(), accounts(), records);
    assert!(restore(records.clone()).is_ok());
    assert!(matches!(restore(records[..2].to_vec()), Err(Imbalance::HalfGroup(2))));
    assert!(matches!(restore(vec![records[0], records[2]]), Err(Imbalance::Sequence { .. })));
    let mut altered = records.clone();
    altered[1].transfer.amount.nanos = 81;
    assert!(matches!(restore(altered), Err(Imbalance::Refused(_))));
}

#[derive(Clone, Debug)]
enum Operation {
    Pending { account: u64, nanos: i64, expires_in: u64 },
    Direct { from: u64, to: u64, nanos: i64 },
    Post { which: usize, nanos: i64 },
    Void { which: usize },
    Settle { which: usize, nanos: i64, cost: i64 },
    Again { which: usize },
    Wait { seconds: u64 },
    Expire,
}

fn operation() -> impl Strategy<Value = Operation> {
    let nanos = 1..150i64;
    prop_oneof![
        (1..4u64, nanos.clone(), 1..100u64).prop_map(|(account, nanos, expires_in)| Operation::Pending {
            account,
            nanos,
            expires_in
        }),
        (1..4u64, 1..4u64, nanos.clone()).prop_map(|(from, to, nanos)| Operation::Direct { from, to, nanos }),
        (0..20usize, nanos.clone()).prop_map(|(which, nanos)| Operation::Post { which, nanos }),
        (0..20usize).prop_map(|which| Operation::Void { which }),
        (0..20usize, nanos.clone(), nanos).prop_map(|(which, nanos, cost)| Operation::Settle { which, nanos, cost }),
        (0..40usize).prop_map(|which| Operation::Again { which }),
        (1..50u64).prop_map(|seconds| Operation::Wait { seconds }),
        Just(Operation::Expire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever is asked in whatever order: sums of zero, no overdraft, nothing applied twice, and the records rebuild the same ledger.
    #[test]
    fn any_history_balances(operations in prop::collection::vec(operation(), 0..80)) {
        let mut ledger = ledger();
        let (mut records, mut asked, mut pendings) = (Vec::<Record>::new(), Vec::<Vec<Transfer>>::new(), Vec::<Transfer>::new());
        let (mut now, mut next) = (0, 1u128);
        for operation in operations {
            let mut id = || { next += 1; next };
            let group = match operation {
                Operation::Pending { account, nanos, expires_in } => {
                    let credit = if account == HOUSE.0 { CALLER } else { HOUSE };
                    let kind = TransferKind::Pending { expires: Some(at(now + expires_in)) };
                    let transfer = transfer(id(), AccountId(account), credit, nanos, kind);
                    pendings.push(transfer);
                    vec![transfer]
                }
                Operation::Direct { from, to, nanos } => vec![transfer(id(), AccountId(from), AccountId(to), nanos, TransferKind::Direct)],
                Operation::Post { which, nanos } => match pendings.get(which) {
                    Some(p) => vec![Transfer { id: TransferId(id()), kind: TransferKind::Post { pending: p.id }, amount: Money { nanos, ..p.amount }, ..*p }],
                    None => continue,
                },
                Operation::Void { which } => match pendings.get(which) {
                    Some(p) => vec![Transfer { id: TransferId(id()), kind: TransferKind::Void { pending: p.id }, ..*p }],
                    None => continue,
                },
                Operation::Settle { which, nanos, cost } => match pendings.get(which) {
                    Some(p) => vec![
                        Transfer { id: TransferId(id()), kind: TransferKind::Post { pending: p.id }, amount: Money { nanos, ..p.amount }, ..*p },
                        transfer(id(), HOUSE, CARRIER, cost, TransferKind::Direct),
                        transfer(id(), CARRIER, CALLER, cost, TransferKind::Direct),
                    ],
                    None => continue,
                },
                Operation::Again { which } => match asked.get(which) {
                    Some(group) => group.clone(),
                    None => continue,
                },
                Operation::Wait { seconds } => { now += seconds; continue }
                Operation::Expire => { records.extend(ledger.expire(at(now), 100)); ledger.prove().unwrap(); continue }
            };
            let sequence = ledger.sequence();
            let known = group.iter().all(|transfer| ledger.transfer(transfer.id).is_some());
            match ledger.apply(at(now), &group) {
                Ok(Applied::New(new)) => { prop_assert!(!known); records.extend(new); }
                Ok(Applied::Before) => { prop_assert!(known); prop_assert_eq!(ledger.sequence(), sequence); }
                Err(_) => prop_assert_eq!(ledger.sequence(), sequence),
            }
            asked.push(group);
            prop_assert_eq!(ledger.prove(), Ok(()));
            for (account, _) in ledger.accounts() {
                prop_assert!(ledger.available_nanos(account.id).is_none_or(|available| available >= 0));
            }
        }
        let restored = Ledger::restore(Limits::default(), accounts(), records).unwrap();
        for (account, balance) in ledger.accounts() {
            prop_assert_eq!(restored.account(account.id).unwrap().1, balance);
        }
        prop_assert_eq!(restored.sequence(), ledger.sequence());
        prop_assert_eq!(restored.next_deadline(), ledger.next_deadline());
    }
}
