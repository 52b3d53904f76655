//! The same promises hold for what people write: a facet in plain C, and one in TypeScript.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Completion;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Client, Failure};
use crate::support::host::Host;
use crate::support::{process, repository};

pub(crate) const TESTS: &[crate::Plain] = &[
    ("guests::guestbook_serves_all", guestbook_serves_all),
    (
        "guests::guestbook_refuses_bad_arguments",
        guestbook_refuses_bad_arguments,
    ),
    ("guests::guestbook_remembers", guestbook_remembers),
    ("guests::no_handler_no_alarm", no_handler_no_alarm),
];

/// npm fetches 50 MB, once.
const TYPESCRIPT_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How a build script says that this machine lacks what it needs.
const CANNOT_BUILD: i32 = 77;

/// Calls one object and expects an answer.
fn call(client: &Client, url: &str, on: &str, method: &str, args: &Value) -> Result<Value> {
    let answer = client.rpc(url, on, method, args)?;
    answer.map_err(|failure| anyhow!("{method} {args}: {failure:?}"))
}

/// Calls one object and expects an error of its own.
fn failure(client: &Client, url: &str, on: &str, method: &str, args: &Value) -> Result<Failure> {
    match client.rpc(url, on, method, args)? {
        Err(failure) if failure.kind == "failed" => Ok(failure),
        other => Err(anyhow!("{method} {args} should have failed: {other:?}")),
    }
}

/// Many at once, each served whole: none fails, and no number is given twice.
fn guestbook_serves_all() -> Result<()> {
    const SIGNERS: i64 = 12;
    let mut host = Host::new(&crate::config())?;
    let url = host.url()?;
    let signers = (0..SIGNERS).map(|i| {
        let url = url.clone();
        thread::spawn(move || {
            call(
                &Client::new(),
                &url,
                "guestbook/g",
                "sign",
                &json!([format!("guest {i}"), "hello"]),
            )
        })
    });
    let signers: Vec<_> = signers.collect();
    let mut numbers = BTreeSet::new();
    for signer in signers {
        let number = signer.join().expect("clients do not panic")?;
        numbers.insert(number.as_i64().with_context(|| number.to_string())?);
    }
    ensure!(
        numbers.into_iter().eq(1..=SIGNERS),
        "entries were lost or numbered twice"
    );
    host.stop()
}

/// A class without handler cannot set an alarm, and hears so at once (S22).
fn no_handler_no_alarm() -> Result<()> {
    let mut host = Host::new(&crate::config())?;
    let refused = failure(&Client::new(), &host.url()?, "bell/b", "set_alarm", &json!([]))?;
    ensure!(refused.code == "invalid-argument", "{refused:?}");
    ensure!(refused.message.contains("blocking-alarm"), "{refused:?}");
    host.stop()
}

fn guestbook_refuses_bad_arguments() -> Result<()> {
    let mut host = Host::new(&crate::config())?;
    let (url, client, on) = (host.url()?, Client::new(), "guestbook/g");
    call(&client, &url, on, "sign", &json!(["Ada", "one"]))?;
    for (method, args, code, said) in [
        ("sign", json!(["Ada"]), "bad-arguments", "text"),
        ("sign", json!([7, "x"]), "bad-arguments", "name"),
        ("sign", json!(["Ada", "x", "more"]), "bad-arguments", ""),
        ("sign", json!(["", "x"]), "bad-arguments", "name"),
        ("entries", json!(["many"]), "bad-arguments", "limit"),
        ("entries", json!([1.5]), "bad-arguments", "limit"),
        ("burn", json!([]), "no-such-method", "sign, entries, count"),
    ] {
        let failure = failure(&client, &url, on, method, &args)?;
        ensure!(
            failure.code == code && failure.message.contains(said) && failure.outcome == "applied",
            "{method} {args}: {failure:?}"
        );
    }
    // It lives, and nothing was written.
    ensure!(call(&client, &url, on, "count", &json!([]))? == 1);
    host.stop()
}

fn guestbook_remembers() -> Result<()> {
    let mut host = Host::new(&crate::config())?;
    let client = Client::new();
    let text = "O'Hara said: \"\u{1F980}\\\n\u{0}\" ; DROP TABLE entries";
    call(&client, &host.url()?, "guestbook/g", "sign", &json!(["Ada", "one"]))?;
    host.stop()?;
    call(&client, &host.url()?, "guestbook/g", "sign", &json!([text, "two"]))?;
    host.kill()?;
    let url = host.url()?;
    let entries = call(&client, &url, "guestbook/g", "entries", &json!([]))?;
    let names: Vec<_> = entries.as_array().into_iter().flatten().map(|e| &e["name"]).collect();
    ensure!(names == [&json!(text), &json!("Ada")], "{entries}");
    ensure!(call(&client, &url, "guestbook/other", "count", &json!([]))? == 0);
    host.stop()
}

/// Ignored, and counted so, where there is no npm or no registry.
pub(crate) fn typescript() -> Result<Completion> {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let component = directory.path().join("hello-ts.wasm");
    let mut build = Command::new("sh");
    build
        .arg(repository().join("tests/guests/hello-ts/build.sh"))
        .env("FACETD_OUT", &component);
    let built = process::run(&mut build, TYPESCRIPT_LIMIT, |text| eprint!("{text}"))?;
    if built.status.code() == Some(CANNOT_BUILD) {
        return Ok(crate::cannot(
            built.stderr.trim().lines().last().unwrap_or("no reason given"),
        ));
    }
    ensure!(built.status.success(), "build.sh: {}: {}", built.status, built.stderr);
    let config = directory.path().join("facetd.toml");
    fs::write(
        &config,
        "[classes.hello]\ncomponent = \"hello-ts.wasm\"\n\n[namespaces.ts]\nclass = \"hello\"\n",
    )?;
    let mut host = Host::without_build(&config)?;
    let (url, client, on) = (host.url()?, Client::new(), "ts/x");
    ensure!(call(&client, &url, on, "greet", &json!(["W\u{f6}rld"]))? == "Hello, W\u{f6}rld");
    let value = json!({"deep": [1, null, "\u{1F980}"]});
    ensure!(call(&client, &url, on, "remember", &json!(["k", value]))? == 1);
    ensure!(call(&client, &url, on, "remember", &json!(["l", 2]))? == 2);
    let refused = failure(&client, &url, on, "greet", &json!([7]))?;
    ensure!(refused.code == "bad-arguments", "{refused:?}");
    let unknown = failure(&client, &url, on, "grete", &json!([]))?;
    ensure!(unknown.message.contains("greet"), "{unknown:?}");
    host.kill()?;
    let url = host.url()?;
    ensure!(call(&client, &url, on, "recall", &json!(["k"]))? == value);
    ensure!(call(&client, &url, on, "count", &json!([]))? == 2);
    host.stop()?;
    Ok(Completion::Completed)
}
