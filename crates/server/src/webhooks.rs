//! What another system does here: it sends a delivery to a webhook, and proves that it knows the webhook's secret.
//!
//! A delivery may do what the person may who made the webhook, and no more than the one thing that the webhook is for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, header};
use millrace_model::asset::AssetEvent;
use millrace_model::error_code::ErrorCode;
use millrace_model::json_text::flaw;
use millrace_store::{AuditRow, Keyed, NewAssetEvent, RequestKey, RunRow, WebhookRow, WebhookTarget};
use millrace_vault::{NewWebhook, is_webhook_name};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::access::people::{MOST_TOKEN_DAYS, TOKEN_DAYS};
use crate::access::permission::{Act, Scope, Word};
use crate::access::person::{Person, Via};
use crate::access::sessions::token_hash;
use crate::deeds::actions::TriggerBody;
use crate::problem::{Answer, Problem};
use crate::server::{KEYS_KEPT, Server};

/// The body of a delivery, in bytes.
pub(crate) const LONGEST_DELIVERY: usize = 256 * 1024;
/// Of one webhook, in a minute.
const MOST_A_MINUTE: u32 = 120;
const MINUTE: TimeDelta = TimeDelta::minutes(1);
/// Millrace's own and those of others: `sha256=` and the HMAC-SHA256 of the body under the secret, in hexadecimal; with
/// [`SIGNED_AT`], of that time, the delivery's id and the body, with dots between.
const SIGNATURES: [&str; 2] = ["x-millrace-signature", "x-hub-signature-256"];
/// When it was signed, in seconds since 1970.
const SIGNED_AT: &str = "x-millrace-timestamp";
/// What the clocks may differ, and a delivery may take.
const SIGNED_FOR: TimeDelta = TimeDelta::minutes(5);
/// Under which a delivery comes again that was not answered.
const DELIVERIES: [&str; 4] = ["idempotency-key", "x-millrace-delivery", "x-github-delivery", "webhook-id"];
/// Longer ones are cut off by nobody: they are refused.
const LONGEST_ID: usize = 150;

/// A webhook that somebody wants.
pub(crate) struct WebhookWish {
    pub name: String,
    /// Whose rights it has; the asker's own unless told.
    pub user_name: Option<String>,
    pub target: WebhookTarget,
    pub days: Option<u32>,
}

/// What a delivery did.
pub(crate) enum Delivered {
    /// Whether the same delivery started it before.
    Run { run: Box<RunRow>, is_repeated: bool },
    /// None: the same delivery told it before.
    Event(Option<AssetEvent>),
}

/// Deliveries of the minute, by webhook.
#[derive(Default)]
pub(crate) struct Deliveries(Mutex<HashMap<String, (DateTime<Utc>, u32)>>);

impl Deliveries {
    /// Err: the seconds to wait. Only names that there are come here, so that the table stays small.
    fn count(&self, name: &str, now: DateTime<Utc>) -> Result<(), i64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = counts.entry(name.to_owned()).or_insert((now, 0));
        if now >= *since + MINUTE {
            (*since, *count) = (now, 0);
        }
        if *count >= MOST_A_MINUTE {
            return Err((*since + MINUTE - now).num_seconds().max(1));
        }
        *count += 1;
        Ok(())
    }
}

