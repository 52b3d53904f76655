//! Files follow the journal, never the other way round: what a unit does to files is done once it is durable, and a segment
//! goes when nothing in it is needed any more and a barrier has made durable whatever stands for it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::disk::Disk;
use super::queue::{Queue, WASTE_BYTES};
use super::segment::{self, Header, Segment};
use super::unit::{Settlement, TreeUnit};
use super::writer::new_id;
use super::{Lsn, Pins, Progress};
use crate::storage::file::remove_db;

/// How long a filled segment may wait for a barrier that would release it.
const BARRIER_EVERY: Duration = Duration::from_secs(10);
/// How long after a failure, or while segments wait for busy databases, it is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Spares that are kept; what is released beyond is removed.
const SPARES_KEPT: usize = 1;
/// From this part of the cap on, databases are asked for checkpoints.
const PRESSURE_PART: u64 = 2;

/// What the keeper is told.
pub(super) enum Task {
    /// Units are durable; files must follow.
    Settle(Durable),
    /// A segment is full.
    Filled(Filled),
    /// A spare is going to be needed, or somebody waits for room.
    Spare,
    /// Nothing comes any more. The last segment, unless the journal has failed.
    Stop(Option<Segment>),
}

/// Units that have become durable together.
pub(super) struct Durable {
    pub(super) upto: Lsn,
    /// Units since the last time.
    pub(super) many: u64,
    /// What those that do something to files do.
    pub(super) work: Vec<(Lsn, Settlement)>,
}

/// A segment that is not written any more.
pub(super) struct Filled {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// The last unit of which it holds a part.
    pub(super) last_lsn: Lsn,
}

pub(super) struct Keeper {
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) pins: Arc<Pins>,
    pub(super) disk: Disk,
    /// The data directory.
    pub(super) root: PathBuf,
    /// The journal's, in it.
    pub(super) dir: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) cap_bytes: u64,
    pub(super) tasks: Receiver<Task>,
    /// Oldest first.
    pub(super) filled: VecDeque<Filled>,
    pub(super) backlog: VecDeque<Durable>,
    pub(super) settled: Lsn,
    pub(super) next_spare: u64,
    /// The last failure has been told.
    pub(super) complained: bool,
}

