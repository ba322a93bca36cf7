//! The Data API's protocol: AWS JSON 1.1, one path, the operation in `X-Amz-Target`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::engine::{Mode, ResultSet};
use super::statements::{Progress, Refusal, Request, Statement, Statements, Status};
use super::translate::Parameter;
use super::types::Transport;
use crate::faults::{Fault, Faults};

/// Bytes of the longest statement.
const LONGEST_STATEMENT: usize = 100 * 1024;
/// Statements in the largest batch.
const LARGEST_BATCH: usize = 40;
/// Rows and bytes of the largest page of a result.
const PAGE_ROWS: usize = 1000;
const PAGE_BYTES: usize = 1024 * 1024;
/// Seconds of the longest wait.
const LONGEST_WAIT: u64 = 30;
/// Seconds of the longest session.
const LONGEST_SESSION: u32 = 86_400;

#[derive(Clone)]
pub(super) struct Api {
    pub(super) statements: Arc<Statements>,
    pub(super) faults: Faults,
    pub(super) access_key: Arc<str>,
}

/// The routes.
pub(super) fn router(api: Api) -> Router {
    Router::new().route("/", post(handle)).layer(DefaultBodyLimit::max(8 * 1024 * 1024)).with_state(api)
}

/// An error of the protocol.
#[derive(Debug)]
struct ApiError {
    kind: &'static str,
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Validation(message) => Self::validation(message),
            Refusal::NotFound(message) => Self::new("ResourceNotFoundException", message),
            Refusal::TooManyStatements => Self::new(
                "ActiveStatementsExceededException",
                "The maximum number of active statements of the cluster is exceeded.",
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"__type": self.kind, "message": self.message, "Message": self.message});
        let mut response = answer(self.status, &body);
        if let Ok(kind) = self.kind.parse() {
            response.headers_mut().insert("x-amzn-errortype", kind);
        }
        response
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

async fn handle(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let operation = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .and_then(|target| target.strip_prefix("RedshiftData."))
        .unwrap_or_default();
    let fault = api.faults.take(operation);
    match &fault {
        Some(Fault::InternalError) => {
            let mut error = ApiError::new("InternalServerException", "planned failure");
            error.status = StatusCode::INTERNAL_SERVER_ERROR;
            return error.into_response();
        }
        Some(Fault::Throttle) => return ApiError::new("ThrottlingException", "Rate exceeded").into_response(),
        Some(Fault::ExpiredCredentials) => {
            let message = "The security token included in the request is expired";
            return ApiError::new("ExpiredTokenException", message).into_response();
        }
        Some(Fault::CutConnection) => return cut(),
        Some(Fault::Delay(duration)) => tokio::time::sleep(*duration).await,
        _ => {}
    }
    let result = match authorized(&headers, &api.access_key) {
        Ok(()) => api.call(operation, &body).await,
        Err(error) => Err(error),
    };
    if fault == Some(Fault::LoseAnswer) {
        return cut();
    }
    match result {
        Ok(body) => answer(StatusCode::OK, &body),
        Err(error) => {
            tracing::debug!(operation, kind = error.kind, message = error.message, "refused a request");
            error.into_response()
        }
    }
}

/// A body that fails makes the server drop the connection.
fn cut() -> Response {
    let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("the connection was cut on purpose"))]);
    let mut response = Response::new(axum::body::Body::from_stream(broken));
    response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("1000"));
    response
}

