//! The tasks of a DAG and what each waits for, as a picture; with a run's states in it.

pub(super) mod layout;
mod nested;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::dag::Dag;
use millrace_model::graph::Graph;
use millrace_store::InstanceRow;
use serde::Serialize;

use self::layout::Place;
use self::nested::{Piece, flat};
use super::folds::Folds;
use super::head::Tab;
use super::instances;
use crate::access::person::Person;
use crate::format::words;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;
use crate::words::{fill, said, t};

pub(super) const HEIGHT: f64 = 32.0;
/// Of a box with a second line.
const HIGH: f64 = 44.0;
/// Of a letter, about, and of what stands around the name.
const LETTER: f64 = 7.4;
const SMALL_LETTER: f64 = 6.6;
const AROUND: f64 = 44.0;
const LONGEST_NAME: usize = 28;
pub(super) const MARGIN: f64 = 16.0;
/// Larger ones are laid out by their depth alone: the crossings cannot be followed anyway, and the page stays quick.
pub(super) const MOST_ORDERED: usize = 150;
/// The groups of a DAG with more tasks are folded, unless somebody opens them.
const MOST_OPEN: usize = 150;
/// Of more nobody sees anything.
const MOST_DRAWN: usize = 1_000;

/// Open groups that are named where there is no picture to fold them in.
const MOST_LISTED: usize = 20;

/// A task, or a folded group.
#[derive(Debug, Serialize)]
struct Node {
    /// None: a group.
    task_id: Option<String>,
    group: Option<String>,
    /// Shortened where it is long.
    name: String,
    /// The second line.
    note: Option<String>,
    href: Option<String>,
    state: &'static str,
    title: String,
    place: Place,
}

/// An open group.
#[derive(Debug, Serialize)]
struct Frame {
    group: String,
    name: String,
    title: String,
    note: Option<String>,
    /// Where the note begins.
    note_x: f64,
    /// What folds it.
    href: String,
    place: Place,
}

/// One of those that make the picture too large.
#[derive(Debug, Serialize)]
struct OpenGroup {
    name: String,
    tasks: usize,
    href: String,
}

#[derive(Debug, Serialize)]
struct Picture {
    width: f64,
    height: f64,
    frames: Vec<Frame>,
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
    let folds = Folds::of(&parameters);
    let scene = Scene::of(&dag, &rows, run_id.as_deref(), &folds);
    let (is_many, task_count) = (dag.tasks.len() > MOST_OPEN, dag.tasks.len());
    let mut pieces = nested::pieces(&dag, &folds, !is_many);
    let count = flat(&pieces).len();
    let picture = if count > MOST_DRAWN {
        None
    } else {
        scene.measure(&mut pieces);
        let laid = Arc::new((pieces, graph.upstream));
        let (pieces, upstream) = &*laid;
        let to_lay = laid.clone();
        let places = move || nested::places(&to_lay.0, &to_lay.1, count <= MOST_ORDERED);
        // Not worth a worker of the runtime for a large graph.
        let places = tokio::task::spawn_blocking(places).await;
        let places = places.unwrap_or_else(|_| nested::places(pieces, upstream, false));
        Some(scene.draw(&flat(pieces), upstream, &places))
    };
    let values = values! {
        dag => server.dag_head_of(&row, Tab::Graph, parameters.text("run")),
        picture, task_count, runs,
        is_folded => is_many && !dag.groups.is_empty(),
        address => scene.address(&folds),
        fold_all => scene.open_groups(!is_many).next().map(|_| scene.address(&Folds::all_shut(&dag, !is_many))),
        open_groups => picture.is_none().then(|| scene.widest_groups(!is_many)),
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

/// What is known of what is drawn.
struct Scene<'a> {
    dag: &'a Dag,
    run_id: Option<&'a str>,
    folds: &'a Folds,
    of_tasks: HashMap<&'a str, Vec<&'a InstanceRow>>,
}

impl<'a> Scene<'a> {
    fn of(dag: &'a Dag, rows: &'a [InstanceRow], run_id: Option<&'a str>, folds: &'a Folds) -> Self {
        let mut of_tasks: HashMap<&str, Vec<&InstanceRow>> = HashMap::new();
        for row in rows {
            of_tasks.entry(row.task_id.as_str()).or_default().push(row);
        }
        Self { dag, run_id, folds, of_tasks }
    }

    /// Of this page, with those groups folded.
    fn address(&self, folds: &Folds) -> String {
        let run = self.run_id.map(|run_id| format!("run={}", links::encode(run_id)));
        let parts: Vec<String> = run.into_iter().chain(folds.parts()).collect();
        let page = format!("{}/graph", links::dag(self.dag.dag_id.as_str()));
        if parts.is_empty() { page } else { format!("{page}?{}", parts.join("&")) }
    }

    fn open_groups(&self, is_usual: bool) -> impl Iterator<Item = &'a str> {
        let ids = self.dag.groups.iter().map(|group| group.group_id.as_str());
        ids.filter(move |id| self.folds.is_open(id, is_usual))
    }

