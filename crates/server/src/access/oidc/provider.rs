//! The provider: what it says of itself, its keys, and a code against a token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use http::Method;
use millrace_settings::Keyring;
use millrace_store::StoreError;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::id_token::{Claims, Expected, Jwk, Wrong, verify};
use super::{CALLBACK, RoleMap, Web, WebRequest};
use crate::links::encode;

/// What the provider says of itself is asked again so often.
const REMEMBERED: Duration = Duration::from_hours(1);
/// An unknown key asks for the keys again, but no more often than this.
const KEYS_AGAIN: Duration = Duration::from_secs(10);

pub struct OidcOptions {
    /// As its tokens say it: `https://login.example/realms/data`.
    pub issuer: String,
    pub client_id: String,
    /// Empty: the client has none, and PKCE alone proves who redeems a code.
    pub client_secret: SecretString,
    /// On the button.
    pub label: String,
    /// With spaces between; `openid` among them.
    pub scopes: String,
    /// The claim that holds a person's groups.
    pub groups_claim: String,
    pub roles: RoleMap,
    /// Of verified e-mail addresses; empty: all.
    pub allowed_domains: Vec<String>,
    /// Where browsers find this server, without a slash at the end.
    pub public_url: String,
    pub keyring: Arc<Keyring>,
    pub web: Web,
}

/// Why somebody did not get in by the provider.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error("the sign-in was not begun in this browser, or took too long; begin again")]
    Stale,
    #[error("the provider refused: {0}")]
    Refused(&'static str),
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    #[error("the provider says what cannot be used: {0}")]
    Provider(String),
    #[error("the provider's token is refused: {0}")]
    Token(&'static str),
    #[error("none of your groups may use Millrace; an admin says which do, in oidc.roles")]
    NoRole,
    #[error("only people with a verified e-mail address of an allowed domain get in (oidc.allowed_domains)")]
    Domain,
    #[error(
        "the provider told no {0}e-mail address of yours, and only people with one of an allowed domain get in \
         (oidc.allowed_domains); it must give the claims email and email_verified to this client (oidc.scopes: email)"
    )]
    NoEmail(&'static str),
    #[error("{0}")]
    NotLinked(String),
    #[error("the metadata database could not be read or written")]
    Store(#[source] StoreError),
}

impl OidcError {
    pub(super) fn told(&self) -> String {
        self.to_string()
    }
}

/// What is used of what a provider says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Instant, Arc<Metadata>)>,
    keys: Option<(Instant, Arc<Vec<Jwk>>)>,
}

pub(crate) struct Provider {
    pub options: OidcOptions,
    known: Mutex<Known>,
}

impl Provider {
    pub fn new(options: OidcOptions) -> Self {
        Self { options, known: Mutex::default() }
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        let fresh = self.known(|known| known.metadata.clone()).filter(|(since, _)| since.elapsed() < REMEMBERED);
        if let Some((_, metadata)) = fresh {
            return Ok(metadata);
        }
        let url = format!("{}/.well-known/openid-configuration", self.options.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.ask(get(url)).await?;
        if metadata.issuer != self.options.issuer {
            let text = format!("it calls itself {}, and oidc.issuer is {}", metadata.issuer, self.options.issuer);
            return Err(OidcError::Provider(text));
        }
        for url in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            check_url(url).map_err(OidcError::Provider)?;
        }
        let metadata = Arc::new(metadata);
        self.known(|known| known.metadata = Some((Instant::now(), metadata.clone())));
        Ok(metadata)
    }

    /// Where somebody signs out of the provider too, as far as it was asked.
    pub fn end_session_url(&self) -> Option<String> {
        let metadata = self.known(|known| known.metadata.clone())?.1;
        let end = metadata.end_session_endpoint.as_ref().filter(|url| check_url(url).is_ok())?;
        let back = encode(&format!("{}/sign-in", self.options.public_url));
        let client = encode(&self.options.client_id);
        Some(format!("{}client_id={client}&post_logout_redirect_uri={back}", with_query(end)))
    }

