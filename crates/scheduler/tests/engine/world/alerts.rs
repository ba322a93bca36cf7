//! A DAG that fails too often is paused, at the last failure that it takes and not before, and makes no run of itself until
//! somebody lets it; who is late is told of. Whoever is told of something is told once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_model::alert::{AlertKind, Deadline, DeadlineReference};
use millrace_model::change::RunKey;
use millrace_model::dag::Dag;
use millrace_model::state::{RunState, RunType};
use millrace_store::{AlertFilter, AlertRow, AuditFilter, NotificationFilter, NotificationRow, RunRow, SchedulerDag};

use super::World;

/// What there was before the scheduler did what is looked at.
#[derive(Default)]
pub struct Before {
    pub paused: BTreeSet<String>,
    /// Runs that had ended, each with how and when.
    ends: BTreeMap<RunKey, (RunState, Option<DateTime<Utc>>)>,
    runs: BTreeSet<RunKey>,
}

impl Before {
    fn new(dags: &[SchedulerDag], runs: &[RunRow]) -> Self {
        let ended = runs.iter().filter(|run| run.state.is_finished());
        Self {
            paused: dags.iter().filter(|row| row.is_paused).map(|row| row.dag_id.to_string()).collect(),
            ends: ended.map(|run| (run.key, (run.state, run.end_date))).collect(),
            runs: runs.iter().map(|run| run.key).collect(),
        }
    }

    fn has_ended_since(&self, run: &RunRow) -> bool {
        run.state.is_finished() && self.ends.get(&run.key) != Some(&(run.state, run.end_date))
    }
}

impl World {
    /// What people did is not what the scheduler did.
    pub(super) async fn look(&mut self) {
        let dags = self.stage.store.scheduler_dags().await.unwrap();
        self.before = Before::new(&dags, &self.stage.runs().await);
    }

    async fn alerts(&self) -> Vec<AlertRow> {
        let filter = AlertFilter { limit: 10_000, ..AlertFilter::default() };
        self.stage.store.alerts(&filter).await.unwrap().rows
    }

