//! Which objects each operation needs and in what order (RFC 2748 §3), as one short table and one rule for decisions.

use crate::code::Op;
use crate::decode::Fault;
use crate::message::{DecisionObject, Message, Object};

fn c_num(object: &Object) -> u8 {
    match object {
        Object::Handle(_) => 1,
        Object::Context(_) => 2,
        Object::InInterface(_) => 3,
        Object::OutInterface(_) => 4,
        Object::Reason(_) => 5,
        Object::Decision(_) => 6,
        Object::LpdpDecision(_) => 7,
        Object::Error(_) => 8,
        Object::ClientSi(_) => 9,
        Object::KeepAliveTimer(_) => 10,
        Object::PepId(_) => 11,
        Object::ReportType(_) => 12,
        Object::PdpRedirectAddress(_) => 13,
        Object::LastPdpAddress(_) => 14,
        Object::AccountingTimer(_) => 15,
        Object::Integrity { .. } => 16,
    }
}

/// (mandatory, also allowed) C-Nums of each operation.
fn shape(op: Op) -> (&'static [u8], &'static [u8]) {
    match op {
        Op::Request => (&[1, 2], &[3, 4, 7, 9, 16]),
        Op::Decision => (&[1], &[2, 6, 8, 16]),
        Op::ReportState => (&[1, 12], &[9, 16]),
        Op::DeleteRequestState => (&[1, 5], &[16]),
        Op::SynchronizeState | Op::SynchronizeComplete => (&[], &[1, 16]),
        Op::ClientOpen => (&[11], &[9, 14, 16]),
        // A CAT of client type 0 closes the security negotiation and still carries its timer.
        Op::ClientAccept => (&[10], &[15, 16]),
        Op::ClientClose => (&[8], &[13, 16]),
        Op::KeepAlive => (&[], &[16]),
    }
}

/// C-Nums that may come more than once in one message.
const REPEATABLE: [u8; 4] = [2, 6, 7, 9];

pub(crate) fn check(message: &Message) -> Result<(), Fault> {
    let (mandatory, allowed) = shape(message.op);
    let mut seen: u32 = 0;
    for (index, object) in message.objects.iter().enumerate() {
        let number = c_num(object);
        let doubled = seen & (1 << number) != 0 && !REPEATABLE.contains(&number);
        let integrity_not_last = number == 16 && index + 1 != message.objects.len();
        if !(mandatory.contains(&number) || allowed.contains(&number)) || doubled || integrity_not_last {
            return Err(Fault::MisplacedObject { c_num: number });
        }
        seen |= 1 << number;
    }
    if let Some(missing) = mandatory.iter().find(|number| seen & (1 << **number) == 0) {
        return Err(Fault::MissingObject { c_num: *missing });
    }
    if message.op == Op::Decision {
        check_decisions(message)?;
    }
    Ok(())
}

/// `<Decision(s)> | <Error>`; every decision has a context and its flags come first (RFC 2748 §3.2).
fn check_decisions(message: &Message) -> Result<(), Fault> {
    let mut context = false;
    let mut flags = false;
    let mut count = 0usize;
    for object in &message.objects {
        match object {
            Object::Context(_) => (context, flags) = (true, false),
            Object::Decision(DecisionObject::Flags { .. }) if !context => {
                return Err(Fault::MissingObject { c_num: 2 });
            }
            Object::Decision(DecisionObject::Flags { .. }) => (flags, count) = (true, count + 1),
            Object::Decision(_) if !flags => return Err(Fault::MisplacedObject { c_num: 6 }),
            _ => {}
        }
    }
    match (message.error().is_some(), count) {
        (true, 0) => Ok(()),
        (true, _) => Err(Fault::MisplacedObject { c_num: 8 }),
        (false, 0) => Err(Fault::MissingObject { c_num: 6 }),
        (false, _) => Ok(()),
    }
}
