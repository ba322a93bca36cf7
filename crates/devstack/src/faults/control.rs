//! Failures that are planned from outside, on a port of its own: `POST /s3`, `POST /redshift`, `GET /`, `DELETE /`.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Fault, Faults};
use crate::error::{DevstackError, require_loopback};

/// Requests of each stand-in. What it does not know, nobody sends.
const OF_S3: &[&str] = &[
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetObject",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjectsV2",
    "ListParts",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
];
const OF_REDSHIFT: &[&str] = &[
    "BatchExecuteStatement",
    "CancelStatement",
    "DescribeStatement",
    "ExecuteStatement",
    "GetStatementResult",
    "ListStatements",
];
/// More uses than anybody means.
const MOST: u32 = 1_000_000;

/// Takes failures for the stand-ins until it is dropped. Whoever may open a port of this machine may plan them.
#[derive(Debug)]
pub struct RunningFaultsPort {
    address: SocketAddr,
    stop: CancellationToken,
}

impl RunningFaultsPort {
    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for RunningFaultsPort {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A failure of one operation: for the next `times` uses, once `after` uses have gone well.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    operation: String,
    fault: Fault,
    #[serde(default = "once")]
    times: u32,
    #[serde(default)]
    after: u32,
}

fn once() -> u32 {
    1
}

#[derive(Clone)]
struct Planned {
    s3: Faults,
    redshift: Option<Faults>,
}

impl Planned {
    fn shown(&self) -> Value {
        let list = |faults: &Faults| {
            let one = |(operation, fault, times)| json!({"operation": operation, "fault": fault, "times": times});
            faults.planned().into_iter().map(one).collect::<Vec<_>>()
        };
        json!({"s3": list(&self.s3), "redshift": self.redshift.as_ref().map(list)})
    }
}

/// Starts to listen, on a loopback address; port 0 takes a free one.
pub async fn serve_faults(
    listen: SocketAddr,
    s3: Faults,
    redshift: Option<Faults>,
) -> Result<RunningFaultsPort, DevstackError> {
    require_loopback(listen)?;
    let failed = |source| DevstackError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    // JSON alone is taken: no page of a browser may send that elsewhere unasked.
    let router = Router::new()
        .route("/", get(show).delete(forget))
        .route("/s3", post(plan_for_s3))
        .route("/redshift", post(plan_for_redshift))
        .with_state(Planned { s3, redshift });
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            tracing::warn!(%error, "planned failures are not taken any more");
        }
    });
    Ok(RunningFaultsPort { address, stop })
}

async fn show(State(planned): State<Planned>) -> Json<Value> {
    Json(planned.shown())
}

async fn forget(State(planned): State<Planned>) -> Json<Value> {
    planned.s3.clear();
    planned.redshift.iter().for_each(Faults::clear);
    Json(planned.shown())
}

async fn plan_for_s3(State(planned): State<Planned>, Json(wish): Json<Wish>) -> Response {
    let refusal = wish.refusal_by_s3();
    plan(&planned, &planned.s3, wish, refusal)
}

async fn plan_for_redshift(State(planned): State<Planned>, Json(wish): Json<Wish>) -> Response {
    let refusal = wish.refusal_by_redshift();
    match &planned.redshift {
        Some(faults) => plan(&planned, faults, wish, refusal),
        None => refused("there is no Redshift here: start devstack with --redshift-over postgres://…"),
    }
}

fn plan(planned: &Planned, faults: &Faults, wish: Wish, refusal: Option<String>) -> Response {
    if let Some(refusal) = refusal {
        return refused(&refusal);
    }
    if !(1..=MOST).contains(&wish.times) || wish.after > MOST {
        return refused(&format!("times is a number from 1 to {MOST}, after one up to {MOST}"));
    }
    if wish.after > 0 {
        faults.inject(wish.operation.as_str(), Fault::Delay(std::time::Duration::ZERO), wish.after);
    }
    tracing::info!(wish.operation, fault = ?wish.fault, wish.times, wish.after, "a failure is planned");
    faults.inject(wish.operation, wish.fault, wish.times);
    Json(planned.shown()).into_response()
}

fn refused(message: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"error": message}))).into_response()
}

impl Wish {
    /// Why this can never happen there.
    fn refusal_by_s3(&self) -> Option<String> {
        let operation = self.operation.as_str();
        if operation != "*" && !OF_S3.contains(&operation) {
            return Some(format!(
                "{operation} is no operation of S3 that is known here: * (any), {}",
                OF_S3.join(", ")
            ));
        }
        let only = match self.fault {
            Fault::CutBody { .. } | Fault::SlowBody { .. } => "GetObject",
            Fault::LosePart => "UploadPart",
            Fault::FailStatement(_) | Fault::AbortStatement => {
                return Some("only statements of Redshift fail that way".to_owned());
            }
            _ => return None,
        };
        (operation != only).then(|| format!("only {only} fails that way"))
    }

    fn refusal_by_redshift(&self) -> Option<String> {
        let operation = self.operation.as_str();
        let is_request = operation == "*" || OF_REDSHIFT.contains(&operation);
        let is_statement = !is_request && operation.bytes().all(|byte| byte.is_ascii_uppercase());
        if operation.is_empty() || !(is_request || is_statement) {
            let known = OF_REDSHIFT.join(", ");
            return Some(format!(
                "{operation} is neither an operation of the Data API (* (any), {known}) nor the first word of a statement in \
                 capital letters (COPY, COMMIT)"
            ));
        }
        match self.fault {
            Fault::CutBody { .. } | Fault::SlowBody { .. } | Fault::LosePart => {
                Some("only S3 fails that way".to_owned())
            }
            Fault::FailStatement(_) | Fault::AbortStatement if is_request => {
                Some("only statements fail that way: name one by its first word (COPY, COMMIT)".to_owned())
            }
            Fault::FailStatement(_) | Fault::AbortStatement | Fault::Delay(_) => None,
            _ if is_statement => {
                Some("a statement can fail_statement, abort_statement or delay; name an operation".to_owned())
            }
            _ => None,
        }
    }
}
