//! One table, from its source into its target.

mod target;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use millrace_model::ids::TaskId;
use millrace_operator_api::ports::{
    CheckResult, LoadMethod, LoadReport, LoadRequest, LoadRows, RowStream, SourceColumn, SqlSource, Warehouse,
};
use millrace_operator_api::{PortError, TaskContext, TaskError, WorkId};
use serde_json::{Value, json};

use super::checksum::Summing;
use super::config::{Deletes, FieldType, SyncMode, TablePlan, Verify, Watermark};
use super::convert::{Converter, Shape};
use super::progress::{Expected, Progress};
use super::select::Question;
use super::{deletes, verify, watermark};
use crate::parts::asking::ask;
use crate::parts::checks;
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};

/// What all tables of a task have in common.
pub struct Job {
    pub source_conn_id: String,
    pub target_conn_id: String,
    pub source: Arc<dyn SqlSource>,
    pub warehouse: Arc<dyn Warehouse>,
    pub dry_run: bool,
    pub limit: Option<u64>,
    pub show_values: bool,
    pub is_one_of_many: bool,
}

/// Rows that a dry run reads and converts when there is no limit.
const TRIED_ROWS: u64 = 1_000;

pub async fn copy(context: &TaskContext, job: &Job, plan: &TablePlan) -> Result<Value, TaskError> {
    TableCopying { context, job, plan }.run().await
}

struct TableCopying<'a> {
    context: &'a TaskContext,
    job: &'a Job,
    plan: &'a TablePlan,
}

/// How the columns of the source meet those of the target.
struct Meeting {
    /// Those that are copied.
    columns: Vec<SourceColumn>,
    /// Their names in the target.
    names: Vec<String>,
    /// Their types there; `None` where they are made as the source has them.
    types: Vec<Option<String>>,
    /// Some of the source's are left out.
    is_part: bool,
    /// What was, or would be, done to the target.
    changes: Vec<String>,
    /// The target is there.
    exists: bool,
}

impl Meeting {
    /// What a column of the source is called in the target.
    fn target_name(&self, source_name: &str) -> Option<String> {
        let index = self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(source_name))?;
        Some(self.names[index].clone())
    }

    fn target_names(&self, source_names: &[String]) -> Vec<String> {
        source_names.iter().filter_map(|name| self.target_name(name)).collect()
    }
}

struct Reading {
    converter: Converter,
    progress: Progress,
    sum: Option<Summing>,
    error: Option<PortError>,
}

