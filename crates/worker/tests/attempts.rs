//! Single tries against operators made for the purpose: every way in which a try can end, ends in one completion.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_model::change::{Assignment, Completion, RunFacts, TryOutcome};
use millrace_model::dag::Dag;
use millrace_model::ids::RunId;
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunType;
use millrace_operator_api::context::{CancelSignal, LogLevel};
use millrace_operator_api::context::{NoRuns, NoTriggers, OwnSlot};
use millrace_operator_api::ports::{ObjectStore, Ports, Processes, Scratch, SqlSource, Warehouse};
use millrace_operator_api::{Operator, OperatorEntry, Outcome, PortError, PortErrorKind, TaskContext, TaskError};
use millrace_settings::Masker;
use millrace_template::{ConnView, Lookup, NoLookup, Template};
use millrace_worker::{
    AttemptIo, Cancel, Equipment, LogSink, LookupFactory, MemoryJournal, NoResults, Note, SystemClock, run_attempt,
    run_until_ended,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Does as it is told.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Puppet {
    /// How to end.
    ending: Template<String>,
}

impl Operator for Puppet {
    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        async move {
            let ending: String = self.ending.get().unwrap();
            context.info(format!("about to {ending} with hunter22"));
            match ending.as_str() {
                "succeed" => Ok(Outcome::with(json!(7))),
                "leak" => Ok(Outcome::with(json!({"next_page_token": "p2", "said": ["it is hunter22"]}))),
                "check" => {
                    let found = format!("hunter22 and {}", "é".repeat(2_000));
                    let mut entry = json!({
                        "stage": "check", "source": "dw: SELECT 'hunter22'", "target": "hunter22", "remote_ids": [],
                        "started_at": context.clock.now(), "ended_at": context.clock.now(),
                    });
                    entry["checks"] = json!([{"name": "is not 'hunter22'", "passed": true, "found": found}]);
                    context.reporter.ledger(serde_json::from_value(entry).unwrap());
                    Ok(Outcome::default())
                }
                "retry" => Err(TaskError::Retry("the server is away, password hunter22".to_owned())),
                "fail" => Err(TaskError::Fail("the SQL is wrong".to_owned())),
                "wait" if context.put_offs == 2 => Ok(Outcome::with(json!(context.first_start))),
                "wait" => Err(TaskError::NotYet { until: context.clock.now(), reason: "not there".to_owned() }),
                "skip secret" => Err(TaskError::Skip("no file hunter22".to_owned())),
                "wait for secret" => {
                    Err(TaskError::NotYet { until: context.clock.now(), reason: "no file hunter22".to_owned() })
                }
                "skip" => Err(TaskError::Skip("nothing to do".to_owned())),
                "panic" => panic!("out of cheese"),
                "wait outside" => {
                    context.slot.leave();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    context.slot.take_again().await;
                    Ok(Outcome::with(json!("was there")))
                }
                "hang" => std::future::pending().await,
                "tidy" => {
                    let reason = context.cancel.cancelled().await;
                    Err(TaskError::Cancelled(reason))
                }
                "late" => {
                    context.cancel.cancelled().await;
                    Ok(Outcome::default())
                }
                other => Err(TaskError::Fail(format!("unknown ending {other}"))),
            }
        }
        .boxed()
    }
}

static CATALOGUE: &[OperatorEntry] = &[OperatorEntry::of::<Puppet>("puppet", "Does as it is told")];

struct NoPorts;

fn none<T>() -> BoxFuture<'static, Result<T, PortError>>
where
    T: Send + 'static,
{
    futures::future::ready(Err(PortError::new(PortErrorKind::NotFound, "no ports here"))).boxed()
}

impl Ports for NoPorts {
    fn source<'a>(&'a self, _: &'a TaskContext, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn SqlSource>, PortError>> {
        none()
    }
    fn objects<'a>(&'a self, _: &'a TaskContext, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn ObjectStore>, PortError>> {
        none()
    }
    fn warehouse<'a>(&'a self, _: &'a TaskContext, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Warehouse>, PortError>> {
        none()
    }
    fn processes(&self) -> Arc<dyn Processes> {
        unreachable!("the puppet starts no process")
    }
    fn scratch(&self) -> Arc<dyn Scratch> {
        unreachable!("the puppet writes no file")
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>, Mutex<Vec<Note>>);

