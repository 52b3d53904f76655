//! Classes by digest and by name. One is compiled at most once at a time, away from the threads that run facets, and kept
//! in memory while facets run it and for a while after.

#![allow(
    unsafe_code,
    reason = "native code that this host has compiled is loaded: the MAC, or the compiler's own hand, says that it has"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tracing::{debug, info};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::classes::cache::Cache;
use crate::classes::compile::Compiler;
use crate::classes::inspect::read_checked;
use crate::classes::loaded::Loaded;
use crate::classes::uploads::{Uploads, component_path};
use crate::classes::{ClassError, Inspected, inspect};
use crate::ids::ClassDigest;
use crate::isolate::{FacetState, HandlerExports};
use crate::sys::clock;
use crate::sys::data_dir::{PART, sync_dir, write_whole};

/// Components compiled, or checked when they come in, at a time; one of each namespace. A compiler uses several cores and
/// much memory.
const COMPILES_MAX: usize = 2;

/// A class that can be run.
pub(crate) struct Class {
    pub(crate) digest: ClassDigest,
    pub(crate) inspected: Inspected,
    pub(crate) pre: InstancePre<FacetState>,
    pub(crate) exports: HandlerExports,
    /// Native code and what belongs to it, in memory.
    pub(super) code_bytes: u64,
}

/// `types.class`: a class as a guest holds it.
#[derive(Clone, Copy, Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct ClassHandle(pub(crate) ClassDigest);

/// All classes of a host.
pub(crate) struct Registry {
    engine: Engine,
    linker: Linker<FacetState>,
    dir: PathBuf,
    cache: Arc<Cache>,
    uploads: Arc<Uploads>,
    compiler: Compiler,
    names: HashMap<String, ClassDigest>,
    loaded: Loaded,
    turns: Turns,
}

/// Who may compile or check now. Tokio's semaphores are fair, so namespaces take turns however much one of them asks for.
#[derive(Clone)]
struct Turns {
    all: Arc<Semaphore>,
    of_namespace: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// Held until the work is done, even if nobody waits for it any more.
struct Turn {
    _of_namespace: tokio::sync::OwnedSemaphorePermit,
    _of_all: tokio::sync::OwnedSemaphorePermit,
}

impl Turns {
    async fn enter(&self, namespace: &str) -> Turn {
        let own = {
            let mut all = self
                .of_namespace
                .lock()
                .expect("nothing panics while it holds this lock");
            let own = all.entry(namespace.to_owned());
            own.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        let closed = "these semaphores are never closed";
        Turn {
            _of_namespace: own.acquire_owned().await.expect(closed),
            _of_all: self.all.clone().acquire_owned().await.expect(closed),
        }
    }
}

impl Registry {
    pub(crate) fn open(
        engine: Engine,
        dir: PathBuf,
        cache_dir: &Path,
        compiler: Option<&PathBuf>,
    ) -> wasmtime::Result<Self> {
        sweep(&dir)?;
        let mut linker = Linker::new(&engine);
        crate::bindings::add_to_linker(&mut linker)?;
        let cache = Arc::new(Cache::open(cache_dir, &engine)?);
        Ok(Self {
            compiler: Compiler::new(&engine, compiler),
            engine,
            linker,
            uploads: Arc::new(Uploads::new(&dir)),
            dir,
            cache,
            names: HashMap::new(),
            loaded: Loaded::default(),
            turns: Turns {
                all: Arc::new(Semaphore::new(COMPILES_MAX)),
                of_namespace: Arc::default(),
            },
        })
    }

    /// Gives a class a name.
    pub(crate) fn name(&mut self, name: String, digest: ClassDigest) {
        self.names.insert(name, digest);
    }

    /// The class of a name.
    pub(crate) fn named(&self, name: &str) -> Option<ClassDigest> {
        self.names.get(name).copied()
    }

    /// Names and digests, for people.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, ClassDigest)> {
        self.names.iter().map(|(name, digest)| (name.as_str(), *digest))
    }

    fn path(&self, digest: ClassDigest) -> PathBuf {
        component_path(&self.dir, digest)
    }

    /// True if a class of that digest is stored.
    pub(crate) fn has(&self, digest: ClassDigest) -> bool {
        self.path(digest).exists()
    }

    /// Checks a component and stores it durably, so that a facet that runs it can be started at any time.
    pub(crate) fn store(&self, bytes: &[u8]) -> Result<ClassDigest, ClassError> {
        inspect(bytes)?;
        store(&self.dir, bytes, digest_of(bytes))
    }

