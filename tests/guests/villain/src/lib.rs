//! A facet that does harm, one deed at a time. A deed is JSON, `{"do": "spin"}`, and each export carries one out: a call
//! its argument, a start what the props say, an alarm and a request what was stored for them. So every deed can be done in
//! every export.

mod calls;
mod deed;
mod handles;
mod loops;
mod sizes;
mod sql;
mod tree;
mod web;

use facetd_sdk::alarms::Alarm;
use facetd_sdk::http::{Request, Response};
use facetd_sdk::{Answer, Bytes, Facet, Payload, Result, Stub, context, kv, no_such_method};
use serde_json::Value;

use deed::Deed;

facetd_sdk::export!(Villain, alarm);

/// Where the deeds of the alarm and of requests are stored.
const ALARM: &str = "deed of the alarm";
const FETCH: &str = "deed of requests";

struct Villain;

impl Facet for Villain {
    async fn start() -> Result<Self> {
        let props = context::raw_props();
        if !props.body.is_empty()
            && let Some(deed) = props.decode::<Option<Deed>>()?
        {
            deed.carry_out().await?;
        }
        Ok(Self)
    }

    async fn call(&self, method: &str, args: Payload, stubs: Vec<Stub>) -> Result<Answer> {
        match method {
            "do" => {
                let [deed]: [Deed; 1] = args.decode()?;
                Answer::json(&deed.carry_out().await?)
            }
            // Whatever comes, for those who send much.
            "take" => {
                drop(stubs);
                Answer::json(&args.body.len())
            }
            "ping" => Answer::json(&"pong"),
            "reflect" => {
                let [depth] = args.decode()?;
                Answer::json(&calls::reflect(depth, stubs).await?)
            }
            // Uploads a component and calls a child of it; answers what came of it.
            "run" => {
                let [component]: [Bytes; 1] = args.decode()?;
                Answer::json(&tree::run(&component.0).await?)
            }
            // Uploads it with so many different tails; answers how many of them became classes.
            "uploads" => {
                let (component, n): (Bytes, u32) = args.decode()?;
                Answer::json(&tree::uploads(&component.0, n)?)
            }
            "on_alarm" => {
                let [deed]: [Value; 1] = args.decode()?;
                kv::put(ALARM, &deed)?;
                facetd_sdk::alarms::set_at(0)?;
                Answer::json(&())
            }
            "on_fetch" => {
                let [deed]: [Value; 1] = args.decode()?;
                kv::put(FETCH, &deed)?;
                Answer::json(&())
            }
            _ => Err(no_such_method(
                method,
                &[
                    "do", "take", "ping", "reflect", "run", "uploads", "on_alarm", "on_fetch",
                ],
            )),
        }
    }

    async fn alarm(&self, _: Alarm) -> Result<()> {
        if let Some(deed) = kv::get::<Deed>(ALARM)? {
            deed.carry_out().await?;
        }
        Ok(())
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match kv::get::<Deed>(FETCH)? {
            Some(deed) => web::answer(deed, request).await,
            None => Ok(Response::text(200, "pong")),
        }
    }
}
