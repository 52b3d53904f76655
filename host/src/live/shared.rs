//! What facets of one object share: budgets of the object and of every subtree whose startup sets one. A limit of a tree
//! holds for the sum of what is at and below the facet that has it, however the parents below divide it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use crate::budget::Budget;
use crate::ids::FileId;
use crate::live::Object;
use crate::object::{NodeId, Tree};
use crate::startup::Startup;

/// Budgets beyond which those that nobody uses are swept out.
const SWEEP_MIN: usize = 64;

/// A facet and those above it, the root first.
pub(super) type Lineage = [(NodeId, Arc<Startup>)];

/// The budgets of one object that somebody uses.
#[derive(Default)]
pub(super) struct Shared {
    memory: Budgets,
    storage: Budgets,
    /// Bytes of databases as they count in `storage`; what is missing is as long as its file.
    sizes: HashMap<FileId, u64>,
}

#[derive(Default)]
struct Budgets {
    of: HashMap<NodeId, Weak<Budget>>,
    swept: usize,
}

impl Budgets {
    /// The budget of one facet and what is below it; `new` if it was made now.
    fn find_or_make(&mut self, node: NodeId, limit: u64, above: Option<Arc<Budget>>) -> (Arc<Budget>, bool) {
        let found = self.of.get(&node).and_then(Weak::upgrade);
        if let Some(found) = found.filter(|found| found.limit() == limit && found.is_within(above.as_ref())) {
            return (found, false);
        }
        if self.of.len() > SWEEP_MIN.max(2 * self.swept) {
            self.of.retain(|_, budget| budget.strong_count() > 0);
            self.swept = self.of.len();
        }
        let made = Budget::new("a facet above", limit, above);
        self.of.insert(node, Arc::downgrade(&made));
        (made, true)
    }

    fn in_use(&self) -> impl Iterator<Item = (NodeId, Arc<Budget>)> {
        self.of
            .iter()
            .filter_map(|(node, budget)| Some((*node, budget.upgrade()?)))
    }
}

impl Shared {
    /// What an incarnation takes its memory from.
    pub(super) fn memory(&mut self, lineage: &Lineage, object: &Arc<Budget>) -> Arc<Budget> {
        let mut budget = object.clone();
        for (node, startup) in lineage {
            if let Some(mib) = startup.limits.tree_memory_mib {
                let limit = mib.saturating_mul(1 << 20);
                budget = self.memory.find_or_make(*node, limit, Some(budget)).0;
            }
        }
        budget
    }

    /// What bounds an incarnation's storage beside its own quota, if anything does.
    pub(super) fn storage(
        &mut self,
        object: &Object,
        tree: &Tree,
        lineage: &Lineage,
        tree_bytes_max: u64,
    ) -> Option<Arc<Budget>> {
        let (root, _) = lineage.first()?;
        let root_limit = (tree_bytes_max < u64::MAX).then_some((*root, tree_bytes_max));
        let set = lineage.iter().filter_map(|(node, startup)| {
            let mib = startup.limits.tree_storage_mib?;
            Some((*node, mib.saturating_mul(1 << 20)))
        });
        let mut budget = None;
        for (node, limit) in root_limit.into_iter().chain(set) {
            let (found, is_new) = self.storage.find_or_make(node, limit, budget.take());
            if is_new {
                found.set_used(self.stored(object, tree, node));
            }
            budget = Some(found);
        }
        budget
    }

    /// A facet has committed, and its database has so many bytes now.
    pub(super) fn committed(
        &mut self,
        object: &Object,
        file: FileId,
        (is_new, bytes): (bool, u64),
        budget: Option<&Budget>,
    ) {
        let Some(budget) = budget else { return };
        let before = match (self.sizes.insert(file, bytes), is_new) {
            (Some(before), _) => before,
            // Its file is there by now, and nobody has counted it.
            (None, true) => 0,
            (None, false) => on_disk(object, file),
        };
        budget.shift(before, bytes);
    }

    /// Facets were deleted, copied or emptied: everything is counted anew.
    pub(super) fn recount(&mut self, object: &Object, tree: &Tree) {
        let in_use: Vec<_> = self.storage.in_use().collect();
        if in_use.is_empty() {
            self.sizes.clear();
            return;
        }
        // What is gone may come back with the turn that deleted it: then its file says how long it is.
        let there: HashSet<_> = files(tree, tree.root()).collect();
        self.sizes.retain(|file, _| there.contains(file));
        for (node, budget) in in_use {
            budget.set_used(self.stored(object, tree, node));
        }
    }

    fn stored(&self, object: &Object, tree: &Tree, node: NodeId) -> u64 {
        let size = |file: FileId| self.sizes.get(&file).copied();
        files(tree, node)
            .map(|file| size(file).unwrap_or_else(|| on_disk(object, file)))
            .sum()
    }
}

/// Databases at and below a facet.
fn files(tree: &Tree, node: NodeId) -> impl Iterator<Item = FileId> {
    tree.subtree(node).into_iter().filter_map(|facet| facet.database)
}

fn on_disk(object: &Object, file: FileId) -> u64 {
    std::fs::metadata(object.db_file(file).path()).map_or(0, |found| found.len())
}
