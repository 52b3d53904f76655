//! Explicit transactions are savepoints inside the turn's transaction; they nest, and none outlives the turn (S19b).

use super::connection::Connected;
use super::error::{StorageCode, StorageError, StorageLimit};
use super::store::FacetStore;

/// Transactions open inside each other.
pub(crate) const TRANSACTIONS_MAX: usize = 32;

// Savepoints of one name shadow each other, so each statement means the innermost.
const SAVEPOINT: &str = "SAVEPOINT _facetd_transaction";
const ROLLBACK: &str = "ROLLBACK TO _facetd_transaction";
const RELEASE: &str = "RELEASE _facetd_transaction";

/// Names a transaction of one store, for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TxId {
    number: u64,
    /// Where the log ended when it began.
    log_mark: u64,
}

impl FacetStore {
    /// Begins a transaction inside the innermost open one.
    pub(crate) fn begin(&mut self) -> Result<TxId, StorageError> {
        if self.transactions.len() >= TRANSACTIONS_MAX {
            let message = format!("at most {TRANSACTIONS_MAX} transactions can be open inside each other");
            return Err(StorageError::limit(StorageLimit::Transactions, message));
        }
        let log_mark = self.access_made(|open| {
            open.host_run(SAVEPOINT)?;
            Ok(open.vfs.account().mark())
        })?;
        let number = self.next_number();
        let id = TxId { number, log_mark };
        self.transactions.push(id);
        Ok(id)
    }

    /// Keeps what was written since `begin`.
    pub(crate) fn commit(&mut self, id: TxId) -> Result<(), StorageError> {
        let Some(at) = self.transactions.iter().position(|open| *open == id) else {
            let message = "this transaction is over: it was ended, undone with an outer one, or its turn has ended";
            return Err(StorageError::new(StorageCode::TransactionClosed, message));
        };
        if at + 1 != self.transactions.len() {
            let message = "a transaction begun inside this one is still open: commit or roll back that one first";
            return Err(StorageError::InvalidArgument(message.to_owned()));
        }
        self.access_made(|open| open.host_run(RELEASE))?;
        self.transactions.pop();
        Ok(())
    }

    /// Undoes what was written since `begin`, those begun inside it included. Does nothing if it is over.
    pub(crate) fn rollback(&mut self, id: TxId) -> Result<(), StorageError> {
        match self.transactions.iter().position(|open| *open == id) {
            Some(at) => self.rollback_from(at),
            None => Ok(()),
        }
    }

    /// As [`Self::rollback`], for a handle that was dropped.
    pub(crate) fn drop_tx(&mut self, id: TxId) {
        if let Err(error) = self.rollback(id) {
            // The turn is lost; whatever the facet does next says so.
            tracing::debug!(path = self.path, %error, "a dropped transaction could not be rolled back");
        }
    }

    /// True while an explicit transaction is open.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.transactions.is_empty()
    }

    /// Undoes the explicit transactions from the one at `at` on.
    pub(super) fn rollback_from(&mut self, at: usize) -> Result<(), StorageError> {
        let count = self.transactions.len() - at;
        // Not through `access`: a facet that is being stopped must still be able to undo.
        let Some(open) = &mut self.open else { return Ok(()) };
        match (0..count).try_for_each(|_| open.undo(ROLLBACK, RELEASE)) {
            Ok(()) => {
                if let Some(outermost) = self.transactions.get(at) {
                    open.vfs.account().rewind(outermost.log_mark);
                }
                self.transactions.truncate(at);
            }
            Err(error) => {
                self.transactions.clear();
                self.lost = Some(error.clone().lost());
                return Err(error.lost());
            }
        }
        Ok(())
    }
}

impl Connected {
    /// Rolls back to a savepoint and ends it. An interrupt may hit one try; what then cannot be undone in part is undone as
    /// a whole, which breaks the facet, rather than kept.
    pub(super) fn undo(&mut self, rollback: &'static str, release: &'static str) -> Result<(), StorageError> {
        let result = self
            .host_run(rollback)
            .or_else(|_| self.host_run(rollback))
            .and_then(|()| self.host_run(release).or_else(|_| self.host_run(release)));
        if result.is_err()
            && let Err(error) = self.host_run("ROLLBACK")
        {
            tracing::warn!(%error, "a transaction could not be rolled back");
        }
        result
    }
}
