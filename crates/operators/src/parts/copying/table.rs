//! One table, from its source into its target.

mod deleting;
mod reading;
mod staged;
mod target;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures::TryStreamExt;
use futures::future::{Either, select};
use millrace_model::ids::TaskId;
use millrace_model::ledger::{RowsRead, RowsWritten, WriteMethod};
use millrace_operator_api::ports::{
    CheckResult, CsvFormat, LoadMethod, LoadReport, LoadRequest, LoadRows, SourceColumn, SqlSource, Warehouse,
};
use millrace_operator_api::{TaskContext, TaskError, WorkId};
use serde_json::{Value, json};

use super::checksum::Summing;
use super::config::{Deletes, IncrementalNulls, SyncMode, TablePlan};
use super::convert::Converter;
use super::deletes::{forget_earlier, work_of_keys};
use super::select::Question;
use super::staging::{StagingPlace, look_ahead, without_empty_bytes};
use super::{verify, watermark, written};
use crate::parts::checks;
use crate::parts::loads::loading::tell_what_the_table_did;
use crate::parts::loads::rejected;
use crate::parts::reads::clocks::{self, Change};
use crate::parts::reads::incremental::{Narrowed, check_replica_lag};
use crate::parts::reads::treatment::{HashKey, Rendered};
use crate::parts::report::Expected;
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};
use reading::{Found, Reading, lock};

/// What all tables of a task have in common.
pub struct Job {
    pub source_conn_id: String,
    pub target_conn_id: String,
    pub source: Arc<dyn SqlSource>,
    pub warehouse: Arc<dyn Warehouse>,
    /// Where rows are put for the warehouse to fetch.
    pub staging: Option<StagingPlace>,
    /// So few rows are inserted all the same.
    pub direct_rows: u64,
    pub hash_key: Option<HashKey>,
    pub dry_run: bool,
    pub limit: Option<u64>,
    pub show_values: bool,
    pub is_one_of_many: bool,
}

/// Rows that a dry run reads and converts when there is no limit.
const TRIED_ROWS: u64 = 1_000;

pub async fn copy(context: &TaskContext, job: &Job, plan: &TablePlan) -> Result<Value, TaskError> {
    let zone = plan.source_timezone.clone().or_else(|| job.source.source_timezone().map(ToOwned::to_owned));
    let treating = Rendered::new(&plan.columns, job.hash_key.clone(), zone, plan.zero_dates);
    let treating = treating.keeping_apart(&plan.primary_key).in_forms(plan.timestamp_formats.as_deref());
    let describing = TableCopying { context, job, plan, treating };
    let started_at = context.clock.now();
    if plan.deletes == Deletes::Reconcile && !job.dry_run {
        forget_earlier(context, &*job.warehouse, &plan.target, &work_of_keys(&describing.work())).await;
    }
    if let Some(most) = plan.max_replica_lag {
        unless_cancelled(context, check_replica_lag(&*job.source, most)).await?;
    }
    let found = unless_cancelled(context, describing.source_columns()).await?;
    describing.checkpoint("describe", format!("{} has {} columns", plan.source, found.columns.len()));
    if let Some(column) = &found.field_as_read {
        let check = written::check(context, (&job.source_conn_id, &*job.source), plan, column);
        unless_cancelled(context, check).await.map_err(|error| while_doing(&describing.at("watermark"), error))?;
    }
    // From here on all names are the source's own.
    let plan = &TablePlan { primary_key: found.key.clone(), incremental_field: found.field.clone(), ..plan.clone() };
    TableCopying { plan, ..describing }.run(found, started_at).await
}

struct TableCopying<'a> {
    context: &'a TaskContext,
    job: &'a Job,
    plan: &'a TablePlan,
    /// What is done with columns before anything else sees them.
    treating: Rendered<'a>,
}

