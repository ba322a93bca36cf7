//! The STS stand-in: AssumeRole, for one role, and GetCallerIdentity. The keys that it gives open the S3 stand-in until they expire.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::Utc;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::{DevstackError, require_loopback};
use crate::s3::Sessions;

/// How the STS stand-in is started.
#[derive(Debug, Clone)]
pub struct StsConfig {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The only role that may be taken.
    pub role_arn: String,
    /// What must be said with it.
    pub external_id: Option<String>,
    /// How long keys are good for. The real service gives no less than 15 minutes.
    pub lifetime: Duration,
}

/// A running STS stand-in. Dropping it stops it.
#[derive(Debug)]
pub struct RunningSts {
    address: SocketAddr,
    given: Arc<AtomicU32>,
    last: Arc<Mutex<Option<Session>>>,
    stop: CancellationToken,
}

/// The name of a session, and the seconds that it was asked to last.
type Session = (String, Option<u32>);

impl RunningSts {
    /// For the client's endpoint setting.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often the role was taken.
    pub fn given(&self) -> u32 {
        self.given.load(Ordering::Relaxed)
    }

    /// The session that the role was last taken for: its name, and the seconds that were asked for.
    pub fn last(&self) -> Option<Session> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RunningSts {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone)]
struct Sts {
    config: Arc<StsConfig>,
    sessions: Sessions,
    given: Arc<AtomicU32>,
    last: Arc<Mutex<Option<Session>>>,
}

/// Starts the STS stand-in; `sessions` are those of the S3 stand-in that its keys shall open.
pub async fn serve_sts(config: StsConfig, sessions: Sessions) -> Result<RunningSts, DevstackError> {
    require_loopback(config.listen)?;
    let listen_error = |source| DevstackError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let given = Arc::new(AtomicU32::new(0));
    let last = Arc::new(Mutex::new(None));
    let sts = Sts { config: Arc::new(config), sessions, given: Arc::clone(&given), last: Arc::clone(&last) };
    let router = Router::new().route("/", post(handle)).with_state(sts);
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            tracing::warn!(%error, "the STS stand-in did not end cleanly");
        }
    });
    Ok(RunningSts { address, given, last, stop })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Call {
    action: String,
    role_arn: Option<String>,
    role_session_name: Option<String>,
    external_id: Option<String>,
    duration_seconds: Option<u32>,
}

async fn handle(State(sts): State<Sts>, headers: HeaderMap, Form(call): Form<Call>) -> Response {
    match call.action.as_str() {
        "AssumeRole" => {}
        "GetCallerIdentity" => return identity(&headers),
        _ => {
            let message = "the STS stand-in knows AssumeRole and GetCallerIdentity only";
            return refused("InvalidAction", message, StatusCode::BAD_REQUEST);
        }
    }
    let Some(session) = call.role_session_name.filter(|name| name.len() >= 2) else {
        return refused("ValidationError", "RoleSessionName has at least 2 characters", StatusCode::BAD_REQUEST);
    };
    if call.duration_seconds.is_some_and(|seconds| !(900..=43_200).contains(&seconds)) {
        let message = "DurationSeconds is a number from 900 to 43200";
        return refused("ValidationError", message, StatusCode::BAD_REQUEST);
    }
    let is_allowed = call.role_arn.as_ref() == Some(&sts.config.role_arn)
        && (sts.config.external_id.is_none() || call.external_id == sts.config.external_id);
    if !is_allowed {
        let role = call.role_arn.unwrap_or_default();
        let message = format!("User is not authorized to perform: sts:AssumeRole on resource: {role}");
        return refused("AccessDenied", &message, StatusCode::FORBIDDEN);
    }
    let number = sts.given.fetch_add(1, Ordering::Relaxed);
    *sts.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((session.clone(), call.duration_seconds));
    let expires = Utc::now() + sts.config.lifetime;
    let key = sts.sessions.open(expires);
    let arn =
        format!("{}/{session}", sts.config.role_arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/"));
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <AssumedRoleId>AROA:{session}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser><Credentials>\
         <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>{}</Expiration></Credentials></AssumeRoleResult><ResponseMetadata><RequestId>{number}</RequestId>\
         </ResponseMetadata></AssumeRoleResponse>",
        key.id,
        key.secret,
        key.token,
        expires.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    );
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

/// A user named as the key that signed the request. Signatures are not checked here.
fn identity(headers: &HeaderMap) -> Response {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = signed.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next());
    let Some(key) = key else {
        return refused("MissingAuthenticationToken", "the request is not signed", StatusCode::FORBIDDEN);
    };
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::000000000000:user/{key}</Arn><UserId>{key}</UserId><Account>000000000000</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>0</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>"
    );
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

fn refused(code: &str, message: &str, status: StatusCode) -> Response {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
    );
    (status, [(header::CONTENT_TYPE, "text/xml")], body).into_response()
}
