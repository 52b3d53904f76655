//! A clone copies what its sources have committed: each database between two turns of its facet, never in one. The
//! caller's turn does not end before all copies are on disk (S13).

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{CallError, Kind};
use crate::ids::{FacetName, FileId};
use crate::live::{Control, Object};
use crate::object::{Borrow, NodeId};
use crate::storage::{DbFile, FacetStore, InterruptCell, StorageError};

/// Joins a path as databases and people see it.
pub(crate) fn join(path: &[FacetName]) -> String {
    path.iter().map(FacetName::as_str).collect::<Vec<_>>().join("/")
}

impl Object {
    /// Copies the databases of the source nodes to those of the copies. Reading is done on blocking threads.
    pub(crate) async fn copy_databases(self: Arc<Self>, pairs: Vec<(NodeId, NodeId)>) -> Result<(), CallError> {
        for (from, to) in pairs {
            let Some((file, path)) = self.lock().tree.database(to) else {
                continue;
            };
            let (dst, dst_path) = (self.db_file(file), join(&path));
            self.copy_database(from, dst, dst_path).await.map_err(|error| {
                CallError::new(
                    Kind::Storage,
                    error.code(),
                    format!("the clone could not be made: {error}"),
                )
            })?;
        }
        Ok(())
    }

    async fn copy_database(self: &Arc<Self>, from: NodeId, dst: DbFile, dst_path: String) -> Result<(), StorageError> {
        loop {
            let Some(source) = self.source(from) else { return Ok(()) };
            match source {
                Source::Live(control) => {
                    let (dst, dst_path) = (dst.clone(), dst_path.clone());
                    let copied = control
                        .between_turns(move |store| store.copy_committed_to(&dst, &dst_path))
                        .await;
                    if let Some(result) = copied {
                        return result.map(|_| ());
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
                    let src = self.db_file(file);
                    let copied = blocking(move || {
                        let interrupt = Arc::new(InterruptCell::default());
                        let mut store = FacetStore::new(src, join(&path), true, u64::MAX, interrupt);
                        let copied = store.copy_committed_to(&dst, &dst_path).map(|_| ());
                        copied.and(store.close())
                    })
                    .await;
                    self.gone(&control, None, false);
                    return copied;
                }
            }
        }
    }

    pub(super) fn source(&self, from: NodeId) -> Option<Source> {
        let mut inner = self.lock();
        match inner.tree.borrow_files(from)? {
            Borrow::Live(incarnation) => inner.control(incarnation).cloned().map(Source::Live),
            Borrow::Reserved {
                borrow,
                after,
                file,
                path,
            } => {
                let after = after
                    .iter()
                    .filter_map(|i| inner.control(*i))
                    .map(|c| c.gone())
                    .collect();
                let control = Control::new(borrow, from, u64::MAX);
                inner.hold(borrow, control.clone());
                Some(Source::Idle {
                    control,
                    after,
                    file,
                    path,
                })
            }
        }
    }
}

/// Who has the database that is to be copied.
pub(super) enum Source {
    /// A facet that runs.
    Live(Arc<Control>),
    /// This clone, once `after` are gone.
    Idle {
        control: Arc<Control>,
        after: Vec<watch::Receiver<bool>>,
        file: FileId,
        path: Vec<FacetName>,
    },
}

/// Work that waits for a disk, off the threads that run facets.
pub(super) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(work)
        .await
        .expect("copying does not panic, and the runtime outlives its tasks")
}