/// How the columns of the source meet those of the target.
struct Meeting {
    /// Those that are copied.
    columns: Vec<SourceColumn>,
    /// Their names in the target.
    names: Vec<String>,
    /// Their types there; `None` where they are made as the source has them.
    types: Vec<Option<String>>,
    /// Those that take no NULL there.
    required: Vec<bool>,
    /// Some of the source's are left out.
    is_part: bool,
    /// The zone of the clock behind the incremental field, whose values become UTC.
    zone: Option<Tz>,
    /// The incremental field is compared as text, so that it may be empty.
    field_is_written: bool,
    /// Columns of the source whose values are treated on the way, and how.
    treated: BTreeMap<String, String>,
    /// What was, or would be, done to the target.
    changes: Vec<String>,
    /// Where the columns of the two differ, in words, with what becomes of it.
    drift: Vec<String>,
    /// Columns that a target which was there got.
    added: Vec<String>,
    /// The target is there.
    exists: bool,
}

/// Where a reading by change ends, and where the one before it did.
struct Bounds<'a> {
    /// The watermark to be stored.
    until: Option<&'a str>,
    late_before: Option<String>,
    /// See [`LoadRequest::gone`].
    gone: Vec<String>,
}

impl Meeting {
    /// What a column of the source is called in the target.
    fn target_name(&self, source_name: &str) -> Option<String> {
        let index = self.columns.iter().position(|column| column.name == source_name)?;
        Some(self.names[index].clone())
    }

    fn target_names(&self, source_names: &[String]) -> Vec<String> {
        source_names.iter().filter_map(|name| self.target_name(name)).collect()
    }
}

