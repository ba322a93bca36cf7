//! The rows of the grid: tasks in the order in which they may run, those of a group under its name, and of very many a
//! part.

use std::collections::{HashMap, HashSet};

use millrace_model::dag::Dag;
use millrace_model::graph::Graph;

use crate::pages::folds::Folds;
use crate::pages::instances::groups_around;
use crate::problem::Answer;
use crate::query::Parameters;

/// The groups of a DAG with no more tasks than these are open unless somebody folds them.
const FEW_TASKS: usize = 60;
/// Cells of a page: more are megabytes, and nobody looks at them all.
const MOST_CELLS: usize = 2_500;
const FEWEST_ROWS: usize = 25;
const MOST_ROWS: usize = 500;
/// Deeper ones are indented no further.
const DEEPEST: usize = 6;

/// What an address says of the grid, beside what it selects.
#[derive(Debug, Clone, Default)]
pub(in crate::pages) struct GridView {
    /// How many runs.
    pub runs: Option<u64>,
    /// How many newer runs are left out.
    pub past: Option<u64>,
    folds: Folds,
    /// The first row that is shown.
    from: Option<usize>,
}

impl GridView {
    pub fn of(parameters: &Parameters) -> Answer<Self> {
        Ok(Self {
            runs: parameters.number("runs")?,
            past: parameters.number("past")?,
            folds: Folds::of(parameters),
            from: parameters.number("from")?,
        })
    }

    /// As it stands behind an address.
    pub fn query(&self) -> String {
        let runs = self.runs.map(|runs| format!("runs={runs}"));
        let past = self.past.map(|past| format!("past={past}"));
        let from = self.from.map(|from| format!("from={from}"));
        let text: Vec<String> = runs.into_iter().chain(past).chain(from).chain(self.folds.parts()).collect();
        format!("?{}", text.join("&"))
    }

    pub fn with_runs(&self, runs: u64) -> Self {
        Self { runs: Some(runs), ..self.clone() }
    }

    pub fn with_past(&self, past: u64) -> Self {
        Self { past: Some(past).filter(|past| *past > 0), ..self.clone() }
    }

    fn with_from(&self, from: usize) -> Self {
        Self { from: Some(from), ..self.clone() }
    }

    /// As this, with that group the other way round.
    fn turned(&self, group: &str, is_open: bool) -> Self {
        Self { folds: self.folds.turned(group, is_open), ..self.clone() }
    }
}

/// A task, or a group with all that is in it.
#[derive(Debug)]
pub(super) struct Row {
    pub name: String,
    pub depth: usize,
    /// Of a group: whether the rows in it follow.
    pub is_open: Option<bool>,
    /// Of a group: what turns it the other way round.
    pub turn: Option<String>,
    /// By their places in the DAG.
    pub tasks: Vec<usize>,
}

/// What stands around a part of the rows.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(in crate::pages) struct Window {
    pub first: usize,
    pub last: usize,
    pub all: usize,
    pub before: Option<String>,
    pub after: Option<String>,
}

struct Rows<'a> {
    dag: &'a Dag,
    depths: Vec<usize>,
    groups: Vec<Vec<&'a str>>,
    view: &'a GridView,
    /// Around what is selected.
    wanted: HashSet<&'a str>,
    done: Vec<Row>,
}

/// All rows, those in folded groups left out.
pub(super) fn rows(dag: &Dag, graph: &Graph, view: &GridView, selected: Option<&str>) -> Vec<Row> {
    let groups: Vec<Vec<&str>> = dag.tasks.iter().map(|task| groups_around(dag, task)).collect();
    let wanted = selected.and_then(|id| dag.task_index(id)).map(|place| groups[place].iter().copied().collect());
    let depths = if dag.groups.is_empty() { depths(graph) } else { Vec::new() };
    let mut rows = Rows { dag, depths, groups, view, wanted: wanted.unwrap_or_default(), done: Vec::new() };
    rows.put(&graph.order, 0);
    rows.done
}

impl Rows<'_> {
    fn put(&mut self, tasks: &[usize], level: usize) {
        let mut members: HashMap<&str, Vec<usize>> = HashMap::new();
        for task in tasks {
            if let Some(group) = self.groups[*task].get(level) {
                members.entry(group).or_default().push(*task);
            }
        }
        for task in tasks {
            match self.groups[*task].get(level).copied() {
                None => {
                    // In a DAG with groups a row stands under its group; in one without, under what comes before it.
                    let depth = self.depths.get(*task).copied().unwrap_or(level);
                    let name = self.dag.tasks[*task].task_id.to_string();
                    let depth = depth.min(DEEPEST);
                    self.done.push(Row { name, depth, is_open: None, turn: None, tasks: vec![*task] });
                }
                Some(group) => {
                    let Some(inside) = members.remove(group) else { continue };
                    let is_open = self.is_open(group);
                    self.done.push(Row {
                        name: group.to_owned(),
                        depth: level.min(DEEPEST),
                        is_open: Some(is_open),
                        turn: Some(self.view.turned(group, is_open).query()),
                        tasks: inside.clone(),
                    });
                    if is_open {
                        self.put(&inside, level + 1);
                    }
                }
            }
        }
    }

    fn is_open(&self, group: &str) -> bool {
        self.view.folds.is_open(group, self.dag.tasks.len() <= FEW_TASKS || self.wanted.contains(group))
    }
}

