//! Compiled code on disk. A forged artefact would be native code of its forger's choice: the directory is the service's
//! alone (0700), each file carries a MAC under a key in it, and what does not match is compiled again, never run.

#![allow(
    unsafe_code,
    reason = "native code that this host has compiled is loaded: the MAC, or the compiler's own hand, says that it has"
)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tracing::{info, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::classes::Inspected;
use crate::ids::ClassDigest;
use crate::sys::data_dir::write_whole;

/// Files of all engines together, bytes. Beyond it those go that were made first.
const CACHE_BYTES_MAX: u64 = 4 << 30;
/// Of seals. Another one is another directory.
const FORMAT: u32 = 2;
const KEY_BYTES: usize = blake3::KEY_LEN;
const MAC_BYTES: usize = blake3::OUT_LEN;
/// An artefact is read in pieces of so many bytes: they stay in the processor's cache, and no memory is taken for the whole.
const PIECE_BYTES: usize = 64 << 10;

/// Artefacts for one engine configuration and version.
pub(super) struct Cache {
    root: PathBuf,
    dir: PathBuf,
    key: blake3::Hasher,
}

impl Cache {
    pub(super) fn open(root: &Path, engine: &Engine) -> io::Result<Self> {
        let compatibility = {
            use std::hash::{Hash as _, Hasher as _};
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            FORMAT.hash(&mut hasher);
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let dir = root.join(format!("{compatibility:016x}"));
        crate::sys::data_dir::private_dir(&dir)?;
        // Whoever made it: it is nobody else's from here on.
        for dir in [root, &dir] {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
        }
        let mut key = blake3::Hasher::new_keyed(&key(root)?);
        // An artefact of another engine does not match, wherever it has been moved.
        key.update(&compatibility.to_le_bytes());
        Ok(Self {
            root: root.to_owned(),
            dir,
            key,
        })
    }

    /// The artefact: native code, and nothing else, so that it can be mapped.
    fn path(&self, digest: ClassDigest) -> PathBuf {
        self.dir.join(format!("{digest}.cwasm"))
    }

    /// The MAC over everything, and what was inspected.
    fn seal_path(&self, digest: ClassDigest) -> PathBuf {
        self.dir.join(format!("{digest}.seal"))
    }

    fn mac(&self, digest: ClassDigest, inspected: &[u8], artefact: &mut impl Read) -> io::Result<blake3::Hash> {
        let mut mac = self.key.clone();
        mac.update(&digest.0);
        mac.update(&(inspected.len() as u64).to_le_bytes());
        mac.update(inspected);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match artefact.read(&mut piece)? {
                0 => return Ok(mac.finalize()),
                bytes => mac.update(&piece[..bytes]),
            };
        }
    }

    /// The compiled component, if it is there and as `put` wrote it.
    pub(super) fn get(&self, engine: &Engine, digest: ClassDigest) -> Option<(Component, Inspected)> {
        let (artefact, inspected) = match self.open_sealed(digest) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => {
                warn!(%digest, "a cached artefact is not as it was written, and is made again");
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(%digest, %error, "a cached artefact cannot be read and is made again");
                return None;
            }
        };
        // By its descriptor: another file may lie at that path by now.
        let checked = format!("/proc/self/fd/{}", artefact.as_raw_fd());
        // SAFETY: the MAC says that what this descriptor reads is what `put` was given by this host's compiler, for this
        // engine. Files are replaced and never changed in place; who could do that could read the key, too.
        match unsafe { Component::deserialize_file(engine, checked) } {
            Ok(component) => Some((component, inspected)),
            Err(error) => {
                info!(%digest, %error, "a cached artefact does not fit and is made again");
                None
            }
        }
    }

    /// None if it does not match.
    fn open_sealed(&self, digest: ClassDigest) -> io::Result<Option<(File, Inspected)>> {
        let mut artefact = File::open(self.path(digest))?;
        let seal = std::fs::read(self.seal_path(digest))?;
        let Some((expected, inspected)) = seal.split_at_checked(MAC_BYTES) else {
            return Ok(None);
        };
        // Compared in constant time.
        let matches = self.mac(digest, inspected, &mut artefact)? == *expected;
        Ok(match (matches, serde_json::from_slice(inspected)) {
            (true, Ok(inspected)) => Some((artefact, inspected)),
            (_, _) => None,
        })
    }

    /// Keeps the compiled component. Without it, the next start of the host compiles again.
    pub(super) fn put(&self, digest: ClassDigest, inspected: &Inspected, mut artefact: &[u8]) {
        let inspected = serde_json::to_vec(inspected).expect("strings and numbers can be written as JSON");
        let mut write = || {
            write_whole(&self.path(digest), artefact)?;
            let mut seal = self.mac(digest, &inspected, &mut artefact)?.as_bytes().to_vec();
            seal.extend_from_slice(&inspected);
            write_whole(&self.seal_path(digest), &seal)?;
            self.bound()
        };
        if let Err(error) = write() {
            warn!(%digest, %error, "compiled code could not be cached");
        }
    }

    /// Removes the oldest files while there are too many bytes, those of other versions of facetd included.
    fn bound(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for dir in std::fs::read_dir(&self.root)? {
            let dir = dir?.path();
            if !dir.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(dir)? {
                let file = file?;
                let about = file.metadata()?;
                files.push((
                    about.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    about.len(),
                    file.path(),
                ));
            }
        }
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        files.sort();
        for (_, bytes, path) in files {
            if total <= CACHE_BYTES_MAX {
                break;
            }
            std::fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

/// The directory's key, made if there is none.
fn key(root: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = root.join("key");
    match std::fs::read(&path) {
        Ok(bytes) => {
            if let Ok(key) = bytes.as_slice().try_into() {
                return Ok(key);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; KEY_BYTES];
    crate::sys::random::fill(&mut key)?;
    write_whole(&path, &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: ClassDigest = ClassDigest([7; 32]);

    fn engine() -> Engine {
        crate::isolate::new_engine().expect("an engine")
    }

    fn artefact(engine: &Engine) -> Vec<u8> {
        engine.precompile_component(b"(component)").unwrap_or_else(|_| {
            let bytes = wat::parse_str("(component)").expect("WAT");
            engine.precompile_component(&bytes).expect("it compiles")
        })
    }

    #[test]
    fn what_was_kept_is_found_by_the_next_process() {
        let (dir, engine) = (tempfile::tempdir().expect("a directory"), engine());
        let inspected = Inspected {
            imports: vec!["a:b/c".into()],
            ..Inspected::default()
        };
        Cache::open(dir.path(), &engine)
            .expect("a cache")
            .put(DIGEST, &inspected, &artefact(&engine));
        let again = Cache::open(dir.path(), &engine).expect("a cache");
        let (_, found) = again.get(&engine, DIGEST).expect("it is there");
        assert_eq!(found, inspected);
        assert!(again.get(&engine, ClassDigest([8; 32])).is_none());
    }

    #[test]
    fn nobody_else_can_read_or_write_it() {
        let (dir, engine) = (tempfile::tempdir().expect("a directory"), engine());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let cache = Cache::open(dir.path(), &engine).expect("a cache");
        cache.put(DIGEST, &Inspected::default(), &artefact(&engine));
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(dir.path()), mode(&cache.dir)), (0o700, 0o700));
        assert_eq!(
            (mode(&dir.path().join("key")), mode(&cache.path(DIGEST))),
            (0o600, 0o600)
        );
    }

    #[test]
    fn a_changed_artefact_is_not_run() {
        let (dir, engine) = (tempfile::tempdir().expect("a directory"), engine());
        let cache = Cache::open(dir.path(), &engine).expect("a cache");
        cache.put(DIGEST, &Inspected::default(), &artefact(&engine));
        let path = cache.path(DIGEST);
        let good = std::fs::read(&path).expect("it is there");
        for at in (0..good.len()).step_by(good.len() / 200 + 1).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).expect("it is ours");
            assert!(cache.get(&engine, DIGEST).is_none(), "byte {at} was changed");
        }
        for length in [0, 1, PIECE_BYTES.min(good.len() / 2), good.len() - 1] {
            std::fs::write(&path, &good[..length]).expect("it is ours");
            assert!(cache.get(&engine, DIGEST).is_none(), "cut to {length} bytes");
        }
        std::fs::write(&path, &good).expect("it is ours");
        let seal = std::fs::read(cache.seal_path(DIGEST)).expect("it is there");
        for at in 0..seal.len() {
            let mut bad = seal.clone();
            bad[at] ^= 1;
            std::fs::write(cache.seal_path(DIGEST), bad).expect("it is ours");
            assert!(
                cache.get(&engine, DIGEST).is_none(),
                "byte {at} of the seal was changed"
            );
            std::fs::write(cache.seal_path(DIGEST), &seal[..at]).expect("it is ours");
            assert!(cache.get(&engine, DIGEST).is_none(), "the seal was cut to {at} bytes");
        }
        std::fs::write(cache.seal_path(DIGEST), &seal).expect("it is ours");
        assert!(cache.get(&engine, DIGEST).is_some());
    }

    #[test]
    fn an_artefact_of_another_class_or_another_key_is_not_run() {
        let (dir, engine) = (tempfile::tempdir().expect("a directory"), engine());
        let cache = Cache::open(dir.path(), &engine).expect("a cache");
        cache.put(DIGEST, &Inspected::default(), &artefact(&engine));
        let other = ClassDigest([8; 32]);
        std::fs::copy(cache.path(DIGEST), cache.path(other)).expect("it is ours");
        std::fs::copy(cache.seal_path(DIGEST), cache.seal_path(other)).expect("it is ours");
        assert!(cache.get(&engine, other).is_none());
        std::fs::write(dir.path().join("key"), [1; KEY_BYTES]).expect("it is ours");
        let again = Cache::open(dir.path(), &engine).expect("a cache");
        assert!(again.get(&engine, DIGEST).is_none());
    }
}
