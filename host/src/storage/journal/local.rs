//! The journal of one data directory: a queue, one thread that writes, and one that lets files follow.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disk::Disk;
use super::heads::{Heads, Unshown};
use super::keeper::{Keeper, Task};
use super::queue::{Queue, Spare};
use super::recovering::{Recovering, Stage};
use super::recovery::{self, JournalError, Recovered};
use super::segment::Segment;
use super::writer::Writer;
use super::{Followers, Journal, JournalFull, Lsn, Pins, Progress, Reservation, Unit};
use crate::ids::ObjectId;
use crate::sys::clock;
use crate::sys::die::{self, Point};

/// Bytes of a segment: long enough that a barrier for each costs little, short enough to be spare.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of the whole journal, which bound how long recovery takes.
const CAP_BYTES: u64 = 1 << 30;
/// What a write is taken to cost before any was measured.
const WRITE_GUESS: Duration = Duration::from_micros(500);

/// How a journal is opened.
#[derive(Clone)]
pub(crate) struct JournalOptions {
    /// Length of each segment.
    pub(crate) segment_bytes: u64,
    /// Length of all of them.
    pub(crate) cap_bytes: u64,
    /// Where it writes.
    pub(crate) disk: Disk,
    /// Told how far a recovery is.
    pub(crate) recovering: Arc<Recovering>,
}

impl Default for JournalOptions {
    /// Segments of 64 MiB, a GiB in all.
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            cap_bytes: CAP_BYTES,
            disk: Disk::new(),
            recovering: Arc::default(),
        }
    }
}

/// Makes each sync of the journal take at least so many milliseconds, one after the other; for tests and measurements.
const SYNC_DELAY_VARIABLE: &str = "FACETD_TEST_SYNC_DELAY_MS";
/// After so many writes of the journal every further one fails, for tests.
const FAIL_VARIABLE: &str = "FACETD_TEST_JOURNAL_FAILS_AFTER";
/// Mebibytes of a segment, for tests that fill some.
const SEGMENT_VARIABLE: &str = "FACETD_TEST_SEGMENT_MIB";

impl JournalOptions {
    /// The defaults, but for what tests ask for.
    pub(crate) fn of_environment() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let mut options = Self::default();
        if let Some(delay_ms) = number(SYNC_DELAY_VARIABLE) {
            options.disk = Disk::with_slow_syncs(Duration::from_millis(delay_ms));
        }
        if let Some(writes) = number(FAIL_VARIABLE) {
            options.disk = Disk::failing_after(writes);
        }
        if let Some(mib) = number(SEGMENT_VARIABLE) {
            options.segment_bytes = mib.clamp(4, SEGMENT_BYTES >> 20) << 20;
            options.cap_bytes = options.segment_bytes * (CAP_BYTES / SEGMENT_BYTES);
        }
        options
    }
}

/// The journal on the local disk.
pub(crate) struct LocalJournal {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    pins: Arc<Pins>,
    heads: Arc<Heads>,
    followers: Arc<Followers>,
    tasks: Mutex<Sender<Task>>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<Option<Segment>>,
    keeper: JoinHandle<bool>,
}

