//! Rows that the source has no more, found by its keys.
//!
//! Copies may overlap. So the keys of the target are noted down first, then the source's keys are read, and only rows that
//! were noted down and have not changed since are deleted: a row that came in meanwhile is nobody's to delete, though the
//! keys that were read do not have it.
//!
//! They go after the load, whose rows are among the keys then. A row that is gone may keep another from coming in, by a unique
//! rule of the table: where there is such a rule the same is done before the load too, and what is found goes with it, in its
//! transaction, so that a load which fails loses nothing.

use std::future::Future;

use millrace_model::ids::TaskId;
use millrace_operator_api::ports::{LoadMethod, LoadRequest, LoadRows, NewColumn, RowStream, TableName, Warehouse};
use millrace_operator_api::{PortError, PortErrorKind, TaskContext, TaskError, WorkId};

use crate::parts::report::unless_cancelled;

/// One line of the log: what the load itself says of deleted rows is another matter.
pub fn tell_deleted(context: &TaskContext, deleted: u64) {
    context.info(match deleted {
        1 => "1 row that the source has no more was deleted".to_owned(),
        count => format!("{count} rows that the source has no more were deleted"),
    });
}

pub struct Reconciling<'a> {
    pub context: &'a TaskContext,
    pub warehouse: &'a dyn Warehouse,
    pub target: &'a TableName,
    /// The key's columns as the target has them.
    pub keys: Vec<NewColumn>,
    /// The target's column that says when a row was changed.
    pub field: Option<String>,
    pub work: WorkId,
}

/// Named alike by every try, so that each drops what an earlier one left, and by no other run: the target's keys, and the
/// source's.
fn tables(target: &TableName, work: &WorkId) -> [TableName; 2] {
    ["known", "keys"].map(|what| TableName {
        schema: target.schema.clone(),
        name: format!("millrace_{what}_{}_{}", work.short_hash(), work.generation),
    })
}

/// How many times a task can have been cleared since a try of it was killed, at the most.
const CLEARED: u32 = 20;

/// Drops what an earlier try left that was killed, in good time: this one may not come as far.
pub async fn forget_earlier(context: &TaskContext, warehouse: &dyn Warehouse, target: &TableName, work: &WorkId) {
    if context.try_number < 2 {
        return;
    }
    let of = |generation| tables(target, &WorkId { generation, ..work.clone() });
    let left: Vec<TableName> = (work.generation.saturating_sub(CLEARED)..=work.generation).flat_map(of).collect();
    if let Err(error) = warehouse.forget(&left).await {
        context.warning(format!("tables that an earlier try may have left beside {target} were not dropped: {error}"));
    }
}

/// Of the comparison that belongs to this work.
pub fn work_of_keys(work: &WorkId) -> WorkId {
    WorkId { task_id: TaskId::new_unchecked(format!("{}#keys", work.task_id)), ..work.clone() }
}

