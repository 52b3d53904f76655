//! The body of a response while it comes. It has an end in bytes and in time; with it ends the connection.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;

use crate::egress::BODY_BYTES_MAX;
use crate::egress::client::Ends;

/// What a request holds until the end of its response.
pub(super) struct Connection {
    pub(super) _connection: Ends,
    pub(super) _permits: [OwnedSemaphorePermit; 2],
}

/// To be read piece by piece. Dropping it ends the connection.
pub(crate) struct ResponseBody {
    incoming: Incoming,
    _connection: Connection,
    left_bytes: u64,
    until: Instant,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, connection: Connection, until: Instant) -> Self {
        Self {
            incoming,
            _connection: connection,
            left_bytes: BODY_BYTES_MAX,
            until,
        }
    }

    /// The next bytes; none at the end. After an error there is nothing more.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let Ok(frame) = timeout_at(self.until.into(), self.incoming.frame()).await else {
                return Some(Err("it took too long".into()));
            };
            let bytes = match frame? {
                Ok(frame) => frame.into_data(),
                Err(error) => return Some(Err(error.to_string())),
            };
            // Trailers are not for facets.
            let Ok(bytes) = bytes else { continue };
            let Some(left) = self.left_bytes.checked_sub(bytes.len() as u64) else {
                return Some(Err(format!("it has more than {BODY_BYTES_MAX} bytes")));
            };
            self.left_bytes = left;
            return Some(Ok(bytes));
        }
    }
}
