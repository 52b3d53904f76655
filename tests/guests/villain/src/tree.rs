//! Deeds with children.

use facetd_sdk::children::Startup;
use facetd_sdk::{Error, Payload, Result, Stub, children, classes, context, join_all, outcome_name};
use serde_json::{Value, json};

/// A call's error as an answer, so that who sent the villain sees it whole.
pub(crate) fn told(answer: Result<Value>) -> Value {
    match answer {
        Ok(value) => json!({ "ok": value }),
        Err(error) => error_of(&error),
    }
}

fn error_of(error: &Error) -> Value {
    json!({"err": {
        "kind": error.kind(), "code": error.code(), "message": error.message(),
        "outcome": outcome_name(error.outcome()),
    }})
}

pub(crate) fn twin(name: &str) -> Result<Stub> {
    children::get(name, &Startup::new(&classes::own()?))
}

pub(crate) async fn child(name: &str, start: &Value, deed: &Value) -> Result<Value> {
    let startup = Startup::new(&classes::own()?).props(start)?;
    let child = children::get(name, &startup)?;
    Ok(told(child.call("do", &[deed]).await))
}

/// Its own depth is known from its path.
pub(crate) async fn fork(width: u32, depth: u32) -> Result<Value> {
    if depth == 0 {
        return Ok(context::path().len().into());
    }
    let deed = json!([{"do": "fork", "width": width, "depth": depth - 1}]);
    let mut answers = Vec::new();
    let stubs = (0..width).map(|n| twin(&format!("f{n}"))).collect::<Result<Vec<_>>>()?;
    for answer in join_all(stubs.iter().map(|stub| stub.call::<Value>("do", &deed))).await {
        answers.push(answer?);
    }
    Ok(answers.into_iter().max_by_key(Value::as_u64).unwrap_or_default())
}

/// Stubs are let go, the facets stay.
pub(crate) async fn names(n: u32) -> Result<Value> {
    for i in 0..n {
        let deed = json!([{"do": "answer", "bytes": 1}]);
        twin(&format!("n{i}"))?.call::<Value>("do", &deed).await?;
    }
    Ok(n.into())
}

pub(crate) async fn churn(how: &str, n: u32) -> Result<Value> {
    for _ in 0..n {
        let child = twin("churned")?;
        child.call::<Value>("ping", &()).await?;
        match how {
            "abort" => children::abort("churned", "again")?,
            "delete" => children::delete("churned")?,
            "clone" => children::clone("churned", "copy")?,
            _ => return Err(Error::msg(format!("nothing ends like that: {how}"))),
        }
    }
    Ok(n.into())
}

/// Refused when it is uploaded, when it starts, when it is called, or not at all.
pub(crate) async fn run(component: &[u8]) -> Result<Value> {
    let class = match classes::load(component) {
        Ok(class) => class,
        Err(error) => return Ok(json!({"upload": error_of(&error)})),
    };
    let child = children::get(&class.digest(), &Startup::new(&class))?;
    let answer = child.call_raw("ping", Payload::bytes(Vec::new()), Vec::new()).await;
    let answer = answer.map(|answer| answer.value.body.len().into());
    let done = json!({"call": told(answer)});
    children::delete(&class.digest())?;
    Ok(done)
}

/// A custom section at the end makes other bytes, and another class, of the same component.
pub(crate) fn uploads(component: &[u8], n: u32) -> Result<Value> {
    for i in 0..n {
        let name = format!("{i:08x}");
        let mut bytes = component.to_vec();
        bytes.extend([0, name.len() as u8 + 1, name.len() as u8]);
        bytes.extend(name.as_bytes());
        classes::load(&bytes)?;
    }
    Ok(n.into())
}
