//! The only module that touches clocks, randomness and the root of the data directory. clippy.toml bans the rest. And the
//! only one that ends the process for a test.

pub(crate) mod clock;
pub(crate) mod data_dir;
pub(crate) mod die;
mod environment;
pub(crate) mod layout;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod random;
pub(crate) mod signals;
