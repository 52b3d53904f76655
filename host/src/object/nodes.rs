//! Where a tree keeps its nodes: side by side, each found by its number. A place is used again, a number never is.

use std::num::NonZeroU32;

use crate::object::NodeId;
use crate::object::node::Node;

#[derive(Debug, Default)]
pub(super) struct Nodes {
    places: Vec<Place>,
    /// Places without a node, whose numbers are not used up.
    free: Vec<u32>,
    many: usize,
}

#[derive(Debug)]
struct Place {
    turn: NonZeroU32,
    node: Option<Node>,
}

impl Nodes {
    /// Room for as many and no more: of trees with many facets most do not grow.
    pub(super) fn with_room(many: usize) -> Self {
        Self {
            places: Vec::with_capacity(many),
            ..Self::default()
        }
    }

    pub(super) fn insert(&mut self, node: Node) -> NodeId {
        self.many += 1;
        if let Some(place) = self.free.pop() {
            let found = &mut self.places[place as usize];
            found.node = Some(node);
            return NodeId {
                place,
                turn: found.turn,
            };
        }
        let place = u32::try_from(self.places.len()).expect("four billion facets in one object are out of reach");
        let turn = NonZeroU32::MIN;
        self.places.push(Place { turn, node: Some(node) });
        NodeId { place, turn }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        let place = self.places.get(id.place as usize)?;
        place.node.as_ref().filter(|_| place.turn == id.turn)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        let place = self.places.get_mut(id.place as usize)?;
        place.node.as_mut().filter(|_| place.turn == id.turn)
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Option<Node> {
        let place = self.places.get_mut(id.place as usize).filter(|p| p.turn == id.turn)?;
        let node = place.node.take()?;
        self.many -= 1;
        // A place whose numbers are used up is left alone.
        if let Some(turn) = place.turn.checked_add(1) {
            place.turn = turn;
            self.free.push(id.place);
        }
        Some(node)
    }

    pub(super) fn len(&self) -> usize {
        self.many
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).zip(&self.places).filter_map(|(place, found)| {
            let turn = found.turn;
            found.node.as_ref().map(|node| (NodeId { place, turn }, node))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::ClassDigest;
    use crate::startup::Startup;

    fn node(mark: usize) -> Node {
        let startup = Startup::of(ClassDigest([1; 32]));
        let mut node = Node::new(None, None, Arc::new(startup));
        node.stored_children = mark;
        node
    }

    #[test]
    fn a_number_is_never_given_twice() {
        let mut nodes = Nodes::default();
        let (stays, goes) = (nodes.insert(node(1)), nodes.insert(node(2)));
        assert!(nodes.remove(goes).is_some() && nodes.remove(goes).is_none());
        let came = nodes.insert(node(3));
        assert_eq!(came.place, goes.place, "its place is used again");
        assert!(nodes.get(goes).is_none() && nodes.get_mut(goes).is_none() && nodes.remove(goes).is_none());
        assert_eq!(nodes.get(came).map(|node| node.stored_children), Some(3));
        assert_eq!(nodes.iter().map(|(id, _)| id).collect::<Vec<_>>(), [stays, came]);
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn a_place_without_numbers_is_not_used_again() {
        let mut nodes = Nodes::default();
        nodes.insert(node(1));
        nodes.places[0].turn = NonZeroU32::MAX;
        let last = NodeId {
            place: 0,
            turn: NonZeroU32::MAX,
        };
        assert!(nodes.remove(last).is_some());
        assert_eq!(nodes.insert(node(2)).place, 1);
        assert!(nodes.get(last).is_none());
    }
}
