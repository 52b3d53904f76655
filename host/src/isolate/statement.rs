//! A statement may use what is left of its event's CPU time; then it is stopped, and the guest is told (S18: the facet
//! lives). Epochs do not end guest code in SQLite, so the watchdog looks at the time.

use crate::isolate::{FacetState, GuestEnd, executor};
use crate::storage::FacetStore;
use crate::sys::clock;

/// CPU time that an event is given, once, to end with after its statement was stopped. No more than half of its limit.
const GRACE_MS: u64 = 50;

impl FacetState {
    /// Something that may take long in the facet's database. The event pays for it as for everything that its facet does on
    /// this thread. An error: the time was up, and SQLite has dropped the turn's transaction.
    pub(crate) fn query<R>(&mut self, work: impl FnOnce(&mut FacetStore) -> R) -> wasmtime::Result<R> {
        executor::let_others_go();
        let deadline_ms = clock::monotonic_ms().saturating_add(self.cpu_left_ms());
        self.control.interrupt().begin_statement(deadline_ms.max(1));
        let (result, lost) = {
            let mut storage = self.storage();
            (work(&mut storage), storage.is_lost())
        };
        if self.control.interrupt().end_statement() {
            if lost {
                return Err(GuestEnd::Cpu(self.identity.cpu_ms_max).into());
            }
            self.give_grace();
        }
        Ok(result)
    }

    /// As far as it has been charged.
    fn cpu_left_ms(&self) -> u64 {
        let used_ns = match self.payer().and_then(|event| self.events.get(&event)) {
            Some(event) => event.cpu_ns,
            None => self.stray_ns(),
        };
        self.identity.cpu_ms_max.saturating_sub(used_ns / 1_000_000)
    }

    fn give_grace(&mut self) {
        let payer = self.payer();
        self.charge(payer);
        let max_ms = self.identity.cpu_ms_max;
        let grace_ms = GRACE_MS.min(max_ms / 2);
        if let Some(event) = payer.and_then(|event| self.events.get_mut(&event))
            && !event.had_grace
        {
            event.had_grace = true;
            event.cpu_ns = event.cpu_ns.min((max_ms - grace_ms) * 1_000_000);
        }
    }
}
