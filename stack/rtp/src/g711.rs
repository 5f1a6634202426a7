//! ITU-T G.711 both laws, both ways, by table.
//!
//! Linear samples are 16-bit signed. Decoding and encoding again gives the same octet for A-law, and for µ-law except
//! that its two zeros become the positive one.

/// Which law an octet is in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Law {
    /// A-law: PCMA, and every E1 bearer.
    A,
    /// µ-law: PCMU.
    Mu,
}

/// The octet of an idle A-law channel (digital silence).
pub const A_LAW_SILENCE: u8 = 0xd5;
/// The octet of µ-law silence.
pub const MU_LAW_SILENCE: u8 = 0xff;

impl Law {
    /// The octet of silence.
    pub const fn silence(self) -> u8 {
        match self {
            Law::A => A_LAW_SILENCE,
            Law::Mu => MU_LAW_SILENCE,
        }
    }

    /// One octet to a linear sample.
    #[inline]
    pub fn decode(self, octet: u8) -> i16 {
        match self {
            Law::A => decode_a(octet),
            Law::Mu => decode_mu(octet),
        }
    }

    /// One linear sample to an octet.
    #[inline]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::A => encode_a(sample),
            Law::Mu => encode_mu(sample),
        }
    }

    /// Decodes into `out` as many as both hold; returns that count.
    pub fn decode_all(self, octets: &[u8], out: &mut [i16]) -> usize {
        let table = match self {
            Law::A => &A_DECODE,
            Law::Mu => &MU_DECODE,
        };
        for (sample, octet) in out.iter_mut().zip(octets) {
            *sample = table[usize::from(*octet)];
        }
        octets.len().min(out.len())
    }

    /// Encodes into `out` as many as both hold; returns that count.
    pub fn encode_all(self, samples: &[i16], out: &mut [u8]) -> usize {
        for (octet, sample) in out.iter_mut().zip(samples) {
            *octet = self.encode(*sample);
        }
        samples.len().min(out.len())
    }
}

/// A-law octet to a linear sample.
#[inline]
pub fn decode_a(octet: u8) -> i16 {
    A_DECODE[usize::from(octet)]
}

/// µ-law octet to a linear sample.
#[inline]
pub fn decode_mu(octet: u8) -> i16 {
    MU_DECODE[usize::from(octet)]
}

/// Linear sample to an A-law octet.
#[inline]
pub fn encode_a(sample: i16) -> u8 {
    // 13 significant bits: the table has exactly 2^13 entries, so the index cannot be out of it
    A_ENCODE[usize::from(sample as u16 >> 3)]
}

/// Linear sample to a µ-law octet.
#[inline]
pub fn encode_mu(sample: i16) -> u8 {
    // 14 significant bits, 2^14 entries
    MU_ENCODE[usize::from(sample as u16 >> 2)]
}

/// A-law octet to the µ-law octet of the nearest level.
#[inline]
pub fn a_to_mu(octet: u8) -> u8 {
    A_TO_MU[usize::from(octet)]
}

/// µ-law octet to the A-law octet of the nearest level.
#[inline]
pub fn mu_to_a(octet: u8) -> u8 {
    MU_TO_A[usize::from(octet)]
}

const fn a_expand(octet: u8) -> i16 {
    let code = octet ^ 0x55; // even bits are inverted on the line
    let segment = (code >> 4) & 7;
    let step = ((code & 0x0f) as i16) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

const fn a_compress(sample: i16) -> u8 {
    let (magnitude, sign) = if sample >= 0 { (sample >> 3, 0x80u8) } else { (!sample >> 3, 0) };
    let magnitude = magnitude as u16;
    let code = if magnitude < 32 {
        (magnitude >> 1) as u8
    } else {
        let segment = (16 - magnitude.leading_zeros()) - 5; // 32..=63 is segment 1
        ((segment as u8) << 4) | ((magnitude >> segment) & 0x0f) as u8
    };
    (sign | code) ^ 0x55
}

const MU_BIAS: i32 = 0x84;
const MU_CLIP: i32 = 32_635;

const fn mu_expand(octet: u8) -> i16 {
    let code = !octet;
    let segment = (code >> 4) & 7;
    let magnitude = ((((code & 0x0f) as i32) << 3) + MU_BIAS) << segment;
    let magnitude = (magnitude - MU_BIAS) as i16;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

const fn mu_compress(sample: i16) -> u8 {
    let (mut magnitude, sign) = if sample >= 0 { (sample as i32, 0u8) } else { (-(sample as i32), 0x80) };
    if magnitude > MU_CLIP {
        magnitude = MU_CLIP;
    }
    magnitude += MU_BIAS;
    let segment = (32 - magnitude.leading_zeros()) - 8; // 0x84..=0xff is segment 0
    !(sign | ((segment as u8) << 4) | ((magnitude >> (segment + 3)) & 0x0f) as u8)
}

static A_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = a_expand(at as u8);
        at += 1;
    }
    table
};

static MU_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = mu_expand(at as u8);
        at += 1;
    }
    table
};

static A_ENCODE: [u8; 8192] = {
    let mut table = [0; 8192];
    let mut at = 0;
    while at < 8192 {
        table[at] = a_compress(((at as u16) << 3) as i16);
        at += 1;
    }
    table
};

static MU_ENCODE: [u8; 16_384] = {
    let mut table = [0; 16_384];
    let mut at = 0;
    while at < 16_384 {
        table[at] = mu_compress(((at as u16) << 2) as i16);
        at += 1;
    }
    table
};

static A_TO_MU: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = mu_compress(a_expand(at as u8));
        at += 1;
    }
    table
};

static MU_TO_A: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = a_compress(mu_expand(at as u8));
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_levels() {
        // the ends and the zeros of G.711 tables 1 and 2, scaled to 16 bits
        assert_eq!([decode_a(0xd5), decode_a(0x55), decode_a(0xaa), decode_a(0x2a)], [8, -8, 32_256, -32_256]);
        assert_eq!([decode_mu(0xff), decode_mu(0x7f), decode_mu(0x80), decode_mu(0x00)], [0, 0, 32_124, -32_124]);
        assert_eq!([encode_a(0), encode_a(-1), encode_a(i16::MAX), encode_a(i16::MIN)], [0xd5, 0x55, 0xaa, 0x2a]);
        assert_eq!([encode_mu(0), encode_mu(i16::MAX), encode_mu(i16::MIN)], [0xff, 0x80, 0x00]);
    }

    #[test]
    fn decoding_and_encoding_again_is_the_same_octet() {
        for octet in 0..=255u8 {
            assert_eq!(encode_a(decode_a(octet)), octet);
            let again = encode_mu(decode_mu(octet));
            assert!(again == octet || (octet == 0x7f && again == 0xff), "{octet:#x}");
        }
    }

    #[test]
    fn the_error_of_every_sample_is_within_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let magnitude = i32::from(sample).abs();
            let bound = 8 + magnitude / 16;
            for law in [Law::A, Law::Mu] {
                let error = (i32::from(law.decode(law.encode(sample))) - i32::from(sample)).abs();
                let clipped = magnitude > 32_124;
                assert!(error <= bound || clipped && error <= 700, "{law:?} {sample}: {error} > {bound}");
            }
        }
    }

    #[test]
    fn silence_stays_silence_across_laws() {
        assert_eq!(a_to_mu(A_LAW_SILENCE) & 0x70, 0x70);
        assert_eq!(mu_to_a(MU_LAW_SILENCE), A_LAW_SILENCE);
    }
}
