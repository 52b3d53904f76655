//! A namespace with tokens is open to who shows one of them, and nobody learns of it without one.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::cli;
use crate::support::client::{Client, Response};
use crate::support::components::FACETD;
use crate::support::wire::Wire;
use crate::{Site, access, refused, token};

const ECHO: &[u8] = br#"[[{"op": "echo", "value": "hello"}]]"#;

fn call(url: &str, namespace: &str, authorization: Option<&str>) -> Result<Response> {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    Wire::tcp(url)?.request("POST", &format!("/rpc/{namespace}/x/run"), &headers, ECHO)
}

fn answered(response: &Response) -> Result<()> {
    let body: Value = serde_json::from_slice(&response.body)?;
    ensure!(
        response.status == 200 && body == json!([{"ok": "hello"}]),
        "{}: {body}",
        response.status
    );
    Ok(())
}

#[test]
fn tokens_open_their_namespace_and_are_never_logged() -> Result<()> {
    let ((old, old_hash), (new, new_hash), (other, other_hash)) = (token()?, token()?, token()?);
    let namespaces = [
        ("open", Some("\"public\"".to_owned())),
        ("mine", access(&[&old_hash, &new_hash])),
        ("yours", access(&[&other_hash])),
        ("shut", access(&[])),
    ];
    let mut site = Site::new("", &namespaces)?;
    site.host.set_env("FACETD_LOG", "trace");
    let url = site.host.url()?;

    answered(&call(&url, "open", None)?)?;
    answered(&call(&url, "open", Some("Bearer whatever"))?)?;
    for token in [&old, &new] {
        answered(&call(&url, "mine", Some(&format!("Bearer {token}")))?)?;
        answered(&call(&url, "%6Dine", Some(&format!("bearer  {token}")))?)?;
    }
    answered(&call(&url, "yours", Some(&format!("Bearer {other}")))?)?;
    let wrong = format!("Bearer {}x", &old[..old.len() - 1]);
    let hashed = format!("Bearer {old_hash}");
    let basic = format!("Basic {old}");
    let others = format!("Bearer {other}");
    let mut said = Vec::new();
    for namespace in ["mine", "shut", "nowhere", "%6Dine", "mine%00", "mine%2F"] {
        for given in [
            None,
            Some(&wrong),
            Some(&hashed),
            Some(&basic),
            Some(&others),
            Some(&old),
        ] {
            let response = call(&url, namespace, given.map(String::as_str))?;
            refused(&response, 401, "denied", "token")?;
            said.push(response.body);
        }
    }
    ensure!(
        said.iter().all(|body| *body == said[0]),
        "namespaces can be told apart without a token"
    );
    let o = |path: &str| Wire::tcp(&url)?.get(path, &[]);
    refused(&o("/o/mine/x/")?, 401, "denied", "token")?;
    refused(&o("/o/nowhere/x/")?, 401, "denied", "token")?;
    ensure!(o("/o/open/x/")?.status == 404, "the guest has no program");

    // Rotated: the old one is good for nothing now.
    site.host.stop()?;
    let namespaces = [("open", None), ("mine", access(&[&new_hash]))];
    site.change("", &namespaces)?;
    let url = site.host.url()?;
    answered(&call(&url, "mine", Some(&format!("Bearer {new}")))?)?;
    refused(
        &call(&url, "mine", Some(&format!("Bearer {old}")))?,
        401,
        "denied",
        "token",
    )?;
    site.host.stop()?;

    let log = site.host.whole_log();
    ensure!(
        log.contains("DEBUG"),
        "the log says too little to prove anything: {log}"
    );
    for secret in [&old, &new, &other, &wrong] {
        let secret = secret.trim_start_matches("Bearer ").trim_start_matches("facetd_");
        ensure!(!log.contains(secret), "the log shows a token");
    }
    Ok(())
}

