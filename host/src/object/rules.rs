//! Tests take one rule away, for their own thread, and must see the checkers fail. Everywhere else all of them hold, and
//! asking costs nothing.

/// A rule without which the tree breaks a promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// With an epoch end those below it.
    EpochsEndWithThoseBelow,
    /// A new incarnation waits for those before it at its path.
    PredecessorsAreWaitedFor,
    /// A facet that is deleted by a turn which is not over takes no events.
    DeletedIsNotReached,
    /// What a lost turn has deleted comes back.
    LostDeletesAreUndone,
    /// What a lost turn has restarted has its old startup again.
    LostRestartsAreUndone,
    /// The index names what is deleted by a turn until that is over.
    DeletedIsStoredUntilTheEnd,
    /// A startup is recorded with the turn that has set it, not with another.
    StartupsFollowTheirTurn,
    /// A clone copies nothing that another turn has done which is not over.
    CopiesAreOfWhatIsCommitted,
    /// A place is kept in mind until the last incarnation there is gone: it may have a commit that is not recorded.
    PlacesAreKeptForCommits,
    /// No id of a file is given out twice.
    FileIdsAreNew,
    /// A facet that runs keeps its file's id, though the index has forgotten it.
    FileIdsAreKept,
    /// An entry goes with the last that is stored below it, with a lost turn as with one that is not.
    EntriesGoWithTheLast,
}

#[cfg(not(test))]
#[inline(always)]
pub(super) const fn hold(_: Rule) -> bool {
    true
}

#[cfg(test)]
pub(super) use tests::hold;

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static TAKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// False if the rule was taken away from this thread.
    pub(in crate::object) fn hold(rule: Rule) -> bool {
        TAKEN.get() != Some(rule)
    }

    /// Takes a rule away from this thread, until dropped.
    pub(in crate::object) struct Without;

    impl Without {
        pub(in crate::object) fn new(rule: Option<Rule>) -> Self {
            TAKEN.set(rule);
            Self
        }
    }

    impl Drop for Without {
        fn drop(&mut self) {
            TAKEN.set(None);
        }
    }
}
