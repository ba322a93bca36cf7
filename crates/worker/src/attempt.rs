//! One try, from its claim to its completion.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use millrace_model::change::{Assignment, Completion, PutOffs, TryOutcome};
use millrace_model::choice::Choice;
use millrace_model::instant::format_utc_micros;
use millrace_operator_api::context::{CancelSignal, LogLevel, Reporter};
use millrace_operator_api::{Operator, Outcome, TaskContext, TaskError, WorkId};
use millrace_settings::Masker;
use serde_json::Value;

use crate::cancel::Cancel;
use crate::environment;
use crate::equipment::{AttemptIo, Equipment};
use crate::note::Note;
use crate::parameters::{self, Rendered};
use crate::report::{AttemptReport, LogSink};
use crate::stopwatch::Stopwatch;

/// A try that works for so long tells what its parameters are; of a shorter one its end tells, and spares a commit.
const TELLS_AFTER: Duration = Duration::from_secs(1);

/// How a try ended, before it is written up.
struct Ending {
    outcome: TryOutcome,
    error: Option<String>,
    result: Option<Value>,
    choice: Option<Choice>,
}

impl Ending {
    fn failed(reason: &str, error: String, retry: bool) -> Self {
        Self {
            outcome: TryOutcome::Failed { reason: reason.to_owned(), retry },
            error: Some(error),
            result: None,
            choice: None,
        }
    }
}

/// Runs a claimed try to its end. Never panics and never returns early: the completion always comes.
pub async fn run_attempt(equipment: Arc<Equipment>, assignment: Assignment, io: AttemptIo) -> Completion {
    let began = equipment.clock.now();
    let started_at = assignment.put_offs.map_or(began, |put_offs| put_offs.first_start);
    let masker = parameters::masker(&equipment, &assignment);
    // A try that goes on after a wait has a heading already: it may look a thousand times.
    let heading = assignment.put_offs.is_none().then(|| (began, heading(&assignment)));
    let report = Arc::new(AttemptReport::new(io.log.clone(), equipment.clock.clone(), heading, masker.clone()));
    let mut rendered = None;
    let mut map_name = None;
    let limit = assignment.task().execution_timeout.map(|span| span.as_std());
    let stopwatch = Stopwatch::default();
    let prepared = {
        let preparing = prepare(&equipment, &assignment, &masker, (&mut rendered, &mut map_name));
        tokio::select! {
            biased;
            prepared = AssertUnwindSafe(preparing).catch_unwind() => Ok(prepared),
            // Nothing was begun that would have to be tidied up.
            stop = must_stop(&io.cancel, (limit, &stopwatch)) => Err(stop),
        }
    };
    let ending = match prepared {
        Err(stop) => stop,
        Ok(Ok(Ok((operator, item)))) => {
            let mut context = context(&equipment, &assignment, &io, report.clone(), started_at);
            context.slot = Arc::new(stopwatch.beside(context.slot));
            context.item = item;
            let working = work(operator, &context, &io.cancel, (limit, &stopwatch), equipment.cancel_grace);
            tokio::select! {
                biased;
                ending = working => ending,
                never = tell(rendered.as_ref(), &*io.log) => match never {},
            }
        }
        Ok(Ok(Err(error))) => {
            let may_succeed_later = matches!(error, parameters::ParameterError::OutOfReach(_));
            Ending::failed("parameters", error.to_string(), may_succeed_later)
        }
        Ok(Err(panic)) => panicked("rendering", panic.as_ref()),
    };
    let ended_at = equipment.clock.now();
    write_ending(&report, &ending, (ended_at - began).to_std().unwrap_or_default());
    io.log.flush();
    let results: Vec<_> = ending.result.map(|value| vec![("return_value".to_owned(), value)]).unwrap_or_default();
    let shown = results.iter().map(|(key, value)| (key.clone(), masker.mask_value(value)));
    Completion {
        instance: assignment.instance,
        try_number: assignment.try_number,
        token: assignment.token,
        outcome: masked(ending.outcome, &masker),
        started_at,
        ended_at,
        error: ending.error.map(|error| masker.mask(&error)),
        shown_results: shown.filter(|shown| !results.contains(shown)).collect(),
        // As they are, for they are what other tasks work with.
        results,
        ledger: report.take_ledger(),
        rendered,
        rendered_map_index: map_name,
        choice: ending.choice,
    }
}

