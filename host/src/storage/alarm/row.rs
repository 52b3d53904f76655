//! The state of one facet's alarm, pure: what is stored, and what setting, trying, failing and deleting make of it.
//!
//! A try is counted *before* it begins: the row then says when the next try would be, and is committed in a turn of the
//! host's, ahead of the handler's first turn. So nothing has to be written for a try to be counted that ends with its
//! isolate, or with the host: a handler that takes the whole process with it cannot do so for ever. It
//! also tells the row of a running try, which has a count, from one that was set since, which has none.

/// Waiting before the first retry, ms; each further one waits twice as long.
const RETRY_MS: u64 = 2_000;
/// Tries after the first one.
pub(crate) const RETRIES_MAX: u32 = 6;

/// What is stored of an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AlarmRow {
    /// When the handler runs next, Unix time in ms.
    pub(crate) due_ms: u64,
    /// For when the facet set it.
    pub(crate) scheduled_ms: u64,
    /// Tries begun so far.
    pub(crate) tries: u32,
}

/// What a handler is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AlarmInfo {
    pub(crate) scheduled_ms: u64,
    /// 0 for the first try.
    pub(crate) retry: u32,
}

/// What becomes of an alarm whose time seems to have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beginning {
    /// None is set, or not for now.
    NotDue(Option<u64>),
    /// The last try was begun and never ended, with the host most likely: the alarm is dropped.
    Exhausted(AlarmInfo),
    /// A try begins; the row is stored before the handler runs.
    Begun(AlarmInfo, AlarmRow),
}

/// What a failed try leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterFailure {
    /// Nothing: it was deleted meanwhile.
    Nothing,
    /// The alarm that was set since; it replaces the retry.
    Replaced,
    /// Another try.
    Retry(AlarmRow),
    /// That was the last one.
    Dropped(AlarmRow),
}

impl AlarmRow {
    /// An alarm as a facet sets it. What is past is due now.
    pub(crate) fn set(at_ms: u64, now_ms: u64) -> Self {
        let due_ms = at_ms.max(now_ms);
        Self {
            due_ms,
            scheduled_ms: due_ms,
            tries: 0,
        }
    }

    /// When the facet may expect its handler; none while that runs. `trying`: a try of this alarm, or of the one before,
    /// runs now.
    pub(crate) fn visible_ms(&self, trying: bool) -> Option<u64> {
        (!trying || self.tries == 0).then_some(self.due_ms)
    }

    /// True if its time has come. A retry's has if somebody has seen its wait pass, `waited_ms` being when it was to end: the
    /// clock may have been set back meanwhile.
    pub(crate) fn is_due(&self, now_ms: u64, waited_ms: Option<u64>) -> bool {
        self.due_ms <= now_ms || (self.tries > 0 && waited_ms == Some(self.due_ms))
    }

    /// How long the wait for this retry is as a whole; none if it is none.
    pub(crate) fn retry_wait_ms(&self) -> Option<u64> {
        self.tries.checked_sub(1).map(wait_ms)
    }

    /// The time seems to have come. `waited_ms`: see [`Self::is_due`].
    pub(crate) fn begin(row: Option<Self>, now_ms: u64, waited_ms: Option<u64>) -> Beginning {
        let Some(row) = row else { return Beginning::NotDue(None) };
        if !row.is_due(now_ms, waited_ms) {
            return Beginning::NotDue(Some(row.due_ms));
        }
        let info = AlarmInfo {
            scheduled_ms: row.scheduled_ms,
            retry: row.tries,
        };
        if row.tries > RETRIES_MAX {
            return Beginning::Exhausted(info);
        }
        let next = Self {
            due_ms: now_ms.saturating_add(wait_ms(row.tries)),
            tries: row.tries + 1,
            ..row
        };
        Beginning::Begun(info, next)
    }

    /// The handler has succeeded: what stays.
    pub(crate) fn succeeded(row: Option<Self>) -> Option<Self> {
        row.filter(|row| row.tries == 0)
    }

    /// The try has failed, now. The wait begins here, not when the try did.
    pub(crate) fn failed(row: Option<Self>, now_ms: u64) -> AfterFailure {
        match row {
            None => AfterFailure::Nothing,
            Some(row) if row.tries == 0 => AfterFailure::Replaced,
            Some(row) if row.tries > RETRIES_MAX => AfterFailure::Dropped(row),
            Some(row) => AfterFailure::Retry(Self {
                due_ms: now_ms.saturating_add(wait_ms(row.tries - 1)),
                ..row
            }),
        }
    }

    /// The host stops while the handler runs: that is no failure of the handler's, and the try does not count.
    pub(crate) fn interrupted(row: Option<Self>, now_ms: u64) -> Option<Self> {
        row.map(|row| match row.tries {
            0 => row,
            1 => Self {
                due_ms: row.scheduled_ms,
                tries: 0,
                ..row
            },
            tries => Self {
                due_ms: now_ms,
                tries: tries - 1,
                ..row
            },
        })
    }
}

/// Between try number `tries` and the next one.
fn wait_ms(tries: u32) -> u64 {
    RETRY_MS << tries.min(RETRIES_MAX)
}
