//! One tree over another.

use std::collections::HashMap;

use crate::tree::{Entry, Node, NodeKind};

/// Maps are merged key by key, everything else of `over` replaces what is below; an explicit null takes a key away.
pub(super) fn merge(below: Node, over: Node) -> Node {
    let Node { span, kind, file } = over;
    match (below.kind, kind) {
        (NodeKind::Map(below), NodeKind::Map(over)) => {
            Node { span, kind: NodeKind::Map(merge_maps(below, over)), file }
        }
        (_, kind) => Node { span, kind, file },
    }
}

fn merge_maps(below: Vec<Entry>, over: Vec<Entry>) -> Vec<Entry> {
    let places: HashMap<String, usize> =
        below.iter().enumerate().map(|(place, entry)| (entry.key.clone(), place)).collect();
    let mut merged: Vec<Option<Entry>> = below.into_iter().map(Some).collect();
    for entry in over {
        match places.get(&entry.key) {
            Some(place) if entry.value.is_null() => merged[*place] = None,
            Some(place) => {
                let known = merged[*place].take().map(|known| known.value);
                let value = match known {
                    Some(known) => merge(known, entry.value),
                    None => entry.value,
                };
                merged[*place] = Some(Entry { value, ..entry });
            }
            None => merged.push(Some(entry)),
        }
    }
    merged.into_iter().flatten().collect()
}