/// As [`run_attempt`], and where the try is put off, waits here and looks again: for whoever runs one task by hand.
pub async fn run_until_ended(equipment: Arc<Equipment>, mut assignment: Assignment, io: AttemptIo) -> Completion {
    loop {
        let completion = run_attempt(equipment.clone(), assignment.clone(), io.clone()).await;
        let TryOutcome::PutOff { until, .. } = completion.outcome else { return completion };
        let wait = (until - equipment.clock.now()).to_std().unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The next look ends at once, as cancelled.
            _ = io.cancel.cancelled() => {}
        }
        let count = assignment.put_offs.map_or(0, |before| before.count) + 1;
        assignment.put_offs = Some(PutOffs { first_start: completion.started_at, count });
    }
}

async fn tell(rendered: Option<&Value>, log: &dyn LogSink) -> Infallible {
    tokio::time::sleep(TELLS_AFTER).await;
    if let Some(rendered) = rendered {
        log.note(Note::Rendered(rendered.clone()));
    }
    std::future::pending().await
}

fn heading(assignment: &Assignment) -> String {
    format!(
        "{} try {} of {}: {} {} ({})",
        assignment.task().operator,
        assignment.try_number,
        assignment.max_tries.max(assignment.try_number - 1) + 1,
        assignment.dag.dag_id,
        assignment.task().task_id,
        assignment.run.run_id,
    )
}

/// The operator, ready to run, and the item that it is for; what was rendered is kept for showing.
async fn prepare(
    equipment: &Arc<Equipment>,
    assignment: &Assignment,
    masker: &Masker,
    (shown, map_name): (&mut Option<Value>, &mut Option<String>),
) -> Result<(Box<dyn Operator>, Option<Value>), parameters::ParameterError> {
    let Rendered { parameters: rendered, map_name: name, item } = parameters::render(equipment, assignment).await?;
    *map_name = name;
    // Parameters without a template are in the DAG already; there is nothing to keep.
    if rendered != assignment.task().parameters {
        *shown = Some(parameters::shown(masker, &rendered));
    }
    Ok((parameters::operator(equipment, &assignment.task().operator, rendered)?, item))
}

fn context(
    equipment: &Equipment,
    assignment: &Assignment,
    io: &AttemptIo,
    report: Arc<AttemptReport>,
    first_start: DateTime<Utc>,
) -> TaskContext {
    TaskContext {
        work: WorkId {
            dag_id: assignment.dag.dag_id.clone(),
            run_id: assignment.run.run_id.to_string(),
            run_created_at: assignment.run.created_at,
            task_id: assignment.task().task_id.clone(),
            map_index: assignment.map_index,
            generation: assignment.generation,
            installation: equipment.installation.clone(),
        },
        run: assignment.run.clone(),
        try_number: assignment.try_number,
        first_start,
        put_offs: assignment.put_offs.map_or(0, |put_offs| put_offs.count),
        is_test: equipment.is_test,
        item: None,
        ports: equipment.ports.clone(),
        reporter: report,
        journal: io.journal.clone(),
        cancel: Arc::new(io.cancel.clone()),
        results: io.results.clone(),
        runs: io.runs.clone(),
        triggers: io.triggers.clone(),
        slot: io.slot.clone(),
        clock: equipment.clock.clone(),
        environment: environment::variables(assignment),
    }
}

