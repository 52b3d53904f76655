//! A call that could never be taken is refused at once (S16): the facet that it is for takes no event before another of its
//! own is over, and that one waits, by whatever way, for this very call. Followed within one object; a wait for anything
//! else ends by itself, or at its limit.
//!
//! Only a new call can close such a ring, for it alone adds a wait; so looking when a call leaves is enough. One gap is
//! known: a gate that closes while a call lies delivered and not yet taken. The gate's own limit ends that.

use crate::object::NodeId;

/// One delivery to a facet, numbered within its incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct EventId(pub(crate) u64);

/// A call that has not been answered, as its caller has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wait {
    /// The event that calls; none for code that runs outside of any.
    pub(crate) event: Option<EventId>,
    pub(crate) to: NodeId,
    /// What the call is in the callee, once it has been taken.
    pub(crate) taken: Option<EventId>,
}

/// What has to be over before a facet takes another event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Hold {
    /// Nothing.
    #[default]
    Free,
    /// A blocking import: this call, or something that ends by itself.
    Import(Option<Wait>),
    /// This event: it holds the gate, or events do not interleave.
    Event(Option<EventId>),
    /// Any event of them all.
    Full,
}

/// One facet that runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) hold: Hold,
    /// The events in flight; looked at only if it is full.
    pub(crate) events: Vec<EventId>,
    /// The calls that it waits for.
    pub(crate) waits: Vec<Wait>,
}

/// What somebody waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    /// That the facet takes another event.
    Take(NodeId),
    /// That this event of the facet is over.
    Finish(NodeId, Option<EventId>),
}

impl Wait {
    fn goal(self) -> Goal {
        match self.taken {
            None => Goal::Take(self.to),
            Some(event) => Goal::Finish(self.to, Some(event)),
        }
    }
}

/// The call to `callee`, which is among its caller's waits already, would never be taken. `look` answers what a facet waits
/// for; none if it does not run.
pub(crate) fn is_never_taken(callee: NodeId, look: impl Fn(NodeId) -> Option<Waiting>) -> bool {
    Search {
        look,
        path: Vec::new(),
        steps: 0,
    }
    .is_stuck(Goal::Take(callee))
}

/// Steps after which a search gives up and lets the call pass: its limit ends the wait then. A ring of a thousand facets is
/// found.
const STEPS_MAX: usize = 4_096;
/// Goals on one way: the search is recursive.
const PATH_MAX: usize = 2_048;

struct Search<L> {
    look: L,
    path: Vec<Goal>,
    steps: usize,
}

impl<L: Fn(NodeId) -> Option<Waiting>> Search<L> {
    fn is_stuck(&mut self, goal: Goal) -> bool {
        if self.path.contains(&goal) {
            return true;
        }
        self.steps += 1;
        if self.steps > STEPS_MAX || self.path.len() >= PATH_MAX {
            return false;
        }
        self.path.push(goal);
        let stuck = match goal {
            Goal::Take(facet) => self.takes_none(facet),
            Goal::Finish(facet, event) => self.goes_not_on(facet, event),
        };
        self.path.pop();
        stuck
    }

    fn takes_none(&mut self, facet: NodeId) -> bool {
        let Some(Waiting { hold, events, .. }) = (self.look)(facet) else {
            return false;
        };
        match hold {
            Hold::Free | Hold::Import(None) => false,
            Hold::Import(Some(wait)) => self.is_stuck(wait.goal()),
            Hold::Event(event) => self.is_stuck(Goal::Finish(facet, event)),
            Hold::Full => events
                .iter()
                .all(|event| self.is_stuck(Goal::Finish(facet, Some(*event)))),
        }
    }

