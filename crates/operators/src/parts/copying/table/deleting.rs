//! Rows of the target that the source has no more.

use futures::StreamExt;
use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{NewColumn, RowStream, SourceColumn};

use super::{Meeting, TableCopying};
use crate::parts::copying::deletes::{Reconciling, tell_deleted, work_of_keys};
use crate::parts::copying::select::Question;
use crate::parts::report::{ledger_entry, while_doing};

impl TableCopying<'_> {
    /// Deletes them. After the load: what came in by it is among the keys.
    pub(super) async fn reconcile(&self, meeting: &Meeting) -> Result<u64, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let started_at = self.context.clock.now();
        let is_key = |column: &SourceColumn| plan.primary_key.contains(&column.name);
        let at: Vec<usize> = (0..meeting.columns.len()).filter(|at| is_key(&meeting.columns[*at])).collect();
        let columns: Vec<SourceColumn> = at.iter().map(|at| meeting.columns[*at].clone()).collect();
        let types: Vec<Option<String>> = at.iter().map(|at| meeting.types[*at].clone()).collect();
        let keys: Vec<NewColumn> = at
            .iter()
            .map(|at| {
                let new = self.new_column(&meeting.columns[*at], false);
                NewColumn {
                    name: meeting.names[*at].clone(),
                    type_name: meeting.types[*at].clone().unwrap_or(new.type_name),
                    ..new
                }
            })
            .collect();
        let wanted = Reconciling {
            context: self.context,
            warehouse: &*job.warehouse,
            target: &plan.target,
            keys,
            field: plan.incremental_field.as_ref().and_then(|field| meeting.target_name(field)),
            work: work_of_keys(&self.work()),
        };
        let attempted = self.at("reconcile");
        let question = Question {
            columns: Some(columns.iter().map(|column| column.name.clone()).collect()),
            is_whole: true,
            ..Question::default()
        };
        let sql = question.select(&*job.source, plan);
        let read = async {
            let rows = job.source.query(&sql).await?;
            let (rows, _) = self.treating.apply_to_part(rows)?;
            let mut converter = self.converter(&columns, &types);
            let batches = rows.batches.map(move |batch| batch.and_then(|batch| converter.convert(batch))).boxed();
            Ok(RowStream { columns: rows.columns, batches })
        };
        let (keys, deleted) = wanted.run(read).await.map_err(|error| while_doing(&attempted, error))?;
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
