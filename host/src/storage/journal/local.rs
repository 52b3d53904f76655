//! Until commits are written to a journal of their own, the WALs are the journal: one thread takes everything that is
//! queued, syncs the WALs of the batch, then appends the tree records and syncs those, and only then acknowledges.
//!
//! Why a crash leaves whole trees: a tree record is written after the databases it names are on disk, so every database
//! that a record names is complete. A database that no record names yet is an orphan, whatever is in it, and recovery
//! removes it; so the first commit of a new facet becomes real with the record of its creation. A
//! database that a record deletes is unlinked after that record is on disk: until then the facet is all there. Several
//! databases committed by one unit are not atomic here; the journal of records will make them so.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::{AfterDurable, Durability, Journal, Lsn, TreeAppend, Unit};
use crate::index;
use crate::storage::file::{remove_db, sync_dir};

/// Threads that sync files of one batch. A disk that overlaps syncs gains up to here, one that does not loses nothing.
const SYNC_THREADS_MAX: usize = 8;
/// Units that may wait. `append` waits beyond it, for as long as a sync takes: a host that commits faster than its disk
/// must slow down somewhere, and memory is the wrong place.
const QUEUE_UNITS_MAX: usize = 65_536;

/// The journal of one data directory.
pub(crate) struct LocalJournal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    durability: watch::Sender<Durability>,
    /// How long a sync takes at least.
    sync_delay: Option<Duration>,
}

/// `FACETD_TEST_SYNC_DELAY_MS`: tests see by it what waits for the disk.
fn sync_delay() -> Option<Duration> {
    let ms = std::env::var("FACETD_TEST_SYNC_DELAY_MS").ok()?.parse().ok()?;
    Some(Duration::from_millis(ms))
}

#[derive(Default)]
struct Queue {
    units: Vec<Unit>,
    /// The number of the unit that was queued last.
    last: u64,
    closing: bool,
    failed: bool,
}

impl LocalJournal {
    /// Starts the writer's thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (durability, _) = watch::channel(Durability::UpTo(Lsn(0)));
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            durability,
            sync_delay: sync_delay(),
        });
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("facetd-journal".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            writer: Mutex::new(Some(thread)),
        })
    }
}

impl Journal for LocalJournal {
    fn append(&self, unit: Unit) -> Lsn {
        let mut queue = self.shared.lock();
        while queue.units.len() >= QUEUE_UNITS_MAX && !queue.failed {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.last += 1;
        let lsn = Lsn(queue.last);
        if !queue.failed && !queue.closing {
            queue.units.push(unit);
            self.shared.changed.notify_all();
        }
        lsn
    }

    fn durability(&self) -> watch::Receiver<Durability> {
        self.shared.durability.subscribe()
    }

    fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the journal's thread has panicked");
        }
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // If this thread panics, everybody who waits must hear of it.
        let _guard = FailOnPanic(self);
        while let Some((units, last)) = self.take_batch() {
            if let Err(error) = write_batch(&units) {
                // After a failed sync the kernel may have dropped the pages: another try would answer a success that
                // means nothing.
                tracing::error!(%error, "the journal failed; nothing is acknowledged any more");
                self.fail(&error.to_string());
                return;
            }
            if let Some(delay) = self.sync_delay {
                std::thread::sleep(delay);
            }
            self.durability.send_replace(Durability::UpTo(last));
            after_durable(&units);
        }
    }

    /// Waits for units; none when the journal is closed and everything is done.
    fn take_batch(&self) -> Option<(Vec<Unit>, Lsn)> {
        let mut queue = self.lock();
        while queue.units.is_empty() {
            if queue.closing {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let units = std::mem::take(&mut queue.units);
        self.changed.notify_all();
        Some((units, Lsn(queue.last)))
    }

    fn fail(&self, why: &str) {
        let mut queue = self.lock();
        queue.failed = true;
        queue.units.clear();
        self.durability.send_replace(Durability::Failed(why.into()));
        self.changed.notify_all();
    }
}

struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("its thread has panicked");
        }
    }
}

