//! Errors of statements in Redshift's words.

use tokio_postgres::error::SqlState;

/// Why a statement failed; the text is what DescribeStatement shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct SqlError {
    message: String,
    /// The statement was cancelled: ABORTED instead of FAILED.
    pub(super) aborted: bool,
}

impl SqlError {
    /// `ERROR: ` is put in front.
    pub(super) fn new(message: impl AsRef<str>) -> Self {
        Self { message: format!("ERROR: {}", message.as_ref()), aborted: false }
    }

    /// The text as it is.
    pub(super) fn verbatim(message: impl Into<String>) -> Self {
        Self { message: message.into(), aborted: false }
    }

    pub(super) fn syntax(near: &str) -> Self {
        Self::new(format!("syntax error at or near \"{near}\""))
    }

    pub(super) fn aborted() -> Self {
        Self { message: "ERROR: Query cancelled on user's request".to_owned(), aborted: true }
    }

    /// Redshift may know it, the stand-in does not: refused, so that nobody takes it for tried.
    pub(super) fn not_emulated(what: &str) -> Self {
        Self::new(format!("the Redshift stand-in does not emulate {what}"))
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

/// What a client sees of an error of PostgreSQL.
pub(super) fn from_postgres(error: &tokio_postgres::Error) -> SqlError {
    let Some(db) = error.as_db_error() else {
        return SqlError::new(format!("connection to the database was lost: {}", with_causes(error)));
    };
    if *db.code() == SqlState::QUERY_CANCELED {
        return SqlError::aborted();
    }
    if *db.code() == SqlState::T_R_SERIALIZATION_FAILURE {
        let table = db.table().unwrap_or("0");
        return SqlError::new(format!(
            "1023\n  Detail: Serializable isolation violation on table - {table}, transactions forming the cycle are: unknown"
        ));
    }
    if *db.code() == SqlState::CHECK_VIOLATION
        && let Some(message) = db.constraint().and_then(length_message)
    {
        return SqlError::new(message);
    }
    if *db.code() == SqlState::UNTRANSLATABLE_CHARACTER && db.message().contains("Unicode escape") {
        return SqlError::not_emulated("a SUPER with \\u0000 in it");
    }
    let mut message = db.message().to_owned();
    if let Some(detail) = db.detail() {
        message.push_str("\n  Detail: ");
        message.push_str(detail);
    }
    SqlError::new(message)
}

/// The names of the CHECKs that count bytes say what Redshift would say: `rs_varchar_<length>_<column number>`.
fn length_message(constraint: &str) -> Option<String> {
    let mut parts = constraint.strip_prefix("rs_")?.split('_');
    let kind = match parts.next()? {
        "varchar" => "character varying",
        "char" => "character",
        _ => return None,
    };
    Some(format!("value too long for type {kind}({})", parts.next()?))
}

/// An error and what caused it, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
