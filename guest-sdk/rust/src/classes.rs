//! Components that can be run as children.

use crate::bindings::facetd::runtime::classes as host;
pub use crate::bindings::facetd::runtime::types::Class;
use crate::error::Result;

/// A class that the operator named in `facetd.toml`.
pub fn named(name: &str) -> Result<Class> {
    Ok(host::named(name)?)
}

/// A class that this host has stored, by its digest.
pub fn by_digest(digest: &str) -> Result<Class> {
    Ok(host::by_digest(digest)?)
}

/// The class of this facet itself.
pub fn own() -> Result<Class> {
    by_digest(&crate::context::class_digest())
}

/// A class from the bytes of a component, at most 64 MiB.
pub fn load(component: &[u8]) -> Result<Class> {
    let mut upload = Upload::new();
    for piece in component.chunks(1 << 20) {
        upload.write(piece)?;
    }
    upload.finish()
}

/// A component handed over in pieces, for those that do not have it in memory at once.
#[derive(Debug)]
pub struct Upload(host::Upload);

impl Upload {
    /// Nothing yet.
    #[expect(clippy::new_without_default, reason = "makes a resource in the host")]
    pub fn new() -> Self {
        Upload(host::Upload::new())
    }

    /// The next piece, at most 1 MiB.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        Ok(self.0.write(piece)?)
    }

    /// Checks that it can be a class, and stores it.
    pub fn finish(self) -> Result<Class> {
        Ok(host::Upload::finish(self.0)?)
    }
}
