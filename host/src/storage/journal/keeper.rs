//! Files follow the journal, never the other way round: what a unit does to files is done once it is durable, and a segment
//! goes when nothing in it is needed any more and a barrier has made durable whatever stands for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::carried::{self, Carried};
use super::disk::Disk;
use super::heads::{Heads, Key};
use super::queue::{Queue, Spare};
use super::rules::{self, Rule};
use super::segment::{self, Segment};
use super::stuck::Stuck;
use super::unit::{Settlement, TreeUnit, Unit};
use super::{Followers, Lsn, Pins, Progress};
use crate::index::{self, Head};
use crate::storage::file::DbFile;
use crate::sys::clock;
use crate::sys::die::{self, Point};

mod spares;
mod stop;

/// How long a filled segment may wait for a barrier that would release it.
const BARRIER_EVERY: Duration = Duration::from_secs(10);
/// How long after a failure, or while segments wait for busy databases, it is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 500 });
/// Spares that are kept; what is released beyond is removed.
const SPARES_KEPT: usize = 1;
/// What an object that is stuck holds of the tail is written again at the head after this.
pub(super) const MOVE_AFTER: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 30_000 });
/// Parts of the cap at which the log says who holds the journal.
const TELL_AT_PERCENT: [u64; 3] = [50, 75, 90];
/// Held so long by the same one, and half full, the host is not well.
const HELD_TROUBLES: Duration = Duration::from_secs(600);
/// So many histories are shown before the segment is full.
const UNSHOWN_MAX: usize = 16_384;
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
    /// What each of them does to files.
    pub(super) units: Vec<(Lsn, Settlement)>,
}

/// A segment that is not written any more.
pub(super) struct Filled {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// The last unit of which it holds a part.
    pub(super) last_lsn: Lsn,
}

pub(super) struct Keeper {
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) pins: Arc<Pins>,
    pub(super) heads: Arc<Heads>,
    /// How far histories have come that their indexes do not show, with the units that they are: all are durable.
    pub(super) unshown: HashMap<Key, (Lsn, Head)>,
    pub(super) followers: Arc<Followers>,
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
    pub(super) stuck: Stuck,
    pub(super) carried: Carried,
    /// When they were last tried again.
    pub(super) retried: Option<Instant>,
    pub(super) settled: Lsn,
    pub(super) next_spare: u64,
    /// So many of `TELL_AT_PERCENT` have been told of.
    pub(super) told_at: usize,
    /// The last failure has been told.
    pub(super) complained: bool,
}

