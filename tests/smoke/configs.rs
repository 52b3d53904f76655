//! A config that cannot work is refused at the start, by a sentence that names the place.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::classes::{FORBIDDEN, component_with_forbidden_import};
use crate::support::cli;
use crate::support::components::FACETD;

/// `facetd serve` on a config that it has to refuse.
fn refused(config: &Path, names: &[&str]) -> Result<()> {
    let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut command = Command::new(FACETD);
    command
        .arg("serve")
        .arg("--config")
        .arg(config)
        .arg("--data")
        .arg(data.path().join("data"));
    let output = cli::limited(command.args(["--listen", "127.0.0.1:0"]))?;
    cli::explains(&output, names)
}

/// A config of this text, next to a component of these bytes called `x.wasm`.
fn refused_text(text: &str, component: Option<&[u8]>, names: &[&str]) -> Result<()> {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let config = directory.path().join("facetd.toml");
    fs::write(&config, text)?;
    if let Some(bytes) = component {
        fs::write(directory.path().join("x.wasm"), bytes)?;
    }
    refused(&config, names).with_context(|| format!("for the config:\n{text}"))
}

const ONE_CLASS: &str = "[classes.mine]\ncomponent = \"x.wasm\"\n\n[namespaces.n]\nclass = \"mine\"\n";

#[test]
fn a_missing_config_is_named() -> Result<()> {
    refused(Path::new("/no/such/place/facetd.toml"), &["/no/such/place/facetd.toml"])
}

#[test]
fn a_config_that_is_no_toml_is_explained() -> Result<()> {
    refused_text("[host\nlisten = 1", None, &["facetd.toml", "line 1"])
}

#[test]
fn an_unknown_class_is_named() -> Result<()> {
    refused_text(
        "[namespaces.n]\nclass = \"nobody\"\n",
        None,
        &["nobody", "namespaces.n"],
    )
}

#[test]
fn a_misspelt_key_is_named() -> Result<()> {
    refused_text("[namespaces.n]\nclas = \"mine\"\n", None, &["clas"])
}

#[test]
fn a_missing_component_is_named() -> Result<()> {
    refused_text(ONE_CLASS, None, &["mine", "x.wasm"])
}

#[test]
fn garbage_is_no_component() -> Result<()> {
    refused_text(ONE_CLASS, Some(b"this is not WebAssembly"), &["mine", "x.wasm"])
}

#[test]
fn a_core_module_is_no_component() -> Result<()> {
    let module = wat::parse_str("(module (func (export \"run\")))")?;
    refused_text(ONE_CLASS, Some(&module), &["mine", "x.wasm", "component"])
}

#[test]
fn a_forbidden_import_is_named() -> Result<()> {
    refused_text(
        ONE_CLASS,
        Some(&component_with_forbidden_import()?),
        &["mine", FORBIDDEN],
    )
}

#[test]
fn a_component_too_large_is_refused() -> Result<()> {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let config = directory.path().join("facetd.toml");
    fs::write(&config, ONE_CLASS)?;
    // A hole of 100 MB takes no space on disk.
    let file = File::create(directory.path().join("x.wasm"))?;
    file.set_len(100_000_000)?;
    refused(&config, &["mine", "x.wasm"])
}

#[test]
fn egress_that_cannot_be_is_explained() -> Result<()> {
    let with = |egress: &str| format!("{ONE_CLASS}egress = {egress}\n");
    for (egress, names) in [
        (
            r#"{ hosts = ["https://a.example"] }"#,
            &["namespaces.n.egress", "https://a.example"][..],
        ),
        (
            r#"{ hosts = ["a.example", "127.1"] }"#,
            &["namespaces.n.egress", "127.1"],
        ),
        (
            r#"{ hosts = ["*"], allow_private = ["10.0.0.1"] }"#,
            &["namespaces.n.egress", "10.0.0.1", "/8"],
        ),
        (r#"{ host = ["a.example"] }"#, &["host"]),
    ] {
        refused_text(&with(egress), None, names)?;
    }
    refused_text(
        &format!("[host]\negress_roots = \"none.pem\"\n\n{ONE_CLASS}"),
        None,
        &["none.pem"],
    )
}
