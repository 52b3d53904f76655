//! An alarm goes to its facet through the ordinary mailbox: the object is loaded if need be, the facet is found by its file
//! and started with its stored startup, nobody else is asked (S7).

use std::sync::{Arc, Weak};

use super::{AlarmKey, Deliver, Delivered};
use crate::error::{CallError, Kind};
use crate::host::HostInner;
use crate::live::{AlarmEnd, Chain, Mail, ReplyTo, Work};
use crate::namespace::Namespace;
use crate::object::Owner;
use crate::storage::Lsn;

/// Delivers to the objects of one namespace.
pub(crate) struct Objects {
    pub(crate) host: Weak<HostInner>,
    pub(crate) namespace: Arc<Namespace>,
}

impl Deliver for Objects {
    async fn deliver(&self, key: AlarmKey, waited_ms: Option<u64>) -> Delivered {
        // Kept until the answer is there, and the object with it.
        let Some(host) = self.host.upgrade() else {
            return Delivered::Not;
        };
        let object = match host.object(&self.namespace, key.object, None) {
            Ok(object) => object,
            Err(error) => return not(&error, key),
        };
        let node = match object.owner(key.file) {
            Owner::Facet(node) => node,
            // It may come back, and then its alarm must not have been forgotten.
            Owner::Leaving => return Delivered::Not,
            Owner::Nobody => return Delivered::NotDue(None),
        };
        let (reply, answered) = ReplyTo::new();
        let mail = Mail::Event {
            work: Work::Alarm { reply, waited_ms },
            chain: Chain::default(),
            deadline: None,
            dep: Lsn::ZERO,
        };
        if let Err((error, _)) = object.deliver(node, None, mail) {
            return not(&error, key);
        }
        match answered.await.map(|reply| reply.result) {
            Ok(Ok(AlarmEnd::Ran)) => Delivered::Ran,
            Ok(Ok(AlarmEnd::NotDue(due_ms))) => Delivered::NotDue(due_ms),
            Ok(Ok(AlarmEnd::NoHandler)) => Delivered::NoHandler,
            Ok(Err(error)) => not(&error, key),
            // The facet's task is gone without a word, which only a panic of the host does.
            Err(_dropped) => Delivered::Not,
        }
    }
}

fn not(error: &CallError, AlarmKey { object, file }: AlarmKey) -> Delivered {
    tracing::debug!(%object, %file, %error, "an alarm could not be delivered; it is tried again later");
    if error.kind == Kind::Unavailable && error.code == "facets" {
        Delivered::NoRoom
    } else {
        Delivered::Not
    }
}
