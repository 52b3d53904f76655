//! Who may speak to the host, and how much of it one client may take. Time limits are short here, and nothing is held
//! against a host that is slow: what must end ends, and not before its time.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod admin;
mod garbage;
mod limits;
mod patience;
mod starts;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use support::cli;
use support::client::Response;
use support::components;
use support::host::Host;

fn puppet_config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/facetd.toml")
}

/// A config, its folder, and a host on a data directory of its own.
struct Site {
    host: Host,
    dir: TempDir,
}

impl Site {
    /// `host` are lines of `[host]`; `namespaces` are names and `access`, as TOML, if there is one.
    fn new(host: &str, namespaces: &[(&str, Option<String>)]) -> Result<Self> {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        Self::in_dir(dir, host, namespaces)
    }

    fn in_dir(dir: TempDir, host: &str, namespaces: &[(&str, Option<String>)]) -> Result<Self> {
        let config = write_config(&dir, host, namespaces)?;
        Ok(Self {
            host: Host::without_build(&config)?,
            dir,
        })
    }

    /// The same host with another config, from its next start on.
    fn change(&mut self, host: &str, namespaces: &[(&str, Option<String>)]) -> Result<()> {
        write_config(&self.dir, host, namespaces).map(|_| ())
    }
}

fn write_config(dir: &TempDir, host: &str, namespaces: &[(&str, Option<String>)]) -> Result<PathBuf> {
    components::build(&puppet_config())?;
    let puppet = components::component(&puppet_config(), "puppet", None)?;
    fs::write(dir.path().join("puppet.wasm"), puppet)?;
    let mut text = format!("[host]\n{host}\n[classes.puppet]\ncomponent = \"puppet.wasm\"\n");
    for (name, access) in namespaces {
        text += &format!("[namespaces.{name}]\nclass = \"puppet\"\n");
        if let Some(access) = access {
            text += &format!("access = {access}\n");
        }
    }
    let config = dir.path().join("facetd.toml");
    fs::write(&config, text)?;
    Ok(config)
}

/// A host of one namespace `n` that everybody may call.
fn open_site(host: &str) -> Result<Site> {
    Site::new(host, &[("n", None)])
}

/// A secret and its hash, by the command.
fn token() -> Result<(String, String)> {
    let output = cli::facetd(&["token"])?;
    ensure!(output.status.success(), "{}", output.stderr);
    let (token, hash) = output.stdout.trim().split_once('\n').context("not two lines")?;
    ensure!(!output.stderr.contains(token), "shown twice");
    Ok((token.to_owned(), hash.to_owned()))
}

fn access(hashes: &[&str]) -> Option<String> {
    Some(format!("{{ tokens = {hashes:?} }}"))
}

/// An error of the host's, by status, kind and code.
fn refused(response: &Response, status: u16, kind: &str, code: &str) -> Result<()> {
    let body: Value = serde_json::from_slice(&response.body)
        .with_context(|| format!("{}: {:?}", response.status, String::from_utf8_lossy(&response.body)))?;
    let error = &body["error"];
    ensure!(
        response.status == status && error["kind"] == kind && error["code"] == code,
        "expected {status}, {kind} / {code}, not {}: {body}",
        response.status
    );
    ensure!(
        error["message"].as_str().is_some_and(|message| message.len() > 20),
        "explains nothing: {body}"
    );
    let header = |name: &str| {
        response
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    };
    ensure!(
        header("x-content-type-options") == Some("nosniff"),
        "{:?}",
        response.headers
    );
    ensure!(
        status != 401 || header("www-authenticate") == Some("Bearer"),
        "{:?}",
        response.headers
    );
    Ok(())
}
