//! Why the server, or the way to it, refused.

use millrace_operator_api::{PortError, PortErrorKind};
use sqlx::mysql::MySqlDatabaseError;

use super::rows::WireError;
use crate::parts::failure::{chain, without_values};

pub fn failure(conn_id: &str, what: &str, error: &sqlx::Error) -> PortError {
    let Some(database) = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
    else {
        // A password that the server has not seen since it started, of a user of caching_sha2_password.
        if chain(error).contains("RSA auth backend") {
            return PortError::new(
                PortErrorKind::Invalid,
                format!(
                    "connection {conn_id:?}: {what}: the server takes this user's password over an encrypted connection only \
                     (caching_sha2_password); set ssl_mode: required in the connection's extra, which MySQL 8 is ready for unless \
                     its own TLS was switched off"
                ),
            );
        }
        let kind = match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => {
                PortErrorKind::Unavailable
            }
            sqlx::Error::Configuration(_) => PortErrorKind::Invalid,
            _ => PortErrorKind::Other,
        };
        return PortError::new(kind, format!("connection {conn_id:?}: {what}: {}", chain(error)));
    };
    let state = database.code().unwrap_or("HY000");
    refusal(conn_id, what, database.number(), state, database.message())
}

pub fn wire_failure(conn_id: &str, what: &str, error: &WireError) -> PortError {
    match error {
        WireError::Server { number, state, message } => refusal(conn_id, what, *number, state, message),
        other => {
            let message = format!("connection {conn_id:?}: {what}: {}", chain(other));
            PortError::new(PortErrorKind::Unavailable, message)
        }
    }
}

/// What the server itself says.
fn refusal(conn_id: &str, what: &str, number: u16, state: &str, message: &str) -> PortError {
    let kind = match number {
        1044 | 1045 | 1142 | 1143 | 1227 | 1698 => PortErrorKind::Denied,
        1049 | 1146 => PortErrorKind::NotFound,
        1040 | 1053 | 1158..=1161 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 | 1969 | 3024 => PortErrorKind::Unavailable,
        1264 | 1292 | 1365 | 1366 | 1406 | 1690 => PortErrorKind::Data,
        _ => match state {
            "42000" | "42S22" | "HY000" | "21000" | "42S01" => PortErrorKind::Invalid,
            _ => PortErrorKind::Other,
        },
    };
    // Those that repeat a value of a row.
    let said = match number {
        1292 | 1366 | 1411 | 1525 => without_values(message),
        _ => message.to_owned(),
    };
    let text = format!("connection {conn_id:?}: {what}: {said} (error {number}, SQLSTATE {state})");
    PortError::new(kind, text).with_code(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn values_of_rows_are_not_repeated() {
        let said = |number, message| refusal("shop", "the query failed", number, "22007", message).message;
        let wrong = said(1292, "Truncated incorrect INTEGER value: 'kim@x.com'");
        assert_eq!(
            wrong,
            "connection \"shop\": the query failed: Truncated incorrect INTEGER value: '***' (error 1292, SQLSTATE 22007)"
        );
        assert!(said(1406, "Data too long for column 'note' at row 1").contains("column 'note'"));
    }
}
