//! Which names say that a value is a secret.

use serde_json::Value;

/// Names that hold secrets: a key of a connection's extra, a variable, a parameter (Airflow's list and a few more). They are
/// sought in names without separators, so that `privateKey`, `private-key` and `PRIVATE_KEY` are one.
const SENSITIVE: &[&str] = &[
    "accesskey",
    "accesstoken",
    "accountkey",
    "apikey",
    "authheader",
    "authkey",
    "authorization",
    "bearer",
    "connectionstring",
    "credential",
    "encryptionkey",
    "hmackey",
    "keyfiledict",
    "masterkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "proxies",
    "proxy",
    "secret",
    "serviceaccount",
    "servicekey",
    "sharedkey",
    "signingkey",
    "sshkey",
    "storagekey",
    "symmetrickey",
    "token",
    "webhookurl",
];

/// Names that contain a sensitive word but hold no secret, without separators: the id of a key, the ARN under which a secret
/// is kept.
const HARMLESS: &[&str] = &["secretarn", "awsaccesskeyid", "accesskeyid", "clienttoken", "credentialsource"];

/// Words that say so only when they stand alone in a name: `db_pass`, `sasToken`, but not `passed` or `compass`.
const SENSITIVE_WORDS: &[&str] = &["cookie", "cred", "creds", "dsn", "jwt", "pass", "passcode", "pw", "pwd", "sas"];

/// Words that say so at the end of a name: `basic_auth` is a secret, `auth_type` none.
const SENSITIVE_ENDS: &[&str] = &["auth", "otp", "pat", "pin"];

/// What stands before `key` where it is a column, an object in a bucket, or the name of something. Any other key opens
/// something: `master_symmetric_key`, `hmac_key`, `X-Auth-Key`.
const HARMLESS_KEYS: &[&str] = &[
    "alternate",
    "backfill",
    "bucket",
    "business",
    "cache",
    "candidate",
    "child",
    "cluster",
    "clustering",
    "col",
    "column",
    "composite",
    "concurrency",
    "config",
    "cursor",
    "dag",
    "date",
    "dedup",
    "dedupe",
    "deduplication",
    "dest",
    "destination",
    "dist",
    "distribution",
    "end",
    "file",
    "first",
    "foreign",
    "form",
    "from",
    "group",
    "grouping",
    "idempotency",
    "incremental",
    "index",
    "input",
    "job",
    "join",
    "json",
    "kms",
    "last",
    "lookup",
    "manifest",
    "map",
    "match",
    "merge",
    "message",
    "natural",
    "next",
    "object",
    "order",
    "ordering",
    "output",
    "param",
    "parent",
    "partition",
    "partitioning",
    "path",
    "prefix",
    "primary",
    "public",
    "range",
    "record",
    "replication",
    "request",
    "result",
    "routing",
    "row",
    "run",
    "s3",
    "secondary",
    "shard",
    "sort",
    "source",
    "src",
    "start",
    "state",
    "surrogate",
    "table",
    "target",
    "task",
    "to",
    "unique",
    "update",
    "upsert",
    "variable",
    "version",
    "watermark",
    "wildcard",
    "for",
    "xcom",
];

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

/// What a name says of the value under it.
#[derive(PartialEq, Eq)]
enum Says {
    Secret,
    /// It is some key: one that opens something, or a column.
    Key,
    Nothing,
}

fn says(name: &str) -> Says {
    let squeezed: String =
        name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if HARMLESS.contains(&squeezed.as_str()) {
        return Says::Nothing;
    }
    let words = words(name);
    let is_one = |word: &String| SENSITIVE_WORDS.contains(&word.as_str()) || word.ends_with("dsn");
    if SENSITIVE.iter().any(|word| squeezed.contains(word)) || words.iter().any(is_one) {
        return Says::Secret;
    }
    match words.as_slice() {
        [.., before, last] if last == "key" && !HARMLESS_KEYS.contains(&before.as_str()) => Says::Key,
        [.., last] if SENSITIVE_ENDS.contains(&last.as_str()) => Says::Secret,
        _ => Says::Nothing,
    }
}

/// Whether a value under this name may be a secret.
pub fn is_sensitive_name(name: &str) -> bool {
    says(name) != Says::Nothing
}

/// Whether this value under this name is a secret. What stands under `customer_key` is most often the name of a column, or
/// the number of a row: hidden, it would be a word blotted out of every text.
pub fn is_secret(name: &str, value: &Value) -> bool {
    match says(name) {
        Says::Secret => true,
        Says::Key => !is_of_a_table(value),
        Says::Nothing => false,
    }
}

