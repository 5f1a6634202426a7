//! The charge message, CRG (message type 0x31). Q.763 gives it a type and leaves its format to the national network;
//! this is the format between our gateway and our exchange, after the message type octet:
//!
//! | octets | tariff | interval |
//! |---|---|---|
//! | 1 | 0x01 | 0x02 |
//! | 3 | currency, ISO 4217 letters | currency |
//! | 4 | charge at answer, in 1e-6 units | number of this message in the call, from 1 |
//! | 4 | charge for each interval, in 1e-6 units | seconds since answer that are charged so far |
//! | 4 | length of an interval in ms | charge added by this message, in 1e-6 units |
//!
//! All numbers are unsigned, most significant octet first. A tariff comes before the answer, intervals after it.

const TARIFF: u8 = 1;
const INTERVAL: u8 = 2;
/// Octets after the message type.
pub const CHARGE_OCTETS: usize = 16;

/// What a call costs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// ISO 4217 letters.
    pub currency: [u8; 3],
    /// Due at answer, in 1e-6 units of the currency.
    pub setup_micros: u32,
    /// Due for each begun interval, in 1e-6 units of the currency.
    pub interval_micros: u32,
    /// Length of an interval, in ms.
    pub interval_ms: u32,
}

/// Content of a charge message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The tariff that will apply from answer on.
    Tariff(Tariff),
    /// An amount has become due.
    Interval {
        /// ISO 4217 letters.
        currency: [u8; 3],
        /// Which message of the call, from 1: a gap or a repeat can be seen.
        number: u32,
        /// Seconds since answer charged so far.
        charged_seconds: u32,
        /// Added by this message, in 1e-6 units of the currency.
        amount_micros: u32,
    },
}

impl Charge {
    /// Reads what follows the message type; `None` when it is another network's format.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let content: &[u8; CHARGE_OCTETS] = content.try_into().ok()?;
        let word =
            |n: usize| u32::from_be_bytes([content[n * 4], content[n * 4 + 1], content[n * 4 + 2], content[n * 4 + 3]]);
        let currency = [content[1], content[2], content[3]];
        if !currency.iter().all(u8::is_ascii_uppercase) {
            return None;
        }
        match content[0] {
            TARIFF => Some(Self::Tariff(Tariff {
                currency,
                setup_micros: word(1),
                interval_micros: word(2),
                interval_ms: word(3),
            })),
            INTERVAL => {
                Some(Self::Interval { currency, number: word(1), charged_seconds: word(2), amount_micros: word(3) })
            }
            _ => None,
        }
    }

    /// What follows the message type.
    pub fn encode(&self) -> [u8; CHARGE_OCTETS] {
        let (kind, currency, words) = match self {
            Self::Tariff(tariff) => {
                (TARIFF, tariff.currency, [tariff.setup_micros, tariff.interval_micros, tariff.interval_ms])
            }
            Self::Interval { currency, number, charged_seconds, amount_micros } => {
                (INTERVAL, *currency, [*number, *charged_seconds, *amount_micros])
            }
        };
        let mut out = [0; CHARGE_OCTETS];
        let head = [kind].into_iter().chain(currency);
        for (octet, value) in out.iter_mut().zip(head.chain(words.into_iter().flat_map(u32::to_be_bytes))) {
            *octet = value;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_round_trip_and_other_formats_are_not_ours() {
        let tariff =
            Charge::Tariff(Tariff { currency: *b"USD", setup_micros: 1, interval_micros: 2, interval_ms: 60_000 });
        let interval = Charge::Interval { currency: *b"EUR", number: 3, charged_seconds: 180, amount_micros: u32::MAX };
        for charge in [tariff, interval] {
            assert_eq!(Charge::parse(&charge.encode()), Some(charge));
            assert_eq!(Charge::parse(&charge.encode()[..15]), None);
        }
        let mut other = tariff.encode();
        other[0] = 9;
        assert_eq!(Charge::parse(&other), None);
        other[0] = 1;
        other[1] = b'u';
        assert_eq!(Charge::parse(&other), None);
    }
}
