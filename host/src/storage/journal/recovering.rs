//! How far a start has come, for those who wait for it: it is told as it happens, and the log has it once a second.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::clock;

/// How often the log says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a start does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// There is nothing to be recovered, or it is done.
    Starting,
    /// The journal is read.
    Reading,
    /// Units are carried out in databases.
    Units { done: u64, all: u64 },
    /// Indexes of objects are written.
    Indexes { done: u64, all: u64 },
    /// All of that is made durable.
    Syncing,
}

impl Stage {
    pub(crate) fn is_recovering(self) -> bool {
        self != Self::Starting
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |done: u64, all: u64| done * 100 / all.max(1);
        match *self {
            Self::Starting => write!(to, "starting"),
            Self::Reading => write!(to, "recovering: the journal is read"),
            Self::Units { done, all } => write!(to, "recovering: {done} of {all} units, {} %", percent(done, all)),
            Self::Indexes { done, all } => write!(to, "recovering: {done} of {all} indexes, {} %", percent(done, all)),
            Self::Syncing => write!(to, "recovering: it is made durable"),
        }
    }
}

/// One start.
#[derive(Debug)]
pub(crate) struct Recovering {
    state: Mutex<(Stage, Instant)>,
}

impl Default for Recovering {
    fn default() -> Self {
        Self {
            state: Mutex::new((Stage::Starting, clock::now())),
        }
    }
}

impl Recovering {
    /// It has come so far.
    pub(super) fn tell(&self, stage: Stage) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = stage;
        let now = clock::now();
        if stage.is_recovering() && now.saturating_duration_since(state.1) >= TELL_EVERY {
            state.1 = now;
            tracing::info!("{stage}");
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}
