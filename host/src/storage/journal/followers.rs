//! What is derived from units and kept in files of its own follows the journal: a segment is kept until these files hold what
//! its units did, so that nobody has to read all databases to make them anew. Who cannot write them holds nobody up: they are
//! removed, and the next start makes them anew.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::unit::Unit;
use super::{Disk, Lsn};
use crate::sys::clock;

/// Keeps files that are derived from units of one namespace.
pub(crate) trait Follow: Send + Sync {
    /// Writes what units up to `durable` have done and the files do not hold. No further ones come.
    fn catch_up(&self, durable: Lsn);
}

/// The indexes of alarms of the namespaces that are served.
#[derive(Default)]
pub(crate) struct Followers {
    /// By the directory of their namespace.
    state: Mutex<BTreeMap<PathBuf, Follower>>,
}

struct Follower {
    who: Weak<dyn Follow>,
    /// What is removed if they cannot be written.
    files: Vec<PathBuf>,
    /// Units that they lack, and since when.
    behind: BTreeMap<Lsn, Instant>,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Followers").field("oldest", &self.oldest()).finish()
    }
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Follower>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on segments wait for this one.
    pub(crate) fn join(&self, dir: &Path, files: Vec<PathBuf>, who: Weak<dyn Follow>) {
        let behind = BTreeMap::new();
        self.lock().insert(dir.to_owned(), Follower { who, files, behind });
    }

    /// The directory whose follower a unit concerns, if it does.
    pub(super) fn concerned(unit: &Unit) -> Option<Arc<Path>> {
        let has_alarms = unit.members.iter().any(|member| member.alarm.is_some());
        (has_alarms || !unit.removed.is_empty()).then(|| unit.dir.clone())
    }

    /// A unit that concerns it has got its number: told before the unit can become durable.
    pub(crate) fn appended(&self, dir: &Path, lsn: Lsn) {
        if let Some(follower) = self.lock().get_mut(dir) {
            follower.behind.insert(lsn, clock::now());
        }
    }

    /// The files hold what these units did.
    pub(crate) fn followed(&self, dir: &Path, units: impl IntoIterator<Item = Lsn>) {
        if let Some(follower) = self.lock().get_mut(dir) {
            for lsn in units {
                follower.behind.remove(&lsn);
            }
        }
    }

    /// No segment that holds this unit or a later one can go.
    pub(crate) fn oldest(&self) -> Option<Lsn> {
        let state = self.lock();
        let firsts = state.values().filter_map(|follower| follower.behind.keys().next());
        firsts.min().copied()
    }

    /// Everybody writes what is left to be written.
    pub(super) fn catch_up(&self, durable: Lsn) {
        let everybody: Vec<_> = self
            .lock()
            .values()
            .filter_map(|follower| follower.who.upgrade())
            .collect();
        everybody.iter().for_each(|follower| follower.catch_up(durable));
    }

    /// Gives up the files of those that lack a unit up to `upto` since `until` or longer: what is derived is made anew by the
    /// next start. Whoever has them open goes on with what has no name any more.
    pub(super) fn give_up(&self, disk: &Disk, upto: Lsn, until: Instant) -> io::Result<()> {
        let mut state = self.lock();
        let late = |follower: &Follower| {
            let mut units = follower.behind.range(..=upto);
            units.next().is_some_and(|(_, since)| *since <= until)
        };
        let late: Vec<_> = state
            .iter()
            .filter(|(_, follower)| late(follower))
            .map(|(dir, _)| dir.clone())
            .collect();
        for dir in late {
            tracing::error!(dir = %dir.display(), "the index of alarms cannot be written; the next start makes it anew");
            for file in &state[&dir].files {
                disk.remove(file)?;
            }
            state.remove(&dir);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Follow for Nobody {
        fn catch_up(&self, _: Lsn) {}
    }

    #[test]
    fn who_is_behind_for_long_is_given_up_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let (late, well) = (dir.path().join("late"), dir.path().join("well"));
        let followers = Followers::default();
        for dir in [&late, &well] {
            std::fs::write(dir, b"an index").unwrap();
            followers.join(dir, vec![dir.clone(), dir.with_extension("wal")], Weak::<Nobody>::new());
        }
        for (dir, lsn) in [(&late, 3), (&well, 4), (&late, 5), (&well, 7)] {
            followers.appended(dir, Lsn::local(lsn));
        }
        // Nobody follows there.
        followers.appended(dir.path(), Lsn::local(1));
        assert_eq!(followers.oldest(), Some(Lsn::local(3)));
        followers.followed(&well, [Lsn::local(4)]);
        let now = clock::now();
        followers.give_up(&Disk::new(), Lsn::local(2), now).unwrap();
        assert!(late.exists(), "it lacks nothing up to there");
        let before = now.checked_sub(std::time::Duration::from_secs(60)).unwrap();
        followers.give_up(&Disk::new(), Lsn::local(6), before).unwrap();
        assert!(late.exists(), "it is not late yet");
        followers.give_up(&Disk::new(), Lsn::local(6), now).unwrap();
        assert!(!late.exists() && well.exists());
        assert_eq!(followers.oldest(), Some(Lsn::local(7)));
        followers.appended(&late, Lsn::local(9));
        followers.followed(&well, [Lsn::local(7)]);
        assert_eq!(followers.oldest(), None, "who was given up holds nothing any more");
    }
}
