//! Deeds in an answer to a request.

use std::time::Duration;

use facetd_sdk::http::{Request, Response, pipe};
use facetd_sdk::{Error, Result, spawn, timers};
use serde_json::Value;

use crate::deed::Deed;

pub(crate) fn elsewhere(_: &str) -> Result<Value> {
    Err(Error::msg("only a request can be responded to"))
}

pub(crate) async fn answer(deed: Deed, request: Request) -> Result<Response> {
    let Deed::Respond { how } = deed else {
        return Ok(Response::text(200, &deed.carry_out().await?.to_string()));
    };
    let (mut writer, body) = pipe();
    match how.as_str() {
        "never" => {
            timers::sleep(Duration::from_secs(3_600)).await;
        }
        // A head, and then nothing.
        "unfinished" => spawn(async move {
            let _ = writer.write(b"first").await;
            timers::sleep(Duration::from_secs(3_600)).await;
            drop(writer);
        }),
        // As fast as it is taken, for ever.
        "endless" => spawn(async move {
            let piece = vec![7; 1 << 20];
            while writer.write(&piece).await.is_ok() {}
        }),
        "broken-off" => drop(writer),
        // The request's body is neither read nor let go.
        "unread" => {
            std::mem::forget(request);
            writer.finish();
        }
        "trap-after-head" => spawn(async move {
            let _ = writer.write(b"first").await;
            core::arch::wasm32::unreachable()
        }),
        "headers" => {
            let mut response = Response::text(200, "");
            for n in 0..5_000 {
                response = response.with_header(&format!("x-{n}"), "v");
            }
            return Ok(response);
        }
        "big-header" => return Ok(Response::text(200, "").with_header("x", &"v".repeat(4 << 20))),
        "split-header" => return Ok(Response::text(200, "").with_header("x", "v\r\nset-cookie: stolen=1\r\n\r\nbody")),
        "status" => return Ok(Response::text(7, "")),
        "length" => return Ok(Response::text(200, "short").with_header("content-length", "100000")),
        "encoding" => return Ok(Response::text(200, "5\r\nsmug").with_header("transfer-encoding", "chunked")),
        _ => return Err(Error::msg(format!("no such response: {how}"))),
    }
    Ok(Response::stream(200, body))
}
