//! `facetd:runtime/classes`.

use wasmtime::component::Resource;

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::classes::{Host, HostUpload};
use crate::classes::{ClassHandle, Upload};
use crate::error::CallError;
use crate::ids::ClassDigest;
use crate::isolate::FacetState;

impl Host for FacetState {
    fn named(&mut self, name: String) -> Answered<Resource<ClassHandle>> {
        self.alive()?;
        let found = self.host().classes.named(&name);
        answered(match found {
            Some(digest) => self.keep(ClassHandle(digest)),
            None => Err(CallError::not_found(format!("facetd.toml names no class {name:?}"))),
        })
    }

    fn by_digest(&mut self, digest: String) -> Answered<Resource<ClassHandle>> {
        self.alive()?;
        let Ok(digest) = digest.parse::<ClassDigest>() else {
            return answered(Err(CallError::invalid("a class digest has 64 hexadecimal digits")));
        };
        if !self.host().classes.has(digest) {
            return answered(Err(CallError::not_found(format!("no class {digest} is stored here"))));
        }
        answered(self.keep(ClassHandle(digest)))
    }
}

impl HostUpload for FacetState {
    fn new(&mut self) -> wasmtime::Result<Resource<Upload>> {
        self.alive()?;
        Ok(self.keep(Upload::default())?)
    }

    fn write(&mut self, upload: Resource<Upload>, piece: Vec<u8>) -> Answered<()> {
        self.alive()?;
        answered(self.table.get_mut(&upload)?.write(&piece))
    }

    /// Checking a large component takes a while. The facet waits, inside its turn, and nobody else does.
    async fn finish(&mut self, upload: Resource<Upload>) -> Answered<Resource<ClassHandle>> {
        self.alive()?;
        let bytes = self.table.delete(upload)?.into_bytes();
        let host = self.host().clone();
        let namespace = self.object.namespace.clone();
        let stored = host
            .classes
            .take_in(&namespace.name, bytes, namespace.classes_bytes_max)
            .await;
        self.alive()?;
        answered(
            stored
                .map_err(Into::into)
                .and_then(|digest| self.keep(ClassHandle(digest))),
        )
    }

    fn drop(&mut self, upload: Resource<Upload>) -> wasmtime::Result<()> {
        self.table.delete(upload)?;
        Ok(())
    }
}
