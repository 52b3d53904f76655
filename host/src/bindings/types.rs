//! `facetd:runtime/types`: stubs and classes as handles.

use wasmtime::component::Resource;

use crate::bindings::wit::facetd::runtime::types::{Host, HostClass, HostStub};
use crate::classes::ClassHandle;
use crate::isolate::FacetState;
use crate::live::Stub;

impl Host for FacetState {}

impl HostStub for FacetState {
    fn dup(&mut self, stub: Resource<Stub>) -> wasmtime::Result<Resource<Stub>> {
        self.alive()?;
        let copy = self.table.get(&stub)?.clone();
        // No result to refuse with: a facet that holds too many handles ends here.
        Ok(self.keep(copy)?)
    }

    fn is_object(&mut self, stub: Resource<Stub>) -> wasmtime::Result<bool> {
        self.alive()?;
        Ok(match self.table.get(&stub)? {
            Stub::Facet(_) => false,
            Stub::Object { .. } => true,
        })
    }

    fn drop(&mut self, stub: Resource<Stub>) -> wasmtime::Result<()> {
        let node = match self.table.delete(stub)? {
            Stub::Facet(target) => target.node,
            Stub::Object { .. } => return Ok(()),
        };
        self.object.decide(|tree, _| tree.stub_dropped(node));
        Ok(())
    }
}

impl HostClass for FacetState {
    fn digest(&mut self, class: Resource<ClassHandle>) -> wasmtime::Result<String> {
        self.alive()?;
        Ok(self.table.get(&class)?.0.to_string())
    }

    fn drop(&mut self, class: Resource<ClassHandle>) -> wasmtime::Result<()> {
        self.table.delete(class)?;
        Ok(())
    }
}
