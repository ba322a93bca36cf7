//! The tasks of a DAG and what each waits for, as a picture; with a run's states in it.

mod folding;

use std::collections::HashMap;

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::dag::Dag;
use millrace_model::graph::Graph;
use millrace_store::InstanceRow;
use rust_sugiyama::configure::{Config, RankingType};
use serde::Serialize;

use self::folding::{Boxes, fold};
use super::head::Tab;
use super::instances;
use crate::access::person::Person;
use crate::format::words;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

pub(super) const HEIGHT: f64 = 32.0;
/// Of a letter, about, and of what stands around the name.
const LETTER: f64 = 7.4;
const AROUND: f64 = 44.0;
const LONGEST_NAME: usize = 28;
const BETWEEN_LAYERS: f64 = 56.0;
const BETWEEN_NODES: f64 = 16.0;
const MARGIN: f64 = 16.0;
/// Larger ones are laid out by their depth alone: the crossings cannot be followed anyway, and the page stays quick.
const MOST_ORDERED: usize = 150;
/// Of more nobody sees anything: their groups are drawn in their place, if these are fewer.
const MOST_DRAWN: usize = 1_000;

#[derive(Debug, Serialize)]
struct Node {
    task_id: String,
    /// Shortened where it is long.
    name: String,
    href: Option<String>,
    state: &'static str,
    title: String,
    x: f64,
    y: f64,
}

#[derive(Debug, Serialize)]
struct Picture {
    width: f64,
    height: f64,
    node_width: f64,
    node_height: f64,
    nodes: Vec<Node>,
    /// Paths of the arrows.
    edges: Vec<String>,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let row = server.dag_row(&dag_id, 0).await?;
    let (run, runs) = server.chosen_run(&row, &parameters, "graph").await?;
    let (dag, rows) = match &run {
        Some(run) => (server.store().dag_version(run.version_key).await?, server.store().instances(run.key).await?),
        None => (row.dag.clone(), Vec::new()),
    };
    let graph = Graph::of(&dag).map_err(|error| Problem::internal(&error))?;
    let run_id = run.as_ref().map(|run| run.run_id.to_string());
    let boxes = if dag.tasks.len() > MOST_DRAWN { fold(&dag, &graph.upstream) } else { Boxes::of_tasks(&dag, graph) };
    let (is_folded, task_count) = (boxes.is_folded, dag.tasks.len());
    let picture = if boxes.members.len() > MOST_DRAWN {
        None
    } else {
        let (upstream, count) = (boxes.upstream.clone(), boxes.members.len());
        // Not worth a worker of the runtime for a large graph.
        let layered = tokio::task::spawn_blocking(move || places(&upstream, count)).await;
        let places = layered.unwrap_or_else(|_| by_depth(&boxes.upstream));
        Some(draw(&dag, &boxes, places, &rows, run_id.as_deref()))
    };
    let address = match &run_id {
        Some(run_id) => format!("{}/graph?run={}", links::dag(&dag_id), links::encode(run_id)),
        None => format!("{}/graph", links::dag(&dag_id)),
    };
    let values = values! {
        dag => server.dag_head_of(&row, Tab::Graph, parameters.text("run")),
        picture, is_folded, task_count, address, runs,
        run => run.as_ref().map(|run| values! {
            run_id => run.run_id.as_str(),
            href => links::run(&dag_id, run.run_id.as_str()),
            state => run.state.as_str(),
        }),
        run_id,
        states => instances::counts(&rows),
    };
    let template = if wishes.wants("graph") { "parts/graph.html" } else { "graph.html" };
    server.page(template, Some(&person), &wishes, values).await
}

