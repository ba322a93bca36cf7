//! Rows into a PostgreSQL table itself, without a staging table: one COPY in the transaction that leaves the marker, half
//! of the writing.
//!
//! Readers see all of the rows or none either way. An append holds no lock that would keep others from reading or writing
//! rows, however slowly its rows come; what needs the table for itself (a replacement, a swap, ALTER TABLE) waits for its
//! end. Rows that take the place of others go this way only where there are none, and keep other writers waiting.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRequest, LoadRows};
use sha2::{Digest, Sha256};

use super::keys::{Key, key_of};
use super::load::UNIQUE_VIOLATION;
use super::locks;
use super::stage::Staging;
use crate::parts::dialect::Dialect;
use crate::parts::doubles;
use crate::parts::row_counts::require_all_read;
use crate::parts::rows::Rejects;
use crate::parts::session::{Session, ask, find_marker, insert_marker, marker_of, picks};
use crate::parts::sql::list;
use crate::parts::turns::Turns;
use crate::parts::wire::ClientSession;

/// Whether COPY does to the table what an INSERT of staged rows would: with triggers, rules, policies or foreign keys it
/// might not, or might lose against another transaction when it is too late to read the rows again.
pub async fn is_possible(session: &dyn Session, request: &LoadRequest) -> Result<bool, PortError> {
    if request.format.max_error > 0 || !matches!(request.method, LoadMethod::Append | LoadMethod::Replace) {
        return Ok(false);
    }
    let plain = format!(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {} AND c.relkind = 'r' \
         AND NOT c.relhassubclass AND NOT c.relhasrules AND NOT c.relrowsecurity \
         AND NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal) \
         AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f')",
        picks(&request.target, Dialect::Postgres)
    );
    Ok(!ask(session, "plain", plain).await?.rows.is_empty())
}

/// `None` when the table has rows that are to be replaced: nothing was done then.
pub async fn load(
    into: &Staging<'_>,
    request: &LoadRequest,
    rejects: &mut Rejects,
) -> Result<Option<LoadReport>, PortError> {
    // No lock on the table keeps two tries of one work apart. This one is given up with the connection.
    into.client.query(&format!("SELECT pg_advisory_lock({})", lock_of(&marker_of(&request.work)))).await?;
    let mut turns = Turns::default();
    let unique_by = &request.unique_by;
    let session = ClientSession { client: into.client };
    // The index says it at no cost.
    let looks =
        !unique_by.is_empty() && key_of(&session, &request.target, unique_by, unique_by).await? == Key::MayRepeat;
    loop {
        let mut is_reading = false;
        match transaction(into, request, rejects, (looks, &mut is_reading)).await {
            Err(error) if error.code.as_deref() == Some(UNIQUE_VIOLATION) && !unique_by.is_empty() => {
                return Err(doubles::explain(error, unique_by));
            }
            // Files can be read again, rows that come from elsewhere cannot.
            Err(error) if !is_reading || matches!(request.rows, LoadRows::Objects(_)) => {
                turns.again(error, &into.client.config.task).await?;
            }
            other => return other,
        }
    }
}

fn lock_of(marker: &str) -> i64 {
    let digest = Sha256::digest(marker);
    digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

async fn transaction(
    into: &Staging<'_>,
    request: &LoadRequest,
    rejects: &mut Rejects,
    (looks_for_doubles, is_reading): (bool, &mut bool),
) -> Result<Option<LoadReport>, PortError> {
    let (client, target) = (into.client, into.into);
    let marker = marker_of(&request.work);
    let is_replaced = request.method == LoadMethod::Replace;
    if is_replaced {
        locks::begin_with(client, target, "SHARE ROW EXCLUSIVE").await?;
    } else {
        client.batch(locks::BEGIN).await?;
    }
    let work = async {
        if !is_replaced {
            client.batch(&format!("LOCK TABLE {target} IN ROW EXCLUSIVE MODE")).await?;
        }
        if !client.query(&find_marker(&request.target, &marker)).await?.rows.is_empty() {
            return Ok(Some(LoadReport { was_loaded_before: true, ..LoadReport::default() }));
        }
        if is_replaced && !client.query(&format!("SELECT 1 FROM {target} LIMIT 1")).await?.rows.is_empty() {
            return Ok(None);
        }
        *is_reading = true;
        let staged = into.fill(&request.rows, rejects).await?;
        require_all_read(request, Some(staged.rows))?;
        if looks_for_doubles {
            let found = client.query(&doubles::find(target, &request.unique_by, &list(&request.unique_by))).await?;
            doubles::refuse(&request.unique_by, &found, request.show_values)?;
        }
        for statement in &request.also {
            client.batch(statement).await?;
        }
        client.batch(&insert_marker(Dialect::Postgres, &request.target, &marker, &staged.rows.to_string())).await?;
        Ok(Some(LoadReport {
            rows_read: Some(staged.rows),
            rows_inserted: Some(staged.rows),
            rows_deleted: is_replaced.then_some(0),
            rows_rejected: Some(0),
            bytes: staged.bytes,
            ..LoadReport::default()
        }))
    };
    match work.await {
        Ok(Some(report)) if !report.was_loaded_before => client.batch("COMMIT").await.map(|()| Some(report)),
        Ok(other) => client.batch("ROLLBACK").await.map(|()| other),
        Err(error) => {
            // The first error counts; a connection that is gone has rolled back by itself.
            let _ = client.batch("ROLLBACK").await;
            Err(error)
        }
    }
}
