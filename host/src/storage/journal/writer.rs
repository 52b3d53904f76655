//! One thread writes the journal: everything that is queued in one batch, one synced write at a time, acknowledged in
//! order. An error is final: a second sync after a failed one may answer a success that means nothing.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::batch::Batch;
use super::disk::Disk;
use super::keeper::{Durable, Filled, Task};
use super::queue::{Queue, Room};
use super::rules::{self, Rule};
use super::segment::{Header, Segment};
use super::unit::{Encoded, Settlement};
use super::{Lsn, Progress};
use crate::sys::die::{self, Point};
use crate::sys::{clock, random};

/// The longest that a batch waits for turns that are open.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// It waits for this part of what a write takes.
const GATHER_PART: u32 = 8;
/// A piece of a unit that is shorter is left for the next batch, unless it is all.
const PIECE_BYTES_MIN: usize = 4096;
/// A spare is made when this part of a segment is full.
const SPARE_AT_PART: u64 = 4;

pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) disk: Disk,
    pub(super) dir: PathBuf,
    pub(super) segment: Segment,
    pub(super) keeper: Sender<Task>,
    /// How long a write takes.
    pub(super) write_mean: Duration,
    pub(super) asked_for_spare: bool,
}

/// A unit on its way, and how much of it is written.
struct Current {
    lsn: Lsn,
    unit: Encoded,
    at: u64,
}

