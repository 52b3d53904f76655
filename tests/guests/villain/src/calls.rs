//! Deeds with calls.

use facetd_sdk::children::Startup;
use facetd_sdk::{Error, Payload, Result, Stub, children, classes, context, join_all, objects};
use serde_json::{Value, json};

use crate::tree::{told, twin};

/// A call to itself, directly or through so many children that wait for each other.
pub(crate) async fn myself(through: u32) -> Result<Value> {
    let own = context::self_stub("");
    match through {
        0 => Ok(told(own.call("ping", &()).await)),
        _ => reflect(through, vec![own]).await,
    }
}

/// Calls the stub that came, or has a child do so.
pub(crate) async fn reflect(depth: u32, stubs: Vec<Stub>) -> Result<Value> {
    match depth {
        0 => Ok(told(stubs[0].call("ping", &()).await)),
        _ => {
            let answer = twin("mirror")?
                .call_raw("reflect", Payload::json(&[depth - 1])?, stubs)
                .await?;
            answer.value.decode()
        }
    }
}

/// Down the tree as long as there is depth.
pub(crate) async fn chain(n: u32) -> Result<Value> {
    if n == 0 {
        return Ok(context::path().len().into());
    }
    twin("next")?.call("do", &[json!({"do": "chain", "n": n - 1})]).await
}

/// How many were answered, and of the others the first error.
pub(crate) async fn flood(n: u32, deed: &Value) -> Result<Value> {
    let child = twin("flooded")?;
    let deed = [deed];
    let answers = join_all((0..n).map(|_| child.call::<Value>("do", &deed))).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    let first = refused.first().map(|error| json!([error.kind(), error.code()]));
    Ok(json!({"answered": answers.len() - refused.len(), "refused": refused.len(), "first": first}))
}

/// Two children at a time, each flooding children of its own.
pub(crate) async fn storm(n: u32) -> Result<Value> {
    let (left, right) = (twin("left")?, twin("right")?);
    let deed = [json!({"do": "flood", "n": n, "deed": {"do": "flood", "n": n, "deed": {"do": "answer", "bytes": 1}}})];
    let answers = join_all([left.call::<Value>("do", &deed), right.call("do", &deed)]).await;
    Ok(answers.into_iter().map(told).collect())
}

pub(crate) async fn objects(n: u32) -> Result<Value> {
    let stubs = (0..n)
        .map(|i| objects::by_name("evil", &format!("many-{i}")))
        .collect::<Result<Vec<_>>>()?;
    let answers = join_all(stubs.iter().map(|stub| stub.call::<Value>("ping", &()))).await;
    Ok(answers.iter().filter(|answer| answer.is_ok()).count().into())
}

/// What a stub answers when its facet has ended.
pub(crate) async fn stale(how: &str) -> Result<Value> {
    let child = twin("stale")?;
    child.call::<Value>("ping", &()).await?;
    match how {
        "abort" => children::abort("stale", "gone")?,
        "delete" => children::delete("stale")?,
        "restart" => {
            let other = Startup::new(&classes::own()?).props(&json!({"do": "answer", "bytes": 1}))?;
            children::get("stale", &other)?;
        }
        _ => return Err(Error::msg(format!("nothing ends like that: {how}"))),
    }
    let again = twin("stale")?.call::<Value>("ping", &()).await?;
    Ok(json!([told(child.call("ping", &()).await), again]))
}

pub(crate) async fn reach(namespace: &str, object: &str) -> Result<Value> {
    let stub = match object.strip_prefix("id:") {
        Some(id) => objects::by_id(namespace, id)?,
        None => objects::by_name(namespace, object)?,
    };
    stub.call("ping", &()).await
}
