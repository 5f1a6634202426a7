//! What is installed, with the rules that keep it whole: one decision is planned, checked, then kept or undone.

use std::collections::{BTreeMap, BTreeSet};

use strowger_pib::named::NamedObject;
use strowger_pib::{Access, Class, ClassError, FrwkBaseFilter, FrwkIpFilter, GlobalError, Oid, PibError, Row, Value};

use crate::sink::Transaction;

/// Most rows a PEP keeps; about 26,000 one-way flows.
pub const INSTALLED_ROWS_MAX: usize = 131_072;

/// The rows that are in effect.
#[derive(Debug, Default)]
pub struct Installed {
    rows: BTreeMap<Oid, Row>,
    /// How many rows point at a name; a name that is pointed at cannot go.
    referrers: BTreeMap<Oid, u32>,
}

/// A decision that has been made in [`Installed`] but not yet confirmed by the sink.
#[derive(Debug)]
pub struct PlannedTransaction {
    /// What the sink has to do.
    pub transaction: Transaction,
    undo: Vec<(Oid, Option<Row>)>,
}

/// One decision's named data, already taken apart.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    removes: Vec<Removal>,
    installs: Vec<(Oid, Vec<Value>)>,
}

#[derive(Debug)]
enum Removal {
    One(Oid),
    Prefix(Oid),
}

impl Bindings {
    /// `*(<PRID>|<PPRID>)` (RFC 3084 §5.1).
    pub(crate) fn add_removes(&mut self, objects: Vec<NamedObject>) -> Result<(), PibError> {
        for object in objects {
            self.removes.push(match object {
                NamedObject::Prid(oid) => Removal::One(oid),
                NamedObject::PrefixPrid(oid) => Removal::Prefix(oid),
                _ => return Err(PibError::global(GlobalError::MalformedDecision, 0)),
            });
        }
        Ok(())
    }

    /// `*(<PRID> <EPD>)`; a prefix here must be rejected (RFC 3084 §5.1).
    pub(crate) fn add_installs(&mut self, objects: Vec<NamedObject>) -> Result<(), PibError> {
        let mut objects = objects.into_iter();
        while let Some(object) = objects.next() {
            match (object, objects.next()) {
                (NamedObject::Prid(prid), Some(NamedObject::Epd(values))) => self.installs.push((prid, values)),
                _ => return Err(PibError::global(GlobalError::MalformedDecision, 0)),
            }
        }
        Ok(())
    }
}

impl Installed {
    /// One row.
    pub fn row(&self, prid: &Oid) -> Option<&Row> {
        self.rows.get(prid)
    }

