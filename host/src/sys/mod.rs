//! The only module that touches clocks, randomness and the root of the data directory. clippy.toml bans the rest.

pub(crate) mod clock;
pub(crate) mod data_dir;
pub(crate) mod random;