impl Server {
    /// The secret is told this once.
    pub async fn add_webhook(&self, person: &Person, wish: WebhookWish) -> Answer<(String, WebhookRow)> {
        person.require(Act::WriteWebhooks)?;
        if person.via == Via::Bearer && person.scope != Scope::All {
            let text = "a token with a scope makes no webhooks; sign in with the password";
            return Err(Problem::new(ErrorCode::FORBIDDEN, text));
        }
        let user_name = wish.user_name.unwrap_or_else(|| person.name.clone());
        if user_name != person.name {
            person.require(Act::ManagePeople)?;
        }
        match &wish.target {
            WebhookTarget::Dag(dag_id) => {
                self.dag_row(dag_id, 0).await?;
                self.require_on(person, Act::TriggerRuns, dag_id).await?;
            }
            WebhookTarget::Asset(asset) => {
                person.require(Act::RecordAssets)?;
                if !self.store().assets().await?.iter().any(|row| row.asset.as_str() == asset) {
                    let text = format!("no DAG has to do with an asset '{asset}'");
                    return Err(Problem::new(ErrorCode::NOT_FOUND, text));
                }
            }
        }
        let days = wish.days.unwrap_or(TOKEN_DAYS);
        if !(1..=MOST_TOKEN_DAYS).contains(&days) {
            let text = format!("'expires_in_days' must be 1 to {MOST_TOKEN_DAYS}, not {days}");
            return Err(Problem::invalid(text).with("path", "expires_in_days".into()));
        }
        let now = self.now();
        let ends = now + TimeDelta::days(days.into());
        person.check_ends(ends)?;
        let expires_at = Some(ends);
        let new = NewWebhook { name: wish.name, user_name, target: wish.target, expires_at };
        Ok(self.options.vault.add_webhook(new, &person.actor(), now).await?)
    }

    async fn webhook_named(&self, name: &str) -> Answer<Option<WebhookRow>> {
        Ok(if is_webhook_name(name) { self.store().webhook(name).await? } else { None })
    }

    /// One's own, or anybody's for who manages people; whose the others are, is nobody else's business.
    pub async fn webhook_of(&self, person: &Person, name: &str) -> Answer<WebhookRow> {
        let row = self.webhook_named(name).await?;
        let is_mine = |row: &WebhookRow| row.user_name == person.name || person.may(Act::ManagePeople);
        row.filter(is_mine).ok_or_else(|| no_webhook(name))
    }

    pub async fn revoke_webhook(&self, person: &Person, name: &str) -> Answer<()> {
        person.require(Act::WriteWebhooks)?;
        self.webhook_of(person, name).await?;
        if self.store().delete_webhook(name, &person.actor(), self.now()).await? {
            Ok(())
        } else {
            Err(no_webhook(name))
        }
    }

    /// Looks who sends it, then does what the webhook is for.
    pub async fn deliver(&self, from: IpAddr, name: &str, headers: &HeaderMap, body: &Bytes) -> Answer<Delivered> {
        let (row, person, proof) = self.sender(from, name, headers, body).await?;
        let now = self.now();
        self.deliveries.count(name, now).map_err(|seconds| {
            let text =
                format!("the webhook '{name}' takes {MOST_A_MINUTE} deliveries a minute; wait {seconds} seconds");
            Problem::new(ErrorCode::TOO_MANY_REQUESTS, text).header(header::RETRY_AFTER, &seconds.to_string())
        })?;
        if body.len() > LONGEST_DELIVERY {
            let text = format!("a delivery may have {LONGEST_DELIVERY} bytes, not {}", body.len());
            return Err(Problem::new(ErrorCode::BODY_TOO_LARGE, text));
        }
        let conf = params(body)?;
        let id = match (proof, delivery_id(headers)?) {
            (Proof::OfAll, id) => id.map(str::to_owned),
            // The id is not what was signed: under another one the same delivery is still the same.
            (Proof::OfBody { signature }, _) => Some(signature),
        };
        let done = match &row.target {
            WebhookTarget::Dag(dag_id) => {
                let given = TriggerBody { conf: Some(conf), ..TriggerBody::default() };
                let key = id.map(|id| format!("{name} {id}"));
                let (run, _, is_repeated) = self.trigger(&person, dag_id, given, key.as_deref()).await?;
                Delivered::Run { run: Box::new(run), is_repeated }
            }
            WebhookTarget::Asset(asset) => {
                person.require(Act::RecordAssets)?;
                let actor = person.actor();
                Delivered::Event(match id {
                    None => Some(self.store().record_asset_event(NewAssetEvent::of(asset), &actor, now).await?),
                    Some(id) => {
                        let body_hash = token_hash(&conf.to_string());
                        let key = RequestKey { person: actor.clone(), key: id, body_hash };
                        let new = NewAssetEvent::of(asset);
                        match self.store().record_asset_event_once(new, &actor, &key, now - KEYS_KEPT, now).await? {
                            Keyed::Created(event) => Some(event),
                            Keyed::Known(_) => None,
                            Keyed::Another => {
                                return Err(Problem::invalid("this delivery id was used for another delivery"));
                            }
                        }
                    }
                })
            }
        };
        self.store().note_webhook_use(&row, now).await?;
        Ok(done)
    }

