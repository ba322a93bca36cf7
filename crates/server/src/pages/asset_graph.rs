//! Which DAG brings which asset up to date, and who waits for it, as a picture: laid out as the tasks of a DAG are.

use std::collections::BTreeMap;

use millrace_model::graph::Graph;
use millrace_store::AssetRow;
use serde::Serialize;

use super::graph::{self, HEIGHT, MARGIN, MOST_ORDERED, layout};
use crate::links;

/// A larger picture says nothing that the list does not say better.
const MOST_NODES: usize = 300;

#[derive(Debug, Serialize)]
pub(super) struct Node {
    name: String,
    title: String,
    href: String,
    is_asset: bool,
    x: f64,
    y: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Picture {
    width: f64,
    height: f64,
    node_width: f64,
    node_height: f64,
    nodes: Vec<Node>,
    edges: Vec<String>,
}

/// Names, and who comes before whom.
struct Lineage {
    /// Title, address, whether it is an asset.
    nodes: Vec<(String, String, bool)>,
    upstream: Vec<Vec<usize>>,
}

impl Lineage {
    fn of(rows: &[AssetRow]) -> Self {
        let mut lineage = Self { nodes: Vec::new(), upstream: Vec::new() };
        let mut dags: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            // To its line in the list.
            let asset = lineage.add(row.asset.to_string(), format!("#asset-{}", index + 1), true);
            for maker in &row.producers {
                let dag_id = maker.dag_id.as_str();
                let dag = *dags.entry(dag_id).or_insert_with(|| lineage.add_dag(dag_id));
                lineage.upstream[asset].push(dag);
            }
            for waiting in &row.consumers {
                let dag_id = waiting.dag_id.as_str();
                let dag = *dags.entry(dag_id).or_insert_with(|| lineage.add_dag(dag_id));
                lineage.upstream[dag].push(asset);
            }
        }
        for before in &mut lineage.upstream {
            before.sort_unstable();
            before.dedup();
        }
        lineage
    }

    fn add(&mut self, title: String, href: String, is_asset: bool) -> usize {
        self.nodes.push((title, href, is_asset));
        self.upstream.push(Vec::new());
        self.nodes.len() - 1
    }

    fn add_dag(&mut self, dag_id: &str) -> usize {
        self.add(dag_id.to_owned(), links::dag(dag_id), false)
    }

    /// As far as it can be drawn from the left to the right: of DAGs that wait for each other in a circle, what leads back
    /// is left out of the layout, not of the picture.
    fn without_circles(&self) -> Vec<Vec<usize>> {
        let mut upstream = self.upstream.clone();
        while let Err(circle) = Graph::from_upstream(upstream.clone()) {
            let cut = |one: usize| upstream[one].iter().position(|before| circle.contains(before)).map(|at| (one, at));
            let Some((node, at)) = circle.iter().find_map(|one| cut(*one)) else { break };
            upstream[node].remove(at);
        }
        upstream
    }
}

/// None: there is nothing to see, or too much.
pub(super) fn picture(rows: &[AssetRow]) -> Option<Picture> {
    let lineage = Lineage::of(rows);
    if !(2..=MOST_NODES).contains(&lineage.nodes.len()) {
        return None;
    }
    let upstream = lineage.without_circles();
    let node_width = graph::width_for(lineage.nodes.iter().map(|(title, ..)| title.as_str()));
    let sizes = vec![(node_width, HEIGHT); upstream.len()];
    let places: Vec<layout::Place> = layout::stand(&upstream, &sizes, upstream.len() <= MOST_ORDERED)
        .into_iter()
        .map(|place| place.moved(MARGIN, MARGIN))
        .collect();
    let pairs = lineage.upstream.iter().enumerate().flat_map(|(to, before)| before.iter().map(move |from| (*from, to)));
    let edges = pairs.map(|(from, to)| places[from].arrow(&places[to])).collect();
    let (width, height) = layout::extent(&places);
    let node = |((title, href, is_asset), place): ((String, String, bool), layout::Place)| Node {
        name: graph::shortened(&title),
        title,
        href,
        is_asset,
        x: place.x,
        y: place.y,
    };
    let nodes = lineage.nodes.into_iter().zip(places).map(node).collect();
    Some(Picture { width: width + MARGIN, height: height + MARGIN, node_width, node_height: HEIGHT, nodes, edges })
}

#[cfg(test)]
mod tests {
    use millrace_model::asset::AssetName;
    use millrace_model::ids::{DagId, TaskId};
    use millrace_store::{AssetConsumer, AssetProducer};

    use super::*;

    fn row(asset: &str, makers: &[&str], waiting: &[&str]) -> AssetRow {
        let since = chrono::DateTime::UNIX_EPOCH;
        let maker = |id: &&str| AssetProducer {
            dag_id: DagId::new_unchecked(*id),
            task_id: TaskId::new_unchecked("make"),
            since,
        };
        let waits = |id: &&str| AssetConsumer { dag_id: DagId::new_unchecked(*id), since };
        AssetRow {
            id: 1,
            asset: AssetName::new_unchecked(asset),
            created_at: since,
            producers: makers.iter().map(maker).collect(),
            consumers: waiting.iter().map(waits).collect(),
            last_event: None,
            event_count: 0,
        }
    }

    #[test]
    fn what_waits_stands_to_the_right_also_where_it_goes_in_circles() {
        let rows = [row("orders", &["load"], &["report", "mail"]), row("reports", &["report"], &["mail"])];
        let drawn = picture(&rows).unwrap();
        let at = |name: &str| drawn.nodes.iter().find(|node| node.name == name).unwrap().x;
        assert!(at("load") < at("orders") && at("orders") < at("report") && at("reports") < at("mail"));
        assert_eq!((drawn.nodes.len(), drawn.edges.len()), (5, 5));
        assert_eq!(drawn.nodes.iter().filter(|node| node.is_asset).count(), 2);

        let circle = [row("a", &["one"], &["two"]), row("b", &["two"], &["one"]), row("c", &["one"], &["one"])];
        let drawn = picture(&circle).unwrap();
        assert_eq!((drawn.nodes.len(), drawn.edges.len()), (5, 6), "what leads back is drawn");
        assert!(picture(&[]).is_none());
    }
}