    pub fn authorize_url(&self, metadata: &Metadata, state: &str, nonce: &str, challenge: &str) -> String {
        let redirect = self.redirect_uri();
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.options.client_id),
            ("redirect_uri", &redirect),
            ("scope", &self.options.scopes),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ];
        format!("{}{}", with_query(&metadata.authorization_endpoint), form(&pairs))
    }

    fn redirect_uri(&self) -> String {
        format!("{}{CALLBACK}", self.options.public_url)
    }

    /// The claims of the token that is given for a code.
    pub(super) async fn redeem(
        &self,
        code: &str,
        verifier: &str,
        nonce: &str,
        now: DateTime<Utc>,
    ) -> Result<Claims, OidcError> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: Option<String>,
        }
        let metadata = self.metadata().await?;
        let answer: Tokens = self.ask(self.exchange(&metadata, code, verifier)).await?;
        let token = answer.id_token.ok_or(OidcError::Token("there is none"))?;
        let expected = Expected { issuer: &self.options.issuer, client_id: &self.options.client_id, nonce, now };
        let keys = self.keys(&metadata, false).await?;
        let claims = match verify(&token, &keys, &expected) {
            // Providers change their keys now and then.
            Err(Wrong::UnknownKey) => verify(&token, &self.keys(&metadata, true).await?, &expected),
            other => other,
        };
        claims.map_err(|wrong| match wrong {
            Wrong::UnknownKey => OidcError::Token("the provider has no such key"),
            Wrong::Other(reason) => OidcError::Token(reason),
        })
    }

    fn exchange(&self, metadata: &Metadata, code: &str, verifier: &str) -> WebRequest {
        let (id, secret) = (self.options.client_id.as_str(), self.options.client_secret.expose_secret());
        let redirect = self.redirect_uri();
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("code_verifier", verifier),
        ];
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
        // A provider that does not say takes Basic.
        let supported = metadata.token_endpoint_auth_methods_supported.as_deref();
        let takes_basic = supported.is_none_or(|methods| methods.iter().any(|it| it == "client_secret_basic"));
        if secret.is_empty() {
            pairs.push(("client_id", id));
        } else if takes_basic {
            let credentials = STANDARD.encode(format!("{}:{}", form_text(id), form_text(secret)));
            headers.push(("authorization", format!("Basic {credentials}")));
        } else {
            pairs.extend([("client_id", id), ("client_secret", secret)]);
        }
        WebRequest { method: Method::POST, url: metadata.token_endpoint.clone(), headers, body: form(&pairs) }
    }

    async fn keys(&self, metadata: &Metadata, again: bool) -> Result<Arc<Vec<Jwk>>, OidcError> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Value>,
        }
        let good_for = if again { KEYS_AGAIN } else { REMEMBERED };
        let fresh = self.known(|known| known.keys.clone()).filter(|(since, _)| since.elapsed() < good_for);
        if let Some((_, keys)) = fresh {
            return Ok(keys);
        }
        let set: KeySet = self.ask(get(metadata.jwks_uri.clone())).await?;
        // Keys of kinds that are not known here are passed over.
        let keys: Vec<Jwk> = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        let keys = Arc::new(keys);
        self.known(|known| known.keys = Some((Instant::now(), keys.clone())));
        Ok(keys)
    }

    async fn ask<T: DeserializeOwned>(&self, request: WebRequest) -> Result<T, OidcError> {
        check_url(&request.url).map_err(OidcError::Provider)?;
        let url = request.url.clone();
        let answer = (self.options.web)(request).await.map_err(OidcError::Unreachable)?;
        if answer.status != 200 {
            // `invalid_grant` and the like say what is wrong; anything else of the body is nobody's business.
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let error: String = body["error"].as_str().unwrap_or_default().chars().take(60).collect();
            return Err(OidcError::Provider(format!("{url} answered {} {error}", answer.status)));
        }
        serde_json::from_slice(&answer.body).map_err(|error| OidcError::Provider(format!("{url}: {error}")))
    }
}

fn get(url: String) -> WebRequest {
    WebRequest {
        method: Method::GET,
        url,
        headers: vec![("accept", "application/json".to_owned())],
        body: String::new(),
    }
}

/// HTTPS, but for a provider on this machine.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let uri: http::Uri = url.parse().map_err(|_| format!("'{url}' is no address"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if is_here => Ok(()),
        _ => Err(format!("'{url}' must begin with https://")),
    }
}

fn with_query(url: &str) -> String {
    format!("{url}{}", if url.contains('?') { '&' } else { '?' })
}

fn form(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// As RFC 6749 has it for credentials; what needs no escape has none.
fn form_text(text: &str) -> String {
    encode(text).replace("%2D", "-").replace("%2E", ".").replace("%5F", "_").replace("%7E", "~")
}
