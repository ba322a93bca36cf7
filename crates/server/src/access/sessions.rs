//! Sessions and tokens: random texts whose digests are rows of the store; and the tokens of forms.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, header};
use millrace_model::error_code::ErrorCode;
use millrace_settings::KeyringError;
use millrace_settings::keyring::random_bytes;
use millrace_store::{AuditRow, NewSession, NewToken, SessionRow, UserRow, WebhookRow};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::access::client::Client;
use crate::access::password::{NOBODYS, keyed_digest, verify_password};
use crate::access::permission::{Role, Scope};
use crate::access::person::{Grant, Person, Via};
use crate::problem::{Answer, Problem};
use crate::server::Server;

pub(crate) const COOKIE: &str = "millrace_session";
/// After this long a session gets another token with the next page.
const ROTATE_EVERY: TimeDelta = TimeDelta::hours(1);
/// When the answer with a new token did not arrive, another one is sent.
const ROTATE_AGAIN: TimeDelta = TimeDelta::minutes(1);
/// What a token is called that was got for a password.
const SIGNED_IN: &str = "access token";
/// Longer ones are nobody's: no more than this is hashed.
pub(crate) const LONGEST_PASSWORD: usize = 1024;

pub(crate) fn token_hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// A new token: what is given away, and what is kept.
pub(crate) fn new_token(prefix: &str) -> Result<(String, String), KeyringError> {
    let token = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()?));
    let hash = token_hash(&token);
    Ok((token, hash))
}

/// Of API tokens, so that tools that look for leaked ones know them.
pub(crate) const TOKEN_PREFIX: &str = "mrt_";

impl Server {
    fn session_ends(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let hours = i64::try_from(self.options.session_hours).unwrap_or(24).clamp(1, 24 * 366);
        now + TimeDelta::hours(hours)
    }

    pub fn idle(&self) -> Option<TimeDelta> {
        let minutes = i64::try_from(self.options.session_idle_minutes).unwrap_or(i64::MAX).min(60 * 24 * 366);
        (minutes > 0).then(|| TimeDelta::minutes(minutes))
    }

    /// A new session for a person whose password was right, and when it ends. The one that the browser had ends now.
    pub async fn begin_session(&self, name: &str, had: Option<&str>) -> Answer<(String, DateTime<Utc>)> {
        let now = self.now();
        let (token, hash) = new_token("").map_err(|error| Problem::internal(&error))?;
        let new = NewSession {
            user_name: name.to_owned(),
            token_hash: hash,
            expires_at: self.session_ends(now),
            instead_of: had.map(token_hash),
            actor: format!("web:{name}"),
        };
        self.store().add_session(&new, now).await?;
        Ok((token, new.expires_at))
    }

    /// A token for a program whose password was right; good for as long as a session.
    pub async fn begin_access(&self, name: &str) -> Answer<(String, DateTime<Utc>)> {
        let now = self.now();
        let (token, hash) = new_token(TOKEN_PREFIX).map_err(|error| Problem::internal(&error))?;
        let ends = self.session_ends(now);
        let new = NewToken {
            user_name: name.to_owned(),
            label: SIGNED_IN.to_owned(),
            token_hash: hash,
            scope: None,
            expires_at: Some(ends),
            actor: format!("rest:{name}"),
        };
        self.store().add_api_token(&new, now).await?;
        Ok((token, ends))
    }

    async fn person(&self, user: UserRow, scope: Scope, via: Via, form_key: [u8; 32]) -> Answer<Person> {
        let role = Role::of_row(&user.role);
        let grants: Arc<[Grant]> = if role == Role::Admin {
            Arc::new([])
        } else {
            let rows = self.store().grants(Some(&user.name)).await?;
            rows.into_iter().map(|row| Grant { of: row.of, role: Role::of_row(&row.role) }).collect()
        };
        Ok(Person { name: user.name, role, grants, scope, via, until: None, form_key })
    }

    pub async fn person_of_token(&self, token: &str) -> Answer<Option<Person>> {
        let Some((row, user)) = self.store().use_api_token(&token_hash(token), self.now()).await? else {
            return Ok(None);
        };
        let form_key = keyed_digest(token.as_bytes(), &[b"forms"]);
        let person = self.person(user, Scope::of_row(row.scope.as_deref()), Via::Bearer, form_key).await?;
        Ok(Some(Person { until: row.expires_at, ..person }))
    }

    /// Whoever made the webhook, as far as it reaches.
    pub async fn person_of_webhook(&self, row: &WebhookRow, scope: Scope) -> Answer<Option<Person>> {
        let Some(user) = self.store().user(&row.user_name).await?.filter(|user| !user.is_disabled()) else {
            return Ok(None);
        };
        self.person(user, scope, Via::Webhook(row.name.clone()), [0; 32]).await.map(Some)
    }

    /// `is_use`: a person asks, and no page by itself.
    pub async fn person_of_session(&self, token: &str, is_use: bool) -> Answer<Option<(Person, SessionRow)>> {
        let (hash, idle, now) = (token_hash(token), self.idle(), self.now());
        let store = self.store();
        let found = if is_use {
            store.use_session(&hash, idle, now).await?
        } else {
            store.see_session(&hash, idle, now).await?
        };
        let Some((session, user)) = found else { return Ok(None) };
        let form_key = keyed_digest(session.form_key.as_bytes(), &[b"forms"]);
        let person = self.person(user, Scope::All, Via::Session(session.id), form_key).await?;
        Ok(Some((person, session)))
    }

