//! `facetd.toml`: which classes there are, which namespaces, and where. Unknown fields are errors, so that a typo is not a
//! setting that silently does nothing.

mod access;
mod doors;
mod namespace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use access::new_token;
pub use access::{Access, Tokens};
pub use doors::{AdminConfig, HttpConfig, TlsConfig};
pub use namespace::{EgressConfig, LimitsConfig, NamespaceConfig};

/// The file's name where a folder is given.
pub const FILE_NAME: &str = "facetd.toml";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such file, or not readable.
    #[error("cannot read {path}: {error}; name a folder with a facetd.toml in it, or the file itself")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not the TOML that it should be.
    #[error("{path} is not right: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// Parses, and makes no sense.
    #[error("{path} is not right: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What.
        message: String,
    },
}

/// The file, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen and to store.
    #[serde(default)]
    pub host: HostConfig,
    /// Classes by name.
    #[serde(default)]
    pub classes: BTreeMap<String, ClassConfig>,
    /// Namespaces by name.
    #[serde(default)]
    pub namespaces: BTreeMap<String, NamespaceConfig>,
    /// The folder of the file: paths in it are relative to that.
    #[serde(skip)]
    pub dir: PathBuf,
    /// A facetd of this very build, which compiles components in a process with bounds; the binary names itself. None: they
    /// are compiled in this process, without bounds on time and memory.
    #[serde(skip)]
    pub compiler: Option<PathBuf>,
    /// Facets run without memory limit, without CPU time and without being interrupted. For the bench that asks what these
    /// cost, and never from a file.
    #[serde(skip)]
    #[doc(hidden)]
    pub limits_off: bool,
}

/// `[host]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Address and port; default 127.0.0.1:8787, port 0 for any that is free.
    pub listen: Option<String>,
    /// Data directory; default `.facetd/data` beside the file.
    pub data: Option<PathBuf>,
    /// `namespace/object` whose HTTP handler `/` leads to.
    pub open: Option<String>,
    /// Facets that run at a time; default, and at most, what the system has mappings and descriptors for.
    pub running_facets_max: Option<usize>,
    /// Memories and tables of all facets that run; default three quarters of the machine's memory, or of what its control
    /// group may have.
    pub memory_mib: Option<u64>,
    /// Names by which clients reach the host, beside its loopback addresses: others in `Host` are refused.
    #[serde(default)]
    pub names: Vec<String>,
    /// Where operators reach it; default a unix socket in the data directory.
    pub admin: Option<AdminConfig>,
    /// Certificate and key; without them HTTP is not encrypted.
    pub tls: Option<TlsConfig>,
    /// What a client may take.
    #[serde(default)]
    pub http: HttpConfig,
    /// Certificates, PEM, of authorities that facets trust beside Mozilla's when they use HTTPS.
    pub egress_roots: Option<PathBuf>,
}

/// `[classes.NAME]`: a component, or how to build one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// A component that is there.
    pub component: Option<PathBuf>,
    /// The folder of a Rust crate, or of whatever `command` builds.
    pub build: Option<PathBuf>,
    /// Features of the Rust crate.
    #[serde(default)]
    pub features: Vec<String>,
    /// Run in `build` with `FACETD_OUT` set to the path of the component to write.
    pub command: Option<Vec<String>>,
}

impl Config {
    /// Reads a file, or `facetd.toml` in a folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_owned()
        };
        let text = std::fs::read_to_string(&path).map_err(|error| ConfigError::Read {
            path: path.clone(),
            error,
        })?;
        let mut config = Self::parse(&text).map_err(|message| ConfigError::Parse {
            path: path.clone(),
            message,
        })?;
        let dir = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        config.dir = dir.canonicalize().map_err(|error| ConfigError::Read {
            path: path.clone(),
            error,
        })?;
        config
            .check()
            .map_err(|message| ConfigError::Invalid { path, message })?;
        Ok(config)
    }

    /// The text of a file, not checked yet.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let shown = error.to_string();
            if !shown.contains(access::TOKEN_PREFIX) {
                return shown;
            }
            // The line holds a secret, by mistake; it does not go to a log, too.
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            let what = Some(error.message()).filter(|message| !message.contains(access::TOKEN_PREFIX));
            format!(
                "line {line}: {}; there seems to be a token, which should not be in the configuration: only its hash, as \
                 `facetd token` prints it",
                what.unwrap_or("not as it should be")
            )
        })
    }

    /// What makes no sense although it parses.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.host.check_doors()?;
        for (name, class) in &self.classes {
            match (&class.component, &class.build) {
                (Some(_), Some(_)) | (None, None) => {
                    return Err(format!("[classes.{name}] needs either `component` or `build`"));
                }
                (Some(_), None) | (None, Some(_)) => {}
            }
            if class.command.as_ref().is_some_and(Vec::is_empty) {
                return Err(format!("the `command` of [classes.{name}] is empty"));
            }
        }
        for (name, namespace) in &self.namespaces {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            if !plain || crate::sys::data_dir::RESERVED.contains(&name.as_str()) {
                return Err(format!(
                    "{name:?} cannot name a namespace: use letters, digits, - and _, and none of {:?}",
                    crate::sys::data_dir::RESERVED
                ));
            }
            if !self.classes.contains_key(&namespace.class) {
                return Err(format!(
                    "[namespaces.{name}] runs class {:?}, which is not defined; there are: {}",
                    namespace.class,
                    self.classes.keys().cloned().collect::<Vec<_>>().join(", ")
                ));
            }
            if let Some(unknown) = namespace
                .objects
                .iter()
                .find(|other| !self.namespaces.contains_key(*other))
            {
                return Err(format!(
                    "[namespaces.{name}] is bound to {unknown:?}, which is not defined"
                ));
            }
            namespace
                .check()
                .map_err(|error| format!("[namespaces.{name}{error}"))?;
        }
        if let Some(open) = &self.host.open
            && !open
                .split_once('/')
                .is_some_and(|(namespace, _)| self.namespaces.contains_key(namespace))
        {
            return Err(format!("`open` should be namespace/object, not {open:?}"));
        }
        Ok(())
    }

    /// Where the component of a class is, or will be when it is built.
    pub fn component(&self, name: &str, class: &ClassConfig) -> PathBuf {
        match &class.component {
            Some(component) => self.dir.join(component),
            None => self.dir.join(".facetd/build").join(format!("{name}.wasm")),
        }
    }

    /// The file of `egress_roots`.
    pub(crate) fn egress_roots(&self) -> Option<PathBuf> {
        self.host.egress_roots.as_ref().map(|file| self.dir.join(file))
    }

    /// The data directory, unless the command line says otherwise.
    pub fn data_dir(&self) -> PathBuf {
        self.dir
            .join(self.host.data.as_deref().unwrap_or(Path::new(".facetd/data")))
    }
}
