//! One task owns one store, and the store one instance. Ending guest work means dropping the store; a store that trapped,
//! was killed, or whose future was dropped is never used again.

mod alarm;
mod calls;
mod cpu;
mod deadline;
mod dropped;
mod egress;
mod engine;
mod event;
mod executor;
mod exports;
mod life;
mod limiter;
mod meter;
mod pump;
mod room;
mod state;
mod statement;
mod turn;
mod watchdog;

#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub use calls::PendingCall;
pub(crate) use calls::{Outgoing, check_payload};
pub(crate) use deadline::{time_is_up, until};
pub(crate) use engine::{EPOCH_TICK_MS, new_engine, uninterruptible_engine};
use event::{Event, Pending};
pub(crate) use executor::{Lane, lingers};
use exports::Exports;
pub(crate) use exports::HandlerExports;
pub(crate) use life::spawn;
pub(crate) use meter::CpuTime;
pub(crate) use room::Room;
pub(crate) use state::{FacetState, GuestEnd, current_event};
pub(crate) use watchdog::Watchdog;