/// Of each task its layer, from the left, and how far down it stands, in nodes.
pub(super) fn places(upstream: &[Vec<usize>], count: usize) -> Vec<(f64, f64)> {
    let edges: Vec<(u32, u32)> = upstream
        .iter()
        .enumerate()
        .flat_map(|(task, before)| before.iter().map(move |one| (*one as u32, task as u32)))
        .collect();
    if edges.is_empty() || count > MOST_ORDERED {
        return by_depth(upstream);
    }
    let vertices: Vec<(u32, (f64, f64))> = (0..count as u32).map(|task| (task, (1.0, 1.0))).collect();
    let config = Config {
        vertex_spacing: 1.0,
        ranking_type: RankingType::MinimizeEdgeLength,
        transpose: count <= MOST_ORDERED / 2,
        ..Config::default()
    };
    let mut places = vec![(0.0, 0.0); count];
    let mut below = 0.0;
    for (component, ..) in rust_sugiyama::from_vertices_and_edges(&vertices, &edges, &config) {
        let least = |of: fn(&(usize, (f64, f64))) -> f64| component.iter().map(of).fold(f64::INFINITY, f64::min);
        let (left, top) = (least(|(_, (_, y))| *y), least(|(_, (x, _))| *x));
        // The crate draws from the top down, a layer each two units: one of space, one of a node.
        let mut lowest: f64 = 0.0;
        for (task, (x, y)) in &component {
            let down = (x - top) / 2.0;
            lowest = lowest.max(down);
            places[*task] = ((y - left) / 2.0, below + down);
        }
        below += lowest + 1.0;
    }
    places
}

/// In one pass from those that wait for nothing. What waits for itself in a circle, as assets may, stays at the left.
fn by_depth(upstream: &[Vec<usize>]) -> Vec<(f64, f64)> {
    let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); upstream.len()];
    for (task, before) in upstream.iter().enumerate() {
        for one in before {
            downstream[*one].push(task);
        }
    }
    let mut waiting: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut depths = vec![0; upstream.len()];
    let mut settled: Vec<usize> = (0..upstream.len()).filter(|task| waiting[*task] == 0).collect();
    while let Some(task) = settled.pop() {
        for next in &downstream[task] {
            depths[*next] = depths[*next].max(depths[task] + 1);
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                settled.push(*next);
            }
        }
    }
    for (task, depth) in depths.iter_mut().enumerate() {
        if waiting[task] > 0 {
            *depth = 0;
        }
    }
    let mut taken: Vec<usize> = Vec::new();
    depths
        .into_iter()
        .map(|depth| {
            taken.resize(taken.len().max(depth + 1), 0);
            taken[depth] += 1;
            (depth as f64, (taken[depth] - 1) as f64)
        })
        .collect()
}

fn draw(dag: &Dag, boxes: &Boxes, places: Vec<(f64, f64)>, rows: &[InstanceRow], run_id: Option<&str>) -> Picture {
    let layout = Layout::of(boxes.members.iter().map(|member| member.name.as_str()), places);
    let mut of_tasks: HashMap<&str, Vec<&InstanceRow>> = HashMap::new();
    for row in rows {
        of_tasks.entry(row.task_id.as_str()).or_default().push(row);
    }
    let node = |(place, member): (usize, &folding::Member)| {
        let ids = member.tasks.iter().map(|task| dag.tasks[*task].task_id.as_str());
        let instance = instances::most_urgent(ids.flat_map(|id| of_tasks.get(id).into_iter().flatten().copied()));
        let state = instance.map_or("none", |row| row.state.as_str());
        let (x, y) = layout.at(place);
        let (name, what) = (member.name.as_str(), member.what.as_str());
        Node {
            name: shortened(name),
            title: match instance {
                Some(row) => format!("{name} ({what}): {}", words(row.state.as_str())),
                None => format!("{name} ({what})"),
            },
            // A box of many leads to the task that says most about them.
            href: run_id.zip(instance).map(|(run, row)| links::task(dag.dag_id.as_str(), run, row.task_id.as_str())),
            task_id: instance.map_or_else(|| name.to_owned(), |row| row.task_id.to_string()),
            state,
            x,
            y,
        }
    };
    let nodes: Vec<Node> = boxes.members.iter().enumerate().map(node).collect();
    let pairs = boxes.upstream.iter().enumerate().flat_map(|(to, before)| before.iter().map(move |from| (*from, to)));
    let edges = pairs.map(|(from, to)| layout.edge(from, to)).collect();
    let (width, height) = layout.size();
    Picture { width, height, node_width: layout.node_width, node_height: HEIGHT, nodes, edges }
}

/// Where boxes of one size stand.
pub(super) struct Layout {
    pub node_width: f64,
    places: Vec<(f64, f64)>,
}

