//! Bytes from a stranger become a class or an error that says why; the host lives either way.

use anyhow::{Result, ensure};
use base64::Engine;
use serde_json::{Value, json};

use crate::puppet_config;
use crate::support::client::Client;
use crate::support::host::Host;

/// An interface that no facet may have.
pub(crate) const FORBIDDEN: &str = "evil:corp/secrets";

/// A component that answers calls as a class should, and asks for more than it may have.
pub(crate) fn component_with_forbidden_import() -> Result<Vec<u8>> {
    Ok(wat::parse_str(include_str!("forbidden-import.wat"))?)
}

fn load(client: &Client, url: &str, bytes: &[u8]) -> Result<Value> {
    let component = base64::engine::general_purpose::STANDARD.encode(bytes);
    let ops = json!([{"op": "class.load", "component": component, "as": "x"}]);
    match client.run(url, "t/x", &ops)? {
        Ok(mut results) => Ok(results.remove(0)),
        Err(failure) => Ok(failure.to_result()),
    }
}

fn alive(client: &Client, url: &str) -> Result<()> {
    let answer = client.run(url, "t/x", &json!([{"op": "echo", "value": 1}]))?;
    ensure!(
        matches!(&answer, Ok(results) if results[0] == json!({"ok": 1})),
        "the host is hurt: {answer:?}"
    );
    Ok(())
}

#[test]
fn uploads_that_are_no_class_are_explained() -> Result<()> {
    let mut host = Host::new(&puppet_config())?;
    let (url, client) = (host.url()?, Client::new());
    let uploads: [(&str, Vec<u8>, &str); 5] = [
        ("garbage", b"this is not WebAssembly".to_vec(), ""),
        ("nothing", Vec::new(), ""),
        (
            "a core module",
            wat::parse_str("(module (func (export \"run\")))")?,
            "component",
        ),
        (
            "a component without a handler",
            wat::parse_str("(component)")?,
            "handler",
        ),
        (
            "a component that asks for too much",
            component_with_forbidden_import()?,
            FORBIDDEN,
        ),
    ];
    for (what, bytes, said) in uploads {
        let answer = load(&client, &url, &bytes)?;
        ensure!(
            answer["err"]["kind"] == "invalid-argument",
            "{what}: {answer}\n{}",
            host.log()
        );
        let message = answer["err"]["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains(said) && message.len() > 10,
            "{what}: the message does not say {said:?}: {answer}"
        );
        alive(&client, &url)?;
    }
    // Cut anywhere, a good component is none.
    let whole = component_with_forbidden_import()?;
    for length in [7, 8, 20, whole.len() / 2, whole.len() - 1] {
        let answer = load(&client, &url, &whole[..length])?;
        ensure!(
            answer["err"]["kind"] == "invalid-argument",
            "cut to {length} bytes: {answer}"
        );
    }
    alive(&client, &url)?;
    host.stop()
}

#[test]
fn a_huge_upload_is_refused() -> Result<()> {
    let mut host = Host::new(&puppet_config())?;
    let (url, client) = (host.url()?, Client::new());
    alive(&client, &url)?;
    // 75 MB are 100 MB in base64. A payload has at most 8 MiB (S25).
    match load(&client, &url, &vec![0; 75_000_000]) {
        Ok(answer) => ensure!(answer["err"]["kind"] == "limit", "{answer}"),
        // The host may answer and close without reading on, and then it is chance which of the two arrives here.
        Err(error) => ensure!(error.is::<ureq::Error>() || error.is::<std::io::Error>(), "{error:#}"),
    }
    alive(&client, &url)?;
    host.stop()
}
