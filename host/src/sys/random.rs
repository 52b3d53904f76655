//! Randomness of the operating system, and no other.

/// Fills `buffer` with bytes fit for keys.
#[allow(clippy::disallowed_methods, reason = "this is the module that may")]
pub(crate) fn fill(buffer: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(buffer).map_err(|error| std::io::Error::other(error.to_string()))
}
