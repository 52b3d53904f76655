//! What the test targets share; it knows the host only from outside: its binary, its HTTP port and its files.

// Each test target includes this module and uses a part of it.
#![allow(dead_code)]

pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod components;
pub(crate) mod host;
pub(crate) mod identity;
pub(crate) mod process;
pub(crate) mod wire;

use std::path::Path;

/// The top of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The last lines of a log, which is where the cause of a failure stands.
pub(crate) fn tail(text: &str, max_lines: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(max_lines)..].join("\n")
}
