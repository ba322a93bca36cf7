//! Rows that go from a database straight into a table, without an object in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use millrace_model::ledger::RowsRead;
use millrace_operator_api::ports::{LoadMethod, LoadRows, RowStream, SourceColumn, Warehouse};
use millrace_operator_api::{TaskContext, TaskError};

use super::{Direct, Loading, Prepared, target_label, telling_apart};
use crate::parts::column_name::{find, position};
use crate::parts::loads::file_columns::{self, FileColumns};
use crate::parts::reads::clocks::{self, Change};
use crate::parts::reads::treatment::{HashKey, Rendered, personal_columns};
use crate::parts::report::{Expected, Meter, Progress, query_label, unless_cancelled, while_doing};

/// Asks for the rows, and settles which columns of the table they go into.
pub async fn prepare(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    loading: &Loading,
    direct: &Direct,
) -> Result<Prepared, TaskError> {
    let (conn_id, query) = (&direct.query.conn_id, &direct.query.query);
    let label = query_label(conn_id, query);
    let attempted = format!("reading {label}");
    let source = context.ports.source(context, conn_id).await?;
    let rows =
        unless_cancelled(context, async { source.query(query).await.map_err(|error| while_doing(&attempted, error)) })
            .await?;
    let key = match &direct.hash_conn_id {
        Some(conn_id) => Some(HashKey::of(context, conn_id.clone()).await?),
        None => None,
    };
    let zone = direct.source_timezone.clone().or_else(|| source.source_timezone().map(ToOwned::to_owned));
    let keys: &[String] = match &loading.method {
        LoadMethod::Upsert { keys, .. } => keys,
        _ => &[],
    };
    if let Some(name) = direct.treatments.keys().find(|name| position(&rows.columns, name).is_none()) {
        let known: Vec<&str> = rows.columns.iter().map(|column| column.name.as_str()).collect();
        return Err(TaskError::Fail(format!("treat names '{name}', but the query gives {}", known.join(", "))));
    }
    let treating = Rendered::new(&direct.treatments, key, zone, direct.zero_dates).keeping_apart(keys);
    let changed = treating.changes(&rows.columns);
    telling_apart::check(loading, &[], &personal_columns(&changed))?;
    unless_cancelled(context, hold_clock(context, loading, conn_id, (&rows.columns, &changed))).await?;
    let (rows, leaps) = treating.apply(rows)?;
    let columns = FileColumns {
        names: rows.columns.iter().map(|column| column.name.clone()).collect(),
        types: rows.columns.iter().map(|column| column.value.clone()).collect(),
    };
    let settled = file_columns::choose(context, warehouse, loading, vec![columns]).await?;
    let meter = Meter::new(Progress::start(context, "read", Expected::default()));
    let error = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&error);
    let batches = rows.batches.map(move |batch| {
        match &batch {
            Ok(batch) => meter.add(batch.len() as u64, batch.byte_len() as u64),
            Err(error) => {
                *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error.clone());
            }
        }
        batch
    });
    let rows = RowStream { columns: rows.columns, batches: batches.boxed() };
    Ok(Prepared {
        rows: LoadRows::direct(rows),
        format: loading.options.format.clone(),
        settled,
        written: None,
        label,
        bytes: None,
        files: 0,
        read: Some(RowsRead { conn_id: conn_id.clone(), query: query.clone(), changed, ..RowsRead::default() }),
        leaps: Some(leaps),
        read_error: Some(error),
    })
}

/// Of the column that says which row is newer: rows that were loaded by another clock would hide newer ones.
async fn hold_clock(
    context: &TaskContext,
    loading: &Loading,
    conn_id: &str,
    (columns, changed): (&[SourceColumn], &BTreeMap<String, String>),
) -> Result<(), TaskError> {
    let LoadMethod::Upsert { order_key: Some(order_key), .. } = &loading.method else { return Ok(()) };
    let Some(column) = find(columns, order_key) else { return Ok(()) };
    let target = target_label(loading);
    let Some(before) = clocks::read_before(context, "load", conn_id, Some(&target)).await? else { return Ok(()) };
    let Some(change) = Change::of_values(&before, changed, &column.name) else { return Ok(()) };
    let why = format!("{target}: {}", change.told(&column.name, context.clock.now()));
    clocks::refuse_unless_cleared(
        context,
        &why,
        "Empty the table and clear the runs that filled it, or move its times by hand",
    )
}
