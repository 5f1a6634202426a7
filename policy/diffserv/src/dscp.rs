//! Code points and the classes they select.

use crate::meter::Colour;

/// A differentiated services code point (RFC 2474), 0 to 63.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dscp(u8);

impl Dscp {
    /// Best effort.
    pub const DEFAULT: Dscp = Dscp(0);
    /// Expedited forwarding: voice (RFC 3246).
    pub const EF: Dscp = Dscp(46);
    /// Voice that passed admission (RFC 5865).
    pub const VOICE_ADMIT: Dscp = Dscp(44);
    /// Signalling (RFC 4594).
    pub const CS5: Dscp = Dscp(40);

    /// From a number; `None` above 63.
    pub const fn new(number: u8) -> Option<Self> {
        if number < 64 { Some(Self(number)) } else { None }
    }

    /// From the octet that also holds the ECN bits.
    pub const fn from_tos(tos: u8) -> Self {
        Self(tos >> 2)
    }

    /// AF`class``precedence` (RFC 2597), both counted from 1: class to 4, precedence to 3.
    pub const fn assured(class: u8, precedence: u8) -> Option<Self> {
        if class >= 1 && class <= 4 && precedence >= 1 && precedence <= 3 {
            Some(Self(class * 8 + precedence * 2))
        } else {
            None
        }
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The drop precedence of an AF code point as a colour; green for every other.
    pub const fn colour(self) -> Colour {
        match (self.0 >> 3, self.0 & 7) {
            (1..=4, 4) => Colour::Yellow,
            (1..=4, 6) => Colour::Red,
            _ => Colour::Green,
        }
    }

    /// The queue that packets with this mark wait in.
    pub const fn queue_class(self) -> QueueClass {
        match self.0 {
            46 | 44 => QueueClass::Expedited,
            40..=63 => QueueClass::Signalling,
            _ => match (self.0 >> 3, self.0 & 7) {
                (1, 2 | 4 | 6) => QueueClass::Assured1,
                (2, 2 | 4 | 6) => QueueClass::Assured2,
                (3, 2 | 4 | 6) => QueueClass::Assured3,
                (4, 2 | 4 | 6) => QueueClass::Assured4,
                _ => QueueClass::BestEffort,
            },
        }
    }
}

/// The queues of an outgoing interface.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueClass {
    /// EF and VOICE-ADMIT: always first, and policed.
    Expedited,
    /// CS5 and above.
    Signalling,
    /// AF4x.
    Assured4,
    /// AF3x.
    Assured3,
    /// AF2x.
    Assured2,
    /// AF1x.
    Assured1,
    /// Everything else.
    BestEffort,
}

impl QueueClass {
    /// All of them, first served first.
    pub const ALL: [QueueClass; 7] = [
        Self::Expedited,
        Self::Signalling,
        Self::Assured4,
        Self::Assured3,
        Self::Assured2,
        Self::Assured1,
        Self::BestEffort,
    ];

    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expedited => "EF",
            Self::Signalling => "CS5+",
            Self::Assured4 => "AF4",
            Self::Assured3 => "AF3",
            Self::Assured2 => "AF2",
            Self::Assured1 => "AF1",
            Self::BestEffort => "default",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_the_numbers_and_classes_of_their_rfcs() {
        assert_eq!(Dscp::new(63).map(Dscp::number), Some(63));
        assert_eq!(Dscp::new(64), None);
        let af = |c, p| Dscp::assured(c, p).unwrap();
        assert_eq!([af(1, 1), af(2, 2), af(4, 3)].map(Dscp::number), [10, 20, 38]); // RFC 2597 §6
        assert_eq!((Dscp::assured(0, 1), Dscp::assured(5, 1), Dscp::assured(1, 4)), (None, None, None));
        assert_eq!([1, 2, 3].map(|p| af(3, p).colour()), [Colour::Green, Colour::Yellow, Colour::Red]);
        assert_eq!(af(3, 2).queue_class(), QueueClass::Assured3);
        assert_eq!(Dscp::EF.queue_class(), QueueClass::Expedited);
        assert_eq!(Dscp::CS5.queue_class(), QueueClass::Signalling);
        assert_eq!(Dscp::DEFAULT.queue_class(), QueueClass::BestEffort);
        for (i, class) in QueueClass::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), i);
        }
    }
}
