//! Clearing and marking: a page that lists exactly what would be touched, and does it when told.

use std::collections::HashMap;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::{HeaderMap, StatusCode};
use millrace_model::ids::TaskId;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{ClearedInstance, TouchedRun};
use serde::Serialize;

use crate::access::person::Person;
use crate::deeds::changes::{ClearBody, Cleared, MarkBody, NamedTask, PatchRunBody};
use crate::format::sentence;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::words::{fill, said, say, t};

/// Rows that the page lists.
const MOST_LISTED: usize = 200;

/// What is to be done to what.
struct Wanted {
    dag_id: String,
    /// None: every run of the DAG, for what failed in them.
    run_id: Option<String>,
    task_id: Option<String>,
    /// One instance of a mapped task; none: all of them.
    map_index: Option<i32>,
    action: Action,
    parameters: Parameters,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Clear,
    Mark(TaskState),
}

impl Action {
    fn parse(text: Option<&str>) -> Answer<Self> {
        match text {
            Some("clear") => Ok(Self::Clear),
            Some("success") => Ok(Self::Mark(TaskState::Success)),
            Some("failed") => Ok(Self::Mark(TaskState::Failed)),
            Some("skipped") => Ok(Self::Mark(TaskState::Skipped)),
            other => {
                let text = format!("'action' must be clear, success, failed or skipped, not '{}'", other.unwrap_or(""));
                Err(Problem::invalid(text))
            }
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Mark(state) => state.as_str(),
        }
    }
}

#[derive(Serialize)]
struct Line {
    run_id: String,
    task_id: String,
    map_index: Option<i32>,
    from: &'static str,
    to: &'static str,
}

#[derive(Serialize)]
struct Choice {
    name: &'static str,
    text: &'static str,
    is_on: bool,
}

impl Wanted {
    fn is_on(&self, name: &str) -> bool {
        self.parameters.text(name).is_some()
    }

    fn named(&self, task: String) -> NamedTask {
        match self.map_index {
            Some(index) => NamedTask::Instance(task, index),
            None => NamedTask::Task(task),
        }
    }

    /// The page opens with what is most often meant; once its boxes were used, they say it.
    fn choices(&self) -> Vec<Choice> {
        let choice = |name: &'static str, text: &'static str| Choice { name, text, is_on: self.is_on(name) };
        let mut choices = Vec::new();
        if self.task_id.is_some() {
            choices.push(choice("upstream", t("tasks before it")));
            choices.push(choice("downstream", t("tasks after it")));
            choices.push(choice("past", t("earlier runs")));
            choices.push(choice("future", t("later runs")));
        }
        if self.action == Action::Clear && self.run_id.is_some() {
            choices.push(choice("only_failed", t("only what failed")));
            choices.push(choice("latest", t("with the DAG's newest version")));
        }
        choices
    }

    fn back(&self) -> String {
        match (&self.run_id, &self.task_id) {
            (Some(run), Some(task)) => links::instance(&self.dag_id, run, task, self.map_index.unwrap_or(-1)),
            (Some(run), None) => links::run(&self.dag_id, run),
            (None, _) => links::dag(&self.dag_id),
        }
    }

    fn title(&self) -> String {
        let said = |text: &str, what: &str| fill(text, &[("what", what)]);
        let what = match (&self.task_id, &self.run_id) {
            (Some(task), _) => match self.map_index {
                Some(index) => fill("task {what}", &[("what", &format!("{task} [{index}]"))]),
                None => fill("task {what}", &[("what", task)]),
            },
            (None, Some(_)) => t("the run").to_owned(),
            (None, None) => return said(said!("Run again what failed in {what}"), &self.dag_id),
        };
        let text = match self.action {
            Action::Clear => said!("Clear {what}"),
            Action::Mark(TaskState::Success) => said!("Mark {what} success"),
            Action::Mark(TaskState::Skipped) => said!("Mark {what} skipped"),
            Action::Mark(_) => said!("Mark {what} failed"),
        };
        said(text, &what)
    }
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    show(&server, &person, &headers, wanted(dag_id, Some(run_id), parameters)?).await
}

pub(super) async fn apply(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
    Form(parameters): Form<Vec<(String, String)>>,
) -> Answer {
    let wanted = wanted(dag_id, Some(run_id), Parameters(parameters))?;
    touch(&server, &person, &wanted, false).await?;
    Ok(Redirect::to(&wanted.back()).into_response())
}

/// What failed, in all runs of a DAG or those of some dates.
pub(super) async fn rerun_page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Answer {
    parameters.0.push(("action".to_owned(), "clear".to_owned()));
    show(&server, &person, &headers, wanted(dag_id, None, parameters)?).await
}

pub(super) async fn rerun(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    Form(mut parameters): Form<Vec<(String, String)>>,
) -> Answer {
    parameters.push(("action".to_owned(), "clear".to_owned()));
    let wanted = wanted(dag_id, None, Parameters(parameters))?;
    match touch(&server, &person, &wanted, false).await {
        Ok(_) => Ok(Redirect::to(&wanted.back()).into_response()),
        Err(problem) if mistyped(&problem).is_some() => show(&server, &person, &headers, wanted).await,
        Err(problem) => Err(problem),
    }
}

/// The field of a date that cannot be read, and what is wrong with it.
fn mistyped(problem: &Problem) -> Option<(&'static str, String)> {
    let name = match problem.extra.get("path")?.as_str()? {
        "start_date" => "from",
        "end_date" => "to",
        _ => return None,
    };
    let (_, error) = problem.detail.split_once(": ")?;
    Some((name, sentence(&say(&format!("parameter '{name}' must be a date: {error}")))))
}