impl Keeper {
    /// Until it is told to stop. True if nothing of the journal is needed any more.
    pub(super) fn run(mut self) -> bool {
        loop {
            let task = match self.timeout() {
                None => self.tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(timeout) => self.tasks.recv_timeout(timeout),
            };
            let mut release = false;
            match task {
                Ok(Task::Settle(durable)) => self.backlog.push_back(durable),
                Ok(Task::Filled(filled)) => {
                    self.filled.push_back(filled);
                    release = true;
                }
                Ok(Task::Spare) => release = true,
                Ok(Task::Stop(last)) => return self.stop(last),
                Err(RecvTimeoutError::Timeout) => release = true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.settle();
            if release {
                self.release();
                self.make_spare();
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.backlog.is_empty() || self.queue.lock().wanted || self.is_pressed() {
            return Some(RETRY_EVERY);
        }
        // The segment that is written holds what waits for a barrier as well, but is not going to be released by one.
        (!self.filled.is_empty()).then_some(BARRIER_EVERY)
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::error!(%error, "{what}; it is tried again, and the journal grows until it succeeds");
        }
    }

    /// Does what durable units do to files, in order. Nothing is skipped: what fails is tried again.
    fn settle(&mut self) {
        while let Some(Durable { upto, many, work }) = self.backlog.front_mut() {
            while let Some((lsn, settlement)) = work.first() {
                if let Err(error) = carry_out(&self.disk, settlement) {
                    self.complain("a change of a tree cannot be written to its files", &error);
                    return;
                }
                for file in settlement.removed_files() {
                    self.pins.backfilled(&file, *lsn);
                }
                work.remove(0);
            }
            let (upto, many) = (*upto, *many);
            self.backlog.pop_front();
            self.settled = upto;
            self.progress.settle(upto);
            self.queue.settled(many);
            self.complained = false;
        }
    }

    fn is_pressed(&self) -> bool {
        let bytes: u64 = self.filled.iter().map(|filled| filled.bytes).sum();
        bytes >= self.cap_bytes / PRESSURE_PART
    }

    /// Releases the segments that nothing needs, if there are any, behind one barrier.
    fn release(&mut self) {
        if (self.is_pressed() || self.queue.lock().wanted)
            && let Some(oldest) = self.filled.front()
        {
            self.pins.press(oldest.last_lsn);
        }
        let needed = self.pins.oldest().unwrap_or(Lsn(u64::MAX)).min(Lsn(self.settled.0 + 1));
        let many = self.filled.iter().take_while(|filled| filled.last_lsn < needed).count();
        if many == 0 {
            return;
        }
        // After the checkpoints and the changes of files that stand for these segments.
        if let Err(error) = self.disk.sync_all(&self.root) {
            // A failed sync is final, here as well: what was written before it may be lost.
            let why = error.to_string();
            tracing::error!(error = %why, "a barrier failed; nothing is acknowledged any more");
            super::writer::fail(&self.queue, &self.progress, &why);
            return;
        }
        if let Err(error) = self.recycle(many) {
            self.complain("segments of the journal cannot be recycled", &error);
        }
    }

    fn recycle(&mut self, many: usize) -> io::Result<()> {
        let mut spares = Vec::new();
        for filled in self.filled.drain(..many).collect::<Vec<_>>() {
            let enough = self.queue.lock().spares.len() + spares.len() >= SPARES_KEPT;
            if enough || filled.bytes != self.segment_bytes {
                self.disk.remove(&filled.path)?;
                continue;
            }
            let spare = self.spare_path();
            self.disk.rename(&filled.path, &spare)?;
            spares.push(spare);
        }
        // Before a spare is written to: after a crash it must not be found under its old name.
        self.disk.sync_dir(&self.dir)?;
        for spare in spares {
            self.add_spare(spare);
        }
        Ok(())
    }

    fn spare_path(&mut self) -> PathBuf {
        self.next_spare += 1;
        segment::spare_path(&self.dir, self.next_spare)
    }

    fn add_spare(&self, spare: PathBuf) {
        let usable = self.segment_bytes.saturating_sub(WASTE_BYTES);
        self.queue.change_room(|state| {
            state.spares.push((spare, usable));
            state.full = None;
        });
    }

    /// Makes a spare if there is none, or if somebody waits for more room.
    fn make_spare(&mut self) {
        let (spares, wanted) = {
            let mut state = self.queue.lock();
            (state.spares.len(), std::mem::take(&mut state.wanted))
        };
        if spares >= SPARES_KEPT && !wanted {
            return;
        }
        let used: u64 = self.filled.iter().map(|filled| filled.bytes).sum();
        let used = used + self.segment_bytes * (1 + spares as u64);
        if used + self.segment_bytes > self.cap_bytes {
            let mib = self.cap_bytes >> 20;
            let why = format!("its {mib} MiB hold commits that are not in database files yet; try again");
            self.queue.change_room(|state| state.full = Some(why.into()));
            return;
        }
        let spare = self.spare_path();
        match self.allocate(&spare, wanted) {
            Ok(()) => self.add_spare(spare),
            Err(error) => {
                let _ = self.disk.remove(&spare);
                let why: Arc<str> = format!("no more room could be made for it: {error}").into();
                self.queue.change_room(|state| state.full = Some(why));
                self.complain("the journal cannot grow", &error);
            }
        }
    }

    /// Zeroes are written unless somebody waits: a write into them changes no metadata, and is a quarter faster.
    fn allocate(&self, spare: &std::path::Path, wanted: bool) -> io::Result<()> {
        let file = self.disk.allocate(spare, self.segment_bytes)?;
        if !wanted {
            self.disk.zero(spare, &file, self.segment_bytes)?;
        }
        drop(file);
        self.disk.sync_file(spare)
    }

    /// The writer has ended, and every store is closed.
    fn stop(&mut self, last: Option<Segment>) -> bool {
        let Some(last) = last else { return false };
        self.settle();
        if !self.backlog.is_empty() {
            return false;
        }
        for (file, newest) in self.pins.files() {
            // Its store could not move the pages; nobody has it open now.
            match crate::storage::identity::fold(&file) {
                Ok(()) => self.pins.backfilled(&file, newest),
                Err(error) => tracing::error!(file = %file.path().display(), %error, "a database could not be closed"),
            }
        }
        if self.pins.oldest().is_some() {
            return false;
        }
        match self.begin_anew(&last) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the journal could not be closed; the next start recovers from it");
                false
            }
        }
    }

    /// Behind a barrier nothing of the journal is needed but its numbers: they go on in a segment without batches.
    fn begin_anew(&mut self, last: &Segment) -> io::Result<()> {
        if last.at == super::batch::BLOCK_BYTES as u64 && self.filled.is_empty() {
            return self.disk.sync_all(&self.root);
        }
        self.disk.sync_all(&self.root)?;
        let spare = self.queue.lock().spares.pop().map(|(spare, _)| spare);
        let spare = match spare {
            Some(spare) => spare,
            None => {
                let spare = self.spare_path();
                drop(self.disk.allocate(&spare, self.segment_bytes)?);
                spare
            }
        };
        let header = Header {
            id: new_id()?,
            number: last.header.number + 1,
            first_lsn: Lsn(self.queue.last().0 + 1),
            previous: [0; 16],
            previous_end: 0,
        };
        Segment::begin(&self.disk, &self.dir, &spare, header)?;
        let old: Vec<_> = self.filled.drain(..).map(|filled| filled.path).collect();
        for path in old.iter().chain([&last.path]) {
            self.disk.remove(path)?;
        }
        self.disk.sync_dir(&self.dir)
    }
}

/// Does to files what a unit did to a tree.
fn carry_out(disk: &Disk, settlement: &Settlement) -> io::Result<()> {
    match &settlement.tree {
        TreeUnit::Unchanged => {}
        TreeUnit::Removed => disk.remove(&settlement.index_path())?,
        TreeUnit::Append(append) if append.header.is_empty() => {
            disk.append(&settlement.index_path(), &append.record)?;
        }
        TreeUnit::Append(append) => {
            let path = settlement.index_path();
            disk.remove(&path)?;
            disk.append(&path, &[&append.header[..], &append.record].concat())?;
        }
    }
    settlement.removed_files().try_for_each(|file| remove_db(&file))
}
