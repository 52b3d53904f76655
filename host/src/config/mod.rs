//! `facetd.toml`: which classes there are, which namespaces, and where. Unknown fields are errors, so that a typo is not a
//! setting that silently does nothing.

mod access;
mod doors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use crate::egress::HostList;
use crate::grants::check_withheld;
use crate::limits::{Limits, SharedLimits};

pub(crate) use access::new_token;
pub use access::{Access, Tokens};
pub use doors::{AdminConfig, HttpConfig, TlsConfig};

/// Idle facets are evicted after this, ms (S14).
const IDLE_EVICT_MS: u64 = 10_000;
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

/// `[namespaces.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceConfig {
    /// Name of the class that roots run.
    pub class: String,
    /// Who may call its objects from outside; unset, everybody who reaches a loopback address.
    pub access: Option<Access>,
    /// Keys the object ids; default the namespace's name. Changing it leaves the old objects behind.
    pub unique_key: Option<String>,
    /// Namespaces whose objects root facets may address.
    #[serde(default)]
    pub objects: Vec<String>,
    /// Idle facets are evicted after this; default 10,000.
    pub idle_evict_ms: Option<u64>,
    /// Limits of its facets; unset ones as in docs/limits.md.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Interfaces that none of its facets has: `facets`, `alarms` ...; see docs/limits.md.
    #[serde(default)]
    pub withhold: Vec<String>,
    /// What of the network its root facets may reach; default nothing.
    #[serde(default)]
    pub egress: EgressConfig,
}

/// `[namespaces.NAME.egress]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    /// Hosts: `api.example.com`, `*.example.org`, `127.0.0.1:8080`, or `*` for any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Ranges of addresses that are not public and may be reached all the same: `10.0.0.0/8`.
    #[serde(default)]
    pub allow_private: Vec<String>,
}

impl EgressConfig {
    pub(crate) fn rules(&self) -> Result<(HostList, Vec<IpNet>), String> {
        let range = |text: &String| {
            text.parse()
                .map_err(|_| format!("`allow_private` should have ranges like 10.0.0.0/8 or ::1/128, not {text:?}"))
        };
        let hosts = HostList::parse(&self.hosts).map_err(|error| {
            format!("{error}; `hosts` should have names like api.example.com, *.example.org or a.example:8080")
        })?;
        Ok((hosts, self.allow_private.iter().map(range).collect::<Result<_, _>>()?))
    }
}

/// Limits of the facets of a namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Memories and tables of a facet.
    pub memory_mib: Option<u64>,
    /// CPU time of an event.
    pub cpu_ms: Option<u64>,
    /// Wall time of an event.
    pub wall_ms: Option<u64>,
    /// Database of a facet.
    pub storage_mib: Option<u64>,
    /// Memories and tables of all facets of an object that run.
    pub tree_memory_mib: Option<u64>,
    /// Databases of all facets of an object.
    pub tree_storage_mib: Option<u64>,
    /// Facets of an object that run at a time; default half of what the host has room for.
    pub tree_running_facets: Option<usize>,
    /// Memories and tables of all facets of the namespace that run.
    pub all_memory_mib: Option<u64>,
    /// Facets of the namespace that run at a time; default three quarters of what the host has room for, if there are other
    /// namespaces.
    pub all_running_facets: Option<usize>,
}

impl LimitsConfig {
    /// Of each facet: these where they are set, the defaults elsewhere.
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            memory_bytes: bytes(self.memory_mib).unwrap_or(default.memory_bytes),
            cpu_ms: self.cpu_ms.unwrap_or(default.cpu_ms),
            wall_ms: self.wall_ms.unwrap_or(default.wall_ms),
            storage_bytes: bytes(self.storage_mib).unwrap_or(default.storage_bytes),
        }
    }
}

fn bytes(mib: Option<u64>) -> Option<u64> {
    mib.map(|mib| mib.saturating_mul(1 << 20))
}

impl NamespaceConfig {
    /// Of each of its objects, on a host with room for so many facets.
    pub(crate) fn tree_limits(&self, room: usize) -> SharedLimits {
        let Self { limits, .. } = self;
        SharedLimits {
            memory_bytes: bytes(limits.tree_memory_mib).unwrap_or(u64::MAX),
            storage_bytes: bytes(limits.tree_storage_mib).unwrap_or(u64::MAX),
            running: limits.tree_running_facets.unwrap_or(room.div_ceil(2)),
        }
    }

    /// Of all its objects together, where there are so many namespaces.
    pub(crate) fn all_limits(&self, room: usize, namespaces: usize) -> SharedLimits {
        let running = match namespaces {
            1 => room,
            _ => room - room / 4,
        };
        SharedLimits {
            memory_bytes: bytes(self.limits.all_memory_mib).unwrap_or(u64::MAX),
            storage_bytes: u64::MAX,
            running: self.limits.all_running_facets.unwrap_or(running),
        }
    }

    /// As set, or the default.
    pub fn idle_evict_ms(&self) -> u64 {
        self.idle_evict_ms.unwrap_or(IDLE_EVICT_MS)
    }
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
            if let Some(Access::Tokens(tokens)) = &namespace.access {
                tokens.check(&format!("[namespaces.{name}]"))?;
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
            for name_withheld in &namespace.withhold {
                check_withheld(name_withheld).map_err(|error| format!("[namespaces.{name}] withhold: {error}"))?;
            }
            namespace
                .egress
                .rules()
                .map_err(|error| format!("[namespaces.{name}.egress]: {error}"))?;
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
