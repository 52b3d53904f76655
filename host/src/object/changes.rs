//! Changes of the tree are part of the turn that made them: visible to it at once, durable with its record, undone if the
//! turn is lost - though what it aborted stays aborted (S10a).

use std::sync::Arc;

use crate::ids::{FacetName, FileId};
use crate::object::NodeId;
use crate::startup::Startup;

/// One line of the durable tree, as the index records it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum TreeChange {
    /// A facet has something stored from now on.
    Create {
        file: FileId,
        parent: FileId,
        name: FacetName,
        startup: Arc<Startup>,
    },
    /// The facet of that file runs something else from now on.
    Restart { file: FileId, startup: Arc<Startup> },
    /// The facet of that file is gone, with its database.
    Delete { file: FileId },
}

/// A stored facet taken out of the tree, with what is stored below it.
#[derive(Clone, Debug)]
pub(crate) struct StoredFacet {
    pub(crate) name: FacetName,
    pub(crate) file: FileId,
    pub(crate) has_database: bool,
    pub(crate) startup: Arc<Startup>,
    pub(crate) children: Vec<StoredFacet>,
}

impl StoredFacet {
    /// Calls `visit` for this facet and all below it, parents first.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a StoredFacet)) {
        visit(self);
        for child in &self.children {
            child.walk(visit);
        }
    }
}

/// One change that the running turn has made and that its record will hold.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    /// Taken out of the tree below `parent`.
    Deleted { parent: NodeId, facet: StoredFacet },
    /// A stored facet was given another startup.
    Restarted { node: NodeId, before: Arc<Startup> },
    /// A copy was put into the tree below `parent`.
    Cloned { parent: NodeId, copy: StoredFacet },
}

/// What one turn did to the tree so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnChanges {
    pub(super) pending: Vec<Pending>,
}

impl StoredFacet {
    /// Takes away the databases of these files; false if nothing is left.
    fn unmake(&mut self, files: &[FileId]) -> bool {
        self.children.retain_mut(|child| child.unmake(files));
        self.has_database &= !files.contains(&self.file);
        self.has_database || !self.children.is_empty()
    }
}

impl TurnChanges {
    /// These copies were not made: there was nothing in their sources.
    pub(super) fn unmake(&mut self, files: &[FileId]) {
        self.pending.retain_mut(|pending| match pending {
            Pending::Cloned { copy, .. } => copy.unmake(files),
            Pending::Deleted { .. } | Pending::Restarted { .. } => true,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}