impl Writer {
    /// Until the queue is closed and empty. Answers the last segment; none after a failure.
    pub(super) fn run(mut self) -> Option<Segment> {
        let (queue, progress) = (self.queue.clone(), self.progress.clone());
        // If this thread panics, everybody who waits must hear of it.
        let _guard = FailOnPanic(&queue, &progress);
        let written = self.write_all();
        queue.ended();
        match written {
            // Somebody else has failed it: what was queued is gone, so nothing may end cleanly.
            Ok(()) if queue.has_failed() => None,
            Ok(()) => Some(self.segment),
            Err(error) => {
                let why = error.to_string();
                tracing::error!(error = %why, "the journal failed; nothing is acknowledged any more");
                fail(&queue, &progress, &why);
                None
            }
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        let mut waiting: VecDeque<Current> = VecDeque::new();
        loop {
            let arrived = if waiting.is_empty() {
                let open = self.progress.clone();
                let gather_max = (self.write_mean / GATHER_PART).min(GATHER_MAX);
                match self.queue.take(move || open.open_turns() > 0, gather_max) {
                    Some(arrived) => arrived,
                    None => return Ok(()),
                }
            } else {
                self.queue.take_more()
            };
            waiting.extend(arrived.into_iter().map(|(lsn, unit)| Current { lsn, unit, at: 0 }));
            self.write_batch(&mut waiting)?;
        }
    }

    fn write_batch(&mut self, waiting: &mut VecDeque<Current>) -> io::Result<()> {
        self.have_room(waiting)?;
        let mut batch = match waiting.is_empty() {
            // It only says which segment is the oldest.
            true => Batch::new(),
            false => Batch::within(self.segment.room()),
        };
        let (mut bytes, mut done) = (0, 0_usize);
        for current in waiting.iter_mut() {
            let left = current.unit.bytes() - current.at;
            let piece = left.min(batch.room() as u64);
            if piece < left && piece < PIECE_BYTES_MIN as u64 {
                break;
            }
            batch.begin_chunk(current.lsn, current.at == 0, piece == left, piece as usize);
            current.copy_to(&mut batch, piece);
            bytes += piece;
            if piece < left {
                break;
            }
            done += 1;
        }
        let oldest = self.queue.oldest();
        let batch = batch.finish(&self.segment.header.id, self.progress.durable(), oldest);
        let begun = clock::now();
        if !rules::hold(Rule::AckAfterWrite, &self.dir)
            && let Some(last) = done.checked_sub(1)
        {
            self.progress.publish(waiting[last].lsn);
        }
        let settles_early = !rules::hold(Rule::FilesFollowUnits, &self.dir);
        if settles_early {
            let units = waiting.iter().take(done);
            self.settle(units.map(|unit| (unit.lsn, unit.unit.settlement.clone())).collect());
        }
        die::pass(Point::BatchBegun);
        match self.segment.write(&self.disk, &batch) {
            Err(error) if rules::hold(Rule::FailureIsFinal, &self.dir) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        die::pass(Point::BatchWritten);
        let took = clock::now().saturating_duration_since(begun);
        self.write_mean = (self.write_mean * 7 + took) / 8;
        let units: Vec<_> = waiting
            .drain(..done)
            .map(|current| (current.lsn, current.unit.settlement))
            .collect();
        if let Some((last, _)) = units.last() {
            self.progress.publish(*last);
        }
        die::pass(Point::BatchPublished);
        self.queue.written(bytes, oldest, self.segment.room());
        if !settles_early {
            self.settle(units);
        }
        if !self.asked_for_spare && self.segment.at > self.segment.bytes / SPARE_AT_PART {
            self.asked_for_spare = true;
            let _ = self.keeper.send(Task::Spare);
        }
        Ok(())
    }

    /// Goes on in the next segment if what waits does not fit into this one. On a full disk the next one may be short: it takes a part
    /// then, but for one in which there is no room for the least part.
    fn have_room(&mut self, waiting: &VecDeque<Current>) -> io::Result<()> {
        let Some(first) = waiting.front() else {
            return match self.segment.has_last_block() {
                true => Ok(()),
                false => self.next_segment(self.progress.durable().next(), true, 0),
            };
        };
        let (lsn, begins) = (first.lsn, first.at == 0);
        let all = Batch::bytes_for(waiting.iter().map(|current| current.unit.bytes() - current.at));
        let least = (first.unit.bytes() - first.at).min(PIECE_BYTES_MIN as u64);
        let least = Batch::bytes_for(std::iter::once(least));
        if all > self.segment.room() {
            self.next_segment(lsn, begins, all)?;
        }
        while least > self.segment.room() {
            self.next_segment(lsn, begins, all)?;
        }
        Ok(())
    }

    fn settle(&self, units: Vec<(Lsn, Settlement)>) {
        let Some((upto, _)) = units.last() else { return };
        let (upto, many) = (*upto, units.len() as u64);
        // The keeper ends after this thread.
        let _ = self.keeper.send(Task::Settle(Durable { upto, many, units }));
    }

    /// `first_lsn`: of the batch that is about to be written, and whether that unit `begins` there. `room`: for all that waits.
    fn next_segment(&mut self, first_lsn: Lsn, begins: bool, room: u64) -> io::Result<()> {
        let keeper = self.keeper.clone();
        let spare = loop {
            let can_say = self.segment.has_last_block();
            match self.queue.spare(room, can_say, || drop(keeper.send(Task::Spare)))? {
                Room::Spare(spare) => break spare,
                Room::ToSay => {
                    let oldest = self.queue.oldest();
                    let batch = Batch::new().finish(&self.segment.header.id, self.progress.durable(), oldest);
                    self.segment.write(&self.disk, &batch)?;
                    self.queue.written(0, oldest, self.segment.room());
                }
            }
        };
        let header = Header {
            id: match rules::hold(Rule::SegmentHasNewId, &self.dir) {
                true => new_id()?,
                false => self.segment.header.id,
            },
            number: self.segment.header.number + 1,
            first_lsn,
            previous: self.segment.header.id,
            previous_end: self.segment.at,
            oldest: self.queue.oldest(),
        };
        let next = Segment::begin(&self.disk, &self.dir, &spare, header)?;
        let filled = std::mem::replace(&mut self.segment, next);
        self.asked_for_spare = false;
        let filled = Filled {
            number: filled.header.number,
            path: filled.path,
            bytes: filled.bytes,
            last_lsn: if begins { first_lsn.previous() } else { first_lsn },
        };
        let _ = self.keeper.send(Task::Filled(filled));
        Ok(())
    }
}

/// An id that no segment ever had.
pub(super) fn new_id() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    random::fill(&mut id)?;
    Ok(id)
}

impl Current {
    /// Copies the next `bytes` of the unit.
    fn copy_to(&mut self, batch: &mut Batch, bytes: u64) {
        let (mut skip, mut left) = (self.at, bytes);
        for part in &self.unit.parts {
            let length = part.len() as u64;
            if skip >= length {
                skip -= length;
                continue;
            }
            let piece = (length - skip).min(left);
            batch.extend(&part[skip as usize..(skip + piece) as usize]);
            skip = 0;
            left -= piece;
            if left == 0 {
                break;
            }
        }
        self.at += bytes;
    }
}

pub(super) fn fail(queue: &Queue, progress: &Progress, why: &str) {
    // First: whoever hears of the failure finds that nothing is queued any more.
    queue.fail(why);
    progress.fail(why);
}

pub(super) struct FailOnPanic<'a>(pub(super) &'a Queue, pub(super) &'a Progress);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            fail(self.0, self.1, "its thread has panicked");
        }
    }
}
