//! In-band DTMF at 8 kHz: a generator, and a detector by Goertzel's method (ITU-T Q.23, Q.24).

use crate::SAMPLE_RATE_HERTZ;
use crate::tone::{amplitude_of, phase_step, sine};

const ROWS_HERTZ: [u16; 4] = [697, 770, 852, 941];
const COLUMNS_HERTZ: [u16; 4] = [1209, 1336, 1477, 1633];
const KEYS: [[char; 4]; 4] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Samples in one decision of the detector (12.75 ms): two of them fit in the shortest valid tone of 40 ms.
pub const BLOCK_SAMPLES: usize = 102;

/// Level of each of the two generated frequencies below full scale, in dB.
pub const LEVEL_DB: f32 = -10.0;

fn place(digit: char) -> Option<(usize, usize)> {
    let digit = digit.to_ascii_uppercase();
    KEYS.iter()
        .enumerate()
        .find_map(|(row, keys)| keys.iter().position(|key| *key == digit).map(|column| (row, column)))
}

/// Plays one digit.
#[derive(Clone, Debug)]
pub struct DtmfGenerator {
    steps: [u32; 2],
    phases: [u32; 2],
    amplitude: i32,
    left: u32,
}

impl DtmfGenerator {
    /// A digit for `duration_ms`; `None` for what is no key.
    pub fn new(digit: char, duration_ms: u32) -> Option<Self> {
        let (row, column) = place(digit)?;
        Some(Self {
            steps: [phase_step(*ROWS_HERTZ.get(row)?), phase_step(*COLUMNS_HERTZ.get(column)?)],
            phases: [0; 2],
            amplitude: amplitude_of(LEVEL_DB),
            left: duration_ms.saturating_mul(SAMPLE_RATE_HERTZ / 1000),
        })
    }

    /// Fills the start of `out` and returns how many samples were left to play; 0 when over.
    pub fn fill(&mut self, out: &mut [i16]) -> usize {
        let count = out.len().min(self.left as usize);
        for sample in out.iter_mut().take(count) {
            let mut sum = 0;
            for (phase, step) in self.phases.iter_mut().zip(self.steps) {
                *phase = phase.wrapping_add(step);
                sum += (sine(*phase) * self.amplitude) >> 15;
            }
            *sample = sum as i16; // two at -10 dB stay within 16 bits
        }
        self.left -= count as u32;
        count
    }
}

/// Finds digits in a stream of samples.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    coefficients: [f32; 8],
    states: [[f32; 2]; 8],
    energy: f32,
    filled: usize,
    candidate: Option<char>,
    current: Option<char>,
}

impl Default for DtmfDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl DtmfDetector {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        let mut hertz = ROWS_HERTZ.into_iter().chain(COLUMNS_HERTZ);
        let coefficients = std::array::from_fn(|_| {
            let frequency = f32::from(hertz.next().unwrap_or(0));
            2.0 * (std::f32::consts::TAU * frequency / SAMPLE_RATE_HERTZ as f32).cos()
        });
        Self { coefficients, states: [[0.0; 2]; 8], energy: 0.0, filled: 0, candidate: None, current: None }
    }

    /// Takes samples; calls `found` once for each digit, when two blocks in a row agree on it.
    pub fn process(&mut self, samples: &[i16], mut found: impl FnMut(char)) {
        for sample in samples {
            let x = f32::from(*sample);
            self.energy += x * x;
            for ([s1, s2], coefficient) in self.states.iter_mut().zip(self.coefficients) {
                let s0 = x + coefficient * *s1 - *s2;
                *s2 = *s1;
                *s1 = s0;
            }
            self.filled += 1;
            if self.filled == BLOCK_SAMPLES
                && let Some(digit) = self.decide()
            {
                found(digit);
            }
        }
    }

    fn decide(&mut self) -> Option<char> {
        let mut powers = [0f32; 8];
        for ((power, [s1, s2]), coefficient) in powers.iter_mut().zip(self.states).zip(self.coefficients) {
            *power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
        }
        let heard = key_of(&powers, self.energy);
        self.states = [[0.0; 2]; 8];
        self.energy = 0.0;
        self.filled = 0;
        let stable = heard == self.candidate;
        self.candidate = heard;
        if !stable || heard == self.current {
            return None;
        }
        self.current = heard;
        heard
    }
}

fn strongest(powers: &[f32]) -> (usize, f32, f32) {
    let (mut at, mut best, mut second) = (0, 0.0f32, 0.0f32);
    for (index, power) in powers.iter().enumerate() {
        if *power > best {
            (at, best, second) = (index, *power, best);
        } else {
            second = second.max(*power);
        }
    }
    (at, best, second)
}

fn key_of(powers: &[f32; 8], energy: f32) -> Option<char> {
    let (rows, columns) = powers.split_at(4);
    let (row, row_power, row_second) = strongest(rows);
    let (column, column_power, column_second) = strongest(columns);
    let samples = BLOCK_SAMPLES as f32;
    // one sinusoid of amplitude a has Goertzel power (aN/2)² and energy a²N/2, so the two tones of a clean digit
    // hold 2(P1 + P2)/N of the block's energy
    let share = 2.0 * (row_power + column_power) / samples;
    let level_floor = 300.0f32 * samples / 2.0; // about -40 dB below full scale
    let loud = row_power.min(column_power) > level_floor * level_floor;
    let clear = row_power > row_second * 4.0 && column_power > column_second * 4.0;
    let twist = row_power < column_power * 6.3 && column_power < row_power * 6.3; // 8 dB
    (loud && clear && twist && share > energy * 0.7).then(|| KEYS.get(row)?.get(column).copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::Law;

    fn heard(samples: &[i16]) -> String {
        let mut detector = DtmfDetector::new();
        let mut digits = String::new();
        for block in samples.chunks(160) {
            detector.process(block, |digit| digits.push(digit));
        }
        digits
    }

    #[test]
    fn every_digit_is_heard_once_through_either_law() {
        for law in [Law::A, Law::Mu] {
            let keys = "1234567890*#ABCD11";
            let mut samples = Vec::new();
            for digit in keys.chars() {
                let mut tone = [0i16; 480];
                assert_eq!(DtmfGenerator::new(digit, 60).unwrap().fill(&mut tone), 480);
                samples.extend(tone.map(|s| law.decode(law.encode(s))));
                samples.extend([law.decode(law.silence()); 400]);
            }
            assert_eq!(heard(&samples), keys);
        }
    }

    #[test]
    fn a_tone_that_is_no_digit_is_not_heard() {
        let mut samples = [0i16; 8000];
        crate::tone::ToneGenerator::new(&crate::tone::TonePlan::NANP.dial).fill(&mut samples);
        assert_eq!(heard(&samples), "");
        let mut random = strowger_clock::Random::from_seed(1);
        let noise: Vec<i16> = (0..40_000).map(|_| random.next_u32() as i16 / 4).collect();
        assert_eq!(heard(&noise), "");
        assert!(DtmfGenerator::new('x', 60).is_none());
    }
}
