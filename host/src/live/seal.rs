//! The end of a turn: one unit for the journal, then everything that the turn sent, in order. The facet's own COMMIT is
//! done; here it becomes part of the durable order.

use std::sync::Arc;

use crate::ids::FileId;
use crate::live::object::Changes;
use crate::live::{Control, Effect, Forwarder, Object};
use crate::object::{TreeChange, TurnChanges};
use crate::storage::{Committed, Copied, Lsn, Reservation};

/// What a turn has done.
pub(crate) struct TurnEnd {
    /// The facet's file, and its commit if it wrote.
    pub(crate) file: FileId,
    pub(crate) committed: Option<Committed>,
    pub(crate) changes: TurnChanges,
    /// Room in the journal for what they record.
    pub(crate) room: Option<Reservation>,
    /// Databases that were copied for it.
    pub(crate) copied: Vec<Copied>,
    pub(crate) effects: Vec<Effect>,
    /// What the facet's state depended on before this turn.
    pub(crate) dep: Lsn,
    /// Nobody waits for what it wrote.
    pub(crate) unconfirmed: bool,
}

/// What has become of a turn's commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is in this unit; in none if the turn has made none, and then this is what the facet depended on before.
    Recorded(Lsn),
    /// The facet was deleted between its seal and its record: the commit is in no unit, and goes with its file.
    Forgotten,
}

/// A turn that is in the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    /// What the facet's state depends on now.
    pub(crate) dep: Lsn,
    pub(crate) fate: Fate,
}

/// A turn whose effects were not released: an abort came between its seal and that.
#[derive(Debug)]
pub(crate) struct Killed {
    /// What the facet's state depends on now.
    pub(crate) dep: Lsn,
    pub(crate) fate: Fate,
    /// Who waits for an answer among them is still to be told.
    pub(crate) effects: Vec<Effect>,
}

impl Object {
    /// Records what the turn committed and releases what it sent. Answers the facet's new dep, and the unit. `Killed`: an abort came
    /// between the turn's seal and its release; its writes stay, nothing of it leaves. If the facet was deleted in between, its
    /// commit is in no unit: one that follows the removal of its file would hold the journal's segments for ever.
    pub(crate) fn end_turn(
        self: &Arc<Self>,
        control: &Control,
        forwarder: &mut Option<Forwarder>,
        turn: TurnEnd,
    ) -> Result<Sealed, Killed> {
        let mut inner = self.lock();
        let (mut dep, mut fate) = (turn.dep, Fate::Recorded(turn.dep));
        let reshaped = !turn.changes.is_empty();
        let mut committed = turn.committed;
        let mut counts = None;
        if committed.is_some() || !turn.changes.is_empty() {
            let mut record = match &committed {
                Some(_) => inner.tree.now_stored(control.node, turn.file),
                None => Vec::new(),
            };
            let (more, mut files) = inner.tree.settle(turn.changes);
            record.extend(more);
            // A database that the tree does not know yet is named by the record that `now_stored` has just made.
            if let Some(gone) = committed.take_if(|_| !inner.tree.owns(turn.file)) {
                fate = Fate::Forgotten;
                // Nothing has named its file yet, and nothing ever will.
                files.extend(gone.created().then_some(turn.file));
            }
            // A root exists with its object: that it has a database from now on changes nothing for anybody.
            let reshapes = |change: &TreeChange| *change != TreeChange::Store { file: FileId::ROOT };
            let waits = !turn.unconfirmed || record.iter().any(reshapes) || !files.is_empty();
            // What is not stored can be restarted and deleted without a word.
            counts = committed.as_ref().map(Committed::created);
            if committed.is_some() || !record.is_empty() || !files.is_empty() || !turn.copied.is_empty() {
                let recorded = self.record(
                    &mut inner,
                    Changes {
                        members: committed.into_iter().collect(),
                        copied: turn.copied,
                        tree: record,
                        removed: files,
                        room: turn.room.into_iter().collect(),
                        ..Changes::default()
                    },
                );
                if fate != Fate::Forgotten {
                    fate = Fate::Recorded(recorded);
                }
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
                dep: match fate {
                    // Its writes stay: they are waited for before the database is closed.
                    Fate::Recorded(recorded) => recorded,
                    Fate::Forgotten => dep,
                },
                fate,
                effects: turn.effects,
            });
        }
        for effect in turn.effects {
            inner.release(self, forwarder, effect, dep);
        }
        Ok(Sealed { dep, fate })
    }
}
