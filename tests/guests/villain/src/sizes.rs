//! Deeds that are too large.

use std::time::Duration;

use facetd_sdk::children::Startup;
use facetd_sdk::context::{self, FacetId};
use facetd_sdk::{Error, NO_ARGS, Payload, Result, children, classes, kv, log, random, sql, timers};
use serde_json::Value;

pub(crate) async fn big(what: &str, bytes: usize) -> Result<Value> {
    let text = || "x".repeat(bytes);
    let child = || children::get("child", &Startup::new(&classes::own()?));
    match what {
        "name" => drop(children::get(&text(), &Startup::new(&classes::own()?))?),
        "props" => {
            let startup = Startup::new(&classes::own()?).raw_props(&Payload::bytes(vec![7; bytes]));
            drop(children::get("propped", &startup)?);
        }
        "id" => {
            let startup = Startup::new(&classes::own()?).id(&FacetId::Text(text()));
            drop(children::get("named", &startup)?);
        }
        "method" => drop(child()?.call::<Value>(&text(), NO_ARGS).await?),
        "args" => drop(
            child()?
                .call_raw("take", Payload::bytes(vec![7; bytes]), Vec::new())
                .await?,
        ),
        "stubs" => {
            let stubs = (0..bytes).map(|_| context::self_stub("")).collect();
            drop(child()?.call_raw("take", Payload::bytes(Vec::new()), stubs).await?);
        }
        "badge" => drop(context::self_stub(&text())),
        "reason" => {
            child()?;
            children::abort("child", &text())?;
        }
        "key" => kv::put(&text(), &1)?,
        "value" => kv::put_bytes("k", &vec![7; bytes])?,
        "sql" => sql::execute(&format!("SELECT '{}'", text()), &[])?,
        "random" => drop(random::bytes(bytes.try_into()?)),
        "sleep" => timers::sleep(Duration::MAX).await,
        "names" => drop(children::names(None, u32::MAX)),
        "limit" => drop(Startup::new(&classes::own()?).limit(&text(), u64::MAX)?),
        "digest" => drop(classes::by_digest(&text())?),
        "alarm" => facetd_sdk::alarms::set_at(u64::MAX)?,
        _ => return Err(Error::msg(format!("nothing is so large: {what}"))),
    }
    Ok("done".into())
}

pub(crate) fn log(lines: usize, bytes: usize) -> Result<Value> {
    let line = "flood\u{1b}[2J\r\n\0".repeat(bytes.div_ceil(12));
    for _ in 0..lines {
        log::error(&line);
    }
    Ok("logged".into())
}
