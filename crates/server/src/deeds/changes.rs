//! What a person changes of what has run: clear, mark, note. Used by REST and pages alike.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::TaskId;
use millrace_model::instant::{InstantError, after_included_end, parse_instant};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_planner::DagVersion;
use millrace_settings::Masker;
use millrace_situation::clear_warnings;
use millrace_store::{
    ClearReport, ClearRequest, DagRow, LONGEST_NOTE, MarkReport, MarkRequest, MarkRunRequest, NewestVersion,
    RepinRequest, RunChoice, RunRow, Selection,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::permission::Act;
use crate::access::person::Person;
use crate::api::instances::TouchedInstance;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::server::Server;

/// A task, or one instance of a mapped one: `"load"` or `["load", 3]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum NamedTask {
    Task(String),
    Instance(String, i32),
}

impl NamedTask {
    fn named(self) -> (TaskId, Option<i32>) {
        match self {
            Self::Task(name) => (TaskId::new_unchecked(name), None),
            Self::Instance(name, index) => (TaskId::new_unchecked(name), Some(index)),
        }
    }
}

/// As Airflow's clients send it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the names and defaults are Airflow's")]
pub(crate) struct ClearBody {
    pub dry_run: bool,
    pub start_date: Option<String>,
    /// Inclusive, as in Airflow.
    pub end_date: Option<String>,
    pub only_failed: bool,
    pub only_running: bool,
    pub reset_dag_runs: bool,
    pub task_ids: Option<Vec<NamedTask>>,
    pub dag_run_id: Option<String>,
    pub include_upstream: bool,
    pub include_downstream: bool,
    pub include_future: bool,
    pub include_past: bool,
    pub run_on_latest_version: bool,
    pub prevent_running_task: bool,
    pub note: Option<String>,
}

impl Default for ClearBody {
    fn default() -> Self {
        Self {
            dry_run: true,
            start_date: None,
            end_date: None,
            only_failed: true,
            only_running: false,
            reset_dag_runs: true,
            task_ids: None,
            dag_run_id: None,
            include_upstream: false,
            include_downstream: false,
            include_future: false,
            include_past: false,
            run_on_latest_version: false,
            prevent_running_task: false,
            note: None,
        }
    }
}

/// As Airflow's clients send it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClearRunBody {
    pub dry_run: bool,
    pub only_failed: bool,
    /// Only tasks that the run does not have yet: `repin` does that, so that true is refused here.
    pub only_new: bool,
    pub run_on_latest_version: bool,
    pub note: Option<String>,
}

impl Default for ClearRunBody {
    fn default() -> Self {
        Self { dry_run: true, only_failed: false, only_new: false, run_on_latest_version: false, note: None }
    }
}

/// As Airflow's clients send it. The note becomes the run's.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the names are Airflow's")]
pub(crate) struct MarkBody {
    /// success, failed or skipped; left out, only the note is written.
    pub new_state: Option<String>,
    pub include_upstream: bool,
    pub include_downstream: bool,
    pub include_future: bool,
    pub include_past: bool,
    pub note: Option<String>,
}

/// As Airflow's clients send it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PatchRunBody {
    /// queued, success or failed. `queued` runs again what has failed, as clearing with `only_failed` does, and what has
    /// succeeded stays as it is; 409 where nothing has failed.
    pub state: Option<String>,
    /// Empty: it is taken away.
    pub note: Option<String>,
}

/// What is asked when a run is given the newest version of its DAG.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RepinBody {
    /// Changes nothing, and says what would change; true unless told otherwise.
    pub dry_run: bool,
}

impl Default for RepinBody {
    fn default() -> Self {
        Self { dry_run: true }
    }
}

/// What the newest version of its DAG makes of a run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RepinnedRun {
    dag_id: String,
    dag_run_id: String,
    /// Before.
    state: &'static str,
    /// The version that it is given to.
    version_number: u32,
    /// Tasks that it gets an instance of.
    added: Vec<String>,
    /// Tasks that the version does not have.
    removed: Vec<String>,
    /// Tasks that had been removed, and wait again.
    restored: Vec<String>,
    /// It had ended, and goes back to the queue for what now waits.
    queued: bool,
    dry_run: bool,
}

/// The newest version, for runs that are to be given to it.
pub(crate) fn newest(dag: &DagRow) -> Answer<NewestVersion> {
    let version = DagVersion::new(dag.version_key, dag.dag.clone()).map_err(|error| Problem::internal(&error))?;
    Ok(NewestVersion { version_key: dag.version_key, tasks: version.new_instances() })
}

/// The name of a group means its tasks.
fn with_members(dag: &DagRow, name: TaskId, index: Option<i32>) -> Vec<(TaskId, Option<i32>)> {
    let members = if dag.dag.task(name.as_str()).is_some() { Vec::new() } else { dag.dag.tasks_in(name.as_str()) };
    if members.is_empty() {
        return vec![(name, index)];
    }
    members.into_iter().map(|task| (task, index)).collect()
}

