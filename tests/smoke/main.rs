//! Whoever makes a mistake at the command line or in a config is told what is wrong and what to do.

mod classes;
mod commands;
mod configs;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

/// The puppets of the conformance cases serve here, too.
fn puppet_config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/facetd.toml")
}
