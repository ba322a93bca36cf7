//! A provider of identities: OpenID Connect's authorization code flow with PKCE, for one client. Whoever comes is signed in
//! at once, as the person that [`RunningOpenId::become_person`] says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod keys;

use keys::Keys;
pub use keys::Mistake;

use crate::error::{DevstackError, require_loopback};

/// How the provider is started.
#[derive(Clone)]
pub struct OpenIdConfig {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    pub client_id: String,
    pub client_secret: String,
    /// The only address that codes are sent to.
    pub redirect_uri: String,
    /// What its tokens take for now.
    pub now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

impl std::fmt::Debug for OpenIdConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenIdConfig")
            .field("listen", &self.listen)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Seconds that a token is good for.
const LIFETIME: i64 = 300;

/// A running provider. Dropping it stops it.
pub struct RunningOpenId {
    provider: Arc<Provider>,
    stop: CancellationToken,
}

impl RunningOpenId {
    /// What clients are configured with.
    pub fn issuer(&self) -> String {
        self.provider.issuer.clone()
    }

    /// The claims of whoever signs in from now on; `sub` must be among them.
    pub fn become_person(&self, claims: Value) {
        self.provider.state().person = claims.as_object().cloned().unwrap_or_default();
    }

    /// What is wrong with every token from now on.
    pub fn make_mistake(&self, mistake: Option<Mistake>) {
        self.provider.state().mistake = mistake;
    }

    /// Signs with another key, under another name; the old one is told to nobody any more.
    pub fn change_key(&self) {
        self.provider.state().keys = Keys::new();
    }
}

impl Drop for RunningOpenId {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Provider {
    config: OpenIdConfig,
    issuer: String,
    state: Mutex<Changing>,
}

struct Changing {
    keys: Keys,
    person: Map<String, Value>,
    mistake: Option<Mistake>,
    /// Codes that were not used yet, with what they were asked for with.
    codes: HashMap<String, Asked>,
}

/// A request for a code.
#[derive(Debug, Clone, Deserialize)]
struct Asked {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
}

impl Provider {
    fn state(&self) -> MutexGuard<'_, Changing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the provider.
pub async fn serve_openid(config: OpenIdConfig) -> Result<RunningOpenId, DevstackError> {
    require_loopback(config.listen)?;
    let listen_error = |source| DevstackError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let issuer = format!("http://{}", listener.local_addr().map_err(listen_error)?);
    let state = Changing { keys: Keys::new(), person: Map::new(), mistake: None, codes: HashMap::new() };
    let provider = Arc::new(Provider { config, issuer, state: Mutex::new(state) });
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(configuration))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .route("/keys", get(keys))
        .with_state(provider.clone());
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            tracing::warn!(%error, "the provider of identities did not end cleanly");
        }
    });
    Ok(RunningOpenId { provider, stop })
}

type Shared = State<Arc<Provider>>;

async fn configuration(State(provider): Shared) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"),
        "end_session_endpoint": at("/sign-out"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn keys(State(provider): Shared) -> Json<Value> {
    Json(provider.state().keys.public())
}

async fn authorize(State(provider): Shared, Query(asked): Query<Asked>) -> Response {
    let config = &provider.config;
    let wrong = [
        (asked.response_type != "code", "response_type"),
        (asked.client_id != config.client_id, "client_id"),
        (asked.redirect_uri != config.redirect_uri, "redirect_uri"),
        (!asked.scope.split(' ').any(|scope| scope == "openid"), "scope"),
        (asked.state.len() < 20, "state"),
        (asked.nonce.len() < 20, "nonce"),
        (asked.code_challenge.len() != 43, "code_challenge"),
        (asked.code_challenge_method != "S256", "code_challenge_method"),
    ];
    if let Some((_, parameter)) = wrong.iter().find(|(is_wrong, _)| *is_wrong) {
        return (StatusCode::BAD_REQUEST, format!("{parameter} is wrong")).into_response();
    }
    let mut state = provider.state();
    let to = if state.person.is_empty() {
        format!("{}?error=access_denied&error_description=nobody+is+here&state={}", asked.redirect_uri, asked.state)
    } else {
        let code = uuid::Uuid::new_v4().simple().to_string();
        let to = format!("{}?code={code}&state={}", asked.redirect_uri, asked.state);
        state.codes.insert(code, asked);
        to
    };
    Redirect::to(&to).into_response()
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    code: String,
    redirect_uri: String,
    code_verifier: String,
}

async fn token(State(provider): Shared, headers: HeaderMap, Form(given): Form<Exchange>) -> Response {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let config = &provider.config;
    let credentials = STANDARD.encode(format!("{}:{}", config.client_id, config.client_secret));
    let expected = format!("Basic {credentials}");
    if headers.get(header::AUTHORIZATION).is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" }))).into_response();
    }
    let mut state = provider.state();
    // A code is good once.
    let Some(asked) = state.codes.remove(&given.code) else { return refused("invalid_grant") };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(given.code_verifier.as_bytes()));
    if given.grant_type != "authorization_code"
        || given.redirect_uri != asked.redirect_uri
        || challenge != asked.code_challenge
    {
        return refused("invalid_grant");
    }
    let now = (config.now)().timestamp();
    let mut claims = state.person.clone();
    let own = json!({
        "iss": provider.issuer, "aud": config.client_id, "iat": now, "exp": now + LIFETIME, "nonce": asked.nonce,
    });
    claims.extend(own.as_object().cloned().unwrap_or_default());
    let id_token = state.keys.token(claims, state.mistake);
    Json(json!({ "access_token": "none", "token_type": "Bearer", "expires_in": LIFETIME, "id_token": id_token }))
        .into_response()
}
