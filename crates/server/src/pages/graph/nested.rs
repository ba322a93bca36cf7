//! What is drawn of a DAG: its tasks, its groups with what is in them, and of folded groups a box.

use std::collections::{BTreeSet, HashMap};

use millrace_model::dag::Dag;

use super::layout::{self, Place};
use crate::pages::folds::Folds;
use crate::pages::instances::groups_around;

/// Around what is in a group, and above it, where its name stands.
const INSET: f64 = 12.0;
const HEAD: f64 = 32.0;

/// A task or a group.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// None: it is a task.
    pub group: Option<String>,
    /// The group that it stands in.
    pub around: Option<String>,
    /// By their places in the DAG, also those of the groups within.
    pub tasks: Vec<usize>,
    /// Of an open group.
    pub inside: Option<Vec<Piece>>,
    /// Width and height; of an open group, its head's.
    pub size: (f64, f64),
}

/// The tasks of a DAG as they are drawn. `is_usual`: groups are open, unless somebody folds them.
pub(super) fn pieces(dag: &Dag, folds: &Folds, is_usual: bool) -> Vec<Piece> {
    let groups: Vec<Vec<&str>> = dag.tasks.iter().map(|task| groups_around(dag, task)).collect();
    let all: Vec<usize> = (0..dag.tasks.len()).collect();
    within(&groups, (None, &all), 0, &|group| folds.is_open(group, is_usual))
}

fn within(
    groups: &[Vec<&str>],
    (around, tasks): (Option<&str>, &[usize]),
    level: usize,
    is_open: &dyn Fn(&str) -> bool,
) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut of_groups: HashMap<&str, usize> = HashMap::new();
    for task in tasks {
        let group = groups[*task].get(level).copied();
        if let Some(known) = group.and_then(|group| of_groups.get(group)) {
            pieces[*known].tasks.push(*task);
            continue;
        }
        if let Some(group) = group {
            of_groups.insert(group, pieces.len());
        }
        let group = group.map(str::to_owned);
        let around = around.map(str::to_owned);
        pieces.push(Piece { group, around, tasks: vec![*task], inside: None, size: (0.0, 0.0) });
    }
    for (group, piece) in of_groups {
        let piece = &mut pieces[piece];
        piece.inside = is_open(group).then(|| within(groups, (Some(group), &piece.tasks), level + 1, is_open));
    }
    pieces
}

/// Each, and what is in it after it.
pub(super) fn flat(pieces: &[Piece]) -> Vec<&Piece> {
    let mut all = Vec::new();
    for piece in pieces {
        all.push(piece);
        all.extend(flat(piece.inside.as_deref().unwrap_or_default()));
    }
    all
}

pub(super) fn each_mut(pieces: &mut [Piece], change: &mut dyn FnMut(&mut Piece)) {
    for piece in pieces {
        change(piece);
        each_mut(piece.inside.as_deref_mut().unwrap_or_default(), change);
    }
}

/// The places of all of them, in the order of [`flat`]. `upstream`: of each task those that it waits for.
pub(super) fn places(pieces: &[Piece], upstream: &[Vec<usize>], ordered: bool) -> Vec<Place> {
    let mut insides: Vec<Vec<Place>> = pieces
        .iter()
        .map(|piece| piece.inside.as_ref().map(|inside| places(inside, upstream, ordered)).unwrap_or_default())
        .collect();
    let size = |(piece, inside): (&Piece, &Vec<Place>)| match piece.inside {
        None => piece.size,
        Some(_) => {
            let (width, height) = layout::extent(inside);
            ((width + 2.0 * INSET).max(piece.size.0), height + HEAD + INSET)
        }
    };
    let sizes: Vec<(f64, f64)> = pieces.iter().zip(&insides).map(size).collect();
    let around = layout::stand(&before(pieces, upstream), &sizes, ordered);
    let with_inside = |(place, inside): (Place, &mut Vec<Place>)| {
        let moved = inside.drain(..).map(move |it| it.moved(place.x + INSET, place.y + HEAD));
        std::iter::once(place).chain(moved).collect::<Vec<_>>()
    };
    around.into_iter().zip(&mut insides).flat_map(with_inside).collect()
}

/// Which of them waits for which others beside it. Groups may wait for each other.
fn before(pieces: &[Piece], upstream: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let of_tasks: HashMap<usize, usize> =
        pieces.iter().enumerate().flat_map(|(at, piece)| piece.tasks.iter().map(move |task| (*task, at))).collect();
    let waits_for = |(at, piece): (usize, &Piece)| {
        let before = piece.tasks.iter().flat_map(|task| &upstream[*task]);
        let others: BTreeSet<usize> =
            before.filter_map(|one| of_tasks.get(one)).filter(|other| **other != at).copied().collect();
        others.into_iter().collect()
    };
    pieces.iter().enumerate().map(waits_for).collect()
}

