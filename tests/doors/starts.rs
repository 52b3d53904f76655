//! A host that would be open to those it was not meant for does not start, and says what to choose from.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::support::cli;
use crate::support::components::FACETD;
use crate::support::process::Process;
use crate::{access, token, write_config};

const EVERYWHERE: &str = "0.0.0.0:0";

fn serve(dir: &TempDir, listen: &str) -> Command {
    let mut command = Command::new(FACETD);
    command
        .arg("serve")
        .arg("--config")
        .arg(dir.path())
        .args(["--listen", listen]);
    command
}

#[test]
fn an_address_for_others_wants_access_said_for_each_namespace() -> Result<()> {
    let (_, hash) = token()?;
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let refused = |names: &[&str]| -> Result<()> {
        let output = cli::limited(&mut serve(&dir, EVERYWHERE))?;
        ensure!(
            !dir.path().join(".facetd").exists(),
            "the data directory was touched before"
        );
        cli::explains(&output, names)
    };
    write_config(
        &dir,
        "",
        &[("one", None), ("two", None), ("said", Some("\"public\"".into()))],
    )?;
    refused(&[
        "[namespaces.one], [namespaces.two] do",
        "access = \"public\"",
        "tokens",
        EVERYWHERE,
    ])?;
    write_config(&dir, "", &[("one", None), ("two", access(&[&hash]))])?;
    refused(&["[namespaces.one] does"])?;

    write_config(
        &dir,
        "",
        &[("one", Some("\"public\"".into())), ("two", access(&[&hash]))],
    )?;
    let mut command = serve(&dir, EVERYWHERE);
    command.stdout(std::process::Stdio::piped());
    let mut process = Process::spawn(&mut command)?;
    let mut line = String::new();
    let stdout = process.child().stdout.take().context("stdout was piped")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
    ensure!(line.contains("0.0.0.0:"), "{line:?}");
    process.kill()
}

#[test]
fn settings_that_make_no_sense_are_explained() -> Result<()> {
    let (secret, hash) = token()?;
    let hash_line = format!("admin = {{ listen = \"127.0.0.1:0\", tokens = [\"{hash}\"] }}");
    let secret_line = format!("admin = {{ listen = \"127.0.0.1:0\", tokens = [\"{secret}\"] }}");
    let mixed = format!("admin = {{ listen = 7, tokens = [\"{secret}\"] }}");
    let hosts = [
        ("admin = {}", vec!["admin", "socket", "listen"]),
        (
            "admin = { listen = \"127.0.0.1:0\" }",
            vec!["admin", "tokens", "facetd token"],
        ),
        ("admin = { socket = \"a\", listen = \"b\" }", vec!["admin", "either"]),
        (secret_line.as_str(), vec!["admin", "token 1", "facetd token"]),
        (mixed.as_str(), vec!["line 2", "facetd token"]),
        ("admin = { listen = \"nowhere\", tokens = [] }", vec!["tokens"]),
        ("tls = { certificat = \"c\" }", vec!["certificat", "key"]),
        ("names = [\"http://x.example\"]", vec!["names", "http://x.example"]),
        ("http.head_ms = 0", vec!["head_ms", "1 to"]),
        ("http.head_bytes_max = 100", vec!["head_bytes_max", "8192"]),
        ("http.connections_max = 0", vec!["connections_max"]),
        (
            "http.namespace_bodies_mib_max = 7",
            vec!["namespace_bodies_mib_max", "8 to"],
        ),
        ("http.heads = 1", vec!["heads"]),
    ];
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let explained = |names: &[&str]| -> Result<()> {
        let output = cli::limited(&mut serve(&dir, "127.0.0.1:0"))?;
        ensure!(
            !output.stderr.contains(&secret[7..]),
            "it shows the secret: {}",
            output.stderr
        );
        cli::explains(&output, names)
    };
    for (host, names) in hosts {
        write_config(&dir, host, &[("n", None)])?;
        explained(&names).with_context(|| format!("[host] with {host:?}"))?;
    }
    let accesses = [
        ("\"pubic\"".to_owned(), vec!["access", "public", "tokens"]),
        (format!("\"{secret}\""), vec!["facetd token"]),
        ("[]".to_owned(), vec!["access", "public", "tokens"]),
        ("{}".to_owned(), vec!["tokens"]),
        ("{ token = [] }".to_owned(), vec!["token"]),
        (
            format!("{{ tokens = [\"{hash}\", \"{secret}\"] }}"),
            vec!["[namespaces.n]", "token 2", "facetd token"],
        ),
        (
            format!("{{ tokens = \"{secret}\" }}"),
            vec!["[namespaces.n]", "token 1", "facetd token"],
        ),
        (
            format!("{{ tokens = [\"{}\"] }}", &hash[..70]),
            vec!["[namespaces.n]", "64"],
        ),
    ];
    for (access, names) in accesses {
        write_config(&dir, "", &[("n", Some(access.clone()))])?;
        explained(&names).with_context(|| format!("access = {access}"))?;
    }
    write_config(&dir, "listen = \"nonsense\"", &[("n", None)])?;
    cli::explains(&cli::limited(&mut serve(&dir, "nonsense"))?, &["nonsense", "--listen"])?;
    write_config(&dir, &hash_line.replace("127.0.0.1:0", "nonsense"), &[("n", None)])?;
    cli::explains(&cli::limited(&mut serve(&dir, "127.0.0.1:0"))?, &["nonsense", "admin"])?;
    fs::remove_dir_all(dir.path().join(".facetd")).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    Ok(())
}