/// No key that opens something is a number, or made of small letters alone.
fn is_of_a_table(value: &Value) -> bool {
    let is_column = |name: &str| name.trim().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match value {
        Value::String(text) => text.split(',').all(is_column),
        Value::Array(items) => items.iter().all(is_of_a_table),
        Value::Number(_) => true,
        _ => false,
    }
}

/// Whether a number under this name is a size or a time.
pub(super) fn is_quantity(name: &str) -> bool {
    words(name).iter().any(|word| QUANTITIES.contains(&word.as_str()))
}

/// The words of `db_pass`, `db-pass`, `dbPass` and `DBPass`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_next_small = letters.peek().is_some_and(|next| next.is_lowercase());
        let begins = letter.is_uppercase() && (before.is_lowercase() || (before.is_uppercase() && is_next_small));
        if !letter.is_alphanumeric() || begins {
            words.push(String::new());
        }
        before = letter;
        if let (true, Some(word)) = (letter.is_alphanumeric(), words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_hides_no_secret() {
        for name in [
            "my_api_key",
            "AWS_SECRET_ACCESS_KEY",
            "pwd",
            "db_pass",
            "dbPass",
            "DBPass",
            "DB-PWD",
            "sas",
            "SAS_TOKEN",
            "credentials",
            "client-secret",
            "apiKey",
            "jwt",
            "privateKey",
            "accessKey",
            "AccountKey",
            "SharedAccessKey",
            "connectionString",
            "ConnectionStrings",
        ] {
            assert!(is_sensitive_name(name), "{name}");
        }
    }

    #[test]
    fn a_key_opens_something_unless_it_is_a_column_or_an_object() {
        for name in [
            "master_symmetric_key",
            "account_key",
            "signing_key",
            "hmac_key",
            "ssh_key",
            "SSHKey",
            "sshkey",
            "storage_key",
            "encryption_key",
            "X-Auth-Key",
            "tls_key",
            "x-auth",
            "auth",
            "basic_auth",
            "otp",
            "pin",
            "github_pat",
        ] {
            assert!(is_sensitive_name(name), "{name}");
        }
        for name in [
            "key",
            "keys",
            "primary_key",
            "primaryKey",
            "unique_key",
            "merge_key",
            "s3_key",
            "sort_key",
            "dist_key",
            "partition_key",
            "order_key",
            "wait_for_key",
            "dest_bucket_key",
            "wildcard_key",
            "kms_key_id",
            "upsert_keys",
            "public_key",
            "auth_type",
            "author",
            "pinned",
            "path",
            "monkey",
            "records_new",
        ] {
            assert!(!is_sensitive_name(name), "{name}");
        }
    }

    #[test]
    fn a_key_that_may_be_a_column_is_one_if_it_is_called_so() {
        use serde_json::json;
        for column in [json!("customer_id"), json!("id, region"), json!(["id", "region"]), json!(100_234)] {
            assert!(!is_secret("customer_key", &column) && is_secret("api_key", &column), "{column}");
        }
        for secret in [json!("sk-12ab34cd"), json!("Abcdefgh"), json!(["id", "sk-12"]), json!({})] {
            assert!(is_secret("customer_key", &secret) && !is_secret("merge_key", &secret), "{secret}");
        }
    }

    #[test]
    fn what_only_sounds_like_a_secret_is_shown() {
        for name in
            ["secret_arn", "passed", "compass", "rows_passed", "bypass", "keyspace", "sassafras", "usage", "schema"]
        {
            assert!(!is_sensitive_name(name), "{name}");
        }
        assert!(is_quantity("token_seconds") && !is_quantity("token"));
    }

    /// Every extra setting that the page of connections names, and what must be hidden of them.
    #[test]
    fn the_documented_settings_of_connections_are_shown_or_hidden_as_they_should_be() {
        let page = include_str!("../../../../docs/connections.md");
        let is_name =
            |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'3');
        let names: std::collections::BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
        let hidden: Vec<&str> = names.iter().copied().filter(|name| is_sensitive_name(name)).collect();
        let secret =
            ["api_key", "aws_secret_access_key", "aws_session_token", "master_symmetric_key", "password", "token"];
        let missing: Vec<_> = secret.iter().filter(|name| !hidden.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        // A program of AWS's profile, and a plugin of MySQL's: the page names them, and no setting is called so.
        let values = ["credential_process", "caching_sha2_password", "mysql_native_password"];
        let others: Vec<_> = hidden.iter().filter(|name| !secret.contains(name) && !values.contains(name)).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}
