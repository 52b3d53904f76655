//! The end of a turn: one unit for the journal, then everything that the turn sent, in order. The facet's own COMMIT is
//! done; here it becomes part of the durable order.

use std::sync::Arc;

use crate::ids::FileId;
use crate::live::object::Changes;
use crate::live::{Control, Effect, Forwarder, Object};
use crate::object::{TreeChange, TurnChanges};
use crate::storage::{Committed, Lsn};

/// What a turn has done.
pub(crate) struct TurnEnd {
    /// The facet's file, and its commit if it wrote.
    pub(crate) file: FileId,
    pub(crate) committed: Option<Committed>,
    pub(crate) changes: TurnChanges,
    /// Databases that were copied for it.
    pub(crate) adopted: Vec<FileId>,
    pub(crate) effects: Vec<Effect>,
    /// What the facet's state depended on before this turn.
    pub(crate) dep: Lsn,
    /// Nobody waits for what it wrote.
    pub(crate) unconfirmed: bool,
}

/// A turn that is in the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    /// What the facet's state depends on now.
    pub(crate) dep: Lsn,
    /// The unit of the turn, if it made one; else as `dep`.
    pub(crate) recorded: Lsn,
}

/// A turn whose effects were not released: an abort came between its seal and that.
#[derive(Debug)]
pub(crate) struct Killed {
    pub(crate) recorded: Lsn,
    /// Who waits for an answer among them is still to be told.
    pub(crate) effects: Vec<Effect>,
}

impl Object {
    /// Records what the turn committed and releases what it sent. Answers the facet's new dep, and the unit. `Killed`: an abort came
    /// between the turn's seal and its release; its writes stay, nothing of it leaves.
    pub(crate) fn end_turn(
        self: &Arc<Self>,
        control: &Control,
        forwarder: &mut Option<Forwarder>,
        turn: TurnEnd,
    ) -> Result<Sealed, Killed> {
        let mut inner = self.lock();
        let (mut dep, mut recorded) = (turn.dep, turn.dep);
        let reshaped = !turn.changes.is_empty();
        let counts = turn.committed.as_ref().map(Committed::created);
        if turn.committed.is_some() || !turn.changes.is_empty() {
            let mut record = match &turn.committed {
                Some(_) => inner.tree.now_stored(control.node, turn.file),
                None => Vec::new(),
            };
            let (more, mut files) = inner.tree.settle(turn.changes);
            if record.is_empty()
                && turn.committed.as_ref().is_some_and(Committed::created)
                && !inner.tree.owns(turn.file)
            {
                // Deleted between its seal and here: nothing will ever name this file.
                files.push(turn.file);
            }
            record.extend(more);
            // A root exists with its object: that it has a database from now on changes nothing for anybody.
            let reshapes = |change: &TreeChange| *change != TreeChange::Store { file: FileId::ROOT };
            let waits = !turn.unconfirmed || record.iter().any(reshapes) || !files.is_empty();
            // What is not stored can be restarted and deleted without a word.
            if turn.committed.is_some() || !record.is_empty() || !files.is_empty() || !turn.adopted.is_empty() {
                recorded = self.record(
                    &mut inner,
                    Changes {
                        members: turn.committed.into_iter().collect(),
                        adopted: turn.adopted,
                        tree: record,
                        removed: files,
                    },
                );
                if waits {
                    dep = recorded;
                }
            }
        }
        if let Some(is_new) = counts {
            inner.count(self, control, turn.file, is_new);
        }
        if reshaped {
            inner.recount(self);
        }
        if !control.end_seal() {
            return Err(Killed {
                recorded,
                effects: turn.effects,
            });
        }
        for effect in turn.effects {
            inner.release(self, forwarder, effect, dep);
        }
        Ok(Sealed { dep, recorded })
    }
}
