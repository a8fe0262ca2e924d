//! Choices that depend on what they are about and on nothing else.
//!
//! Takes a seed and the numbers of an object, gives a sequence of numbers (splitmix64). An object's
//! choices stay the same however many others there are.

/// The choices of one object.
pub(crate) struct Choices(u64);

impl Choices {
    /// `purpose` keeps the choices of a store apart from those of a workspace with its number.
    pub(crate) fn of(seed: u64, purpose: &str, number: u64) -> Self {
        let purpose = purpose.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(purpose ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `limit`, which is at least 1. The bias of the remainder is of no matter here.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let limit = u64::try_from(limit).expect("a length fits 64 bits");
        usize::try_from(mixed % limit).expect("it is below a length")
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

#[cfg(test)]
mod tests {
    use super::Choices;

    #[test]
    fn choices_depend_on_seed_purpose_and_number_and_on_nothing_else() {
        let first = |seed, purpose, number| Choices::of(seed, purpose, number).below(1 << 60);
        assert_eq!(first(1, "store", 7), first(1, "store", 7));
        let others = [first(2, "store", 7), first(1, "workspace", 7), first(1, "store", 8)];
        assert!(others.iter().all(|other| *other != first(1, "store", 7)));
    }
}
