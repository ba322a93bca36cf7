//! Keeps secrets out of what people see: logs, errors, rendered templates, exports.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

/// What a secret is shown as. Sent back on edit it means "keep the old value".
pub const MASK: &str = "***";

/// Shorter secrets are not masked in texts: they would blot out innocent words (Airflow masks from 5 on).
pub const MIN_LENGTH: usize = 5;

/// Names that hold secrets: a key of a connection's extra, a variable, a parameter (Airflow's list and a few more).
const SENSITIVE: &[&str] = &[
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "auth_header",
    "authorization",
    "bearer",
    "connection_string",
    "credential",
    "dsn",
    "keyfile_dict",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy",
    "secret",
    "service_account",
    "service_key",
    "token",
    "webhook_url",
];

/// Names that contain a sensitive word but hold no secret: the id of a key, the ARN under which a secret is kept.
const HARMLESS: &[&str] = &["secret_arn", "aws_access_key_id", "access_key_id", "client_token", "credential_source"];

/// Words that say so only when they stand alone in a name: `db_pass`, `sasToken`, but not `passed` or `compass`.
const SENSITIVE_WORDS: &[&str] = &["cookie", "cred", "creds", "jwt", "pass", "passcode", "pw", "pwd", "sas"];

/// A number under a name with one of these words is a size or a time, whatever else the name says: `token_seconds`.
const QUANTITIES: &[&str] = &[
    "age",
    "count",
    "days",
    "duration",
    "expiration",
    "expires",
    "expiry",
    "hours",
    "interval",
    "length",
    "lifetime",
    "limit",
    "max",
    "min",
    "minutes",
    "ms",
    "number",
    "port",
    "retries",
    "seconds",
    "size",
    "timeout",
    "tokens",
    "ttl",
    "version",
];

/// Whether a value under this name is a secret.
pub fn is_sensitive_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    // `client-secret` and `client secret` are spelled as `client_secret` is.
    let spelled = lower.replace(['-', ' ', '.'], "_");
    let has = |word: &&str| spelled.contains(*word) || lower.replace('-', "").contains(*word);
    !HARMLESS.contains(&spelled.as_str())
        && (SENSITIVE.iter().any(has) || words(name).iter().any(|word| SENSITIVE_WORDS.contains(&word.as_str())))
}

/// The words of `db_pass`, `db-pass` and `dbPass`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && was_small) {
            words.push(String::new());
        }
        was_small = letter.is_lowercase();
        if let (true, Some(word)) = (letter.is_alphanumeric(), words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// Where the passwords of addresses like `https://name:password@host` stand in a text: byte ranges, in order.
fn address_passwords(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(place) = text[from..].find("://") {
        let begin = from + place + 3;
        let end = text[begin..]
            .find(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '"' | '\'' | '<' | '>' | '?' | '#'))
            .map_or(text.len(), |length| begin + length);
        let authority = &text[begin..end];
        if let Some(at) = authority.rfind('@')
            && let Some(colon) = authority[..at].find(':')
            && colon + 1 < at
        {
            found.push(begin + colon + 1..begin + at);
        }
        from = end;
    }
    found
}

/// The passwords that stand in addresses of this text.
pub fn passwords_in_addresses(text: &str) -> Vec<String> {
    address_passwords(text).into_iter().map(|range| text[range].to_owned()).filter(|found| found != MASK).collect()
}

/// Whether `***` stands in an address as its password.
pub fn has_masked_password(text: &str) -> bool {
    address_passwords(text).into_iter().any(|range| &text[range] == MASK)
}

/// The text with `***` for each password that stands in an address.
pub fn mask_addresses(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for range in address_passwords(text) {
        masked.push_str(&text[from..range.start]);
        masked.push_str(MASK);
        from = range.end;
    }
    masked.push_str(&text[from..]);
    masked
}

/// The secrets in a JSON value, at any depth: texts and numbers under sensitive names, passwords in addresses. All of it
/// when `is_secret`.
pub fn secrets_in(value: &Value, is_secret: bool) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, "", is_secret, &mut found);
    found
}

fn collect(value: &Value, name: &str, is_secret: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if is_secret => found.push(text.clone()),
        Value::String(text) => found.extend(passwords_in_addresses(text)),
        Value::Number(number) if is_secret && !is_quantity(name) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, is_secret, found)),
        Value::Object(map) => {
            map.iter().for_each(|(key, item)| collect(item, key, is_secret || is_sensitive_name(key), found));
        }
        _ => {}
    }
}

