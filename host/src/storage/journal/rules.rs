//! Tests take one rule away, for one data directory, and must see the checker fail. Everywhere else all of them hold, and
//! asking costs nothing.

/// A rule without which something acknowledged can be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// A batch is durable when its write returns.
    BatchIsSynced,
    /// A unit is acknowledged after it was written.
    AckAfterWrite,
    /// After a failure nothing is acknowledged.
    FailureIsFinal,
    /// Only durable pages reach a database file.
    CheckpointAfterDurable,
    /// A segment is released behind a barrier.
    BarrierBeforeRelease,
    /// A segment is kept while it holds the only copy of a page.
    PinsHoldSegments,
    /// It holds the pages of a database that is removed until that is durable.
    RemovalHoldsPin,
    /// A segment is kept until the index of alarms holds what its units did to alarms.
    FollowersHoldSegments,
    /// A segment is kept until files show what its units did to trees.
    SettledBeforeRelease,
    /// All frames of a commit are in its unit.
    AllFramesAreShipped,
    /// A log of another process is never read.
    StrangeLogIsRemoved,
    /// The first commit of a database holds all of its pages.
    FirstCommitIsWhole,
    /// Pages belong to one generation of their file.
    GenerationsAreApart,
    /// Files change only once their unit is durable.
    FilesFollowUnits,
    /// A copy is durable before its unit.
    CopyIsSynced,
    /// Each use of a segment has an id of its own.
    SegmentHasNewId,
    /// A new segment has its name before anything is acknowledged in it.
    SegmentIsNamed,
    /// A file says how far its object's history has come before what it has come by is let go.
    HeadsAreShown,
    /// A copy is announced before its file is made.
    CopyIsAnnounced,
    /// A history that does not go on where the files of its object are is not carried out.
    HistoriesGoOn,
    /// A batch says that a segment is not needed before it goes.
    ReleaseIsWritten,
    /// What files do not show for long is written again at the head.
    StuckIsMoved,
    /// So is what a database that cannot be written holds of the tail.
    UnwrittenIsMoved,
    /// A released segment has lost its name before it is used again.
    ReleasedIsUnnamed,
    /// No block with an acknowledged byte is written again.
    BlockIsWrittenOnce,
    /// A bad batch that was acknowledged is damage.
    DamageIsRefused,
    /// A segment that is needed and not there is damage.
    MissingIsRefused,
    /// Recovery makes durable what it has read before it acts upon it.
    ReadIsSynced,
    /// The last batch that was read is written again: its first write may have failed, and left it in the page cache only.
    LastIsWrittenAgain,
    /// Recovery makes durable what it has done before the journal goes.
    RedoIsSynced,
    /// There is room in the journal before a COMMIT.
    RoomBeforeCommit,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn hold(_: Rule, _: &std::path::Path) -> bool {
    true
}

#[cfg(test)]
pub(crate) use tests::hold;

#[cfg(test)]
pub(crate) mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::Rule;

    static ANY: AtomicBool = AtomicBool::new(false);
    static TAKEN: Mutex<Vec<(Rule, PathBuf)>> = Mutex::new(Vec::new());

    /// False if the rule was taken away for what lies there.
    pub(crate) fn hold(rule: Rule, path: &Path) -> bool {
        if !ANY.load(Ordering::Relaxed) {
            return true;
        }
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        !taken
            .iter()
            .any(|(other, root)| *other == rule && path.starts_with(root))
    }

    /// Takes a rule away below a directory, until dropped.
    pub(crate) struct Without(Option<Rule>, PathBuf);

    impl Without {
        pub(crate) fn new(rule: Option<Rule>, root: &Path) -> Self {
            if let Some(rule) = rule {
                ANY.store(true, Ordering::Relaxed);
                TAKEN
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((rule, root.to_owned()));
            }
            Self(rule, root.to_owned())
        }
    }

    impl Drop for Without {
        fn drop(&mut self) {
            let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
            taken.retain(|(rule, root)| self.0 != Some(*rule) || *root != self.1);
        }
    }
}
