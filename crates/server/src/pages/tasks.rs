//! Task instances of every DAG, with filters; several of them, or several whole runs, are cleared or marked at once.

use std::collections::{BTreeMap, BTreeSet};

use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_model::ids::TaskId;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{InstanceFilter, ListedInstance};
use serde::Serialize;

use super::change::Touching;
use super::instances;
use super::paging::{kept, paging};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::deeds::changes::{ClearBody, Cleared, MarkBody, NamedTask};
use crate::format::{When, length, sentence, span};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, merged, values};
use crate::server::{Server, Shared};
use crate::words::{said, say, t};

const ROWS: u64 = 50;
/// Changed at once.
const MOST_CHOSEN: usize = 200;

#[derive(Serialize)]
struct Line {
    /// What a box stands for: DAG, run, task and index, apart by line ends, which no id has.
    key: String,
    dag_id: String,
    dag_href: String,
    run_id: String,
    run_href: String,
    name: String,
    href: String,
    operator: String,
    pool: String,
    state: &'static str,
    reason: Option<String>,
    /// The person who looks.
    may_change: bool,
    tries: String,
    started: Option<When>,
    took: Option<String>,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let offset = parameters.offset()?;
    let state = match parameters.text("state") {
        None => None,
        Some(text) => Some(TaskState::parse(text).ok_or_else(|| unknown_state(text))?),
    };
    let texts = |name: &str| parameters.owned(name).into_iter().collect();
    let filter = InstanceFilter {
        dag_ids: texts("dag"),
        task_ids: texts("task"),
        operators: texts("operator"),
        pools: texts("pool"),
        states: state.into_iter().collect(),
        order: parameters.order(InstanceFilter::ORDERS)?,
        // One more says whether there are more.
        limit: ROWS + 1,
        offset,
        ..InstanceFilter::default()
    };
    let rows = server.store().list_instances(&filter).await?;
    let changeable = server.dags_to_change(&person, rows.iter().map(|it| it.dag_id.as_str())).await?;
    let now = server.now();
    let line = |it: &ListedInstance| {
        let (dag_id, run_id, row) = (it.dag_id.as_str(), it.run_id.as_str(), &it.row);
        let id = row.task_id.as_str();
        Line {
            key: format!("{dag_id}\n{run_id}\n{id}\n{}", row.map_index),
            dag_id: dag_id.to_owned(),
            dag_href: links::dag(dag_id),
            run_id: run_id.to_owned(),
            run_href: links::run(dag_id, run_id),
            name: if row.map_index < 0 { id.to_owned() } else { format!("{id} [{}]", instances::name(row)) },
            href: links::instance(dag_id, run_id, id, row.map_index),
            operator: row.operator.clone(),
            pool: row.pool.clone(),
            state: row.state.as_str(),
            reason: row.state_reason.clone(),
            may_change: changeable.contains(dag_id),
            tries: format!("{}/{}", row.try_number, row.max_tries + 1),
            started: row.start_date.filter(|_| row.try_number > 0).map(|at| When::new(at, now, Tz::UTC)),
            took: span(row.start_date, row.end_date, now).filter(|_| row.try_number > 0).map(length),
        }
    };
    let asked = kept(&parameters, &["dag", "task", "operator", "pool"]);
    let rest = format!("{asked}{}", kept(&parameters, &["order_by"]));
    let sorted = format!("/task-instances?state={}{asked}", state.map_or("", TaskState::as_str));
    let values = values! {
        here => format!("{sorted}{}&offset={offset}", kept(&parameters, &["order_by"])),
        any_may_change => !changeable.is_empty(),
        lines => rows.iter().take(ROWS as usize).map(line).collect::<Vec<_>>(),
        state => state.map(TaskState::as_str),
        states => [
            TaskState::Failed, TaskState::UpstreamFailed, TaskState::UpForRetry, TaskState::Running, TaskState::Queued,
            TaskState::Scheduled, TaskState::Deferred, TaskState::Success, TaskState::Skipped,
        ].map(TaskState::as_str),
        rest,
        sorted,
        order_by => parameters.text("order_by"),
        dag_id => parameters.text("dag"),
        task_id => parameters.text("task"),
        operator => parameters.text("operator"),
        pool => parameters.text("pool"),
    };
    // How many there are in all nobody counts.
    let values = merged(values, paging(offset, rows.len(), ROWS, offset + rows.len() as u64));
    server.page("tasks.html", Some(&person), &Wishes::of(&headers), values).await
}

