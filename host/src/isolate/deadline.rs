//! What waits for an event waits no longer than the event has time (S17). It ends with an error where there is one to answer
//! with. A timer runs on: it has nobody to tell, and if it ended early, a loop that waits would become one that spins.

use std::time::Instant;

use crate::error::{CallError, Kind};
use crate::isolate::FacetState;
use crate::object::EventId;

impl FacetState {
    /// Until when the event may wait.
    pub(crate) fn deadline_of(&self, event: Option<EventId>) -> Option<Instant> {
        self.events.get(&event?)?.deadline
    }
}

/// Waits no longer than until the deadline. None if it came first; what is ready is ready, however late it is.
pub(crate) async fn until<T>(deadline: Option<Instant>, wait: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(wait.await),
        Some(deadline) => tokio::time::timeout_at(deadline.into(), wait).await.ok(),
    }
}

/// What a wait answers that was given up.
pub(crate) fn time_is_up() -> CallError {
    CallError::new(Kind::Deadline, "", "the time of the event that waits is up")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;
    use crate::sys::clock;

    #[tokio::test]
    async fn a_wait_ends_with_the_time_of_its_event() {
        let soon = clock::now() + Duration::from_millis(10);
        assert_eq!(until(Some(soon), pending::<()>()).await, None);
        assert!(clock::now() >= soon);
    }

    #[tokio::test]
    async fn what_is_ready_is_answered_however_late() {
        assert_eq!(until(Some(clock::now()), ready(1)).await, Some(1));
        assert_eq!(until(None, ready(1)).await, Some(1));
    }
}
