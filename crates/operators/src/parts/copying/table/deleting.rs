//! Rows of the target that the source has no more.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{LoadReport, NewColumn, RowStream, SourceColumn};

use super::reading::Reading;
use super::{Bounds, Meeting, TableCopying};
use crate::parts::copying::config::{Deletes, SyncMode};
use crate::parts::copying::deletes::{Reconciling, tell_deleted, work_of_keys};
use crate::parts::copying::select::Question;
use crate::parts::reads::incremental::Narrowed;
use crate::parts::report::{ledger_entry, while_doing};

impl TableCopying<'_> {
    /// Of a part of the rows nothing can be said about the others.
    pub(super) fn reconciles(&self) -> bool {
        self.plan.deletes == Deletes::Reconcile && self.job.limit.is_none()
    }

    /// Loads. Rows that are gone and could keep others from coming in go with the load.
    pub(super) async fn load_past_gone(
        &self,
        meeting: &Meeting,
        question: &Question,
        narrowed: &Narrowed,
        bounds: Bounds<'_>,
    ) -> Result<(LoadReport, Arc<Mutex<Reading>>), TaskError> {
        let keys = meeting.target_names(&self.plan.primary_key);
        let is_upsert = self.plan.sync_mode == SyncMode::IncrementalSync && meeting.exists;
        let hindered = async {
            let wanted = self.reconciling(meeting);
            let (target, warehouse) = (&self.plan.target, &*self.job.warehouse);
            let may_be = is_upsert && self.reconciles() && warehouse.gone_rows_hinder(target, &keys).await?;
            if !may_be || !wanted.has_rows().await? {
                return Ok(None);
            }
            let gone = wanted.before_load(self.read_keys(meeting)).await?;
            Ok::<_, TaskError>(Some((wanted, gone)))
        };
        let Some((wanted, gone)) = hindered.await.map_err(|error| while_doing(&self.at("reconcile"), error))? else {
            return self.load(meeting, question, narrowed, bounds).await;
        };
        let loaded = self.load(meeting, question, narrowed, Bounds { gone, ..bounds }).await;
        wanted.forget().await;
        loaded
    }

    /// The columns of the key, as the source has them, and their types in the target.
    fn key_columns(&self, meeting: &Meeting) -> (Vec<SourceColumn>, Vec<Option<String>>) {
        let is_key = |at: &usize| self.plan.primary_key.contains(&meeting.columns[*at].name);
        let at = || (0..meeting.columns.len()).filter(is_key);
        (at().map(|at| meeting.columns[at].clone()).collect(), at().map(|at| meeting.types[at].clone()).collect())
    }

    fn reconciling(&self, meeting: &Meeting) -> Reconciling<'_> {
        let (job, plan) = (self.job, self.plan);
        let (columns, types) = self.key_columns(meeting);
        let key = |(column, type_name): (&SourceColumn, Option<String>)| {
            let new = self.new_column(column, false);
            let name = meeting.target_name(&column.name).unwrap_or(new.name);
            NewColumn { name, type_name: type_name.unwrap_or(new.type_name), is_nullable: new.is_nullable }
        };
        Reconciling {
            context: self.context,
            warehouse: &*job.warehouse,
            target: &plan.target,
            keys: columns.iter().zip(types).map(key).collect(),
            field: plan.incremental_field.as_ref().and_then(|field| meeting.target_name(field)),
            work: work_of_keys(&self.work()),
        }
    }

    /// All keys of the source, as those of the target are.
    async fn read_keys(&self, meeting: &Meeting) -> Result<RowStream, TaskError> {
        let source = &*self.job.source;
        let (columns, types) = self.key_columns(meeting);
        let question = Question {
            columns: Some(columns.iter().map(|column| column.name.clone()).collect()),
            is_whole: true,
            ..Question::default()
        };
        let rows = source.query(&question.select(source, self.plan)).await?;
        let (rows, _) = self.treating.apply_to_part(rows)?;
        let mut converter = self.converter(&columns, &types);
        let batches = rows.batches.map(move |batch| batch.and_then(|batch| converter.convert(batch))).boxed();
        Ok(RowStream { columns: rows.columns, batches })
    }

    /// Deletes them. After the load: what came in by it is among the keys.
    pub(super) async fn reconcile(&self, meeting: &Meeting) -> Result<u64, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let started_at = self.context.clock.now();
        let reconciled = self.reconciling(meeting).run(self.read_keys(meeting)).await;
        let (keys, deleted) = reconciled.map_err(|error| while_doing(&self.at("reconcile"), error))?;
        let mut entry = ledger_entry(
            self.context,
            "reconcile",
            format!("{}: keys of {}", job.source_conn_id, plan.source),
            format!("{}: {}", job.target_conn_id, plan.target),
            started_at,
        );
        (entry.rows_read, entry.rows_deleted) = (keys, Some(deleted));
        self.context.reporter.ledger(entry);
        tell_deleted(self.context, deleted);
        self.checkpoint("reconcile", format!("{deleted} rows that the source has no more were deleted"));
        Ok(deleted)
    }
}
