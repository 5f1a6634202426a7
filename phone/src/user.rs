//! The user agent as the endpoint drives it, with its gauge shown outside.

use std::sync::{Arc, Mutex, PoisonError};

use strowger_clock::Moment;
use strowger_dialog::{Command, UserAgent, UserAgentEvent};
use strowger_transaction::{Event, Layer, TransactionUser};

/// How full the agent is; the endpoint shows the same of the layer.
pub(crate) type Gauges = Arc<Mutex<strowger_dialog::Gauge>>;

pub(crate) struct PhoneUser {
    pub(crate) agent: UserAgent,
    pub(crate) gauges: Gauges,
}

impl PhoneUser {
    fn show(&self) {
        *self.gauges.lock().unwrap_or_else(PoisonError::into_inner) = self.agent.gauge();
    }
}

impl TransactionUser for PhoneUser {
    type Input = Command;
    type Effect = UserAgentEvent;

    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer) {
        self.agent.event(now, event, layer);
        self.show();
    }

    fn input(&mut self, now: Moment, input: Command, layer: &mut Layer) {
        self.agent.input(now, input, layer);
        self.show();
    }

    fn timeout(&mut self, now: Moment, layer: &mut Layer) {
        self.agent.timeout(now, layer);
        self.show();
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.agent.next_deadline()
    }

    fn poll_effect(&mut self) -> Option<UserAgentEvent> {
        self.agent.poll_effect()
    }
}
