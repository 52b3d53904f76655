//! Room for the journal is made before it is needed, as much as the cap allows; on a full disk as much as there is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Keeper, SPARES_KEPT};
use crate::storage::journal::queue::{Spare, Writing};
use crate::storage::journal::segment;

impl Keeper {
    pub(super) fn spare_path(&mut self) -> PathBuf {
        self.next_spare += 1;
        segment::spare_path(&self.dir, self.next_spare)
    }

    pub(super) fn add_spare(&self, spare: PathBuf, bytes: u64) {
        self.queue
            .add_room(|state| state.spares.push(Spare { path: spare, bytes }));
    }

    /// Makes a spare if there is none, or if somebody waits for more room.
    pub(super) fn make_spare(&mut self) {
        let (spares, wanted, writer) = {
            let state = self.queue.lock();
            (state.spares.len(), state.wanted, state.writer)
        };
        if (spares >= SPARES_KEPT && !wanted) || self.queue.has_failed() {
            return;
        }
        let used: u64 = self.filled.iter().map(|filled| filled.bytes).sum();
        let used = used + self.segment_bytes * (1 + spares as u64);
        // What is committed has set its room aside, but for deletes: those of many together may need a little more.
        let overdraft_bytes = match writer {
            Writing::Goes | Writing::Ended => 0,
            Writing::Waits { .. } => self.segment_bytes,
        };
        if used + self.segment_bytes > self.cap_bytes + overdraft_bytes {
            let mib = self.cap_bytes >> 20;
            let why = format!("its {mib} MiB hold commits that are not in database files yet; try again");
            self.queue.set_full(why.into());
            return;
        }
        let spare = self.spare_path();
        match self.allocate(&spare, wanted) {
            Ok(bytes) => self.add_spare(spare, bytes),
            Err(error) => {
                let _ = self.disk.remove(&spare);
                let why: Arc<str> = format!("no more room could be made for it: {error}").into();
                self.queue.set_full(why);
                self.complain("the journal cannot grow", &error);
            }
        }
    }

    fn has_short_spare(&self) -> bool {
        let state = self.queue.lock();
        state.spares.iter().any(|spare| spare.bytes < self.segment_bytes)
    }

    /// Zeroes are written unless somebody waits: a write into them changes no metadata, and is a quarter faster. Somebody who waits on
    /// a full disk is served by less: deletes make room, and must be written for that. Answers how long it is.
    fn allocate(&self, spare: &std::path::Path, wanted: bool) -> io::Result<u64> {
        let file = match self.disk.allocate(spare, self.segment_bytes) {
            Ok(file) => file,
            // One of these at a time: nobody waits for less than another one has, and they would take what room there comes to be.
            Err(error) if wanted && segment::is_full(&error) && !self.has_short_spare() => {
                segment::allocate_first(&self.disk, spare, self.segment_bytes)?;
                self.disk.sync_file(spare)?;
                return Ok(std::fs::metadata(spare)?.len());
            }
            Err(error) => return Err(error),
        };
        if !wanted {
            self.disk.zero(spare, &file, self.segment_bytes)?;
        }
        drop(file);
        self.disk.sync_file(spare)?;
        Ok(self.segment_bytes)
    }
}
