//! Incarnations that have been told to end, or have borrowed a facet's files: the next one at their path waits for them. Found
//! by path, for a host that ends thousands at once must not look at all of them for each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::FacetName;
use crate::object::{IncarnationId, NodeId};

type Path = Arc<[FacetName]>;

#[derive(Debug, Default)]
pub(super) struct Departing {
    places: HashMap<IncarnationId, (NodeId, Path)>,
    /// The same, turned round; no list is empty.
    at: HashMap<Path, Vec<IncarnationId>>,
    /// How many there are of each node; never 0.
    of: HashMap<NodeId, usize>,
}

impl Departing {
    pub(super) fn insert(&mut self, incarnation: IncarnationId, node: NodeId, path: &[FacetName]) {
        let path = match self.at.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => Path::from(path),
        };
        self.at.entry(path.clone()).or_default().push(incarnation);
        self.places.insert(incarnation, (node, path));
        *self.of.entry(node).or_default() += 1;
    }

    /// It is gone. Answers which node it was of.
    pub(super) fn remove(&mut self, incarnation: IncarnationId) -> Option<NodeId> {
        let (node, path) = self.places.remove(&incarnation)?;
        if let Some(here) = self.at.get_mut(&path) {
            here.retain(|other| *other != incarnation);
            if here.is_empty() {
                self.at.remove(&path);
            }
        }
        if let Some(many) = self.of.get_mut(&node) {
            *many -= 1;
            if *many == 0 {
                self.of.remove(&node);
            }
        }
        Some(node)
    }

    /// Some are of that node.
    pub(super) fn is_of(&self, node: NodeId) -> bool {
        self.of.contains_key(&node)
    }

    pub(super) fn at(&self, path: &[FacetName]) -> Vec<IncarnationId> {
        self.at.get(path).cloned().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let count: usize = self.at.values().map(Vec::len).sum();
        assert_eq!(count, self.places.len());
        assert_eq!(self.of.values().sum::<usize>(), self.places.len());
        for (incarnation, (node, path)) in &self.places {
            assert!(
                self.at[path].contains(incarnation) && self.of[node] > 0,
                "{incarnation:?} is not found at its place"
            );
        }
    }
}