/// From which box to which others an arrow leads, by their places in [`flat`]: those of tasks, or of the folded groups that
/// these are in.
pub(super) fn arrows(flat: &[&Piece], upstream: &[Vec<usize>]) -> BTreeSet<(usize, usize)> {
    let boxes = flat.iter().enumerate().filter(|(_, piece)| piece.inside.is_none());
    let of_tasks: HashMap<usize, usize> =
        boxes.flat_map(|(at, piece)| piece.tasks.iter().map(move |task| (*task, at))).collect();
    let pairs = upstream.iter().enumerate().flat_map(|(to, before)| before.iter().map(move |from| (*from, to)));
    pairs.map(|(from, to)| (of_tasks[&from], of_tasks[&to])).filter(|(from, to)| from != to).collect()
}

#[cfg(test)]
mod tests {
    use millrace_model::graph::Graph;
    use millrace_model::ids::DagId;

    use super::*;
    use crate::pages::grouped::{group, task};
    use crate::query::Parameters;

    fn sample() -> (Dag, Vec<Vec<usize>>) {
        let dag = Dag {
            groups: vec![group("load", None), group("load.inner", Some("load")), group("check", None)],
            tasks: vec![
                task("begin", None, &[]),
                task("load.a", Some("load"), &["begin"]),
                task("load.inner.b", Some("load.inner"), &["load.a", "begin"]),
                task("check.c", Some("check"), &["load.inner.b"]),
                // The groups wait for each other.
                task("load.d", Some("load"), &["check.c"]),
            ],
            ..Dag::new(DagId::new_unchecked("d"))
        };
        let upstream = Graph::of(&dag).unwrap().upstream;
        (dag, upstream)
    }

    /// The boxes with their tasks, the lines between them, and where each box stands.
    type Drawn = (Vec<(String, Vec<usize>)>, Vec<(usize, usize)>, Vec<Place>);

    fn drawn(query: &[(&str, &str)], is_usual: bool) -> Drawn {
        let (dag, upstream) = sample();
        let pairs = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut pieces = pieces(&dag, &Folds::of(&Parameters(pairs.collect())), is_usual);
        each_mut(&mut pieces, &mut |piece| piece.size = (100.0, 32.0));
        let flat = flat(&pieces);
        let name = |piece: &Piece| piece.group.clone().unwrap_or_else(|| dag.tasks[piece.tasks[0]].task_id.to_string());
        let named = flat.iter().map(|piece| (name(piece), piece.tasks.clone())).collect();
        (named, arrows(&flat, &upstream).into_iter().collect(), places(&pieces, &upstream, true))
    }

    #[test]
    fn what_is_in_a_group_stands_within_it() {
        let (named, arrows, places) = drawn(&[], true);
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["begin", "load", "load.a", "load.inner", "load.inner.b", "load.d", "check", "check.c"]);
        assert_eq!(arrows, [(0, 2), (0, 4), (2, 4), (4, 7), (7, 5)], "between tasks, across the groups");
        let is_in = |one: usize, around: usize| {
            let (one, around) = (places[one], places[around]);
            one.x > around.x
                && one.y > around.y
                && one.x + one.width < around.x + around.width
                && one.y + one.height < around.y + around.height
        };
        for (one, around) in [(2, 1), (3, 1), (5, 1), (4, 3), (7, 6)] {
            assert!(is_in(one, around), "{one} in {around}: {places:?}");
        }
        assert!(!is_in(0, 1) && !is_in(7, 1), "{places:?}");
    }

    #[test]
    fn a_folded_group_is_a_box_for_all_that_is_in_it() {
        let (named, arrows, places) = drawn(&[("shut", "load")], true);
        let named: Vec<(&str, &[usize])> = named.iter().map(|(name, tasks)| (name.as_str(), &tasks[..])).collect();
        assert_eq!(named, [("begin", &[0][..]), ("load", &[1, 2, 4]), ("check", &[3]), ("check.c", &[3])]);
        assert_eq!(arrows, [(0, 1), (1, 3), (3, 1)], "both wait for each other");
        assert_eq!(places.len(), 4);
        let (named, ..) = drawn(&[("open", "load")], false);
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["begin", "load", "load.a", "load.inner", "load.d", "check"]);
    }
}
