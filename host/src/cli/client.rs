//! `facetd call` and `facetd tree`: requests to a running host.

use anyhow::{Context as _, anyhow, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Remote;
use super::remote::{Place, Request};

/// An object as the command line names it, percent-encoded for a path.
fn encode(object: &str) -> anyhow::Result<String> {
    let Some((namespace, name)) = object.split_once('/').filter(|(n, o)| !n.is_empty() && !o.is_empty()) else {
        bail!("{object:?} names no object; expected NAMESPACE/OBJECT, e.g. app/demo");
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let name = match name.strip_prefix("id:") {
        Some(id) => format!("id:{}", encoded(id)),
        None => encoded(name),
    };
    Ok(format!("{}/{name}", encoded(namespace)))
}

pub(super) fn call(args: &super::Call) -> anyhow::Result<()> {
    let value: Value = serde_json::from_str(&args.args)
        .map_err(|error| anyhow!("the arguments should be a JSON array, e.g. '[1, \"two\"]': {error}"))?;
    if !value.is_array() {
        bail!("the arguments should be a JSON array, e.g. '[{value}]'");
    }
    let method = utf8_percent_encode(&args.method, NON_ALPHANUMERIC);
    let path = format!("/rpc/{}/{method}", encode(&args.object)?);
    let place = Place::of_calls(&args.remote)?;
    println!("{}", send(&place, &args.remote, &path, Some(&args.args))?);
    Ok(())
}

pub(super) fn tree(args: &super::Tree) -> anyhow::Result<()> {
    let path = format!("/admin/tree/{}", encode(&args.object)?);
    let text = send(&Place::of_admin(args)?, &args.remote, &path, None)?;
    if args.json {
        println!("{text}");
        return Ok(());
    }
    let tree: Value = serde_json::from_str(&text).context("the host's answer is no JSON; is it a facetd?")?;
    let facets = tree["facets"]
        .as_array()
        .context("the host's answer is no tree; is it another version of facetd?")?;
    for facet in facets {
        println!("{}", line(&args.object, facet));
    }
    Ok(())
}

fn line(object: &str, facet: &Value) -> String {
    let path = facet["path"].as_str().unwrap_or_default();
    let (depth, name) = match path.rsplit_once('/') {
        _ if path.is_empty() => (0, object),
        Some((above, name)) => (above.matches('/').count() + 2, name),
        None => (1, path),
    };
    let digest = facet["class"].as_str().unwrap_or_default();
    let class = facet["class_name"]
        .as_str()
        .unwrap_or_else(|| digest.get(..12).unwrap_or(digest));
    let label = format!("{}{name}", "  ".repeat(depth));
    format!(
        "{label:<32} {class:<16} {:<8} {:>10} bytes",
        facet["state"].as_str().unwrap_or("?"),
        facet["storage_bytes"]
    )
}

fn send(place: &Place, remote: &Remote, path: &str, body: Option<&str>) -> anyhow::Result<String> {
    let token = remote.token.as_deref();
    let (status, text) = place.send(&Request { path, body, token })?;
    if (200..300).contains(&status) {
        return Ok(text);
    }
    let error: Value = serde_json::from_str(&text).unwrap_or_default();
    let error = &error["error"];
    let Some(kind) = error["kind"].as_str() else {
        bail!("the host answered {status}: {}", text.trim())
    };
    let code = error["code"]
        .as_str()
        .filter(|code| !code.is_empty())
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    bail!("{kind}{code}: {}", error["message"].as_str().unwrap_or_default())
}
