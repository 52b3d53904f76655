//! `facetd:runtime/objects`: addresses of other objects, for root facets of namespaces that are bound to them.

use std::sync::Arc;

use wasmtime::component::Resource;

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::objects::Host;
use crate::error::{CallError, Kind};
use crate::isolate::FacetState;
use crate::live::Stub;
use crate::namespace::Namespace;

impl FacetState {
    fn bound_namespace(&self, name: &str) -> Result<Arc<Namespace>, CallError> {
        let bound = self.identity.is_root && self.object.namespace.objects.iter().any(|bound| bound == name);
        if !bound {
            let message = format!("this facet is not bound to namespace {name:?}; see `objects` in facetd.toml");
            return Err(CallError::new(Kind::Denied, "objects", message));
        }
        self.host().namespace(name)
    }
}

impl Host for FacetState {
    fn by_name(&mut self, namespace: String, name: String) -> Answered<Resource<Stub>> {
        self.alive()?;
        let found = self.bound_namespace(&namespace).and_then(|namespace| {
            let (id, name) = namespace.named_object(&name)?;
            let name = Some(name);
            self.keep(Stub::Object { namespace, id, name })
        });
        answered(found)
    }

    fn by_id(&mut self, namespace: String, id: String) -> Answered<Resource<Stub>> {
        self.alive()?;
        let found = self.bound_namespace(&namespace).and_then(|namespace| {
            let (id, name) = (namespace.id_of_hex(&id)?, None);
            self.keep(Stub::Object { namespace, id, name })
        });
        answered(found)
    }

    fn unique_id(&mut self, namespace: String) -> Answered<String> {
        self.alive()?;
        answered(self.bound_namespace(&namespace).and_then(|namespace| {
            namespace
                .unique_id()
                .map(|id| id.to_string())
                .map_err(|error| CallError::new(Kind::Unavailable, "random", error.to_string()))
        }))
    }
}
