//! Sessions and bearer tokens: random texts whose digests are rows of the store; and the tokens of forms.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, header};
use millrace_model::error_code::ErrorCode;
use millrace_settings::keyring::random_bytes;
use millrace_store::AuditRow;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::password::keyed_digest;
use crate::person::{Person, Role, Via};
use crate::problem::{Answer, Problem};
use crate::server::Server;

pub(crate) const COOKIE: &str = "millrace_session";

/// What a token row is good for: a cookie is no bearer token, nor the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Session,
    Bearer,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Bearer => "access token",
        }
    }
}

fn token_hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Server {
    /// A new token for a person whose password was right, and when it ends.
    pub async fn begin_session(&self, name: &str, kind: Kind) -> Answer<(String, DateTime<Utc>)> {
        let now = self.now();
        let hours = i64::try_from(self.options.session_hours).unwrap_or(24).clamp(1, 24 * 366);
        let ends = now + TimeDelta::hours(hours);
        let random = random_bytes::<32>().map_err(|error| Problem::internal(&error))?;
        let token = URL_SAFE_NO_PAD.encode(random);
        self.store().add_api_token(name, kind.label(), &token_hash(&token), Some(ends), now).await?;
        let (actor, action) = match kind {
            Kind::Session => (format!("web:{name}"), "sign_in"),
            Kind::Bearer => (format!("rest:{name}"), "create_token"),
        };
        self.store().record_audit(&AuditRow::new(&actor, action, json!({}), now)).await?;
        Ok((token, ends))
    }

    pub async fn person_of_token(&self, token: &str, kind: Kind) -> Answer<Option<Person>> {
        let Some(row) = self.store().use_api_token(&token_hash(token), self.now()).await? else { return Ok(None) };
        if row.label != kind.label() {
            return Ok(None);
        }
        let Some(user) = self.store().user(&row.user_name).await? else { return Ok(None) };
        let via = match kind {
            Kind::Session => Via::Session(row.id),
            Kind::Bearer => Via::Bearer,
        };
        let form_key = keyed_digest(token.as_bytes(), &[b"forms"]);
        Ok(Some(Person { name: user.name, role: Role::parse(&user.role), via, form_key }))
    }

    pub async fn end_session(&self, person: &Person) -> Answer<()> {
        if let Via::Session(id) = person.via {
            self.store().delete_api_token(id, &person.actor(), self.now()).await?;
        }
        Ok(())
    }

    /// Who has this password, if it is right.
    pub async fn person_of_password(
        &self,
        from: std::net::IpAddr,
        name: &str,
        password: &str,
    ) -> Answer<Option<Person>> {
        let user = self.store().user(name).await?;
        let hash = match &user {
            Some(user) => user.password_hash.clone(),
            None => crate::password::hash_of_nobody().to_owned(),
        };
        let digest = keyed_digest(&self.secret, &[name.as_bytes(), hash.as_bytes(), password.as_bytes()]);
        let form_key = keyed_digest(&self.secret, &[b"forms", name.as_bytes(), hash.as_bytes()]);
        if !self.verified.contains(&digest) {
            let now = self.now();
            if let Err(seconds) = self.attempts.check(from, name, now) {
                let text = format!("too many wrong passwords for '{name}'; wait {seconds} seconds");
                return Err(
                    Problem::new(ErrorCode::TOO_MANY_REQUESTS, text).header(header::RETRY_AFTER, &seconds.to_string())
                );
            }
            let _permit = self.hashing.acquire().await.map_err(|error| Problem::internal(&error))?;
            let password = password.to_owned();
            let right = tokio::task::spawn_blocking(move || crate::password::verify_password(&password, &hash))
                .await
                .map_err(|error| Problem::internal(&error))?;
            if !right || user.is_none() {
                self.attempts.failed(from, name, now);
                return Ok(None);
            }
            self.attempts.succeeded(from, name);
            self.verified.remember(digest);
        }
        Ok(user.map(|user| Person { name: user.name, role: Role::parse(&user.role), via: Via::Basic, form_key }))
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

/// The cookie ends with the session. Behind a proxy that speaks HTTPS it is sent over HTTPS only.
pub(crate) fn session_cookie(headers: &HeaderMap, token: &str, seconds: i64) -> String {
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
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
        Person { name: "a".to_owned(), role: Role::Admin, via: Via::Basic, form_key: [key; 32] }
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