/// The part of so many rows that is shown beside so many runs: what the view asks for, or else where the selected row is.
pub(super) fn window(all: usize, runs: usize, view: &GridView, selected: Option<usize>) -> Option<Window> {
    let size = (MOST_CELLS / runs.max(1)).clamp(FEWEST_ROWS, MOST_ROWS);
    if all <= size {
        return None;
    }
    let from = view.from.unwrap_or_else(|| selected.unwrap_or(0) / size * size).min(all - 1);
    let to = (from + size).min(all);
    Some(Window {
        first: from + 1,
        last: to,
        all,
        before: (from > 0).then(|| view.with_from(from.saturating_sub(size)).query()),
        after: (to < all).then(|| view.with_from(to).query()),
    })
}

/// Of each task: the longest way to it from a task without upstreams.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depths = vec![0; graph.upstream.len()];
    for index in &graph.order {
        depths[*index] = graph.upstream[*index].iter().map(|before| depths[*before] + 1).max().unwrap_or(0);
    }
    depths
}

#[cfg(test)]
mod tests {
    use millrace_model::ids::DagId;

    use super::*;
    use crate::pages::grouped::{group, task};

    fn view(pairs: &[(&str, &str)]) -> GridView {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        GridView::of(&Parameters(pairs.collect())).unwrap()
    }

    fn sample(more: usize) -> Dag {
        let mut tasks = vec![
            task("begin", None, &[]),
            task("load.a", Some("load"), &["begin"]),
            task("load.in.b", Some("load.in"), &["load.a"]),
            task("end", None, &["load.in.b"]),
        ];
        tasks.extend((0..more).map(|at| task(&format!("more{at}"), None, &["end"])));
        Dag {
            groups: vec![group("load", None), group("load.in", Some("load"))],
            tasks,
            ..Dag::new(DagId::new_unchecked("d"))
        }
    }

    /// Each with its depth, and `+` or `-` before a group.
    fn shown(dag: &Dag, view: &GridView, selected: Option<&str>) -> Vec<String> {
        let sign = |row: &Row| row.is_open.map_or("", |is_open| if is_open { "-" } else { "+" });
        let rows = rows(dag, &Graph::of(dag).unwrap(), view, selected);
        rows.iter().take(6).map(|row| format!("{}{}{}", " ".repeat(row.depth), sign(row), row.name)).collect()
    }

    #[test]
    fn tasks_stand_under_their_groups_and_these_fold() {
        let small = sample(0);
        assert_eq!(shown(&small, &view(&[]), None), ["begin", "-load", " load.a", " -load.in", "  load.in.b", "end"]);
        let folded = view(&[("shut", "load.in"), ("runs", "50")]);
        assert_eq!(shown(&small, &folded, None), ["begin", "-load", " load.a", " +load.in", "end"]);
        let rows = rows(&small, &Graph::of(&small).unwrap(), &folded, None);
        assert_eq!(rows[1].tasks, [1, 2], "a group stands for all in it");
        assert_eq!(rows[1].turn.as_deref(), Some("?runs=50&shut=load%2Ein&shut=load"));
        assert_eq!(rows[3].turn.as_deref(), Some("?runs=50&open=load%2Ein"));
    }

    #[test]
    fn many_are_folded_unless_one_of_them_is_looked_at() {
        let large = sample(60);
        assert_eq!(shown(&large, &view(&[]), None)[..3], ["begin", "+load", "end"]);
        assert_eq!(shown(&large, &view(&[("open", "load")]), None)[1..4], ["-load", " load.a", " +load.in"]);
        assert_eq!(
            shown(&large, &view(&[]), Some("load.in.b"))[1..5],
            ["-load", " load.a", " -load.in", "  load.in.b"]
        );
        assert_eq!(shown(&large, &view(&[("shut", "load")]), Some("load.a"))[1], "+load");
    }

    #[test]
    fn a_part_of_very_many_is_shown() {
        assert_eq!(window(100, 25, &view(&[]), None), None);
        let first = window(250, 25, &view(&[]), None).unwrap();
        assert_eq!((first.first, first.last, first.before), (1, 100, None));
        assert_eq!(first.after.as_deref(), Some("?from=100"));
        let last = window(250, 25, &view(&[("from", "200")]), None).unwrap();
        assert_eq!((last.first, last.last, last.after), (201, 250, None));
        assert_eq!(window(250, 25, &view(&[]), Some(130)).unwrap().first, 101, "where the selected row is");
        assert_eq!(window(20_000, 3, &view(&[("from", "999999")]), None).unwrap().first, 20_000);
    }
}