    /// The kinds of alerts that were raised, and what became of dates that have no run.
    pub(super) async fn told(&self) -> BTreeSet<&'static str> {
        let alerts = self.alerts().await;
        let mut told: BTreeSet<&str> = alerts.iter().map(|alert| alert.kind.as_str()).collect();
        for name in self.dags.keys() {
            let slots = self.stage.store.passed_slots(name, 0, 0).await.unwrap().rows;
            told.extend(slots.iter().map(|slot| slot.slots.outcome.as_str()));
        }
        told
    }

    pub(super) async fn alerts_are_right(&mut self, runs: &[RunRow], place: &str) {
        let dags = self.stage.store.scheduler_dags().await.unwrap();
        for row in &dags {
            self.pauses_are_right(row, runs, place);
        }
        for run in runs.iter().filter(|run| !self.before.runs.contains(&run.key)) {
            let is_by_itself = matches!(run.run_type, RunType::Scheduled | RunType::AssetTriggered);
            let is_paused = |row: &SchedulerDag| row.dag_id == run.dag_id && row.is_paused;
            let was_paused = self.before.paused.contains(run.dag_id.as_str());
            let is_held = is_by_itself && was_paused && dags.iter().any(is_paused);
            assert!(!is_held, "{place}: a paused DAG has made {run:?}");
        }
        self.before = Before::new(&dags, runs);
        let alerts = self.alerts().await;
        let runs: BTreeMap<(&str, &str), &RunRow> =
            runs.iter().map(|run| ((run.dag_id.as_str(), run.run_id.as_str()), run)).collect();
        for alert in &alerts {
            match &alert.run_id {
                Some(run_id) => self.was_raised_in_time(alert, runs[&(alert.dag_id.as_str(), run_id.as_str())], place),
                // No run is deleted.
                None => assert_eq!(alert.kind, AlertKind::TasksLost, "{place}: {alert:?}"),
            }
        }
        self.each_is_told_once(&alerts, place).await;
        if self.is_calm && self.hears_everything && self.late.is_none() && self.leader.engine.set_aside().is_none() {
            for run in runs.values().filter(|run| run.state == RunState::Running) {
                self.is_told_of_when_late(run, &alerts, place);
            }
        }
    }

    fn pauses_are_right(&self, row: &SchedulerDag, runs: &[RunRow], place: &str) {
        let limit = row.dag.max_consecutive_failed_dag_runs as usize;
        let normal = |run: &&RunRow| run.dag_id == row.dag_id && run.runs_for_backfill().is_none();
        let mut ended: Vec<&RunRow> = runs.iter().filter(normal).filter(|run| run.state.is_finished()).collect();
        ended.sort_by_key(|run| Reverse((run.run_after, run.key)));
        let was_paused = self.before.paused.contains(row.dag_id.as_str());
        if row.is_paused && !was_paused {
            // Those that ended well may have done so after it.
            ended.retain(|run| run.state == RunState::Failed || !self.before.has_ended_since(run));
            let last: Vec<RunState> = ended.iter().take(limit).map(|run| run.state).collect();
            let is_enough = limit > 0 && last == vec![RunState::Failed; limit];
            assert!(is_enough, "{place}: {} was paused after {last:?}, and may fail {limit} times", row.dag_id);
        }
        // What a person has said needs no pause, and of a run that the scheduler could not go on with it tells in another way.
        let is_told = |reason: &String| reason.starts_with("set aside: ") || reason == "marked failed";
        let failed = |run: &&RunRow| {
            let is_new = run.state == RunState::Failed && self.before.has_ended_since(run);
            is_new && !run.state_reason.as_ref().is_some_and(is_told)
        };
        // One whose pause the database refuses is set aside instead.
        let is_left =
            self.leader.engine.set_aside().is_some_and(|left| left.contains(&format!("DAG {}: ", row.dag_id)));
        if limit > 0 && !row.is_paused && !was_paused && !is_left && ended.iter().any(failed) {
            let last: Vec<RunState> = ended.iter().take(limit).map(|run| run.state).collect();
            assert_ne!(last, vec![RunState::Failed; limit], "{place}: {} is not paused: {ended:?}", row.dag_id);
        }
    }

    fn was_raised_in_time(&self, alert: &AlertRow, run: &RunRow, place: &str) {
        let dag: &Dag = &self.whole[run.dag_id.as_str()];
        match alert.kind {
            AlertKind::Deadline => {
                let deadline = dag.deadline.expect("it has one");
                let due = reference(&deadline, run).map(|from| from + deadline.within.as_delta());
                assert!(due.is_none_or(|due| due <= alert.at), "{place}: told too early: {alert:?}, {run:?}");
            }
            AlertKind::LongerThanUsual => assert!(dag.longer_than_usual.is_some(), "{place}: {alert:?}"),
            AlertKind::AutoPaused => assert!(dag.max_consecutive_failed_dag_runs > 0, "{place}: {alert:?}"),
            AlertKind::ImportError | AlertKind::TasksLost => panic!("{place}: no run breaks a file: {alert:?}"),
        }
    }

    fn is_told_of_when_late(&self, run: &RunRow, alerts: &[AlertRow], place: &str) {
        let Some(deadline) = self.whole[run.dag_id.as_str()].deadline else { return };
        let is_normal = run.runs_for_backfill().is_none();
        let Some(start) = run.start_date.filter(|_| is_normal) else { return };
        // What is made up for late is given its time from its start.
        let due = reference(&deadline, run).map_or(start, |from| from.max(start)) + deadline.within.as_delta();
        let is_told = |alert: &AlertRow| {
            alert.kind == AlertKind::Deadline
                && alert.dag_id == run.dag_id
                && alert.run_id.as_ref() == Some(&run.run_id)
        };
        let is_right = due > self.stage.now() || alerts.iter().any(is_told);
        assert!(is_right, "{place}: nobody was told that it was due at {due}: {run:?}");
    }

    async fn each_is_told_once(&self, alerts: &[AlertRow], place: &str) {
        let filter = NotificationFilter { limit: 10_000, ..NotificationFilter::default() };
        let notices = self.stage.store.notifications(&filter).await.unwrap().rows;
        for kind in [AlertKind::Deadline, AlertKind::LongerThanUsual] {
            let told: Vec<_> = told_of(&notices, kind).map(|it| (&it.dag_id, &it.run_id)).collect();
            let once: BTreeSet<_> = told.iter().copied().collect();
            assert_eq!(told.len(), once.len(), "{place}: {kind} was told twice: {told:?}");
            let raised = alerts.iter().filter(|alert| alert.kind == kind).count();
            assert_eq!(told.len(), raised, "{place}: {kind}");
        }
        let filter = AuditFilter { action: Some("auto_pause".into()), limit: 10_000, ..AuditFilter::default() };
        let pauses = self.stage.store.audit_log(&filter).await.unwrap().rows.len();
        assert_eq!(told_of(&notices, AlertKind::AutoPaused).count(), pauses, "{place}: not each pause was told of");
    }
}

fn told_of(notices: &[NotificationRow], kind: AlertKind) -> impl Iterator<Item = &NotificationRow> {
    notices.iter().filter(move |notice| notice.event == kind.as_str())
}

/// None: from its start, which may have been another then.
fn reference(deadline: &Deadline, run: &RunRow) -> Option<DateTime<Utc>> {
    match deadline.reference {
        DeadlineReference::RunAfter => Some(run.run_after),
        DeadlineReference::LogicalDate => Some(run.logical_date),
        DeadlineReference::StartDate => None,
    }
}
