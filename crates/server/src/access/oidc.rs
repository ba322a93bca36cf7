//! Signing in with a provider of identities: OpenID Connect's authorization code flow with PKCE, state and nonce.
//!
//! Between leaving for the provider and coming back, what must fit is in a cookie of the browser, sealed with the home's
//! key: nothing is stored for people who never come back, and any server of the same home takes them back.

mod id_token;
mod provider;
mod roles;
mod web;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace_model::error_code::ErrorCode;
use millrace_settings::keyring::random_bytes;
use millrace_store::{AuditRow, StoreError, VouchedFor};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub(crate) use self::provider::Provider;
pub use self::provider::{OidcError, OidcOptions};
pub use self::roles::{RoleMap, RoleMapError};
pub use self::web::{Web, WebAnswer, WebRequest};

use crate::access::client::Client;
use crate::access::people::check_user_name;
use crate::access::sessions::{COOKIE, cookie, session_cookie};
use crate::access::sign_in::{self, Next};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::server::{Server, Shared};

/// Where a provider sends people back to, behind the server's public address.
pub(crate) const CALLBACK: &str = "/sign-in/oidc/callback";
const PENDING: &str = "millrace_sign_in";
/// Binds what is sealed to this use.
const SEALED_AS: &str = "sign-in";
/// How long somebody may be at the provider.
const AWAY: TimeDelta = TimeDelta::minutes(10);
/// What a provider may say of its refusal (RFC 6749, OpenID Connect). Anything else is not repeated: whoever comes here,
/// known to nobody, may have written it, and what is masked of a text tells its writer that they guessed a secret.
const REFUSALS: [&str; 13] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_request",
    "invalid_request_object",
    "invalid_request_uri",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
];

/// What must fit when the browser comes back.
#[derive(Serialize, Deserialize)]
struct Pending {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    at: DateTime<Utc>,
}

