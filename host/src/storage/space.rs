//! Pages that a guest has freed go back to the file system while its facet rests, by small turns of the host: each is one unit
//! of the journal, which nobody waits for, and a facet that is called meanwhile waits for some of them at most.

use super::connection::Connected;
use super::error::StorageError;
use super::statement::Step;
use super::store::FacetStore;

/// Fewer free pages than these are kept, for what is written next.
pub(crate) const FREE_PAGES_MIN: u64 = 256;
/// So are fewer than one of so many.
const FREE_PART: u64 = 4;
/// Turns of one rest; what is left is for the next. Each moves 256 pages at most.
pub(crate) const TURNS_MAX: u32 = 16;

const PAGE_COUNT: &str = "PRAGMA page_count";
const FREE_PAGES: &str = "PRAGMA freelist_count";
/// 1 MiB of them: units of the journal are to stay small.
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(256)";

/// Whether a database that rests has more to give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    /// No: it is closed.
    Closed,
    /// It has, and should rest again if it is still idle.
    GoesOn,
}

impl FacetStore {
    /// Gives back some of the free pages, if there are many.
    pub(super) fn give_back(&mut self) -> Rest {
        for _ in 0..TURNS_MAX {
            match self.give_back_turn() {
                Ok(true) => {}
                Ok(false) => return Rest::Closed,
                Err(error) => {
                    self.discard_turn();
                    tracing::debug!(path = self.path, %error, "free pages of a database were not given back");
                    return Rest::Closed;
                }
            }
        }
        Rest::GoesOn
    }

    /// False if nothing was given back.
    fn give_back_turn(&mut self) -> Result<bool, StorageError> {
        // Room in the journal is for guests then.
        if self.open.is_none() || self.journal.is_tight() {
            return Ok(false);
        }
        let has_many = self.access(false, |open| {
            let (free, all) = (open.free_pages()?, open.page_count()?);
            Ok(free > FREE_PAGES_MIN && free * FREE_PART > all)
        })?;
        if has_many != Some(true) {
            self.discard_turn();
            return Ok(false);
        }
        self.give_back_some()?;
        match self.end_turn()? {
            Some(committed) => Ok(self.record_own(committed)),
            None => Ok(false),
        }
    }

    /// Gives back some free pages as a part of the turn.
    pub(super) fn give_back_some(&mut self) -> Result<(), StorageError> {
        self.access(false, |open| {
            open.quota.forget();
            open.host(GIVE_BACK, |statement| {
                // A row for each page.
                while statement.step()? == Step::Row {}
                Ok(())
            })
        })?;
        Ok(())
    }
}

impl Connected {
    /// Pages of the database, unused ones included.
    pub(super) fn page_count(&mut self) -> Result<u64, StorageError> {
        Ok(u64::try_from(self.host_integer(PAGE_COUNT)?).unwrap_or(0))
    }

    /// Pages that are not used.
    pub(super) fn free_pages(&mut self) -> Result<u64, StorageError> {
        Ok(u64::try_from(self.host_integer(FREE_PAGES)?).unwrap_or(0))
    }

    /// Pages in use, which are those that count.
    pub(super) fn used_pages(&mut self) -> Result<u64, StorageError> {
        Ok(self.page_count()?.saturating_sub(self.free_pages()?))
    }
}

#[cfg(test)]
mod tests;