    /// Every row, by name.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The rows of one class, by instance.
    pub fn of_class(&self, class: &Class) -> impl Iterator<Item = &Row> {
        let prefix = Oid::new(class.oid);
        self.rows.range(prefix.clone()..).take_while(move |(prid, _)| prid.starts_with(&prefix)).map(|(_, row)| row)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is installed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Makes one decision and checks the outcome: removes first, then installs; either all of it or, on error, nothing.
    pub(crate) fn plan(&mut self, bindings: Bindings) -> Result<PlannedTransaction, PibError> {
        let mut undo = Vec::new();
        match self.change(bindings, &mut undo) {
            Ok(()) => Ok(PlannedTransaction { transaction: self.difference(&undo), undo }),
            Err(error) => {
                self.roll_back_all(undo);
                Err(error)
            }
        }
    }

    /// The sink refused: everything as before.
    pub(crate) fn roll_back(&mut self, planned: PlannedTransaction) {
        self.roll_back_all(planned.undo);
    }

    /// A plan that removes everything.
    pub(crate) fn plan_clear(&mut self) -> PlannedTransaction {
        let undo: Vec<_> = std::mem::take(&mut self.rows).into_iter().map(|(prid, row)| (prid, Some(row))).collect();
        self.referrers.clear();
        PlannedTransaction { transaction: self.difference(&undo), undo }
    }

    fn change(&mut self, bindings: Bindings, undo: &mut Vec<(Oid, Option<Row>)>) -> Result<(), PibError> {
        let mut removed: BTreeSet<Oid> = BTreeSet::new();
        for removal in bindings.removes {
            for prid in self.matching(&removal) {
                self.set(prid.clone(), None, undo);
                removed.insert(prid);
            }
        }
        let mut touched = Vec::with_capacity(bindings.installs.len());
        for (prid, values) in bindings.installs {
            let row = Row::from_values(&prid, &values)?;
            if matches!(row.class().access, Access::Notify | Access::ReportOnly) {
                return Err(PibError::class(prid, ClassError::PriNotifyOnly, 0));
            }
            check_values(&prid, &row)?;
            removed.remove(&prid);
            self.set(prid.clone(), Some(row), undo);
            if self.rows.len() > INSTALLED_ROWS_MAX {
                return Err(PibError::class(prid, ClassError::PriSpaceExhausted, 0));
            }
            touched.push(prid);
        }
        for prid in touched {
            self.check_pointers(&prid)?;
        }
        match removed.into_iter().find(|prid| self.referrers.contains_key(prid)) {
            Some(prid) => Err(PibError::class(prid, ClassError::DeletedInRef, 0)),
            None => Ok(()),
        }
    }

    /// Removing what is not there is no error: a PDP that is unsure may say it again.
    fn matching(&self, removal: &Removal) -> Vec<Oid> {
        match removal {
            Removal::One(prid) => self.rows.contains_key(prid).then(|| prid.clone()).into_iter().collect(),
            Removal::Prefix(prefix) => self
                .rows
                .range(prefix.clone()..)
                .map(|(prid, _)| prid.clone())
                .take_while(|prid| prid.starts_with(prefix))
                .collect(),
        }
    }

    fn check_pointers(&self, prid: &Oid) -> Result<(), PibError> {
        let Some(row) = self.rows.get(prid) else { return Ok(()) };
        if let Row::FrwkIpFilter(filter) = row
            && !self.rows.contains_key(&FrwkBaseFilter::prid(filter.instance))
        {
            return Err(PibError::class(prid.clone(), ClassError::PriInstanceInvalid, 0));
        }
        for (column, target) in row.references() {
            if !self.rows.contains_key(&target) {
                return Err(PibError::class(prid.clone(), ClassError::AttrReferenceUnknown, column));
            }
        }
        Ok(())
    }

    fn set(&mut self, prid: Oid, row: Option<Row>, undo: &mut Vec<(Oid, Option<Row>)>) {
        let old = self.swap(&prid, row);
        undo.push((prid, old));
    }

    fn swap(&mut self, prid: &Oid, row: Option<Row>) -> Option<Row> {
        for target in row.iter().flat_map(pointers) {
            *self.referrers.entry(target).or_default() += 1;
        }
        let old = match row {
            Some(row) => self.rows.insert(prid.clone(), row),
            None => self.rows.remove(prid),
        };
        for target in old.iter().flat_map(pointers) {
            if let Some(count) = self.referrers.get_mut(&target) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.referrers.remove(&target);
                }
            }
        }
        old
    }

    fn roll_back_all(&mut self, undo: Vec<(Oid, Option<Row>)>) {
        for (prid, old) in undo.into_iter().rev() {
            self.swap(&prid, old);
        }
    }

    /// What changed, from the first old value of each touched name to its value now.
    fn difference(&self, undo: &[(Oid, Option<Row>)]) -> Transaction {
        let mut before: BTreeMap<&Oid, &Option<Row>> = BTreeMap::new();
        for (prid, old) in undo {
            before.entry(prid).or_insert(old);
        }
        let mut transaction = Transaction::default();
        // Installs in the PDP's order (what is pointed at comes first), removes the other way round.
        let mut listed = BTreeSet::new();
        for (prid, _) in undo.iter().rev() {
            if !listed.insert(prid) {
                continue;
            }
            let old = before.get(prid).copied().and_then(Option::as_ref);
            match (old, self.rows.get(prid)) {
                (old, Some(new)) if old != Some(new) => transaction.installs.push(new.clone()),
                (Some(old), None) => transaction.removes.push(old.clone()),
                _ => {}
            }
        }
        transaction.installs.reverse();
        transaction.removes.reverse();
        transaction
    }
}

/// What a row points at: its pointers, and the base row that a filter extends.
fn pointers(row: &Row) -> Vec<Oid> {
    let mut targets: Vec<Oid> = row.references().into_iter().map(|(_, target)| target).collect();
    if let Row::FrwkIpFilter(filter) = row {
        targets.push(FrwkBaseFilter::prid(filter.instance));
    }
    targets
}

/// Rules between the columns of one row that a range cannot say (RFC 3318 §5, frwkIpFilterTable).
fn check_values(prid: &Oid, row: &Row) -> Result<(), PibError> {
    let Row::FrwkIpFilter(filter) = row else { return Ok(()) };
    let invalid = |code, column| Err(PibError::class(prid.clone(), code, column));
    let FrwkIpFilter { address_type, destination, source, .. } = filter;
    let (octets, bits) = match address_type {
        1 => (4, 32),
        2 => (16, 128),
        // Legal InetAddressTypes that need a resolver or a zone: not here.
        _ => return invalid(ClassError::AttrEnumSupLimited, 1),
    };
    if destination.len() != octets {
        return invalid(ClassError::AttrValueInvalid, 2);
    }
    if filter.destination_prefix_bits > bits {
        return invalid(ClassError::AttrValueInvalid, 3);
    }
    if source.len() != octets {
        return invalid(ClassError::AttrValueInvalid, 4);
    }
    if filter.source_prefix_bits > bits {
        return invalid(ClassError::AttrValueInvalid, 5);
    }
    if filter.destination_port_min > filter.destination_port_max {
        return invalid(ClassError::AttrValueInvalid, 9);
    }
    if filter.source_port_min > filter.source_port_max {
        return invalid(ClassError::AttrValueInvalid, 11);
    }
    Ok(())
}