fn random_text() -> Answer<String> {
    let bytes = random_bytes::<32>().map_err(|error| Problem::internal(&error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// `GET /sign-in/oidc`
pub(crate) async fn leave(
    State(server): State<Shared>,
    Extension(client): Extension<Client>,
    Query(query): Query<Next>,
    headers: HeaderMap,
) -> Answer {
    let provider = server.provider()?;
    let next = links::onward(query.next.as_deref());
    // Anybody may come here, and a provider that is away is asked again each time.
    let known_as = format!("to oidc {}", client.address);
    server.may_attempt(&client, &known_as)?;
    let metadata = match provider.metadata().await {
        Ok(metadata) => metadata,
        Err(error) => return refuse(&server, &client, &headers, &error).await,
    };
    server.attempts.passed(client.address, &known_as, server.now());
    let pending = Pending {
        state: random_text()?,
        nonce: random_text()?,
        verifier: random_text()?,
        next: next.to_owned(),
        at: server.now(),
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(pending.verifier.as_bytes()));
    let to = provider.authorize_url(&metadata, &pending.state, &pending.nonce, &challenge);
    let text = serde_json::to_string(&pending).map_err(|error| Problem::internal(&error))?;
    let sealed = provider.options.keyring.seal(SEALED_AS, &text).map_err(|error| Problem::internal(&error))?;
    Ok(with_cookies(Redirect::to(&to).into_response(), &[pending_cookie(&client, &sealed, AWAY.num_seconds())]))
}

/// On its own path; the way back is a navigation from the provider's site, which Lax lets pass.
fn pending_cookie(client: &Client, value: &str, seconds: i64) -> String {
    let secure = client.secure_cookies();
    format!("{PENDING}={value}; Path=/sign-in; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

fn with_cookies(mut response: Response, cookies: &[String]) -> Response {
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

/// What a provider says in the address.
#[derive(Deserialize)]
pub(crate) struct Back {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// `GET /sign-in/oidc/callback`
pub(crate) async fn come_back(
    State(server): State<Shared>,
    Extension(client): Extension<Client>,
    Query(back): Query<Back>,
    headers: HeaderMap,
) -> Answer {
    let provider = server.provider()?;
    let known_as = format!("oidc {}", client.address);
    server.may_attempt(&client, &known_as)?;
    match enter(&server, provider, &client, &back, &headers).await {
        Ok(response) => {
            server.attempts.passed(client.address, &known_as, server.now());
            Ok(response)
        }
        Err(error) => refuse(&server, &client, &headers, &error).await,
    }
}

async fn enter(
    server: &Server,
    provider: &Provider,
    client: &Client,
    back: &Back,
    headers: &HeaderMap,
) -> Result<Response, OidcError> {
    let pending = pending(server, provider, headers)?;
    let state = back.state.as_deref().unwrap_or_default();
    if !bool::from(state.as_bytes().ct_eq(pending.state.as_bytes())) {
        return Err(OidcError::Stale);
    }
    if let Some(error) = &back.error {
        return Err(OidcError::Refused(
            REFUSALS.into_iter().find(|known| known == error).unwrap_or("for no known reason"),
        ));
    }
    if back.iss.as_ref().is_some_and(|issuer| *issuer != provider.options.issuer) {
        return Err(OidcError::Token("it comes from another issuer"));
    }
    let code = back.code.as_deref().ok_or(OidcError::Stale)?;
    let claims = provider.redeem(code, &pending.verifier, &pending.nonce, server.now()).await?;
    let groups = claims.groups(&provider.options.groups_claim);
    let role = provider.options.roles.role_of(&groups).ok_or(OidcError::NoRole)?;
    provider.options.check_domain(&claims)?;
    let who = VouchedFor {
        issuer: provider.options.issuer.clone(),
        subject: claims.subject.clone(),
        wanted_name: wanted_name(&claims),
        role: role.as_str().to_owned(),
    };
    let user = server.store().person_vouched_for(&who, server.now()).await.map_err(|error| match error {
        StoreError::Refused { reason, .. } => OidcError::NotLinked(reason),
        other => OidcError::Store(other),
    })?;
    let begun = server.begin_session(&user.name, cookie(headers, COOKIE)).await;
    let (token, ends) = begun.map_err(|problem| OidcError::Unreachable(problem.detail))?;
    let seconds = (ends - server.now()).num_seconds();
    let cookies = [session_cookie(client, &token, seconds), pending_cookie(client, "", 0)];
    Ok(with_cookies(Redirect::to(links::onward(Some(&pending.next))).into_response(), &cookies))
}

fn pending(server: &Server, provider: &Provider, headers: &HeaderMap) -> Result<Pending, OidcError> {
    let sealed = cookie(headers, PENDING).ok_or(OidcError::Stale)?;
    let text = provider.options.keyring.open_sealed(SEALED_AS, sealed).map_err(|_| OidcError::Stale)?;
    let pending: Pending = serde_json::from_str(text.expose_secret()).map_err(|_| OidcError::Stale)?;
    let age = server.now() - pending.at;
    if age > AWAY || age < -AWAY { Err(OidcError::Stale) } else { Ok(pending) }
}

/// A name that people know, if it can be one here; else one that is made of the subject.
fn wanted_name(claims: &id_token::Claims) -> String {
    let names = [claims.text("preferred_username"), claims.text("email")];
    let fit = names.into_iter().flatten().find(|name| check_user_name(name).is_ok());
    fit.map(str::to_owned)
        .unwrap_or_else(|| format!("oidc-{}", hex::encode(&Sha256::digest(claims.subject.as_bytes())[..5])))
}

/// The sign-in page with what went wrong, which is in the audit log too.
async fn refuse(server: &Server, client: &Client, headers: &HeaderMap, error: &OidcError) -> Answer {
    let detail = server.masked_text(&error.told());
    tracing::warn!(address = %client.address, reason = detail, "a sign-in with the provider failed");
    let details = json!({ "address": client.address.to_string(), "by": "oidc", "reason": detail });
    let actor = format!("address:{}", client.address);
    server.store().record_audit(&AuditRow::new(&actor, "sign_in_failed", details, server.now())).await?;
    let status = match error {
        OidcError::Unreachable(_) | OidcError::Provider(_) | OidcError::Store(_) => StatusCode::BAD_GATEWAY,
        OidcError::NoRole | OidcError::Domain | OidcError::NoEmail(_) | OidcError::NotLinked(_) => {
            StatusCode::FORBIDDEN
        }
        OidcError::Stale | OidcError::Refused(_) | OidcError::Token(_) => StatusCode::UNAUTHORIZED,
    };
    let mut page = sign_in::draw(server, headers, "/", "", Some(detail)).await?;
    *page.status_mut() = status;
    Ok(with_cookies(page, &[pending_cookie(client, "", 0)]))
}

impl Server {
    fn may_attempt(&self, client: &Client, known_as: &str) -> Answer<()> {
        self.attempts.begin(client.address, known_as, self.now()).map_err(|seconds| {
            let text = format!("too many attempts to sign in; wait {seconds} seconds");
            Problem::new(ErrorCode::TOO_MANY_REQUESTS, text).header(header::RETRY_AFTER, &seconds.to_string())
        })
    }

    fn provider(&self) -> Answer<&Provider> {
        let none = || Problem::new(ErrorCode::NOT_FOUND, "no provider of identities is configured (oidc.issuer)");
        self.oidc.as_ref().ok_or_else(none)
    }
}

impl OidcOptions {
    fn check_domain(&self, claims: &id_token::Claims) -> Result<(), OidcError> {
        if self.allowed_domains.is_empty() {
            return Ok(());
        }
        let email = claims.text("email").ok_or(OidcError::NoEmail(""))?;
        if !claims.is_email_verified() {
            return Err(OidcError::NoEmail("verified "));
        }
        let domain = email.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
        let is_allowed = self.allowed_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain));
        if is_allowed { Ok(()) } else { Err(OidcError::Domain) }
    }
}
