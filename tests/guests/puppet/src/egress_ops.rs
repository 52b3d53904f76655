//! `egress.*`: requests to the network.

use std::future::{Future as _, poll_fn};
use std::task::Poll;

use facetd_sdk::http::{Body, Request, pipe};
use facetd_sdk::{egress, log, spawn};
use serde_json::{Value, json};

use crate::Puppet;
use crate::http_ops::streamed;
use crate::op::{Op, Outcome};
use crate::outbound::{headers_of, headers_to, known};

/// The most that is read of a body that is shown.
const SHOWN_BYTES_MAX: usize = 1 << 20;

impl Puppet {
    pub(crate) async fn egress_get(&self, op: &Op<'_>) -> Outcome {
        let response = egress::fetch(Request::get(op.text("url")?)).await?;
        let status = response.status;
        Ok(json!({ "status": status, "body": response.body.text(SHOWN_BYTES_MAX).await? }))
    }

    /// Everything of a request and a response. `pieces` instead of `body`: what is written while it is sent, text or steps as in
    /// `http.program`; null breaks it off. `read`: `"count"`
    /// answers how many bytes came, `"no"` drops the body unread.
    pub(crate) async fn egress_fetch(&self, op: &Op<'_>) -> Outcome {
        let body = match op.optional("pieces", "a list", Value::as_array)? {
            None => Body::of_bytes(op.optional_text("body")?.unwrap_or_default().as_bytes()),
            Some(pieces) => {
                let (mut writer, body) = pipe();
                let pieces = pieces.clone();
                spawn(async move {
                    for piece in &pieces {
                        let written = match piece {
                            Value::Null => return,
                            Value::String(text) => writer.write(text.as_bytes()).await,
                            step => streamed(&mut writer, step).await,
                        };
                        if let Err(error) = written {
                            return log::info(format!("a piece was not taken: {error}"));
                        }
                    }
                    writer.finish();
                });
                body
            }
        };
        let mut request = Request::new(op.optional_text("method")?.unwrap_or("GET"), op.text("url")?, body);
        request.headers = headers_to(&op.value("headers"));
        let response = egress::fetch(request).await?;
        let (status, headers) = (response.status, headers_of(&known(response.headers)));
        let body = match op.optional_text("read")? {
            Some("no") => Value::Null,
            Some("count") => {
                let mut count = 0;
                while let Some(piece) = response.body.read(u32::MAX).await? {
                    count += piece.len();
                }
                count.into()
            }
            _ => response.body.text(SHOWN_BYTES_MAX).await?.into(),
        };
        Ok(json!({ "status": status, "headers": headers, "body": body }))
    }

    /// A request of the running turn that nobody here waits for.
    pub(crate) async fn egress_start(&self, op: &Op<'_>) -> Outcome {
        let url = op.text("url")?.to_owned();
        let mut fetch = Box::pin(async move {
            if let Err(error) = egress::fetch(Request::get(&url)).await {
                log::info(format!("{url}: {error}"));
            }
        });
        // Begun here and now; a task of its own would begin later.
        if poll_fn(|cx| Poll::Ready(fetch.as_mut().poll(cx))).await.is_pending() {
            spawn(fetch);
        }
        Ok(Value::Null)
    }
}
