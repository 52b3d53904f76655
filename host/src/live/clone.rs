//! A clone copies what its sources have committed, all of them as of one moment: each is held between two turns, then it is
//! decided what is copied, then all of it is, then all go on. The caller's turn does not end before all copies are on disk (S13).
//!
//! Sources are held in the order of their paths, parents first, and whoever holds one has held those above it that had an
//! entry then. Whoever is held up by a clone of its own waits for facets below itself only, so no two clones wait for
//! each other. What has gone in the meantime is not held, and a copy that its own turn has made need not be: so none waits for
//! itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{CallError, Kind};
use crate::ids::FileId;
use crate::live::pause::Pause;
use crate::live::visit::{Holder, Lent, Loan, blocking, join};
use crate::live::{Control, Object};
use crate::object::{Copy, NodeId, Source};
use crate::storage::journal::rules::{self, Rule};
use crate::storage::{Announced, Copied, DbFile, FacetStore, StorageError, remove_db, sync_copies, wait_durable};
use crate::sys::die::{self, Point};

/// What it takes in the journal to announce a copy, at most.
const ANNOUNCED_BYTES: u64 = 64;

/// Tells a copy that is being made that nobody waits for it any more.
#[derive(Default)]
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A source that does not change.
enum Held {
    Paused(Pause),
    Lent(Arc<Loan>),
}

/// One copy to be made.
struct Order {
    dst: DbFile,
    dst_path: String,
    unwanted: Arc<AtomicBool>,
}

impl Order {
    /// None if there is nothing to be copied.
    fn carry_out(&self, source: &mut FacetStore) -> Result<Option<Copied>, StorageError> {
        if self.unwanted.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let made = source.copy_committed_to(&self.dst, &self.dst_path)?;
        if self.unwanted.load(Ordering::SeqCst) {
            // Its turn was lost meanwhile, and what was there of the copy has been removed already.
            remove_db(&self.dst).map_err(StorageError::from_io)?;
        }
        let file = self.dst.file;
        Ok(made.map(|pages| Copied { file, pages }))
    }
}

/// What has become of copies.
pub(crate) struct Made {
    pub(crate) copied: Vec<Copied>,
    /// Those that were not made because nothing is stored in their sources.
    pub(crate) unmade: Vec<FileId>,
}

/// Sources that do not change until this is dropped.
#[derive(Default)]
pub(crate) struct HeldSources(HashMap<NodeId, Held>);

impl HeldSources {
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }
}

impl Object {
    /// Holds more sources, in order.
    pub(crate) async fn hold_sources(self: Arc<Self>, mut held: HeldSources, sources: Vec<Source>) -> HeldSources {
        for source in sources {
            // What one that is held already had deleted when this was asked for: there may be another one at its path, and a loan
            // would keep that from starting.
            if self.lock().tree.epoch(source.node).is_none() {
                continue;
            }
            let holder = self.hold_still(&source).await;
            held.0.insert(source.node, holder);
        }
        held
    }

    /// Makes the copies, in order, once it is durable that whatever lies in their files is nobody's yet.
    pub(crate) async fn copy_databases(
        self: Arc<Self>,
        held: HeldSources,
        copies: Vec<Copy>,
    ) -> Result<Made, CallError> {
        let wanted = Wanted::default();
        self.announce_copies(&copies).await?;
        let orders = copies.into_iter().map(|copy| {
            let order = Order {
                dst: self.db_file(copy.to),
                dst_path: join(&copy.to_path),
                unwanted: wanted.0.clone(),
            };
            let loan = match held.0.get(&copy.node) {
                Some(Held::Paused(pause)) => return (copy.to, Origin::Paused(pause.control().clone()), order),
                Some(Held::Lent(loan)) => Some(loan.clone()),
                // A copy that this turn has made: nobody else knows of it, and what was at its path before may be held.
                None => None,
            };
            let source = Source {
                node: copy.node,
                file: copy.file,
                path: copy.path,
            };
            (copy.to, Origin::Lent(self.lent(loan, &source)), order)
        });
        let done = carry_out(orders.collect()).await.map_err(not_made)?;
        let (mut copied, mut unmade) = (Vec::new(), Vec::new());
        for (file, made) in done {
            match made {
                Some(made) => copied.push(made),
                None => {
                    self.host.journal.pins().is_copied(&self.db_file(file));
                    unmade.push(file);
                }
            }
        }
        let files: Vec<_> = copied.iter().map(|copied| self.db_file(copied.file)).collect();
        let disk = self.host.disk.clone();
        let synced = blocking(move || sync_copies(&disk, &files)).await;
        synced.map_err(not_made)?;
        Ok(Made { copied, unmade })
    }

