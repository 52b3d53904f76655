//! The Rust toolchain for guests: found where there is one, set up once per user where not. Nothing outside its own cache
//! directory is changed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// Sets up the toolchain; self-contained, so that `facetd build` works away from the repository.
const SETUP: &str = include_str!("../../../guest-sdk/rust/toolchain/setup-wasm-rust.sh");

/// Variables by which an outer cargo or rustup would make the guest's build use the host's toolchain.
const OUTER: [&str; 10] = [
    "CARGO",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTUP_TOOLCHAIN",
    "LD_LIBRARY_PATH",
];

/// Where toolchains and the guests' target directory lie.
pub(super) fn cache_dir() -> anyhow::Result<PathBuf> {
    let given = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    given("FACETD_TOOLCHAIN_DIR")
        .or_else(|| given("XDG_CACHE_HOME").map(|cache| cache.join("facetd")))
        .or_else(|| given("HOME").map(|home| home.join(".cache/facetd")))
        .context("neither HOME nor FACETD_TOOLCHAIN_DIR is set: no place for the wasm toolchain")
}

/// A command without what an outer cargo has set.
pub(super) fn clean(mut command: Command) -> Command {
    for name in OUTER {
        command.env_remove(name);
    }
    command
}

/// The cargo that builds components.
pub(super) fn cargo() -> anyhow::Result<PathBuf> {
    let prefix = cache_dir()?.join("wasm-rust");
    let status = clean(Command::new("bash"))
        .args(["-c", SETUP, "setup-wasm-rust.sh", "--prefix"])
        .arg(&prefix)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context("cannot run bash to set up the wasm toolchain")?;
    ensure!(
        status.success(),
        "the toolchain for WebAssembly could not be set up; see above. `rustup target add wasm32-unknown-unknown` is the \
         shortest way where it works"
    );
    Ok(prefix.join("bin/cargo-wasm"))
}
