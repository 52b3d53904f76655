//! Why a component is no class here, in words that say what to do.

use std::sync::Arc;

use crate::error::{CallError, Kind};
use crate::ids::ClassDigest;
use crate::limits::COMPONENT_BYTES_MAX;

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
    #[error("it imports what facets may not have: {0}. For what they may, see docs/limits.md")]
    Import(String),
    /// Compiling it takes too much of something.
    #[error("compiling it takes more than {0}; split it, or leave out what is generated")]
    TooDear(String),
    /// The namespace has brought enough.
    #[error(
        "namespace {namespace:?} has {kib} KiB of uploaded components and may have {max_mib} MiB (classes_mib): those that no \
         stored facet runs go with `facetd classes --remove-unused`, while no host runs"
    )]
    Quota {
        /// Who.
        namespace: String,
        /// What is counted so far.
        kib: u64,
        /// Its quota.
        max_mib: u64,
    },
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
            ClassError::Quota { .. } => Self::limit("classes", error.to_string()),
            ClassError::TooDear(_) => Self::limit("compile", error.to_string()),
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