fn unknown_state(text: &str) -> Problem {
    let known: Vec<&str> = TaskState::ALL.iter().map(|state| state.as_str()).collect();
    let text: String = text.chars().take(40).collect();
    Problem::invalid(format!("parameter 'state' must be one of {}, not '{text}'", known.join(", ")))
}

/// What was chosen of one run; without tasks, all of it.
#[derive(Default)]
struct Chosen {
    tasks: Vec<(String, i32)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Clear,
    /// Clears what failed.
    Rerun,
    Mark(TaskState),
}

impl Deed {
    fn parse(text: Option<&str>) -> Answer<Self> {
        match text {
            Some("clear") => Ok(Self::Clear),
            Some("rerun") => Ok(Self::Rerun),
            Some("success") => Ok(Self::Mark(TaskState::Success)),
            Some("failed") => Ok(Self::Mark(TaskState::Failed)),
            Some("skipped") => Ok(Self::Mark(TaskState::Skipped)),
            _ => Err(Problem::invalid("'action' must be clear, rerun, success, failed or skipped")),
        }
    }

    fn title(self) -> &'static str {
        t(match self {
            Self::Clear => said!("Clear what was chosen"),
            Self::Rerun => said!("Run again what failed of what was chosen"),
            Self::Mark(TaskState::Success) => said!("Mark what was chosen success"),
            Self::Mark(TaskState::Skipped) => said!("Mark what was chosen skipped"),
            Self::Mark(_) => said!("Mark what was chosen failed"),
        })
    }
}

/// The parts of what a box stands for. Browsers send line ends as two letters.
fn parts_of(key: &str) -> Vec<&str> {
    key.split('\n').map(|part| part.trim_end_matches('\r')).collect()
}

fn run_of(key: &str) -> (&str, &str) {
    match parts_of(key)[..] {
        [dag_id, run_id, ..] => (dag_id, run_id),
        _ => ("", ""),
    }
}

fn read_chosen(keys: &[&str]) -> Answer<BTreeMap<(String, String), Chosen>> {
    let mut chosen: BTreeMap<(String, String), Chosen> = BTreeMap::new();
    for key in keys {
        let (dag_id, run_id, task) = match parts_of(key)[..] {
            [dag_id, run_id, task_id, index] => (dag_id, run_id, Some((task_id, index))),
            [dag_id, run_id] => (dag_id, run_id, None),
            _ => return Err(Problem::invalid("an item is not one")),
        };
        let of_run = chosen.entry((dag_id.to_owned(), run_id.to_owned())).or_default();
        if let Some((task_id, index)) = task {
            let index = index.parse().map_err(|_| Problem::invalid("an item has no number"))?;
            of_run.tasks.push((task_id.to_owned(), index));
        }
    }
    Ok(chosen)
}

/// A run of which nothing is changed, and why.
#[derive(Serialize)]
struct Refused<'a> {
    dag_id: &'a str,
    run_id: &'a str,
    text: String,
}

