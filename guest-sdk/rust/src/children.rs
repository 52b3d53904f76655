//! The children of this facet, which it alone supervises. Nothing here waits: what is done is part of the turn, though an
//! abort takes effect at once.

use serde::Serialize;

use crate::bindings::facetd::runtime::facets as host;
use crate::bindings::facetd::runtime::types::{Class, FacetId, Format, Payload};
use crate::error::Result;
use crate::json;
use crate::stub::Stub;

/// What a child runs: its class, props, limits. Equal startups are the same facet; a different one restarts it.
///
/// ```no_run
/// # fn main() -> facetd_sdk::Result<()> {
/// use facetd_sdk::{children, classes};
/// let startup = children::Startup::new(&classes::named("plugin")?).props(&("de", 3))?.limit("memory-mib", 16)?;
/// let plugin = children::get("plugin", &startup)?;
/// # drop(plugin); Ok(()) }
/// ```
#[derive(Debug)]
pub struct Startup(host::Startup);

impl Startup {
    /// A child of that class with neither props nor limits of its own.
    pub fn new(class: &Class) -> Self {
        Startup(host::Startup::new(class))
    }

    /// What the child reads with [`context::props`](crate::context::props). Written with sorted keys, because startups
    /// are compared byte for byte.
    pub fn props<T: Serialize + ?Sized>(self, props: &T) -> Result<Self> {
        Ok(self.raw_props(&canonical(props)?))
    }

    /// Props as they are.
    pub fn raw_props(self, props: &Payload) -> Self {
        self.0.set_props(props);
        self
    }

    /// What the child sees as its id; by default this facet's own.
    pub fn id(self, id: &FacetId) -> Self {
        self.0.set_id(id);
        self
    }

    /// Lowers a limit for the child and each facet below it, `memory-mib`, `cpu-ms`, `wall-ms` or `storage-mib`; or for all of
    /// them together, `tree-memory-mib` or `tree-storage-mib`.
    pub fn limit(self, name: &str, value: u64) -> Result<Self> {
        self.0.set_limit(name, value)?;
        Ok(self)
    }

    /// Lets the child send requests to these hosts, as far as this facet may: `api.example.com`, `*.example.org`,
    /// `a.example:8080` (see [`egress`](crate::egress)).
    pub fn egress_to(self, hosts: &[&str]) -> Result<Self> {
        self.grant("egress", &canonical(&serde_json::json!({ "hosts": hosts }))?)
    }

    /// Lets the child send requests through this facet, whose method `outbound` sees each of them.
    pub fn egress_through_parent(self) -> Result<Self> {
        self.grant("egress", &canonical(&serde_json::json!({ "via": "parent" }))?)
    }

    /// Gives the child an ability that it has not by itself.
    pub fn grant(self, name: &str, argument: &Payload) -> Result<Self> {
        self.0.grant(name, argument)?;
        Ok(self)
    }

    /// Takes interfaces from the child and all below it: `facets`, `alarms`, `sql` ...; a class that imports one of them does
    /// not start there.
    pub fn withhold(self, names: &[&str]) -> Result<Self> {
        for name in names {
            self.0.withhold(name)?;
        }
        Ok(self)
    }

    /// If the child breaks, this facet breaks, too. By default it does not.
    pub fn escalate(self) -> Result<Self> {
        self.0.set_failure_policy("escalate")?;
        Ok(self)
    }
}

fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<Payload> {
    let body = json::to_canonical_string(value)?.into_bytes();
    let format = Format::Json;
    Ok(Payload { format, body })
}

/// A stub of the child of that name, which starts on its first event.
pub fn get(name: &str, startup: &Startup) -> Result<Stub> {
    Ok(Stub::from_raw(host::get(name, &startup.0)?))
}

/// A stub of that child if it exists: it runs or something is stored in it or below. Never creates one.
pub fn lookup(name: &str) -> Result<Option<Stub>> {
    Ok(host::lookup(name)?.map(Stub::from_raw))
}

/// Names of the children that exist, in byte order, after `after`; at most `max` and at most 10,000 of them.
pub fn names(after: Option<&str>, max: u32) -> Vec<String> {
    host::names(after, max)
}

/// What the host tells about a child.
#[derive(Clone, Debug, serde::Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// `idle` or `running`.
    pub state: String,
    /// Digest of its class.
    pub class: String,
    /// Bytes stored in it.
    pub storage_bytes: u64,
    /// When its alarm is due, milliseconds since 1970; none while its handler runs.
    pub alarm_ms: Option<u64>,
}

/// About that child; `not-found` if it does not exist.
pub fn info(name: &str) -> Result<Info> {
    host::info(name)?.decode()
}

/// Stops that child and everything below it at once; its storage stays.
pub fn abort(name: &str, reason: &str) -> Result<()> {
    Ok(host::abort(name, reason)?)
}

/// Stops that child and deletes it with everything below it.
pub fn delete(name: &str) -> Result<()> {
    Ok(host::delete(name)?)
}

/// Makes `dst` a copy of what `src`, with everything below it, has committed.
pub fn clone(src: &str, dst: &str) -> Result<()> {
    Ok(host::clone(src, dst)?)
}
