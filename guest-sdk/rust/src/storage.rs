//! A turn is a transaction: what is written between two waits is committed together, or not at all. An explicit
//! transaction is a part of a turn that can be undone alone; it must not contain a wait.

pub use crate::bindings::facetd::runtime::storage::Transaction;
use crate::bindings::facetd::runtime::{durability as durable, storage as host};
use crate::error::Result;

/// Runs `body` and keeps what it wrote if it answers `Ok`; else everything it wrote is undone. May be nested.
pub fn transaction<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let transaction = begin()?;
    match body() {
        Ok(value) => {
            transaction.commit()?;
            Ok(value)
        }
        Err(error) => {
            transaction.rollback();
            Err(error)
        }
    }
}

/// Begins a transaction to be ended by hand; dropped, it is rolled back. Prefer [`transaction`].
pub fn begin() -> Result<Transaction> {
    Ok(host::begin()?)
}

/// Empties this facet: rows, keys, tables and all of its children with everything below them.
pub fn delete_all() -> Result<()> {
    Ok(host::delete_all()?)
}

/// Nobody waits for what this turn writes: answers leave before it is on disk, and a crash in that moment may take it
/// back. Counts if it is called before the turn's first write; turns after it are ordinary ones.
pub fn allow_unconfirmed() {
    host::allow_unconfirmed();
}

/// Waits until everything this facet has written is on disk. Answers wait for that anyway; this is for facets that want
/// to know.
pub async fn sync() -> Result<()> {
    Ok(durable::sync().await?)
}