/// Lists what would be touched; with `sure`, touches it.
pub(super) async fn change(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    let fields = Parameters(fields);
    let deed = Deed::parse(fields.text("action"))?;
    let keys = fields.all("item");
    if keys.is_empty() || keys.len() > MOST_CHOSEN {
        return Err(Problem::invalid(format!("choose 1 to {MOST_CHOSEN} lines of the list, not {}", keys.len())));
    }
    let chosen = read_chosen(&keys)?;
    for (dag_id, _) in chosen.keys() {
        server.require_on(&person, Act::ChangeRuns, dag_id).await?;
    }
    let is_sure = fields.text("sure").is_some();
    let downstream = fields.text("downstream").is_some();
    let (mut lines, mut warnings) = (Vec::new(), BTreeSet::new());
    let (mut runs, mut queued) = (0, 0);
    // One that is refused keeps none of the others from being done, and is told beside them.
    let (mut refused, mut first) = (Vec::new(), None);
    for ((dag_id, run_id), of_run) in &chosen {
        let run = (dag_id.as_str(), run_id.as_str());
        // Tried first, so that no half of a run is changed.
        let mut touching = apply(&server, &person, deed, run, of_run, downstream, true).await;
        if is_sure && touching.is_ok() {
            touching = apply(&server, &person, deed, run, of_run, downstream, false).await;
        }
        let touching = match touching {
            Ok(touching) => touching,
            Err(problem) if problem.status().is_server_error() => return Err(problem),
            Err(problem) => {
                refused.push(Refused { dag_id, run_id, text: sentence(&say(&problem.detail)) });
                first.get_or_insert(problem);
                continue;
            }
        };
        runs += touching.runs.len();
        queued += touching.runs.iter().filter(|run| run.queued).count();
        warnings.extend(touching.warnings());
        lines.extend(touching.changed.iter().map(|it| {
            values! {
                dag_id => dag_id,
                run_id => run_id,
                task_id => it.task_id.as_str(),
                map_index => (it.map_index >= 0).then_some(it.map_index),
                from => it.from.as_str(),
                to => it.to.as_str(),
            }
        }));
    }
    if let Some(problem) = first.filter(|_| refused.len() == chosen.len()) {
        return Err(problem);
    }
    let otherwise = if fields.text("of") == Some("runs") { "/runs" } else { "/task-instances" };
    let back = fields.text("back").and_then(links::local).unwrap_or(otherwise);
    if is_sure && refused.is_empty() {
        return Ok(Redirect::to(back).into_response());
    }
    let is_refused = |key: &&&str| refused.iter().any(|it: &Refused<'_>| run_of(key) == (it.dag_id, it.run_id));
    let items: Vec<&str> = keys.iter().filter(|key| !is_refused(key)).copied().collect();
    let values = values! {
        title => deed.title(),
        action => fields.text("action"),
        of => fields.text("of"),
        back,
        items,
        downstream, runs, queued, warnings, refused,
        is_done => is_sure,
        can_act => !is_sure && (runs > 0 || !lines.is_empty()),
        count => lines.len(),
        lines,
    };
    server.page("tasks_change.html", Some(&person), &Wishes::of(&headers), values).await
}

async fn apply(
    server: &Server,
    person: &Person,
    deed: Deed,
    (dag_id, run_id): (&str, &str),
    chosen: &Chosen,
    downstream: bool,
    dry_run: bool,
) -> Answer<Touching> {
    let named = |(task, index): &(String, i32)| match index {
        -1 => NamedTask::Task(task.clone()),
        index => NamedTask::Instance(task.clone(), *index),
    };
    let is_whole = chosen.tasks.is_empty();
    let Deed::Mark(state) = deed else {
        let body = ClearBody {
            dry_run,
            only_failed: deed == Deed::Rerun,
            dag_run_id: Some(run_id.to_owned()),
            task_ids: (!is_whole).then(|| chosen.tasks.iter().map(named).collect()),
            include_downstream: downstream,
            ..ClearBody::default()
        };
        let Cleared { report, warnings } = server.clear(person, dag_id, body).await?;
        return Ok(Touching { changed: report.cleared, runs: report.runs, warnings });
    };
    let run = server.run_row(dag_id, run_id).await?;
    if is_whole {
        let to = match state {
            TaskState::Success => RunState::Success,
            TaskState::Failed => RunState::Failed,
            _ => return Err(Problem::invalid("a run is marked success or failed")),
        };
        let report = server.mark_run(person, &run, to, dry_run).await?;
        return Ok(Touching { changed: report.marked, runs: report.runs, warnings: Vec::new() });
    }
    let mut touching = Touching { changed: Vec::new(), runs: Vec::new(), warnings: Vec::new() };
    for (task, index) in &chosen.tasks {
        let body = MarkBody {
            new_state: Some(state.as_str().to_owned()),
            include_upstream: false,
            include_downstream: downstream,
            include_future: false,
            include_past: false,
            note: None,
        };
        let named = (TaskId::new_unchecked(task.clone()), (*index >= 0).then_some(*index));
        let report = server.mark(person, &run, named, body, dry_run).await?;
        touching.changed.extend(report.marked.into_iter().chain(report.cleared));
        for touched in report.runs {
            if !touching.runs.iter().any(|known| known.run == touched.run) {
                touching.runs.push(touched);
            }
        }
    }
    Ok(touching)
}