fn lock(reading: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TableCopying<'_> {
    /// Names a stage in errors.
    fn at(&self, stage: &str) -> String {
        let (job, plan) = (self.job, self.plan);
        format!("{stage} of {}: {} -> {}: {}", job.source_conn_id, plan.source, job.target_conn_id, plan.target)
    }

    fn stage(&self, name: &str) -> String {
        if self.job.is_one_of_many { format!("{name} {}", self.plan.target) } else { name.to_owned() }
    }

    fn checkpoint(&self, name: &str, message: impl Into<String>) {
        self.context.checkpoint(&self.stage(name), message);
    }

    /// The same for every try of the task, and another for each of its tables.
    fn work(&self) -> WorkId {
        let work = self.context.work.clone();
        WorkId { task_id: TaskId::new_unchecked(format!("{}#{}", work.task_id, self.plan.target)), ..work }
    }

    async fn run(&self) -> Result<Value, TaskError> {
        let started_at = self.context.clock.now();
        let (job, plan) = (self.job, self.plan);
        let found = unless_cancelled(self.context, self.source_columns()).await?;
        self.checkpoint("describe", format!("{} has {} columns", plan.source, found.len()));
        let meeting = unless_cancelled(self.context, self.ensure_table(found)).await?;
        self.checkpoint(
            "ensure_table",
            if meeting.changes.is_empty() {
                format!("{} takes {} columns", plan.target, meeting.names.len())
            } else {
                meeting.changes.join("; ")
            },
        );
        let from = if meeting.exists {
            unless_cancelled(self.context, watermark::read(self.context, &*job.warehouse, plan, &job.source_conn_id))
                .await
                .map_err(|error| while_doing(&self.at("watermark"), error))?
        } else {
            None
        };
        let mut question = self.question(&meeting, from.as_deref())?;
        let until = self.bound(&mut question).await?;
        if let Some(field) = &plan.incremental_field {
            let what = match &from {
                Some(from) => format!("{field} from {from}"),
                None => format!("there is no {field} in {} yet: all rows", plan.target),
            };
            self.checkpoint("watermark", what);
        }
        if job.dry_run {
            return self.try_out(&meeting, question, from).await;
        }
        if let Some(limit) = job.limit {
            self.guard_limit(&meeting, limit).await?;
        }

        let (report, reading) = self.load(&meeting, &question, until.as_deref()).await?;
        let (rows, bytes, highest, sum) = {
            let mut reading = lock(&reading);
            reading.progress.finish(reading.converter.rows, reading.converter.bytes);
            (reading.converter.rows, reading.converter.bytes, reading.converter.highest(), reading.sum.take())
        };
        self.note(&report, rows, bytes, started_at);
        let passed = if report.was_loaded_before {
            self.context
                .info(format!("{}: an earlier try had copied it and committed; nothing was copied again", plan.target));
            Vec::new()
        } else {
            let keys = meeting.target_names(&plan.primary_key);
            let field = plan.incremental_field.as_ref().and_then(|field| meeting.target_name(field));
            let copied = verify::Copied {
                rows,
                report: &report,
                from: from.as_deref(),
                highest: highest.as_deref(),
                keys: &keys,
                field: field.as_deref(),
            };
            self.verify(&copied, sum).await?
        };
        let reconciled = match plan.deletes {
            Deletes::Keep => None,
            // Of a part of the rows nothing can be said about the others.
            Deletes::Reconcile if job.limit.is_some() => None,
            Deletes::Reconcile => Some(self.reconcile(&meeting).await?),
        };
        let seconds = (self.context.clock.now() - started_at).num_seconds();
        Ok(json!({
            "source": format!("{}: {}", job.source_conn_id, plan.source),
            "target": format!("{}: {}", job.target_conn_id, plan.target),
            "sync_mode": plan.sync_mode.name(),
            "rows_read": (!report.was_loaded_before).then_some(rows),
            "rows_inserted": report.rows_inserted,
            "rows_updated": report.rows_updated,
            "rows_unchanged": report.rows_unchanged,
            "rows_deleted": reconciled.or(report.rows_deleted),
            "bytes": bytes,
            "watermark": plan.incremental_field.as_ref().map(|field| json!({ "field": field, "from": from, "to": highest })),
            "changes": meeting.changes,
            "was_loaded_before": report.was_loaded_before,
            "seconds": seconds,
            "checks": checks::as_json(&passed),
        }))
    }

    /// The columns of the rows to come, from the catalogue.
    async fn source_columns(&self) -> Result<Vec<SourceColumn>, TaskError> {
        let sql = Question::nothing().select(&*self.job.source, self.plan);
        let attempted = self.at("describe");
        let mut rows = self.job.source.query(&sql).await.map_err(|error| while_doing(&attempted, error))?;
        while rows.batches.try_next().await.map_err(|error| while_doing(&attempted, error))?.is_some() {}
        let missing: Vec<&String> = self
            .plan
            .primary_key
            .iter()
            .chain(&self.plan.incremental_field)
            .filter(|name| !rows.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)))
            .collect();
        if let Some(name) = missing.first() {
            let known: Vec<&str> = rows.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(TaskError::Fail(format!(
                "{attempted}: the source has no column {name}; it has {}",
                known.join(", ")
            )));
        }
        Ok(rows.columns)
    }

    fn question(&self, meeting: &Meeting, from: Option<&str>) -> Result<Question, TaskError> {
        let plan = self.plan;
        // A SELECT of the user's is not wrapped without need: MySQL would write its rows down first.
        let names_columns = plan.custom_select.is_none() || meeting.is_part;
        let mut question = Question {
            columns: names_columns.then(|| meeting.columns.iter().map(|column| column.name.clone()).collect()),
            limit: self.job.limit,
            ..Question::default()
        };
        if let Some(field) = &plan.incremental_field {
            if let Some(from) = from {
                question.window.push(watermark::filter(&*self.job.source, plan, field, from)?);
            }
            // Of a part of the rows the oldest, or the watermark would pass over the others.
            question.order_by = self.job.limit.map(|_| field.clone());
        }
        Ok(question)
    }

    /// A watermark that is to be stored must be known before the rows are read: it ends the window.
    async fn bound(&self, question: &mut Question) -> Result<Option<String>, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let (Watermark::Stored, Some(field)) = (plan.watermark, &plan.incremental_field) else { return Ok(None) };
        let sql = match question.limit {
            None => question.figure(&*job.source, plan, &format!("MAX({})", job.source.quote(field))),
            Some(_) => {
                let rows = Question { columns: Some(vec![field.clone()]), ..question.clone() };
                format!(
                    "SELECT MAX({}) FROM (\n{}\n) AS millrace_window",
                    job.source.quote(field),
                    rows.select(&*job.source, plan)
                )
            }
        };
        let answer = ask(self.context, &job.source_conn_id, &sql)
            .await
            .map_err(|error| while_doing(&self.at("watermark"), error))?;
        let highest = answer.rows.into_iter().next().and_then(|row| row.into_iter().next()?);
        if let Some(highest) = &highest {
            question.window.push(watermark::up_to(&*job.source, plan, field, highest));
        }
        Ok(highest)
    }

    /// A part of the rows must not take the place of all of them.
    async fn guard_limit(&self, meeting: &Meeting, limit: u64) -> Result<(), TaskError> {
        let plan = self.plan;
        if plan.sync_mode != SyncMode::FullSync || !meeting.exists {
            return Ok(());
        }
        let sql = format!("SELECT COUNT(*) FROM {}", self.job.warehouse.table_sql(&plan.target));
        let answer = self.job.warehouse.execute(&[sql], false, &self.context.work).await;
        let answer = answer.map_err(|error| while_doing(&self.at("ensure_table"), error))?;
        let rows = answer.first().and_then(|result| result.rows.first()?.first()?.as_deref()?.parse::<u64>().ok());
        match rows {
            Some(rows) if rows <= limit => Ok(()),
            _ => Err(TaskError::Fail(format!(
                "{} holds {} rows, and full_sync with limit: {limit} would leave {limit} of them; try it with another target, or \
                 with dry_run: true",
                plan.target,
                rows.map_or_else(|| "an unknown number of".to_owned(), |rows| rows.to_string())
            ))),
        }
    }

    fn converter(&self, meeting: &Meeting) -> Converter {
        let plan = self.plan;
        let mut converter = Converter::new(&Shape {
            columns: &meeting.columns,
            target_types: &meeting.types,
            primary_key: &plan.primary_key,
            empty_as_null: plan.empty_as_null,
            decimals: plan.decimals,
            formats: plan.timestamp_formats.as_deref(),
            show_values: self.job.show_values,
        });
        let is_field = |column: &SourceColumn| {
            plan.incremental_field.as_ref().is_some_and(|field| field.eq_ignore_ascii_case(&column.name))
        };
        if let Some(index) = meeting.columns.iter().position(is_field) {
            converter.remember_highest(index, plan.incremental_field_type == FieldType::Integer);
        }
        converter
    }

    /// The rows as they go into the target, and how far they have come.
    async fn open(
        &self,
        meeting: &Meeting,
        sql: &str,
        expected: Expected,
    ) -> Result<(RowStream, Arc<Mutex<Reading>>), TaskError> {
        let rows = self.job.source.query(sql).await.map_err(|error| while_doing(&self.at("read"), error))?;
        let sum = if self.plan.verify.contains(&Verify::Checksums) && !self.job.dry_run {
            let (conn_id, target) = (&self.job.target_conn_id, &self.plan.target);
            Some(Summing::prepare(self.context, conn_id, target, &meeting.names, &meeting.columns).await?)
        } else {
            None
        };
        let names = |columns: &[SourceColumn]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        if names(&rows.columns) != names(&meeting.columns) {
            return Err(TaskError::Retry(format!(
                "{}: the source's columns have changed since it was looked at: {}",
                self.at("read"),
                names(&rows.columns).join(", ")
            )));
        }
        let reading = Arc::new(Mutex::new(Reading {
            converter: self.converter(meeting),
            progress: Progress::start(self.context, self.stage("copy"), self.plan.batch_size, expected),
            sum,
            error: None,
        }));
        let shared = Arc::clone(&reading);
        let batches = rows.batches.map(move |batch| {
            let mut reading = lock(&shared);
            match batch.and_then(|batch| reading.converter.convert(batch)) {
                Ok(batch) => {
                    if let Some(sum) = &mut reading.sum {
                        sum.add(&batch);
                    }
                    let (rows, bytes) = (reading.converter.rows, reading.converter.bytes);
                    reading.progress.tick(rows, bytes);
                    Ok(batch)
                }
                Err(error) => {
                    reading.error = Some(error.clone());
                    Err(error)
                }
            }
        });
        Ok((RowStream { columns: rows.columns, batches: batches.boxed() }, reading))
    }

    async fn load(
        &self,
        meeting: &Meeting,
        question: &Question,
        until: Option<&str>,
    ) -> Result<(LoadReport, Arc<Mutex<Reading>>), TaskError> {
        let (job, plan) = (self.job, self.plan);
        let expected = Expected::default();
        let sql = question.select(&*job.source, plan);
        let (rows, reading) = unless_cancelled(self.context, self.open(meeting, &sql, expected.clone())).await?;
        let method = match (&plan.incremental_field, plan.sync_mode) {
            (Some(field), SyncMode::IncrementalSync) => LoadMethod::Upsert {
                keys: meeting.target_names(&plan.primary_key),
                order_key: meeting.target_name(field),
            },
            _ => LoadMethod::Replace,
        };
        let request = LoadRequest {
            columns: Some(meeting.names.clone()),
            show_values: job.show_values,
            also: until
                .map(|until| watermark::keep(&*job.warehouse, plan, &job.source_conn_id, until))
                .unwrap_or_default(),
            ..LoadRequest::new(plan.target.clone(), method, LoadRows::direct(rows), self.work())
        };
        self.context.info(format!("{} ({})", self.at("copy"), plan.sync_mode.name()));
        let counting = self.count(question, &expected);
        // Not dropped when the stop is asked for: the warehouse sees the stop itself and has to undo what it began.
        let loading = job.warehouse.load(request);
        let report = match select(loading, pin!(counting)).await {
            Either::Left((report, _)) => report,
            Either::Right(((), loading)) => loading.await,
        };
        let report = report.map_err(|error| match lock(&reading).error.take() {
            Some(cause) => while_doing(&self.at("read"), cause),
            None => while_doing(&self.at("load"), error),
        })?;
        Ok((report, reading))
    }

    /// Deletes what the source has no more. After the load: what came in by it is among the keys.
    async fn reconcile(&self, meeting: &Meeting) -> Result<u64, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let started_at = self.context.clock.now();
        let is_key = |column: &&SourceColumn| plan.primary_key.iter().any(|key| key.eq_ignore_ascii_case(&column.name));
        let columns: Vec<&SourceColumn> = meeting.columns.iter().filter(is_key).collect();
        let question = Question {
            columns: Some(columns.iter().map(|column| column.name.clone()).collect()),
            ..Question::default()
        };
        let work = self.work();
        let wanted = deletes::Reconciling {
            warehouse: &*job.warehouse,
            target: &plan.target,
            keys: columns
                .iter()
                .filter_map(|column| {
                    let mut new = self.new_column(column, false);
                    let index = meeting.columns.iter().position(|other| other.name == column.name)?;
                    new.name.clone_from(&meeting.names[index]);
                    if let Some(type_name) = &meeting.types[index] {
                        new.type_name.clone_from(type_name);
                    }
                    Some(new)
                })
                .collect(),
            work: WorkId { task_id: TaskId::new_unchecked(format!("{}#keys", work.task_id)), ..work },
        };
        let rows = unless_cancelled(self.context, async {
            let sql = question.select(&*job.source, plan);
            job.source.query(&sql).await.map_err(|error| while_doing(&self.at("reconcile"), error))
        })
        .await?;
        let (keys, deleted) = wanted.run(rows).await.map_err(|error| while_doing(&self.at("reconcile"), error))?;
        let mut entry = ledger_entry(
            self.context,
            "reconcile",
            format!("{}: keys of {}", job.source_conn_id, plan.source),
            format!("{}: {}", job.target_conn_id, plan.target),
            started_at,
        );
        (entry.rows_read, entry.rows_deleted) = (keys, Some(deleted));
        self.context.reporter.ledger(entry);
        self.checkpoint("reconcile", format!("{deleted} rows that the source has no more were deleted"));
        Ok(deleted)
    }

    /// Counts the rows to come. Only progress needs it, so nothing fails by it.
    async fn count(&self, question: &Question, expected: &Expected) {
        let plan = self.plan;
        let sql = match &plan.custom_count {
            Some(custom) => custom.clone(),
            None if plan.count_rows && question.limit.is_none() => question.figure(&*self.job.source, plan, "COUNT(*)"),
            None => return,
        };
        match ask(self.context, &self.job.source_conn_id, &sql).await {
            Ok(answer) => {
                let cell = answer.rows.into_iter().next().and_then(|row| row.into_iter().next()?);
                match cell.as_deref().and_then(|cell| cell.trim().parse().ok()) {
                    Some(rows) => expected.set(rows),
                    None => self.context.warning(format!("{} counted no rows", plan.source)),
                }
            }
            Err(TaskError::Cancelled(_)) => {}
            Err(error) => self.context.warning(format!("the rows of {} were not counted: {error}", plan.source)),
        }
    }

    fn note(&self, report: &LoadReport, rows: u64, bytes: u64, started_at: chrono::DateTime<chrono::Utc>) {
        let (job, plan) = (self.job, self.plan);
        let mut entry = ledger_entry(
            self.context,
            "copy",
            format!("{}: {}", job.source_conn_id, plan.source),
            format!("{}: {}", job.target_conn_id, plan.target),
            started_at,
        );
        entry.rows_read = report.rows_read;
        entry.rows_inserted = report.rows_inserted;
        entry.rows_updated = report.rows_updated;
        entry.rows_deleted = report.rows_deleted;
        entry.rows_rejected = report.rows_rejected;
        entry.rows_written = report.rows_inserted.zip(report.rows_updated.or(Some(0))).map(|(a, b)| a + b);
        entry.bytes = Some(bytes);
        entry.remote_ids.clone_from(&report.remote_ids);
        self.context.reporter.ledger(entry);
        let numbers: Vec<String> = [
            ("inserted", report.rows_inserted),
            ("updated", report.rows_updated),
            ("unchanged", report.rows_unchanged),
            ("deleted", report.rows_deleted),
        ]
        .iter()
        .filter_map(|(name, count)| count.map(|count| format!("{count} {name}")))
        .collect();
        self.context.info(format!("{}: {rows} rows read; {}", plan.target, numbers.join(", ")));
    }

    async fn verify(&self, copied: &verify::Copied<'_>, sum: Option<Summing>) -> Result<Vec<CheckResult>, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let mut results: Vec<_> = verify::count_merged(plan, copied).into_iter().collect();
        let wanted = verify::checks(&*job.warehouse, plan, copied);
        if !wanted.is_empty() {
            let found = job.warehouse.check(&plan.target, &wanted).await;
            results.extend(found.map_err(|error| while_doing(&self.at("verify"), error))?);
        }
        if let Some(mut sum) = sum {
            let compared = unless_cancelled(self.context, sum.compare(&plan.target)).await;
            results.push(compared.map_err(|error| while_doing(&self.at("verify"), error))?);
        }
        let failed = checks::tell(self.context, &results);
        self.checkpoint("verify", format!("{} of {} checks passed", results.len() - failed.len(), results.len()));
        if failed.is_empty() {
            return Ok(results);
        }
        Err(TaskError::Fail(format!(
            "{}: {}; the copy is committed: compare the two before anything builds on it",
            self.at("verify"),
            failed.join("; ")
        )))
    }

    /// Reads and converts some rows and writes nothing.
    async fn try_out(&self, meeting: &Meeting, question: Question, from: Option<String>) -> Result<Value, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let expected = Expected::default();
        unless_cancelled(self.context, async {
            self.count(&Question { limit: None, ..question.clone() }, &expected).await;
            Ok(())
        })
        .await?;
        let some = Question { limit: question.limit.or(Some(TRIED_ROWS)), ..question.clone() };
        let sql = some.select(&*job.source, plan);
        let reading = unless_cancelled(self.context, async {
            let (mut rows, reading) = self.open(meeting, &sql, Expected::default()).await?;
            let attempted = self.at("read");
            while rows.batches.try_next().await.map_err(|error| while_doing(&attempted, error))?.is_some() {}
            Ok(reading)
        })
        .await?;
        let rows = lock(&reading).converter.rows;
        let select = question.select(&*job.source, plan);
        self.context.info(format!("{}: nothing is written (dry_run); rows would come from: {select}", plan.target));
        self.checkpoint("dry_run", format!("{rows} rows read and converted, nothing written"));
        Ok(json!({
            "source": format!("{}: {}", job.source_conn_id, plan.source),
            "target": format!("{}: {}", job.target_conn_id, plan.target),
            "sync_mode": plan.sync_mode.name(),
            "dry_run": true,
            "select": select,
            "changes": meeting.changes,
            "rows_to_copy": expected.get(),
            "rows_tried": rows,
            "watermark": plan.incremental_field.as_ref().map(|field| json!({ "field": field, "from": from })),
        }))
    }
}