    fn goes_not_on(&mut self, facet: NodeId, event: Option<EventId>) -> bool {
        let Some(Waiting { hold, waits, .. }) = (self.look)(facet) else {
            return false;
        };
        // An event may wait for several calls: for all of them, as far as anybody can know here.
        let own = waits.iter().filter(|wait| wait.event == event);
        if own.into_iter().any(|wait| self.is_stuck(wait.goal())) {
            return true;
        }
        // While one holds the facet, the waits of the others do not end.
        match hold {
            Hold::Import(Some(wait)) if wait.event != event => self.is_stuck(wait.goal()),
            Hold::Event(holder) if holder != event => self.is_stuck(Goal::Finish(facet, holder)),
            Hold::Free | Hold::Import(_) | Hold::Event(_) | Hold::Full => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const fn node(place: u32) -> NodeId {
        let turn = std::num::NonZeroU32::MIN;
        NodeId { place, turn }
    }

    const A: NodeId = node(1);
    const B: NodeId = node(2);
    const C: NodeId = node(3);

    fn wait(event: u64, to: NodeId, taken: Option<u64>) -> Wait {
        Wait {
            event: Some(EventId(event)),
            to,
            taken: taken.map(EventId),
        }
    }

    fn by(event: u64) -> Hold {
        Hold::Event(Some(EventId(event)))
    }

    fn is_refused(callee: NodeId, facets: &[(NodeId, Hold, &[Wait])]) -> bool {
        let facets: HashMap<_, _> = facets
            .iter()
            .map(|(node, hold, waits)| {
                let mut events: Vec<_> = waits.iter().filter_map(|wait| wait.event).collect();
                events.dedup();
                let waiting = Waiting {
                    hold: *hold,
                    events,
                    waits: waits.to_vec(),
                };
                (*node, waiting)
            })
            .collect();
        is_never_taken(callee, |node| facets.get(&node).cloned())
    }

    #[test]
    fn two_that_are_held_and_call_each_other() {
        let facets = [(A, by(1), &[wait(1, B, None)][..]), (B, by(1), &[wait(1, A, None)])];
        assert!(is_refused(B, &facets) && is_refused(A, &facets));
        // One that can take another event is enough.
        let facets = [
            (A, Hold::Free, &[wait(1, B, None)][..]),
            (B, by(1), &[wait(1, A, None)]),
        ];
        assert!(!is_refused(A, &facets) && !is_refused(B, &facets));
    }

    #[test]
    fn a_ring_of_three_and_one_that_is_not_closed() {
        let ring = [
            (A, by(1), &[wait(1, B, None)][..]),
            (B, Hold::Import(Some(wait(1, C, None))), &[wait(1, C, None)]),
            (C, by(1), &[wait(1, A, None)]),
        ];
        assert!(is_refused(A, &ring));
        let open = [ring[0], ring[1], (C, by(1), &[][..])];
        assert!(!is_refused(B, &open));
    }

    #[test]
    fn a_way_through_an_event_of_a_facet_that_is_free() {
        // A waits for B's event 7, which calls C, which waits for A.
        let facets = [
            (A, by(1), &[wait(1, B, Some(7))][..]),
            (B, Hold::Free, &[wait(7, C, None)]),
            (C, by(1), &[wait(1, A, None)]),
        ];
        assert!(is_refused(C, &facets));
        // Another event of B's waits for nothing.
        let facets = [(A, by(1), &[wait(1, B, Some(8))][..]), facets[1], facets[2]];
        assert!(!is_refused(C, &facets));
    }

    #[test]
    fn the_holder_of_a_gate_is_who_counts() {
        // Event 2 holds A's gate and waits for nothing; event 1 waits for B.
        let facets = [(A, by(2), &[wait(1, B, None)][..]), (B, by(1), &[wait(1, A, None)])];
        assert!(!is_refused(A, &facets));
        // Event 1 of A is kept by the gate of event 2, which waits for B, and B for event 1.
        let facets = [(A, by(2), &[wait(2, B, None)][..]), (B, by(1), &[wait(1, A, Some(1))])];
        assert!(is_refused(B, &facets));
    }

    #[test]
    fn a_full_facet_needs_one_event_to_end() {
        let all = [wait(1, B, Some(1)), wait(2, B, Some(2))];
        let facets = [(A, Hold::Full, &all[..]), (B, Hold::Free, &[wait(1, A, None)])];
        assert!(!is_refused(A, &facets), "B's event 2 will end");
        let back = [wait(1, A, None), wait(2, A, None)];
        assert!(is_refused(A, &[(A, Hold::Full, &all[..]), (B, Hold::Free, &back)]));
    }

    #[test]
    fn who_does_not_run_or_waits_for_something_else_is_no_obstacle() {
        assert!(!is_refused(B, &[(A, by(1), &[wait(1, B, None)])]));
        let facets = [
            (A, by(1), &[wait(1, B, None)][..]),
            (B, Hold::Import(None), &[wait(1, A, None)]),
        ];
        assert!(!is_refused(B, &facets));
    }
}
