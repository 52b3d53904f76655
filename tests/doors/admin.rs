//! The admin API is where only the operator is: a socket of this user's, or an address with tokens.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::cli;
use crate::support::client::Response;
use crate::support::components::FACETD;
use crate::support::host::Host;
use crate::support::repository;
use crate::support::wire::Wire;
use crate::{Site, access, open_site, refused, token};

fn has_classes(response: &Response) -> Result<()> {
    let body: Value = serde_json::from_slice(&response.body)?;
    ensure!(
        response.status == 200 && body["classes"][0]["name"] == "puppet",
        "{}: {body}",
        response.status
    );
    Ok(())
}

fn tree(args: &[&str], current: Option<&Path>, token: Option<&str>) -> Result<crate::support::process::Output> {
    let mut command = Command::new(FACETD);
    command
        .args(["tree", "n/x"])
        .args(args)
        .env_remove("FACETD_URL")
        .env_remove("FACETD_TOKEN");
    if let Some(current) = current {
        command.current_dir(current);
    }
    if let Some(token) = token {
        command.env("FACETD_TOKEN", token);
    }
    cli::limited(&mut command)
}

#[test]
fn a_served_host_has_its_admin_api_on_a_socket_of_this_user_alone() -> Result<()> {
    let mut site = open_site("data = \"data\"")?;
    let url = site.host.url()?;
    let socket = site.host.admin_socket();
    let made = fs::symlink_metadata(&socket)?;
    ensure!(made.file_type().is_socket(), "{made:?}");
    ensure!(
        made.permissions().mode() & 0o777 == 0o600,
        "mode {:o}",
        made.permissions().mode()
    );

    has_classes(&site.host.admin("/admin/classes")?)?;
    let mut wire = Wire::unix(&socket)?;
    has_classes(&wire.get("/admin/classes", &[("host", "any.name.will.do")])?)?;
    refused(&wire.get("/admin/unknown", &[])?, 404, "not-found", "")?;
    refused(&wire.get("/o/n/x/", &[])?, 404, "not-found", "")?;
    refused(
        &wire.request("POST", "/admin/classes", &[], b"x")?,
        405,
        "invalid-argument",
        "",
    )?;

    // Not where strangers call, and it is said where.
    for path in ["/admin/classes", "/admin/tree/n/x", "/admin/rows/n/x", "/admin"] {
        refused(&Wire::tcp(&url)?.get(path, &[])?, 404, "not-found", "")?;
    }
    let data = site.host.data();
    let data = data.to_str().context("a path of text")?;
    let shown = tree(&["--data", data], None, None)?;
    ensure!(shown.status.success() && shown.stdout.starts_with("n/x"), "{shown:?}");
    let shown = tree(&["--url", &format!("unix:{}", socket.display())], None, None)?;
    ensure!(shown.status.success(), "{shown:?}");

    site.host.stop()?;
    ensure!(!socket.exists(), "the socket is still there");
    cli::explains(&tree(&["--data", data], None, None)?, &["admin.sock", "--data"])
}

#[test]
fn tree_finds_the_host_of_the_project_it_is_in() -> Result<()> {
    // The data directory that the configuration names, not one of the command line.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let config = crate::write_config(&dir, "", &[("n", None)])?;
    let mut host = Host::without_build(&config)?;
    host.use_configured_data();
    host.url()?;
    let shown = tree(&[], Some(dir.path()), None)?;
    ensure!(shown.status.success() && shown.stdout.starts_with("n/x"), "{shown:?}");
    let shown = tree(&["--config", config.to_str().context("text")?], None, None)?;
    ensure!(shown.status.success(), "{shown:?}");
    host.stop()
}

