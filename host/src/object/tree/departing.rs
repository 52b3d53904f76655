//! Incarnations that have been told to end, or have borrowed a facet's files: the next one at their path waits for them. Found
//! by path, for a host that ends thousands at once must not look at all of them for each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::FacetName;
use crate::object::IncarnationId;

type Path = Arc<[FacetName]>;

#[derive(Debug, Default)]
pub(super) struct Departing {
    paths: HashMap<IncarnationId, Path>,
    /// The same, turned round; no list is empty.
    at: HashMap<Path, Vec<IncarnationId>>,
}

impl Departing {
    pub(super) fn insert(&mut self, incarnation: IncarnationId, path: &[FacetName]) {
        let path = match self.at.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => Path::from(path),
        };
        self.at.entry(path.clone()).or_default().push(incarnation);
        self.paths.insert(incarnation, path);
    }

    /// It is gone. Answers where it was.
    pub(super) fn remove(&mut self, incarnation: IncarnationId) -> Option<Path> {
        let path = self.paths.remove(&incarnation)?;
        if let Some(here) = self.at.get_mut(&path) {
            here.retain(|other| *other != incarnation);
            if here.is_empty() {
                self.at.remove(&path);
            }
        }
        Some(path)
    }

    pub(super) fn at(&self, path: &[FacetName]) -> Vec<IncarnationId> {
        self.at.get(path).cloned().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let count: usize = self.at.values().map(Vec::len).sum();
        assert_eq!(count, self.paths.len());
        for (incarnation, path) in &self.paths {
            assert!(
                self.at[path].contains(incarnation),
                "{incarnation:?} is not found at its path"
            );
        }
    }
}
