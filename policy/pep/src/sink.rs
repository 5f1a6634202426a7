//! What a router has to offer so that COPS-PR can drive it.

use strowger_pib::{FrwkFeedbackTraffic, PibError, Row};

use crate::installed::Installed;

/// The difference one decision makes. Rows that the decision removes and installs unchanged are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Rows that are gone, with their last contents.
    pub removes: Vec<Row>,
    /// Rows that are new, or have new contents under an old name.
    pub installs: Vec<Row>,
}

impl Transaction {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.removes.is_empty() && self.installs.is_empty()
    }
}

/// Carries policy out: the data path of a router, or a recorder in a test.
///
/// Rows arrive checked: types and ranges hold, every pointer leads to an installed row, no installed row points at a removed
/// one, a filter has its base filter. What is left to refuse is what this device cannot do.
pub trait PolicySink {
    /// Makes `transaction` take effect, all of it or nothing: on `Err` the sink is as it was before.
    /// `installed` is the whole policy as it is to be afterwards.
    /// The error names the row and the attribute that cannot be done; it goes to the PDP in the failure report.
    fn apply(&mut self, transaction: &Transaction, installed: &Installed) -> Result<(), PibError>;

    /// What flows have used so far (packets and octets since installation): of these instances, or of all when `None`.
    /// Asked before rows are removed, and at the pace of the PDP's accounting timer. `reference` is the instance number of
    /// the flow's dsMeter.
    fn usage(&mut self, instances: Option<&[u32]>) -> Vec<FrwkFeedbackTraffic> {
        let _ = instances;
        Vec::new()
    }
}
