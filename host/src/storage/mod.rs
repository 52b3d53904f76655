//! One SQLite database for each facet: a turn is a transaction, commits never sync, the journal makes them durable. Knows
//! nothing of WebAssembly, and is driven from outside: no task, no timer and no clock of its own.

mod alarm;
mod allow;
mod authorizer;
mod cache;
mod capture;
mod check;
mod connection;
mod copy;
mod counters;
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
mod limited;
mod own_rows;
mod page;
mod quota;
mod settings;
mod space;
mod sql;
mod statement;
mod store;
mod strange;
mod template;
mod text;
mod transaction;
mod turn;
mod utc;
mod value;
mod vfs;

pub(crate) use alarm::{AfterFailure, AlarmChange, AlarmInfo, Beginning, stored_alarm};
pub(crate) use check::{check_database, is_emptied, whose};
pub(crate) use copy::sync_copies;
pub(crate) use cursor::CursorId;
pub(crate) use error::StorageError;
pub(crate) use file::{DbFile, LOST_SUFFIX, remove_db, remove_if_there};
pub(crate) use heap::install as bound_sqlite_memory;
pub(crate) use identity::{Belongs, is_blank};
pub(crate) use inspect::{Cell, TableDump};
pub(crate) use interrupt::InterruptCell;
pub(crate) use journal::{
    Announced, Committed, Copied, Disk, Durability, Follow, Followers, Journal, JournalOptions, LocalJournal, Lsn,
    Pins, Progress, Recovered, Recovering, Reservation, Salvaged, TreeAppend, TreeUnit, Unit, inspect_journal,
    salvage_journal, wait_durable, wait_settled, wait_stuck,
};
pub(crate) use kv::KvRange;
pub(crate) use page::PAGE_BYTES;
pub(crate) use space::Rest;
pub(crate) use store::FacetStore;
pub(crate) use strange::remove_strange_logs;
pub(crate) use transaction::TxId;
pub(crate) use value::{Column, Rows, Usage, Value};

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
