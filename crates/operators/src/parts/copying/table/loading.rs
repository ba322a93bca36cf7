//! The rows on their way into the target.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::future::{Either, select};
use millrace_operator_api::ports::{CsvFormat, LoadMethod, LoadReport, LoadRequest, LoadRows};
use millrace_operator_api::{PortError, TaskError};

use super::reading::{Reading, lock};
use super::{Bounds, Meeting, TableCopying};
use crate::parts::copying::config::{Deletes, IncrementalNulls, SyncMode};
use crate::parts::copying::deletes::{MAKING_ROOM, Moment};
use crate::parts::copying::select::Question;
use crate::parts::copying::staging::{look_ahead, without_empty_bytes};
use crate::parts::copying::watermark;
use crate::parts::loads::rejected;
use crate::parts::reads::incremental::Narrowed;
use crate::parts::report::{Expected, unless_cancelled, while_doing};

/// Why nothing was loaded.
enum Failure {
    Warehouse(PortError),
    Task(TaskError),
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        Self::Task(error)
    }
}

/// What came in.
pub(super) struct Loaded {
    pub(super) report: LoadReport,
    pub(super) reading: Arc<Mutex<Reading>>,
    /// Rows that went before, because the source has them no more.
    pub(super) removed: u64,
}

impl TableCopying<'_> {
    pub(super) async fn load(
        &self,
        meeting: &Meeting,
        question: &Question,
        narrowed: &Narrowed,
        bounds: Bounds<'_>,
    ) -> Result<Loaded, TaskError> {
        let plan = self.plan;
        // Of a part of the rows nothing can be said about the others.
        let may_remove = plan.deletes == Deletes::Reconcile && self.job.limit.is_none();
        let (mut loaded, mut reading) = self.try_once(meeting, question, narrowed, (&bounds, may_remove)).await?;
        let mut removed = 0;
        if may_remove && matches!(&loaded, Err(Failure::Warehouse(error)) if rejected::is_held_key(error)) {
            self.context.info(MAKING_ROOM);
            removed = self.reconcile(meeting, Moment::BeforeLoad).await?;
            (loaded, reading) = self.try_once(meeting, question, narrowed, (&bounds, false)).await?;
        }
        let report = loaded.map_err(|failure| {
            let error = match failure {
                Failure::Warehouse(error) => TaskError::from(rejected::of_a_rule(error, plan.max_error, "max_error")),
                Failure::Task(error) => error,
            };
            while_doing(&self.at("load"), error)
        })?;
        lock(&reading).leaps.tell(self.context);
        Ok(Loaded { report, reading, removed })
    }

    async fn try_once(
        &self,
        meeting: &Meeting,
        question: &Question,
        narrowed: &Narrowed,
        (bounds, ends_at_held_key): (&Bounds<'_>, bool),
    ) -> Result<(Result<LoadReport, Failure>, Arc<Mutex<Reading>>), TaskError> {
        let (job, plan) = (self.job, self.plan);
        let expected = Expected::default();
        let (rows, reading) = unless_cancelled(self.context, self.open(meeting, narrowed, expected.clone())).await?;
        let request = |rows, format| LoadRequest { ends_at_held_key, ..self.request(meeting, bounds, rows, format) };
        self.context.info(format!("{} ({})", self.at("copy"), plan.sync_mode.name()));
        let counting = self.count(question, &expected, false);
        let staging = self.staging(meeting, question).await?;
        // Not dropped when the stop is asked for: the warehouse sees the stop itself and has to undo what it began.
        let loading = Box::pin(async {
            let (staging, rows) = match staging {
                Some(staging) => {
                    let (rows, are_few) = look_ahead(rows, job.direct_rows).await.map_err(TaskError::from)?;
                    (Some(staging).filter(|_| !are_few), rows)
                }
                None => (None, rows),
            };
            let Some(staging) = staging else {
                let loaded = job.warehouse.load(request(LoadRows::direct(rows), CsvFormat::default())).await;
                return loaded.map_err(Failure::Warehouse);
            };
            let work = self.work();
            staging.clear(&work).await?;
            let loaded = async {
                let files = staging.put(self.context, &work, without_empty_bytes(rows)).await?;
                self.checkpoint("stage", format!("{} files for COPY", files.rows.objects.len()));
                let loaded = job.warehouse.load(request(LoadRows::Objects(files.rows), files.format)).await;
                loaded.map_err(Failure::Warehouse)
            };
            let loaded = loaded.await;
            if let Err(error) = staging.clear(&work).await {
                self.context.warning(error.to_string());
            }
            loaded
        });
        let loaded = match select(loading, pin!(counting)).await {
            Either::Left((loaded, _)) => loaded,
            Either::Right(((), loading)) => loading.await,
        };
        if loaded.is_err()
            && let Some(cause) = lock(&reading).error.take()
        {
            return Err(while_doing(&self.at("read"), cause));
        }
        Ok((loaded, reading))
    }

    fn request(&self, meeting: &Meeting, bounds: &Bounds<'_>, rows: LoadRows, format: CsvFormat) -> LoadRequest {
        let (job, plan) = (self.job, self.plan);
        let method = match (&plan.incremental_field, plan.sync_mode) {
            (Some(field), SyncMode::IncrementalSync) => LoadMethod::Upsert {
                keys: meeting.target_names(&plan.primary_key),
                order_key: meeting.target_name(field),
            },
            _ => LoadMethod::Replace,
        };
        LoadRequest {
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
            // Whoever takes the value away from a row has changed it.
            null_is_newest: plan.incremental_nulls == IncrementalNulls::Read,
            ..LoadRequest::new(plan.target.clone(), method, rows, self.work())
        }
    }
}
