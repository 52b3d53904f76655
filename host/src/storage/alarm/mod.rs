//! The alarm of a facet is one row of its own database, written in its turns like everything else: a turn that is lost sets
//! no alarm, and success of a handler takes the alarm away together with what its last turn wrote.

mod row;
#[cfg(test)]
mod tests;

use rusqlite::{Connection, OptionalExtension};

use super::connection::Connected;
use super::error::StorageError;
use super::file::DbFile;
use super::statement::Step;
use super::store::FacetStore;
pub(crate) use row::{AfterFailure, AlarmInfo, AlarmRow, Beginning};

/// The latest time an alarm can be set for: the end of the year 9999. What lies beyond is in other units.
pub(crate) const ALARM_MS_MAX: u64 = 253_402_300_799_999;

const GET: &str = "SELECT due_ms, scheduled_ms, tries FROM _facetd_alarm";
const PUT: &str = "INSERT OR REPLACE INTO _facetd_alarm(one, due_ms, scheduled_ms, tries) VALUES(1, ?1, ?2, ?3)";
const DELETE: &str = "DELETE FROM _facetd_alarm";

/// What a turn's commit made of the facet's alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AlarmChange {
    /// It is due then.
    Due(u64),
    /// Its handler has failed, and runs again after that wait, which ends then.
    Retry { due_ms: u64, wait_ms: u64 },
    /// Its handler runs; should it fail without a word, it is due again then.
    Trying(u64),
    /// There is none.
    None,
}

impl AlarmChange {
    /// What an index of due times has to say.
    pub(crate) fn due_ms(self) -> Option<u64> {
        match self {
            Self::Due(due_ms) | Self::Trying(due_ms) | Self::Retry { due_ms, .. } => Some(due_ms),
            Self::None => None,
        }
    }
}

/// What a store knows of its alarm beside the row.
#[derive(Default)]
pub(super) struct AlarmState {
    /// The running turn may have changed the row.
    changed: bool,
    /// A try runs, in this incarnation.
    trying: bool,
}

impl AlarmState {
    /// The running turn may have changed the row.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    /// The turn is over, or undone.
    pub(super) fn settle(&mut self) {
        self.changed = false;
    }
}

impl FacetStore {
    /// When the alarm is due; none if it is not set, or if its handler runs and has not set it again.
    pub(crate) fn alarm(&mut self) -> Result<Option<u64>, StorageError> {
        let row = self.access(false, Connected::alarm_row)?.flatten();
        Ok(row.and_then(|row| row.visible_ms(self.alarm.trying)))
    }

    /// Sets the alarm, in place of the one there is. A time that is past is now.
    pub(crate) fn set_alarm(&mut self, at_ms: u64, now_ms: u64) -> Result<(), StorageError> {
        if at_ms > ALARM_MS_MAX {
            let message = format!(
                "an alarm cannot be set for {at_ms}: give milliseconds since 1970, at most {ALARM_MS_MAX} (the year 9999)"
            );
            return Err(StorageError::InvalidArgument(message));
        }
        let row = AlarmRow::set(at_ms, now_ms);
        self.access_made(|open| open.put_alarm_row(Some(row)))?;
        self.alarm.touch();
        Ok(())
    }

    /// Takes the alarm away, and the retry of a handler that runs.
    pub(crate) fn delete_alarm(&mut self) -> Result<(), StorageError> {
        self.write_alarm(None)
    }

    /// True if the time of the alarm has come, none if there is no alarm; else when it comes. `waited_ms`: the wait for a retry
    /// that was to end then has passed.
    pub(crate) fn alarm_is_due(
        &mut self,
        now_ms: u64,
        waited_ms: Option<u64>,
    ) -> Result<Result<(), Option<u64>>, StorageError> {
        let row = self.access(false, Connected::alarm_row)?.flatten();
        Ok(match row {
            Some(row) if row.is_due(now_ms, waited_ms) => Ok(()),
            row => Err(row.map(|row| row.due_ms)),
        })
    }

    /// The time of the alarm seems to have come: begins a try if it has. The turn must be committed before the handler runs.
    /// `waited_ms`: the wait for a retry that was to end then has passed.
    pub(crate) fn begin_alarm(&mut self, now_ms: u64, waited_ms: Option<u64>) -> Result<Beginning, StorageError> {
        let row = self.access(false, Connected::alarm_row)?.flatten();
        let beginning = AlarmRow::begin(row, now_ms, waited_ms);
        match beginning {
            Beginning::NotDue(_) => {}
            Beginning::Exhausted(_) => self.write_alarm(None)?,
            Beginning::Begun(_, next) => {
                self.write_alarm(Some(next))?;
                self.alarm.trying = true;
            }
        }
        Ok(beginning)
    }

