//! The rows of a query as they are to be written: what `extract` and `sql_to_s3` do alike, wherever the rows go then.

pub mod fitting;
mod for_table;
pub mod parameters;
pub mod refused_value;

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_model::ledger::{DROPPED, RowsRead};
use millrace_operator_api::ports::{RowStream, SqlSource};
use millrace_operator_api::{TaskContext, TaskError};

use crate::parts::column_name::require_apart;
use crate::parts::files::encoding::Proof;
use crate::parts::reads::expected_columns::ExpectedColumns;
use crate::parts::reads::incremental::{self, Incremental, Narrowed};
use crate::parts::reads::longest::Longest;
use crate::parts::reads::parallel;
use crate::parts::reads::treatment::{Leaps, Rendered, Treatments};
use crate::parts::report::{unless_cancelled, while_doing};

/// What is asked for.
pub struct Asked<'a> {
    pub conn_id: String,
    pub source: &'a Arc<dyn SqlSource>,
    /// For people.
    pub label: &'a str,
    pub query: &'a str,
    pub incremental: Option<&'a Incremental>,
    pub expected_columns: Option<&'a ExpectedColumns>,
    pub treating: &'a Rendered<'a>,
    /// Whether `data verify` is to be possible.
    pub proof: Proof,
    /// The column by whose ranges several connections read, and how many.
    pub split: Option<(&'a str, usize)>,
}

/// Rows on their way.
pub struct Opened {
    pub narrowed: Narrowed,
    /// One for each connection that reads.
    pub streams: Vec<RowStream>,
    pub leaps: Leaps,
    pub longest: Longest,
    pub proof: Proof,
    /// For the ledger.
    pub read: RowsRead,
}

/// Narrows the query, sends it, holds its columns against those that are counted on, and treats the rows.
pub async fn open(context: &TaskContext, asked: Asked<'_>) -> Result<Opened, TaskError> {
    let Asked { conn_id, source, label, query, treating, .. } = asked;
    let (narrowed, streams) = unless_cancelled(context, async {
        let narrowed = incremental::narrow(context, (&conn_id, &**source), query, asked.incremental, treating).await?;
        let streams = match asked.split {
            Some((column, readers)) => parallel::open(context, source, narrowed.query(), column, readers).await,
            None => source.query(narrowed.query()).await.map(|rows| vec![rows]).map_err(TaskError::from),
        };
        let streams = streams.map_err(|error| while_doing(&format!("reading {label}"), error))?;
        if let Some(first) = streams.first() {
            require_apart(&first.columns, "the query")?;
        }
        let streams: Vec<RowStream> = streams.into_iter().map(|rows| narrowed.watch(rows)).collect();
        Ok((narrowed, streams))
    })
    .await?;
    let (streams, dropped) = match asked.expected_columns {
        Some(expected) => expected.apply(context, streams)?,
        None => (streams, Treatments::new()),
    };
    let first = streams.first().ok_or_else(|| TaskError::Fail("the source gave no answer".to_owned()))?;
    let mut changed: BTreeMap<String, String> = treating.changes(&first.columns);
    changed.extend(dropped.into_keys().map(|name| (name, DROPPED.to_owned())));
    let (streams, leaps) = treating.apply_all(streams)?;
    let longest = Longest::default();
    let streams = longest.watch(streams);
    // Of values that are changed on the way the source knows no hash.
    let proof = if changed.is_empty() { asked.proof } else { Proof::Left };
    let (query, clocks) = (narrowed.query().to_owned(), narrowed.clocks().clone());
    let read = RowsRead { conn_id, query, changed, clocks, ..RowsRead::default() };
    Ok(Opened { narrowed, streams, leaps, longest, proof, read })
}
