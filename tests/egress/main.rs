//! What reaches a server when facets ask for it (S24), and when (S20): servers on this machine remember what came.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod reach;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod turns;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use tempfile::TempDir;

use servers::{Server, authority};
use support::client::Client;
use support::components;
use support::host::Host;

/// How long each sync of the slow host takes.
const DELAY: Duration = Duration::from_millis(1500);

/// Tests mostly wait, so that more of them than cores run at a time.
const THREADS: usize = 4;

/// Everybody's servers, and the hosts whose facets ask them.
pub(crate) struct Bench {
    /// Listed for everybody, and its address, too.
    pub(crate) listed: Server,
    /// Listed nowhere.
    pub(crate) other: Server,
    /// Its certificate is for `localhost`, by an authority that the hosts trust.
    pub(crate) tls: Server,
    /// By an authority that they do not know.
    pub(crate) strange_tls: Server,
    /// The host, and one whose disk is slow.
    hosts: Mutex<[Host; 2]>,
    pub(crate) url: String,
    /// Of the slow one.
    pub(crate) slow_url: String,
    _directory: TempDir,
}

/// A test; its name is that of its objects and of what it asks for.
pub(crate) type Test = (&'static str, fn(&Bench, &str) -> Result<()>);

static BENCH: Mutex<Option<Result<Arc<Bench>, String>>> = Mutex::new(None);

fn locked() -> MutexGuard<'static, Option<Result<Arc<Bench>, String>>> {
    BENCH.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let trials = [reach::TESTS, turns::TESTS].concat().into_iter().map(|(name, test)| {
        let run = move || -> Result<()> {
            let bench = {
                let mut bench = locked();
                let made = bench.get_or_insert_with(|| Bench::new().map(Arc::new).map_err(|e| format!("{e:#}")));
                made.clone().map_err(|error| anyhow!("{error}"))?
            };
            test(&bench, name)
        };
        Trial::test(name, move || run().map_err(|error| format!("{error:#}").into()))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let bench = locked().take().and_then(Result::ok).and_then(Arc::into_inner);
    match bench.map(Bench::stop) {
        None | Some(Ok(())) => conclusion.exit_code(),
        Some(Err(error)) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Bench {
    fn new() -> Result<Self> {
        let puppets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/facetd.toml");
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/egress/facetd.toml");
        for (class, config) in [("net", &puppets), ("asker", &own)] {
            let component = components::component(config, class, None)?;
            fs::write(directory.path().join(format!("{class}.wasm")), component)?;
        }
        let (pem, trusted) = authority("localhost")?;
        let (_, unknown) = authority("localhost")?;
        fs::write(directory.path().join("ca.pem"), pem)?;
        let other = Server::start(None, String::new())?;
        let listed = Server::start(None, format!("http://127.0.0.1:{}/redirect/arrived", other.port))?;
        let tls = Server::start(Some(trusted), String::new())?;
        let strange_tls = Server::start(Some(unknown), String::new())?;
        let [a, c, d] = [&listed, &tls, &strange_tls].map(|server| server.port);
        let config = format!(
            r#"
            [host]
            egress_roots = "ca.pem"

            [classes.net]
            component = "net.wasm"

            [classes.asker]
            component = "asker.wasm"

            [namespaces.n]
            class = "net"

            [namespaces.n.egress]
            hosts = ["127.0.0.1:{a}", "localhost:{a}", "localhost:{c}", "127.0.0.1:{c}", "localhost:{d}"]
            allow_private = ["127.0.0.1/32"]

            [namespaces.asker]
            class = "asker"

            [namespaces.asker.egress]
            hosts = ["127.0.0.1:{a}"]
            allow_private = ["127.0.0.1/32"]

            [namespaces.careful]
            class = "net"

            [namespaces.careful.egress]
            hosts = ["127.0.0.1:{a}", "localhost:{a}"]
            "#
        );
        let file = directory.path().join("facetd.toml");
        fs::write(&file, config)?;
        let mut host = Host::without_build(&file)?;
        let url = host.url()?;
        let mut slow = Host::without_build(&file)?;
        slow.set_env("FACETD_TEST_SYNC_DELAY_MS", &DELAY.as_millis().to_string());
        let slow_url = slow.url()?;
        Ok(Self {
            listed,
            other,
            tls,
            strange_tls,
            hosts: Mutex::new([host, slow]),
            url,
            slow_url,
            _directory: directory,
        })
    }

    fn stop(self) -> Result<()> {
        let mut hosts = self.hosts.into_inner().unwrap_or_else(PoisonError::into_inner);
        hosts.iter_mut().try_for_each(Host::stop)
    }

    /// Where a test asks the server that is listed.
    pub(crate) fn at(&self, case: &str, what: &str) -> String {
        format!("http://127.0.0.1:{}/{case}/{what}", self.listed.port)
    }
}

/// Runs operations on an object that is the test's own; answers their results.
pub(crate) fn run(url: &str, on: &str, ops: &Value) -> Result<Vec<Value>> {
    let results = Client::new().run(url, on, ops)?;
    results.map_err(|failure| anyhow!("{on}: {failure:?}"))
}