fn is_quantity(name: &str) -> bool {
    words(name).iter().any(|word| QUANTITIES.contains(&word.as_str()))
}

/// The secrets that were read so far, and the replacing of them. Cheap to clone; all clones share the secrets.
#[derive(Clone, Default)]
pub struct Masker {
    inner: Arc<RwLock<Patterns>>,
    /// Whose secrets it knows as well.
    beneath: Option<Arc<Masker>>,
}

#[derive(Default)]
struct Patterns {
    secrets: BTreeSet<String>,
    automaton: Option<Arc<AhoCorasick>>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    pub fn new() -> Self {
        Self::default()
    }

    /// One that knows what this one knows, now and later, and the secrets among these members (the conf of a run, say),
    /// of which this one is told nothing: a word that is a secret of one run is none of another.
    #[must_use]
    pub fn beside(&self, members: &[&Map<String, Value>]) -> Self {
        let beside = Self { inner: Arc::default(), beneath: Some(Arc::new(self.clone())) };
        let secrets = |(key, value): (&String, &Value)| {
            let mut found = Vec::new();
            collect(value, key, is_sensitive_name(key), &mut found);
            found
        };
        beside.add_all(members.iter().flat_map(|members| members.iter().flat_map(secrets)));
        beside
    }

    /// From now on this secret, its URL-quoted and its JSON-escaped form, and each long line of it, are masked.
    pub fn add(&self, secret: &str) {
        self.add_all([secret]);
    }

    /// As [`add`](Self::add) for each: what masks is made anew once, not with every secret.
    pub fn add_all(&self, secrets: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            let secret = secret.as_ref();
            for part in std::iter::once(secret).chain(secret.lines()) {
                if part.chars().count() >= MIN_LENGTH {
                    forms.insert(part.to_owned());
                    forms.insert(utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
                    forms.insert(utf8_percent_encode(part, QUOTE_PLUS_SAFE).to_string());
                    let json = Value::String(part.to_owned()).to_string();
                    forms.insert(json[1..json.len() - 1].to_owned());
                }
            }
        }
        let Ok(mut patterns) = self.inner.write() else { return };
        let before = patterns.secrets.len();
        patterns.secrets.append(&mut forms);
        if patterns.secrets.len() != before {
            patterns.automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&patterns.secrets)
                .ok()
                .map(Arc::new);
        }
    }

    /// The text with every known secret, and every password in an address, replaced by `***`.
    pub fn mask(&self, text: &str) -> String {
        let known_masked = self.mask_known(text);
        if known_masked.contains("://") { mask_addresses(&known_masked) } else { known_masked }
    }

    fn mask_known(&self, text: &str) -> String {
        let mut found = Vec::new();
        self.find(text, &mut found);
        if found.is_empty() {
            return text.to_owned();
        }
        // What two maskers found may overlap: neither leaves an end of the other's secret.
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for (place, range) in found.iter().enumerate() {
            if place > 0 && range.start < from {
                from = from.max(range.end);
                continue;
            }
            masked.push_str(&text[from..range.start]);
            masked.push_str(MASK);
            from = range.end;
        }
        masked.push_str(&text[from..]);
        masked
    }

    fn find(&self, text: &str, found: &mut Vec<std::ops::Range<usize>>) {
        let automaton = self.inner.read().ok().and_then(|patterns| patterns.automaton.clone());
        if let Some(automaton) = automaton {
            found.extend(automaton.find_iter(text).map(|found| found.range()));
        }
        if let Some(beneath) = &self.beneath {
            beneath.find(text, found);
        }
    }

    /// As [`mask`](Self::mask) for every string of a JSON value; values under sensitive names, and numbers that are known
    /// secrets, are replaced whole.
    pub fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.mask(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.mask_value(item)).collect()),
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(key, item)| {
                        let hidden = is_sensitive_name(key) && !item.is_null() && item != "";
                        (key.clone(), if hidden { Value::String(MASK.to_owned()) } else { self.mask_value(item) })
                    })
                    .collect(),
            ),
            Value::Number(number) if self.mask_known(&number.to_string()) == MASK => Value::String(MASK.to_owned()),
            other => other.clone(),
        }
    }
}

