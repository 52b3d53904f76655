//! Which calls a facet waits for, and what it waits with: kept beside its store, so that others can ask while it runs. A
//! wait is over when it is answered or when nobody waits any more, whichever comes first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::object::{EventId, Hold, NodeId, Wait, Waiting};

/// One wait of one facet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WaitId(u64);

/// What has to be over before the facet takes another event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Held {
    #[default]
    Free,
    /// In a blocking import: for this call, or for something else.
    Import(Option<WaitId>),
    Event(Option<EventId>),
    /// As many events are in flight as may be.
    Full,
}

#[derive(Debug, Default)]
struct Table {
    held: Held,
    events: Vec<EventId>,
    waits: BTreeMap<WaitId, Wait>,
    next: u64,
}

/// The waits of one incarnation.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Table>);

/// Kept by both ends of a call; the wait is over when either drops it.
#[derive(Clone, Debug)]
pub(crate) struct Waited {
    of: Arc<Waits>,
    id: WaitId,
}

impl Waits {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// The facet calls another one of its tree.
    pub(crate) fn begin(self: &Arc<Self>, event: Option<EventId>, to: NodeId) -> Waited {
        let mut table = self.table();
        table.next += 1;
        let id = WaitId(table.next);
        let wait = Wait { event, to, taken: None };
        table.waits.insert(id, wait);
        Waited { of: self.clone(), id }
    }

    /// `events`: those in flight, if it is full.
    pub(crate) fn hold(&self, held: Held, events: Vec<EventId>) {
        let mut table = self.table();
        table.held = held;
        table.events = events;
    }

    pub(crate) fn is_held(&self) -> bool {
        self.table().held != Held::Free
    }

    /// What others have to know to follow the waits.
    pub(crate) fn look(&self) -> Waiting {
        let table = self.table();
        let hold = match table.held {
            Held::Free => Hold::Free,
            Held::Import(id) => Hold::Import(id.and_then(|id| table.waits.get(&id).copied())),
            Held::Event(event) => Hold::Event(event),
            Held::Full => Hold::Full,
        };
        Waiting {
            hold,
            events: table.events.clone(),
            waits: table.waits.values().copied().collect(),
        }
    }
}

impl Waited {
    pub(crate) fn id(&self) -> WaitId {
        self.id
    }

    /// The callee has taken the call, as this event.
    pub(crate) fn taken(&self, event: EventId) {
        if let Some(wait) = self.of.table().waits.get_mut(&self.id) {
            wait.taken = Some(event);
        }
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        self.of.table().waits.remove(&self.id);
    }
}
