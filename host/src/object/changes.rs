//! Changes of the tree are part of the turn that made them: visible to it at once, durable with its record, undone if the
//! turn is lost - though what it aborted stays aborted (S10a).

use std::sync::Arc;

use crate::ids::{FacetName, FileId};
use crate::limits::TREE_CHANGES_BYTES_MAX;
use crate::object::NodeId;
use crate::object::tree::TreeError;
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
        /// If not, its entry is there for what is below it.
        has_database: bool,
    },
    /// The facet of that file, which had an entry only, has a database; or the root, which has none.
    Store { file: FileId },
    /// The facet of that file has lost its database, and keeps its entry; or the root has lost its.
    Empty { file: FileId },
    /// The facet of that file runs something else from now on.
    Restart { file: FileId, startup: Arc<Startup> },
    /// The facet of that file is gone, with its database.
    Delete { file: FileId },
}

impl TreeChange {
    /// Length of the props that it carries, of whatever length they are.
    pub(crate) fn props_bytes(&self) -> Option<usize> {
        match self {
            Self::Create { startup, .. } | Self::Restart { startup, .. } => Some(startup.props.body.len()),
            Self::Store { .. } | Self::Empty { .. } | Self::Delete { .. } => None,
        }
    }
}

/// A facet as it lies on disk.
#[derive(Clone, Debug)]
pub(crate) struct StoredFacet {
    pub(crate) file: FileId,
    /// Its parent's file; [`FileId::ROOT`] for a child of the root.
    pub(crate) parent: FileId,
    pub(crate) name: FacetName,
    pub(crate) startup: Arc<Startup>,
    pub(crate) has_database: bool,
}

/// One change that the running turn has made and that its record will hold.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    /// Taken out of the tree below `parent`.
    Deleted { parent: NodeId, top: NodeId },
    /// A facet was given another startup.
    Restarted { node: NodeId, before: Arc<Startup> },
    /// A copy of `source` was put into the tree below `parent`. `bytes` is what its record takes. `files`: the databases that
    /// are made for it; none before it is decided what is copied.
    Cloned {
        parent: NodeId,
        top: NodeId,
        source: NodeId,
        bytes: usize,
        files: Option<Vec<FileId>>,
    },
}

/// What one turn did to the tree so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnChanges {
    pub(super) pending: Vec<Pending>,
    /// What they take in a record, deletes not counted.
    recorded_bytes: usize,
}

impl TurnChanges {
    /// What its record takes, deletes not counted: they are small, and a full journal must take them.
    pub(crate) fn recorded_bytes(&self) -> usize {
        self.recorded_bytes
    }

    /// The record takes `bytes` where it took `before`; an error if that is too much.
    pub(super) fn grow(&mut self, before: usize, bytes: usize) -> Result<(), TreeError> {
        let grown = self.recorded_bytes - before + bytes;
        if grown > TREE_CHANGES_BYTES_MAX && bytes > before {
            return Err(TreeError::RecordTooLong);
        }
        self.recorded_bytes = grown;
        Ok(())
    }

    /// These copies were not made: there was nothing in their sources.
    pub(super) fn unmake(&mut self, unmade: &[FileId]) {
        for pending in &mut self.pending {
            match pending {
                Pending::Cloned { files, .. } => files.iter_mut().for_each(|f| f.retain(|file| !unmade.contains(file))),
                Pending::Deleted { .. } | Pending::Restarted { .. } => {}
            }
        }
    }

    /// The tops of what it has copied.
    pub(super) fn copies(&self) -> impl Iterator<Item = NodeId> {
        self.pending.iter().filter_map(|pending| match pending {
            Pending::Cloned { top, .. } => Some(*top),
            Pending::Deleted { .. } | Pending::Restarted { .. } => None,
        })
    }

    /// Sources and tops of its clones of which it is not decided yet what they copy, in order.
    pub(super) fn undecided(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.pending.iter().filter_map(|pending| match pending {
            Pending::Cloned {
                source,
                top,
                files: None,
                ..
            } => Some((*source, *top)),
            Pending::Cloned { files: Some(_), .. } | Pending::Deleted { .. } | Pending::Restarted { .. } => None,
        })
    }

    /// It has cloned something, and it is not decided yet what is copied.
    pub(crate) fn has_undecided(&self) -> bool {
        self.undecided().next().is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}
