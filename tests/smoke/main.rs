//! Whoever makes a mistake at the command line or in a config is told what is wrong and what to do.

#![allow(
    clippy::disallowed_methods,
    reason = "tests watch the host from outside, by the machine's own clock"
)]

mod classes;
mod commands;
mod configs;
mod full;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

/// The puppets of the conformance cases serve here, too.
fn puppet_config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/facetd.toml")
}
