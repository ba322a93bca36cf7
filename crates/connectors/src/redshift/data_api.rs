//! The Redshift Data API: statements outlive the process that sent them, so each is written down before it is sent.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_redshiftdata::Client;
use aws_sdk_redshiftdata::config::http::HttpResponse;
use aws_sdk_redshiftdata::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use futures::future::BoxFuture;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::{RemoteStatement, WorkId};
use millrace_operator_api::ports::SmallResult;
use millrace_operator_api::{PortError, PortErrorKind};

use super::statement::{State, failure, state, text_of, token};
use crate::failure::{chain, invalid, kind_of_redshift_text};
use crate::session::{Dialect, Session};
use crate::sql::literal;
use crate::task::TaskHandle;

/// Of the API; one is spent on SET query_group.
const MOST_STATEMENTS: usize = 40;
const FIRST_WAIT: Duration = Duration::from_millis(25);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long the service may hold a question for the end of a statement. Seconds.
const LONG_POLL: i32 = 20;
/// How long a cancelled statement may take to end before we go without knowing.
const CANCEL_PATIENCE: Duration = Duration::from_mins(1);

#[derive(Clone)]
pub struct DataApi {
    inner: Arc<Inner>,
}

struct Inner {
    conn_id: String,
    client: Client,
    cluster: Option<String>,
    workgroup: Option<String>,
    database: String,
    secret_arn: Option<String>,
    db_user: Option<String>,
    task: TaskHandle,
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

impl Inner {
    fn service(&self) -> String {
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
                    | "DatabaseConnectionException",
                ),
                _,
            )
            | (Some("ThrottlingException" | "InternalServerException" | "QueryTimeoutException"), _)
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