    /// The cookie with which the session goes on, when it is time for another token.
    pub async fn rotated(&self, session: &SessionRow, token: &str, client: &Client) -> Answer<Option<String>> {
        let now = self.now();
        let after = if session.is_previous { ROTATE_AGAIN } else { ROTATE_EVERY };
        if now < session.rotated_at + after {
            return Ok(None);
        }
        let (new, hash) = new_token("").map_err(|error| Problem::internal(&error))?;
        let is_mine = self.store().rotate_session(session, &token_hash(token), &hash, now).await?;
        Ok(is_mine.then(|| session_cookie(client, &new, (session.expires_at - now).num_seconds())))
    }

    pub async fn end_session(&self, person: &Person) -> Answer<()> {
        if let Via::Session(id) = person.via {
            self.store().delete_session(id, &person.actor(), self.now()).await?;
        }
        Ok(())
    }

    /// Who has this password, if it is right.
    pub async fn person_of_password(&self, from: IpAddr, name: &str, password: &str) -> Answer<Option<Person>> {
        let user = self.store().user(name).await?.filter(|user| !user.is_disabled());
        // Of nobody, something that is compared for as long.
        // Who signs in elsewhere has none here: as nobody then.
        let hash = user.as_ref().map(|user| user.password_hash.clone()).filter(|hash| !hash.is_empty());
        let known = hash.as_deref().unwrap_or_default().as_bytes();
        let digest = keyed_digest(&self.secret, &[name.as_bytes(), known, password.as_bytes()]);
        let form_key = keyed_digest(&self.secret, &[b"forms", name.as_bytes(), known]);
        if !self.verified.contains(&digest) {
            // The same credentials at the same time are one guess and one hash.
            let guess = self.guesses.enter(digest);
            let right = *guess.get_or_try_init(|| self.guess(from, name, password, hash)).await?;
            if !right {
                return Ok(None);
            }
            self.verified.remember(digest);
        }
        match user {
            Some(user) => self.person(user, Scope::All, Via::Basic, form_key).await.map(Some),
            None => Ok(None),
        }
    }

    async fn guess(&self, from: IpAddr, name: &str, password: &str, hash: Option<String>) -> Answer<bool> {
        let now = self.now();
        let too_many = |text: String, seconds: i64| {
            Problem::new(ErrorCode::TOO_MANY_REQUESTS, text).header(header::RETRY_AFTER, &seconds.to_string())
        };
        // A place in the queue first: what is not looked at is not counted.
        let _place = self
            .hashing_queue
            .try_acquire()
            .map_err(|_| too_many("too many people sign in at this moment; try again".to_owned(), 1))?;
        self.attempts
            .begin(from, name, now)
            .map_err(|seconds| too_many(format!("too many wrong passwords; wait {seconds} seconds"), seconds))?;
        let is_known = hash.is_some();
        let right =
            if password.len() > LONGEST_PASSWORD { false } else { self.verify(password.to_owned(), hash).await? };
        if right && is_known {
            self.attempts.succeeded(from, name, now);
            return Ok(true);
        }
        // Whoever is in a hurry types the password in the place of the name: unknown names are not kept.
        let named = if is_known { name } else { "(unknown)" };
        let details = json!({ "name": named, "address": from.to_string() });
        self.store().record_audit(&AuditRow::new(&format!("address:{from}"), "sign_in_failed", details, now)).await?;
        Ok(false)
    }

    async fn verify(&self, password: String, hash: Option<String>) -> Answer<bool> {
        let _permit = self.hashing.acquire().await.map_err(|error| Problem::internal(&error))?;
        tokio::task::spawn_blocking(move || verify_password(&password, hash.as_deref().unwrap_or(NOBODYS)))
            .await
            .map_err(|error| Problem::internal(&error))
    }
}

pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// The cookie ends with the session. What came over HTTPS is sent over HTTPS only.
pub(crate) fn session_cookie(client: &Client, token: &str, seconds: i64) -> String {
    let secure = client.secure_cookies();
    format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

impl Person {
    /// For one page's forms: another text each time, so that compression can't be made to tell it.
    pub fn form_token(&self) -> String {
        let nonce = random_bytes::<16>().unwrap_or_default();
        let digest = keyed_digest(&self.form_key, &[&nonce]);
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), digest.as_slice()].concat())
    }

    pub fn is_form_token(&self, token: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let Some((nonce, digest)) = bytes.split_at_checked(16) else { return false };
        keyed_digest(&self.form_key, &[nonce]).as_slice().ct_eq(digest).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(key: u8) -> Person {
        Person { form_key: [key; 32], ..crate::access::person::tests_person(Role::Admin) }
    }

    #[test]
    fn form_tokens_differ_and_hold_for_their_person_only() {
        let (mine, theirs) = (person(1), person(2));
        let token = mine.form_token();
        assert_ne!(token, mine.form_token());
        assert!(mine.is_form_token(&token));
        assert!(!theirs.is_form_token(&token));
        for bad in ["", "x", &token[..token.len() - 2], &token[..22]] {
            assert!(!mine.is_form_token(bad), "{bad}");
        }
    }

    #[test]
    fn finds_a_cookie_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=1; millrace_session=tok-en_1; b=2".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE), Some("tok-en_1"));
        assert_eq!(cookie(&headers, "session"), None);
    }
}
