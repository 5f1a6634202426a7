//! Tones: up to two frequencies in a cadence, as linear samples at 8 kHz (ITU-T E.180, and national plans).

use crate::SAMPLE_RATE_HERTZ;
use std::sync::LazyLock;

/// Entries of the sine table; a power of two, so the top bits of a phase are its index.
const SINE_BITS: u32 = 10;

static SINE: LazyLock<[i16; 1 << SINE_BITS]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        let angle = at as f64 / f64::from(1u32 << SINE_BITS) * std::f64::consts::TAU;
        (angle.sin() * f64::from(i16::MAX)).round() as i16
    })
});

/// Most steps (on or off) of one cadence.
pub const MAX_CADENCE_STEPS: usize = 6;

/// One tone as a plan defines it.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Tone {
    /// Frequencies in Hz sounding together; 0 is none.
    pub frequencies_hertz: [u16; 2],
    /// Level of each frequency relative to full scale, in dB (digital full scale is about +3 dBm0).
    pub level_db: f32,
    /// On and off in turn, in ms; zeros end it. An empty cadence sounds without a break.
    pub cadence_ms: [u16; MAX_CADENCE_STEPS],
}

impl Tone {
    /// A tone from its parts; cadence steps past [`MAX_CADENCE_STEPS`] are left out.
    pub const fn new(frequencies_hertz: [u16; 2], level_db: f32, cadence: &[u16]) -> Self {
        let mut cadence_ms = [0; MAX_CADENCE_STEPS];
        let mut at = 0;
        while at < cadence.len() && at < MAX_CADENCE_STEPS {
            cadence_ms[at] = cadence[at];
            at += 1;
        }
        Self { frequencies_hertz, level_db, cadence_ms }
    }
}

/// The tones a caller hears, of one national plan.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct TonePlan {
    /// The called telephone rings.
    pub ringback: Tone,
    /// The called subscriber is busy.
    pub busy: Tone,
    /// No circuit or exchange capacity.
    pub congestion: Tone,
    /// Dial.
    pub dial: Tone,
}

impl TonePlan {
    /// Most of Europe (ETSI TR 101 041): 425 Hz.
    pub const ETSI: Self = Self {
        ringback: Tone::new([425, 0], -13.0, &[1000, 4000]),
        busy: Tone::new([425, 0], -13.0, &[500, 500]),
        congestion: Tone::new([425, 0], -13.0, &[200, 200]),
        dial: Tone::new([425, 0], -13.0, &[]),
    };

    /// North America's precise tone plan.
    pub const NANP: Self = Self {
        ringback: Tone::new([440, 480], -19.0, &[2000, 4000]),
        busy: Tone::new([480, 620], -24.0, &[500, 500]),
        congestion: Tone::new([480, 620], -24.0, &[250, 250]),
        dial: Tone::new([350, 440], -13.0, &[]),
    };
}

/// Plays one tone without end.
#[derive(Clone, Debug)]
pub struct ToneGenerator {
    steps: [u32; 2],
    phases: [u32; 2],
    amplitude: i32,
    cadence_samples: [u32; MAX_CADENCE_STEPS],
    step: usize,
    left: u32,
}

impl ToneGenerator {
    /// Begins at the beginning of the cadence.
    pub fn new(tone: &Tone) -> Self {
        let cadence_samples = tone.cadence_ms.map(|ms| u32::from(ms) * (SAMPLE_RATE_HERTZ / 1000));
        Self {
            steps: tone.frequencies_hertz.map(phase_step),
            phases: [0; 2],
            amplitude: amplitude_of(tone.level_db),
            cadence_samples,
            step: 0,
            left: cadence_samples[0],
        }
    }

    /// Fills `out` with the next samples.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            *sample = self.next_sample();
        }
    }

    fn next_sample(&mut self) -> i16 {
        let endless = self.cadence_samples[0] == 0;
        let on = endless || self.step.is_multiple_of(2);
        let mut sum = 0i32;
        for (phase, step) in self.phases.iter_mut().zip(self.steps) {
            if step != 0 {
                *phase = phase.wrapping_add(step);
                sum += (sine(*phase) * self.amplitude) >> 15;
            }
        }
        if !endless {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                let next = self.step + 1;
                self.step = if self.cadence_samples.get(next).is_some_and(|n| *n != 0) { next } else { 0 };
                self.left = self.cadence_samples.get(self.step).copied().unwrap_or(0);
            }
        }
        if on { sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16 } else { 0 }
    }
}

pub(crate) fn phase_step(hertz: u16) -> u32 {
    ((u64::from(hertz) << 32) / u64::from(SAMPLE_RATE_HERTZ)) as u32
}

pub(crate) fn sine(phase: u32) -> i32 {
    // ten bits index exactly the table's entries
    i32::from(SINE[(phase >> (32 - SINE_BITS)) as usize])
}

pub(crate) fn amplitude_of(level_db: f32) -> i32 {
    (32_767.0 * 10f32.powf(level_db / 20.0)).clamp(0.0, 32_767.0) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cadence_is_kept_to_the_sample() {
        let mut generator = ToneGenerator::new(&TonePlan::ETSI.busy);
        let mut samples = [0i16; 16_000];
        generator.fill(&mut samples);
        let loud = |range: std::ops::Range<usize>| samples[range].iter().any(|s| s.abs() > 1000);
        assert!(loud(0..4000) && !loud(4000..8000) && loud(8000..12_000) && !loud(12_000..16_000));
    }

    #[test]
    fn a_tone_has_its_frequency_and_level() {
        let mut generator = ToneGenerator::new(&Tone::new([425, 0], -13.0, &[]));
        let mut samples = [0i16; 8000];
        generator.fill(&mut samples);
        let crossings = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((424..=426).contains(&crossings), "{crossings}");
        let peak = f32::from(*samples.iter().max().unwrap());
        assert!((20.0 * (peak / 32_767.0).log10() + 13.0).abs() < 0.1);
    }

    #[test]
    fn a_cadence_takes_its_steps_and_no_more() {
        assert_eq!(
            Tone::new([1, 0], 0.0, &[1; MAX_CADENCE_STEPS + 1]),
            Tone::new([1, 0], 0.0, &[1; MAX_CADENCE_STEPS])
        );
    }
}
