//! What is asked of the source, and its rows on their way: treated, converted, counted and summed up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono_tz::Tz;
use futures::{StreamExt, TryStreamExt};
use millrace_operator_api::ports::{CsvFormat, FileKind, RowStream, SourceColumn, SqlSource};
use millrace_operator_api::{PortError, TaskError};

use super::{Meeting, TableCopying};
use crate::parts::asking::ask;
use crate::parts::column_name::{find, position, require_apart};
use crate::parts::copying::checksum::Summing;
use crate::parts::copying::config::{FieldType, IncrementalNulls, SyncMode, Verify, Watermark};
use crate::parts::copying::convert::{Converter, Shape};
use crate::parts::copying::select::Question;
use crate::parts::copying::watermark;
use crate::parts::copying::written::is_written;
use crate::parts::loads::drift::is_text_type;
use crate::parts::loads::load_parameters::NulBytes;
use crate::parts::reads::incremental::Narrowed;
use crate::parts::reads::reading::fitting::{Fitting, Meets};
use crate::parts::reads::treatment::Leaps;
use crate::parts::report::{Expected, Progress, while_doing};

/// The columns of the rows to come.
pub(super) struct Found {
    /// As they will be, without those that are dropped.
    pub columns: Vec<SourceColumn>,
    pub has_dropped: bool,
    /// Columns whose values are treated on the way, and how.
    pub changed: BTreeMap<String, String>,
    /// The zone of the clock behind the incremental field.
    pub zone: Option<Tz>,
    /// The primary key and the incremental field as the source names them.
    pub key: Vec<String>,
    pub field: Option<String>,
    /// The incremental field before anything is done with it.
    pub field_as_read: Option<SourceColumn>,
}

impl Found {
    /// The source compares the incremental field as text.
    pub fn field_is_written(&self, source: &dyn SqlSource) -> bool {
        self.field_as_read.as_ref().is_some_and(|column| is_written(source, column))
    }
}

/// How far the rows have come, and what is known of them.
pub(super) struct Reading {
    pub converter: Converter,
    pub progress: Progress,
    /// `None` where the target holds whatever comes, or may refuse rows by itself.
    pub fitting: Option<Fitting>,
    pub sum: Option<Summing>,
    pub leaps: Leaps,
    pub error: Option<PortError>,
}

impl Reading {
    /// All have come: how many rows and bytes, and their sum.
    pub fn finish(&mut self) -> (u64, u64, Option<Summing>) {
        let (rows, bytes) = (self.converter.rows, self.converter.bytes);
        self.progress.finish(rows, bytes);
        (rows, bytes, self.sum.take())
    }
}

