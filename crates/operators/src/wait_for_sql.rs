//! `wait_for_sql`: until a query says so.

use millrace_model::ids::TaskId;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError, WorkId};
use millrace_template::Template;
use serde_json::json;

use crate::parts::asking::is_true;
use crate::parts::parameter::{is_blank, rendered_text};
use crate::parts::report::{unless_cancelled, while_doing};
use crate::parts::sensor::{Look, sensor};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<WaitForSql>("wait_for_sql", "waits until a query's first value is true")
        .aliases(&["SqlSensor"])
        .parameter_aliases(&[("conn_id", "sql_conn_id")]);

sensor! {
    /// Asks a database until the first value of the first row is true, without holding a slot in between: a number other
    /// than 0, or a text that is not empty, `0`, `f` or `false`. No row, or NULL, is not yet. The value is the result.
    pub struct WaitForSql {
        /// The connection to ask.
        sql_conn_id: Template<String>,
        /// One query.
        sql: Template<String>,
    }
}

impl Operator for WaitForSql {
    fn check(&self, problems: &mut Problems) {
        self.patience().check(problems);
        if is_blank(&self.sql_conn_id) {
            problems.add("sql_conn_id", "sql_conn_id is empty");
        }
        if is_blank(&self.sql) {
            problems.add("sql", "sql is empty");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl WaitForSql {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let sql = rendered_text("sql", &self.sql)?;
        let database = context.ports.warehouse(context, &conn_id).await?;
        let statements = database.split(&sql)?;
        if statements.len() != 1 {
            return Err(TaskError::Fail(format!("parameter sql must be one query, not {}", statements.len())));
        }
        let attempted = format!("asking {conn_id}");
        // All looks belong to one try. What is asked under the same name is answered with what was answered before.
        let look = WorkId {
            task_id: TaskId::new_unchecked(format!("{}#look:{}", context.work.task_id, context.put_offs)),
            ..context.work.clone()
        };
        let answer = unless_cancelled(context, async {
            database.execute(&statements, false, &look).await.map_err(|error| while_doing(&attempted, error))
        });
        let value = answer.await?.pop().and_then(|result| result.rows.into_iter().next()?.into_iter().next()?);
        let look = match value {
            Some(value) if is_true(&value) => Look::Found(Some(json!(value))),
            Some(value) => Look::NotYet(format!("the query's first value is '{value}'")),
            None => Look::NotYet("the query's first value is NULL, or there is no row".to_owned()),
        };
        self.patience().decide(context, look)
    }
}
