//! What a backfill would run, and why it may not.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::dag::{Dag, Task};
use millrace_model::ids::{DagId, TaskId};
use millrace_model::instant::format_utc_micros;
use millrace_model::schedule::{DataInterval, Schedule, Timetable};
use millrace_model::selection::{TaskChoice, TaskPattern, TaskSelection};
use millrace_planner::{BackfillPlan, BackfillRange, BackfillWish, DagVersion, RequestError, plan_backfill};
use serde_json::json;

fn day(day: u32) -> DateTime<Utc> {
    format!("2024-01-{day:02}T00:00:00Z").parse().unwrap()
}

/// extract -> load -> check, daily.
fn version(change: impl Fn(&mut Dag)) -> DagVersion {
    let id = |name: &str| TaskId::new_unchecked(name);
    let task = |name: &str, after: &[&str]| Task {
        depends_on: after.iter().map(|name| id(name)).collect(),
        ..Task::new(id(name), "noop")
    };
    let mut dag = Dag {
        timetable: Timetable::interval(Schedule::from_value(&json!("@daily")).unwrap(), chrono_tz::Tz::UTC),
        tasks: vec![task("extract", &[]), task("load", &["extract"]), task("check", &["load"])],
        ..Dag::new(DagId::new_unchecked("d"))
    };
    change(&mut dag);
    DagVersion::new(7, Arc::new(dag)).unwrap()
}

fn wish(version: &DagVersion, from: u32, to: u32) -> BackfillWish<'_> {
    let range = BackfillRange {
        version,
        from: day(from),
        to: day(to),
        includes_end: false,
        ignores_bounds: false,
        last_interval: None,
        conf: serde_json::Map::new(),
    };
    BackfillWish { range, is_reversed: false, reprocesses: false, tasks: None }
}

fn plan(wish: &BackfillWish<'_>) -> Result<BackfillPlan, RequestError> {
    plan_backfill(wish, day(20))
}

fn dates(plan: &BackfillPlan) -> Vec<String> {
    plan.runs.iter().map(|run| format_utc_micros(run.logical_date)[..10].to_owned()).collect()
}

#[test]
fn case_37_the_end_is_not_run_unless_asked_for() {
    let version = version(|_| ());
    let mut wish = wish(&version, 1, 5);
    assert_eq!(dates(&plan(&wish).unwrap()), ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]);
    wish.range.includes_end = true;
    assert_eq!(dates(&plan(&wish).unwrap()).len(), 5);
    wish.is_reversed = true;
    assert_eq!(dates(&plan(&wish).unwrap())[..2], ["2024-01-05", "2024-01-04"]);
}

#[test]
fn a_backfill_of_strides_runs_the_dates_of_the_schedule() {
    let version = version(|dag| {
        dag.timetable.schedule = Schedule::from_value(&json!({"every": "6h"})).unwrap();
        dag.start_date = Some("2024-01-01T01:00:00Z".parse().unwrap());
    });
    let mut wish = wish(&version, 5, 6);
    let hours = |wish: &BackfillWish<'_>| -> Vec<String> {
        plan(wish).unwrap().runs.iter().map(|run| format_utc_micros(run.logical_date)[11..16].to_owned()).collect()
    };
    assert_eq!(hours(&wish), ["01:00", "07:00", "13:00", "19:00"]);
    // A schedule that lay still goes on elsewhere: what it made last says where.
    let last = |from: &str, to: &str| DataInterval { start: from.parse().unwrap(), end: to.parse().unwrap() };
    wish.range.last_interval = Some(last("2024-01-09T00:00:00Z", "2024-01-09T06:00:00Z"));
    assert_eq!(hours(&wish), ["00:00", "06:00", "12:00", "18:00"]);
}

#[test]
fn case_40_what_cannot_be_backfilled_is_refused() {
    let refused = |version: &DagVersion, change: fn(&mut BackfillWish<'_>)| {
        let mut wish = wish(version, 1, 5);
        change(&mut wish);
        plan(&wish).unwrap_err().to_string()
    };
    let plain = version(|_| ());
    let future = refused(&plain, |wish| (wish.range.from, wish.range.to) = (day(25), day(28)));
    assert!(future.contains("had ended by 2024-01-20"), "{future}");
    let empty = refused(&plain, |wish| wish.range.to = day(1));
    assert!(empty.contains("range is empty"), "{empty}");
    for schedule in ["none", "@once", "@continuous"] {
        let version = version(|dag| {
            dag.timetable.schedule = Schedule::from_value(&json!(schedule)).unwrap();
        });
        let error = refused(&version, |_| ());
        assert!(error.contains("names no past dates"), "{schedule}: {error}");
    }
    for looks_back in [|task: &mut Task| task.depends_on_past = true, |task: &mut Task| task.wait_for_downstream = true]
    {
        let version = version(|dag| looks_back(&mut dag.tasks[1]));
        let reversed = refused(&version, |wish| (wish.is_reversed, wish.reprocesses) = (true, true));
        assert!(reversed.contains("task load") && reversed.contains("newest first"), "{reversed}");
        let without = refused(&version, |_| ());
        assert!(without.contains("reprocess failed or completed"), "{without}");
        let mut with = wish(&version, 1, 5);
        with.reprocesses = true;
        assert_eq!(plan(&with).unwrap().runs.len(), 4);
        // A task that is not run looks at nothing.
        with.reprocesses = false;
        with.tasks = Some(TaskChoice::tasks([TaskId::new_unchecked("check")]).into());
        assert_eq!(plan(&with).unwrap().runs.len(), 4);
    }
}

#[test]
fn some_tasks_are_a_dag_of_their_own() {
    let version = version(|_| ());
    let mut wish = wish(&version, 1, 3);
    let tasks = TaskChoice::Pattern(TaskPattern::parse("^load$").unwrap());
    wish.tasks = Some(TaskSelection { tasks, upstream: false, downstream: true });
    let plan = plan(&wish).unwrap();
    let part = plan.part.unwrap();
    let names: Vec<&str> = part.dag.tasks.iter().map(|task| task.task_id.as_str()).collect();
    assert_eq!(names, ["load", "check"]);
    assert_eq!(part.dag.tasks[0].depends_on, [], "what it waited for counts as done");
    assert_eq!(part.dag.tasks[1].depends_on, [TaskId::new_unchecked("load")]);
    assert_eq!(part.left_out.iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>(), ["extract"]);
    assert!(plan.runs.iter().all(|run| run.tasks.len() == 2));

    let names_of = |upstream: bool, downstream: bool, wish: &mut BackfillWish<'_>| {
        let tasks = TaskChoice::Pattern(TaskPattern::parse("^load$").unwrap());
        wish.tasks = Some(TaskSelection { tasks, upstream, downstream });
        let plan = plan_backfill(wish, day(20)).unwrap();
        let part = plan.part.unwrap().dag;
        part.tasks.iter().map(|task| task.task_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names_of(true, false, &mut wish), "extract load");
    assert_eq!(names_of(false, false, &mut wish), "load");
    assert_eq!(names_of(true, true, &mut wish), "extract load check");

    wish.tasks = Some(TaskChoice::Pattern(TaskPattern::parse("lode").unwrap()).into());
    assert!(matches!(plan_backfill(&wish, day(20)), Err(RequestError::NoTasks { .. })));
}
