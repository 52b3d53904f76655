//! The journal says when a commit is durable: numbers rise in the order of `append`, durability follows that order, and
//! after one failure nothing is acknowledged any more.

mod local;
#[cfg(test)]
mod memory;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::alarm::AlarmChange;
use super::file::DbFile;
use crate::ids::{FileId, ObjectId};
use crate::index::{self, TreeChange};

pub(crate) use local::LocalJournal;
#[cfg(test)]
pub(crate) use memory::MemoryJournal;

/// The number of a unit; 0 stands for nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Lsn(pub(crate) u64);

impl Lsn {
    /// Before every commit: always durable.
    pub(crate) const ZERO: Self = Self(0);
}

/// How far the journal has come.
#[derive(Clone, Debug)]
pub(crate) enum Durability {
    /// Every unit up to this one is durable.
    UpTo(Lsn),
    /// Writing or syncing failed, final: units that were not acknowledged before never are. Their state is unknown.
    Failed(Arc<str>),
}

/// Where commits become durable.
pub(crate) trait Journal: Send + Sync {
    /// Queues what one unit committed and answers its number. Never waits for a disk.
    fn append(&self, unit: Unit) -> Lsn;
    /// Tells how far it has come.
    fn durability(&self) -> watch::Receiver<Durability>;
    /// Takes nothing more, waits until what is queued is done. What is appended later is never durable.
    fn close(&self);
}

/// What must become durable together.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// The databases that were committed.
    pub(crate) members: Vec<Committed>,
    /// The change of the tree, if any.
    pub(crate) tree: Option<TreeAppend>,
    /// What is done once all this is durable, in this order.
    pub(crate) then: Vec<AfterDurable>,
}

/// One database's commit.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Which database.
    pub(crate) file: DbFile,
    /// The name of the WAL, perhaps of the database too, may not be durable: the directory must be synced.
    pub(crate) new_name: bool,
    /// The first commit of a new database.
    pub(crate) new_file: Option<NewFile>,
    /// What it made of the facet's alarm, if it changed it.
    pub(crate) alarm: Option<AlarmChange>,
}

impl Committed {
    /// True for the first commit of a new database.
    pub(crate) fn created(&self) -> bool {
        self.new_file.is_some()
    }
}

/// The descriptor through which a new database was written.
///
/// To sync it, the database must not be opened again: closing any descriptor of a file drops all POSIX locks of the process
/// on it, and SQLite's are among them. So the first descriptor stays open, shared with the store, until the store has
/// closed its connection; from then on the checkpoint of that close has synced the file, and nothing is here any more.
/// (If the store is dropped without a checkpoint and opened again before the journal is here, dropping this one takes the
/// locks of the new connection. They only keep out other processes; one that opens a running facet's database is refused
/// for the whole of its life otherwise.)
#[derive(Clone, Debug)]
pub(crate) struct NewFile(Arc<Mutex<Option<File>>>);

impl NewFile {
    pub(super) fn new(file: Arc<Mutex<Option<File>>>) -> Self {
        Self(file)
    }

    /// Takes the descriptor out; waits for a sync that is under way.
    pub(super) fn take(&self) -> Option<File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn sync(&self) -> std::io::Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.sync_all(),
            None => Ok(()),
        }
    }
}

/// A record for the end of an object's `.facets` file.
#[derive(Debug)]
pub(crate) struct TreeAppend {
    path: PathBuf,
    /// Written first if the file is new.
    header: Vec<u8>,
    record: Vec<u8>,
}

impl TreeAppend {
    /// `seq` and `next_file` are as they were before these changes.
    pub(crate) fn new(dir: &Path, object: ObjectId, next_file: FileId, seq: u64, changes: &[TreeChange]) -> Self {
        Self {
            path: index::path(dir, object),
            header: index::encode_header(object, next_file, seq),
            record: index::encode_record(seq, changes),
        }
    }
}

/// What waits for durability: files are only removed when no crash can bring back a state that needs them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AfterDurable {
    /// A database that no record names any more. Its store is closed or dropped.
    Remove(DbFile),
    /// The `.facets` file of an object without facets. It stays if a later unit has written to it.
    RemoveIndex {
        /// The namespace's directory.
        dir: PathBuf,
        /// The object.
        object: ObjectId,
    },
}

/// The journal has failed; what was waited for may or may not be durable.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal failed: {0}")]
pub(crate) struct JournalFailed(pub(crate) Arc<str>);

/// Waits until everything up to `lsn` is durable.
pub(crate) async fn wait_durable(receiver: &mut watch::Receiver<Durability>, lsn: Lsn) -> Result<(), JournalFailed> {
    let reached = |state: &Durability| match state {
        Durability::UpTo(durable) => *durable >= lsn,
        Durability::Failed(_) => true,
    };
    let state = receiver
        .wait_for(reached)
        .await
        .map_err(|_| JournalFailed("it was closed".into()))?;
    match &*state {
        Durability::UpTo(_) => Ok(()),
        Durability::Failed(why) => Err(JournalFailed(Arc::clone(why))),
    }
}

#[cfg(test)]
mod tests;