impl LocalJournal {
    /// Brings the files below `root` to what the journal says, and goes on from there. The directory is locked by this
    /// process; `was_dirty`: the last one did not stop cleanly. `mend` is called when the journal has been carried out and
    /// before it is let go.
    pub(crate) fn open(
        root: &Path,
        was_dirty: bool,
        options: &JournalOptions,
        mend: impl FnOnce(&Recovered) -> std::io::Result<()>,
    ) -> Result<(Self, Recovered), JournalError> {
        die::pass(Point::Opening);
        let dir = dir(root);
        // Opened once, before anything is written: an error of the disk is told to each open file, once.
        let options = &JournalOptions {
            disk: options.disk.clone().rooted(root)?,
            ..options.clone()
        };
        if was_dirty {
            options.recovering.tell(Stage::Reading);
        }
        let (segment, spares, recovered) = recovery::recover(root, &dir, was_dirty, options, mend)?;
        options.recovering.tell(Stage::Starting);
        let last = segment.header.first_lsn.previous();
        let (queue, progress, pins) = (Queue::new(last), Progress::new(last), Arc::<Pins>::default());
        let heads = Arc::<Heads>::default();
        let followers = Arc::<Followers>::default();
        queue.add_room(|state| {
            state.segment_bytes = segment.room();
            (state.oldest, state.oldest_written) = (segment.header.oldest, segment.header.oldest);
            let bytes = options.segment_bytes;
            state.spares = spares
                .iter()
                .map(|path| Spare {
                    path: path.clone(),
                    bytes,
                })
                .collect();
        });
        let (tasks, received) = channel();
        let keeper = Keeper {
            queue: queue.clone(),
            progress: progress.clone(),
            pins: pins.clone(),
            heads: heads.clone(),
            unshown: Default::default(),
            followers: followers.clone(),
            disk: options.disk.clone(),
            root: root.to_owned(),
            dir: dir.clone(),
            segment_bytes: options.segment_bytes,
            cap_bytes: options.cap_bytes,
            tasks: received,
            filled: Default::default(),
            backlog: Default::default(),
            stuck: Default::default(),
            carried: Default::default(),
            retried: None,
            told_at: 0,
            settled: last,
            next_spare: recovered.next_spare,
            complained: false,
        };
        let writer = Writer {
            queue: queue.clone(),
            progress: progress.clone(),
            disk: options.disk.clone(),
            dir,
            segment,
            keeper: tasks.clone(),
            write_mean: WRITE_GUESS,
            asked_for_spare: false,
        };
        let io = |error: std::io::Error| JournalError::Io(error.to_string());
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = Threads {
            writer: thread("facetd-journal").spawn(|| writer.run()).map_err(io)?,
            keeper: thread("facetd-keeper").spawn(|| keeper.run()).map_err(io)?,
        };
        let journal = Self {
            queue,
            progress,
            pins,
            heads,
            followers,
            tasks: Mutex::new(tasks),
            threads: Mutex::new(Some(threads)),
        };
        Ok((journal, recovered))
    }

    /// Why there cannot be more room now.
    #[cfg(test)]
    pub(super) fn queue_is_full(&self) -> Option<Arc<str>> {
        self.queue.lock().full.clone()
    }

    fn tell(&self, task: Task) {
        // The keeper ends last; after that there is nobody to tell.
        let _ = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).send(task);
    }
}

/// Where the journal of a data directory lies.
pub(super) fn dir(root: &Path) -> PathBuf {
    root.join("journal")
}

impl Journal for LocalJournal {
    fn reserve(&self, bytes: u64) -> Result<Reservation, JournalFull> {
        self.queue.reserve(bytes, || self.tell(Task::Spare))
    }

    fn stuck(&self, object: ObjectId) -> Option<Arc<str>> {
        self.queue.stuck(object)
    }

    fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        self.queue.try_reserve(bytes)
    }

    fn unshown(&self, dir: &Path, object: ObjectId) -> Unshown {
        self.heads.unshown(&(dir.into(), object), self.progress.durable())
    }

    fn append(&self, unit: Unit) -> Lsn {
        die::pass(Point::Appending);
        let follows = Followers::concerned(&unit);
        let key = (unit.dir.clone(), unit.object);
        let lsn = self.heads.lengthen(key, |before| {
            let unit = unit.encode(before, clock::unix_ms());
            let head = unit.settlement.head;
            let lsn = self.queue.push(unit, |lsn, unit| {
                for file in &unit.files {
                    self.pins.pin(file, lsn);
                }
                for file in unit.settlement.removed_files() {
                    self.pins.removed(&file, lsn);
                }
                if let Some(dir) = &follows {
                    self.followers.appended(dir, lsn);
                }
                for file in &unit.announced {
                    self.pins.announce(unit.settlement.file(*file), lsn);
                }
            });
            (lsn, head)
        });
        die::pass(Point::Appended);
        lsn
    }

    fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    fn followers(&self) -> &Arc<Followers> {
        &self.followers
    }

    fn is_tight(&self) -> bool {
        self.queue.is_tight()
    }

    fn trouble(&self) -> Option<String> {
        self.queue.trouble()
    }

    fn fail(&self, why: &str) {
        super::writer::fail(&self.queue, &self.progress, why);
    }

    fn close(&self) -> bool {
        self.queue.close();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, keeper }) = threads else {
            return false;
        };
        let last = writer.join().unwrap_or_else(|_| {
            tracing::error!("the journal's thread has panicked");
            None
        });
        // All that is going to be durable is.
        self.followers.catch_up(self.progress.durable());
        self.tell(Task::Stop(last));
        // It may be the keeper that lets go of the last store, and so of the journal: it cannot wait for itself.
        let is_keeper = keeper.thread().id() == std::thread::current().id();
        let complete = !is_keeper
            && keeper.join().unwrap_or_else(|_| {
                tracing::error!("the journal's keeper has panicked");
                false
            });
        // Whoever waits for what was appended later waits in vain.
        self.progress.fail("it is closed");
        complete
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        self.close();
    }
}
