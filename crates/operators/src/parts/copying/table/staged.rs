//! Whether the rows of a copy may go through an object store.

use millrace_operator_api::TaskError;

use super::{Meeting, TableCopying};
use crate::parts::asking::ask;
use crate::parts::copying::select::Question;
use crate::parts::copying::staging::{StagingPlace, columns_of_bytes, may_be_cut};
use crate::parts::report::while_doing;

impl TableCopying<'_> {
    /// Where the rows go for COPY; `None` where they are inserted.
    pub(super) async fn staging(
        &self,
        meeting: &Meeting,
        question: &Question,
    ) -> Result<Option<&StagingPlace>, TaskError> {
        let Some(staging) = self.job.staging.as_ref() else { return Ok(None) };
        let looked_at = self.plan.max_error == 0;
        let cut = may_be_cut(&*self.job.warehouse, &meeting.columns, &meeting.types, looked_at);
        let why = match cut {
            Some(column) => Some(format!("COPY could change values of {} ({})", column.name, column.value)),
            None if self.has_empty_bytes(meeting, question).await? => {
                Some("some columns of bytes hold values of none, which COPY takes for NULL".to_owned())
            }
            None => None,
        };
        let Some(why) = why else { return Ok(Some(staging)) };
        self.context.warning(format!("{}: rows are inserted without S3, because {why}", self.plan.target));
        Ok(None)
    }

    /// Asks the source, among the rows to come.
    async fn has_empty_bytes(&self, meeting: &Meeting, question: &Question) -> Result<bool, TaskError> {
        let source = &*self.job.source;
        let empty: Vec<String> = columns_of_bytes(&meeting.columns)
            .map(|(_, column)| format!("LENGTH({}) = 0", source.quote(&column.name)))
            .collect();
        if empty.is_empty() {
            return Ok(false);
        }
        let asked = Question { columns: None, order_by: None, limit: None, ..question.clone() };
        let sql = asked.figure(source, self.plan, &format!("MAX(CASE WHEN {} THEN 1 ELSE 0 END)", empty.join(" OR ")));
        let answer = ask(self.context, &self.job.source_conn_id, &sql).await;
        let answer = answer.map_err(|error| while_doing(&self.at("stage"), error))?;
        Ok(answer.rows.first().and_then(|row| row.first()?.as_deref()) == Some("1"))
    }
}