#[test]
fn a_guest_sees_authorization_only_if_it_was_not_shown_to_the_host() -> Result<()> {
    let (token, hash) = token()?;
    let mut site = Site::new("", &[("open", None), ("mine", access(&[&hash]))])?;
    let url = site.host.url()?;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-other", "kept")];
    for (namespace, seen) in [("open", true), ("mine", false)] {
        let program = br#"[[{"op": "http.program", "echo": true}]]"#;
        let made = Wire::tcp(&url)?.request("POST", &format!("/rpc/{namespace}/x/run"), &headers, program)?;
        ensure!(made.status == 200, "{}", String::from_utf8_lossy(&made.body));
        let echoed = Wire::tcp(&url)?.get(&format!("/o/{namespace}/x/"), &headers)?;
        let text = String::from_utf8_lossy(&echoed.body);
        ensure!(
            echoed.status == 200 && text.contains("kept"),
            "{}: {text}",
            echoed.status
        );
        ensure!(text.contains(&token) == seen, "{namespace}: {text}");
    }
    site.host.stop()
}

#[test]
fn commands_take_the_token_from_the_environment() -> Result<()> {
    let (token, hash) = token()?;
    let mut site = Site::new("", &[("mine", access(&[&hash]))])?;
    let url = site.host.url()?;
    let call = |token: Option<&str>, args: &[&str]| {
        let mut command = Command::new(FACETD);
        command
            .args(["call", "mine/x", "run", "[[]]"])
            .args(args)
            .env("FACETD_URL", &url);
        command.env_remove("FACETD_TOKEN");
        if let Some(token) = token {
            command.env("FACETD_TOKEN", token);
        }
        cli::limited(&mut command)
    };
    let output = call(Some(&token), &[])?;
    ensure!(output.status.success() && output.stdout.trim() == "[]", "{output:?}");
    ensure!(call(None, &["--token", &token])?.status.success(), "as an argument");
    cli::explains(&call(None, &[])?, &["token", "FACETD_TOKEN"])?;
    cli::explains(&call(Some("facetd_wrong"), &[])?, &["token"])?;
    let help = cli::facetd(&["call", "--help"])?;
    ensure!(
        help.stdout.contains("FACETD_TOKEN") && !help.stdout.contains(&token),
        "{}",
        help.stdout
    );
    site.host.stop()
}

#[test]
fn pages_of_other_origins_and_names_of_others_are_refused() -> Result<()> {
    let mut site = Site::new("names = [\"facets.example\"]", &[("n", None)])?;
    let url = site.host.url()?;
    let port = url.rsplit_once(':').map_or("", |(_, port)| port).to_owned();
    let ask = |host: &str, origin: Option<&str>| {
        let mut headers = vec![("host", host)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        Wire::tcp(&url)?.request("POST", "/rpc/n/x/run", &headers, ECHO)
    };
    let own = format!("127.0.0.1:{port}");
    for host in [
        own.as_str(),
        "localhost",
        "[::1]:1",
        "facets.example",
        "Facets.Example:443",
    ] {
        answered(&ask(host, None)?)?;
        answered(&ask(host, Some(&format!("http://{host}")))?)?;
        refused(&ask(host, Some("http://evil.example"))?, 403, "denied", "origin")?;
        refused(&ask(host, Some("null"))?, 403, "denied", "origin")?;
    }
    for host in ["evil.example", "localhost.evil.example", "", "10.0.0.1"] {
        refused(&ask(host, None)?, 403, "denied", "host")?;
        // As a page whose name was pointed here would ask.
        refused(&ask(host, Some(&format!("http://{host}")))?, 403, "denied", "host")?;
    }
    // No host at all, and two that differ.
    let mut wire = Wire::tcp(&url)?;
    wire.send("GET /o/n/x/ HTTP/1.0\r\n\r\n")?;
    refused(&wire.response()?, 403, "denied", "host")?;
    let mut wire = Wire::tcp(&url)?;
    wire.send("GET http://evil.example/o/n/x/ HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    refused(&wire.response()?, 403, "denied", "host")?;
    // Who watches over it asks by any name.
    let health = Wire::tcp(&url)?.get("/healthz", &[("host", "10.9.8.7")])?;
    ensure!(health.status == 200 && health.body == b"ok\n", "{}", health.status);
    // A browser's own page, by a client as any other.
    let page = Client::new().http("GET", &format!("{url}/"), &[("origin", &url)], b"")?;
    ensure!(page.status == 200, "{}", page.status);
    site.host.stop()
}
