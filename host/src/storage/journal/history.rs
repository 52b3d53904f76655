//! The units of an object follow each other, and the first one that the journal holds follows what the object's files show. Where
//! that is not so, files or journal are of another time, and carrying it out would make a mixture that never was.

use super::Lsn;
use super::unit::Decoded;
use crate::index::Head;

/// What the journal holds of one object's history.
#[derive(Default)]
pub(super) struct History {
    /// As it was before the first unit.
    before: Head,
    /// Hashes of the units, from the first one on.
    hashes: Vec<u64>,
    /// It began anew in the journal: what the files show may be of the history before.
    begins: bool,
    /// Units do not follow each other.
    broken: Option<String>,
    /// Files must have shown so much when the journal let go of it, though they may not say so.
    vouched: Head,
}

impl History {
    /// How far it has come, if files show `shown`.
    pub(super) fn head_from(&self, shown: Head) -> Head {
        match self.hashes.is_empty() {
            true if self.vouched.seq > shown.seq => self.vouched,
            true => shown,
            false => self.head(),
        }
    }

    fn head(&self) -> Head {
        let seq = self.before.seq + self.hashes.len() as u64;
        let hash = self.hashes.last().copied().unwrap_or(self.before.hash);
        Head { seq, hash }
    }

    /// The next unit.
    pub(super) fn add(&mut self, lsn: Lsn, unit: &Decoded) {
        let head = self.head();
        if unit.before == Head::default() {
            // Nothing was stored of the object any more; or what its file said could not be read.
            *self = Self {
                begins: true,
                vouched: self.vouched,
                broken: self.broken.take(),
                ..Self::default()
            };
        } else if self.hashes.is_empty() {
            self.before = unit.before;
        } else if unit.before != head {
            self.broken.get_or_insert_with(|| {
                format!(
                    "unit {lsn} of the journal follows its unit {}, and comes behind its unit {}",
                    unit.before.seq, head.seq
                )
            });
        }
        self.hashes.push(unit.hash);
    }

    /// A unit that repeats another one, which the journal has let go of.
    pub(super) fn vouch(&mut self, unit: &Decoded) {
        if unit.before.seq >= self.vouched.seq {
            self.vouched = unit.before;
        }
    }

    /// Why it does not go on where files are that say `shown`.
    pub(super) fn misfit(&self, shown: Head) -> Option<String> {
        if self.broken.is_some() || self.begins || self.hashes.is_empty() {
            return self.broken.clone();
        }
        let (first, last) = (self.before.seq, self.head().seq);
        let files = match self.vouched.seq > shown.seq {
            true => self.vouched,
            false => shown,
        };
        if files.seq < first {
            return Some(format!(
                "its files are as of its unit {}, and the journal goes on behind its unit {first}",
                files.seq
            ));
        }
        if files.seq > last {
            return Some(format!(
                "its files are as of its unit {}, and the journal ends with its unit {last}",
                files.seq
            ));
        }
        let hash = match usize::try_from(files.seq - first) {
            Ok(0) => Some(self.before.hash),
            Ok(many) => self.hashes.get(many - 1).copied(),
            Err(_) => None,
        };
        (hash != Some(files.hash)).then(|| format!("its files and the journal have different units {}", files.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ObjectId;
    use crate::storage::journal::TreeUnit;

    fn unit(before: Head, hash: u64) -> Decoded {
        Decoded {
            namespace: "app".to_owned(),
            object: ObjectId([1; 32]),
            before,
            hash,
            databases: Vec::new(),
            tree: TreeUnit::Unchanged,
            alarms: Vec::new(),
            again: Lsn::ZERO,
        }
    }

    fn at(seq: u64) -> Head {
        Head { seq, hash: seq * 10 }
    }

    /// Units 5, 6 and 7.
    fn history() -> History {
        let mut history = History::default();
        for seq in 5..8 {
            history.add(Lsn::local(seq), &unit(at(seq - 1), seq * 10));
        }
        history
    }

    #[test]
    fn a_history_goes_on_from_what_files_show_or_they_are_of_another_time() {
        let history = history();
        assert_eq!(history.head(), at(7));
        for shown in 4..8 {
            assert_eq!(history.misfit(at(shown)), None, "files show {shown}");
        }
        assert!(history.misfit(at(3)).unwrap().contains("goes on behind its unit 4"));
        assert!(history.misfit(at(8)).unwrap().contains("ends with its unit 7"));
        for (seq, hash) in [(4, 41), (5, 51), (7, 71)] {
            assert!(
                history.misfit(Head { seq, hash }).unwrap().contains("different"),
                "{seq}"
            );
        }
    }

    #[test]
    fn what_a_repeated_unit_vouches_for_stands_for_files_that_could_not_be_written() {
        let mut history = history();
        history.vouch(&unit(at(4), 0));
        history.vouch(&unit(at(2), 0));
        assert_eq!(history.misfit(at(1)), None);
    }

    #[test]
    fn a_history_of_which_only_repeated_units_are_there_has_come_as_far_as_they_say() {
        let mut history = History::default();
        history.vouch(&unit(at(4), 0));
        assert_eq!((history.head_from(at(2)), history.head_from(at(6))), (at(4), at(6)));
        assert_eq!(history.misfit(at(2)), None);
    }

    #[test]
    fn a_unit_that_is_missing_between_two_others_is_told() {
        for before in [at(8), Head { seq: 7, hash: 1 }] {
            let mut history = history();
            history.add(Lsn::local(9), &unit(before, 90));
            history.add(Lsn::local(10), &unit(history.head(), 100));
            assert!(history.misfit(at(5)).unwrap().contains("comes behind its unit 7"));
        }
    }

    #[test]
    fn an_object_of_which_nothing_was_stored_begins_anew() {
        let mut history = history();
        history.add(Lsn::local(9), &unit(Head::default(), 10));
        assert_eq!(history.head(), at(1));
        assert_eq!(history.misfit(at(3)), None, "files may be of the history before");
    }
}