impl Layout {
    /// Wide enough for each of the names.
    pub fn of<'n>(names: impl Iterator<Item = &'n str>, places: Vec<(f64, f64)>) -> Self {
        let longest = names.map(|name| name.chars().count()).max().unwrap_or_default();
        Self { node_width: (longest.min(LONGEST_NAME) as f64 * LETTER + AROUND).round(), places }
    }

    pub fn at(&self, node: usize) -> (f64, f64) {
        let (layer, down) = self.places[node];
        let x = MARGIN + layer * (self.node_width + BETWEEN_LAYERS);
        (x.round(), (MARGIN + down * (HEIGHT + BETWEEN_NODES)).round())
    }

    /// The path of an arrow.
    pub fn edge(&self, from: usize, to: usize) -> String {
        let ((x1, y1), (x2, y2)) = (self.at(from), self.at(to));
        let (x1, y1, x2, y2) = (x1 + self.node_width, y1 + HEIGHT / 2.0, x2, y2 + HEIGHT / 2.0);
        let bend = ((x2 - x1) / 2.0).max(20.0);
        format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2 - bend)
    }

    /// Width and height of it all.
    pub fn size(&self) -> (f64, f64) {
        let most = |of: fn((f64, f64)) -> f64| (0..self.places.len()).map(|node| of(self.at(node))).fold(0.0, f64::max);
        (most(|at| at.0) + self.node_width + MARGIN, most(|at| at.1) + HEIGHT + MARGIN)
    }
}

pub(super) fn shortened(id: &str) -> String {
    if id.chars().count() <= LONGEST_NAME {
        return id.to_owned();
    }
    // What tells names apart often stands at their end.
    let letters: Vec<char> = id.chars().collect();
    let half = (LONGEST_NAME - 1) / 2;
    letters[..half].iter().chain(&['…']).chain(&letters[letters.len() - half..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two stand on one another, and what waits stands to the right of what it waits for.
    fn check(upstream: &[Vec<usize>], places: &[(f64, f64)]) {
        assert_eq!(places.len(), upstream.len());
        for (task, before) in upstream.iter().enumerate() {
            for one in before {
                assert!(places[*one].0 < places[task].0, "{one} -> {task}: {places:?}");
            }
            for other in 0..task {
                let (a, b) = (places[task], places[other]);
                assert!((a.0 - b.0).abs() >= 0.99 || (a.1 - b.1).abs() >= 0.99, "{task} on {other}: {places:?}");
            }
        }
    }

    #[test]
    fn tasks_stand_in_layers() {
        let diamond = vec![vec![], vec![0], vec![0], vec![1, 2], vec![0, 3], vec![]];
        check(&diamond, &places(&diamond, diamond.len()));
        check(&diamond, &by_depth(&diamond));
        let apart = vec![vec![], vec![0], vec![], vec![2], vec![]];
        check(&apart, &places(&apart, apart.len()));
        check(&[], &places(&[], 0));
        let alone = vec![vec![]];
        check(&alone, &places(&alone, 1));
        let wide: Vec<Vec<usize>> = (0..60).map(|task| if task == 0 { vec![] } else { vec![(task - 1) / 3] }).collect();
        check(&wide, &places(&wide, wide.len()));
        let large: Vec<Vec<usize>> = (0..900).map(|task| if task == 0 { vec![] } else { vec![task - 1] }).collect();
        check(&large, &places(&large, large.len()));
        // Listed backwards, and in a circle.
        let backwards: Vec<Vec<usize>> =
            (1..=50_000).map(|task| if task == 50_000 { vec![] } else { vec![task] }).collect();
        let places = by_depth(&backwards);
        assert_eq!((places[0].0, places[49_999].0), (49_999.0, 0.0));
        assert_eq!(by_depth(&[vec![1], vec![0], vec![0]]).len(), 3);
    }

    #[test]
    fn long_names_keep_both_ends() {
        let long = shortened("load_customers_into_the_warehouse_for_korea");
        assert!(long.chars().count() <= LONGEST_NAME && long.starts_with("load_") && long.ends_with("korea"), "{long}");
    }
}
