//! A stub belongs to the epoch of its facet in which it was made. Ending an epoch is setting its cause, once; stubs of it
//! fail with that first cause for ever (S8a).

use std::sync::{Arc, OnceLock};

use crate::error::{CallError, Kind, Outcome};

/// Why an epoch ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// By the parent, with its reason.
    Aborted(String),
    /// The parent asked for another startup.
    Restarted,
    /// The parent deleted the facet.
    Deleted,
    /// The facet, or one above it, was lost by itself.
    Broken { code: &'static str, message: String },
    /// The host is stopping.
    Unavailable,
    /// So many facets run as there may, and none of them makes place. Ends no epoch.
    Full { whose: &'static str, max: usize },
}

impl Cause {
    /// What a caller sees.
    pub(crate) fn error(&self, outcome: Outcome) -> CallError {
        let (kind, code, message) = match self {
            Self::Aborted(reason) => (Kind::Aborted, "", reason.clone()),
            Self::Restarted => (
                Kind::Restarted,
                "",
                "the facet was restarted with another startup".into(),
            ),
            Self::Deleted => (Kind::Deleted, "", "the facet was deleted".into()),
            Self::Broken { code, message } => (Kind::Broken, *code, message.clone()),
            Self::Full { whose, max } => (
                Kind::Unavailable,
                "facets",
                format!("{max} facets run, as many as {whose} has room for; try again"),
            ),
            Self::Unavailable => (Kind::Unavailable, "", "the host is stopping; try again".into()),
        };
        CallError::new(kind, code, message).outcome(outcome)
    }
}

/// One epoch of one facet; shared by the tree and by the stubs made in it.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    /// Set once, when the epoch ends.
    cause: OnceLock<Arc<Cause>>,
}

impl Epoch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Ends the epoch; the first cause stays.
    pub(crate) fn end(&self, cause: Arc<Cause>) {
        // A second cause is no error: an abort may hit what has just broken.
        let _ = self.cause.set(cause);
    }

    pub(crate) fn cause(&self) -> Option<&Arc<Cause>> {
        self.cause.get()
    }
}
