//! Somebody else's look at a facet's database: between two turns of a facet that runs, or on loan while it does not. A loan
//! ends when its holder is dropped, whatever happened, so that the facet can start again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::ids::FacetName;
use crate::live::{Control, Object};
use crate::object::{Borrow, Source};
use crate::storage::{DbFile, FacetStore, InterruptCell, Journal, StorageError};

/// Joins a path as databases and people see it.
pub(crate) fn join(path: &[FacetName]) -> String {
    path.iter().map(FacetName::as_str).collect::<Vec<_>>().join("/")
}

/// The files of a facet that does not run.
pub(super) struct Loan {
    object: Arc<Object>,
    control: Arc<Control>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.object.gone(&self.control);
    }
}

/// A database that is on loan, and opened when it is used.
pub(super) struct Lent {
    file: DbFile,
    path: String,
    is_owned: bool,
    journal: Arc<dyn Journal>,
    /// Given back when the connection is closed, even if nobody waits for the result any more.
    _loan: Option<Arc<Loan>>,
}

impl Lent {
    /// Does something with it; waits for the disk.
    pub(super) fn use_by<R>(
        self,
        work: impl FnOnce(&mut FacetStore) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        // Those who were waited for may have emptied it. One that is lost is still the tree's.
        let stored = self.is_owned || self.file.path().exists();
        let interrupt = Arc::new(InterruptCell::default());
        let mut store = FacetStore::new(self.file, self.path, stored, u64::MAX, interrupt, self.journal);
        let done = work(&mut store);
        store.close()?;
        done
    }
}

pub(super) enum Holder {
    Live(Arc<Control>),
    /// Once `after` are gone.
    Lent(Loan, Vec<watch::Receiver<bool>>),
}

/// Done once, by whoever gets to it.
type Work<F> = Arc<Mutex<Option<F>>>;

fn take<F>(work: &Work<F>) -> Option<F> {
    work.lock().expect("nothing panics while it holds this lock").take()
}

impl Object {
    /// Does something with a database that is stored, seeing only what is committed.
    pub(super) async fn visit<R: Send + 'static>(
        self: &Arc<Self>,
        source: &Source,
        work: impl FnOnce(&mut FacetStore) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, StorageError> {
        let work = Arc::new(Mutex::new(Some(work)));
        loop {
            match self.holder(source) {
                Holder::Live(control) => {
                    if let Some(done) = control.between_turns(&work).await {
                        return done;
                    }
                }
                Holder::Lent(loan, after) => {
                    for mut gone in after {
                        let _ = gone.wait_for(|gone| *gone).await;
                    }
                    let work = take(&work).expect("a loan is the last that is tried");
                    return self.on_loan(Some(Arc::new(loan)), source, work).await;
                }
            }
        }
    }

    /// Does something with the database of a facet that does not run; without a loan, of one that cannot run yet.
    pub(super) async fn on_loan<R: Send + 'static>(
        self: &Arc<Self>,
        loan: Option<Arc<Loan>>,
        source: &Source,
        work: impl FnOnce(&mut FacetStore) -> Result<R, StorageError> + Send + 'static,
    ) -> Result<R, StorageError> {
        let lent = self.lent(loan, source);
        blocking(move || lent.use_by(work)).await
    }

    /// The database of a facet that does not run; without a loan, of one that cannot run yet.
    pub(super) fn lent(&self, loan: Option<Arc<Loan>>, source: &Source) -> Lent {
        Lent {
            file: self.db_file(source.file),
            path: join(&source.path),
            is_owned: self.lock().tree.owns(source.file),
            journal: self.host.journal.clone(),
            _loan: loan,
        }
    }

    pub(super) fn holder(self: &Arc<Self>, source: &Source) -> Holder {
        let mut inner = self.lock();
        match inner.tree.borrow_files(source.node, &source.path) {
            Borrow::Live(incarnation) => {
                let control = inner
                    .control(incarnation)
                    .expect("what lives in the tree is in `running`");
                Holder::Live(control.clone())
            }
            Borrow::Reserved { borrow, after } => {
                let after = after
                    .iter()
                    .filter_map(|i| inner.control(*i))
                    .map(|c| c.gone())
                    .collect();
                let control = Control::new(borrow, source.node, u64::MAX, &self.host.runtime);
                inner.hold(borrow, control.clone());
                Holder::Lent(
                    Loan {
                        object: self.clone(),
                        control,
                    },
                    after,
                )
            }
        }
    }
}

impl Control {
    /// Uses the database of a facet that runs, as soon as it is between two turns. None if it has stopped running.
    async fn between_turns<R, F>(self: &Arc<Self>, work: &Work<F>) -> Option<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut FacetStore) -> R + Send + 'static,
    {
        let mut gone = self.gone();
        loop {
            let changed = self.storage_changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that a turn that ends in between is not missed.
            changed.as_mut().enable();
            if let Some(storage) = self.storage.get().cloned() {
                let (work, control) = (work.clone(), self.clone());
                let done = blocking(move || {
                    let mut store = storage
                        .lock()
                        .expect("storage does not panic: a panic would end its facet first");
                    if store.in_turn() || control.storage_closed.load(Ordering::SeqCst) {
                        return None;
                    }
                    Some(take(&work)?(&mut store))
                })
                .await;
                if done.is_some() {
                    return done;
                }
            }
            tokio::select! {
                () = changed => {}
                _ = gone.wait_for(|gone| *gone) => return None,
            }
        }
    }
}

/// Work that waits for a disk, off the threads that run facets.
pub(super) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(work)
        .await
        .expect("this work does not panic, and the runtime outlives its tasks")
}
