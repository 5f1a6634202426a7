//! Numbers of people, shortened for eyes that do not need them in full.

/// How much of a number is hidden.
const HIDDEN_CHARACTERS: usize = 4;

/// The number with its last four characters hidden: `12125550100` is `1212555xxxx`. One of four characters or fewer is hidden altogether, and
/// its length with it.
pub(crate) fn redacted(number: &str) -> String {
    let kept = number.chars().count().saturating_sub(HIDDEN_CHARACTERS);
    number.chars().take(kept).chain(std::iter::repeat_n('x', HIDDEN_CHARACTERS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_four_are_hidden() {
        for (number, shown) in [("12125550100", "1212555xxxx"), ("12345", "1xxxx"), ("1234", "xxxx"), ("911", "xxxx")] {
            assert_eq!(redacted(number), shown);
        }
        assert_eq!(redacted("märchen"), "märxxxx", "characters, not octets");
    }

    proptest! {
        #[test]
        fn nothing_of_the_end_is_shown(start in ".{0,20}", end in "[0-9]{4}") {
            prop_assert_eq!(redacted(&format!("{start}{end}")), format!("{start}xxxx"));
        }
    }
}
