//! `millrace devstack conformance`: does a Redshift do what loads rely on?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use bytes::Bytes;
use chrono::Utc;
use futures::StreamExt;
use futures::future::BoxFuture;
use millrace_devstack::conformance::{CASES, Cluster, Place, Verdict, read};
use millrace_model::change::RunFacts;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunType;
use millrace_operator_api::context::{LogLevel, NoRuns, NoTriggers, OwnSlot, Reporter};
use millrace_operator_api::ports::{ObjectStore, Ports, PutOptions, Warehouse};
use millrace_operator_api::{TaskContext, WorkId};
use millrace_worker::{Cancel, MemoryJournal, NoResults, SystemClock};
use serde_json::{Value, json};

use crate::app::App;
use crate::args::ConformanceArgs;
use crate::failure::usage;
use crate::output::{notice, print_list};
use crate::wiring;

pub async fn run(app: &App, args: ConformanceArgs) -> anyhow::Result<()> {
    let store = app.store().await?;
    let ports: Arc<dyn Ports> = Arc::new(wiring::connectors(app, &app.vault(&store)?));
    // No two runs of this have tables of one name.
    let name = format!("millrace_c{:x}", Utc::now().timestamp_micros());
    let context = context(&ports, &name);
    let warehouse = ports.warehouse(&context, &args.conn_id).await?;
    if warehouse.engine() != "redshift" {
        return Err(usage(format!("{} is {}, and Redshift is asked here", args.conn_id, warehouse.engine())));
    }
    let objects = match &args.s3_conn_id {
        Some(conn_id) => Some(ports.objects(&context, conn_id).await?),
        None => None,
    };
    let place = args.s3.as_ref().map(|address| Place {
        address: address.clone(),
        right: format!("IAM_ROLE '{}'", args.iam_role.clone().unwrap_or_default().replace('\'', "")),
    });
    let asked = Asked { warehouse, objects, work: context.work.clone(), next: AtomicU64::new(0) };
    notice(format!("asking {}", asked.warehouse.ping().await?));
    let cases = read(CASES).map_err(anyhow::Error::msg).context("the list of cases")?;
    let is_wanted =
        |text: &str| args.only.as_ref().is_none_or(|words| text.to_lowercase().contains(&words.to_lowercase()));
    let (mut lines, mut different, mut left_out): (Vec<Value>, usize, usize) = (Vec::new(), 0, 0);
    for (number, case) in cases.iter().enumerate() {
        if !is_wanted(&format!("{}: {}", case.area, case.behaviour)) {
            continue;
        }
        let (result, found) = match case.check(&asked, &format!("{name}_{number}"), place.as_ref()).await {
            Verdict::AsExpected => ("as expected", None),
            Verdict::NotEmulated => ("not emulated", None),
            Verdict::LeftOut => {
                left_out += 1;
                ("left out", Some("it needs --s3".to_owned()))
            }
            Verdict::Different(found) => {
                different += 1;
                ("different", Some(found))
            }
        };
        lines.push(json!({"area": case.area, "behaviour": case.behaviour, "result": result, "found": found}));
    }
    print_list(app.format, &["area", "behaviour", "result", "found"], &lines)?;
    let rest = if left_out > 0 { format!(", {left_out} left out") } else { String::new() };
    if different > 0 {
        bail!("{different} of {} behaviours are different{rest}", lines.len());
    }
    notice(format!("{} behaviours asked for, none is different{rest}", lines.len()));
    Ok(())
}

/// The cluster behind a connection.
struct Asked {
    warehouse: Arc<dyn Warehouse>,
    objects: Option<Arc<dyn ObjectStore>>,
    work: WorkId,
    next: AtomicU64,
}

impl Cluster for Asked {
    fn run<'a>(&'a self, statements: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async move {
            // A task's statements are remembered: each of these is another task's.
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let work = WorkId {
                task_id: TaskId::new_unchecked(format!("{}.{number}", self.work.task_id)),
                ..self.work.clone()
            };
            let answers = self.warehouse.execute(statements, statements.len() == 1, &work).await;
            let rows = answers.map_err(|error| error.message)?.pop().map(|last| last.rows).unwrap_or_default();
            let cell = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "∅".to_owned());
            Ok(rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join("|")).collect())
        })
    }

    fn put<'a>(&'a self, address: &'a str, text: String) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let objects = self.objects.as_ref().ok_or("there is no connection to S3")?;
            let place = address.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
            let (bucket, key) = place.ok_or_else(|| format!("'{address}' is no s3://bucket/prefix"))?;
            let body = futures::stream::iter([Ok(Bytes::from(text))]).boxed();
            let put = objects.put(bucket, key, body, PutOptions::default()).await;
            put.map(|_| ()).map_err(|error| error.message)
        })
    }
}

/// What a task has around it, where there is no task.
fn context(ports: &Arc<dyn Ports>, name: &str) -> TaskContext {
    let now = Utc::now();
    TaskContext {
        work: WorkId {
            dag_id: DagId::new_unchecked("devstack"),
            run_id: name.to_owned(),
            run_created_at: now,
            task_id: TaskId::new_unchecked("conformance"),
            map_index: -1,
            generation: 0,
            installation: name.to_owned(),
        },
        run: Arc::new(RunFacts {
            run_key: 0,
            run_id: RunId::new_unchecked(name),
            run_type: RunType::Manual,
            logical_date: now,
            data_interval: DataInterval { start: now, end: now },
            run_after: now,
            created_at: now,
            start_date: None,
            conf: serde_json::Map::new(),
            asset_events: Vec::new(),
        }),
        try_number: 1,
        first_start: now,
        put_offs: 0,
        is_test: true,
        item: None,
        ports: Arc::clone(ports),
        reporter: Arc::new(Unheard),
        journal: Arc::new(MemoryJournal::default()),
        cancel: Arc::new(Cancel::default()),
        results: Arc::new(NoResults),
        runs: Arc::new(NoRuns),
        triggers: Arc::new(NoTriggers),
        slot: Arc::new(OwnSlot),
        clock: Arc::new(SystemClock),
        environment: Vec::new(),
    }
}

struct Unheard;

impl Reporter for Unheard {
    fn log(&self, _: LogLevel, _: &str) {}
    fn checkpoint(&self, _: Checkpoint) {}
    fn ledger(&self, _: LedgerEntry) {}
}