/// What URL builders commonly leave as it is.
const QUOTE_PLUS_SAFE: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn case_98_masks_every_form_but_short_ones() {
        let masker = Masker::new();
        masker.add("p@ss/word");
        masker.add("abcd");
        assert_eq!(masker.mask("x p@ss/word y p%40ss%2Fword z p%40ss/word"), "x *** y *** z ***");
        assert_eq!(masker.mask("abcd"), "abcd");
        masker.add("quo\"ted");
        assert_eq!(masker.mask(r#"{"p":"quo\"ted"}"#), r#"{"p":"***"}"#);
    }

    #[test]
    fn the_longest_secret_wins() {
        let masker = Masker::new();
        masker.add("secret");
        masker.add("secret-and-more");
        assert_eq!(masker.mask("secret-and-more secret"), "*** ***");
    }

    #[test]
    fn passwords_in_addresses_are_masked() {
        let masked = |text| Masker::new().mask(text);
        assert_eq!(masked("to https://me:s3cr@t@host/x and b://u:p@h"), "to https://me:***@host/x and b://u:***@h");
        for same in ["https://host:8080/a@b:c", "see http://x", "a://user@host", "://", "x://:@", "ü://é:", "s3://b/k"]
        {
            assert_eq!(masked(same), same);
        }
        assert_eq!(passwords_in_addresses("mysql://u:geheim%21@db/x?y=1"), ["geheim%21"]);
        let masker = Masker::new();
        masker.add_all(secrets_in(&json!({"url": "https://u:hidden-here@h", "token_seconds": 86_400}), false));
        assert_eq!(masker.mask("hidden-here 86400"), "*** 86400", "a number is as often a size as a secret");
    }

    #[test]
    fn numbers_and_what_stands_deep_are_secrets_too() {
        let masker = Masker::new();
        masker.add_all(secrets_in(
            &json!({
                "api_token": 987_654_321_012_u64,
                "a": {"b": {"c": {"d": {"e": {"f": {"password": "very-deep"}}}}}},
                "db_secret": {"max": 70_000, "pin": [55_667_788, true, null]},
            }),
            false,
        ));
        assert_eq!(masker.mask("987654321012 very-deep 55667788 70000"), "*** *** *** 70000");
        assert_eq!(masker.mask_value(&json!({"n": 987_654_321_012_u64, "m": 5})), json!({"n": "***", "m": 5}));
    }

    #[test]
    fn what_is_secret_beside_another_is_not_told_to_it() {
        let everyones = Masker::new();
        everyones.add("connection-word");
        let conf = json!({"x_password": "word-of-run", "deep": {"token": 1_234_567}, "table": "plain"});
        let of_run = everyones.beside(&[conf.as_object().unwrap_or(&Map::new())]);
        assert_eq!(of_run.mask("connection-word-of-run 1234567 plain"), "*** *** plain", "no end of either stays");
        assert_eq!(everyones.mask("word-of-run 1234567"), "word-of-run 1234567");
        everyones.add("came-later");
        assert_eq!(of_run.mask("came-later"), "***");
    }

    #[test]
    fn names_decide_in_values() {
        assert!(is_sensitive_name("my_api_key"));
        assert!(is_sensitive_name("AWS_SECRET_ACCESS_KEY"));
        assert!(!is_sensitive_name("secret_arn"));
        for name in
            ["pwd", "db_pass", "dbPass", "DB-PWD", "sas", "SAS_TOKEN", "credentials", "client-secret", "apiKey", "jwt"]
        {
            assert!(is_sensitive_name(name), "{name}");
        }
        for name in ["passed", "compass", "rows_passed", "bypass", "keyspace", "sassafras", "usage", "key", "schema"] {
            assert!(!is_sensitive_name(name), "{name}");
        }
        let masker = Masker::new();
        masker.add_all(secrets_in(&json!({"aws_secret_access_key": "topsecret", "region": "eu-north-1"}), false));
        assert_eq!(masker.mask("topsecret in eu-north-1"), "*** in eu-north-1");
        assert_eq!(
            masker.mask_value(&json!({"password": "x", "n": 1, "empty_token": ""})),
            json!({"password": "***", "n": 1, "empty_token": ""})
        );
    }
}
