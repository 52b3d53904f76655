//! An operator's look into a facet's database.

use std::sync::Arc;

use crate::error::CallError;
use crate::ids::FacetName;
use crate::live::Object;
use crate::live::visit::join;
use crate::object::Source;
use crate::storage::TableDump;

impl Object {
    /// The tables of the facet at `path`, with at most `rows_max` rows of each; none if nothing is stored there.
    pub(crate) async fn inspect(
        self: Arc<Self>,
        path: &[FacetName],
        rows_max: u32,
    ) -> Result<Vec<TableDump>, CallError> {
        let found = {
            let inner = self.lock();
            let mut node = inner.tree.root();
            for name in path {
                let (child, _) = inner.tree.lookup(node, name).ok_or_else(|| {
                    CallError::not_found(format!("there is no facet {:?} in this object", join(path)))
                })?;
                node = child;
            }
            inner
                .tree
                .database(node)
                .map(|(file, path)| Source { node, file, path })
        };
        match found {
            None => Ok(Vec::new()),
            Some(source) => Ok(self.visit(&source, move |store| store.inspect(rows_max)).await?),
        }
    }
}
