//! Failures as answers: `application/problem+json` for programs, a page for people.

use std::error::Error;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use millrace_model::error_code::ErrorCode;
use millrace_settings::keyring::random_bytes;
use millrace_situation::BackfillError;
use millrace_store::StoreError;
use millrace_vault::VaultError;
use serde_json::{Map, Value, json};

use crate::links;

/// A failure that is told to whoever asked. Travels with the response, so that pages can be drawn from it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub code: ErrorCode,
    /// What was attempted on what, and how to mend it.
    pub detail: String,
    /// Further members of the JSON object.
    pub extra: Map<String, Value>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

pub(crate) type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), extra: Map::new(), headers: Vec::new() }
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID, detail)
    }

    pub fn no_dag(dag_id: &str) -> Self {
        Self::new(ErrorCode::DAG_NOT_FOUND, format!("there is no DAG '{dag_id}'"))
    }

    /// It is stored, but nothing can be made of what is.
    pub fn unusable_dag(dag_id: &str, reason: &str) -> Self {
        let detail =
            format!("what is stored of DAG {dag_id} can't be used: {reason}; `millrace doctor` says how to mend it");
        Self::new(ErrorCode::DAG_NOT_FOUND, detail)
    }

    pub fn no_run(dag_id: &str, run_id: &str) -> Self {
        Self::new(ErrorCode::RUN_NOT_FOUND, format!("DAG {dag_id} has no run '{run_id}'"))
    }

    pub fn no_task(dag_id: &str, task_id: &str) -> Self {
        Self::new(ErrorCode::TASK_NOT_FOUND, format!("DAG {dag_id} has no task '{task_id}' in this run"))
    }

    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.extra.insert(key.to_owned(), value);
        self
    }

    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Something that the asker can't mend. The details go to the daemon's log, under an id that the answer names.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        let id = random_bytes::<4>().map(u32::from_be_bytes).unwrap_or_default();
        tracing::error!(request = format!("{id:08x}"), error, "a request failed");
        Self::new(ErrorCode::INTERNAL, format!("something failed inside Millrace; its log tells more under {id:08x}"))
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("urn:millrace:error:{}", self.code.name)));
        body.insert("title".to_owned(), json!(self.code.name.replace('_', " ")));
        body.insert("status".to_owned(), json!(self.code.http_status));
        body.insert("detail".to_owned(), json!(self.detail));
        body.insert("code".to_owned(), json!(self.code.name));
        body.insert("help".to_owned(), json!(self.code.explanation));
        body.extend(self.extra.clone());
        let mut response = (self.status(), Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::RunExists { dag_id, run_id } | StoreError::LogicalDateExists { dag_id, run_id, .. } => {
                let (dag_id, run_id) = (dag_id.as_str(), run_id.as_str());
                Self::new(ErrorCode::RUN_EXISTS, error.to_string()).with(
                    "existing_run",
                    json!({
                        "dag_id": dag_id,
                        "dag_run_id": run_id,
                        "href": links::api_run(dag_id, run_id),
                        "page": links::run(dag_id, run_id),
                    }),
                )
            }
            StoreError::NotFound { .. } => Self::new(ErrorCode::NOT_FOUND, error.to_string()),
            StoreError::Refused { .. } | StoreError::BackfillActive { .. } => {
                Self::new(ErrorCode::CONFLICT, error.to_string())
            }
            StoreError::ReadOnly { .. } => Self::new(ErrorCode::DATABASE_UNAVAILABLE, error.to_string()),
            _ if error.is_transient() => {
                tracing::warn!(error = &error as &dyn Error, "the metadata database did not answer");
                Self::new(ErrorCode::DATABASE_UNAVAILABLE, "the metadata database did not answer; try again")
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<BackfillError> for Problem {
    fn from(error: BackfillError) -> Self {
        match error {
            BackfillError::FileGone { .. } => Self::new(ErrorCode::CONFLICT, error.to_string()),
            BackfillError::Refused(error) => crate::deeds::actions::refused(&error),
            BackfillError::Circle(circle) => Self::internal(&circle),
            BackfillError::Store(error) => error.into(),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => error.into(),
            VaultError::Form { .. }
            | VaultError::UnknownSecret { .. }
            | VaultError::BadKey
            | VaultError::BadWebhookName => Self::invalid(error.to_string()),
            VaultError::InEnvironment { .. } => Self::new(ErrorCode::CONFLICT, error.to_string()),
            VaultError::NoKey { .. } | VaultError::ForeignKeys { .. } | VaultError::Keyring(_) => {
                tracing::error!(error = &error as &dyn Error, "a secret cannot be opened");
                Self::new(ErrorCode::INTERNAL, error.to_string())
            }
            VaultError::NoDatabase { .. } => Self::new(ErrorCode::DATABASE_UNAVAILABLE, error.to_string()),
        }
    }
}
