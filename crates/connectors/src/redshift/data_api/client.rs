//! The service itself: send, ask, cancel, read answers, explain failures.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_redshiftdata::Client;
use aws_sdk_redshiftdata::config::http::HttpResponse;
use aws_sdk_redshiftdata::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::SmallResult;
use millrace_operator_api::{PortError, PortErrorKind};

use crate::aws::sign_on_hint;
use crate::parts::failure::{chain, invalid, kind_of_redshift_text, redshift_without_values};
use crate::parts::task::TaskHandle;
use crate::redshift::load_errors;
use crate::redshift::statement::{State, failure, state, text_of};

const FIRST_WAIT: Duration = Duration::from_millis(25);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long the service may hold a question for the end of a statement. Seconds.
const LONG_POLL: i32 = 20;

#[derive(Clone)]
pub struct DataApi {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    conn_id: String,
    client: Client,
    cluster: Option<String>,
    workgroup: Option<String>,
    database: String,
    secret_arn: Option<String>,
    db_user: Option<String>,
    pub task: TaskHandle,
}

impl DataApi {
    pub async fn open(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        let extra = &connection.extra;
        let conn_id = connection.conn_id.clone();
        let (cluster, workgroup) = (extra.text("cluster_identifier"), extra.text("workgroup_name"));
        if cluster.is_some() == workgroup.is_some() {
            return Err(invalid(format!(
                "connection {conn_id:?} must name exactly one of cluster_identifier and workgroup_name"
            )));
        }
        let Some(database) = connection.schema.as_deref().filter(|database| !database.is_empty()) else {
            return Err(invalid(format!(
                "connection {conn_id:?} names no database; give it in the connection's schema"
            )));
        };
        let secret_arn = extra.text("secret_arn");
        let db_user = extra.text("db_user").or(connection.login.as_deref()).filter(|user| !user.is_empty());
        let config = crate::aws::config(connection, false).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                client: Client::new(&config),
                conn_id,
                cluster: cluster.map(ToOwned::to_owned),
                workgroup: workgroup.map(ToOwned::to_owned),
                database: database.to_owned(),
                secret_arn: secret_arn.map(ToOwned::to_owned),
                // A secret holds its own user, and a workgroup takes the one of the IAM identity.
                db_user: db_user.filter(|_| secret_arn.is_none() && cluster.is_some()).map(ToOwned::to_owned),
                task,
            }),
        })
    }
}

impl DataApi {
    pub fn task(&self) -> &TaskHandle {
        &self.inner.task
    }
}

/// Bytes of a statement, as the service takes them.
const LONGEST_STATEMENT: usize = 100 * 1024;

/// Before anything is sent: the service says that one is too long, and neither which nor what to do.
fn check_lengths(statements: &[String]) -> Result<(), PortError> {
    let long = statements.iter().find(|statement| statement.len() > LONGEST_STATEMENT);
    long.map_or(Ok(()), |statement| {
        let begin = statement.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        Err(invalid(format!(
            "the statement that begins with {:?} is {} bytes long, and the Data API takes {LONGEST_STATEMENT}; make it shorter \
             (fewer columns, shorter names), or reach the warehouse by wire (mode: wire in the connection's extra)",
            begin.chars().take(80).collect::<String>(),
            statement.len()
        )))
    })
}

/// A statement alone takes no SET before it: its text says whose it is.
fn labelled(label: &str, statement: &str) -> String {
    format!("/* {} */ {statement}", label.replace("*/", "* /").replace("/*", "/ *"))
}

impl Inner {
    pub fn service(&self) -> String {
        let place = self.cluster.as_deref().or(self.workgroup.as_deref()).unwrap_or_default();
        format!("redshift-data:{place}/{}", self.database)
    }

