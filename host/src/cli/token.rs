//! `facetd token`: a secret that is shown once, and what of it belongs in the configuration.

use anyhow::Context as _;

pub(super) fn token() -> anyhow::Result<()> {
    let (token, hash) = crate::config::new_token().context("the system gives no randomness")?;
    println!("{token}\n{hash}");
    eprintln!(
        "The first line is for clients (FACETD_TOKEN, or `Authorization: Bearer ...`) and is not shown again; the second for \
         facetd.toml: access = {{ tokens = [\"sha256:...\"] }}"
    );
    Ok(())
}
