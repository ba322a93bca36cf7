//! How far a replica is behind the servers that it copies.

use chrono::TimeDelta;
use millrace_operator_api::{PortError, PortErrorKind};
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, Executor, Row};

use super::refusal::failure;

/// MariaDB's words, which alone tell of its named connections, and MySQL's, of newer servers and of older ones.
const STATEMENTS: [&str; 4] =
    ["SHOW ALL REPLICAS STATUS", "SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS", "SHOW SLAVE STATUS"];

/// What a server says to words that it does not know.
const PARSE_ERROR: u16 = 1064;

/// Of the one that is furthest behind when several are copied; `None` when none is. One that has stopped is an error.
pub(super) async fn lag(connection: &mut MySqlConnection, conn_id: &str) -> Result<Option<TimeDelta>, PortError> {
    let mut most = None;
    for row in status(connection, conn_id).await? {
        let text = |names: [&str; 2]| {
            names.iter().find_map(|name| row.try_get_unchecked::<Option<String>, _>(*name).ok()).flatten()
        };
        let seconds = text(["Seconds_Behind_Source", "Seconds_Behind_Master"]).and_then(|text| text.parse().ok());
        let Some(seconds) = seconds else {
            let which = text(["Connection_name", "Channel_Name"]).filter(|name| !name.is_empty());
            let which = which.map(|name| format!(" of {name:?}")).unwrap_or_default();
            return Err(PortError::new(
                PortErrorKind::Unavailable,
                format!(
                    "connection {conn_id:?}: the replica does not say how far it is behind: replication{which} has stopped"
                ),
            ));
        };
        most = most.max(Some(TimeDelta::seconds(seconds)));
    }
    Ok(most)
}

async fn status(connection: &mut MySqlConnection, conn_id: &str) -> Result<Vec<MySqlRow>, PortError> {
    let is_unknown = |error: &sqlx::Error| {
        let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
        error.is_some_and(|error| error.number() == PARSE_ERROR)
    };
    let mut statements = STATEMENTS.into_iter().peekable();
    while let Some(statement) = statements.next() {
        match connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(statement))).await {
            Err(error) if is_unknown(&error) && statements.peek().is_some() => {}
            answer => {
                return answer.map_err(|error| {
                    let attempted =
                        "cannot ask how far the replica is behind (the user needs REPLICATION CLIENT, or REPLICA MONITOR)";
                    failure(conn_id, attempted, &error)
                });
            }
        }
    }
    Ok(Vec::new())
}