    /// After a crash nobody could tell a copy that was being made from a database whose index is lost.
    async fn announce_copies(self: &Arc<Self>, copies: &[Copy]) -> Result<(), CallError> {
        if copies.is_empty() || !rules::hold(Rule::CopyIsAnnounced, &self.namespace.dir) {
            return Ok(());
        }
        let journal = self.host.journal.clone();
        let bytes = ANNOUNCED_BYTES * copies.len() as u64;
        let room = blocking(move || journal.reserve(bytes)).await;
        let room = room.map_err(|full| not_made(StorageError::journal(full)))?;
        let announced = copies.iter().map(|copy| Announced {
            file: copy.to,
            from: copy.file,
        });
        let lsn = self.announce(announced.collect(), room);
        let mut durability = self.host.journal.progress().durability();
        let durable = wait_durable(&mut durability, lsn).await;
        durable.map_err(|failed| not_made(StorageError::journal(failed)))?;
        die::pass(Point::CopiesAnnounced);
        Ok(())
    }

    /// What is committed stays as it is until the answer is dropped.
    async fn hold_still(self: &Arc<Self>, source: &Source) -> Held {
        loop {
            match self.holder(source) {
                Holder::Live(control) => {
                    if let Some(pause) = control.pause().await {
                        return Held::Paused(pause);
                    }
                }
                Holder::Lent(loan, after) => {
                    for mut gone in after {
                        let _ = gone.wait_for(|gone| *gone).await;
                    }
                    return Held::Lent(Arc::new(loan));
                }
            }
        }
    }
}

/// What a copy is made from.
enum Origin {
    /// Nobody has it open.
    Lent(Lent),
    /// Its facet, which is paused.
    Paused(Arc<Control>),
}

/// Copies that are to be made, and those that were looked at, each with what was made.
struct Copying {
    left: VecDeque<(FileId, Origin, Order)>,
    done: Vec<(FileId, Option<Copied>)>,
}

impl Copying {
    /// Makes copies until a facet is in a turn: the host's own turns, which only move an alarm, go on in one that is paused.
    fn go_on(mut self) -> Result<Self, StorageError> {
        while let Some((to, origin, order)) = self.left.pop_front() {
            let made = match origin {
                Origin::Lent(lent) => lent.use_by(|store| order.carry_out(store))?,
                Origin::Paused(control) => {
                    let storage = control.storage.get().expect("what is paused has its storage").clone();
                    let mut store = storage
                        .lock()
                        .expect("storage does not panic: a panic would end its facet first");
                    if store.in_turn() {
                        self.left.push_front((to, Origin::Paused(control), order));
                        break;
                    }
                    order.carry_out(&mut store)?
                }
            };
            self.done.push((to, made));
        }
        Ok(self)
    }

    /// Whose turn may be in the way of the next copy.
    fn next_paused(&self) -> Option<Arc<Control>> {
        match self.left.front() {
            Some((_, Origin::Paused(control), _)) => Some(control.clone()),
            Some((_, Origin::Lent(_), _)) | None => None,
        }
    }
}

/// Makes copies in order, for what comes before one may be what it is made of; on one thread, for changing to another for each
/// takes longer than a copy does. Answers which were made.
async fn carry_out(copies: VecDeque<(FileId, Origin, Order)>) -> Result<Vec<(FileId, Option<Copied>)>, StorageError> {
    let mut copying = Copying {
        left: copies,
        done: Vec::new(),
    };
    while !copying.left.is_empty() {
        let Some(control) = copying.next_paused() else {
            copying = blocking(move || copying.go_on()).await?;
            continue;
        };
        let left = copying.left.len();
        let changed = control.storage_changed.notified();
        tokio::pin!(changed);
        // Registered before looking, so that the end of a turn in between is not missed.
        changed.as_mut().enable();
        copying = blocking(move || copying.go_on()).await?;
        if copying.left.len() == left {
            changed.await;
        }
    }
    Ok(copying.done)
}

fn not_made(error: StorageError) -> CallError {
    let error = error.logged();
    let message = format!("the clone could not be made: {error}");
    CallError::new(Kind::Storage, error.code(), message)
}
