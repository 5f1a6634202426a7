//! Sound: a tone to say, and what is in a recording.

use std::f64::consts::TAU;
use std::path::Path;

/// Samples in a second, throughout.
pub const RATE: usize = 8_000;
/// What the test's phones say: the telephone network's test tone, apart from every tone of the tone plan.
pub const VOICE_HERTZ: f64 = 1_004.0;
/// The two parts of the North American ringback tone.
const RINGBACK_HERTZ: [f64; 2] = [440.0, 480.0];
/// Samples that are looked at together: 100 ms.
const WINDOW: usize = RATE / 10;
/// Mean power below which a window is silence: a fiftieth of a per cent of full scale.
const SILENCE: f64 = 70.0 * 70.0;

/// What a window of a recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing worth the name.
    Silence,
    /// The ringback tone.
    Ringback,
    /// The tone that the phones say.
    Voice,
    /// Something else: speech.
    Speech,
}

/// Writes so many seconds of the test tone, 16 bits, mono.
pub fn write_voice(path: &Path, seconds: usize) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE as u32,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).expect("a WAV file");
    for number in 0..seconds * RATE {
        let sample = 10_000.0 * (TAU * VOICE_HERTZ * number as f64 / RATE as f64).sin();
        writer.write_sample(sample as i16).expect("a sample");
    }
    writer.finalize().expect("a finished WAV file");
}

/// What is heard in a recording, a word for each 100 ms. The recording may not be finished: its header counts too little then.
pub fn heard(path: &Path) -> Vec<Heard> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("no recording {}: {error}", path.display()));
    let samples: Vec<f64> = bytes
        .get(44..)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])))
        .collect();
    samples.chunks_exact(WINDOW).map(window).collect()
}

fn window(samples: &[f64]) -> Heard {
    let power: f64 = samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len() as f64;
    let share = |hertz: f64| tone_power(samples, hertz) / power;
    if power < SILENCE {
        Heard::Silence
    } else if share(VOICE_HERTZ) > 0.7 {
        Heard::Voice
    } else if share(RINGBACK_HERTZ[0]) + share(RINGBACK_HERTZ[1]) > 0.7 {
        Heard::Ringback
    } else {
        Heard::Speech
    }
}

/// Mean power of one tone in a window, by correlation with its sine and cosine.
fn tone_power(samples: &[f64], hertz: f64) -> f64 {
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (number, sample) in samples.iter().enumerate() {
        let angle = TAU * hertz * number as f64 / RATE as f64;
        sine += sample * angle.sin();
        cosine += sample * angle.cos();
    }
    let count = samples.len() as f64;
    2.0 * (sine * sine + cosine * cosine) / (count * count)
}

/// How many windows hold it.
pub fn count(heard: &[Heard], what: Heard) -> usize {
    heard.iter().filter(|found| **found == what).count()
}

/// Where it is heard first.
pub fn first(heard: &[Heard], what: Heard) -> usize {
    heard.iter().position(|found| *found == what).unwrap_or(usize::MAX)
}

/// For messages: one letter for each window.
pub fn picture(heard: &[Heard]) -> String {
    heard
        .iter()
        .map(|found| match found {
            Heard::Silence => '.',
            Heard::Ringback => 'r',
            Heard::Voice => 'v',
            Heard::Speech => 's',
        })
        .collect()
}

#[test]
fn tones_are_told_from_speech_and_silence() {
    let tone = |parts: &[f64]| -> Vec<f64> {
        let sample =
            |number: usize| parts.iter().map(|hertz| 4_000.0 * (TAU * hertz * number as f64 / RATE as f64).sin()).sum();
        (0..WINDOW).map(sample).collect()
    };
    assert_eq!(window(&tone(&[VOICE_HERTZ])), Heard::Voice);
    assert_eq!(window(&tone(&RINGBACK_HERTZ)), Heard::Ringback);
    assert_eq!(window(&tone(&[300.0, 700.0, 1_900.0])), Heard::Speech);
    assert_eq!(window(&[0.0; WINDOW]), Heard::Silence);
}
