//! An operator's look into a facet's database: rows are read between two turns, or from the closed file.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::CallError;
use crate::ids::FacetName;
use crate::live::Object;
use crate::live::clone::{Source, blocking, join};
use crate::storage::{FacetStore, InterruptCell, StorageError, TableDump};

impl Object {
    /// The tables of the facet at `path`, with at most `rows_max` rows of each; none if nothing is stored there.
    pub(crate) async fn inspect(
        self: Arc<Self>,
        path: &[FacetName],
        rows_max: u32,
    ) -> Result<Vec<TableDump>, CallError> {
        let node = {
            let inner = self.lock();
            let mut node = inner.tree.root();
            for name in path {
                let (child, _) = inner.tree.lookup(node, name).ok_or_else(|| {
                    CallError::not_found(format!("there is no facet {:?} in this object", join(path)))
                })?;
                node = child;
            }
            node
        };
        loop {
            let Some(source) = self.source(node) else {
                return Ok(Vec::new());
            };
            match source {
                Source::Live(control) => {
                    let read = control.between_turns(move |store| store.inspect(rows_max)).await;
                    if let Some(tables) = read {
                        return tables.map_err(Into::into);
                    }
                }
                Source::Idle {
                    control,
                    after,
                    file,
                    path,
                } => {
                    for mut gone in after {
                        let _ = gone.wait_for(|gone| *gone).await;
                    }
                    let file = self.db_file(file);
                    let read = blocking(move || {
                        let interrupt = Arc::new(InterruptCell::default());
                        let mut store = FacetStore::new(file, join(&path), true, u64::MAX, interrupt);
                        let tables = store.inspect(rows_max)?;
                        store.close()?;
                        Ok::<_, StorageError>(tables)
                    })
                    .await;
                    self.gone(&control, None, false);
                    return read.map_err(Into::into);
                }
            }
        }
    }
}

impl crate::live::Control {
    /// Uses the database of a facet that runs, as soon as it is between two turns. None if it has stopped running.
    pub(super) async fn between_turns<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut FacetStore) -> R + Send + 'static,
    ) -> Option<R> {
        let mut gone = self.gone();
        let work = Arc::new(std::sync::Mutex::new(Some(work)));
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
                    let work = work.lock().expect("nothing panics while it holds this lock").take()?;
                    Some(work(&mut store))
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