/// One thing to sync before the tree records.
enum Sync<'a> {
    Wal(PathBuf),
    NewFile(&'a super::NewFile),
    Dir(&'a Path),
}

impl Sync<'_> {
    fn run(&self) -> io::Result<()> {
        match self {
            Self::Wal(path) => match File::open(path) {
                Ok(wal) => wal.sync_data().map_err(|error| named("sync", path, &error)),
                // The store was closed: its checkpoint has synced the database before the WAL was removed. Or the facet
                // was deleted by an earlier batch.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(named("open", path, &error)),
            },
            Self::NewFile(file) => file.sync(),
            Self::Dir(dir) => sync_dir(dir).map_err(|error| named("sync", dir, &error)),
        }
    }
}

fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

fn write_batch(units: &[Unit]) -> io::Result<()> {
    let mut seen = HashSet::new();
    let mut syncs = Vec::new();
    for member in units.iter().flat_map(|unit| &unit.members) {
        if seen.insert(member.file.wal_path()) {
            syncs.push(Sync::Wal(member.file.wal_path()));
        }
        if let Some(file) = &member.new_file {
            syncs.push(Sync::NewFile(file));
        }
        if member.new_name && seen.insert(member.file.dir.clone()) {
            syncs.push(Sync::Dir(&member.file.dir));
        }
    }
    sync_all(&syncs)?;
    append_records(units.iter().filter_map(|unit| unit.tree.as_ref()))
}

/// Does all of them, in parallel if there are several.
fn sync_all(syncs: &[Sync<'_>]) -> io::Result<()> {
    let threads = syncs.len().min(SYNC_THREADS_MAX);
    if threads <= 1 {
        return syncs.iter().try_for_each(Sync::run);
    }
    let share = syncs.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let mut chunks = syncs.chunks(share);
        let own = chunks.next().unwrap_or_default();
        let others: Vec<_> = chunks
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(Sync::run)))
            .collect();
        let mut result = own.iter().try_for_each(Sync::run);
        for other in others {
            let outcome = other
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a syncing thread has panicked")));
            result = result.and(outcome);
        }
        result
    })
}

/// Appends records in order, and syncs each file once.
fn append_records<'a>(records: impl Iterator<Item = &'a TreeAppend>) -> io::Result<()> {
    let mut bytes: HashMap<&Path, (Vec<u8>, &[u8])> = HashMap::new();
    for record in records {
        bytes
            .entry(&record.path)
            .or_insert_with(|| (Vec::new(), &record.header))
            .0
            .extend_from_slice(&record.record);
    }
    let mut new_in = HashSet::new();
    for (path, (records, header)) in bytes {
        let append = || {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            let new = file.metadata()?.len() == 0;
            if new {
                file.write_all(header)?;
            }
            file.write_all(&records)?;
            file.sync_data()?;
            Ok(new)
        };
        if append().map_err(|error| named("append to", path, &error))?
            && let Some(dir) = path.parent()
        {
            new_in.insert(dir);
        }
    }
    new_in
        .into_iter()
        .try_for_each(|dir| sync_dir(dir).map_err(|error| named("sync", dir, &error)))
}

/// A failure here loses nothing but space: what should be gone is not named by any record.
fn after_durable(units: &[Unit]) {
    for (at, unit) in units.iter().enumerate() {
        for action in &unit.then {
            let (path, outcome) = match action {
                AfterDurable::Remove(file) => (file.path(), remove_db(file)),
                AfterDurable::RemoveIndex { dir, object } => {
                    let path = index::path(dir, *object);
                    // Everything of this batch was appended already.
                    let later = units[at + 1..].iter().filter_map(|unit| unit.tree.as_ref());
                    if later.into_iter().any(|append| append.path == path) {
                        continue;
                    }
                    let outcome = std::fs::remove_file(&path);
                    (path, outcome)
                }
            };
            if let Err(error) = outcome
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove a file that is not needed any more");
            }
        }
    }
}
