//! Facets that carry out steps (`tests/guests/steps`) and a bell (`tests/guests/bell`) that tells when they have: no test
//! sleeps and hopes.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::client::{Client, Failure};
use crate::support::host::Host;

/// Which of the twins: the namespace is called after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flavour {
    Async,
    Blocking,
}

impl Flavour {
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Flavour::Async => "async",
            Flavour::Blocking => "blocking",
        }
    }
}

/// A host with an object `x` of one flavour, and one bell, which the steps call `bell b`.
pub(crate) struct Stage {
    pub(crate) host: Host,
    flavour: Flavour,
}

/// The same as seen by a client of its own; threads have one each.
#[derive(Clone)]
pub(crate) struct Online {
    url: String,
    client: Client,
    flavour: Flavour,
}

impl Stage {
    pub(crate) fn new(flavour: Flavour) -> Result<Self> {
        let host = Host::new(&crate::config())?;
        Ok(Self { host, flavour })
    }

    /// Starts the host if it does not run.
    pub(crate) fn online(&mut self) -> Result<Online> {
        Ok(Online {
            url: self.host.url()?,
            client: Client::new(),
            flavour: self.flavour,
        })
    }

    /// What `key` holds in `x` once the host has been killed and started again.
    pub(crate) fn after_kill(&mut self, key: &str) -> Result<Option<String>> {
        self.host.kill()?;
        self.online()?.get(key)
    }
}

impl Online {
    pub(crate) fn namespace(&self) -> &'static str {
        self.flavour.namespace()
    }

    /// Carries out steps in the object `x`; answers what the last `get` found.
    pub(crate) fn run(&self, steps: &str) -> Result<Result<Value, Failure>> {
        self.run_in("x", steps)
    }

    pub(crate) fn run_in(&self, object: &str, steps: &str) -> Result<Result<Value, Failure>> {
        let on = format!("{}/{object}", self.flavour.namespace());
        self.client.rpc(&self.url, &on, "run", &json!([steps]))
    }

    /// The same in a thread.
    pub(crate) fn begin(&self, steps: &str) -> thread::JoinHandle<Result<Result<Value, Failure>>> {
        let (online, steps) = (self.clone(), steps.to_owned());
        thread::spawn(move || online.run(&steps))
    }

    pub(crate) fn done(&self, steps: &str) -> Result<Value> {
        self.run(steps)?.map_err(|failure| anyhow!("{steps:?}: {failure:?}"))
    }

    /// Steps that end in a trap.
    pub(crate) fn breaks(&self, steps: &str) -> Result<()> {
        match self.run(steps)? {
            Err(failure) if failure.kind == "broken" && failure.code == "trap" => Ok(()),
            other => Err(anyhow!("{steps:?} should have trapped: {other:?}")),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<String>> {
        Ok(serde_json::from_value(self.done(&format!("get {key}"))?)?)
    }

    fn bell(&self, method: &str, name: &str) -> Result<Value> {
        let answer = self.client.rpc(&self.url, "bell/b", method, &json!([name]))?;
        answer.map_err(|failure| anyhow!("bell: {method} {name}: {failure:?}"))
    }

    /// Answers when somebody has rung.
    pub(crate) fn wait_for(&self, name: &str) -> Result<()> {
        self.bell("wait", name).map(|_| ())
    }

    pub(crate) fn ring(&self, name: &str) -> Result<()> {
        self.bell("ring", name).map(|_| ())
    }

    /// `first` came to the bell after anything that could have rung `name`, and nothing did.
    pub(crate) fn never_rung(&self, name: &str, fence: &str) -> Result<()> {
        ensure!(
            self.bell("rung", fence)? == json!(true),
            "the fence {fence:?} has not been rung, so this would prove nothing"
        );
        ensure!(self.bell("rung", name)? == json!(false), "{name:?} was rung");
        Ok(())
    }
}
