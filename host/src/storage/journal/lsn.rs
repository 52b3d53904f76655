//! A unit has a number in its partition of the journal, and numbers of one partition rise without a gap. A host has one partition;
//! what compares two numbers of an object compares numbers of one partition.

/// Bits of the number in its partition. 2^48 units are 89 years of 100,000 a second.
const NUMBER_BITS: u32 = 48;
const NUMBER_MAX: u64 = (1 << NUMBER_BITS) - 1;

/// The number of a unit, and which partition of the journal it is in; number 0 stands for nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Lsn(u64);

impl Lsn {
    /// Before every commit: always durable.
    pub(crate) const ZERO: Self = Self(0);
    /// After everything.
    pub(super) const MAX: Self = Self(u64::MAX);
    /// The partition of a journal on the local disk, which is all there is.
    pub(super) const LOCAL: u16 = 0;

    /// A unit of the local partition.
    pub(crate) fn local(number: u64) -> Self {
        Self::new(Self::LOCAL, number)
    }

    /// Partition and number.
    pub(super) fn new(part: u16, number: u64) -> Self {
        debug_assert!(number <= NUMBER_MAX, "no host lives that long");
        Self(u64::from(part) << NUMBER_BITS | number & NUMBER_MAX)
    }

    /// As it is written: 16 bits of partition, then 48 of the number.
    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// As it is read.
    pub(super) fn of_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn part(self) -> u16 {
        (self.0 >> NUMBER_BITS) as u16
    }

    /// In its partition.
    pub(crate) fn number(self) -> u64 {
        self.0 & NUMBER_MAX
    }

    /// The one behind it.
    pub(crate) fn next(self) -> Self {
        Self::new(self.part(), self.number() + 1)
    }

    /// The one before it; nothing is before the first.
    pub(super) fn previous(self) -> Self {
        Self::new(self.part(), self.number().saturating_sub(1))
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.part() {
            Self::LOCAL => write!(f, "{}", self.number()),
            part => write!(f, "{part}/{}", self.number()),
        }
    }
}

impl std::fmt::Debug for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lsn({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_partition_follow_each_other_and_stay_in_it() {
        let last = Lsn::new(7, 41);
        assert_eq!((last.next().part(), last.next().number()), (7, 42));
        assert_eq!(last.next().previous(), last);
        assert_eq!(Lsn::new(7, 0).previous(), Lsn::new(7, 0));
        assert_eq!(Lsn::of_word(last.word()), last);
        assert_eq!(last.word(), 7 << 48 | 41, "16 bits, then 48");
        assert_eq!(Lsn::local(3).word(), 3);
        assert!(Lsn::new(1, 0) > Lsn::local(NUMBER_MAX) && Lsn::local(2) > Lsn::ZERO);
        assert_eq!(
            (last.to_string(), Lsn::local(9).to_string()),
            ("7/41".into(), "9".into())
        );
    }
}