    fn explain<E>(&self, what: &str, error: &SdkError<E, HttpResponse>) -> PortError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let kind = match (error.code(), status) {
            (Some("ResourceNotFoundException"), _) => PortErrorKind::NotFound,
            (Some("AccessDeniedException" | "UnrecognizedClientException" | "ExpiredTokenException"), _)
            | (_, Some(401 | 403)) => PortErrorKind::Denied,
            (
                Some(
                    "ActiveStatementsExceededException"
                    | "ActiveSessionsExceededException"
                    | "DatabaseConnectionException"
                    | "ThrottlingException"
                    | "InternalServerException"
                    | "QueryTimeoutException",
                ),
                _,
            )
            | (_, Some(429 | 500..) | None) => PortErrorKind::Unavailable,
            (Some("ValidationException" | "BatchExecuteStatementException" | "ExecuteStatementException"), _) => {
                PortErrorKind::Invalid
            }
            _ => PortErrorKind::Other,
        };
        let words = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            _ => chain(error),
        };
        if status.is_none() && ["loading credentials", "IMDS", "no providers"].iter().any(|sign| words.contains(sign)) {
            if let Some(hint) = sign_on_hint(&words) {
                let message = format!("connection {:?}: no AWS credentials: {words}{hint}", self.conn_id);
                return PortError::new(PortErrorKind::Denied, message);
            }
            return PortError::new(
                PortErrorKind::Denied,
                format!(
                    "connection {:?}: no AWS credentials were found; put aws_access_key_id and aws_secret_access_key (or \
                     profile_name) into its extra settings (login and password are not the key of the Data API), or let the \
                     environment, a profile or the machine's role give them: {words}",
                    self.conn_id
                ),
            );
        }
        let hint = match kind {
            PortErrorKind::Denied => format!("; the permission redshift-data:{what} may be missing"),
            _ => String::new(),
        };
        let failure = PortError::new(kind, format!("connection {:?}: {what} was refused: {words}{hint}", self.conn_id));
        match error.code() {
            Some(code) => failure.with_code(code),
            None => failure,
        }
    }

    pub async fn send(
        &self,
        statements: &[String],
        is_batch: bool,
        name: &str,
        token: Option<&str>,
    ) -> Result<String, PortError> {
        check_lengths(statements)?;
        if is_batch {
            let answer = self
                .client
                .batch_execute_statement()
                .set_sqls(Some(statements.to_vec()))
                .database(&self.database)
                .set_cluster_identifier(self.cluster.clone())
                .set_workgroup_name(self.workgroup.clone())
                .set_secret_arn(self.secret_arn.clone())
                .set_db_user(self.db_user.clone())
                .statement_name(name)
                .set_client_token(token.map(ToOwned::to_owned))
                .send()
                .await
                .map_err(|error| self.explain("BatchExecuteStatement", &error))?;
            return Ok(answer.id().unwrap_or_default().to_owned());
        }
        let answer = self
            .client
            .execute_statement()
            .sql(labelled(&self.task.label, statements.first().map(String::as_str).unwrap_or_default()))
            .database(&self.database)
            .set_cluster_identifier(self.cluster.clone())
            .set_workgroup_name(self.workgroup.clone())
            .set_secret_arn(self.secret_arn.clone())
            .set_db_user(self.db_user.clone())
            .statement_name(name)
            .set_client_token(token.map(ToOwned::to_owned))
            .send()
            .await
            .map_err(|error| self.explain("ExecuteStatement", &error))?;
        Ok(answer.id().unwrap_or_default().to_owned())
    }

    async fn describe(&self, id: &str) -> Result<DescribeStatementOutput, PortError> {
        let asked = self.client.describe_statement().id(id).wait_time_seconds(LONG_POLL).send().await;
        asked.map_err(|error| self.explain("DescribeStatement", &error))
    }

    /// Asks until the statement has ended. The service holds the question while it can; one that does not know how is
    /// asked at growing distances. A throttled or lost question is asked again.
    pub async fn poll(&self, id: &str) -> Result<DescribeStatementOutput, PortError> {
        let mut wait = FIRST_WAIT;
        let mut lost = 0;
        loop {
            match self.describe(id).await {
                Ok(answer) if state(&answer) != State::Running => return Ok(answer),
                Ok(_) => lost = 0,
                Err(error) if error.kind == PortErrorKind::Unavailable && lost < 10 => lost += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    pub async fn cancel(&self, id: &str) {
        // Refused when it has ended already: its state says so.
        if let Err(error) = self.client.cancel_statement().id(id).send().await {
            tracing::debug!(id, error = chain(&error), "a statement was not cancelled");
        }
    }

    pub async fn answers(&self, id: &str, answer: &DescribeStatementOutput) -> Result<Vec<SmallResult>, PortError> {
        let parts = answer.sub_statements();
        if parts.is_empty() {
            let rows = answer.result_rows();
            return Ok(vec![self.answer(id, id, answer.has_result_set().unwrap_or(false), rows).await?]);
        }
        let mut results = Vec::with_capacity(parts.len());
        for part in parts {
            results.push(self.answer(id, part.id(), part.has_result_set().unwrap_or(false), part.result_rows()).await?);
        }
        Ok(results)
    }

    async fn answer(&self, whole: &str, part: &str, has_rows: bool, rows: i64) -> Result<SmallResult, PortError> {
        let mut result = SmallResult { remote_id: Some(whole.to_owned()), ..SmallResult::default() };
        if !has_rows {
            result.rows_affected = u64::try_from(rows).ok();
            return Ok(result);
        }
        let mut next = None;
        loop {
            let page = self
                .client
                .get_statement_result()
                .id(part)
                .set_next_token(next)
                .send()
                .await
                .map_err(|error| self.explain("GetStatementResult", &error))?;
            if result.columns.is_empty() {
                result.columns =
                    page.column_metadata().iter().map(|column| column.name().unwrap_or_default().to_owned()).collect();
            }
            result.rows.extend(page.records().iter().map(|row| row.iter().map(text_of).collect()));
            next = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if next.is_none() {
                return Ok(result);
            }
        }
    }

    /// The database's own words, and for a COPY which file, line, column and value it did not take.
    pub async fn failed(&self, answer: &DescribeStatementOutput, shift: usize, show_values: bool) -> PortError {
        let found = failure(answer);
        let mut message = format!("connection {:?}: ", self.conn_id);
        if let Some(index) = found.index {
            message.push_str(&format!("statement {}: ", (index + 1).saturating_sub(shift).max(1)));
        }
        message.push_str(&if show_values { found.message.clone() } else { redshift_without_values(&found.message) });
        if let Some(id) = found.query_id
            && let Some(detail) = self.load_error(id, show_values).await
        {
            message.push_str(&format!("; {detail}"));
        }
        let kind = match state(answer) {
            State::Aborted => PortErrorKind::Unavailable,
            _ => kind_of_redshift_text(&found.message),
        };
        PortError::new(kind, message)
    }

    /// Best effort: the system tables may not be ours to read.
    async fn load_error(&self, query_id: i64, show_values: bool) -> Option<String> {
        let of = async |sql: String| {
            let id = self.send(&[sql], false, "millrace load error", None).await.ok()?;
            let answer = self.poll(&id).await.ok()?;
            (state(&answer) == State::Finished).then_some(())?;
            self.answers(&id, &answer).await.ok()?.into_iter().next()
        };
        let detail =
            of(format!("SELECT * FROM sys_load_error_detail WHERE query_id = {query_id} ORDER BY start_time LIMIT 1"))
                .await?;
        let raw = of(load_errors::select_raw(&query_id.to_string())).await;
        load_errors::said(&detail, 0, raw.as_ref(), show_values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_is_too_long_is_named_before_it_is_sent() {
        let statements =
            ["SET query_group TO 'x'".to_owned(), format!("INSERT INTO t VALUES ('{}')", "a".repeat(102_400))];
        let error = check_lengths(&statements).unwrap_err().message;
        assert!(error.contains("\"INSERT INTO t VALUES\" is 102425 bytes") && error.contains("mode: wire"), "{error}");
        assert!(check_lengths(&statements[..1]).is_ok());
    }

    #[test]
    fn a_statement_says_whose_it_is_and_nothing_gets_out_of_the_comment() {
        assert_eq!(labelled("nightly/load", "VACUUM t"), "/* nightly/load */ VACUUM t");
        assert_eq!(labelled("a*/ DROP TABLE t; /*", "VACUUM t"), "/* a* / DROP TABLE t; / * */ VACUUM t");
    }
}