impl LogSink for Lines {
    fn line(&self, _: DateTime<Utc>, _: LogLevel, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn note(&self, note: Note) {
        self.1.lock().unwrap().push(note);
    }
    fn flush(&self) {}
}

struct Tried {
    completion: Completion,
    lines: Vec<String>,
}

fn assignment(parameters: Value, timeout: Option<&str>) -> Assignment {
    let mut task = json!({
        "task_id": "t", "operator": "puppet", "trigger_rule": "all_success", "retries": 1, "retry_delay": "1s",
        "pool": "default_pool", "pool_slots": 1, "priority_weight": 1, "parameters": parameters,
    });
    if let Some(timeout) = timeout {
        task["execution_timeout"] = json!(timeout);
    }
    let dag: Dag = serde_json::from_value(json!({
        "schema_version": 1, "dag_id": "d", "timetable": {"schedule": "none", "timezone": "UTC"}, "catchup": false,
        "max_active_runs": 1, "max_active_tasks": 1, "tasks": [task],
    }))
    .unwrap();
    let at = DateTime::from_timestamp(1_704_067_200, 0).unwrap();
    let mut conf = Map::new();
    conf.insert("ending".to_owned(), json!("succeed"));
    Assignment {
        instance: 1,
        token: "token".to_owned(),
        dag: Arc::new(dag),
        task_index: 0,
        run: Arc::new(RunFacts {
            run_key: 1,
            run_id: RunId::new_unchecked("manual__x"),
            run_type: RunType::Manual,
            logical_date: at,
            data_interval: DataInterval::point(at),
            run_after: at,
            created_at: at,
            start_date: None,
            conf,
            asset_events: Vec::new(),
        }),
        map_index: -1,
        try_number: 1,
        max_tries: 1,
        generation: 0,
        put_offs: None,
    }
}

async fn attempt(assignment: Assignment, cancel: Cancel) -> Tried {
    tried(assignment, cancel, false).await
}

async fn with_grace(grace: Duration, assignment: Assignment, cancel: Cancel) -> Tried {
    let (equipment, io, lines) = equipped(grace, cancel);
    let completion = run_attempt(equipment, assignment, io).await;
    let lines = lines.0.lock().unwrap().clone();
    Tried { completion, lines }
}

fn equipped(grace: Duration, cancel: Cancel) -> (Arc<Equipment>, AttemptIo, Arc<Lines>) {
    looking_up(Arc::new(|_| Arc::new(NoLookup)), grace, cancel)
}

fn looking_up(lookup: LookupFactory, grace: Duration, cancel: Cancel) -> (Arc<Equipment>, AttemptIo, Arc<Lines>) {
    let masker = Masker::new();
    masker.add("hunter22");
    let mut equipment =
        Equipment::new(CATALOGUE, Arc::new(NoPorts), Arc::new(SystemClock), masker, lookup, "here".to_owned());
    equipment.cancel_grace = grace;
    let lines = Arc::new(Lines::default());
    let io = AttemptIo {
        log: lines.clone(),
        journal: Arc::new(MemoryJournal::default()),
        results: Arc::new(NoResults),
        runs: Arc::new(NoRuns),
        triggers: Arc::new(NoTriggers),
        slot: Arc::new(OwnSlot),
        cancel,
    };
    (Arc::new(equipment), io, lines)
}

async fn tried(assignment: Assignment, cancel: Cancel, until_ended: bool) -> Tried {
    let (equipment, io, lines) = equipped(Duration::from_millis(50), cancel);
    let completion = if until_ended {
        run_until_ended(equipment, assignment, io).await
    } else {
        run_attempt(equipment, assignment, io).await
    };
    let lines = lines.0.lock().unwrap().clone();
    Tried { completion, lines }
}

async fn ending(ending: &str) -> Tried {
    attempt(assignment(json!({"ending": ending}), None), Cancel::new()).await
}

#[tokio::test]
async fn success_brings_its_result_and_its_log() {
    let tried = ending("succeed").await;
    assert_eq!(tried.completion.outcome, TryOutcome::Success);
    assert_eq!(tried.completion.results, [("return_value".to_owned(), json!(7))]);
    assert!(tried.completion.shown_results.is_empty(), "it is shown as it is");
    assert_eq!(tried.completion.token, "token");
    assert!(tried.lines[0].contains("puppet try 1 of 2: d t (manual__x)"), "{:?}", tried.lines);
    assert_eq!(tried.lines[1], "about to succeed with ***");
}

#[tokio::test]
async fn a_result_is_kept_as_it_is_for_the_tasks_that_work_with_it() {
    let tried = ending("leak").await;
    let results = tried.completion.results;
    let kept = json!({"next_page_token": "p2", "said": ["it is hunter22"]});
    assert_eq!(results, [("return_value".to_owned(), kept)]);
    // What is shown later, by a server that never knew the secret or when it is gone.
    let shown = json!({"next_page_token": "***", "said": ["it is ***"]});
    assert_eq!(tried.completion.shown_results, [("return_value".to_owned(), shown)]);
    assert!(!tried.lines.concat().contains("hunter22"), "{:?}", tried.lines);
}

#[tokio::test]
async fn the_ledger_keeps_no_secret_and_no_document() {
    let entry = ending("check").await.completion.ledger.remove(0);
    assert_eq!((entry.source.as_str(), entry.target.as_str()), ("dw: SELECT '***'", "***"));
    let check = &entry.checks[0];
    assert_eq!(check.name, "is not '***'");
    assert!(check.found.starts_with("*** and éé") && check.found.ends_with("é…"), "{}", check.found);
    assert_eq!(check.found.chars().count(), 1_001);
}

#[tokio::test]
async fn a_secret_of_one_run_is_an_ordinary_word_of_another() {
    let (equipment, io, lines) = equipped(Duration::from_millis(50), Cancel::new());
    let of = |conf: Value| {
        let mut one = assignment(json!({"ending": "{{ params.ending }}"}), None);
        let run = RunFacts { conf: conf.as_object().unwrap().clone(), ..(*one.run).clone() };
        one.run = Arc::new(run);
        one
    };
    let own = of(json!({"ending": "succeed", "x_password": "succeed"}));
    let completion = run_attempt(equipment.clone(), own, io.clone()).await;
    assert_eq!(completion.outcome, TryOutcome::Success);
    assert_eq!(completion.rendered, Some(json!({"ending": "***"})));
    assert!(lines.0.lock().unwrap().iter().any(|line| line == "about to *** with ***"), "{:?}", lines.0);
    let other = run_attempt(equipment, of(json!({"ending": "succeed"})), io).await;
    assert_eq!(other.rendered, Some(json!({"ending": "succeed"})));
    assert_eq!(lines.0.lock().unwrap().iter().filter(|line| *line == "about to succeed with ***").count(), 1);
}

#[tokio::test]
async fn a_wait_that_nobody_else_looks_after_is_waited_for_here() {
    let tried = tried(assignment(json!({"ending": "wait"}), None), Cancel::new(), true).await;
    assert_eq!(tried.completion.outcome, TryOutcome::Success);
    assert_eq!(tried.completion.results, [("return_value".to_owned(), json!(tried.completion.started_at))]);
    assert_eq!(tried.lines.iter().filter(|line| line.contains("not there; looking again")).count(), 2);
}

#[tokio::test]
async fn a_put_off_try_is_no_error() {
    let tried = ending("wait").await;
    assert!(matches!(tried.completion.outcome, TryOutcome::PutOff { .. }));
    assert_eq!(tried.completion.error, None);
}

#[tokio::test]
async fn an_operator_says_itself_what_happens_next() {
    let retry = ending("retry").await.completion;
    assert_eq!(retry.outcome, TryOutcome::Failed { reason: "error".into(), retry: true });
    assert_eq!(retry.error.as_deref(), Some("the server is away, password ***"));
    let fail = ending("fail").await.completion;
    assert_eq!(fail.outcome, TryOutcome::Failed { reason: "error".into(), retry: false });
    let skip = ending("skip").await.completion;
    assert_eq!(skip.outcome, TryOutcome::Skipped { reason: "nothing to do".into() });
    assert_eq!(skip.error, None);
}

#[tokio::test]
async fn a_panic_is_a_failed_try() {
    let tried = ending("panic").await;
    assert_eq!(tried.completion.outcome, TryOutcome::Failed { reason: "panic".into(), retry: true });
    assert!(tried.completion.error.unwrap().contains("out of cheese"));
}

#[tokio::test]
async fn execution_timeout_stops_the_work_and_allows_a_retry() {
    let tried = attempt(assignment(json!({"ending": "hang"}), Some("0.05")), Cancel::new()).await;
    assert_eq!(tried.completion.outcome, TryOutcome::Failed { reason: "timeout".into(), retry: true });
    assert!(tried.completion.error.unwrap().contains("execution_timeout"));
    assert!(tried.lines.iter().any(|line| line.contains("execution_timeout")));
}

#[tokio::test]
async fn a_template_that_takes_long_holds_up_nothing_and_ends_with_its_try() {
    let slow = "{% for i in range(1000) %}{% set x = ('a' * 90000).replace('a', 'bbb') %}{% endfor %}";
    // On the one thread of this test nobody could see that its time is over before the template is done.
    let tried = attempt(assignment(json!({"ending": slow}), Some("0.2")), Cancel::new()).await;
    assert_eq!(tried.completion.outcome, TryOutcome::Failed { reason: "timeout".into(), retry: true });
}

#[tokio::test]
async fn a_try_that_takes_its_time_tells_its_parameters_meanwhile() {
    let rendering = |limit| assignment(json!({"ending": "{{ 'hang' }}"}), Some(limit));
    for (assignment, told) in [
        (rendering("1.3"), vec![json!({"ending": "hang"})]),
        (rendering("0.1"), vec![]),
        (assignment(json!({"ending": "hang"}), Some("1.3")), vec![]),
    ] {
        let (equipment, io, lines) = equipped(Duration::from_millis(50), Cancel::new());
        run_attempt(equipment, assignment, io).await;
        let notes = lines.1.lock().unwrap();
        let rendered = notes.iter().filter_map(|note| match note {
            Note::Rendered(parameters) => Some(parameters.clone()),
            Note::Checkpoint(_) | Note::LosesLines(_) => None,
        });
        assert_eq!(rendered.collect::<Vec<_>>(), told);
    }
}

#[tokio::test]
async fn a_try_that_is_cut_off_is_gone_at_its_moment_whatever_grace_it_has() {
    for was_asked_before in [false, true] {
        let cancel = Cancel::new();
        if was_asked_before {
            cancel.fire("the lease was not extended");
        }
        cancel.cut_off("the lease was not extended", tokio::time::Instant::now());
        let hang = assignment(json!({"ending": "hang"}), None);
        let tried = with_grace(Duration::MAX, hang, cancel).await;
        let expected = TryOutcome::Cancelled { reason: "the lease was not extended".into() };
        assert_eq!(tried.completion.outcome, expected);
    }
}

#[tokio::test]
async fn a_cancelled_try_may_tidy_up_and_a_success_is_never_thrown_away() {
    for (ending, expected) in [
        ("hang", TryOutcome::Cancelled { reason: "cleared by ann".into() }),
        ("tidy", TryOutcome::Cancelled { reason: "cleared by ann".into() }),
        ("late", TryOutcome::Success),
    ] {
        let cancel = Cancel::new();
        cancel.fire("cleared by ann");
        cancel.fire("a second reason");
        assert!(cancel.is_cancelled());
        let tried = attempt(assignment(json!({"ending": ending}), None), cancel).await;
        assert_eq!(tried.completion.outcome, expected, "{ending}");
        // Its task may have been marked as a success.
        let (last, is_late) = (tried.lines.last().cloned().unwrap_or_default(), ending == "late");
        assert_eq!(last.contains("stopped after") && last.ends_with("cleared by ann"), !is_late, "{last}");
        assert!(tried.lines.iter().all(|line| !line.contains("failed after")), "{:?}", tried.lines);
    }
}

#[tokio::test]
async fn parameters_are_rendered_and_kept_for_showing() {
    let tried = attempt(assignment(json!({"ending": "{{ params.ending }}"}), None), Cancel::new()).await;
    assert_eq!(tried.completion.outcome, TryOutcome::Success, "{:?}", tried.completion.error);
    assert_eq!(tried.completion.rendered, Some(json!({"ending": "succeed"})));
    let plain = ending("succeed").await;
    assert_eq!(plain.completion.rendered, None);
}

#[tokio::test]
async fn case_102_an_undefined_name_fails_the_try_at_once() {
    let tried = attempt(assignment(json!({"ending": "{{ params.endng }}"}), None), Cancel::new()).await;
    assert_eq!(tried.completion.outcome, TryOutcome::Failed { reason: "parameters".into(), retry: false });
    assert!(tried.completion.error.as_ref().unwrap().contains("endng"), "{:?}", tried.completion.error);
}

/// Asks on the runtime, as one does who reads from a database.
struct Asking {
    runtime: tokio::runtime::Handle,
    is_away: bool,
}

impl Lookup for Asking {
    fn variable(&self, key: &str) -> Result<Option<String>, String> {
        self.runtime.block_on(async { if self.is_away { Err("away".to_owned()) } else { Ok(Some(key.to_owned())) } })
    }
    fn connection(&self, _: &str) -> Result<Option<ConnView>, String> {
        Ok(None)
    }
    fn xcom(&self, _: &str, _: &str) -> Result<Option<Value>, String> {
        Ok(None)
    }
    fn xcom_at(&self, _: &str, _: &str, _: i32) -> Result<Option<Value>, String> {
        Ok(None)
    }
    fn was_out_of_reach(&self) -> bool {
        self.is_away
    }
}

async fn asking(assignment: Assignment, is_away: bool) -> Completion {
    let runtime = tokio::runtime::Handle::current();
    let lookup: LookupFactory = Arc::new(move |_| Arc::new(Asking { runtime: runtime.clone(), is_away }));
    let (equipment, io, _) = looking_up(lookup, Duration::from_millis(50), Cancel::new());
    run_attempt(equipment, assignment, io).await
}

fn mapped(map_index_template: &str) -> Assignment {
    let mut mapped = assignment(json!({}), None);
    let mut dag = serde_json::to_value(&*mapped.dag).unwrap();
    let items = json!({"list": ["fail", "{{ var.value.succeed }}"]});
    dag["tasks"][0]["expand"] = json!({"product": [{"name": "ending", "items": items}]});
    dag["tasks"][0]["map_index_template"] = json!(map_index_template);
    mapped.dag = Arc::new(serde_json::from_value(dag).unwrap());
    mapped.map_index = 1;
    mapped
}

#[tokio::test]
async fn an_item_and_its_name_may_look_something_up() {
    let completion = asking(mapped("{{ var.value.region }}"), false).await;
    assert_eq!(completion.outcome, TryOutcome::Success, "{:?}", completion.error);
    assert_eq!(completion.rendered_map_index.as_deref(), Some("region"));
}

#[tokio::test]
async fn what_is_looked_up_in_a_database_that_is_away_may_be_there_later() {
    let needs_a_variable = || assignment(json!({"ending": "{{ var.value.succeed }}"}), None);
    let completion = asking(needs_a_variable(), true).await;
    assert_eq!(completion.outcome, TryOutcome::Failed { reason: "parameters".into(), retry: true });
    assert_eq!(asking(needs_a_variable(), false).await.outcome, TryOutcome::Success);
}

#[tokio::test]
async fn a_panic_in_rendering_is_a_failed_try() {
    let lookup: LookupFactory = Arc::new(|_| panic!("no look-up"));
    let (equipment, io, _) = looking_up(lookup, Duration::from_millis(50), Cancel::new());
    let completion = run_attempt(equipment, assignment(json!({"ending": "{{ ds }}"}), None), io).await;
    assert_eq!(completion.outcome, TryOutcome::Failed { reason: "panic".into(), retry: true });
    assert!(completion.error.unwrap().contains("no look-up"));
}

#[tokio::test]
async fn what_a_try_says_of_itself_is_masked() {
    assert_eq!(ending("skip secret").await.completion.outcome, TryOutcome::Skipped { reason: "no file ***".into() });
    let TryOutcome::PutOff { reason: put_off, .. } = ending("wait for secret").await.completion.outcome else {
        panic!("it waits")
    };
    assert_eq!(put_off, "no file ***");
    let cancel = Cancel::new();
    cancel.fire("by ann, who knows hunter22");
    let stopped = attempt(assignment(json!({"ending": "tidy"}), None), cancel).await.completion.outcome;
    assert_eq!(stopped, TryOutcome::Cancelled { reason: "by ann, who knows ***".into() });
}

#[tokio::test]
async fn an_unknown_operator_is_said_by_name() {
    let mut assignment = assignment(json!({}), None);
    let mut dag = (*assignment.dag).clone();
    dag.tasks[0].operator = "teleport".to_owned();
    assignment.dag = Arc::new(dag);
    let tried = attempt(assignment, Cancel::new()).await;
    assert!(tried.completion.error.unwrap().contains("teleport"));
}

#[tokio::test]
async fn an_execution_timeout_does_not_count_what_is_waited_for_outside() {
    let waiting = attempt(assignment(json!({"ending": "wait outside"}), Some("10ms")), Cancel::new()).await;
    assert_eq!(waiting.completion.outcome, TryOutcome::Success, "{:?}", waiting.lines);
    let working = attempt(assignment(json!({"ending": "hang"}), Some("10ms")), Cancel::new()).await;
    assert!(matches!(working.completion.outcome, TryOutcome::Failed { .. }), "{:?}", working.lines);
}
