//! `[namespaces.NAME]`: what runs there, who may call it, and how much of everything it has.

use ipnet::IpNet;
use serde::Deserialize;

use super::access::Access;
use crate::egress::HostList;
use crate::grants::check_withheld;
use crate::limits::{Limits, SharedLimits};

/// Idle facets are evicted after this, ms (S14).
const IDLE_EVICT_MS: u64 = 10_000;

/// Components that facets hand in, MiB.
const CLASSES_MIB: u64 = 1_024;

/// A host with room for less is not divided among objects.
const TREE_RUNNING_MIN: usize = 64;

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
    /// Facets of an object that run at a time; default half of what the host has room for, and at least 64.
    pub tree_running_facets: Option<usize>,
    /// Memories and tables of all facets of the namespace that run.
    pub all_memory_mib: Option<u64>,
    /// Components that facets of the namespace hand to `classes.upload`, each counted as 64 KiB at least; default 1,024.
    pub classes_mib: Option<u64>,
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
            running: limits.tree_running_facets.unwrap_or((room / 2).max(TREE_RUNNING_MIN)),
        }
    }

    /// Of all its objects together, where there are so many namespaces.
    pub(crate) fn all_limits(&self, room: usize, namespaces: usize) -> SharedLimits {
        let running = match namespaces {
            1 => room,
            _ => (room - room / 4).max(TREE_RUNNING_MIN),
        };
        SharedLimits {
            memory_bytes: bytes(self.limits.all_memory_mib).unwrap_or(u64::MAX),
            storage_bytes: u64::MAX,
            running: self.limits.all_running_facets.unwrap_or(running),
        }
    }

    /// Components that its facets hand in.
    pub(crate) fn classes_bytes_max(&self) -> u64 {
        self.limits.classes_mib.unwrap_or(CLASSES_MIB).saturating_mul(1 << 20)
    }

    /// What makes no sense by itself; the error goes on after `[namespaces.NAME`.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(Access::Tokens(tokens)) = &self.access {
            tokens.check("`access`").map_err(|error| format!("]: {error}"))?;
        }
        for name in &self.withhold {
            check_withheld(name).map_err(|error| format!("] withhold: {error}"))?;
        }
        self.egress
            .rules()
            .map(|_| ())
            .map_err(|error| format!(".egress]: {error}"))
    }

    /// As set, or the default.
    pub fn idle_evict_ms(&self) -> u64 {
        self.idle_evict_ms.unwrap_or(IDLE_EVICT_MS)
    }
}
