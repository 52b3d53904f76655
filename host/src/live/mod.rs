//! Live objects: what `object` decides is carried out here, under the object's lock. The lock is never held across an
//! await, and only one object's lock is held at a time.

mod clone;
mod closing;
mod control;
mod effects;
mod egress;
mod gate;
mod index_file;
mod inspect;
mod load;
mod mail;
mod object;
mod pause;
mod report;
mod seal;
mod shared;
mod stub;
mod visit;
mod waits;

pub(crate) use clone::{HeldSources, Made};
pub(crate) use closing::closing;
pub(crate) use control::{Control, Ending};
pub(crate) use effects::{Call, Effect, Forwarder};
pub(crate) use egress::{Fetch, Outbound};
pub(crate) use gate::Gate;
pub(crate) use mail::{
    AlarmEnd, Answer, Chain, ChainLink, Delivered, HttpBody, HttpRequest, HttpResponse, Mail, Piece, ReplyTo, Work,
};
pub(crate) use object::{Launched, Object, refuse};
pub use report::{Report, Usage};
pub(crate) use seal::{Fate, Killed, Sealed, TurnEnd};
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub use stub::Stub;
pub(crate) use stub::Target;
pub(crate) use visit::join;
pub(crate) use waits::{Held, WaitId, Waited, Waits};
