//! Sound in and out: WAV files, tones, silence.

use std::path::{Path, PathBuf};

use strowger_rtp::SAMPLE_RATE_HERTZ;
use strowger_rtp::tone::{Tone, ToneGenerator};

/// Longest sound read from a file.
const FILE_SAMPLES_MAX: usize = 3600 * SAMPLE_RATE_HERTZ as usize;
const TONE_LEVEL_DB: f32 = -10.0;

/// What the other side hears.
#[derive(Clone, Debug, PartialEq)]
pub enum AudioSource {
    /// Packets of silence.
    Silence,
    /// A sine.
    Tone {
        /// Frequency.
        hertz: u16,
    },
    /// A WAV file, mixed down and brought to 8 kHz; silence follows.
    Wav {
        /// The file.
        path: PathBuf,
        /// Begin again at its end.
        repeat: bool,
    },
    /// Samples at 8 kHz; silence follows.
    Samples(std::sync::Arc<[i16]>),
    /// What was heard, as the jitter buffer gives it.
    Echo,
}

/// Why a file cannot be played or written.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The file is no WAV file, or cannot be read or written.
    #[error("{}: {source}", path.display())]
    Wav {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: hound::Error,
    },
    /// More than an hour of sound.
    #[error("{}: longer than an hour", .0.display())]
    TooLong(PathBuf),
}

/// A source that is being played.
pub(crate) enum Playing {
    Silence,
    Tone(ToneGenerator),
    Samples { samples: std::sync::Arc<[i16]>, at: usize, repeat: bool },
    Echo,
}

impl Playing {
    pub(crate) fn open(source: &AudioSource) -> Result<Playing, AudioError> {
        Ok(match source {
            AudioSource::Silence => Playing::Silence,
            AudioSource::Echo => Playing::Echo,
            AudioSource::Tone { hertz } => {
                Playing::Tone(ToneGenerator::new(&Tone::new([*hertz, 0], TONE_LEVEL_DB, &[])))
            }
            AudioSource::Samples(samples) => Playing::Samples { samples: samples.clone(), at: 0, repeat: false },
            AudioSource::Wav { path, repeat } => {
                Playing::Samples { samples: read_wav(path)?.into(), at: 0, repeat: *repeat }
            }
        })
    }

    /// The next samples; `heard` is what came in the same interval.
    pub(crate) fn fill(&mut self, out: &mut [i16], heard: &[i16]) {
        out.fill(0);
        match self {
            Playing::Silence => {}
            Playing::Tone(generator) => generator.fill(out),
            Playing::Echo => {
                for (out, heard) in out.iter_mut().zip(heard) {
                    *out = *heard;
                }
            }
            Playing::Samples { samples, at, repeat } => {
                for out in out {
                    if *repeat && *at >= samples.len() {
                        *at = 0;
                    }
                    let Some(sample) = samples.get(*at) else { return };
                    *out = *sample;
                    *at += 1;
                }
            }
        }
    }
}

/// Reads a WAV file of any rate, width and number of channels as 8 kHz mono.
///
/// # Errors
/// [`AudioError`].
pub fn read_wav(path: &Path) -> Result<Vec<i16>, AudioError> {
    let wav = |source| AudioError::Wav { path: path.to_owned(), source };
    let mut reader = hound::WavReader::open(path).map_err(wav)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels.max(1));
    let rate = spec.sample_rate.max(1);
    let longest = FILE_SAMPLES_MAX as u64 * u64::from(rate) / u64::from(SAMPLE_RATE_HERTZ);
    if u64::from(reader.duration()) > longest {
        return Err(AudioError::TooLong(path.to_owned()));
    }
    let all: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>().map_err(wav)?,
        hound::SampleFormat::Int => {
            let full = (1i64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            let samples = reader.samples::<i32>().map(|sample| sample.map(|sample| sample as f32 / full));
            samples.collect::<Result<_, _>>().map_err(wav)?
        }
    };
    let mono: Vec<f32> = all.chunks(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    Ok(at_8_khz(&mono, rate))
}

/// Straight lines between samples: enough for speech that G.711 will narrow anyway.
fn at_8_khz(samples: &[f32], rate: u32) -> Vec<i16> {
    let to_i16 = |sample: f32| (sample * 32_768.0).clamp(-32_768.0, 32_767.0) as i16;
    if rate == SAMPLE_RATE_HERTZ {
        return samples.iter().copied().map(to_i16).collect();
    }
    let length = (samples.len() as u64 * u64::from(SAMPLE_RATE_HERTZ) / u64::from(rate)) as usize;
    let step = f64::from(rate) / f64::from(SAMPLE_RATE_HERTZ);
    let at = |index: usize| samples.get(index).or(samples.last()).copied().unwrap_or_default();
    (0..length)
        .map(|index| {
            let place = index as f64 * step;
            let part = place.fract() as f32;
            to_i16(at(place as usize) * (1.0 - part) + at(place as usize + 1) * part)
        })
        .collect()
}

/// Writes samples as a WAV file: 8 kHz, 16 bit, mono.
///
/// # Errors
/// [`AudioError::Wav`].
pub fn write_wav(path: &Path, samples: &[i16]) -> Result<(), AudioError> {
    let wav = |source| AudioError::Wav { path: path.to_owned(), source };
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE_HERTZ,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).map_err(wav)?;
    for sample in samples {
        writer.write_sample(*sample).map_err(wav)?;
    }
    writer.finalize().map_err(wav)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("strowger-phone-{}-{name}.wav", std::process::id()))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let path = file("back");
        let samples: Vec<i16> = (0..1000).map(|n| (n * 32) as i16).collect();
        write_wav(&path, &samples).unwrap();
        assert_eq!(read_wav(&path).unwrap(), samples);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn stereo_at_another_rate_becomes_mono_at_8_khz() {
        let path = file("stereo");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for _ in 0..1600 {
            writer.write_sample(1000i16).unwrap();
            writer.write_sample(3000i16).unwrap();
        }
        writer.finalize().unwrap();
        assert_eq!(read_wav(&path).unwrap(), vec![2000; 800]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let error = read_wav(Path::new("/nonexistent/sound.wav")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/sound.wav: "));
    }
}