/// When the try is out of time, and told so, or cancelled.
async fn must_stop(cancel: &Cancel, (timeout, stopwatch): (Option<Duration>, &Stopwatch)) -> Ending {
    let time_is_up = async {
        match timeout {
            Some(limit) => stopwatch.reaches(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = time_is_up => {
            let limit = timeout.unwrap_or_default();
            let text = format!("execution_timeout: the try ran longer than {limit:?} and was stopped");
            cancel.fire(&text);
            Ending::failed("timeout", text, true)
        }
        _ = cancel.cancelled() => {
            let reason = cancel.reason().unwrap_or_default();
            Ending {
                outcome: TryOutcome::Cancelled { reason: reason.clone() },
                error: Some(format!("stopped: {reason}")),
                result: None,
                choice: None,
            }
        }
    }
}

/// Runs the operator until it ends. Cancelled or out of time, it gets the grace to clean up, and is then dropped.
async fn work(
    operator: Box<dyn Operator>,
    context: &TaskContext,
    cancel: &Cancel,
    (timeout, stopwatch): (Option<Duration>, &Stopwatch),
    grace: Duration,
) -> Ending {
    let mut running = AssertUnwindSafe(operator.run(context)).catch_unwind();
    let stop = tokio::select! {
        biased;
        result = &mut running => return ending(result, None),
        stop = must_stop(cancel, (timeout, stopwatch)) => stop,
    };
    tokio::select! {
        biased;
        // It may have finished in the very moment: a success is never thrown away.
        result = running => ending(result, Some(stop)),
        () = tokio::time::sleep(grace) => stop,
        () = cancel.must_be_gone() => stop,
    }
}

/// `stop` says how a stopped try ends, unless it succeeded all the same.
fn ending(result: std::thread::Result<Result<Outcome, TaskError>>, stop: Option<Ending>) -> Ending {
    match (result, stop) {
        (Ok(Ok(outcome)), _) => {
            Ending { outcome: TryOutcome::Success, error: None, result: outcome.result, choice: outcome.choice }
        }
        (_, Some(stop)) => stop,
        (Ok(Err(TaskError::Retry(text))), None) => Ending::failed("error", text, true),
        (Ok(Err(TaskError::Fail(text))), None) => Ending::failed("error", text, false),
        (Ok(Err(TaskError::Skip(text))), None) => {
            Ending { outcome: TryOutcome::Skipped { reason: text.clone() }, error: None, result: None, choice: None }
        }
        (Ok(Err(TaskError::NotYet { until, reason })), None) => {
            Ending { outcome: TryOutcome::PutOff { until, reason }, error: None, result: None, choice: None }
        }
        (Ok(Err(TaskError::Cancelled(text))), None) => Ending {
            outcome: TryOutcome::Cancelled { reason: text.clone() },
            error: Some(text),
            result: None,
            choice: None,
        },
        (Err(panic), None) => panicked("the operator", panic.as_ref()),
    }
}

fn panicked(who: &str, panic: &(dyn Any + Send)) -> Ending {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Ending::failed("panic", format!("{who} panicked: {text}; this is a fault in Millrace"), true)
}

/// An operator's own words say where it looked, and a path or an address may hold what nobody is to see.
fn masked(mut outcome: TryOutcome, masker: &Masker) -> TryOutcome {
    match &mut outcome {
        TryOutcome::Skipped { reason }
        | TryOutcome::Failed { reason, .. }
        | TryOutcome::Cancelled { reason }
        | TryOutcome::PutOff { reason, .. } => *reason = masker.mask(reason),
        TryOutcome::Success | TryOutcome::LostWorker => {}
    }
    outcome
}

fn write_ending(report: &AttemptReport, ending: &Ending, took: Duration) {
    let took = format!("{:.3} s", took.as_secs_f64());
    match &ending.outcome {
        // A task that succeeds without a word leaves no log.
        TryOutcome::Success if report.has_lines() => report.log(LogLevel::Info, &format!("success after {took}")),
        TryOutcome::Success => {}
        TryOutcome::Skipped { reason } => report.log(LogLevel::Info, &format!("skipped after {took}: {reason}")),
        TryOutcome::PutOff { until, reason } => {
            report.log(LogLevel::Info, &format!("{reason}; looking again after {}", format_utc_micros(*until)));
        }
        // Whoever stopped it says how its task goes on: it may have been marked as a success.
        TryOutcome::Cancelled { reason } => {
            report.log(LogLevel::Warning, &format!("stopped after {took}: {reason}"));
        }
        _ => {
            report.log(LogLevel::Error, ending.error.as_deref().unwrap_or("failed"));
            report.log(LogLevel::Info, &format!("failed after {took}"));
        }
    }
}
