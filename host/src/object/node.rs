//! One place in the tree. A facet has at most one live incarnation, and only its slot makes one.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use crate::ids::{FacetName, FileId};
use crate::object::Epoch;
use crate::startup::Startup;

/// A place in one tree; never used for another facet, so that a stub of a deleted one cannot reach it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct NodeId {
    pub(super) place: u32,
    /// How often something else was there before.
    pub(super) turn: NonZeroU32,
}

/// One run of one facet, from start to eviction, abort or break. Unique within the object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct IncarnationId(pub(super) NonZeroU64);

/// Does the facet run?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// No isolate; the next event makes one.
    Cold,
    /// This incarnation takes the events, be it still starting.
    Live(IncarnationId),
}

/// What of the facet is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Storage {
    /// Nothing.
    None,
    /// No database, yet an entry in the index, for the sake of stored descendants.
    Entry(FileId),
    /// A database and, but for the root, an entry.
    Database(FileId),
}

impl Storage {
    /// The id of the index entry.
    pub(super) fn entry(self) -> Option<FileId> {
        match self {
            Self::None => None,
            Self::Entry(file) | Self::Database(file) => Some(file),
        }
    }
}

/// One facet of the tree, running, stored, or only spoken of.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Option<NodeId>,
    pub(super) name: Option<FacetName>,
    pub(super) children: BTreeMap<FacetName, NodeId>,
    pub(super) startup: Arc<Startup>,
    /// Made when somebody first asks for it: most of what is stored is never touched.
    pub(super) epoch: OnceCell<Arc<Epoch>>,
    pub(super) slot: Slot,
    /// Changed by `Tree::set_storage` only.
    pub(super) storage: Storage,
    /// Children of which something is stored; not those that a turn has deleted which is not over.
    pub(super) stored_children: usize,
    /// The file the running incarnation would write, fixed when it was started.
    pub(super) file_reserved: Option<FileId>,
}

impl Node {
    /// A facet that does not run, of which nothing is stored.
    pub(super) fn new(parent: Option<NodeId>, name: Option<FacetName>, startup: Arc<Startup>) -> Self {
        Self {
            parent,
            name,
            children: BTreeMap::new(),
            startup,
            epoch: OnceCell::new(),
            slot: Slot::Cold,
            storage: Storage::None,
            stored_children: 0,
            file_reserved: None,
        }
    }

    /// The current epoch.
    pub(super) fn epoch(&self) -> &Arc<Epoch> {
        self.epoch.get_or_init(Epoch::new)
    }

    /// Running, or stored, be it for a descendant's sake (S5).
    pub(super) fn exists(&self) -> bool {
        matches!(self.slot, Slot::Live(_)) || self.storage != Storage::None
    }
}

/// What `facets.info` and `facetd tree` tell.
#[derive(Clone, Debug)]
pub(crate) struct FacetInfo {
    /// Names from the root joined by `/`; empty for the root.
    pub(crate) path: String,
    pub(crate) startup: Arc<Startup>,
    pub(crate) incarnation: Option<IncarnationId>,
    /// The file of its database, if there is one.
    pub(crate) database: Option<FileId>,
}
