//! Assets that a DAG waits for (`schedule: {assets: …}`) and that its tasks bring up to date (`outlets`).

use millrace_model::asset::{AssetCondition, AssetName};

use crate::fields::Reader;
use crate::source::Span;
use crate::tree::{Entry, Node, NodeKind};

const SHAPE: &str = "an asset's name, a list of them (all), {all: […]} or {any: […]}";

/// `orders`, `[orders, customers]` (all of them), `{any: [orders, {all: [a, b]}]}`.
pub(crate) fn read_condition(reader: &mut Reader<'_>, node: &Node) -> Option<AssetCondition> {
    match &node.kind {
        NodeKind::Text(text) => read_name(reader, text, node.span).map(AssetCondition::Asset),
        NodeKind::List(items) => read_parts(reader, node, items).map(AssetCondition::All),
        NodeKind::Map(entries) => match entries.as_slice() {
            [Entry { key, value, .. }] if key == "all" => read_list(reader, value).map(AssetCondition::All),
            [Entry { key, value, .. }] if key == "any" => read_list(reader, value).map(AssetCondition::Any),
            _ => {
                reader.error("wrong-type", node.span, format!("here must be {SHAPE}"));
                None
            }
        },
        other => {
            reader.error("wrong-type", node.span, format!("here must be {SHAPE}, not {}", other.noun()));
            None
        }
    }
}

fn read_list(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<AssetCondition>> {
    let NodeKind::List(items) = &node.kind else {
        reader.error("wrong-type", node.span, format!("here must be a list of assets, not {}", node.kind.noun()));
        return None;
    };
    read_parts(reader, node, items)
}

fn read_parts(reader: &mut Reader<'_>, node: &Node, items: &[Node]) -> Option<Vec<AssetCondition>> {
    if items.is_empty() {
        reader.error("empty", node.span, "this list of assets is empty, so that nothing would ever trigger the DAG");
        return None;
    }
    let parts: Vec<_> = items.iter().filter_map(|item| read_condition(reader, item)).collect();
    (parts.len() == items.len()).then_some(parts)
}

pub(crate) fn read_outlets(reader: &mut Reader<'_>, entry: &Entry) -> Vec<AssetName> {
    let mut outlets: Vec<AssetName> = Vec::new();
    for (text, span) in reader.texts(entry) {
        if let Some(name) = read_name(reader, &text, span)
            && !outlets.contains(&name)
        {
            outlets.push(name);
        }
    }
    outlets
}

fn read_name(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<AssetName> {
    AssetName::parse(text).map_err(|error| reader.error("bad-id", span, error.to_string())).ok()
}
