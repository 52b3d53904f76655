//! A clean stop: everything that the journal holds is in files behind a barrier, and nothing of it is needed but its numbers.

use std::io;

use super::Keeper;
use crate::storage::file::remove_companions;
use crate::storage::journal::Lsn;
use crate::storage::journal::batch::BLOCK_BYTES;
use crate::storage::journal::segment::{self, Header, Segment};
use crate::storage::journal::writer::new_id;
use crate::sys::clock;
use crate::sys::die::{self, Point};

impl Keeper {
    /// The writer has ended, and every store is closed.
    pub(super) fn stop(&mut self, last: Option<Segment>) -> bool {
        let Some(last) = last else { return false };
        // Logs may hold commits that are in no unit, and what a failed sync has lost no other one brings back.
        if self.queue.has_failed() {
            return false;
        }
        // The last chance, however short ago it was tried.
        self.retried = None;
        self.settle();
        self.show_heads();
        if !self.stuck.is_empty() {
            return false;
        }
        // Their stores could not move the pages; nobody has them open now.
        self.pins.fold_abandoned(Lsn::MAX, self.progress.durable());
        if self.pins.oldest().is_some() {
            // For want of room, perhaps, and there is some that is needed less; what lies behind the last batch by nobody.
            while self.drop_spare() {}
            if let Err(error) = Segment::cut(&self.disk, &last.path, last.at) {
                tracing::warn!(%error, "the end of the journal cannot be cut off");
            }
            self.pins.fold_abandoned(Lsn::MAX, self.progress.durable());
        }
        if self.pins.oldest().is_some() {
            return false;
        }
        for file in self.pins.all_left() {
            // Nothing is in it that the database lacks.
            if let Err(error) = remove_companions(&file) {
                tracing::error!(file = %file.path().display(), %error, "a log could not be removed");
                return false;
            }
        }
        // Whoever has not caught up by now does not any more.
        if let Err(error) = self.followers.give_up(&self.disk, Lsn::MAX, clock::now()) {
            tracing::error!(%error, "an index of alarms can be neither written nor removed");
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
        if last.at == BLOCK_BYTES as u64 && self.filled.is_empty() {
            return self.disk.sync_all(&self.root);
        }
        self.disk.sync_all(&self.root)?;
        die::pass(Point::StopSynced);
        let spare = self.queue.lock().spares.pop().map(|spare| spare.path);
        let spare = match spare {
            Some(spare) => spare,
            None => {
                let spare = self.spare_path();
                let allocate = || segment::allocate_first(&self.disk, &spare, self.segment_bytes);
                match allocate() {
                    // What lies behind its last batch is needed by nobody.
                    Err(error) if segment::is_full(&error) => {
                        Segment::cut(&self.disk, &last.path, last.at)?;
                        allocate()?;
                    }
                    allocated => allocated?,
                }
                spare
            }
        };
        let header = Header {
            id: new_id()?,
            number: last.header.number + 1,
            first_lsn: self.queue.last().next(),
            previous: [0; 16],
            previous_end: 0,
            oldest: last.header.number + 1,
        };
        Segment::begin(&self.disk, &self.dir, &spare, header)?;
        die::pass(Point::StopBegun);
        let old: Vec<_> = self.filled.drain(..).map(|filled| filled.path).collect();
        for path in old.iter().chain([&last.path]) {
            self.disk.remove(path)?;
        }
        self.disk.sync_dir(&self.dir)?;
        die::pass(Point::StopReleased);
        Ok(())
    }
}
