//! A stub is the only way to reach a facet. One of a facet is bound to an epoch and to its tree; one of an object is an
//! address.

use std::sync::Arc;

use crate::ids::{ObjectId, ObjectName};
use crate::live::Object;
use crate::namespace::Namespace;
use crate::object::{Epoch, NodeId};

/// A capability to call.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub enum Stub {
    Facet(Target),
    Object {
        namespace: Arc<Namespace>,
        id: ObjectId,
        /// By which it was asked for, if by one.
        name: Option<ObjectName>,
    },
}

/// One facet in one epoch.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) object: Arc<Object>,
    pub(crate) node: NodeId,
    pub(crate) epoch: Arc<Epoch>,
    /// Chosen by the facet that made the stub; carried by every call through it (S15).
    pub(crate) badge: Arc<str>,
}

impl std::fmt::Debug for Stub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Facet(target) => write!(f, "Stub({} {:?})", target.object.id, target.node),
            Self::Object { namespace, id, .. } => write!(f, "Stub({}/{id})", namespace.name),
        }
    }
}
