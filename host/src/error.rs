//! What a caller may see. Only the host makes these; each says whether the effect happened (S18).

use std::{fmt, io};

use crate::startup::Payload;

/// What an error of the operating system says to somebody who may see no path: what the system calls it, or what kind it is.
pub(crate) fn told(error: &io::Error) -> String {
    if let Some(code) = error.raw_os_error() {
        return io::Error::from_raw_os_error(code).to_string();
    }
    let kind = error.kind().to_string();
    // Names that the standard library has for what it has no name for.
    match kind.as_str() {
        "uncategorized error" | "other error" => {
            "the operating system failed, and the operator's log says how".to_owned()
        }
        _ => kind,
    }
}

/// The documented words of `call-error.kind` (see `wit/types.wit`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Not a facet name.
    InvalidName,
    /// The arguments make no sense.
    InvalidArgument,
    /// No such thing.
    NotFound,
    /// Refused because of a limit; the facet lives.
    Limit,
    /// Not granted.
    Denied,
    /// Stopped by its parent.
    Aborted,
    /// Stopped because its parent asked for another startup.
    Restarted,
    /// Stopped and deleted by its parent.
    Deleted,
    /// Lost by itself.
    Broken,
    /// The callee waits for the caller.
    ReentrantCall,
    /// The caller's time was up.
    Deadline,
    /// A facet stub cannot leave its tree.
    NotTransferable,
    /// SQLite or the journal.
    Storage,
    /// The guest answered an error of its own.
    Failed,
    /// The host is stopping or overloaded.
    Unavailable,
}

impl Kind {
    /// The word used in WIT and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidName => "invalid-name",
            Self::InvalidArgument => "invalid-argument",
            Self::NotFound => "not-found",
            Self::Limit => "limit",
            Self::Denied => "denied",
            Self::Aborted => "aborted",
            Self::Restarted => "restarted",
            Self::Deleted => "deleted",
            Self::Broken => "broken",
            Self::ReentrantCall => "reentrant-call",
            Self::Deadline => "deadline",
            Self::NotTransferable => "not-transferable",
            Self::Storage => "storage",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status of an answer of this kind (S18).
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidName | Self::InvalidArgument => 400,
            Self::Denied | Self::NotTransferable => 403,
            Self::NotFound => 404,
            Self::Aborted | Self::Restarted | Self::Deleted | Self::ReentrantCall => 409,
            Self::Limit => 429,
            Self::Broken | Self::Storage | Self::Failed => 500,
            Self::Unavailable => 503,
            Self::Deadline => 504,
        }
    }
}

/// Did the effect of a call happen?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Certainly not.
    NotApplied,
    /// The callee finished its turn and answered an error.
    Applied,
    /// The host cannot tell.
    Unknown,
}

impl Outcome {
    /// The word used in WIT and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotApplied => "not-applied",
            Self::Applied => "applied",
            Self::Unknown => "unknown",
        }
    }
}

/// An error as a caller sees it, be it a guest or an HTTP client.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub struct CallError {
    /// What kind of error.
    pub kind: Kind,
    /// Refines the kind; may be empty.
    pub code: String,
    /// For people.
    pub message: String,
    /// Did it happen?
    pub outcome: Outcome,
    /// A guest's own addition to its `failed`.
    pub detail: Option<Payload>,
}

impl CallError {
    /// An error about something that certainly did not happen.
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            outcome: Outcome::NotApplied,
            detail: None,
        }
    }

    /// The same with another outcome.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// `invalid-argument` without a code.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, "", message)
    }

    /// `limit` with the name of the limit as its code.
    pub fn limit(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Limit, code, message)
    }

    /// `not-found` without a code.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, "", message)
    }

    /// The journal failed: nobody can say what is on disk.
    pub fn journal_failed() -> Self {
        let message = "the host could not write to disk and stops; its operator is told why";
        Self::new(Kind::Storage, "journal", message).outcome(Outcome::Unknown)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        if !self.code.is_empty() {
            write!(f, " ({})", self.code)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl From<crate::ids::InvalidName> for CallError {
    fn from(error: crate::ids::InvalidName) -> Self {
        Self::new(Kind::InvalidName, "", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_is_told_by_its_name_and_without_a_path() {
        let too_many = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert!(told(&too_many).contains("Too many open files"), "{}", told(&too_many));
        let wrapped = io::Error::new(too_many.kind(), format!("/secret/place: {too_many}"));
        let said = told(&wrapped);
        assert!(!said.contains("uncategorized") && !said.contains("secret"), "{said}");
        assert!(!told(&io::Error::other("/secret/place")).contains("secret"));
        let missing = io::Error::new(io::ErrorKind::NotFound, "/secret/place");
        assert_eq!(told(&missing), "entity not found");
    }
}