    async fn send(
        &self,
        statements: &[String],
        is_batch: bool,
        name: &str,
        token: Option<&str>,
    ) -> Result<String, PortError> {
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
            .sql(statements.first().map(String::as_str).unwrap_or_default())
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
    async fn poll(&self, id: &str) -> Result<DescribeStatementOutput, PortError> {
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

    async fn cancel(&self, id: &str) {
        // Refused when it has ended already: its state says so.
        if let Err(error) = self.client.cancel_statement().id(id).send().await {
            tracing::debug!(id, error = chain(&error), "a statement was not cancelled");
        }
    }

    async fn answers(&self, id: &str, answer: &DescribeStatementOutput) -> Result<Vec<SmallResult>, PortError> {
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
    async fn failed(&self, answer: &DescribeStatementOutput, shift: usize) -> PortError {
        let found = failure(answer);
        let mut message = format!("connection {:?}: ", self.conn_id);
        if let Some(index) = found.index {
            message.push_str(&format!("statement {}: ", (index + 1).saturating_sub(shift).max(1)));
        }
        message.push_str(&found.message);
        if let Some(id) = found.query_id
            && let Some(detail) = self.load_error(id).await
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
    async fn load_error(&self, query_id: i64) -> Option<String> {
        let of = async |sql: String| {
            let id = self.send(&[sql], false, "millrace load error", None).await.ok()?;
            let answer = self.poll(&id).await.ok()?;
            (state(&answer) == State::Finished).then_some(())?;
            self.answers(&id, &answer).await.ok()?.into_iter().next()
        };
        let detail =
            of(format!("SELECT * FROM sys_load_error_detail WHERE query_id = {query_id} ORDER BY start_time LIMIT 1"))
                .await?;
        let cell = |result: &SmallResult, name: &str| {
            let index = result.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
            Some(result.rows.first()?.get(index)?.as_deref()?.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let mut said =
            format!("{}: line {}", cell(&detail, "file_name")?, cell(&detail, "line_number").unwrap_or_default());
        if let Some(column) = cell(&detail, "column_name") {
            said.push_str(&format!(", column {column}"));
            if let Some(kind) = cell(&detail, "column_type") {
                said.push_str(&format!(" ({kind})"));
            }
        }
        // Raw values are in the older table only, which Serverless has not.
        let raw = of(format!(
            "SELECT raw_field_value FROM stl_load_errors WHERE query = {query_id} ORDER BY starttime LIMIT 1"
        ))
        .await;
        if let Some(value) = raw.as_ref().and_then(|raw| cell(raw, "raw_field_value")) {
            said.push_str(&format!(", value {}", crate::failure::excerpt(value.as_bytes())));
        }
        if let Some(reason) = cell(&detail, "error_message") {
            said.push_str(&format!(": {reason}"));
        }
        Some(said)
    }
}

/// Cancels a statement whose waiter was dropped.
struct CancelOnDrop {
    inner: Arc<Inner>,
    id: Option<String>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            let inner = Arc::clone(&self.inner);
            runtime.spawn(async move { inner.cancel(&id).await });
        }
    }
}

/// Each run is one batch, that is one transaction. Runs of a work that change something are journalled.
pub struct DataApiSession {
    inner: Arc<Inner>,
    /// The work's marker.
    marker: Option<String>,
}

struct Sending<'a> {
    step: &'a str,
    statements: Vec<String>,
    is_batch: bool,
    /// Statements of ours before the caller's own.
    shift: usize,
}

impl DataApiSession {
    pub fn new(api: DataApi, work: Option<&WorkId>) -> Self {
        Self { inner: api.inner, marker: work.map(WorkId::marker) }
    }

    /// One statement outside of any transaction.
    pub async fn run_alone(&self, step: &str, statement: &str) -> Result<SmallResult, PortError> {
        let sending = Sending { step, statements: vec![statement.to_owned()], is_batch: false, shift: 0 };
        Ok(self.journalled(sending).await?.pop().unwrap_or_default())
    }

    async fn journalled(&self, sending: Sending<'_>) -> Result<Vec<SmallResult>, PortError> {
        let inner = &self.inner;
        let journal = &inner.task.journal;
        let Some(marker) = &self.marker else {
            let id = inner.send(&sending.statements, sending.is_batch, sending.step, None).await?;
            return self.wait(&id, &sending, None).await;
        };
        // Sent by this or an earlier try, and its end is not known: this is it.
        let of_try = |number: u32| token(marker, number, sending.step, &sending.statements);
        let earlier = journal.unsettled().await?.into_iter().find(|known| {
            known.step == sending.step
                && known.service == inner.service()
                && (1..=inner.task.try_number).any(|n| of_try(n) == known.client_token)
        });
        if let Some(known) = earlier {
            let is_own = known.client_token == of_try(inner.task.try_number);
            match self.attach(known, &sending).await {
                Ok(results) => return Ok(results),
                // Its failure is this try's failure; that of an earlier try is why there is this one.
                Err(error) if is_own || error.kind == PortErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    tracing::debug!(step = sending.step, error = error.message, "an earlier try's statement failed")
                }
            }
        }
        let record = RemoteStatement {
            step: sending.step.to_owned(),
            client_token: of_try(inner.task.try_number),
            service: inner.service(),
            remote_id: None,
            is_settled: false,
        };
        journal.record(record.clone()).await?;
        self.attach(record, &sending).await
    }

    /// Waits for a statement that is in the journal; sends it (again) under its token when no id is known.
    async fn attach(&self, mut record: RemoteStatement, sending: &Sending<'_>) -> Result<Vec<SmallResult>, PortError> {
        let inner = &self.inner;
        let id = match &record.remote_id {
            Some(id) => id.clone(),
            None => {
                match inner.send(&sending.statements, sending.is_batch, sending.step, Some(&record.client_token)).await
                {
                    Ok(id) => id,
                    Err(error) => {
                        // Refused: there is nothing whose end could be waited for. Lost on the way: there may be.
                        if error.kind != PortErrorKind::Unavailable {
                            record.is_settled = true;
                            inner.task.journal.record(record).await?;
                        }
                        return Err(error);
                    }
                }
            }
        };
        record.remote_id = Some(id.clone());
        inner.task.journal.record(record.clone()).await?;
        self.wait(&id, sending, Some(record)).await
    }

    async fn wait(
        &self,
        id: &str,
        sending: &Sending<'_>,
        record: Option<RemoteStatement>,
    ) -> Result<Vec<SmallResult>, PortError> {
        let inner = &self.inner;
        let mut guard = CancelOnDrop { inner: Arc::clone(inner), id: Some(id.to_owned()) };
        let ended = tokio::select! {
            biased;
            answer = inner.poll(id) => Ok(answer?),
            reason = inner.task.cancel.cancelled() => Err(reason),
        };
        let ended = match ended {
            Ok(answer) => Ok(answer),
            Err(reason) => {
                inner.cancel(id).await;
                // A COMMIT that was cancelled may still finish: only the end counts.
                let known = tokio::time::timeout(CANCEL_PATIENCE, inner.poll(id)).await.is_ok_and(|end| end.is_ok());
                guard.id = None;
                Err((reason, known))
            }
        };
        guard.id = None;
        let is_known = !matches!(&ended, Err((_, false)));
        if let Some(mut record) = record.filter(|_| is_known) {
            record.is_settled = true;
            inner.task.journal.record(record).await?;
        }
        let answer = ended.map_err(|(reason, _)| PortError::new(PortErrorKind::Cancelled, reason))?;
        if state(&answer) != State::Finished {
            return Err(inner.failed(&answer, sending.shift).await);
        }
        let mut results = inner.answers(id, &answer).await?;
        results.drain(..sending.shift.min(results.len()));
        Ok(results)
    }
}

impl Session for DataApiSession {
    fn dialect(&self) -> Dialect {
        Dialect::Redshift
    }

    fn run<'a>(&'a self, step: &'a str, statements: Vec<String>) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(async move {
            if let [only] = statements.as_slice()
                && only.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
                && !step.starts_with("script")
            {
                // Only reads: may be sent any number of times.
                let sending = Sending { step, statements, is_batch: false, shift: 0 };
                let id = self.inner.send(&sending.statements, false, step, None).await?;
                return self.wait(&id, &sending, None).await;
            }
            let mut all = vec![format!("SET query_group TO {}", literal(&self.inner.task.label))];
            all.extend(statements);
            if all.len() > MOST_STATEMENTS {
                return Err(invalid(format!(
                    "{} statements in one transaction are more than the {} that the Data API takes; use autocommit, or a connection by wire",
                    all.len() - 1,
                    MOST_STATEMENTS - 1
                )));
            }
            self.journalled(Sending { step, statements: all, is_batch: true, shift: 1 }).await
        })
    }

    fn clean_up(&self, statement: String) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let inner = &self.inner;
            let id = inner.send(&[statement], false, "clean-up", None).await?;
            let answer = tokio::time::timeout(CANCEL_PATIENCE, inner.poll(&id)).await.map_err(|_| {
                PortError::new(PortErrorKind::Unavailable, format!("statement {id} is still waiting"))
            })??;
            if state(&answer) == State::Finished { Ok(()) } else { Err(inner.failed(&answer, 0).await) }
        })
    }

    fn await_earlier(&self) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let inner = &self.inner;
            for mut known in inner.task.journal.unsettled().await? {
                let Some(id) = known.remote_id.clone() else { continue };
                if known.service != inner.service() {
                    continue;
                }
                let ended = inner.task.until_cancelled(inner.poll(&id)).await;
                match ended {
                    Ok(answer) => {
                        // A finished statement may still be taken up by its own step.
                        if state(&answer) == State::Finished && known.step == "stage" {
                            continue;
                        }
                    }
                    // Statements are forgotten after a day.
                    Err(error) if error.kind == PortErrorKind::NotFound => {}
                    Err(error) => {
                        if error.kind == PortErrorKind::Cancelled {
                            inner.cancel(&id).await;
                        }
                        return Err(error);
                    }
                }
                known.is_settled = true;
                inner.task.journal.record(known).await?;
            }
            Ok(())
        })
    }
}
