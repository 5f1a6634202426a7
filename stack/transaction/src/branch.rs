//! Our own branches (RFC 3261 §8.1.1.7): a response finds its transaction by the slot written into them.

use strowger_clock::Random;
use strowger_sip::Via;

/// Fixed-width hexadecimal digits of shard, slot and generation.
const NUMBERS_LEN: usize = 2 + 8 + 8;
/// 13 characters of 36 are 67 random bits: a branch cannot be guessed.
const SECRET_LEN: usize = 13;
/// The slot of a branch that has no transaction (ACK for a 2xx).
const NO_SLOT: u32 = u32::MAX;

/// What a branch of ours says about its owner.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BranchOwner {
    /// The shard whose layer made it ([`crate::Config::shard`]).
    pub shard: u8,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl BranchOwner {
    /// Reads the branch of a response's top Via. `None`: the form is not ours. (That it has our form does not prove that it
    /// is ours: the layer compares all of it.)
    pub fn parse(branch: &str) -> Option<BranchOwner> {
        let numbers = branch.strip_prefix(Via::MAGIC_COOKIE)?.get(..NUMBERS_LEN)?;
        if !numbers.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        Some(BranchOwner {
            shard: u8::from_str_radix(numbers.get(..2)?, 16).ok()?,
            slot: u32::from_str_radix(numbers.get(2..10)?, 16).ok()?,
            generation: u32::from_str_radix(numbers.get(10..)?, 16).ok()?,
        })
    }

    /// The branch itself, with a fresh secret and the user's suffix.
    pub(crate) fn write(self, random: &mut Random, suffix: &str) -> String {
        let BranchOwner { shard, slot, generation } = self;
        let secret = random.alphanumeric(SECRET_LEN);
        let dot = if suffix.is_empty() { "" } else { "." };
        format!("{}{shard:02x}{slot:08x}{generation:08x}{secret}{dot}{suffix}", Via::MAGIC_COOKIE)
    }

    /// The owner of a branch that belongs to no transaction.
    pub(crate) fn nobody(shard: u8) -> BranchOwner {
        BranchOwner { shard, slot: NO_SLOT, generation: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn there_and_back() {
        let owner = BranchOwner { shard: 7, slot: 0xdead_beef, generation: 42 };
        let mut random = Random::from_seed(1);
        let branch = owner.write(&mut random, "");
        assert_eq!(BranchOwner::parse(&branch), Some(owner));
        assert_ne!(owner.write(&mut random, ""), branch);
        let branch = owner.write(&mut random, "loop77");
        assert!(branch.ends_with(".loop77"));
        assert_eq!(BranchOwner::parse(&branch), Some(owner));
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "\\PC{0,60}", digits in "[0-9a-fé+]{0,30}") {
            let _ = BranchOwner::parse(&text);
            let _ = BranchOwner::parse(&format!("z9hG4bK{digits}"));
        }
    }
}
