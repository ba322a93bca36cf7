//! With an upsert and after it: rows that the source has no more, found by comparing all keys.

use millrace_operator_api::ports::{LoadMethod, NewColumn, RowStream, SourceColumn, ValueType, Warehouse};
use millrace_operator_api::{TaskContext, TaskError};

use super::{Loading, Missing, target_label};
use crate::parts::column_name::{find, position};
use crate::parts::copying::deletes::{Reconciling, tell_deleted, work_of_keys};
use crate::parts::loads::drift::Settled;
use crate::parts::reads::treatment::{HASH_LENGTH, HashKey, Rendered, ZeroDates};
use crate::parts::report::{ledger_entry, query_label, while_doing};

/// What is found before the load, to go with it.
pub struct First<'a> {
    reconciling: Reconciling<'a>,
    /// For [`LoadRequest::gone`](millrace_operator_api::ports::LoadRequest::gone).
    pub gone: Vec<String>,
    /// The keys' columns, as they were read.
    columns: Vec<SourceColumn>,
}

impl First<'_> {
    /// Refuses keys that are not what the rows have.
    pub fn check(&self, settled: Option<&Settled>) -> Result<(), TaskError> {
        settled.map_or(Ok(()), |settled| require_alike(&self.columns, settled))
    }

    /// When the load has ended.
    pub async fn forget(&self) {
        self.reconciling.forget().await;
    }
}

/// Looks for rows that are gone, where they could keep others from coming in.
pub async fn before_load<'a>(
    context: &'a TaskContext,
    warehouse: &'a dyn Warehouse,
    loading: &'a Loading,
) -> Result<Option<First<'a>>, TaskError> {
    let (Some(missing), LoadMethod::Upsert { keys, .. }) = (&loading.delete_missing, &loading.method) else {
        return Ok(None);
    };
    let attempted = attempted(loading, missing);
    if !warehouse.gone_rows_hinder(&loading.target, keys).await.map_err(|error| while_doing(&attempted, error))? {
        return Ok(None);
    }
    let reconciling = reconciling(context, warehouse, loading, missing).await?;
    if !reconciling.has_rows().await.map_err(|error| while_doing(&attempted, error))? {
        return Ok(None);
    }
    let mut columns = Vec::new();
    let read = async {
        let rows = read_keys(context, loading, missing).await?;
        columns.clone_from(&rows.columns);
        Ok(rows)
    };
    let gone = reconciling.before_load(read).await.map_err(|error| while_doing(&attempted, error))?;
    Ok(Some(First { reconciling, gone, columns }))
}

/// Deletes them after the load and says how many there were.
pub async fn delete_missing(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    loading: &Loading,
    (missing, settled): (&Missing, Option<&Settled>),
) -> Result<u64, TaskError> {
    let started_at = context.clock.now();
    let label = query_label(&missing.keys.conn_id, &missing.keys.query);
    let reconciling = reconciling(context, warehouse, loading, missing).await?;
    let read = async {
        let rows = read_keys(context, loading, missing).await?;
        settled.map_or(Ok(()), |settled| require_alike(&rows.columns, settled))?;
        Ok(rows)
    };
    let (read, deleted) =
        reconciling.run(read).await.map_err(|error| while_doing(&attempted(loading, missing), error))?;
    let mut entry = ledger_entry(context, "reconcile", label, target_label(loading), started_at);
    (entry.rows_read, entry.rows_deleted) = (read, Some(deleted));
    context.reporter.ledger(entry);
    tell_deleted(context, deleted);
    context.checkpoint("reconcile", format!("{deleted} rows that the source has no more were deleted"));
    Ok(deleted)
}

fn attempted(loading: &Loading, missing: &Missing) -> String {
    let label = query_label(&missing.keys.conn_id, &missing.keys.query);
    format!("deleting rows of {} that {label} has no more", loading.target)
}

