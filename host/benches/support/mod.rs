//! What every bench needs: the guest, and a host on a directory of its own. On the disk of the project: the system's
//! temporary directory may be in memory.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use facetd::config::Config;
use facetd::startup::{Format, Payload};
use facetd::{Host, ObjectRef};
use tokio::runtime::Runtime;

pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    config: Config,
    /// None while it is restarted.
    host: Option<Host>,
    /// Removed when the bench is done.
    data: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        build_guest();
        Self::of_built()
    }

    /// The same when the guest has been built already.
    pub(crate) fn of_built() -> Self {
        Self::of_config(config())
    }

    /// The same without limits.
    pub(crate) fn without_limits() -> Self {
        let mut config = config();
        config.limits_off = true;
        Self::of_config(config)
    }

    fn of_config(config: Config) -> Self {
        let runtime = runtime();
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let host = runtime.block_on(async { Host::open(&config, data.path()) });
        Self {
            host: Some(host.expect("a host")),
            runtime,
            config,
            data,
        }
    }

    pub(crate) fn host(&self) -> &Host {
        self.host.as_ref().expect("it runs")
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Stops the host and starts another one on what it left.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let (config, data) = (&self.config, self.data.path());
        let host = self.runtime.block_on(async { Host::open(config, data) });
        self.host = Some(host.expect("a host"));
    }

    pub(crate) fn stop(&mut self) {
        let host = self.host.take().expect("it runs");
        self.runtime.block_on(host.stop()).expect("a clean stop");
    }
}

/// A call that is told two numbers.
pub(crate) async fn call(
    host: &Host,
    namespace: &str,
    object: &str,
    method: &str,
    args: (u64, u64),
) -> Result<Payload, String> {
    let args = Payload {
        format: Format::Json,
        body: format!("[{},{}]", args.0, args.1).into_bytes(),
    };
    let object = ObjectRef::Name(object.into());
    let answer = host.call(namespace, &object, method, args).await;
    answer.map_err(|error| error.to_string())
}

pub(crate) fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime")
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")
}

pub(crate) fn config() -> Config {
    Config::read(&project()).expect("the bench's own configuration")
}

pub(crate) fn build_guest() {
    let built = Command::new(env!("CARGO_BIN_EXE_facetd"))
        .arg("build")
        .arg(project())
        .status();
    assert!(
        built.expect("the binary is there").success(),
        "the guest could not be built"
    );
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// Memory of this process that is in use.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).expect("a number")
}
