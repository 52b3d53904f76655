//! A namespace is a named set of objects with one root class and one directory. Object ids are derived exactly as workerd
//! derives them (S3), so that names lead to the same files.

use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::alarms::Alarms;
use crate::budget::Budget;
use crate::egress::{self, HostList};
use crate::error::{CallError, Kind};
use crate::host::ObjectRef;
use crate::ids::{ClassDigest, ObjectId, ObjectName};
use crate::isolate::Room;
use crate::limits::{Limits, SharedLimits};
use crate::startup::Startup;

/// Half of an id: the base, and the proof that it belongs to the namespace.
const HALF: usize = 16;

/// What the ids of a namespace's objects are derived with.
#[derive(Debug)]
struct IdKey {
    /// SHA-256 of the unique key.
    key: [u8; 32],
}

impl IdKey {
    fn new(unique_key: &str) -> Self {
        Self {
            key: Sha256::digest(unique_key.as_bytes()).into(),
        }
    }

    fn hmac(&self, data: &[u8]) -> [u8; HALF] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(data);
        mac.finalize().into_bytes()[..HALF]
            .try_into()
            .expect("SHA-256 has 32 bytes")
    }

    fn id_from(&self, base: [u8; HALF]) -> ObjectId {
        let mut id = [0; 32];
        id[..HALF].copy_from_slice(&base);
        id[HALF..].copy_from_slice(&self.hmac(&base));
        ObjectId(id)
    }

    fn of_name(&self, name: &str) -> ObjectId {
        self.id_from(self.hmac(name.as_bytes()))
    }

    fn made(&self, id: ObjectId) -> bool {
        let base = id.0[..HALF].try_into().expect("half of 32 bytes");
        self.id_from(base) == id
    }
}

/// The id of an object without a host; an id in hex is taken as it is.
pub(crate) fn object_id(unique_key: &str, object: &ObjectRef) -> Result<ObjectId, String> {
    match object {
        ObjectRef::Name(name) => Ok(IdKey::new(unique_key).of_name(name)),
        ObjectRef::Id(hex) => hex.parse().map_err(|error| format!("an object id: {error}")),
    }
}

/// A set of objects with the same root class.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    ids: IdKey,
    pub(crate) class: ClassDigest,
    /// Of each facet.
    pub(crate) limits: Limits,
    /// Of each object.
    pub(crate) tree_limits: SharedLimits,
    /// For all its facets that run.
    pub(crate) room: Arc<Room>,
    /// Memories and tables of all of them.
    pub(crate) memory: Arc<Budget>,
    pub(crate) idle_evict_ms: u64,
    /// Names of the namespaces whose objects root facets may address.
    pub(crate) objects: Vec<String>,
    pub(crate) dir: Arc<Path>,
    pub(crate) alarms: Arc<Alarms>,
    /// Components that its facets hand in, bytes.
    pub(crate) classes_bytes_max: u64,
    /// Interfaces that none of its facets has.
    pub(crate) withheld: Vec<String>,
    /// Hosts that its root facets may reach.
    pub(crate) egress_hosts: Arc<HostList>,
    pub(crate) egress: egress::Rules,
}

impl Namespace {
    #[allow(clippy::too_many_arguments, reason = "one call, where the configuration is read")]
    pub(crate) fn new(
        name: &str,
        unique_key: &str,
        class: ClassDigest,
        (limits, tree_limits): (Limits, SharedLimits),
        room: Arc<Room>,
        memory: Arc<Budget>,
        idle_evict_ms: u64,
        objects: Vec<String>,
        dir: Arc<Path>,
        alarms: Arc<Alarms>,
    ) -> Self {
        Self {
            name: name.into(),
            ids: IdKey::new(unique_key),
            class,
            limits,
            tree_limits,
            room,
            memory,
            idle_evict_ms,
            objects,
            dir,
            alarms,
            classes_bytes_max: u64::MAX,
            withheld: Vec::new(),
            egress_hosts: Arc::default(),
            egress: egress::Rules::new(Vec::new()),
        }
    }

    /// How much its facets may hand in; without this, any amount.
    pub(crate) fn with_classes(self, bytes_max: u64) -> Self {
        Self {
            classes_bytes_max: bytes_max,
            ..self
        }
    }

    /// What none of its facets has.
    pub(crate) fn without(self, withheld: Vec<String>) -> Self {
        Self { withheld, ..self }
    }

    /// What its facets may reach of the network; without this, nothing.
    pub(crate) fn with_egress(self, hosts: HostList, allow_private: Vec<IpNet>) -> Self {
        Self {
            egress_hosts: Arc::new(hosts),
            egress: egress::Rules::new(allow_private),
            ..self
        }
    }

    /// The id that a name leads to.
    pub(crate) fn id_of_name(&self, name: &str) -> ObjectId {
        self.ids.of_name(name)
    }

    /// The object of that name, which must be a valid one.
    pub(crate) fn named_object(&self, name: &str) -> Result<(ObjectId, ObjectName), CallError> {
        let name =
            ObjectName::new(name).map_err(|error| CallError::new(Kind::InvalidName, "object", error.to_string()))?;
        Ok((self.id_of_name(name.as_str()), name))
    }

    /// The id written in `hex`, if it is one of this namespace.
    pub(crate) fn id_of_hex(&self, hex: &str) -> Result<ObjectId, CallError> {
        let id = hex
            .parse()
            .map_err(|error| CallError::invalid(format!("an object id: {error}")))?;
        if !self.owns(id) {
            let message = format!("{id} is no object id of namespace {:?}", self.name);
            return Err(CallError::invalid(message));
        }
        Ok(id)
    }

    /// An id that no name leads to.
    pub(crate) fn unique_id(&self) -> std::io::Result<ObjectId> {
        let mut base = [0; HALF];
        crate::sys::random::fill(&mut base)?;
        Ok(self.ids.id_from(base))
    }

    /// True for ids made by this namespace.
    pub(crate) fn owns(&self, id: ObjectId) -> bool {
        self.ids.made(id)
    }

    /// What roots of this namespace run.
    pub(crate) fn root_startup(&self) -> Arc<Startup> {
        Arc::new(Startup::of(self.class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(key: &str) -> Namespace {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Namespace::new(
            "n",
            key,
            ClassDigest([0; 32]),
            (Limits::default(), SharedLimits::NONE),
            Arc::new(Room::of_this_process(None)),
            Budget::new("it", u64::MAX, None),
            1,
            Vec::new(),
            Path::new("").into(),
            Alarms::open(dir.path(), &Arc::default()).expect("an index in an empty directory"),
        )
    }

    #[test]
    fn ids_are_those_of_workerd() {
        // Computed with Python's hashlib and hmac by the rule in workerd's sources: see docs/formats.md.
        let n = namespace("app");
        let id = n.id_of_name("demo");
        assert_eq!(
            id.to_string(),
            "5a11bc4e1a3da9115bf49178eb99775340bf45f547c3ef3e11f3c54bd4011224"
        );
        assert!(n.owns(id));
        assert!(!namespace("other").owns(id));
        assert_ne!(
            n.unique_id().expect("the system has randomness"),
            n.unique_id().expect("the system has randomness")
        );
    }
}
