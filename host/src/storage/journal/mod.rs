//! The journal says when a commit is durable: numbers rise in the order of `append`, durability follows that order, and
//! after one failure nothing is acknowledged any more. A database file is only written from units that are durable.

mod batch;
mod carried;
mod disk;
mod followers;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod heads;
mod history;
mod keeper;
mod local;
mod lsn;
mod pins;
mod progress;
mod queue;
mod recovering;
mod recovery;
mod redo;
pub(crate) mod rules;
mod salvage;
mod segment;
mod stuck;
mod unit;
mod writer;

#[cfg(test)]
mod memory;

// Made by capnpc from journal.capnp, which says how.
#[allow(
    clippy::all,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    dead_code,
    unused_qualifications,
    reason = "generated"
)]
mod journal_capnp;

use std::path::Path;
use std::sync::Arc;

use crate::ids::ObjectId;

pub(crate) use disk::Disk;
pub(crate) use followers::{Follow, Followers};
pub(crate) use heads::Unshown;
pub(crate) use local::{JournalOptions, LocalJournal};
pub(crate) use lsn::Lsn;
#[cfg(test)]
pub(crate) use memory::MemoryJournal;
pub(crate) use pins::Pins;
pub(crate) use progress::{Durability, Progress, wait_durable, wait_settled, wait_stuck};
pub(crate) use queue::{JournalFull, Reservation};
pub(crate) use recovering::Recovering;
pub(crate) use recovery::{Recovered, inspect as inspect_journal};
pub(crate) use salvage::{Salvaged, salvage as salvage_journal};
pub(crate) use unit::{Announced, Committed, Copied, Pages, TreeAppend, TreeUnit, Unit};

/// Where commits become durable.
pub(crate) trait Journal: Send + Sync {
    /// Sets room aside for a COMMIT that writes about `bytes`. Waits while too much is queued, so call it before the
    /// COMMIT: nothing after it waits on a limit.
    fn reserve(&self, bytes: u64) -> Result<Reservation, JournalFull>;
    /// Why the files of an object cannot be written, if they cannot: it takes no commits until they can.
    fn stuck(&self, object: ObjectId) -> Option<Arc<str>>;
    /// Sets room aside if that needs no waiting.
    fn try_reserve(&self, bytes: u64) -> Option<Reservation>;
    /// Queues what one unit committed and answers its number. Never waits.
    fn append(&self, unit: Unit) -> Lsn;
    /// How far an object's history has come, if its files may not say so yet.
    fn unshown(&self, _dir: &Path, _object: ObjectId) -> Unshown {
        Unshown::Nothing
    }
    /// How far it has come.
    fn progress(&self) -> &Arc<Progress>;
    /// Which databases have pages that are only in the journal.
    fn pins(&self) -> &Arc<Pins>;
    /// What else is kept up with it.
    fn followers(&self) -> &Arc<Followers>;
    /// True if `reserve` may have to wait.
    fn is_tight(&self) -> bool;
    /// Why commits are refused for good, or have been for long; shortly, for whoever watches over the host.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Something has happened after which nothing may be acknowledged any more.
    fn fail(&self, why: &str);
    /// Takes nothing more, waits until what is queued is done. False if something of it could not be done: the journal
    /// is still needed then.
    fn close(&self) -> bool;
}

#[cfg(test)]
mod tests;