/// The table as it is now.
async fn reconciling<'a>(
    context: &'a TaskContext,
    warehouse: &'a dyn Warehouse,
    loading: &'a Loading,
    missing: &Missing,
) -> Result<Reconciling<'a>, TaskError> {
    let LoadMethod::Upsert { keys, order_key } = &loading.method else {
        return Err(TaskError::Fail("delete_missing has a meaning with an upsert only".to_owned()));
    };
    let attempted = attempted(loading, missing);
    let known = warehouse.describe(&loading.target).await.map_err(|error| while_doing(&attempted, error))?;
    let mut columns = Vec::new();
    for key in keys {
        let Some(column) = find(&known, key) else {
            return Err(TaskError::Fail(format!("{attempted}: the table has no column {key}")));
        };
        columns.push(NewColumn { name: column.name.clone(), type_name: column.type_name.clone(), is_nullable: true });
    }
    Ok(Reconciling {
        context,
        warehouse,
        target: &loading.target,
        keys: columns,
        field: order_key.as_ref().and_then(|name| find(&known, name)).map(|column| column.name.clone()),
        work: work_of_keys(&context.work),
    })
}

/// All keys of the source, as those of the table are.
async fn read_keys(context: &TaskContext, loading: &Loading, missing: &Missing) -> Result<RowStream, TaskError> {
    let source = context.ports.source(context, &missing.keys.conn_id).await?;
    let key = match &missing.hash_conn_id {
        Some(conn_id) => Some(HashKey::of(context, conn_id.clone()).await?),
        None => None,
    };
    let zone = missing.source_timezone.clone().or_else(|| source.source_timezone().map(ToOwned::to_owned));
    let treating = Rendered::new(&missing.columns, key, zone, ZeroDates::Keep);
    let rows = source.query(&missing.keys.query).await?;
    if let LoadMethod::Upsert { keys, .. } = &loading.method {
        require_keys(&rows, keys)?;
    }
    let (rows, _) = treating.apply(rows)?;
    Ok(rows)
}

/// By another column, or in another order, every row of the table would be taken for one that is gone.
fn require_keys(rows: &RowStream, keys: &[String]) -> Result<(), TaskError> {
    let names: Vec<&str> = rows.columns.iter().map(|column| column.name.as_str()).collect();
    if names.len() == keys.len() && names.iter().zip(keys).all(|(name, key)| name.eq_ignore_ascii_case(key)) {
        return Ok(());
    }
    Err(TaskError::Fail(format!(
        "delete_missing: the query gives {}, but it has to give the columns of upsert_keys in their order: {}",
        names.join(", "),
        keys.join(", ")
    )))
}

/// Keys that were moved to UTC or hashed when they were extracted, and are not here: some of them would be taken for other
/// rows' keys, and their own rows for ones that are gone.
fn require_alike(read: &[SourceColumn], settled: &Settled) -> Result<(), TaskError> {
    let fail = |column: &SourceColumn, what: &str, mend: &str| {
        Err(TaskError::Fail(format!(
            "delete_missing: {} {what} in the rows that were loaded, and the query gives it as {}; {mend}",
            column.name, column.value
        )))
    };
    for column in read {
        let at = position(&settled.columns, &column.name);
        let Some(loaded) = at.and_then(|at| settled.types.get(at)) else { continue };
        match (loaded, &column.value) {
            (ValueType::Timestamp { zoned: true }, ValueType::Timestamp { zoned: false }) => {
                return fail(column, "has a zone (UTC)", "give delete_missing the source_timezone of the extract");
            }
            (ValueType::Timestamp { zoned: false }, ValueType::Timestamp { zoned: true }) => {
                return fail(column, "has no zone", "give the extract the same source_timezone as delete_missing");
            }
            (ValueType::Text { max_chars: Some(HASH_LENGTH), .. }, other) if !other.is_text() => {
                return fail(column, "is hashed", "give delete_missing the columns and hash_conn_id of the extract");
            }
            _ => {}
        }
    }
    Ok(())
}
