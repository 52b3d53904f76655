//! A tree as it lies on disk. There may be tens of thousands of facets, of which one is wanted: nothing is made before it is
//! asked for.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::{FacetName, FileId};
use crate::object::node::{Node, Storage};
use crate::object::nodes::Nodes;
use crate::object::tree::departing::Departing;
use crate::object::tree::open::OpenTurns;
use crate::object::tree::{ByFile, Tree};
use crate::object::{NodeId, StoredFacet};
use crate::startup::Startup;

impl Tree {
    /// A tree as it lies on disk: every parent is in `stored`, or is the root. `next_file` is past every id that the index
    /// names.
    pub(crate) fn new(
        root: Arc<Startup>,
        root_has_database: bool,
        stored: impl ExactSizeIterator<Item = StoredFacet>,
        next_file: FileId,
    ) -> Self {
        let mut nodes = Nodes::with_room(stored.len() + 1);
        let mut root = Node::new(None, None, root);
        root.file_reserved = Some(FileId::ROOT);
        let root = nodes.insert(root);
        let mut files = ByFile::with_capacity_and_hasher(stored.len() + 1, Default::default());
        files.insert(FileId::ROOT, root);
        // Siblings side by side, in the order of their names: so the maps of children are made as a whole.
        let mut places: Vec<_> = stored
            .map(|facet| ((facet.parent, facet.name.beginning()), facet))
            .collect();
        places.sort_unstable_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.name.cmp(&other.name)));
        let mut families: Vec<(FileId, Vec<(FacetName, NodeId)>)> = Vec::new();
        for (_, facet) in places {
            let storage = match facet.has_database {
                true => Storage::Database(facet.file),
                false => Storage::Entry(facet.file),
            };
            let mut node = Node::new(None, Some(facet.name.clone()), facet.startup);
            node.storage = storage;
            node.file_reserved = storage.entry();
            let id = nodes.insert(node);
            files.insert(facet.file, id);
            match families.last_mut() {
                Some((parent, siblings)) if *parent == facet.parent => siblings.push((facet.name, id)),
                Some(_) | None => families.push((facet.parent, vec![(facet.name, id)])),
            }
        }
        for (parent, siblings) in families {
            let Some(parent) = files.get(&parent).copied() else {
                unreachable!("an index names the parents of all that it names");
            };
            for (_, child) in &siblings {
                if let Some(child) = nodes.get_mut(*child) {
                    child.parent = Some(parent);
                }
            }
            if let Some(parent) = nodes.get_mut(parent) {
                parent.stored_children = siblings.len();
                parent.children = siblings.into_iter().collect();
            }
        }
        files.remove(&FileId::ROOT);
        let mut tree = Self {
            nodes,
            root,
            live: HashMap::new(),
            departing: Departing::default(),
            files,
            next: 0,
            next_file,
            open: OpenTurns::default(),
        };
        if root_has_database {
            tree.set_storage(root, Storage::Database(FileId::ROOT));
        }
        tree
    }
}
