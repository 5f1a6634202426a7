//! ReauthorizationRequest: more time for a running call.

use crate::books::{code, transfer_id};
use crate::events::Event;
use crate::{Clearinghouse, Prepared, unavailable};
use strowger_cdr::Party;
use strowger_ledger::{Money, PendingState, Transfer, TransferId, TransferKind};
use strowger_osp::{Body, ReauthorizationRequest, ReauthorizationResponse, Status};
use strowger_store::Record;

/// How often one call may be extended.
const MAXIMUM_EXTENSIONS: usize = 64;

impl Clearinghouse {
    /// Grants the running call as many seconds again as the balance affords, at most the configured maximum. What was reserved is released
    /// and reserved anew with the larger amount, in one group: there is no moment without a reservation.
    pub(crate) fn reauthorize(&self, request: &ReauthorizationRequest, party: &Party) -> Result<Prepared, Status> {
        let now = self.timestamp();
        let blocked = |why: &str| Status::with_description(Status::BLOCKED, why);
        let mut books = self.books();
        let books = &mut *books;
        let slot = self.store.reserve().map_err(|error| unavailable(&error))?;
        let mut record = books
            .open
            .get(&request.transaction_id)
            .cloned()
            .ok_or_else(|| Status::with_description(Status::BAD_REQUEST, "there is no such open transaction"))?;
        let rank = self.rank_of(&record, request, party)?;
        let candidate = record.candidates.get(rank).ok_or_else(|| Status::of(Status::INTERNAL_ERROR))?;
        if record.pendings.len() > MAXIMUM_EXTENSIONS {
            return Err(blocked("the call was extended too often"));
        }
        let currency = record.reserved.currency;
        let no_account = || Status::with_description(Status::INTERNAL_ERROR, "no account");
        let payer = books.customer_account(&record.call.source.customer, currency).ok_or_else(no_account)?;
        let house = books.house_account(currency).ok_or_else(no_account)?;
        let held: Vec<TransferId> = record
            .pendings
            .iter()
            .copied()
            .filter(|id| books.ledger.pending_state(*id) == Some(PendingState::Pending))
            .collect();
        let mut group: Vec<Transfer> = Vec::new();
        let mut purse = books.ledger.available_nanos(payer).unwrap_or(i64::MAX);
        for id in held {
            let Some(reserved) = books.ledger.transfer(id) else { continue };
            purse = purse.saturating_add(reserved.amount.nanos);
            let index = u16::try_from(record.pendings.len()).unwrap_or(u16::MAX);
            let release = transfer_id(record.call.transaction, code::RELEASE, 0x100 + index);
            group.push(Transfer {
                id: release,
                kind: TransferKind::Void { pending: id },
                code: code::RELEASE,
                ..*reserved
            });
        }
        let wanted = record.granted_seconds.saturating_add(self.config.maximum_granted_seconds);
        let granted = candidate.sell.affordable_seconds(Money::from_nanos(purse, currency), wanted);
        let granted = granted.ok().filter(|granted| *granted > record.granted_seconds);
        let granted = granted.ok_or_else(|| blocked("the balance does not pay for more time"))?;
        let reserved = candidate.sell.cost(granted).map_err(|_| blocked("the price is too large"))?;
        let used = request.usage_details.iter().filter_map(|detail| detail.amount).fold(0, u64::saturating_add);
        let remaining = u64::from(granted).saturating_sub(used).max(1);
        let expires = self.reservation_expires(now, u32::try_from(remaining).unwrap_or(granted));
        if reserved.nanos > 0 {
            let index = u16::try_from(record.pendings.len()).unwrap_or(u16::MAX);
            let id = transfer_id(record.call.transaction, code::RESERVATION, index);
            let kind = TransferKind::Pending { expires: Some(expires) };
            let reference = record.call.transaction;
            let code = code::RESERVATION;
            group.push(Transfer { id, debit: payer, credit: house, amount: reserved, kind, code, reference });
            record.pendings.push(id);
        }
        let mut records = Vec::new();
        if !group.is_empty() {
            let applied = books.ledger.apply(now, &group).map_err(|refusal| blocked(&refusal.why.to_string()))?;
            records.extend(applied.into_records().into_iter().map(Record::Transfer));
        }
        record.granted_seconds = granted;
        record.reserved = reserved;
        record.call.expires = expires;
        record.valid_until_unix_seconds = now.unix_seconds().saturating_add(self.config.token_validity_seconds.into());
        if let Some(candidate) = record.candidates.get_mut(rank) {
            // a token of its own, so that the gateway does not take it for a replayed one
            candidate.nonce = books.random.alphanumeric(22);
        }
        books.matcher.extend(record.call.transaction, expires);
        books.open.insert(record.call.transaction, record.clone());
        records.push(Record::Authorization(record.clone()));
        let durable = slot.commit(records);
        let destination = self.destination(&record, rank, u32::try_from(remaining).unwrap_or(granted))?;
        let body = Body::ReauthorizationResponse(ReauthorizationResponse {
            timestamp: Some(now),
            status: Status::success(),
            transaction_id: Some(record.call.transaction),
            destinations: vec![destination],
        });
        let event = Event::Extended { transaction: record.call.transaction, granted_seconds: granted, reserved };
        Ok(Prepared { body: Some(body), durable: Some(durable), events: vec![event] })
    }

    /// Which gateway the call is with: the asking one, the one of the token in use, the one at the address named, or the best-ranked one.
    fn rank_of(
        &self,
        record: &strowger_store::AuthorizationRecord,
        request: &ReauthorizationRequest,
        party: &Party,
    ) -> Result<usize, Status> {
        let candidates = &record.call.candidates;
        let of_device = |device: &str| candidates.iter().position(|candidate| candidate.party.device == device);
        if let Some(rank) = candidates.iter().position(|candidate| candidate.party == *party) {
            return Ok(rank);
        }
        if record.call.source != *party {
            return Err(Status::with_description(Status::UNAUTHORIZED, "the device has no part in the transaction"));
        }
        let by_token = || {
            let info = self.verifier.verify(&request.tokens.first()?.0).ok()?;
            (info.transaction_id == record.call.transaction).then_some(())?;
            of_device(&info.gateway)
        };
        let by_address = || {
            let named = request.destination_alternates.iter().map(|named| crate::number::bare_address(&named.value));
            named.filter_map(|name| candidates.iter().position(|candidate| candidate.address == name)).next()
        };
        Ok(by_token().or_else(by_address).unwrap_or(0))
    }
}
