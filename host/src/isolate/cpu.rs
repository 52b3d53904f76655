//! Which event pays for the CPU time of its facet (S25). Nobody looks while a single event is in flight; at each end of an
//! epoch, and whenever events enter or leave, what was used since the last time is charged to whoever used it.

use wasmtime::UpdateDeadline;

use crate::isolate::{FacetState, GuestEnd, executor};
use crate::object::EventId;

/// CPU time that has been charged.
#[derive(Default)]
pub(super) struct Charged {
    /// Of the facet's CPU time, what somebody has paid for.
    up_to_ns: u64,
    /// By code that runs for no event, since one ran.
    stray_ns: u64,
    /// Who was last seen to run; asked only where several events are in flight.
    ran: Option<EventId>,
}

impl FacetState {
    /// The guest runs for this event.
    pub(super) fn saw(&mut self, event: Option<EventId>) {
        self.charged.ran = event.or(self.charged.ran);
    }

    /// Charges what was used since the last time. Answers what the payer has used in all.
    pub(super) fn charge(&mut self, event: Option<EventId>) -> u64 {
        let now_ns = self.control.cpu.now_ns();
        // Less than before, if the processor was elsewhere when it was asked last.
        let used_ns = now_ns.saturating_sub(self.charged.up_to_ns);
        self.charged.up_to_ns = self.charged.up_to_ns.max(now_ns);
        let payer = match event.and_then(|event| self.events.get_mut(&event)) {
            Some(event) => &mut event.cpu_ns,
            None => &mut self.charged.stray_ns,
        };
        *payer += used_ns;
        *payer
    }

    /// Who pays for what runs now, as far as it is known without asking.
    pub(super) fn payer(&self) -> Option<EventId> {
        match self.events.len() {
            0 | 1 => self.sole_event(),
            _several => self.charged.ran,
        }
    }

    /// Charged to code that runs for no event.
    pub(super) fn stray_ns(&self) -> u64 {
        self.charged.stray_ns
    }

    /// What was used so far is not the guest's.
    pub(super) fn forgive(&mut self) {
        self.charge(None);
        self.charged.stray_ns = 0;
    }

    /// An epoch has ended while guest code ran, or while it waited: this is its first code since.
    pub(super) fn epoch_ended(&mut self, event: Option<EventId>) -> Result<UpdateDeadline, GuestEnd> {
        if self.control.is_dead() {
            return Err(GuestEnd::Killed);
        }
        let max_ms = self.identity.cpu_ms_max;
        if self.charge(event) / 1_000_000 > max_ms {
            return Err(GuestEnd::Cpu(max_ms));
        }
        Ok(if executor::has_time() {
            UpdateDeadline::Continue(1)
        } else {
            executor::to_lane();
            UpdateDeadline::Yield(1)
        })
    }

    /// Between two resumptions of the guest, after its answers have been seen.
    pub(super) fn charge_several(&mut self) {
        if self.events.len() > 1 {
            self.charge(self.charged.ran);
        }
    }

    /// Before an event enters, in whose stead others paid so far.
    pub(super) fn charge_before_entry(&mut self) {
        self.charge(self.payer());
        self.charged.stray_ns = 0;
    }

    /// Before an event leaves: it ran last, for it has answered.
    pub(super) fn charge_before_leaving(&mut self, event: EventId) {
        self.charge(Some(event));
        self.charged.ran = self.charged.ran.filter(|ran| *ran != event);
    }
}
