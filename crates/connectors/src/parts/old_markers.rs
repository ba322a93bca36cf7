//! Markers of loads of long ago. Nothing asks for them any more, and a table of all of them would slow every load down.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::TableName;

use crate::parts::dialect::Dialect;
use crate::parts::session::{Session, ask, marker_table, picks};
use crate::parts::sql::table;

/// Far longer than anything waits to be tried again.
pub const KEPT_DAYS: u32 = 90;
/// When one is as old as that, all go that are too old: of many loads a day one in a week writes here. On Redshift a DELETE may
/// cost the loads beside it an attempt.
const SPARED_DAYS: u32 = 97;

/// After a load. It stands whatever comes of this.
pub async fn tend(session: &dyn Session, target: &TableName) {
    if session.dialect() == Dialect::Postgres
        && let Err(error) = index(session, target).await
    {
        tracing::debug!(error = error.message, "the table of markers has no index yet");
    }
    if let Err(error) = drop_old(session, target).await {
        tracing::debug!(error = error.message, "old markers were not dropped");
    }
}

async fn drop_old(session: &dyn Session, target: &TableName) -> Result<(), PortError> {
    let now = match session.dialect() {
        Dialect::Postgres => "timezone('UTC', now())",
        Dialect::Redshift => "GETDATE()",
    };
    let older =
        |days: u32| format!("FROM {} WHERE loaded_at < {now} - INTERVAL '{days} days'", table(&marker_table(target)));
    if ask(session, "old-markers", format!("SELECT 1 {} LIMIT 1", older(SPARED_DAYS))).await?.rows.is_empty() {
        return Ok(());
    }
    // Each row by itself: no transaction of a load waits for it, nor it for them.
    session.clean_up(format!("DELETE {}", older(KEPT_DAYS))).await
}

/// Of a table that an earlier version made, where it is ours to change.
async fn index(session: &dyn Session, target: &TableName) -> Result<(), PortError> {
    let markers = marker_table(target);
    let missing = format!(
        "SELECT a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE {} AND a.attname IN ('marker', 'loaded_at') AND pg_has_role(c.relowner, 'USAGE') \
         AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indkey[0] = a.attnum)",
        picks(&markers, Dialect::Postgres)
    );
    let missing = ask(session, "marker-indexes", missing).await?.rows;
    let columns: Vec<String> = missing.into_iter().filter_map(|row| row.into_iter().next()?).collect();
    if columns.is_empty() {
        return Ok(());
    }
    // Loads that wait behind it for the table are not to wait long.
    let mut statements = vec!["SET LOCAL lock_timeout TO 2000".to_owned()];
    statements.extend(columns.iter().map(|column| create_index(target, column)));
    session.run("index-markers", statements).await.map(|_| ())
}

/// On PostgreSQL.
pub fn create_index(target: &TableName, column: &str) -> String {
    format!("CREATE INDEX IF NOT EXISTS millrace_load_marker_{column} ON {} ({column})", table(&marker_table(target)))
}
