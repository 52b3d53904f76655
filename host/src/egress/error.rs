//! What can go wrong with a request. Whether anything was sent is not said here but known by who asks, see `Sent`.

use crate::error::{CallError, Kind};

/// Why there is no response.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum EgressError {
    #[error("{0}")]
    Invalid(String),
    #[error(
        "{0} is not among the hosts that this facet may reach; whoever granted it egress has to put it on the list: its parent \
         by startup.grant(\"egress\", {{\"hosts\": [...]}}), and the operator in [namespaces.NAME.egress]"
    )]
    NotListed(String),
    #[error(
        "{0} leads to an address that is not public, which facets may not reach; the operator can list its range in \
         `allow_private` of [namespaces.NAME.egress]"
    )]
    NotPublic(String),
    #[error("{message}")]
    Limit { code: &'static str, message: String },
    #[error("{host} cannot be resolved: {why}")]
    Dns { host: String, why: String },
    #[error("{host} cannot be reached: {why}")]
    Connect { host: String, why: String },
    #[error("there is no secure connection with {host}: {why}")]
    Tls { host: String, why: String },
    #[error("the body of the request was broken off: {0}")]
    Body(String),
    #[error("{host} gave no proper answer: {why}")]
    Http { host: String, why: String },
    #[error("no answer came in time")]
    Deadline,
}

impl From<EgressError> for CallError {
    fn from(error: EgressError) -> Self {
        let (kind, code) = match &error {
            EgressError::Invalid(_) => (Kind::InvalidArgument, ""),
            EgressError::NotListed(_) | EgressError::NotPublic(_) => (Kind::Denied, "egress"),
            EgressError::Limit { code, .. } => (Kind::Limit, *code),
            EgressError::Dns { .. } => (Kind::Unavailable, "dns"),
            EgressError::Connect { .. } => (Kind::Unavailable, "connect"),
            EgressError::Tls { .. } => (Kind::Unavailable, "tls"),
            EgressError::Body(_) => (Kind::Unavailable, "body"),
            EgressError::Http { .. } => (Kind::Unavailable, "http"),
            EgressError::Deadline => (Kind::Deadline, ""),
        };
        Self::new(kind, code, error.to_string())
    }
}