    /// A webhook that there isn't, one that has ended, and a wrong secret are answered alike.
    async fn sender(
        &self,
        from: IpAddr,
        name: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Answer<(WebhookRow, Person, Proof)> {
        let now = self.now();
        let row = self.webhook_named(name).await?;
        let is_known = row.is_some();
        if let Some(row) = row.filter(|row| row.expires_at.is_none_or(|end| end > now)) {
            let secret = self.options.vault.webhook_secret(&row)?;
            let act = match row.target {
                WebhookTarget::Dag(_) => Act::TriggerRuns,
                WebhookTarget::Asset(_) => Act::RecordAssets,
            };
            if let Some(proof) = proof(secret.expose_secret(), headers, body, now)
                && let Some(person) = self.person_of_webhook(&row, Scope::Words(vec![Word::Act(act)])).await?
            {
                return Ok((row, person, proof));
            }
        }
        // A right secret is never held up, whoever else guesses: it is too long to be guessed, and what is compared costs
        // little. What is braked are the traces that guessing leaves. Apart from the names of people.
        self.attempts.begin(from, &format!("webhook/{name}"), now).map_err(|seconds| {
            let text = format!("too many wrong secrets; wait {seconds} seconds");
            Problem::new(ErrorCode::TOO_MANY_REQUESTS, text).header(header::RETRY_AFTER, &seconds.to_string())
        })?;
        if is_known {
            let details = json!({ "webhook": name, "address": from.to_string() });
            let row = AuditRow::new(&format!("address:{from}"), "webhook_refused", details, now);
            self.store().record_audit(&row).await?;
        }
        let text = "there is no such webhook, or it has ended, or the secret or signature is wrong; send the secret as \
                    `Authorization: Bearer`, or sign the body with it in `X-Hub-Signature-256: sha256=…`";
        Err(Problem::new(ErrorCode::UNAUTHENTICATED, text)
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"Millrace webhooks\""))
    }
}

fn no_webhook(name: &str) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no webhook '{}'", name.chars().take(100).collect::<String>()))
}

/// What somebody proved who knows the secret, or saw what was sent by one who does.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// The delivery with its id.
    OfAll,
    /// The body alone; the signature, in hexadecimal.
    OfBody { signature: String },
}

/// By the secret itself or by a signature. Each takes as long whatever is wrong with it.
fn proof(secret: &str, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Option<Proof> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(signature) = SIGNATURES.iter().find_map(|name| text(name)) {
        let signature = signature.strip_prefix("sha256=").and_then(from_hex)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        let id = DELIVERIES.iter().find_map(|name| text(name));
        if let Some(at) = headers.get(SIGNED_AT) {
            // A body is an object or nothing, and so never begins as this does.
            let at = at.to_str().ok()?;
            let signed_at = DateTime::from_timestamp(at.parse().ok()?, 0)?;
            if (now - signed_at).abs() > SIGNED_FOR {
                return None;
            }
            mac.update(format!("{at}.{}.", id.unwrap_or_default()).as_bytes());
        }
        mac.update(body);
        mac.verify_slice(&signature).ok()?;
        let covers_id = headers.contains_key(SIGNED_AT) && id.is_some();
        return Some(if covers_id { Proof::OfAll } else { Proof::OfBody { signature: hex::encode(signature) } });
    }
    let (scheme, given) = text("authorization").and_then(|value| value.split_once(' '))?;
    let (given, secret) = (Sha256::digest(given.trim().as_bytes()), Sha256::digest(secret.as_bytes()));
    let is_right = scheme.eq_ignore_ascii_case("bearer") && bool::from(given.as_slice().ct_eq(secret.as_slice()));
    is_right.then_some(Proof::OfAll)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    bytes.chunks(2).map(|pair| Some(nibble(pair[0])? * 16 + nibble(pair[1])?)).collect()
}