    /// The handler has succeeded, as a part of its last turn.
    pub(crate) fn end_alarm(&mut self) -> Result<(), StorageError> {
        self.alarm.trying = false;
        let row = self.access(false, Connected::alarm_row)?.flatten();
        match AlarmRow::succeeded(row) {
            Some(_) => Ok(()),
            None => self.write_alarm(None),
        }
    }

    /// The handler has failed.
    pub(crate) fn fail_alarm(&mut self, now_ms: u64) -> Result<AfterFailure, StorageError> {
        self.alarm.trying = false;
        let row = self.access(false, Connected::alarm_row)?.flatten();
        let after = AlarmRow::failed(row, now_ms);
        match after {
            AfterFailure::Nothing | AfterFailure::Replaced => {}
            AfterFailure::Retry(next) => self.write_alarm(Some(next))?,
            AfterFailure::Dropped(_) => self.write_alarm(None)?,
        }
        Ok(after)
    }

    /// The host has stopped the handler.
    pub(crate) fn interrupt_alarm(&mut self, now_ms: u64) -> Result<(), StorageError> {
        self.alarm.trying = false;
        let row = self.access(false, Connected::alarm_row)?.flatten();
        self.write_alarm(AlarmRow::interrupted(row, now_ms))
    }

    /// As the host's own work on a facet that has stopped: an abort has interrupted the facet's statements for ever.
    pub(crate) fn retire(&mut self) {
        self.discard_turn();
        self.interrupt.retire();
    }

    fn write_alarm(&mut self, row: Option<AlarmRow>) -> Result<(), StorageError> {
        self.access(false, |open| open.put_alarm_row(row))?;
        self.alarm.touch();
        Ok(())
    }
}

impl Connected {
    /// What is stored of the alarm.
    pub(super) fn alarm_row(&mut self) -> Result<Option<AlarmRow>, StorageError> {
        let natural = |integer: i64| u64::try_from(integer).unwrap_or(0);
        self.host(GET, |statement| {
            if statement.step()? != Step::Row {
                return Ok(None);
            }
            Ok(Some(AlarmRow {
                due_ms: natural(statement.column_integer(0)),
                scheduled_ms: natural(statement.column_integer(1)),
                tries: u32::try_from(statement.column_integer(2)).unwrap_or(u32::MAX),
            }))
        })
    }

    /// Not under the quota: the row has a page of its own since the database was made, so nothing grows.
    pub(super) fn put_alarm_row(&mut self, row: Option<AlarmRow>) -> Result<(), StorageError> {
        let Some(row) = row else { return self.host_run(DELETE) };
        // Times are at most `ALARM_MS_MAX` and the waits of a few retries.
        let integer = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        self.host(PUT, |statement| {
            statement.bind_integer(1, integer(row.due_ms))?;
            statement.bind_integer(2, integer(row.scheduled_ms))?;
            statement.bind_integer(3, i64::from(row.tries))?;
            statement.step()?;
            Ok(())
        })
    }

    /// What the turn that ends makes of the alarm; none if it left it alone.
    pub(super) fn alarm_change(&mut self, state: &AlarmState) -> Result<Option<AlarmChange>, StorageError> {
        if !state.changed {
            return Ok(None);
        }
        let change = match self.alarm_row()? {
            None => AlarmChange::None,
            Some(row) if state.trying && row.tries > 0 => AlarmChange::Trying(row.due_ms),
            Some(row) => match row.retry_wait_ms() {
                Some(wait_ms) => AlarmChange::Retry {
                    due_ms: row.due_ms,
                    wait_ms,
                },
                None => AlarmChange::Due(row.due_ms),
            },
        };
        Ok(Some(change))
    }
}

/// A copy has no alarm (S13).
pub(super) fn forget(conn: &Connection) -> Result<(), StorageError> {
    conn.execute(DELETE, ())?;
    Ok(())
}

/// When the alarm of a database is due that nobody has open, for an index that is made anew. Changes nothing.
pub(crate) fn stored_alarm(file: &DbFile) -> Result<Option<u64>, StorageError> {
    let opened = super::check::open_unchanged(file)?;
    let due_ms: Option<i64> = opened.run(|conn| {
        conn.query_row("SELECT due_ms FROM _facetd_alarm", (), |row| row.get(0))
            .optional()
    })?;
    Ok(due_ms.and_then(|due_ms| u64::try_from(due_ms).ok()))
}
