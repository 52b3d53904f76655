//! Every subcommand explains itself, and its errors.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::puppet_config;
use crate::support::cli::{self, SUBCOMMANDS, URL_OPTION};
use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::identity;

#[test]
fn every_subcommand_has_help() -> Result<()> {
    let help = cli::facetd(&["--help"])?;
    ensure!(help.status.success(), "{}: {}", help.status, help.stderr);
    let listed = listed_subcommands(&help.stdout);
    for (subcommand, _) in SUBCOMMANDS {
        ensure!(
            listed.iter().any(|l| l == subcommand),
            "`facetd --help` does not list {subcommand}: {listed:?}"
        );
    }
    for subcommand in &listed {
        let help = cli::facetd(&[subcommand, "--help"])?;
        ensure!(
            help.status.success(),
            "`facetd {subcommand} --help`: {}: {}",
            help.status,
            help.stderr
        );
        ensure!(
            help.stdout.contains("Usage"),
            "`facetd {subcommand} --help` shows no usage: {}",
            help.stdout
        );
        let options = SUBCOMMANDS
            .iter()
            .find(|(name, _)| name == subcommand)
            .map_or(&[][..], |(_, options)| options);
        for option in options {
            ensure!(
                help.stdout.contains(option),
                "`facetd {subcommand} --help` hides {option}: {}",
                help.stdout
            );
        }
    }
    Ok(())
}

/// clap's list: indented names below a "Commands:" line.
fn listed_subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| line.trim() != "Commands:").skip(1);
    let lines = lines.take_while(|line| line.starts_with(' '));
    // Deeper lines continue a description.
    let names = lines
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn an_unknown_subcommand_or_option_is_explained() -> Result<()> {
    for args in [&["serv"][..], &["serve", "--confg", "x"], &["call"], &[]] {
        let output = cli::facetd(args)?;
        ensure!(
            output.status.code().is_some_and(|code| code != 0),
            "facetd {args:?}: {}",
            output.status
        );
        ensure!(
            output.stderr.contains("Usage"),
            "facetd {args:?} shows no usage: {}",
            output.stderr
        );
    }
    Ok(())
}

#[test]
fn call_answers_and_explains() -> Result<()> {
    let mut host = Host::new(&puppet_config())?;
    let url = host.url()?;
    let echo = r#"[[{"op": "echo", "value": "hello"}]]"#;
    let output = cli::call(&url, "t/x", "run", echo)?;
    ensure!(output.status.success(), "{}: {}", output.status, output.stderr);
    let answer: Value = serde_json::from_str(&output.stdout).context("stdout is the JSON result and nothing else")?;
    ensure!(answer == json!([{"ok": "hello"}]), "{answer}");

    cli::explains(&cli::call(&url, "nowhere/x", "run", echo)?, &["nowhere"])?;
    cli::explains(&cli::call(&url, "t", "run", echo)?, &["t", "/"])?;
    for bad in ["[1,", "{\"a\": 1}", "hello"] {
        cli::explains(&cli::call(&url, "t/x", "run", bad)?, &["JSON"]).with_context(|| format!("args {bad:?}"))?;
    }
    // An error of the guest is the guest's to explain.
    let output = cli::call(&url, "t/x", "run", r#"[[{"op": "throw", "message": "not today"}]]"#)?;
    ensure!(
        !output.status.success() && output.stderr.contains("not today"),
        "{}: {}",
        output.status,
        output.stderr
    );
    host.stop()
}

#[test]
fn an_unreachable_host_is_explained() -> Result<()> {
    // A port that was free a moment ago, and that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("http://127.0.0.1:{port}");
    cli::explains(&cli::call(&url, "t/x", "run", "[]")?, &[&port.to_string()])?;
    cli::explains(&cli::facetd(&["tree", "t/x", URL_OPTION, &url])?, &[&port.to_string()])
}

#[test]
fn tree_shows_an_object() -> Result<()> {
    let mut host = Host::new(&puppet_config())?;
    let url = host.url()?;
    let put = json!({"op": "kv.put", "key": "k", "value": "v"});
    let ops = json!([
        {"op": "facet.get", "name": "upper", "class": "puppet", "as": "upper"},
        {"op": "call", "stub": "upper", "ops": [
            put,
            {"op": "facet.get", "name": "lower", "class": "puppet", "as": "lower"},
            {"op": "call", "stub": "lower", "ops": [put]},
        ]},
    ]);
    let made = Client::new().run(&url, "t/x", &ops)?;
    ensure!(made.is_ok(), "{made:?}");

    let data = host.data();
    let data = data.to_str().context("a path of text")?;
    let text = cli::facetd(&["tree", "t/x", "--data", data])?;
    ensure!(text.status.success(), "{}: {}", text.status, text.stderr);
    for name in ["upper", "lower"] {
        ensure!(text.stdout.contains(name), "does not show {name}: {}", text.stdout);
    }
    let output = cli::facetd(&["tree", "t/x", "--json", "--data", data])?;
    ensure!(output.status.success(), "{}: {}", output.status, output.stderr);
    let tree: Value = serde_json::from_str(&output.stdout).context("--json prints JSON and nothing else")?;
    // Names are below one another; what else is said of a facet is not for this test to fix.
    let tree = tree.to_string();
    for part in ["\"upper\"", "lower", &identity::object_id("t", "x")] {
        ensure!(tree.contains(part), "does not show {part}: {tree}");
    }
    cli::explains(&cli::facetd(&["tree", "nowhere/x", "--data", data])?, &["nowhere"])?;
    // Where calls are taken there is no admin API, and it is said where there is one.
    cli::explains(&cli::facetd(&["tree", "t/x", URL_OPTION, &url])?, &["--data", "admin"])?;
    host.stop()
}