/// The body is the run's conf; nothing is an empty one.
fn params(body: &[u8]) -> Answer<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    // Whatever its Content-Type says.
    if let Some(flaw) = flaw(body) {
        return Err(Problem::invalid(flaw.to_string()));
    }
    match serde_json::from_slice(body) {
        Ok(conf @ Value::Object(_)) => Ok(conf),
        Ok(_) => {
            Err(Problem::invalid("the body of a delivery must be a JSON object: its members are the run's params"))
        }
        Err(error) => Err(Problem::new(ErrorCode::BAD_REQUEST, format!("the body is not JSON: {error}"))),
    }
}

fn delivery_id(headers: &HeaderMap) -> Answer<Option<&str>> {
    let Some((name, value)) = DELIVERIES.iter().find_map(|name| Some((name, headers.get(*name)?))) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(id) if !id.is_empty() && id.len() <= LONGEST_ID => Ok(Some(id)),
        _ => Err(Problem::invalid(format!("the header {name} must have 1 to {LONGEST_ID} characters of ASCII"))),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: &str, value: &str) -> HeaderMap {
        [(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())].into_iter().collect()
    }

    #[test]
    fn the_secret_or_a_signature_proves_who_sends() {
        let now = DateTime::UNIX_EPOCH;
        let is_proven = |secret: &str, headers: &HeaderMap, body: &[u8]| proof(secret, headers, body, now).is_some();
        let bearer = |value: &str| is_proven("mrw_secret", &headers("authorization", value), b"{}");
        assert!(bearer("Bearer mrw_secret") && bearer("bearer  mrw_secret"));
        for wrong in ["Bearer mrw_secre", "Bearer", "Basic mrw_secret", "mrw_secret", "Bearer mrw_secrett"] {
            assert!(!bearer(wrong), "{wrong}");
        }
        assert!(!is_proven("mrw_secret", &HeaderMap::new(), b"{}"));
        // As GitHub's documentation has it.
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        for name in SIGNATURES {
            assert!(is_proven(secret, &headers(name, right), body), "{name}");
            assert!(!is_proven(secret, &headers(name, right), b"Hello, World?"));
            for wrong in ["", "sha256=", "sha1=7571", &right[7..], &right[..70], &right.replace('7', "g")] {
                assert!(!is_proven(secret, &headers(name, wrong), body), "{wrong}");
            }
        }
    }

    #[test]
    fn deliveries_of_a_minute_are_counted() {
        let deliveries = Deliveries::default();
        let now = DateTime::UNIX_EPOCH;
        assert!((0..MOST_A_MINUTE).all(|_| deliveries.count("a", now).is_ok()));
        assert_eq!(deliveries.count("a", now + TimeDelta::seconds(20)), Err(40));
        assert_eq!(deliveries.count("b", now), Ok(()));
        assert_eq!(deliveries.count("a", now + MINUTE), Ok(()));
    }

    #[test]
    fn bodies_are_objects_or_nothing() {
        assert_eq!(params(b" \n").unwrap(), json!({}));
        assert_eq!(params(b"{\"a\": [1]}").unwrap(), json!({"a": [1]}));
        assert_eq!(params(b"[1]").unwrap_err().code.http_status, 422);
        assert_eq!(params(b"a=1").unwrap_err().code.http_status, 400);
    }
}