impl Reconciling<'_> {
    /// `read` asks the source for its keys; it is begun when those of the target are noted down. The target compares the
    /// two itself, so that neither is held in memory. Gives the keys that were read and the rows that were deleted.
    pub async fn run(
        &self,
        read: impl Future<Output = Result<RowStream, TaskError>> + Send,
    ) -> Result<(Option<u64>, u64), TaskError> {
        let result = self.delete_now(read).await;
        self.forget().await;
        result
    }

    /// Whether there is anything to compare with.
    pub async fn has_rows(&self) -> Result<bool, TaskError> {
        let target = self.warehouse.table_sql(self.target);
        self.finds_one(&format!("SELECT 1 AS one FROM {target} LIMIT 1"), &self.work).await
    }

    /// What a load is to delete before its rows come in ([`LoadRequest::gone`]), by keys that are read now. The conditions
    /// look into tables that [`forget`](Self::forget) drops, when the load has ended.
    pub async fn before_load(
        &self,
        read: impl Future<Output = Result<RowStream, TaskError>> + Send,
    ) -> Result<Vec<String>, TaskError> {
        self.context.info(format!(
            "{} has a unique rule besides that on its keys: rows that the source has no more go in the transaction of the load, \
             before others come in",
            self.target
        ));
        let work = self.work_of("before:");
        let found = async {
            if let Err(error) = self.read_keys(&work, read).await? {
                // They may do so when the load has widened a column.
                self.context.info(format!("not all keys of the source fit {} as it is: {error}", self.target));
                return Ok(Vec::new());
            }
            // Where none is known, the deletion after the load says so.
            Ok(if self.finds_common(&work).await? { self.which_are_gone() } else { Vec::new() })
        };
        let found = found.await;
        if found.is_err() {
            self.forget().await;
        }
        found
    }

    pub async fn forget(&self) {
        let tables = tables(self.target, &self.work);
        if let Err(error) = self.warehouse.forget(&tables).await {
            self.context.warning(format!("{} and {} could not be dropped: {error}", tables[0], tables[1]));
        }
    }

    /// Keys are read anew by every try, and before the load and after it: those of an earlier time are too old to delete by.
    fn work_of(&self, when: &str) -> WorkId {
        let (task_id, number) = (&self.work.task_id, self.context.try_number);
        WorkId { task_id: TaskId::new_unchecked(format!("{task_id}:{when}{number}")), ..self.work.clone() }
    }

    async fn delete_now(
        &self,
        read: impl Future<Output = Result<RowStream, TaskError>> + Send,
    ) -> Result<(Option<u64>, u64), TaskError> {
        let work = self.work_of("");
        let read = self.read_keys(&work, read).await??;
        // Hashed at the source, or told by another clock: then every row would be taken for one that is gone.
        if !self.finds_common(&work).await? {
            return Err(TaskError::Fail(format!(
                "none of the keys that the source gives is in {}, so every row would be deleted; the keys must be read as \
                 they are loaded",
                self.target
            )));
        }
        let (statements, counts) = self.delete();
        let answers = self.warehouse.execute(&statements, false, &work).await?;
        let count = |index: &usize| {
            let cell = answers.get(*index).and_then(|answer| answer.rows.first()?.first()?.as_deref());
            cell.and_then(|cell| cell.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok((read, counts.iter().map(count).sum()))
    }

    /// Notes the target's keys down and then reads the source's; gives the number of these, or why the table does not take one.
    async fn read_keys(
        &self,
        work: &WorkId,
        read: impl Future<Output = Result<RowStream, TaskError>> + Send,
    ) -> Result<Result<Option<u64>, PortError>, TaskError> {
        let [known, keys] = &tables(self.target, &self.work);
        self.warehouse.execute(&self.note_down(known, keys), false, work).await?;
        let rows = unless_cancelled(self.context, read).await?;
        self.warehouse.create_table(keys, &self.keys, &[], true).await?;
        let request = LoadRequest {
            columns: Some(self.key_names()),
            is_own_table: true,
            ..LoadRequest::new(keys.clone(), LoadMethod::Append, LoadRows::direct(rows), work.clone())
        };
        let loaded = match self.warehouse.load(request).await {
            Ok(loaded) => loaded,
            Err(error) if error.kind == PortErrorKind::Data => return Ok(Err(error)),
            Err(error) => return Err(error.into()),
        };
        if loaded.was_loaded_before {
            return Err(TaskError::Retry("this try has read the source's keys before".to_owned()));
        }
        if loaded.rows_read == Some(0) {
            return Err(TaskError::Fail(
                "the source has no row at all, so every row would be deleted; if that is meant, empty the table by a task of \
                 its own (operator: sql)"
                    .to_owned(),
            ));
        }
        if let Some(index) = self.warehouse.index_sql(keys, &self.key_names()) {
            self.warehouse.execute(&[index], false, work).await?;
        }
        Ok(Ok(loaded.rows_read))
    }

    /// Whether a query of a column `one`, with a limit, has an answer.
    async fn finds_one(&self, query: &str, work: &WorkId) -> Result<bool, TaskError> {
        let answers = self.warehouse.execute(&[format!("SELECT COUNT(*) FROM ({query}) AS c")], true, work).await?;
        Ok(answers.first().and_then(|answer| answer.rows.first()?.first()?.as_deref()) == Some("1"))
    }

    fn key_names(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.name.clone()).collect()
    }

    fn note_down(&self, known: &TableName, keys: &TableName) -> Vec<String> {
        let warehouse = self.warehouse;
        let names = self.key_names();
        // It may be a part of the key.
        let field = self.field.iter().filter(|field| !names.contains(field));
        let columns: Vec<String> = names.iter().chain(field).map(|name| warehouse.quote(name)).collect();
        let index = warehouse.index_sql(known, &names);
        let (known, keys) = (warehouse.table_sql(known), warehouse.table_sql(keys));
        let made = [
            format!("DROP TABLE IF EXISTS {known}"),
            format!("DROP TABLE IF EXISTS {keys}"),
            format!("CREATE TABLE {known} AS SELECT {} FROM {}", columns.join(", "), warehouse.table_sql(self.target)),
        ];
        made.into_iter().chain(index).collect()
    }

    /// Whether a key of the source is in the target.
    async fn finds_common(&self, work: &WorkId) -> Result<bool, TaskError> {
        let [_, keys] = &tables(self.target, &self.work);
        let (target, keys) = (self.warehouse.table_sql(self.target), self.warehouse.table_sql(keys));
        self.finds_one(&format!("SELECT 1 AS one FROM {target} JOIN {keys} AS k ON {} LIMIT 1", self.same("k")), work)
            .await
    }

    /// That `other` has the key of a row of the target. A NULL in a key equals nothing, so that such a row is not among the
    /// known ones and stays.
    fn same(&self, other: &str) -> String {
        let target = self.warehouse.table_sql(self.target);
        let pair = |key: &NewColumn| {
            let name = self.warehouse.quote(&key.name);
            // In SQLite the left one says how the two are compared, and only the target's column may know.
            let same = format!("{target}.{name} = {other}.{name}");
            if self.warehouse.passes_over_blanks(&key.type_name) {
                format!("{same} AND LENGTH({other}.{name}) = LENGTH({target}.{name})")
            } else {
                same
            }
        };
        self.keys.iter().map(pair).collect::<Vec<_>>().join(" AND ")
    }

    /// Conditions on rows of the target: each row that is gone meets one of them.
    fn which_are_gone(&self) -> Vec<String> {
        let warehouse = self.warehouse;
        let target = warehouse.table_sql(self.target);
        let [known, keys] = tables(self.target, &self.work).map(|table| warehouse.table_sql(&table));
        let unchanged = match &self.field {
            None => vec![String::new()],
            Some(field) => {
                let field = warehouse.quote(field);
                vec![
                    format!(" AND known.{field} = {target}.{field}"),
                    format!(" AND known.{field} IS NULL AND {target}.{field} IS NULL"),
                ]
            }
        };
        let condition = |unchanged: String| {
            // No keys must not mean no rows.
            format!(
                "EXISTS (SELECT 1 FROM {keys}) AND EXISTS (SELECT 1 FROM {known} AS known WHERE {}{unchanged}) \
                 AND NOT EXISTS (SELECT 1 FROM {keys} AS k WHERE {})",
                self.same("known"),
                self.same("k")
            )
        };
        unchanged.into_iter().map(condition).collect()
    }

    /// The statements, and which of them count.
    fn delete(&self) -> (Vec<String>, Vec<usize>) {
        let target = self.warehouse.table_sql(self.target);
        let mut statements: Vec<String> = self.warehouse.lock_sql(self.target).into_iter().collect();
        let mut counts = Vec::new();
        for gone in self.which_are_gone() {
            counts.push(statements.len());
            statements.push(format!("SELECT COUNT(*) FROM {target} WHERE {gone}"));
            statements.push(format!("DELETE FROM {target} WHERE {gone}"));
        }
        (statements, counts)
    }
}
