//! A try of an alarm, from the facet's side: it is counted and committed before the handler runs, and what came of it is
//! written wherever the try ends, with the handler's last turn or after the facet is lost. (Why: `alarms/mod.rs`.)

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::error::CallError;
use crate::ids::FacetName;
use crate::isolate::{FacetState, GuestEnd, executor};
use crate::live::{AlarmEnd, Control, Object};
use crate::storage::{AfterFailure, AlarmInfo, Beginning, FacetStore, Lsn, StorageError};
use crate::sys::clock;

/// How a try ended with its facet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lost {
    /// The facet could not be started for it. `waited_ms`: see [`crate::live::Work::Alarm`].
    Unstarted { waited_ms: Option<u64> },
    /// It was aborted, or broke.
    Failed,
    /// The host stops.
    Interrupted,
}

impl FacetState {
    /// Begins a try if the alarm is due, in a turn that is to be committed before anything else. `handled`: the class has
    /// a handler; without one the alarm waits, and no try is counted. `waited_ms`: see [`crate::live::Work::Alarm`].
    pub(super) fn begin_alarm(
        &mut self,
        handled: bool,
        waited_ms: Option<u64>,
    ) -> Result<Result<AlarmInfo, AlarmEnd>, StorageError> {
        if !handled {
            let due = self.storage_of_host().alarm_is_due(clock::unix_ms(), waited_ms)?;
            return Ok(Err(match due {
                Ok(()) => AlarmEnd::NoHandler,
                Err(due_ms) => AlarmEnd::NotDue(due_ms),
            }));
        }
        let beginning = self.storage_of_host().begin_alarm(clock::unix_ms(), waited_ms)?;
        Ok(match beginning {
            Beginning::Begun(info, _) => Ok(info),
            Beginning::NotDue(due_ms) => Err(AlarmEnd::NotDue(due_ms)),
            Beginning::Exhausted(info) => {
                log_dropped(&self.describe(), info.scheduled_ms, "the host ended while it ran");
                Err(AlarmEnd::Ran)
            }
        })
    }

    /// The handler has answered, and what comes of that is a part of its last turn. Answers when the next alarm is due.
    pub(super) fn finish_alarm(&mut self, failure: Option<&str>) -> Result<Option<u64>, GuestEnd> {
        let lost = GuestEnd::uncommitted;
        match failure {
            None => self.storage_of_host().end_alarm().map_err(lost)?,
            Some(message) => {
                let after = self.storage_of_host().fail_alarm(clock::unix_ms()).map_err(lost)?;
                log_failure(&self.describe(), after, message);
            }
        }
        self.storage_of_host().alarm().map_err(lost)
    }

    fn describe(&self) -> String {
        self.object.describe(&self.identity.path)
    }
}

/// The facet is lost, and a try with it. Answers how the event ended, and the commit that says so, if one was needed.
pub(super) fn settle_lost(
    object: &Arc<Object>,
    control: &Control,
    path: &[FacetName],
    storage: &Mutex<FacetStore>,
    how: Lost,
    why: &str,
) -> (Result<AlarmEnd, CallError>, Option<Lsn>) {
    let facet = object.describe(path);
    // It may have to be opened.
    let settled = executor::block_in_place(|| {
        let mut store = storage.lock().unwrap_or_else(PoisonError::into_inner);
        store.retire();
        let now_ms = clock::unix_ms();
        let end = match how {
            Lost::Failed => fail(&mut store, &facet, now_ms, why)?,
            Lost::Unstarted { waited_ms } => match store.begin_alarm(now_ms, waited_ms)? {
                Beginning::Begun(..) => fail(&mut store, &facet, now_ms, why)?,
                Beginning::NotDue(due_ms) => AlarmEnd::NotDue(due_ms),
                Beginning::Exhausted(info) => {
                    log_dropped(&facet, info.scheduled_ms, why);
                    AlarmEnd::Ran
                }
            },
            Lost::Interrupted => {
                store.interrupt_alarm(now_ms)?;
                AlarmEnd::Ran
            }
        };
        let committed = store.end_turn()?;
        Ok::<_, StorageError>((end, committed))
    });
    match settled {
        Ok((end, committed)) => {
            let lsn = committed.and_then(|committed| {
                let lsn = object.record_alone(committed);
                let mut store = storage
                    .lock()
                    .expect("storage does not panic: a panic would end this task first");
                match lsn {
                    Some(lsn) => store.recorded(lsn),
                    None => store.forget_commit(),
                }
                lsn
            });
            control.storage_changed.notify_waiters();
            (Ok(end), lsn)
        }
        Err(error) => {
            // A try that began was counted then. One that did not begins later.
            let told = error.for_operator();
            warn!(facet, error = told, "what became of an alarm cannot be written");
            (Err(error.into()), None)
        }
    }
}

fn fail(store: &mut FacetStore, facet: &str, now_ms: u64, why: &str) -> Result<AlarmEnd, StorageError> {
    let after = store.fail_alarm(now_ms)?;
    log_failure(facet, after, why);
    Ok(AlarmEnd::Ran)
}

fn log_failure(facet: &str, after: AfterFailure, why: &str) {
    match after {
        AfterFailure::Nothing => info!(facet, why, "an alarm handler failed; its alarm was deleted meanwhile"),
        AfterFailure::Replaced => info!(
            facet,
            why, "an alarm handler failed; the alarm that was set since stays"
        ),
        AfterFailure::Retry(row) => {
            info!(
                facet,
                why,
                retry = row.tries,
                due_ms = row.due_ms,
                "an alarm handler failed; it is tried again"
            );
        }
        AfterFailure::Dropped(row) => log_dropped(facet, row.scheduled_ms, why),
    }
}

fn log_dropped(facet: &str, scheduled_ms: u64, why: &str) {
    warn!(
        facet,
        why, scheduled_ms, "an alarm is dropped: its handler failed, and so did all retries"
    );
}