pub(super) async fn note(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
    Form(parameters): Form<Vec<(String, String)>>,
) -> Answer {
    let note = Parameters(parameters).owned("note").unwrap_or_default();
    server.patch_run(&person, &dag_id, &run_id, PatchRunBody { state: None, note: Some(note) }).await?;
    Ok(Redirect::to(&links::run(&dag_id, &run_id)).into_response())
}

/// The newest version of its DAG, for one run.
pub(super) async fn repin(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> Answer {
    server.repin(&person, &dag_id, &run_id, false).await?;
    Ok(Redirect::to(&links::run(&dag_id, &run_id)).into_response())
}

fn wanted(dag_id: String, run_id: Option<String>, parameters: Parameters) -> Answer<Wanted> {
    let action = Action::parse(parameters.text("action"))?;
    let task_id = parameters.owned("task");
    let map_index = parameters.filled_number("map_index")?;
    Ok(Wanted { dag_id, run_id, task_id, map_index, action, parameters })
}

async fn show(server: &Server, person: &Person, headers: &HeaderMap, wanted: Wanted) -> Answer {
    // What was mistyped is said at its field, not instead of the page.
    let mut wrong = HashMap::new();
    let touching = match touch(server, person, &wanted, true).await {
        Ok(touching) => touching,
        Err(problem) => {
            wrong.extend([mistyped(&problem).ok_or(problem)?]);
            Touching::default()
        }
    };
    let (changed, runs) = (&touching.changed, &touching.runs);
    let line = |it: &ClearedInstance| Line {
        run_id: runs.iter().find(|run| run.run == it.run).map(|run| run.run_id.to_string()).unwrap_or_default(),
        task_id: it.task_id.to_string(),
        map_index: (it.map_index >= 0).then_some(it.map_index),
        from: it.from.as_str(),
        to: it.to.as_str(),
    };
    let queued = runs.iter().filter(|run| run.queued).count();
    let values = values! {
        dag_id => wanted.dag_id,
        dag_href => links::dag(&wanted.dag_id),
        title => wanted.title(),
        action => wanted.action.word(),
        run_id => wanted.run_id,
        task_id => wanted.task_id,
        map_index => wanted.map_index,
        back => wanted.back(),
        choices => wanted.choices(),
        from => wanted.parameters.text("from").unwrap_or_default(),
        to => wanted.parameters.text("to").unwrap_or_default(),
        lines => changed.iter().take(MOST_LISTED).map(line).collect::<Vec<_>>(),
        more => changed.len().saturating_sub(MOST_LISTED),
        count => changed.len(),
        run_count => runs.len(),
        queued,
        warnings => touching.warnings(),
        can_act => !runs.is_empty(),
        wrong,
    };
    let mut page = server.page("change.html", Some(person), &Wishes::of(headers), values).await?;
    if !wrong.is_empty() {
        *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(page)
}

/// What is touched.
#[derive(Default)]
pub(super) struct Touching {
    pub changed: Vec<ClearedInstance>,
    pub runs: Vec<TouchedRun>,
    pub warnings: Vec<String>,
}

impl Touching {
    /// As the viewer reads them.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.iter().map(|text| sentence(&say(text))).collect()
    }
}

/// Does it, or lists what it would touch.
async fn touch(server: &Server, person: &Person, wanted: &Wanted, dry_run: bool) -> Answer<Touching> {
    match (wanted.action, &wanted.task_id, &wanted.run_id) {
        (Action::Clear, task, run) => {
            let body = ClearBody {
                dry_run,
                dag_run_id: run.clone(),
                task_ids: task.clone().map(|task| vec![wanted.named(task)]),
                start_date: wanted.parameters.owned("from"),
                end_date: wanted.parameters.owned("to"),
                only_failed: run.is_none() || wanted.is_on("only_failed"),
                include_upstream: wanted.is_on("upstream"),
                include_downstream: wanted.is_on("downstream"),
                include_past: wanted.is_on("past"),
                include_future: wanted.is_on("future"),
                run_on_latest_version: wanted.is_on("latest"),
                ..ClearBody::default()
            };
            let Cleared { report, warnings } = server.clear(person, &wanted.dag_id, body).await?;
            Ok(Touching { changed: report.cleared, runs: report.runs, warnings })
        }
        (Action::Mark(state), Some(task), Some(run)) => {
            let run = server.run_row(&wanted.dag_id, run).await?;
            let body = MarkBody {
                new_state: Some(state.as_str().to_owned()),
                include_upstream: wanted.is_on("upstream"),
                include_downstream: wanted.is_on("downstream"),
                include_past: wanted.is_on("past"),
                include_future: wanted.is_on("future"),
                note: None,
            };
            let named = (TaskId::new_unchecked(task.clone()), wanted.map_index);
            let report = server.mark(person, &run, named, body, dry_run).await?;
            let changed = report.marked.into_iter().chain(report.cleared).collect();
            Ok(Touching { changed, runs: report.runs, warnings: Vec::new() })
        }
        (Action::Mark(state), _, Some(run)) => {
            let run = server.run_row(&wanted.dag_id, run).await?;
            let to = match state {
                TaskState::Success => RunState::Success,
                TaskState::Failed => RunState::Failed,
                _ => return Err(Problem::invalid("a run is marked success or failed")),
            };
            let report = server.mark_run(person, &run, to, dry_run).await?;
            Ok(Touching { changed: report.marked, runs: report.runs, warnings: Vec::new() })
        }
        (Action::Mark(_), _, None) => Err(Problem::invalid("say which run")),
    }
}
