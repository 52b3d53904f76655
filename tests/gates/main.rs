//! Which effect waits for which write (S20): what leaves an object waits until the disk has what it could reveal, and
//! nothing else waits.
//!
//! The host takes [`DELAY`] for each sync. An effect that must wait is seen that long after the write at the earliest,
//! counted from before the write was asked for. One that must not is seen before something that certainly waited for the
//! same write: order decides there, not the clock.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod rows;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

use rows::{Act, Later, Row, Seen};
use support::client::Client;
use support::host::Host;
use watch::{Body, Log};

/// Long enough that what does not wait is over before it, on a loaded machine, too.
const DELAY: Duration = Duration::from_millis(1500);

/// The host of all rows, after their setups.
struct Bench {
    host: Host,
    url: String,
    log: Arc<Log>,
}

static BENCH: Mutex<Option<Result<Bench, String>>> = Mutex::new(None);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let rows = rows::all();
    // Each waits for the same syncs, so they may as well wait together.
    arguments.test_threads.get_or_insert(rows.len());
    let trials = rows.into_iter().map(|row| {
        let kind = if row.waits { "waits" } else { "goes at once" };
        Trial::test(row.name, move || row.run().map_err(|error| format!("{error:#}").into())).with_kind(kind)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let bench = BENCH.lock().unwrap_or_else(|broken| broken.into_inner()).take();
    match bench {
        Some(Ok(mut bench)) => match bench.host.stop() {
            Ok(()) => conclusion.exit_code(),
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
        _ => conclusion.exit_code(),
    }
}

/// Address and log of the slow host. The first caller sets up all rows, on a host that is not slow.
fn bench() -> Result<(String, Arc<Log>)> {
    let mut bench = BENCH.lock().unwrap_or_else(|broken| broken.into_inner());
    let bench = bench.get_or_insert_with(|| set_up().map_err(|error| format!("{error:#}")));
    let bench = bench.as_ref().map_err(|error| anyhow!("{error}"))?;
    Ok((bench.url.clone(), Arc::clone(&bench.log)))
}

fn set_up() -> Result<Bench> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/facetd.toml");
    let mut host = Host::new(&config)?;
    let (url, client) = (host.url()?, Client::new());
    for row in rows::all() {
        rpc(&client, &url, &row.on(), &row.setup)?;
    }
    host.stop()?;
    let log = Log::watch(&mut host);
    host.set_env("FACETD_TEST_SYNC_DELAY_MS", &DELAY.as_millis().to_string());
    let url = host.url()?;
    Ok(Bench { host, url, log })
}

/// Answers of any kind will do: rows are about when they come.
fn rpc(client: &Client, url: &str, on: &str, ops: &Value) -> Result<()> {
    if let Ok(results) = client.run(url, on, ops)? {
        let refused = results
            .iter()
            .find(|result| result["err"]["kind"] == "invalid-argument");
        ensure!(refused.is_none(), "{on}: {refused:?}");
    }
    Ok(())
}

impl Row {
    fn on(&self) -> String {
        format!("t/gate-{}", self.name)
    }

    fn run(&self) -> Result<()> {
        let (url, log) = bench()?;
        let client = Client::new();
        let began = Instant::now();
        let (seen, later) = thread::scope(|scope| -> Result<_> {
            let ask = |ops: &'static str| {
                let (client, url, on) = (client.clone(), &url, self.on());
                let ops: Value = serde_json::from_str(ops).expect("rows are JSON");
                let ops = self.named(ops);
                scope.spawn(move || rpc(&client, url, &on, &ops).map(|()| Instant::now()))
            };
            let other = match self.before {
                None => None,
                Some((ops, line)) => {
                    let answer = ask(ops);
                    log.wait_for(&self.line(line))?;
                    Some(answer)
                }
            };
            let (answer, body) = match self.act {
                Act::Call(ops) => (Some(ask(ops)), None),
                Act::Get => (None, Some(Body::get(&url, &self.on())?)),
            };
            // Both are looked at before anybody is waited for: order is what counts.
            let joined = |who: Option<thread::ScopedJoinHandle<'_, Result<Instant>>>| {
                let who = who.ok_or_else(|| anyhow!("nobody was asked"))?;
                who.join().map_err(|_| anyhow!("a client panicked"))?
            };
            let mut answer = answer;
            let seen = match self.seen {
                Seen::Answer => joined(answer.take())?,
                Seen::Line(line) => log.wait_for(&self.line(line))?,
                Seen::Text(text) => body.as_ref().ok_or_else(|| anyhow!("no body"))?.wait_for(text)?,
                Seen::End => body.as_ref().ok_or_else(|| anyhow!("no body"))?.wait_for_end()?,
            };
            let later = match self.later {
                Later::Nothing => began + DELAY,
                Later::Answer => joined(answer.take())?,
                Later::OtherAnswer => joined(other)?,
                Later::Line(line) => log.wait_for(&self.line(line))?,
                Later::Text(text) => body.as_ref().ok_or_else(|| anyhow!("no body"))?.wait_for(text)?,
                Later::End => body.as_ref().ok_or_else(|| anyhow!("no body"))?.wait_for_end()?,
            };
            Ok((seen, later))
        })?;
        let after = |moment: Instant| moment.saturating_duration_since(began);
        if self.waits {
            ensure!(
                after(seen) >= DELAY,
                "it was seen after {:?}, a sync takes {DELAY:?}",
                after(seen)
            );
        } else {
            ensure!(
                after(later) >= DELAY,
                "what should have waited was seen after {:?}, a sync takes {DELAY:?}",
                after(later)
            );
            ensure!(
                seen < later,
                "it was seen after {:?}, not before what waited for the disk, {:?}",
                after(seen),
                after(later)
            );
        }
        Ok(())
    }

    /// Lines are those of this row alone.
    fn line(&self, line: &str) -> String {
        format!("<{}: {line}>", self.name)
    }

    /// `{"op": "log", "message": m}` at any depth, in the words of [`Self::line`], and `{row}` in names of objects.
    fn named(&self, value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.named(item)).collect(),
            Value::Object(fields) => {
                let named = fields.into_iter().map(|(name, field)| match (name.as_str(), field) {
                    ("message", Value::String(line)) => (name, self.line(&line).into()),
                    ("name", Value::String(text)) => (name, text.replace("{row}", self.name).into()),
                    (_, field) => (name, self.named(field)),
                });
                Value::Object(named.collect())
            }
            other => other,
        }
    }
}