/// The signature itself is not checked: the key id says which key was used.
fn authorized(headers: &HeaderMap, access_key: &str) -> Result<(), ApiError> {
    let credential = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("AWS4-HMAC-SHA256 "))
        .and_then(|value| value.split(',').find_map(|part| part.trim().strip_prefix("Credential=")))
        .and_then(|credential| credential.split('/').next());
    match credential {
        None => Err(ApiError::new("MissingAuthenticationTokenException", "Missing Authentication Token")),
        Some(id) if id == access_key => Ok(()),
        Some(_) => {
            Err(ApiError::new("UnrecognizedClientException", "The security token included in the request is invalid."))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::new("SerializationException", error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SqlParameter {
    #[serde(alias = "name")]
    name: String,
    #[serde(alias = "value")]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecuteInput {
    sql: Option<String>,
    sqls: Option<Vec<String>>,
    cluster_identifier: Option<String>,
    workgroup_name: Option<String>,
    secret_arn: Option<String>,
    db_user: Option<String>,
    database: Option<String>,
    statement_name: Option<String>,
    #[serde(default)]
    parameters: Vec<SqlParameter>,
    client_token: Option<String>,
    result_format: Option<String>,
    session_keep_alive_seconds: Option<u32>,
    session_id: Option<String>,
    execution_mode: Option<String>,
    wait_time_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IdInput {
    id: String,
    next_token: Option<String>,
    wait_time_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    next_token: Option<String>,
    max_results: Option<usize>,
    statement_name: Option<String>,
    status: Option<String>,
    database: Option<String>,
    cluster_identifier: Option<String>,
    workgroup_name: Option<String>,
}

impl Api {
    async fn call(&self, operation: &str, body: &[u8]) -> Result<Value, ApiError> {
        match operation {
            "ExecuteStatement" => self.execute(parse(body)?, false).await,
            "BatchExecuteStatement" => self.execute(parse(body)?, true).await,
            "DescribeStatement" => self.describe(parse(body)?).await,
            "GetStatementResult" => self.result(parse(body)?).await,
            "CancelStatement" => {
                let input: IdInput = parse(body)?;
                self.statements.cancel(whole_id(&input.id).0)?;
                Ok(json!({"Status": true}))
            }
            "ListStatements" => self.list(parse(body)?),
            other => Err(ApiError::new(
                "UnknownOperationException",
                format!("the Redshift stand-in does not know the operation {other}"),
            )),
        }
    }

    async fn execute(&self, input: ExecuteInput, batch: bool) -> Result<Value, ApiError> {
        let wait = wait_time(input.wait_time_seconds)?;
        let token = input.client_token.clone();
        if token.as_ref().is_some_and(|token| token.is_empty() || token.len() > 64) {
            return Err(ApiError::validation("ClientToken must have between 1 and 64 characters."));
        }
        let request = checked(input, batch)?;
        let statement = self.statements.submit(request, token)?;
        if let Some(wait) = wait {
            statement.wait(wait).await;
        }
        let mut body = json!({
            "Id": statement.id,
            "CreatedAt": seconds(statement.whole().created),
            "Status": statement.status().name(),
            "RedshiftPid": statement.pid(),
        });
        put_request(&mut body, &statement);
        if wait.is_some() && statement.status().is_final() {
            body["HasResultSet"] = has_result(&statement).into();
        }
        Ok(body)
    }

    async fn describe(&self, input: IdInput) -> Result<Value, ApiError> {
        let wait = wait_time(input.wait_time_seconds)?;
        let (id, part) = whole_id(&input.id);
        let statement = self.statements.find(id)?;
        if let Some(wait) = wait {
            statement.wait(wait).await;
        }
        if let Some(number) = part {
            let parts = statement.parts();
            let progress = number.checked_sub(1).and_then(|at| parts.get(at));
            let progress = progress.ok_or_else(|| no_such_part(&input.id))?;
            let mut body = progress_json(&input.id, &statement.request.sqls[number - 1], progress);
            put_request(&mut body, &statement);
            return Ok(body);
        }
        let mut body = {
            let whole = statement.whole();
            // A batch as a whole shows no text of its own.
            let text = if statement.is_batch() { "" } else { statement.request.sqls[0].as_str() };
            let mut body = progress_json(&statement.id, text, &whole);
            body["RedshiftPid"] = statement.pid().into();
            body["ResultFormat"] = "JSON".into();
            body
        };
        put_request(&mut body, &statement);
        if !statement.request.parameters.is_empty() {
            body["QueryParameters"] = statement
                .request
                .parameters
                .iter()
                .map(|parameter| json!({"name": parameter.name, "value": parameter.value}))
                .collect();
        }
        if statement.is_batch() {
            let parts = statement.parts();
            let texts = statement.request.sqls.iter();
            body["SubStatements"] = (1..)
                .zip(texts.zip(parts.iter()))
                .map(|(number, (text, progress))| progress_json(&format!("{}:{number}", statement.id), text, progress))
                .collect();
            body["HasResultSet"] = parts.iter().any(|part| part.result.is_some()).into();
            let mode = if statement.request.mode == Mode::AutoCommit { "AUTO_COMMIT" } else { "TRANSACTION" };
            body["ExecutionMode"] = mode.into();
        }
        Ok(body)
    }

    async fn result(&self, input: IdInput) -> Result<Value, ApiError> {
        let wait = wait_time(input.wait_time_seconds)?;
        let (id, part) = whole_id(&input.id);
        let statement = self.statements.find(id)?;
        if let Some(wait) = wait {
            statement.wait(wait).await;
        }
        let none = || {
            ApiError::new(
                "ResourceNotFoundException",
                "Query does not have result. Please check query status with DescribeStatement.",
            )
        };
        if statement.status() != Status::Finished {
            return Err(none());
        }
        let result = match part {
            None => statement.whole().result.clone(),
            Some(number) => {
                let parts = statement.parts();
                let progress = number.checked_sub(1).and_then(|at| parts.get(at));
                progress.ok_or_else(|| no_such_part(&input.id))?.result.clone()
            }
        };
        let result = result.ok_or_else(none)?;
        let from = match input.next_token {
            None => 0,
            Some(token) => decode_page(&token).ok_or_else(|| ApiError::validation("NextToken is not valid."))?,
        };
        page(&result, from)
    }

    fn list(&self, input: ListInput) -> Result<Value, ApiError> {
        let limit = input.max_results.unwrap_or(100);
        if limit > 100 {
            return Err(ApiError::validation("MaxResults must be at most 100."));
        }
        // Without a status only what is finished is shown.
        let wanted = input.status.unwrap_or_else(|| "FINISHED".to_owned());
        let from = match input.next_token {
            None => 0,
            Some(token) => decode_page(&token).ok_or_else(|| ApiError::validation("NextToken is not valid."))?,
        };
        let same = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        let all: Vec<_> = self
            .statements
            .all()
            .into_iter()
            .filter(|statement| wanted == "ALL" || statement.status().name() == wanted)
            .filter(|statement| {
                input.statement_name.as_ref().is_none_or(|prefix| {
                    statement.request.name.as_ref().is_some_and(|name| name.starts_with(prefix.as_str()))
                })
            })
            .filter(|statement| {
                same(&input.database, &statement.request.database)
                    && same(&input.cluster_identifier, &statement.request.cluster)
                    && same(&input.workgroup_name, &statement.request.workgroup)
            })
            .collect();
        let statements: Vec<Value> = all.iter().skip(from).take(limit).map(|statement| listed(statement)).collect();
        let mut body = json!({"Statements": statements});
        if all.len() > from + limit {
            body["NextToken"] = encode_page(from + limit).into();
        }
        Ok(body)
    }
}

fn checked(input: ExecuteInput, batch: bool) -> Result<Request, ApiError> {
    let sqls = match (batch, input.sql, input.sqls) {
        (false, Some(sql), None) => vec![sql],
        (true, None, Some(sqls)) => sqls,
        _ => return Err(ApiError::validation(if batch { "Sqls is required." } else { "Sql is required." })),
    };
    if sqls.is_empty() || sqls.len() > LARGEST_BATCH {
        return Err(ApiError::validation(format!("Sqls must have between 1 and {LARGEST_BATCH} members.")));
    }
    if sqls.iter().any(|sql| sql.len() > LONGEST_STATEMENT) {
        return Err(ApiError::validation("Cannot process SQL statements larger than 100 KB."));
    }
    if sqls.iter().any(|sql| sql.trim().is_empty()) {
        return Err(ApiError::validation("A SQL statement must not be empty."));
    }
    let targets = usize::from(input.cluster_identifier.is_some()) + usize::from(input.workgroup_name.is_some());
    if input.session_id.is_some() {
        // The session knows its cluster.
        if targets > 1 {
            return Err(ApiError::validation("Name ClusterIdentifier or WorkgroupName, not both."));
        }
    } else if targets != 1 {
        return Err(ApiError::validation("Exactly one of ClusterIdentifier and WorkgroupName is required."));
    } else if input.database.is_none() {
        return Err(ApiError::validation("Database is required."));
    }
    if input.db_user.is_some() && (input.workgroup_name.is_some() || input.secret_arn.is_some()) {
        return Err(ApiError::validation("DbUser goes with ClusterIdentifier only, and not with SecretArn."));
    }
    if input.session_keep_alive_seconds.is_some_and(|seconds| seconds > LONGEST_SESSION) {
        return Err(ApiError::validation("SessionKeepAliveSeconds must be at most 86400."));
    }
    if input.result_format.as_deref().is_some_and(|format| format != "JSON") {
        return Err(ApiError::validation("the Redshift stand-in knows the result format JSON only"));
    }
    let mode = match (batch, input.execution_mode.as_deref()) {
        (false, _) => Mode::Single,
        (true, None | Some("TRANSACTION")) => Mode::Batch,
        (true, Some("AUTO_COMMIT")) => Mode::AutoCommit,
        (true, Some(_)) => return Err(ApiError::validation("ExecutionMode must be TRANSACTION or AUTO_COMMIT.")),
    };
    Ok(Request {
        sqls,
        parameters: input
            .parameters
            .into_iter()
            .map(|parameter| Parameter { name: parameter.name, value: parameter.value })
            .collect(),
        mode,
        cluster: input.cluster_identifier,
        workgroup: input.workgroup_name,
        database: input.database,
        db_user: input.db_user,
        secret_arn: input.secret_arn,
        name: input.statement_name,
        session: input.session_id,
        keep_alive: input.session_keep_alive_seconds,
    })
}

fn wait_time(seconds: Option<u64>) -> Result<Option<Duration>, ApiError> {
    match seconds {
        Some(seconds) if seconds > LONGEST_WAIT => {
            Err(ApiError::validation("WaitTimeSeconds must be between 0 and 30."))
        }
        seconds => Ok(seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)),
    }
}

/// `<id>:2` is the second statement of a batch.
fn whole_id(id: &str) -> (&str, Option<usize>) {
    match id.split_once(':') {
        Some((whole, number)) => (whole, Some(number.parse().unwrap_or(0))),
        None => (id, None),
    }
}

fn no_such_part(id: &str) -> ApiError {
    ApiError::new("ResourceNotFoundException", format!("Query {id} does not exist."))
}

fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

fn has_result(statement: &Statement) -> bool {
    statement.parts().iter().any(|part| part.result.is_some())
}

fn progress_json(id: &str, text: &str, progress: &Progress) -> Value {
    let mut body = json!({
        "Id": id,
        "Status": progress.status.name(),
        "CreatedAt": seconds(progress.created),
        "UpdatedAt": seconds(progress.updated),
        "Duration": progress.duration,
        "HasResultSet": progress.result.is_some(),
        "RedshiftQueryId": progress.query_id,
        "ResultRows": progress.rows,
        "ResultSize": progress.result.as_ref().map_or(-1, |result| result.bytes as i64),
    });
    if !text.is_empty() {
        body["QueryString"] = text.into();
    }
    if let Some(error) = &progress.error {
        body["Error"] = error.as_str().into();
    }
    body
}

/// What a client said about where and as whom.
fn put_request(body: &mut Value, statement: &Statement) {
    let request = &statement.request;
    for (name, value) in [
        ("ClusterIdentifier", &request.cluster),
        ("WorkgroupName", &request.workgroup),
        ("Database", &request.database),
        ("DbUser", &request.db_user),
        ("SecretArn", &request.secret_arn),
        ("SessionId", &statement.session),
    ] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
}

fn listed(statement: &Statement) -> Value {
    let mut body = json!({
        "Id": statement.id,
        "Status": statement.status().name(),
        "CreatedAt": seconds(statement.whole().created),
        "UpdatedAt": seconds(statement.whole().updated),
        "IsBatchStatement": statement.is_batch(),
        "QueryString": statement.request.sqls[0],
        "ResultFormat": "JSON",
    });
    if statement.is_batch() {
        body["QueryStrings"] = statement.request.sqls.clone().into();
    }
    if let Some(name) = &statement.request.name {
        body["StatementName"] = name.as_str().into();
    }
    if let Some(session) = &statement.session {
        body["SessionId"] = session.as_str().into();
    }
    body
}

fn encode_page(from: usize) -> String {
    URL_SAFE_NO_PAD.encode(from.to_string())
}

fn decode_page(token: &str) -> Option<usize> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?.parse().ok()
}

fn page(result: &ResultSet, from: usize) -> Result<Value, ApiError> {
    let mut records = Vec::new();
    let mut bytes = 0;
    for row in result.rows.iter().skip(from).take(PAGE_ROWS) {
        bytes += row.iter().flatten().map(String::len).sum::<usize>();
        if bytes > PAGE_BYTES && !records.is_empty() {
            break;
        }
        let fields = row.iter().zip(&result.columns).map(|(value, column)| field(value.as_deref(), column.transport));
        records.push(fields.collect::<Option<Vec<Value>>>().ok_or_else(|| {
            ApiError::new("InternalServerException", "a value of the result is not of the type of its column")
        })?);
    }
    let metadata: Vec<Value> = result
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "label": column.name,
                "typeName": column.type_name,
                "nullable": 1,
                "precision": 0,
                "scale": 0,
                "length": 0,
                "isSigned": matches!(column.transport, Transport::Long | Transport::Double),
                "isCaseSensitive": column.type_name == "varchar",
                "isCurrency": false,
            })
        })
        .collect();
    let end = from + records.len();
    let mut body = json!({
        "Records": records,
        "ColumnMetadata": metadata,
        "TotalNumRows": result.rows.len(),
    });
    if end < result.rows.len() {
        body["NextToken"] = encode_page(end).into();
    }
    Ok(body)
}

fn field(value: Option<&str>, transport: Transport) -> Option<Value> {
    let Some(value) = value else { return Some(json!({"isNull": true})) };
    Some(match transport {
        Transport::Boolean => json!({"booleanValue": value == "t"}),
        Transport::Long => json!({"longValue": value.parse::<i64>().ok()?}),
        // JSON knows no NaN and no infinity; the protocol sends them as text.
        Transport::Double => match value.parse::<f64>().ok()? {
            number if number.is_finite() => json!({"doubleValue": number}),
            _ => json!({"doubleValue": value}),
        },
        Transport::Text => json!({"stringValue": value}),
    })
}
