//! Doors are open before the host is: whoever knocks while it recovers hears how far it is, and nothing else.

use std::sync::{Arc, OnceLock};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::error_response;
use crate::Host;
use crate::error::{CallError, Kind};
use crate::host::Opening;
use crate::storage::Recovering;

/// When it is worth asking again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A host that is, or is going to be.
#[derive(Clone)]
pub struct Hosted {
    host: Arc<OnceLock<Host>>,
    recovering: Arc<Recovering>,
}

impl Hosted {
    /// One that is being opened.
    pub fn opening(opening: &Opening) -> Self {
        Self {
            host: Arc::default(),
            recovering: opening.recovering(),
        }
    }

    /// It is open: from now on it answers itself.
    pub fn opened(&self, host: Host) {
        // There is one host, and it is opened once.
        let _ = self.host.set(host);
    }

    /// The host, or what those hear who come before it is open.
    pub(super) fn host(&self, asks_for_health: bool) -> Result<&Host, Box<Response>> {
        self.host.get().ok_or_else(|| Box::new(self.not_yet(asks_for_health)))
    }

    fn not_yet(&self, asks_for_health: bool) -> Response {
        let stage = self.recovering.stage();
        let code = if stage.is_recovering() {
            "recovering"
        } else {
            "starting"
        };
        let mut response = match asks_for_health {
            true => (StatusCode::SERVICE_UNAVAILABLE, format!("{stage}\n")).into_response(),
            false => {
                let message = format!("this host does not serve yet ({stage}); try again");
                error_response(&CallError::new(Kind::Unavailable, code, message))
            }
        };
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        response
    }
}

impl From<Host> for Hosted {
    fn from(host: Host) -> Self {
        Self {
            host: Arc::new(OnceLock::from(host)),
            recovering: Arc::default(),
        }
    }
}