fn date(
    dag: &DagRow,
    (name, text): (&str, Option<&String>),
    read: fn(&str, Tz) -> Result<DateTime<Utc>, InstantError>,
) -> Answer<Option<DateTime<Utc>>> {
    let zone = dag.dag.timetable.timezone;
    let text = text.filter(|text| !text.trim().is_empty());
    let read = text.map(|text| read(text, zone)).transpose();
    read.map_err(|error| Problem::invalid(format!("'{name}': {error}")).with("path", name.into()))
}

/// As it is kept: without what is a secret now, for one that is changed or deleted is known to nobody any more.
pub(crate) fn checked_note(note: Option<String>, masker: &Masker) -> Answer<Option<String>> {
    let note = note.filter(|note| !note.trim().is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
        return Err(Problem::invalid(format!("'note' may have {LONGEST_NOTE} characters")).with("path", "note".into()));
    }
    Ok(note.map(|note| masker.mask(&note)))
}

/// What was or would be cleared, and what whoever does it should know.
pub(crate) struct Cleared {
    pub report: ClearReport,
    pub warnings: Vec<String>,
}

impl Server {
    pub async fn clear(&self, person: &Person, dag_id: &str, body: ClearBody) -> Answer<Cleared> {
        self.require_on(person, Act::ChangeRuns, dag_id).await?;
        let dag = self.dag_row(dag_id, 0).await?;
        let mut masker = self.masker_of_dag(&dag.dag);
        let runs = match &body.dag_run_id {
            Some(run_id) => {
                let run = self.run_row(dag_id, run_id).await?;
                masker = self.masker_of_run(&dag.dag, &run);
                RunChoice::One(run.key)
            }
            None => RunChoice::Between {
                dag_id: dag.dag_id.clone(),
                from: date(&dag, ("start_date", body.start_date.as_ref()), parse_instant)?,
                to: date(&dag, ("end_date", body.end_date.as_ref()), after_included_end)?,
            },
        };
        let tasks = match body.task_ids {
            None => TaskChoice::All,
            Some(names) => {
                let named = names.into_iter().map(NamedTask::named);
                TaskChoice::Named(named.flat_map(|(name, index)| with_members(&dag, name, index)).collect())
            }
        };
        let mut selection = Selection::of(runs, tasks);
        (selection.past, selection.future) = (body.include_past, body.include_future);
        (selection.tasks.upstream, selection.tasks.downstream) = (body.include_upstream, body.include_downstream);
        (selection.only_failed, selection.only_running) = (body.only_failed, body.only_running);
        let request = ClearRequest {
            keeps_run_state: !body.reset_dag_runs,
            refuses_running: body.prevent_running_task,
            newest: if body.run_on_latest_version { Some(newest(&dag)?) } else { None },
            note: checked_note(body.note, &masker)?,
            dry_run: body.dry_run,
            ..ClearRequest::new(selection, person.actor())
        };
        let report = self.store().clear_instances(&request, self.now()).await?;
        let warnings = clear_warnings(&dag.dag, &report.cleared);
        Ok(Cleared { report, warnings })
    }

    pub async fn clear_run(&self, person: &Person, dag_id: &str, run_id: &str, body: ClearRunBody) -> Answer<Cleared> {
        if body.only_new {
            let text = format!("'only_new' is not done by clearing: POST {}/repin", links::api_run(dag_id, run_id));
            return Err(Problem::invalid(text).with("path", "only_new".into()));
        }
        let whole = ClearBody {
            dry_run: body.dry_run,
            only_failed: body.only_failed,
            run_on_latest_version: body.run_on_latest_version,
            note: body.note,
            dag_run_id: Some(run_id.to_owned()),
            ..ClearBody::default()
        };
        self.clear(person, dag_id, whole).await
    }

    /// Gives a run the newest version of its DAG. 409 when it has it already, when it runs a part of its DAG, and when the
    /// DAG's file is gone.
    pub async fn repin(&self, person: &Person, dag_id: &str, run_id: &str, dry_run: bool) -> Answer<RepinnedRun> {
        self.require_on(person, Act::ChangeRuns, dag_id).await?;
        let (dag, run) = (self.dag_row(dag_id, 0).await?, self.run_row(dag_id, run_id).await?);
        if dag.is_stale {
            let text = format!("the file {} of DAG {dag_id} is gone; it has no version to give runs to", dag.file_path);
            return Err(Problem::new(ErrorCode::CONFLICT, text));
        }
        let request = RepinRequest {
            runs: RunChoice::One(run.key),
            only_active: false,
            newest: newest(&dag)?,
            dry_run,
            actor: person.actor(),
        };
        let report = self.store().repin_runs(&request, self.now()).await?;
        let Some(repinned) = report.first() else {
            let text = format!("the run {run_id} has version {} already", dag.version_number);
            return Err(Problem::new(ErrorCode::CONFLICT, text));
        };
        let names = |tasks: &[TaskId]| tasks.iter().map(ToString::to_string).collect();
        Ok(RepinnedRun {
            dag_id: dag_id.to_owned(),
            dag_run_id: run_id.to_owned(),
            state: repinned.run.from.as_str(),
            version_number: dag.version_number,
            added: names(&repinned.added),
            removed: names(&repinned.removed),
            restored: names(&repinned.restored),
            queued: repinned.run.queued,
            dry_run,
        })
    }

