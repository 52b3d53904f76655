//! A request to the network: checked at once, queued in the turn, and sent when the turn has ended and is on disk. To the
//! parent it goes like a call.

use crate::egress::{Origin, RequestHead};
use crate::error::CallError;
use crate::grants::Egress;
use crate::isolate::calls::EFFECTS_PER_TURN_MAX;
use crate::isolate::{FacetState, Outgoing, time_is_up};
use crate::live::{Effect, Fetch, HttpRequest, HttpResponse, Outbound, ReplyTo};
use crate::object::EventId;
use crate::sys::clock;

/// Requests of one facet that are under way, up to the end of their responses' bodies.
pub(crate) const REQUESTS_MAX: usize = 32;

impl FacetState {
    /// Queues a request.
    pub(crate) fn queue_request(
        &mut self,
        event: Option<EventId>,
        request: HttpRequest,
    ) -> Result<Outgoing<HttpResponse>, CallError> {
        let HttpRequest {
            method,
            uri,
            headers,
            body,
        } = request;
        let head = RequestHead::new(&method, &uri, &headers)?;
        if self.turn.effects.len() >= EFFECTS_PER_TURN_MAX {
            let message = format!("a turn sends at most {EFFECTS_PER_TURN_MAX} requests and calls; wait for some");
            return Err(CallError::limit("fan-out", message));
        }
        let asking = event.and_then(|event| self.events.get(&event));
        let deadline = asking.and_then(|event| event.deadline);
        if deadline.is_some_and(|deadline| deadline <= clock::now()) {
            return Err(time_is_up());
        }
        match (&self.grants.egress, self.identity.parent, self.identity.path.last()) {
            (Egress::Hosts(lists), ..) => {
                if !lists.iter().all(|list| list.allows(&head.origin)) {
                    return Err(not_listed(&head.origin));
                }
                let permit = self.requests.clone().try_acquire_owned().map_err(|_| {
                    let message =
                        format!("{REQUESTS_MAX} requests of this facet are under way; read or drop their bodies");
                    CallError::limit("requests", message)
                })?;
                let (reply, answer) = ReplyTo::new();
                self.send(Effect::Fetch(Fetch {
                    head,
                    body,
                    deadline,
                    reply,
                    permit,
                }));
                Ok(Outgoing {
                    answer,
                    // Who sends it looks at the time, and knows whether anything was sent.
                    deadline: None,
                    epoch: None,
                    waited: None,
                })
            }
            (Egress::Parent, Some(parent), Some(child)) => {
                let child = child.clone();
                let chain = asking.map_or_else(|| self.chain_of_all(), |event| event.chain.clone());
                let waited = self.control.waits.begin(event, parent);
                let (reply, answer) = ReplyTo::of(Some(waited.clone()));
                let headers = head.headers.iter();
                let request = HttpRequest {
                    method: head.method.as_str().to_owned(),
                    uri: head.uri(),
                    headers: headers
                        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                        .collect(),
                    body,
                };
                self.send(Effect::Outbound(Outbound {
                    parent,
                    child,
                    request,
                    chain,
                    deadline,
                    reply,
                }));
                let parents = self.object.epoch(parent);
                Ok(Outgoing {
                    answer,
                    deadline,
                    epoch: parents,
                    waited: Some(waited),
                })
            }
            (Egress::None, ..) | (Egress::Parent, ..) => Err(not_listed(&head.origin)),
        }
    }
}

fn not_listed(origin: &Origin) -> CallError {
    crate::egress::EgressError::NotListed(origin.to_string()).into()
}
