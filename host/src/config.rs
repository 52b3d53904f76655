//! `facetd.toml`: which classes there are, which namespaces, and where. Unknown fields are errors, so that a typo is not a
//! setting that silently does nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use crate::egress::HostList;
use crate::limits::Limits;
use crate::startup::StartupLimits;

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
}

impl LimitsConfig {
    /// These where they are set, the defaults elsewhere.
    pub fn limits(&self) -> Limits {
        let unset = Limits {
            memory_bytes: u64::MAX,
            cpu_ms: u64::MAX,
            wall_ms: u64::MAX,
            storage_bytes: u64::MAX,
        };
        let Self {
            memory_mib,
            cpu_ms,
            wall_ms,
            storage_mib,
        } = *self;
        let set = unset.lowered(&StartupLimits {
            memory_mib,
            cpu_ms,
            wall_ms,
            storage_mib,
            ..StartupLimits::default()
        });
        let default = Limits::default();
        let or = |set: u64, default: u64| if set == u64::MAX { default } else { set };
        Limits {
            memory_bytes: or(set.memory_bytes, default.memory_bytes),
            cpu_ms: or(set.cpu_ms, default.cpu_ms),
            wall_ms: or(set.wall_ms, default.wall_ms),
            storage_bytes: or(set.storage_bytes, default.storage_bytes),
        }
    }
}

impl NamespaceConfig {
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
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.clone(),
            message: error.to_string(),
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

    fn check(&self) -> Result<(), String> {
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