    /// The task `named` of a run, or those of the group of that name, with the relatives that the body asks for.
    pub async fn mark(
        &self,
        person: &Person,
        run: &RunRow,
        (name, index): (TaskId, Option<i32>),
        body: MarkBody,
        dry_run: bool,
    ) -> Answer<MarkReport> {
        self.require_on(person, Act::ChangeRuns, run.dag_id.as_str()).await?;
        let state = body.new_state.as_deref().unwrap_or_default();
        if body.new_state.is_none() && body.note.is_some() {
            let dag = self.dag_row(run.dag_id.as_str(), 0).await?;
            let note = checked_note(body.note, &self.masker_of_run(&dag.dag, run))?;
            if !dry_run {
                self.store().set_note(run.key, note.as_deref(), &person.actor(), self.now()).await?;
            }
            return Ok(MarkReport::default());
        }
        let Some(to @ (TaskState::Success | TaskState::Failed | TaskState::Skipped)) = TaskState::parse(state) else {
            let text = format!("'new_state' must be success, failed or skipped, not '{state}'");
            return Err(Problem::invalid(text).with("path", "new_state".into()));
        };
        let dag = self.dag_row(run.dag_id.as_str(), 0).await?;
        let named = with_members(&dag, name, index);
        let mut selection = Selection::of_run(run.key, TaskChoice::Named(named));
        (selection.past, selection.future) = (body.include_past, body.include_future);
        (selection.tasks.upstream, selection.tasks.downstream) = (body.include_upstream, body.include_downstream);
        let note = checked_note(body.note, &self.masker_of_run(&dag.dag, run))?;
        let request = MarkRequest { selection, to, note, dry_run, actor: person.actor() };
        let report = self.store().mark_instances(&request, self.now()).await?;
        Ok(report)
    }

    pub async fn mark_run(&self, person: &Person, run: &RunRow, to: RunState, dry_run: bool) -> Answer<MarkReport> {
        self.require_on(person, Act::ChangeRuns, run.dag_id.as_str()).await?;
        let request = MarkRunRequest { run: run.key, to, note: None, dry_run, actor: person.actor() };
        let report = self.store().mark_run(&request, self.now()).await?;
        Ok(report)
    }

    pub async fn patch_run(&self, person: &Person, dag_id: &str, run_id: &str, body: PatchRunBody) -> Answer<RunRow> {
        self.require_on(person, Act::ChangeRuns, dag_id).await?;
        let run = self.run_row(dag_id, run_id).await?;
        let masker = self.options.vault.masker().beside(&[&run.conf]);
        let note = checked_note(body.note.clone(), &masker)?;
        match body.state.as_deref().map(|state| (state, RunState::parse(state))) {
            None => {}
            Some((_, Some(RunState::Queued))) => {
                // In Airflow no task is touched: what has succeeded must not run twice for whoever asks in its words.
                let failed = ClearRunBody { dry_run: false, only_failed: true, ..ClearRunBody::default() };
                let cleared = self.clear_run(person, dag_id, run_id, failed).await?;
                if cleared.report.runs.is_empty() && run.state != RunState::Queued {
                    let text = format!(
                        "nothing of the run {run_id} has failed, so there is nothing to queue it for; POST {}/clear runs it again as a whole",
                        links::api_run(dag_id, run_id)
                    );
                    return Err(Problem::new(ErrorCode::CONFLICT, text));
                }
            }
            Some((_, Some(to @ (RunState::Success | RunState::Failed)))) => {
                self.mark_run(person, &run, to, false).await?;
            }
            Some((state, _)) => {
                let text = format!("'state' must be queued, success or failed, not '{state}'");
                return Err(Problem::invalid(text).with("path", "state".into()));
            }
        }
        if body.note.is_some() {
            self.store().set_note(run.key, note.as_deref(), &person.actor(), self.now()).await?;
        }
        self.run_row(dag_id, run_id).await
    }
}

/// What was or would be touched, in Airflow's envelope.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Touched {
    task_instances: Vec<TouchedInstance>,
    total_entries: usize,
    /// What may surprise: rows that come twice.
    pub warnings: Vec<String>,
}

impl Touched {
    pub fn of(task_instances: Vec<TouchedInstance>) -> Self {
        Self { total_entries: task_instances.len(), task_instances, warnings: Vec::new() }
    }
}