impl Keeper {
    /// Until it is told to stop. True if nothing of the journal is needed any more.
    pub(super) fn run(mut self) -> bool {
        let (queue, progress) = (self.queue.clone(), self.progress.clone());
        let _guard = super::writer::FailOnPanic(&queue, &progress);
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
            self.look_for_directory();
            if self.unshown.len() >= UNSHOWN_MAX {
                self.show_heads();
            }
            if release {
                self.release();
                self.make_spare();
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.stuck.is_empty() || !self.carried.is_empty() || self.queue.lock().wanted || self.is_pressed() {
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

    /// Does what durable units do to files, those of each object in order. Nothing is skipped: what fails is tried again, and
    /// stops its object alone, so that a disk that is full takes what makes room.
    fn settle(&mut self) {
        let Self {
            disk,
            pins,
            stuck,
            backlog,
            retried,
            unshown,
            ..
        } = self;
        let carry_out = |lsn: Lsn, settlement: &mut Settlement| {
            die::pass(Point::Settling);
            for file in settlement.removed_files() {
                // Its pages are not needed, whether or not the file can be removed now.
                pins.backfilled(&file, lsn);
            }
            carry_out(disk, settlement)?;
            settlement.removed_files().for_each(|file| pins.is_gone(&file));
            // Somebody's, or nobody's and gone.
            for file in settlement.copied_files().chain(settlement.removed_files()) {
                pins.is_copied(&file);
            }
            Ok(())
        };
        let was_stuck = stuck.firsts();
        // Not with each batch: there may be many, and each costs calls that fail.
        let is_time = retried.is_none_or(|then| clock::now().saturating_duration_since(then) >= RETRY_EVERY);
        let mut failure = None;
        if is_time && !stuck.is_empty() {
            failure = stuck.retry(carry_out);
            *retried = Some(clock::now());
        }
        let mut upto = None;
        let mut many = 0;
        for durable in backlog.drain(..) {
            for (lsn, mut settlement) in durable.units {
                if stuck.has_moved(lsn) || settlement.repeats {
                    continue;
                }
                unshown.insert((settlement.dir.clone(), settlement.object), (lsn, settlement.head));
                if settlement.is_empty() {
                    continue;
                }
                if stuck.holds(settlement.object) {
                    stuck.follow(lsn, settlement);
                } else if let Err(error) = carry_out(lsn, &mut settlement) {
                    stuck.begin(lsn, settlement, &error);
                    failure = Some(error);
                }
            }
            (upto, many) = (Some(durable.upto), many + durable.many);
        }
        let changed = was_stuck != stuck.firsts();
        if changed {
            self.tell_stuck();
        }
        if let Some(upto) = upto {
            self.settled = upto;
            for (file, lsn) in self.carried.durable(upto) {
                self.pins.moved(&file, lsn);
            }
        }
        if upto.is_some() || changed {
            self.progress.settle(self.settled, self.stuck.firsts());
            self.queue.settled(many);
            die::pass(Point::Settled);
        }
        // A spare can be had again, room for what was acknowledged cannot wait.
        if failure.as_ref().is_some_and(segment::is_full) {
            self.drop_spare();
        }
    }

    /// Has indexes say how far histories have come, before what they have come by is let go. What cannot be written waits with
    /// what else its object's files cannot show.
    fn show_heads(&mut self) {
        if !rules::hold(Rule::HeadsAreShown, &self.root) {
            self.unshown.clear();
            return;
        }
        let was_stuck = self.stuck.firsts();
        for (key, (lsn, head)) in self.unshown.drain() {
            let (dir, object) = &key;
            let mut settlement = Settlement::of_head(dir.clone(), *object, head);
            if self.stuck.holds(*object) {
                self.stuck.follow(lsn, settlement);
            } else if let Err(error) = carry_out(&self.disk, &mut settlement) {
                self.stuck.begin(lsn, settlement, &error);
            } else {
                self.heads.is_shown(&key, head);
            }
        }
        if was_stuck != self.stuck.firsts() {
            self.tell_stuck();
            self.progress.settle(self.settled, self.stuck.firsts());
        }
    }

    /// Which objects take no commits now.
    fn tell_stuck(&self) {
        let mut reasons = self.carried.reasons();
        reasons.extend(self.stuck.reasons());
        self.queue.set_stuck(reasons);
    }

    /// What databases that cannot be written hold of the tail, up to `upto`, is written again at the head.
    fn carry(&mut self, upto: Lsn) {
        let pins = self.pins.clone();
        let used: u64 = self.filled.iter().map(|filled| filled.bytes).sum();
        if used > self.cap_bytes / 4 * 3 {
            // Later there may be no room for that.
            self.carried.hurry();
        }
        self.carried.keep(|file| pins.newest(file).is_some());
        if rules::hold(Rule::UnwrittenIsMoved, &self.root) {
            let due = self.carried.due();
            for file in due.into_iter().filter(|file| pins.holds(file, upto)) {
                let mut queued = None;
                pins.carry(&file, self.progress.durable(), |newest| {
                    queued = self.repeat(&file, newest);
                    queued
                });
                if let Some(lsn) = queued {
                    self.carried.queued(&file, lsn);
                }
            }
        }
        self.tell_stuck();
    }

    fn repeat(&self, file: &DbFile, newest: Lsn) -> Option<Lsn> {
        let (pages, head) = match carried::collect(&self.dir, file, newest) {
            Ok(found) => found?,
            Err(error) => {
                // It is read while it is written. The next time it may be whole.
                tracing::warn!(%error, file = %file.path().display(), "the journal could not be read for what holds its tail");
                return None;
            }
        };
        let mut rooms = Vec::new();
        for piece in &pages {
            match self.queue.try_reserve(piece.bytes.len() as u64) {
                Some(room) => rooms.push(room),
                None => {
                    self.queue.want();
                    return None;
                }
            }
        }
        let many: usize = pages.iter().map(|piece| piece.numbers.len()).sum();
        tracing::warn!(file = %file.path().display(), pages = many, "a database cannot be written; its pages are \
            written again at the head of the journal, and its object is refused until it can be");
        let mut last = None;
        for (piece, room) in pages.into_iter().zip(rooms) {
            let unit = carried::again(file, newest, piece, room).encode(head, clock::unix_ms());
            let expected = last.unwrap_or(newest);
            // Its facet may have been deleted while the journal was read.
            let is_newest = || self.pins.newest(file) == Some(expected);
            last = Some(self.queue.push_if(unit, is_newest, |lsn, unit| {
                for file in &unit.files {
                    self.pins.pin(file, lsn);
                }
            })?);
        }
        last
    }

    /// Says who holds the journal: in the log when the next part of the cap is passed, and to whoever asks how the host is, when
    /// it has been held for long.
    fn watch_room(&mut self) {
        let used: u64 = self.filled.iter().map(|filled| filled.bytes).sum::<u64>() + self.segment_bytes;
        let percent = used * 100 / self.cap_bytes.max(1);
        let passed = TELL_AT_PERCENT.into_iter().filter(|at| percent >= *at).count();
        let pin = self.pins.oldest_named();
        let stuck = self.stuck.oldest();
        let holder = match (&pin, &stuck) {
            (Some((pinned, ..)), Some((lsn, object, since))) if lsn < pinned => {
                Some((format!("object {object}, whose files cannot be written"), *since))
            }
            (None, Some((_, object, since))) => {
                Some((format!("object {object}, whose files cannot be written"), *since))
            }
            (Some((_, file, since)), _) => Some((file.path().display().to_string(), *since)),
            (None, None) => None,
        };
        if passed > self.told_at {
            let (held_by, held_s) = match &holder {
                Some((who, since)) => (who.as_str(), clock::now().saturating_duration_since(*since).as_secs()),
                None => ("nobody", 0),
            };
            tracing::warn!(percent, held_by, held_s, "the journal fills");
        }
        self.told_at = passed;
        let held =
            holder.filter(|(_, since)| passed > 0 && clock::now().saturating_duration_since(*since) >= HELD_TROUBLES);
        self.queue.set_held(held.is_some());
    }

    /// Writes to a directory that was moved away or removed succeed, and are nowhere.
    fn look_for_directory(&self) {
        if let Err(error) = self.disk.is_in_place()
            && !self.queue.has_failed()
        {
            let why = error.to_string();
            tracing::error!(error = %why, "nothing is acknowledged any more");
            super::writer::fail(&self.queue, &self.progress, &why);
        }
    }

    /// Makes room on the disk. False if there is no spare.
    fn drop_spare(&mut self) -> bool {
        let Some(Spare { path: spare, .. }) = self.queue.lock().spares.pop() else {
            return false;
        };
        if let Err(error) = self.disk.remove(&spare) {
            tracing::warn!(%error, "a spare of the journal cannot be removed");
        }
        true
    }

    fn is_pressed(&self) -> bool {
        let bytes: u64 = self.filled.iter().map(|filled| filled.bytes).sum();
        bytes >= self.cap_bytes / PRESSURE_PART
    }

    /// Releases the segments that nothing needs, if there are any, behind one barrier.
    fn release(&mut self) {
        if self.queue.has_failed() {
            // A barrier that succeeds after one that failed says nothing about what was lost.
            return;
        }
        if (self.is_pressed() || self.queue.lock().wanted)
            && let Some(oldest) = self.filled.front()
        {
            let failed = self.pins.press(oldest.last_lsn, self.progress.durable());
            let (upto, until) = (oldest.last_lsn, clock::now().checked_sub(MOVE_AFTER));
            self.carried.failed(failed);
            let append = |lsn: Lsn, settlement: &Settlement| {
                // As much as there is room for now; the rest when there is more.
                let room = self.queue.try_reserve(settlement.bytes())?;
                let unit = Unit {
                    room: vec![room],
                    ..settlement.again(lsn)
                };
                Some(
                    self.queue
                        .push(unit.encode(settlement.head, clock::unix_ms()), |_, _| {}),
                )
            };
            if let Some(until) = until.filter(|_| rules::hold(Rule::StuckIsMoved, &self.root)) {
                self.stuck.move_up(upto, until, append);
            }
            self.carry(upto);
            self.give_up_followers(upto);
        } else if !self.carried.is_empty() {
            // Perhaps they can be written again.
            let failed = self
                .pins
                .press_those(|_, file| self.carried.holds(file), self.progress.durable());
            self.carried.failed(failed);
            self.carry(Lsn::ZERO);
        }
        if !self.filled.is_empty() {
            // Of the unit that goes on behind a segment, too: without its beginning it is nothing.
            self.show_heads();
        }
        if let Some(oldest) = self.filled.front() {
            self.pins.lift_closed(oldest.last_lsn, self.progress.durable());
        }
        let mut needed = Lsn::MAX;
        if rules::hold(Rule::PinsHoldSegments, &self.root) {
            needed = needed.min(self.pins.oldest().unwrap_or(needed));
        }
        if rules::hold(Rule::SettledBeforeRelease, &self.root) {
            needed = needed.min(self.settled.next());
            needed = self.stuck.oldest().map_or(needed, |(lsn, ..)| needed.min(lsn));
        }
        if rules::hold(Rule::FollowersHoldSegments, &self.root) {
            needed = needed.min(self.followers.oldest().unwrap_or(needed));
        }
        self.watch_room();
        let many = self.filled.iter().take_while(|filled| filled.last_lsn < needed).count();
        if many == 0 {
            return;
        }
        // After the checkpoints and the changes of files that stand for these segments.
        if rules::hold(Rule::BarrierBeforeRelease, &self.root)
            && let Err(error) = self.disk.sync_all(&self.root)
        {
            self.fail(&error);
            return;
        }
        if let Err(error) = self.recycle(many) {
            self.complain("a segment of the journal cannot be recycled", &error);
        }
    }

    /// What is only derived holds nobody up.
    fn give_up_followers(&mut self, upto: Lsn) {
        if let Some(until) = clock::now().checked_sub(MOVE_AFTER)
            && let Err(error) = self.followers.give_up(&self.disk, upto, until)
        {
            self.complain("an index of alarms can be neither written nor removed", &error);
        }
    }

    /// One name after the other, the oldest first: whatever is left at any time, segments that follow each other are. A
    /// spare is written to only when it cannot be found under its old name any more.
    fn recycle(&mut self, many: usize) -> io::Result<()> {
        let last = &self.filled[many - 1];
        if rules::hold(Rule::ReleaseIsWritten, &self.dir) && !self.queue.let_go(last.number + 1) {
            return Ok(());
        }
        for _ in 0..many {
            let spare = self.spare_path();
            let Some(filled) = self.filled.front() else { break };
            let keeps = self.queue.lock().spares.len() < SPARES_KEPT && filled.bytes == self.segment_bytes;
            match keeps {
                true => self.disk.rename(&filled.path, &spare)?,
                false => self.disk.remove(&filled.path)?,
            }
            self.filled.pop_front();
            if rules::hold(Rule::ReleasedIsUnnamed, &self.dir)
                && let Err(error) = self.disk.sync_dir(&self.dir)
            {
                self.fail(&error);
                return Ok(());
            }
            if keeps {
                self.add_spare(spare, self.segment_bytes);
            }
        }
        Ok(())
    }

    /// A failed sync is final, here as well: what was written before it may be lost.
    fn fail(&self, error: &io::Error) {
        let why = error.to_string();
        tracing::error!(error = %why, "a barrier failed; nothing is acknowledged any more");
        super::writer::fail(&self.queue, &self.progress, &why);
    }
}

/// Does to files what a unit did to a tree. What is done is taken out: a record that was appended is not appended again.
fn carry_out(disk: &Disk, settlement: &mut Settlement) -> io::Result<()> {
    let path = settlement.index_path();
    match &settlement.tree {
        TreeUnit::Unchanged => {}
        TreeUnit::Removed => {
            disk.remove(&path)?;
            die::pass(Point::IndexRemoved);
        }
        TreeUnit::Append(append) => {
            if !append.header.is_empty() {
                disk.remove(&path)?;
                die::pass(Point::IndexCleared);
            }
            disk.append(&path, &[&append.header[..], &append.record].concat())?;
            die::pass(Point::IndexAppended);
        }
    }
    settlement.tree = TreeUnit::Unchanged;
    if settlement.shows {
        match index::look(&path, settlement.object)? {
            // Nothing of the object is stored any more.
            index::Place::Nothing => {}
            index::Place::Strange => {
                let message = format!("{} is not the index of its object any more", path.display());
                return Err(io::Error::other(message));
            }
            index::Place::Of(_) => {
                let (at, bytes) = index::head_bytes(settlement.head);
                disk.write_there(&path, &bytes, at)?;
                die::pass(Point::HeadShown);
            }
        }
        settlement.shows = false;
    }
    settlement.removed_files().try_for_each(|file| {
        disk.remove(&file.path())?;
        die::pass(Point::DatabaseUnlinked);
        file.companion_paths().iter().try_for_each(|path| disk.remove(path))?;
        die::pass(Point::DatabaseRemoved);
        Ok(())
    })
}
