//! Classes by digest and by name. One is compiled at most once at a time, off the threads that run facets, and kept while
//! the host runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};
use tracing::info;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::classes::cache::Cache;
use crate::classes::inspect;
use crate::error::{CallError, Kind};
use crate::grants::Need;
use crate::ids::ClassDigest;
use crate::isolate::{FacetState, HandlerExports};
use crate::limits::COMPONENT_BYTES_MAX;
use crate::sys::{clock, data_dir::sync_dir};

/// Components compiled at a time. Cranelift itself uses all cores; more than one would only take more memory.
const COMPILES_MAX: usize = 1;

/// Why a component cannot be a class, or a class cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClassError {
    /// Neither component nor module.
    #[error("this is no WebAssembly component: it does not begin like one; use what `facetd build` writes")]
    NotWasm,
    /// A core module.
    #[error(
        "this is a core WebAssembly module, not a component; link it with wasm-component-ld or `wasm-tools component new`"
    )]
    CoreModule,
    /// Over the limit.
    #[error("a component has at most {COMPONENT_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
    /// Broken.
    #[error("this is no valid WebAssembly component: {0}")]
    Invalid(String),
    /// Asks for too much.
    #[error("it imports {0:?}, which facets may not have; see docs/limits.md for what they may")]
    Import(String),
    /// Not a facet.
    #[error(
        "it exports neither facetd:runtime/handler@0.1.0 nor facetd:runtime/blocking-handler@0.1.0, so it cannot be called"
    )]
    NoHandler,
    /// Valid, yet it does not fit the contract.
    #[error("it does not fit the contract of facetd:runtime@0.1.0: {0}")]
    Mismatch(String),
    /// No class of that digest.
    #[error("there is no class {0} here")]
    Unknown(ClassDigest),
    /// The file system said no.
    #[error("cannot read or write class files: {0}")]
    Io(Arc<std::io::Error>),
}

impl From<std::io::Error> for ClassError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<ClassError> for CallError {
    fn from(error: ClassError) -> Self {
        match error {
            ClassError::Unknown(_) => Self::not_found(error.to_string()),
            ClassError::TooLarge(_) => Self::limit("component", error.to_string()),
            ClassError::Io(_) => Self::new(Kind::Unavailable, "classes", error.to_string()),
            ClassError::NotWasm
            | ClassError::CoreModule
            | ClassError::Invalid(_)
            | ClassError::Import(_)
            | ClassError::NoHandler
            | ClassError::Mismatch(_) => Self::new(Kind::InvalidArgument, "component", error.to_string()),
        }
    }
}

/// A class that can be run.
pub(crate) struct Class {
    pub(crate) digest: ClassDigest,
    /// Events interleave where the guest awaits.
    pub(crate) interleaves: bool,
    /// What it imports that has to be granted.
    pub(crate) needs: Vec<Need>,
    pub(crate) pre: InstancePre<FacetState>,
    pub(crate) exports: HandlerExports,
}

/// `types.class`: a class as a guest holds it.
#[derive(Clone, Copy, Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct ClassHandle(pub(crate) ClassDigest);

type Loading = Arc<OnceCell<Arc<Class>>>;

/// All classes of a host.
pub(crate) struct Registry {
    engine: Engine,
    linker: Linker<FacetState>,
    dir: PathBuf,
    cache: Arc<Cache>,
    names: HashMap<String, ClassDigest>,
    loaded: Mutex<HashMap<ClassDigest, Loading>>,
    compiling: Arc<Semaphore>,
}

impl Registry {
    pub(crate) fn open(engine: Engine, dir: PathBuf, cache_dir: &Path) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&engine);
        crate::bindings::add_to_linker(&mut linker)?;
        let cache = Arc::new(Cache::open(cache_dir, &engine)?);
        Ok(Self {
            engine,
            linker,
            dir,
            cache,
            names: HashMap::new(),
            loaded: Mutex::default(),
            compiling: Arc::new(Semaphore::new(COMPILES_MAX)),
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
        self.dir.join(format!("{digest}.wasm"))
    }

    /// True if a class of that digest is stored.
    pub(crate) fn has(&self, digest: ClassDigest) -> bool {
        self.path(digest).exists()
    }

    /// Checks a component and stores it durably, so that a facet that runs it can be started at any time.
    pub(crate) fn store(&self, bytes: &[u8]) -> Result<ClassDigest, ClassError> {
        inspect(bytes)?;
        let digest = ClassDigest(Sha256::digest(bytes).into());
        let path = self.path(digest);
        if !path.exists() {
            let mut unique = [0; 8];
            crate::sys::random::fill(&mut unique)?;
            let temporary = self.dir.join(format!("{digest}.{}.part", hex::encode(unique)));
            std::fs::write(&temporary, bytes)?;
            std::fs::File::open(&temporary)?.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            sync_dir(&self.dir)?;
        }
        Ok(digest)
    }

    /// The class, compiled if it is not yet. A failure is not remembered.
    pub(crate) async fn load(&self, digest: ClassDigest) -> Result<Arc<Class>, ClassError> {
        let loading = {
            let mut loaded = self.loaded.lock().expect("nothing panics while it holds this lock");
            loaded.entry(digest).or_default().clone()
        };
        loading.get_or_try_init(|| self.compile(digest)).await.cloned()
    }

    async fn compile(&self, digest: ClassDigest) -> Result<Arc<Class>, ClassError> {
        let permit = self
            .compiling
            .clone()
            .acquire_owned()
            .await
            .expect("this semaphore is never closed");
        let (engine, cache, path) = (self.engine.clone(), self.cache.clone(), self.path(digest));
        let work = move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _permit = permit;
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ClassError::Unknown(digest)),
                Err(error) => return Err(error.into()),
            };
            let inspected = inspect(&bytes)?;
            if let Some(component) = cache.get(&engine, digest) {
                return Ok((component, inspected));
            }
            let begun = clock::now();
            let component =
                Component::new(&engine, &bytes).map_err(|error| ClassError::Invalid(format!("{error:#}")))?;
            let took_ms = clock::now().saturating_duration_since(begun).as_millis();
            info!(class = %digest, took_ms, "compiled");
            cache.put(digest, &component);
            Ok((component, inspected))
        };
        let (component, inspected) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| ClassError::Invalid(error.to_string()))??;
        let mismatch = |error: wasmtime::Error| ClassError::Mismatch(format!("{error:#}"));
        let pre = self.linker.instantiate_pre(&component).map_err(mismatch)?;
        let exports = HandlerExports::find(&component).map_err(mismatch)?;
        Ok(Arc::new(Class {
            digest,
            interleaves: inspected.interleaves,
            needs: inspected.needs,
            pre,
            exports,
        }))
    }
}