pub(super) fn lock(reading: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TableCopying<'_> {
    /// The columns of the rows to come, from the catalogue.
    pub(super) async fn source_columns(&self) -> Result<Found, TaskError> {
        let attempted = self.at("describe");
        let invisible = match self.plan.custom_select {
            // Whoever writes the SELECT says which columns.
            Some(_) => Vec::new(),
            None => {
                let asked = self.job.source.invisible_columns(&self.plan.source).await;
                asked.map_err(|error| while_doing(&attempted, error))?
            }
        };
        let sql = Question::nothing(invisible).select(&*self.job.source, self.plan);
        let rows = self.job.source.query(&sql).await.map_err(|error| while_doing(&attempted, error))?;
        require_apart(&rows.columns, "custom_select")?;
        let of_field = |name: &String| position(&rows.columns, name);
        let at = self.plan.incremental_field.as_ref().and_then(of_field);
        let zone = at.and_then(|at| self.treating.clock_of(&rows.columns, at));
        let field_as_read = at.map(|at| rows.columns[at].clone());
        if let (Some(zone), Some(field)) = (zone.filter(|zone| *zone != Tz::UTC), &field_as_read)
            && field.value.is_text()
        {
            return Err(TaskError::Fail(format!(
                "{attempted}: the incremental field {} is a text that is read as times of {zone}, and beside texts with an offset \
                 of their own the watermark would pass over newer rows; make a timestamp of it in custom_select, and name that",
                field.name
            )));
        }
        let read = rows.columns.len();
        let changed = self.treating.changes(&rows.columns);
        let (mut rows, _) = self.treating.apply(rows).map_err(|error| while_doing(&attempted, error))?;
        while rows.batches.try_next().await.map_err(|error| while_doing(&attempted, error))?.is_some() {}
        let known = |name: &String| {
            find(&rows.columns, name).map(|column| column.name.clone()).ok_or_else(|| {
                let known: Vec<&str> = rows.columns.iter().map(|column| column.name.as_str()).collect();
                TaskError::Fail(format!("{attempted}: the source has no column {name}; it has {}", known.join(", ")))
            })
        };
        let key = self.plan.primary_key.iter().map(known).collect::<Result<_, _>>()?;
        let field = self.plan.incremental_field.as_ref().map(known).transpose()?;
        Ok(Found {
            has_dropped: rows.columns.len() < read,
            columns: rows.columns,
            zone,
            changed,
            key,
            field,
            field_as_read,
        })
    }

    pub(super) fn question(&self, meeting: &Meeting, from: Option<&str>) -> Result<Question, TaskError> {
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
                let newer = watermark::filter(&*self.job.source, plan, field, from, meeting.zone)?;
                question.window.push(self.with_nulls(meeting, field, newer));
            }
            // Of a part of the rows the oldest, or the watermark would pass over the others.
            question.order_by = self.job.limit.map(|_| field.clone());
        }
        Ok(question)
    }

    /// Of a part of the rows those without a value could be all, at every copy.
    pub(super) fn reads_nulls(&self) -> bool {
        self.plan.incremental_nulls == IncrementalNulls::Read && self.job.limit.is_none()
    }

    fn with_nulls(&self, meeting: &Meeting, field: &str, condition: String) -> String {
        if !self.reads_nulls() {
            return condition;
        }
        watermark::or_without_value(&condition, &self.job.source.quote(field), meeting.field_is_written)
    }

    /// The target compares its incremental field as text.
    pub(super) fn field_is_text(&self, meeting: &Meeting) -> bool {
        let warehouse = &self.job.warehouse;
        let is_field = |column: &SourceColumn| self.plan.incremental_field.as_ref() == Some(&column.name);
        let Some(at) = meeting.columns.iter().position(is_field) else { return false };
        let made = || warehouse.column_type(&meeting.columns[at].value);
        // SQLite has texts whatever was declared.
        warehouse.engine() == "sqlite" || is_text_type(&meeting.types[at].clone().unwrap_or_else(made))
    }

    /// Those of the target's columns `names` whose blanks at the end it passes over when it compares.
    pub(super) fn padded(&self, meeting: &Meeting, names: &[String]) -> Vec<String> {
        let warehouse = &self.job.warehouse;
        let is_padded = |name: &&String| {
            let Some(at) = meeting.names.iter().position(|other| other == *name) else { return false };
            let made = || warehouse.column_type(&meeting.columns[at].value);
            warehouse.passes_over_blanks(&meeting.types[at].clone().unwrap_or_else(made))
        };
        names.iter().filter(is_padded).cloned().collect()
    }

    pub(super) fn tell_of_watermark(&self, from: Option<&str>) {
        let Some(field) = &self.plan.incremental_field else { return };
        let what = match from {
            Some(from) => format!("{field} from {from}"),
            None => format!("there is no {field} in {} yet: all rows", self.plan.target),
        };
        self.checkpoint("watermark", what);
    }

    /// Rows that are read at every copy, because nothing says whether they are new.
    pub(super) fn tell_of_nulls(&self, count: u64, rows: u64) {
        let (Some(field), true) = (&self.plan.incremental_field, count > 0) else { return };
        self.context.info(format!(
            "{}: {count} of the {rows} rows that were read have no {field}: such rows are read at every copy, since nothing says \
             whether they are new; where they are many, see incremental_nulls of table_copy",
            self.plan.target
        ));
    }

    /// A watermark that is to be stored must be known before the rows are read: it ends the window. Not that of all rows,
    /// where what comes in meanwhile is read twice, and those without a value must not be left out.
    pub(super) async fn bound(
        &self,
        meeting: &Meeting,
        question: &mut Question,
        is_all: bool,
    ) -> Result<Option<String>, TaskError> {
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
        if let Some(highest) = highest.as_ref().filter(|_| !is_all) {
            let up_to = watermark::up_to(&*job.source, plan, field, highest);
            question.window.push(self.with_nulls(meeting, field, up_to));
        }
        Ok(highest)
    }

    /// The query, with a count of rows that are read again where reading begins before the watermark.
    pub(super) fn narrowed(
        &self,
        meeting: &Meeting,
        question: &Question,
        from: Option<&str>,
    ) -> Result<Narrowed, TaskError> {
        let plan = self.plan;
        let sql = question.select(&*self.job.source, plan);
        match (&plan.incremental_field, from, plan.lookback) {
            (Some(field), Some(from), Some(_)) => {
                Ok(Narrowed::from_before(sql, field, watermark::start(plan, field, from, meeting.zone, None)?))
            }
            _ => Ok(Narrowed::plain(sql)),
        }
    }

    pub(super) fn converter(&self, columns: &[SourceColumn], types: &[Option<String>]) -> Converter {
        let plan = self.plan;
        let mut converter = Converter::new(&Shape {
            columns,
            target_types: types,
            primary_key: &plan.primary_key,
            empty_as_null: plan.empty_as_null,
            removes_nul: plan.nul_bytes == NulBytes::Remove,
            decimals: plan.decimals,
            formats: plan.timestamp_formats.as_deref(),
            show_values: self.job.show_values,
        });
        let is_field = |column: &SourceColumn| plan.incremental_field.as_ref() == Some(&column.name);
        if let Some(index) = columns.iter().position(is_field) {
            converter.remember_bounds(index, plan.incremental_field_type == FieldType::Integer);
        }
        if plan.sync_mode == SyncMode::IncrementalSync {
            converter.merges();
        }
        converter
    }

    /// What the target could not hold of the rows, known before it is asked.
    fn fitting(&self, meeting: &Meeting) -> Option<Fitting> {
        let (job, plan) = (self.job, self.plan);
        if plan.max_error > 0 {
            return None;
        }
        let type_of = |(column, known): (&SourceColumn, &Option<String>)| {
            Some(known.clone().unwrap_or_else(|| job.warehouse.column_type(&column.value)))
        };
        let types: Vec<Option<String>> = meeting.columns.iter().zip(&meeting.types).map(type_of).collect();
        let meets = Meets {
            target: None,
            columns: &meeting.columns,
            types: &types,
            // Other engines take rows as they are read, and name the one that they refuse.
            required: if job.warehouse.engine() == "redshift" { &meeting.required } else { &[] },
            keys: &plan.primary_key,
            // Bytes go to Redshift by INSERT, never by a file of texts, which could not say that there are none.
            format: &CsvFormat { kind: FileKind::Parquet, ..CsvFormat::default() },
            show_values: job.show_values,
        };
        Fitting::new(&*job.warehouse, &meets)
    }

    /// The rows as they go into the target, and how far they have come.
    pub(super) async fn open(
        &self,
        meeting: &Meeting,
        narrowed: &Narrowed,
        expected: Expected,
    ) -> Result<(RowStream, Arc<Mutex<Reading>>), TaskError> {
        let attempted = self.at("read");
        let rows = self.job.source.query(narrowed.query()).await.map_err(|error| while_doing(&attempted, error))?;
        let (rows, leaps) =
            self.treating.apply_to_part(narrowed.watch(rows)).map_err(|error| while_doing(&attempted, error))?;
        let sums = self.plan.verify.contains(&Verify::Checksums)
            && !self.job.dry_run
            && !(self.job.limit.is_some() && self.plan.sync_mode == SyncMode::IncrementalSync);
        let sum = if sums {
            let (conn_id, target) = (&self.job.target_conn_id, &self.plan.target);
            Some(Summing::prepare(self.context, conn_id, target, &meeting.names, &meeting.columns).await?)
        } else {
            None
        };
        let names = |columns: &[SourceColumn]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        if names(&rows.columns) != names(&meeting.columns) {
            return Err(TaskError::Retry(format!(
                "{attempted}: the source's columns have changed since it was looked at: {}",
                names(&rows.columns).join(", ")
            )));
        }
        let reading = Arc::new(Mutex::new(Reading {
            converter: self.converter(&meeting.columns, &meeting.types),
            fitting: self.fitting(meeting),
            progress: Progress::start(self.context, &self.stage("copy"), expected).each(self.plan.batch_size),
            sum,
            leaps,
            error: None,
        }));
        let shared = Arc::clone(&reading);
        let batches = rows.batches.map(move |batch| {
            let mut reading = lock(&shared);
            let converted = batch.and_then(|batch| {
                let batch = reading.converter.convert(batch)?;
                if let Some(fitting) = &mut reading.fitting {
                    fitting.look(&batch)?;
                }
                Ok(batch)
            });
            match converted {
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

    /// Counts the rows to come. Only progress needs it, so nothing fails by it.
    pub(super) async fn count(&self, question: &Question, expected: &Expected, is_exact: bool) {
        let plan = self.plan;
        let sql = match &plan.custom_count {
            Some(custom) => custom.clone(),
            None if question.limit.is_some() => return,
            None if is_exact || plan.count_rows => question.figure(&*self.job.source, plan, "COUNT(*)"),
            None => {
                // A count reads the whole table beside the copy.
                let select = question.select(&*self.job.source, plan);
                if let Ok(Some(rows)) = self.job.source.expected_rows(&select).await {
                    expected.guess(rows);
                }
                return;
            }
        };
        match ask(self.context, &self.job.source_conn_id, &sql).await {
            Ok(answer) => {
                let cell = answer.rows.into_iter().next().and_then(|row| row.into_iter().next()?);
                match cell.as_deref().and_then(|cell| cell.trim().parse().ok()) {
                    Some(rows) => expected.count(rows),
                    None => self.context.warning(format!("{} counted no rows", plan.source)),
                }
            }
            Err(TaskError::Cancelled(_)) => {}
            Err(error) => self.context.warning(format!("the rows of {} were not counted: {error}", plan.source)),
        }
    }
}
