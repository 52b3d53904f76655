//! What a facet runs. Startups are equal if their parts are, byte for byte, before defaults and inheritance (S4).

use crate::ids::{ClassDigest, ObjectId};

/// How to read the body of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Opaque bytes.
    Bytes,
    /// UTF-8 JSON text.
    Json,
    /// CBOR.
    Cbor,
}

/// A value on its way between facets; the host does not look inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// How to read `body`.
    pub format: Format,
    /// The value itself.
    pub body: Vec<u8>,
}

impl Payload {
    /// No bytes at all.
    pub fn empty() -> Self {
        Self {
            format: Format::Bytes,
            body: Vec::new(),
        }
    }
}

/// The id a facet sees as its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FacetId {
    /// An object's.
    Object(ObjectId),
    /// Text chosen by the parent.
    Text(String),
}

/// What becomes of the parent when the facet breaks (S9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FailurePolicy {
    /// Nothing.
    #[default]
    Isolate,
    /// It breaks, too.
    Escalate,
}

/// Limits as a startup sets them; unset ones are inherited.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartupLimits {
    /// Memories and tables together, MiB.
    pub memory_mib: Option<u64>,
    /// CPU time for each event, ms.
    pub cpu_ms: Option<u64>,
    /// Wall time for each event, ms.
    pub wall_ms: Option<u64>,
    /// The facet's database, MiB.
    pub storage_mib: Option<u64>,
    /// Memories and tables of the facet and all below it that run, MiB.
    pub tree_memory_mib: Option<u64>,
    /// Databases of the facet and all below it, MiB.
    pub tree_storage_mib: Option<u64>,
}

/// An ability that a facet has only because its parent gave it (S24).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// What for.
    pub name: String,
    /// How far it goes.
    pub argument: Payload,
}

/// What a facet runs, as its parent said it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Startup {
    /// The component.
    pub class: ClassDigest,
    /// Handed to the facet as `context.props`.
    pub props: Payload,
    /// Unset: the parent's.
    pub id: Option<FacetId>,
    /// Unset ones: the parent's.
    pub limits: StartupLimits,
    /// What the parent shares of this facet's breaking.
    pub on_failure: FailurePolicy,
    /// What it may do beyond what every facet may.
    pub grants: Vec<Grant>,
    /// What it may not do although every facet may.
    pub withheld: Vec<String>,
}

/// What an entry of the index takes without its texts, bytes: `facets.capnp`, with all pointers.
const ENTRY_BYTES: usize = 192;
/// What one text of it takes beside its own bytes.
const TEXT_BYTES: usize = 32;

impl Startup {
    /// A class, and whatever else its parent has.
    pub(crate) fn of(class: ClassDigest) -> Self {
        Self {
            class,
            props: Payload::empty(),
            id: None,
            limits: StartupLimits::default(),
            on_failure: FailurePolicy::Isolate,
            grants: Vec::new(),
            withheld: Vec::new(),
        }
    }

    /// Bytes of an index record that gives a facet this startup, or some more; its name counts extra.
    pub(crate) fn recorded_bytes(&self) -> usize {
        let id = match &self.id {
            Some(FacetId::Text(text)) => text.len(),
            Some(FacetId::Object(_)) | None => 0,
        };
        let grants = self
            .grants
            .iter()
            .map(|grant| grant.name.len() + grant.argument.body.len());
        let texts = grants.chain(self.withheld.iter().map(String::len));
        ENTRY_BYTES + self.props.body.len() + id + texts.map(|bytes| 2 * TEXT_BYTES + bytes).sum::<usize>()
    }
}