impl TableCopying<'_> {
    /// Names a stage in errors.
    fn at(&self, stage: &str) -> String {
        let (job, plan) = (self.job, self.plan);
        format!("{stage} of {}: {} -> {}: {}", job.source_conn_id, plan.source, job.target_conn_id, plan.target)
    }

    /// For the ledger.
    fn target_label(&self) -> String {
        format!("{}: {}", self.job.target_conn_id, self.plan.target)
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

    async fn run(&self, found: Found, started_at: DateTime<Utc>) -> Result<Value, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let meeting = unless_cancelled(self.context, self.ensure_table(found)).await?;
        self.tell_of_target(&meeting);
        let field = plan.incremental_field.as_ref().and_then(|field| meeting.target_name(field));
        let from = self.watermark(field.as_deref().filter(|_| meeting.exists)).await?;
        if from.is_some() {
            self.hold_clocks(&meeting).await?;
        }
        self.tell_of_added(&meeting, from.is_some()).await?;
        let mut question = self.question(&meeting, from.as_deref())?;
        let until = self.bound(&meeting, &mut question, from.is_none()).await?;
        self.tell_of_watermark(from.as_deref());
        if job.dry_run {
            return self.try_out(&meeting, question, from).await;
        }
        if let Some(limit) = job.limit {
            self.guard_limit(&meeting, limit).await?;
        }

        let narrowed = self.narrowed(&meeting, &question, from.as_deref())?;
        let late_before = self.late_before(&meeting, from.as_deref());
        let bounds = Bounds { until: until.as_deref(), late_before, gone: Vec::new() };
        let (report, reading) = self.load_past_gone(&meeting, &question, &narrowed, bounds).await?;
        let (rows, bytes, sum) = lock(&reading).finish();
        let lowest = lock(&reading).converter.lowest();
        let highest = lock(&reading).converter.highest();
        let without_value = lock(&reading).converter.without_value();
        if from.is_some() {
            self.tell_of_nulls(without_value, rows);
        }
        let read =
            self.what_was_read(&meeting, &narrowed, &lock(&reading).converter, highest.as_deref().or(from.as_deref()));
        self.tell(&report, lock(&reading).converter.emptied_values());
        self.note(&report, (read, self.written(&meeting)), (rows, bytes), started_at);
        narrowed.tell(self.context, &format!("{}: {}", job.source_conn_id, plan.source), report.rows_late, started_at);
        let reconciled = if self.reconciles() { Some(self.reconcile(&meeting).await?) } else { None };
        let keys = meeting.target_names(&plan.primary_key);
        let copied = verify::Copied {
            rows,
            report: &report,
            from: from.as_deref().and_then(|from| watermark::start_in_target(plan, from, meeting.zone)),
            lowest: lowest.as_deref(),
            highest: highest.as_deref(),
            keys: &keys,
            padded_keys: &self.padded(&meeting, &keys),
            field: field.as_deref(),
            reads_nulls: self.reads_nulls(),
            field_is_text: self.field_is_text(&meeting),
            is_summed: sum.is_some(),
        };
        let passed = self.verify(&copied, sum).await?;
        let seconds = (self.context.clock.now() - started_at).num_seconds();
        Ok(json!({
            "source": format!("{}: {}", job.source_conn_id, plan.source),
            "target": format!("{}: {}", job.target_conn_id, plan.target),
            "sync_mode": plan.sync_mode.name(),
            "rows_read": (!report.was_loaded_before).then_some(rows),
            "rows_inserted": report.rows_inserted,
            "rows_updated": report.rows_updated,
            "rows_unchanged": report.rows_unchanged,
            "rows_deleted": reconciled.map(|count| count + report.rows_deleted.unwrap_or(0)).or(report.rows_deleted),
            "rows_rejected": report.rows_rejected,
            "rows_read_again": narrowed.read_again(),
            "rows_late": report.rows_late,
            "rows_without_value": plan.incremental_field.as_ref().map(|_| without_value),
            "bytes": bytes,
            "watermark": plan.incremental_field.as_ref().map(|field| json!({ "field": field, "from": from, "to": highest })),
            "changes": meeting.changes,
            "schema_drift": meeting.drift,
            "was_loaded_before": report.was_loaded_before,
            "seconds": seconds,
            "checks": checks::as_json(&passed),
            "not_checked": verify::left_out(plan, &copied),
        }))
    }

    /// How far the target has come by its own column `field`.
    async fn watermark(&self, field: Option<&str>) -> Result<Option<String>, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let Some(field) = field else { return Ok(None) };
        let read = watermark::read(self.context, &*job.warehouse, plan, field, &job.source_conn_id, job.dry_run);
        let from =
            unless_cancelled(self.context, read).await.map_err(|error| while_doing(&self.at("watermark"), error))?;
        if let Some(from) = &from {
            watermark::warn_of_future(self.context, plan, field, from);
        }
        Ok(from)
    }

    /// Held against the copy before: where a column was read by another clock, all that the target has of it is of that one.
    async fn hold_clocks(&self, meeting: &Meeting) -> Result<(), TaskError> {
        let (conn_id, target) = (&self.job.source_conn_id, &self.plan.target);
        let label = self.target_label();
        let read = clocks::read_before(self.context, "copy", conn_id, Some(&label));
        let Some(before) = unless_cancelled(self.context, read).await? else { return Ok(()) };
        let now = self.context.clock.now();
        for column in meeting.columns.iter().map(|column| &column.name) {
            let Some(change) = Change::of_values(&before, &meeting.treated, column) else { continue };
            let why = format!("{}: {}", self.at("watermark"), change.told(column, now));
            if self.plan.incremental_field.as_ref() == Some(column) {
                let mend = format!("Copy {target} whole once (sync_mode: full_sync), or move its times by hand");
                clocks::refuse_unless_cleared(self.context, &why, &mend)?;
            } else {
                self.context.warning(format!("{why}; one copy with full_sync mends the rows that are not read now"));
            }
        }
        Ok(())
    }

    /// With a lookback, what the rows lie below that are late if the target does not have them.
    fn late_before(&self, meeting: &Meeting, from: Option<&str>) -> Option<String> {
        self.plan.lookback.and(from).and_then(|from| watermark::in_target(self.plan, from, meeting.zone))
    }

    /// For the ledger. `newest` is the highest value of the incremental field.
    fn what_was_read(
        &self,
        meeting: &Meeting,
        narrowed: &Narrowed,
        converter: &Converter,
        newest: Option<&str>,
    ) -> RowsRead {
        let plan = self.plan;
        let mut read = RowsRead {
            conn_id: self.job.source_conn_id.clone(),
            query: narrowed.query().to_owned(),
            changed: meeting.treated.clone(),
            empty_as_null: converter.emptied(),
            ..RowsRead::default()
        };
        read.changed.extend(converter.changes());
        if plan.incremental_field.is_some() {
            read.up_to = newest.and_then(|value| watermark::instant(plan.incremental_field_type, value));
        }
        read
    }

    /// What a reader of the log should know of the load. `emptied`: texts that were stored as NULL.
    fn tell(&self, report: &LoadReport, emptied: u64) {
        let target = &self.plan.target;
        if !report.was_loaded_before {
            if emptied > 0 {
                let text =
                    format!("{target}: {emptied} empty texts were stored as NULL (empty_as_null: false keeps them)");
                self.context.info(text);
            }
            return;
        }
        self.context.info(format!(
            "{target}: an earlier try had copied it and committed; nothing was copied again, what can still be checked is"
        ));
    }

    /// Rows that the target has now; `None`: it does not say.
    async fn target_rows(&self) -> Result<Option<u64>, TaskError> {
        let sql = format!("SELECT COUNT(*) FROM {}", self.job.warehouse.table_sql(&self.plan.target));
        let answer = self.job.warehouse.execute(&[sql], false, &self.context.work).await;
        let answer = answer.map_err(|error| while_doing(&self.at("ensure_table"), error))?;
        Ok(answer.first().and_then(|result| result.rows.first()?.first()?.as_deref()?.parse::<u64>().ok()))
    }

    /// Of columns that were added, when only what has changed is read: a row that did not change has none of their values.
    async fn tell_of_added(&self, meeting: &Meeting, is_part: bool) -> Result<(), TaskError> {
        if !is_part || meeting.added.is_empty() || self.job.dry_run {
            return Ok(());
        }
        let rows = match unless_cancelled(self.context, self.target_rows()).await? {
            Some(rows) => rows.to_string(),
            None => "an unknown number of".to_owned(),
        };
        self.context.warning(format!(
            "{}: {} is new in the target and stays NULL in those of its {rows} rows that are not read now, because they did \
             not change; one copy with full_sync fills them",
            self.plan.target,
            meeting.added.join(", ")
        ));
        Ok(())
    }

    /// A part of the rows must not take the place of all of them.
    async fn guard_limit(&self, meeting: &Meeting, limit: u64) -> Result<(), TaskError> {
        let plan = self.plan;
        if plan.sync_mode != SyncMode::FullSync || !meeting.exists {
            return Ok(());
        }
        match self.target_rows().await? {
            Some(rows) if rows <= limit => Ok(()),
            rows => Err(TaskError::Fail(format!(
                "{} holds {} rows, and full_sync with limit: {limit} would leave {limit} of them; try it with another target, or \
                 with dry_run: true",
                plan.target,
                rows.map_or_else(|| "an unknown number of".to_owned(), |rows| rows.to_string())
            ))),
        }
    }

    async fn load(
        &self,
        meeting: &Meeting,
        question: &Question,
        narrowed: &Narrowed,
        bounds: Bounds<'_>,
    ) -> Result<(LoadReport, Arc<Mutex<Reading>>), TaskError> {
        let (job, plan) = (self.job, self.plan);
        let expected = Expected::default();
        let (rows, reading) = unless_cancelled(self.context, self.open(meeting, narrowed, expected.clone())).await?;
        let method = match (&plan.incremental_field, plan.sync_mode) {
            (Some(field), SyncMode::IncrementalSync) => LoadMethod::Upsert {
                keys: meeting.target_names(&plan.primary_key),
                order_key: meeting.target_name(field),
            },
            _ => LoadMethod::Replace,
        };
        let request = |rows, format| LoadRequest {
            columns: Some(meeting.names.clone()),
            show_values: job.show_values,
            known_by: meeting.target_names(&plan.primary_key),
            unique_by: self.unique_by(meeting),
            format: CsvFormat { max_error: plan.max_error, ..format },
            quarantine: plan.quarantine.clone(),
            also: bounds
                .until
                .map(|until| watermark::keep(&*job.warehouse, plan, &job.source_conn_id, self.context, until))
                .unwrap_or_default(),
            late_before: bounds.late_before.clone(),
            gone: bounds.gone.clone(),
            // Whoever takes the value away from a row has changed it.
            null_is_newest: plan.incremental_nulls == IncrementalNulls::Read,
            ..LoadRequest::new(plan.target.clone(), method.clone(), rows, self.work())
        };
        self.context.info(format!("{} ({})", self.at("copy"), plan.sync_mode.name()));
        let counting = self.count(question, &expected, false);
        let staging = self.staging(meeting, question).await?;
        let told = |error| TaskError::from(rejected::of_a_rule(error, plan.max_error, "max_error"));
        // Not dropped when the stop is asked for: the warehouse sees the stop itself and has to undo what it began.
        let loading = Box::pin(async {
            let (staging, rows) = match staging {
                Some(staging) => {
                    let (rows, are_few) = look_ahead(rows, job.direct_rows).await?;
                    (Some(staging).filter(|_| !are_few), rows)
                }
                None => (None, rows),
            };
            let Some(staging) = staging else {
                let loaded = job.warehouse.load(request(LoadRows::direct(rows), CsvFormat::default())).await;
                return loaded.map_err(told);
            };
            let work = self.work();
            staging.clear(&work).await?;
            let loaded = async {
                let files = staging.put(self.context, &work, without_empty_bytes(rows)).await?;
                self.checkpoint("stage", format!("{} files for COPY", files.rows.objects.len()));
                job.warehouse.load(request(LoadRows::Objects(files.rows), files.format)).await.map_err(told)
            };
            let loaded = loaded.await;
            if let Err(error) = staging.clear(&work).await {
                self.context.warning(error.to_string());
            }
            loaded
        });
        let report = match select(loading, pin!(counting)).await {
            Either::Left((report, _)) => report,
            Either::Right(((), loading)) => loading.await,
        };
        let report = report.map_err(|error| match lock(&reading).error.take() {
            Some(cause) => while_doing(&self.at("read"), cause),
            None => while_doing(&self.at("load"), error),
        })?;
        lock(&reading).leaps.tell(self.context);
        Ok((report, reading))
    }

    fn written(&self, meeting: &Meeting) -> RowsWritten {
        let (job, plan) = (self.job, self.plan);
        RowsWritten {
            conn_id: job.target_conn_id.clone(),
            schema: plan.target.schema.clone(),
            table: plan.target.name.clone(),
            columns: Some(meeting.names.clone()),
            method: match plan.sync_mode {
                SyncMode::FullSync => WriteMethod::Replace,
                SyncMode::IncrementalSync => WriteMethod::Upsert,
            },
            keys: meeting.target_names(&plan.primary_key),
        }
    }

    fn note(
        &self,
        report: &LoadReport,
        (read, written): (RowsRead, RowsWritten),
        (rows, bytes): (u64, u64),
        started_at: chrono::DateTime<chrono::Utc>,
    ) {
        let (job, plan) = (self.job, self.plan);
        let mut entry = ledger_entry(
            self.context,
            "copy",
            format!("{}: {}", job.source_conn_id, plan.source),
            self.target_label(),
            started_at,
        );
        (entry.read, entry.written) = (Some(read), Some(written));
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
            // What the source has no more is counted when it goes.
            ("deleted", report.rows_deleted.filter(|count| *count > 0 || plan.sync_mode == SyncMode::FullSync)),
            ("rejected", report.rows_rejected.filter(|rejected| *rejected > 0)),
        ]
        .iter()
        .filter_map(|(name, count)| count.map(|count| format!("{count} {name}")))
        .collect();
        if !report.was_loaded_before {
            self.context.info(format!("{}: {rows} rows read; {}", plan.target, numbers.join(", ")));
        }
        rejected::tell(self.context, report, plan.quarantine.as_ref(), "max_error");
        tell_what_the_table_did(self.context, &plan.target, report);
    }

    async fn verify(&self, copied: &verify::Copied<'_>, sum: Option<Summing>) -> Result<Vec<CheckResult>, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let started_at = self.context.clock.now();
        for left_out in verify::left_out(plan, copied) {
            let mend = "`millrace data verify` compares both sides";
            self.context.warning(format!("{}: not checked: {left_out}; {mend}", plan.target));
        }
        let mut results: Vec<_> = verify::count_merged(plan, copied).into_iter().collect();
        let wanted = verify::checks(&*job.warehouse, plan, copied);
        if !wanted.is_empty() {
            let found = job.warehouse.check(&plan.target, &wanted).await;
            results.extend(found.map_err(|error| while_doing(&self.at("verify"), error))?);
        }
        let rejected = copied.report.rows_rejected.unwrap_or(0);
        if let Some(mut sum) = sum.filter(|_| !copied.report.was_loaded_before && rejected == 0) {
            let filter = copied.window(&*job.warehouse, plan);
            let compared = unless_cancelled(self.context, sum.compare(&plan.target, filter.as_deref())).await;
            results.push(compared.map_err(|error| while_doing(&self.at("verify"), error))?);
        }
        let failed = checks::tell(self.context, &results);
        if !results.is_empty() {
            let (source, target) = (format!("{}: {}", job.source_conn_id, plan.source), &plan.target);
            let target = format!("{}: {target}", job.target_conn_id);
            let mut entry = ledger_entry(self.context, "check", source, target, started_at);
            entry.checks = checks::as_record(&results);
            self.context.reporter.ledger(entry);
        }
        self.checkpoint("verify", format!("{} of {} checks passed", results.len() - failed.len(), results.len()));
        if failed.is_empty() {
            return Ok(results);
        }
        let (work, failed) = (&self.context.work, failed.join("; "));
        let committed = format!("{}: {failed}; the copy is committed", self.at("verify"));
        // The proof reads what was recorded.
        if self.context.is_test {
            return Err(TaskError::Fail(committed));
        }
        let table = if job.is_one_of_many { format!(" --table {}", plan.target) } else { String::new() };
        Err(TaskError::Fail(format!(
            "{committed}: before anything builds on it, let `millrace data verify {} {} {}{table}` name the rows that differ",
            work.dag_id, work.task_id, work.run_id
        )))
    }

    /// Reads and converts some rows and writes nothing.
    async fn try_out(&self, meeting: &Meeting, question: Question, from: Option<String>) -> Result<Value, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let expected = Expected::default();
        unless_cancelled(self.context, async {
            self.count(&Question { limit: None, ..question.clone() }, &expected, true).await;
            Ok(())
        })
        .await?;
        let some = Question { limit: question.limit.or(Some(TRIED_ROWS)), ..question.clone() };
        let narrowed = Narrowed::plain(some.select(&*job.source, plan));
        let reading = unless_cancelled(self.context, async {
            let (mut rows, reading) = self.open(meeting, &narrowed, Expected::default()).await?;
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
            "schema_drift": meeting.drift,
            "rows_to_copy": expected.get(),
            "rows_tried": rows,
            "watermark": plan.incremental_field.as_ref().map(|field| json!({ "field": field, "from": from })),
        }))
    }
}
