//! The one table of error codes: what each means, which HTTP status and exit code it maps to, and whether trying again
//! may help.

/// A failure that users and programs can tell apart by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// Stable name, shown in REST answers and logs: `dag_not_found`.
    pub name: &'static str,
    pub http_status: u16,
    /// 1 = failed, 2 = usage.
    pub exit_code: u8,
    pub retryable: bool,
    /// What it means and how to mend it.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $name:literal, $status:literal, $exit:literal, $retry:literal, $text:literal;)+) => {
        impl ErrorCode {
            $(pub const $constant: ErrorCode = ErrorCode {
                name: $name, http_status: $status, exit_code: $exit, retryable: $retry, explanation: $text,
            };)+
            /// Every code, in the order of the table.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$constant,)+];

            pub fn by_name(name: &str) -> Option<ErrorCode> {
                Self::ALL.iter().copied().find(|code| code.name == name)
            }
        }
    };
}

codes! {
    BAD_REQUEST = "bad_request", 400, 2, false, "The request could not be understood. The message names the field and what it takes.";
    UNAUTHENTICATED = "unauthenticated", 401, 1, false, "Sign in: HTTP Basic with user and password, or a bearer token from POST /api/v1/auth/token.";
    FORBIDDEN = "forbidden", 403, 1, false, "The signed-in person may not do this. Ask an administrator for the role.";
    DAG_NOT_FOUND = "dag_not_found", 404, 1, false, "No DAG has this id. `millrace dags list` shows those that exist; a broken file is listed by `millrace dags list-import-errors`.";
    RUN_NOT_FOUND = "run_not_found", 404, 1, false, "The DAG has no run with this id. `millrace dags list-runs DAG` shows those that exist.";
    TASK_NOT_FOUND = "task_not_found", 404, 1, false, "The DAG has no task with this id. `millrace tasks list DAG` shows those that exist.";
    LOG_NOT_FOUND = "log_not_found", 404, 1, false, "The try has not written a log, or its log was removed by retention.";
    CONNECTION_NOT_FOUND = "connection_not_found", 404, 1, false, "No connection has this id, neither in MILLRACE_CONN_* / AIRFLOW_CONN_* nor in the metadata database. Add it with `millrace connections add`.";
    VARIABLE_NOT_FOUND = "variable_not_found", 404, 1, false, "No variable has this key. Add it with `millrace variables set`.";
    NOT_FOUND = "not_found", 404, 1, false, "There is nothing at this address.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, 1, false, "This address does not take this method.";
    RUN_EXISTS = "run_exists", 409, 1, false, "The DAG already has a run with this id or logical date.";
    CONFLICT = "conflict", 409, 1, false, "It does not go with how things are: someone else has changed them meanwhile, or a rule protects them. The message says which.";
    PRECONDITION_FAILED = "precondition_failed", 412, 1, false, "The request was to hold only for what was seen (If-Match), and that has changed since. Read it again.";
    BODY_TOO_LARGE = "body_too_large", 413, 1, false, "The request body is larger than the server accepts.";
    INVALID = "invalid", 422, 2, false, "The request was understood, but a value is not allowed. The message names the value and the rule.";
    TOO_MANY_REQUESTS = "too_many_requests", 429, 1, true, "Too many attempts. Wait as long as the Retry-After header says.";
    TIMED_OUT = "timed_out", 503, 1, true, "The answer took too long and was given up. What was asked for may still have been done: look before you try again.";
    INTERNAL = "internal", 500, 1, true, "Something failed inside Millrace. The daemon's log has the details under the request's id.";
    DATABASE_UNAVAILABLE = "database_unavailable", 503, 1, true, "The metadata database did not answer. Nothing was changed; try again.";
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn names_are_unique() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::ALL.iter().position(|other| other.name == code.name), Some(index));
        }
    }
}
