//! What a link does to packets.

use std::time::Duration;

use strowger_clock::Random;

/// How long packets take.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Delay {
    /// All the same.
    Fixed(Duration),
    /// Anything between the two, all equally likely.
    Uniform {
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// At least `least`, and a tail above it: queues that fill now and then. Cut off at ten times `mean`.
    Exponential {
        /// The least.
        least: Duration,
        /// Mean of what is added.
        mean: Duration,
    },
}

impl Delay {
    pub(crate) fn draw(&self, random: &mut Random) -> Duration {
        match *self {
            Delay::Fixed(delay) => delay,
            Delay::Uniform { least, most } => least + within(most.saturating_sub(least), random),
            Delay::Exponential { least, mean } => {
                let unit = (random.below(1 << 53) + 1) as f64 / (1u64 << 53) as f64;
                least + mean.mul_f64((-unit.ln()).min(10.0))
            }
        }
    }
}

/// Zero up to and including `span`.
fn within(span: Duration, random: &mut Random) -> Duration {
    Duration::from_nanos(random.below(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX - 1) + 1))
}

/// One direction between two nodes.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Link {
    /// Probability that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Probability that a packet arrives twice, each copy with a delay of its own.
    pub duplication: f64,
    /// Probability that a packet is held back by `reordering_span` at most, so that later ones overtake it.
    pub reordering: f64,
    /// How long such a packet is held back at most.
    pub reordering_span: Duration,
    /// How long packets take.
    pub delay: Delay,
}

impl Link {
    /// Loses nothing, doubles nothing; one millisecond.
    pub const PERFECT: Link = Link {
        loss: 0.0,
        duplication: 0.0,
        reordering: 0.0,
        reordering_span: Duration::ZERO,
        delay: Delay::Fixed(Duration::from_millis(1)),
    };

    /// Nothing gets through.
    pub const CUT: Link = Link { loss: 1.0, ..Link::PERFECT };

    /// A bad path drawn from the seed: up to `loss_max` of loss, up to 5 % doubled, up to 20 % overtaken by up to 300 ms,
    /// 1 to 100 ms of delay.
    pub fn draw(loss_max: f64, random: &mut Random) -> Link {
        let mut part = |most: f64| most * random.below(1_001) as f64 / 1_000.0;
        Link {
            loss: part(loss_max),
            duplication: part(0.05),
            reordering: part(0.2),
            reordering_span: Duration::from_millis(300),
            delay: Delay::Uniform { least: Duration::from_millis(1), most: Duration::from_millis(100) },
        }
    }

    /// How long the packet takes: none when it is lost, two when it is doubled.
    pub(crate) fn passages(&self, random: &mut Random) -> Vec<Duration> {
        if random.chance(self.loss) {
            return Vec::new();
        }
        let copies = if random.chance(self.duplication) { 2 } else { 1 };
        (0..copies).map(|_| self.passage(random)).collect()
    }

    fn passage(&self, random: &mut Random) -> Duration {
        let held = if random.chance(self.reordering) { within(self.reordering_span, random) } else { Duration::ZERO };
        self.delay.draw(random) + held
    }
}