#[test]
fn a_stale_socket_is_replaced_and_what_is_none_is_not() -> Result<()> {
    let mut site = open_site("")?;
    site.host.url()?;
    site.host.kill()?;
    let socket = site.host.admin_socket();
    ensure!(socket.exists(), "a killed host leaves its socket behind");
    has_classes(&site.host.admin("/admin/classes")?)?;
    site.host.stop()?;

    fs::write(&socket, "mine")?;
    let output = cli::limited(&mut site.host.serve_command())?;
    cli::explains(&output, &["admin.sock", "no socket"])?;
    ensure!(fs::read(&socket)? == b"mine", "a file of somebody was replaced");
    fs::remove_file(&socket)?;
    site.host.url()?;
    site.host.stop()
}

#[test]
fn the_socket_can_be_at_another_place_that_nobody_uses() -> Result<()> {
    let mut site = open_site("admin = { socket = \"here.sock\" }")?;
    let socket = site.dir.path().join("here.sock");
    site.host.url()?;
    has_classes(&Wire::unix(&socket)?.get("/admin/classes", &[])?)?;
    ensure!(!site.host.admin_socket().exists(), "two sockets");
    site.host.stop()?;
    ensure!(!socket.exists(), "the socket is still there");
    let _held = UnixListener::bind(&socket)?;
    cli::explains(
        &cli::limited(&mut site.host.serve_command())?,
        &["here.sock", "another process"],
    )
}

#[test]
fn a_path_too_long_for_a_socket_is_reached_all_the_same() -> Result<()> {
    let top = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let long = top.path().join("d".repeat(120));
    fs::create_dir(&long)?;
    let dir = TempDir::new_in(&long)?;
    let config = crate::write_config(&dir, "", &[("n", None)])?;
    let mut host = Host::without_build(&config)?;
    host.use_configured_data();
    host.url()?;
    let shown = tree(&[], Some(dir.path()), None)?;
    ensure!(shown.status.success() && shown.stdout.starts_with("n/x"), "{shown:?}");
    host.stop()
}

#[test]
fn an_admin_address_wants_its_token() -> Result<()> {
    let ((token, hash), (calls, calls_hash)) = (token()?, token()?);
    let admin = format!("admin = {{ listen = \"127.0.0.1:0\", tokens = [\"{hash}\"] }}");
    let mut site = Site::new(&admin, &[("n", access(&[&calls_hash]))])?;
    let url = site.host.url()?;
    let admin_url = site
        .host
        .admin_url()
        .context("it does not say where its admin API is")?;
    ensure!(!site.host.admin_socket().exists(), "there is a socket, too");
    let ask = |token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        Wire::tcp(&admin_url)?.get("/admin/classes", &headers)
    };
    has_classes(&ask(Some(&token))?)?;
    refused(&ask(None)?, 401, "denied", "token")?;
    refused(&ask(Some(&calls))?, 401, "denied", "token")?;
    refused(
        &Wire::tcp(&admin_url)?.get("/admin/nothing", &[])?,
        401,
        "denied",
        "token",
    )?;
    // The operator's token opens no namespace.
    let bearer = format!("Bearer {token}");
    let called = Wire::tcp(&url)?.request("POST", "/rpc/n/x/run", &[("authorization", &bearer)], b"[[]]")?;
    refused(&called, 401, "denied", "token")?;

    let shown = tree(&["--url", &admin_url], None, Some(&token))?;
    ensure!(shown.status.success() && shown.stdout.starts_with("n/x"), "{shown:?}");
    cli::explains(&tree(&["--url", &admin_url], None, None)?, &["token"])?;
    site.host.stop()
}

#[test]
fn a_developers_host_has_it_on_the_main_port_too() -> Result<()> {
    // The page of the example asks there.
    ensure!(repository().join("examples/app-host/src/page/page.js").is_file());
    let mut site = open_site("")?;
    site.host.make_dev();
    let url = site.host.url()?;
    has_classes(&Wire::tcp(&url)?.get("/admin/classes", &[])?)?;
    has_classes(&site.host.admin("/admin/classes")?)?;
    refused(
        &Wire::tcp(&url)?.get("/admin/classes", &[("host", "evil.example")])?,
        403,
        "denied",
        "host",
    )?;
    site.host.stop()
}
