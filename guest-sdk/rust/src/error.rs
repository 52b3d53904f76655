//! One error type for everything that can go wrong in a facet.
//!
//! It is made from any `std::error::Error` by `?`, so it does not implement that trait itself (the two would overlap; the
//! same choice as `anyhow`).

use std::any::Any;
use std::fmt;

use crate::bindings::facetd::runtime::types::{CallError, Failure};
pub use crate::bindings::facetd::runtime::types::{Outcome, Payload};

/// `Result` with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the words of the contract.
///
/// Errors of kind [`FAILED`](Error::FAILED) come from facets: from this one (made by [`Error::new`] or `?`) or from one
/// that it called. All other kinds are made by the host.
#[derive(Clone, Debug)]
pub struct Error {
    kind: String,
    code: String,
    message: String,
    outcome: Outcome,
    detail: Option<Payload>,
}

impl Error {
    /// The kind of errors that facets make.
    pub const FAILED: &str = "failed";

    /// An error of this facet: a code for programs, a message for people.
    pub fn new(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Error {
            kind: Self::FAILED.into(),
            code: code.into(),
            message: message.to_string(),
            outcome: Outcome::Applied,
            detail: None,
        }
    }

    /// An error of this facet with code `error`.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new("error", message)
    }

    /// Attaches data for the caller, who finds it in [`detail`](Self::detail).
    pub fn with_detail(mut self, detail: Payload) -> Self {
        self.detail = Some(detail);
        self
    }

    /// `failed` for errors of facets, else what the host says: `aborted`, `limit`, `storage` ...
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The finer word: a facet's own code, or the host's, such as `constraint` for kind `storage`. May be empty.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Did the call that failed have an effect?
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What the facet that failed attached.
    pub fn detail(&self) -> Option<&Payload> {
        self.detail.as_ref()
    }

    /// True for an error that a facet made, false for one made by the host.
    pub fn is_failure(&self) -> bool {
        self.kind == Self::FAILED
    }
}

/// [`Outcome`] as the contract spells it.
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotApplied => "not-applied",
        Outcome::Applied => "applied",
        Outcome::Unknown => "unknown",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.code.as_str()) {
            (Self::FAILED, "" | "error") => {}
            (Self::FAILED, code) | (code, "") => write!(f, "{code}: ")?,
            (kind, code) => write!(f, "{kind} ({code}): ")?,
        }
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        // The bindings' own error must keep its kind and outcome; there is no other way to treat one type differently.
        match (&error as &dyn Any).downcast_ref::<CallError>() {
            Some(host) => Error {
                kind: host.kind.clone(),
                code: host.code.clone(),
                message: host.message.clone(),
                outcome: host.outcome,
                detail: host.detail.clone(),
            },
            None => Error::msg(error),
        }
    }
}

/// What the caller gets to see. An error of the host that a method passes on with `?` becomes a failure whose code is the
/// kind: the callee answered, so it is the callee's error now.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = if error.is_failure() { error.code } else { error.kind };
        Failure {
            code,
            message: error.message,
            detail: error.detail,
        }
    }
}

/// Leaves the function with an [`Error`]: `fail!("no-such-note", "there is no note {id}")`.
#[macro_export]
macro_rules! fail {
    ($code:expr, $($message:tt)+) => {
        return ::std::result::Result::Err($crate::Error::new($code, ::std::format!($($message)+)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> CallError {
        CallError {
            kind: "storage".into(),
            code: "constraint".into(),
            message: "twice".into(),
            outcome: Outcome::NotApplied,
            detail: None,
        }
    }

    #[test]
    fn question_mark_keeps_what_the_host_said() {
        let failed = || -> Result<()> { Err(host())? };
        let error = failed().unwrap_err();
        assert_eq!(
            (error.kind(), error.code(), error.outcome()),
            ("storage", "constraint", Outcome::NotApplied)
        );
        assert_eq!(error.to_string(), "storage (constraint): twice");
        assert!(!error.is_failure());
        assert_eq!(Failure::from(error).code, "storage");
    }

    #[test]
    fn any_std_error_becomes_a_failure() {
        let failed = || -> Result<i64> { Ok("x".parse::<i64>()?) };
        let error = failed().unwrap_err();
        assert_eq!((error.kind(), error.code()), ("failed", "error"));
        assert_eq!(error.to_string(), "invalid digit found in string");
    }

    #[test]
    fn own_codes_reach_the_caller() {
        let failure = Failure::from(Error::new("sold-out", "none left"));
        assert_eq!(
            (failure.code.as_str(), failure.message.as_str()),
            ("sold-out", "none left")
        );
    }
}
