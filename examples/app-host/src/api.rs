//! The page's addresses: JSON in, JSON out. Errors have the host's shape, `{"error": {"kind", "code", "message",
//! "outcome"}}`, whoever made them.

use facetd_sdk::Outcome;
use facetd_sdk::bindings::facetd::runtime::types::Format;
use facetd_sdk::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::answer::Problem;
use crate::route::{self, Miss, Route};
use crate::{apps, components, page};

/// The longest JSON body, in bytes. Components are no JSON and have their own limit.
const MAX_BODY: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    name: String,
    class: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    method: String,
    /// As it came, so that numbers stay what they are.
    args: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Abort {
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clone {
    name: String,
    copy: String,
}

pub(crate) async fn serve(request: http::Request) -> Result<http::Response> {
    let response = match route::find(&request.method, request.path()) {
        // What the supervisor refuses, it refuses before it writes.
        Ok(route) => match handle(route, request).await {
            Err(error) if error.is_failure() => problem(&error, Outcome::NotApplied)?,
            Err(error) => problem(&error, error.outcome())?,
            Ok(response) => response,
        },
        Err(Miss::Path) => http::Response::text(404, "there is nothing at this address\n"),
        Err(Miss::Method(allow)) => http::Response::text(405, "not with this method\n").with_header("allow", allow),
    };
    Ok(response
        .with_header("cache-control", "no-store")
        .with_header("x-content-type-options", "nosniff"))
}

async fn handle(route: Route, request: http::Request) -> Result<http::Response> {
    match route {
        Route::Page => Ok(page::response()),
        Route::Apps => http::Response::json(200, &apps::all()?),
        Route::Components => http::Response::json(200, &components::all()?),
        Route::Upload => {
            let label = request.query("label").unwrap_or_default();
            http::Response::json(200, &components::upload(&label, request.body).await?)
        }
        Route::Start => {
            let Start { name, class } = body(request).await?;
            http::Response::json(200, &apps::start(&name, &class)?)
        }
        Route::Call => {
            let Call { name, method, args } = body(request).await?;
            let args = Payload {
                format: Format::Json,
                body: args.get().as_bytes().to_vec(),
            };
            // From here on it is the app that answers, and its errors may come after it wrote.
            match apps::find(&name)?.call(&method, args).await {
                Ok(answer) => http::Response::json(200, &answer),
                Err(error) => problem(&error, error.outcome()),
            }
        }
        Route::Abort => {
            let Abort { name, reason } = body(request).await?;
            http::Response::json(200, &apps::abort(&name, &reason)?)
        }
        Route::Delete => {
            let Delete { name } = body(request).await?;
            http::Response::json(200, &apps::delete(&name)?)
        }
        Route::Clone => {
            let Clone { name, copy } = body(request).await?;
            http::Response::json(200, &apps::clone(&name, &copy)?)
        }
    }
}

async fn body<T: DeserializeOwned>(request: http::Request) -> Result<T> {
    parse(&request.body.text(MAX_BODY).await?)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::new("bad-request", format!("the request is not right: {error}")))
}

fn problem(error: &Error, outcome: Outcome) -> Result<http::Response> {
    let problem = Problem::of(error, outcome);
    http::Response::json(status(error.kind()), &serde_json::json!({ "error": problem }))
}

/// The host's statuses, but for a facet's own error: the server did not fail, it was told no.
fn status(kind: &str) -> u16 {
    match kind {
        "invalid-name" | "invalid-argument" => 400,
        "denied" | "not-transferable" => 403,
        "not-found" => 404,
        "aborted" | "restarted" | "deleted" | "reentrant-call" => 409,
        Error::FAILED => 422,
        "limit" => 429,
        "unavailable" => 503,
        "deadline" => 504,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_app_as_they_were_written() {
        let call: Call = parse(r#"{"name": "c1", "method": "m", "args": [12345678901234567890, {"b":1, "a":2}]}"#)
            .expect("a good request");
        assert_eq!(call.args.get(), r#"[12345678901234567890, {"b":1, "a":2}]"#);
        assert_eq!((call.name.as_str(), call.method.as_str()), ("c1", "m"));
    }

    #[test]
    fn a_request_that_is_not_right_says_why() {
        let error = parse::<Delete>(r#"{"nam": "c1"}"#).map(|_| ()).expect_err("a typo");
        assert_eq!(error.code(), "bad-request");
        assert_eq!(
            error.message(),
            "the request is not right: unknown field `nam`, expected `name` at line 1 column 6"
        );
    }

    #[test]
    fn statuses_tell_refusals_from_breakage() {
        let of = |kinds: [&str; 6]| kinds.map(status);
        assert_eq!(
            of([
                "invalid-name",
                "failed",
                "aborted",
                "limit",
                "broken",
                "a-kind-of-tomorrow"
            ]),
            [400, 422, 409, 429, 500, 500]
        );
    }
}
