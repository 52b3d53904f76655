//! Compiled code on disk. The directory is the service's alone (0700): a forged artefact would be native code of its
//! forger's choice, so nothing is ever accepted from outside.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use tracing::{debug, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::ids::ClassDigest;

/// Artefacts for one engine configuration and version.
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub(super) fn open(root: &Path, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let dir = root.join(format!("{:016x}", hasher.finish()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    fn path(&self, digest: ClassDigest) -> PathBuf {
        self.dir.join(format!("{digest}.cwasm"))
    }

    /// The compiled component, if it is there and fits. What does not fit is compiled again.
    pub(super) fn get(&self, engine: &Engine, digest: ClassDigest) -> Option<Component> {
        let path = self.path(digest);
        if !path.exists() {
            return None;
        }
        // SAFETY: the directory is readable and writable by this service only, files in it are written by `put` alone and
        // never changed in place, and wasmtime checks that the artefact was made by this version and configuration.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                debug!(%digest, %error, "a cached artefact does not fit and is made again");
                None
            }
        }
    }

    /// Keeps the compiled component. Without it, the next start of the host compiles again.
    pub(super) fn put(&self, digest: ClassDigest, component: &Component) {
        let write = || -> wasmtime::Result<()> {
            let bytes = component.serialize()?;
            let temporary = self.dir.join(format!("{digest}.{}.part", std::process::id()));
            std::fs::write(&temporary, bytes)?;
            std::fs::rename(&temporary, self.path(digest))?;
            Ok(())
        };
        if let Err(error) = write() {
            warn!(%digest, %error, "compiled code could not be cached");
        }
    }
}
