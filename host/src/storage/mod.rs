//! One SQLite database for each facet: a turn is a transaction, commits never sync, the journal makes them durable. Knows
//! nothing of WebAssembly, and is driven from outside: no task, no timer and no clock of its own.

mod allow;
mod authorizer;
mod cache;
mod connection;
mod copy;
mod cursor;
mod delete_all;
mod error;
mod file;
mod functions;
mod heap;
mod identity;
mod inspect;
mod interrupt;
pub(crate) mod journal;
mod kv;
mod quota;
mod sql;
mod statement;
mod store;
mod template;
mod text;
mod transaction;
mod turn;
mod value;
mod vfs;

pub(crate) use cursor::CursorId;
pub(crate) use error::StorageError;
pub(crate) use file::{DbFile, remove_db};
pub(crate) use identity::fold;
pub(crate) use inspect::TableDump;
pub(crate) use interrupt::InterruptCell;
pub(crate) use journal::{
    AfterDurable, Committed, Durability, Journal, LocalJournal, Lsn, TreeAppend, Unit, wait_durable,
};
pub(crate) use kv::KvRange;
pub(crate) use store::FacetStore;
pub(crate) use transaction::TxId;
pub(crate) use value::{Rows, Usage, Value};

#[cfg(test)]
mod tests;
