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
pub(crate) struct TxId(u64);

impl FacetStore {
    /// Begins a transaction inside the innermost open one.
    pub(crate) fn begin(&mut self) -> Result<TxId, StorageError> {
        if self.transactions.len() >= TRANSACTIONS_MAX {
            let message = format!("at most {TRANSACTIONS_MAX} transactions can be open inside each other");
            return Err(StorageError::limit(StorageLimit::Transactions, message));
        }
        self.access_made(|open| open.host_run(SAVEPOINT))?;
        let id = TxId(self.next_number());
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
            // The turn cannot be kept: half of what was undone would be in it.
            tracing::debug!(path = self.path, %error, "a dropped transaction could not be rolled back");
            self.lost.get_or_insert(error.lost());
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
        open.undo(count)?;
        self.transactions.truncate(at);
        Ok(())
    }
}

impl Connected {
    fn undo(&mut self, count: usize) -> Result<(), StorageError> {
        for _ in 0..count {
            self.host_run(ROLLBACK)?;
            self.host_run(RELEASE)?;
        }
        Ok(())
    }
}