    /// The same for a component that a facet of that namespace has brought, all of which have `bytes_max`: when it is the
    /// namespace's turn, and away from the threads that run facets.
    pub(crate) async fn take_in(
        &self,
        namespace: &str,
        bytes: Vec<u8>,
        bytes_max: u64,
    ) -> Result<ClassDigest, ClassError> {
        let turn = self.turns.enter(namespace).await;
        let (dir, uploads, namespace) = (self.dir.clone(), self.uploads.clone(), namespace.to_owned());
        let work = move || {
            let _turn = turn;
            inspect(&bytes)?;
            let digest = digest_of(&bytes);
            uploads.charge(&namespace, digest, bytes.len(), bytes_max)?;
            store(&dir, &bytes, digest).inspect_err(|_| uploads.count_again(&namespace))
        };
        tokio::task::spawn_blocking(work).await.map_err(died)?
    }

    /// The class, compiled if it is not yet. What it would cost too much to compile is remembered, other failures are not.
    pub(crate) async fn load(&self, namespace: &str, digest: ClassDigest) -> Result<Arc<Class>, ClassError> {
        let loading = self.loaded.entry(digest);
        let load = async || match self.make(namespace, digest).await {
            Ok(class) => {
                self.loaded.has_loaded(class.code_bytes);
                Ok(Ok(Arc::new(class)))
            }
            Err(error @ ClassError::TooDear(_)) => Ok(Err(error)),
            Err(error) => Err(error),
        };
        loading.get_or_try_init(load).await?.clone()
    }

    async fn make(&self, namespace: &str, digest: ClassDigest) -> Result<Class, ClassError> {
        let (engine, cache, path) = (self.engine.clone(), self.cache.clone(), self.path(digest));
        let begun = clock::now();
        let cached = tokio::task::spawn_blocking(move || match path.exists() {
            true => Ok(cache.get(&engine, digest)),
            false => Err(ClassError::Unknown(digest)),
        });
        let (component, inspected) = match cached.await.map_err(died)?? {
            Some(found) => found,
            None => self.compile(namespace, digest).await?,
        };
        let mismatch = |error: wasmtime::Error| ClassError::Mismatch(format!("{error:#}"));
        let pre = self.linker.instantiate_pre(&component).map_err(mismatch)?;
        let exports = HandlerExports::find(&component).map_err(mismatch)?;
        let took_us = clock::now().saturating_duration_since(begun).as_micros();
        debug!(class = %digest, took_us, "loaded");
        let code = component.image_range();
        Ok(Class {
            digest,
            inspected,
            pre,
            exports,
            code_bytes: (code.end as usize - code.start as usize) as u64,
        })
    }

    async fn compile(&self, namespace: &str, digest: ClassDigest) -> Result<(Component, Inspected), ClassError> {
        let turn = self.turns.enter(namespace).await;
        let (engine, cache, path, compiler) = (
            self.engine.clone(),
            self.cache.clone(),
            self.path(digest),
            self.compiler.clone(),
        );
        // A task: whoever asked may go away, and the next one who asks finds it done.
        let work = tokio::spawn(async move {
            let _turn = turn;
            let begun = clock::now();
            let artefact = compiler.compile(path.clone()).await?;
            let took_ms = clock::now().saturating_duration_since(begun).as_millis();
            info!(class = %digest, took_ms, "compiled");
            let load = move || {
                let inspected = read_checked(&std::fs::read(&path)?)?;
                cache.put(digest, &inspected, &artefact);
                // From there it is mapped, and takes no memory that the system could not have back.
                if let Some(cached) = cache.get(&engine, digest) {
                    return Ok(cached);
                }
                // SAFETY: this host's own compiler has just made these bytes, for this engine.
                let component = unsafe { Component::deserialize(&engine, &artefact) };
                let component = component.map_err(|error| ClassError::Invalid(format!("{error:#}")))?;
                Ok((component, inspected))
            };
            tokio::task::spawn_blocking(load).await.map_err(died)?
        });
        work.await.map_err(died)?
    }
}

fn died(error: tokio::task::JoinError) -> ClassError {
    std::io::Error::other(error).into()
}

fn digest_of(bytes: &[u8]) -> ClassDigest {
    ClassDigest(Sha256::digest(bytes).into())
}

/// Removes what a process that was killed has left of components which were on their way in.
fn sweep(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == PART) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Stores a component durably, unless it is there.
fn store(dir: &Path, bytes: &[u8], digest: ClassDigest) -> Result<ClassDigest, ClassError> {
    let path = component_path(dir, digest);
    if !path.exists() {
        write_whole(&path, bytes)?;
        sync_dir(dir)?;
    }
    Ok(digest)
}