    /// The open groups with the most tasks, and what folds each.
    fn widest_groups(&self, is_usual: bool) -> Vec<OpenGroup> {
        let open = |id: &'a str| OpenGroup {
            name: id.to_owned(),
            tasks: self.dag.tasks_in(id).len(),
            href: self.address(&self.folds.turned(id, true)),
        };
        let mut groups: Vec<OpenGroup> = self.open_groups(is_usual).map(open).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.tasks));
        groups.truncate(MOST_LISTED);
        groups
    }

    fn name<'p>(&'p self, piece: &'p Piece) -> &'p str {
        piece.group.as_deref().unwrap_or_else(|| self.dag.tasks[piece.tasks[0]].task_id.as_str())
    }

    /// Its name within the group that is drawn around it: what all in it begin with is said once.
    fn label(&self, piece: &Piece) -> String {
        let name = self.name(piece);
        let within = |group: &String| name.strip_prefix(group.as_str())?.strip_prefix('.');
        shortened(piece.around.as_ref().and_then(within).unwrap_or(name))
    }

    fn rows(&self, piece: &Piece) -> Vec<&'a InstanceRow> {
        let ids = piece.tasks.iter().map(|task| self.dag.tasks[*task].task_id.as_str());
        ids.flat_map(|id| self.of_tasks.get(id).into_iter().flatten().copied()).collect()
    }

    /// `3 of 40 failed`: of several, how many are in the state that says most about them.
    fn note(&self, piece: &Piece) -> Option<String> {
        let rows = self.rows(piece);
        if piece.group.is_none() && rows.iter().all(|row| row.map_index < 0) {
            let is_mapped = self.dag.expand_of(&self.dag.tasks[piece.tasks[0]]).is_some();
            return is_mapped.then(|| t(said!("mapped")).to_owned());
        }
        let Some((state, number)) = instances::counts(rows.iter().copied()).into_iter().next() else {
            return Some(fill(said!("{n} tasks"), &[("n", &piece.tasks.len().to_string())]));
        };
        let (number, all) = (number.to_string(), rows.len().to_string());
        Some(fill(said!("{n} of {all} {state}"), &[("n", &number), ("all", &all), ("state", &words(state))]))
    }

    /// Boxes are as wide as the longest name.
    fn measure(&self, pieces: &mut [Piece]) {
        let small = |note: &Option<String>| note.as_ref().map_or(0.0, |note| letters(note) * SMALL_LETTER);
        let wide = |piece: &Piece| (letters(&self.label(piece)) * LETTER).max(small(&self.note(piece)));
        let boxes = flat(pieces).into_iter().filter(|piece| piece.inside.is_none());
        let width = (boxes.map(wide).fold(0.0, f64::max) + AROUND).round();
        nested::each_mut(pieces, &mut |piece| {
            let note = self.note(piece);
            piece.size = match (&piece.inside, &note) {
                (Some(_), _) => ((head_width(&self.label(piece)) + small(&note) + AROUND).round(), HIGH),
                (None, Some(_)) => (width, HIGH),
                (None, None) => (width, HEIGHT),
            };
        });
    }

    fn draw(&self, pieces: &[&Piece], upstream: &[Vec<usize>], places: &[Place]) -> Picture {
        let places: Vec<Place> = places.iter().map(|place| place.moved(MARGIN, MARGIN)).collect();
        let (mut frames, mut nodes) = (Vec::new(), Vec::new());
        for (piece, place) in pieces.iter().zip(&places) {
            if piece.inside.is_some() {
                frames.push(self.frame(piece, *place));
            } else {
                nodes.push(self.node(piece, *place));
            }
        }
        let arrows = nested::arrows(pieces, upstream);
        let edges = arrows.into_iter().map(|(from, to)| places[from].arrow(&places[to])).collect();
        let (width, height) = layout::extent(&places);
        Picture { width: width + MARGIN, height: height + MARGIN, frames, nodes, edges }
    }

    fn node(&self, piece: &Piece, place: Place) -> Node {
        let name = self.name(piece);
        let rows = self.rows(piece);
        let most = instances::most_urgent(rows.iter().copied());
        let task = &self.dag.tasks[piece.tasks[0]];
        let href = match &piece.group {
            Some(group) => Some(self.address(&self.folds.turned(group, false))),
            None => self.run_id.zip(most).map(|(run, _)| links::task(self.dag.dag_id.as_str(), run, name)),
        };
        Node {
            task_id: piece.group.is_none().then(|| name.to_owned()),
            group: piece.group.clone(),
            name: self.label(piece),
            note: self.note(piece),
            href,
            state: most.map_or("none", |row| row.state.as_str()),
            title: self.title(piece, if piece.group.is_none() { &task.operator } else { t(said!("press to unfold")) }),
            place,
        }
    }

    fn frame(&self, piece: &Piece, place: Place) -> Frame {
        let (name, label) = (self.name(piece), self.label(piece));
        Frame {
            group: name.to_owned(),
            title: self.title(piece, t(said!("press to fold"))),
            note: self.note(piece),
            note_x: (place.x + head_width(&label)).round(),
            href: self.address(&self.folds.turned(name, true)),
            name: label,
            place,
        }
    }

    /// `load (bash): 3 failed, 37 success`.
    fn title(&self, piece: &Piece, what: &str) -> String {
        let rows = self.rows(piece);
        let counted = |(state, number): (&str, usize)| match rows.len() {
            1 => words(state),
            _ => format!("{number} {}", words(state)),
        };
        let states: Vec<String> = instances::counts(rows.iter().copied()).into_iter().map(counted).collect();
        let name = self.name(piece);
        if states.is_empty() { format!("{name} ({what})") } else { format!("{name} ({what}): {}", states.join(", ")) }
    }
}

fn letters(text: &str) -> f64 {
    text.chars().count() as f64
}

/// Of the name of an open group, with what stands before it.
fn head_width(label: &str) -> f64 {
    letters(label) * LETTER + 36.0
}

/// As wide as the longest of the names needs it.
pub(super) fn width_for<'n>(names: impl Iterator<Item = &'n str>) -> f64 {
    let longest = names.map(|name| letters(&shortened(name))).fold(0.0, f64::max);
    (longest * LETTER + AROUND).round()
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

    #[test]
    fn long_names_keep_both_ends() {
        let long = shortened("load_customers_into_the_warehouse_for_korea");
        assert!(long.chars().count() <= LONGEST_NAME && long.starts_with("load_") && long.ends_with("korea"), "{long}");
    }
}
