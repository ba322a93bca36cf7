//! The written forms of a connection, URI and JSON, as Airflow reads them, and the masked view of one.
//!
//! URI: `type://login:password@host:port/schema?key=value`, parts percent-encoded; `-` and `_` in the type mean the same;
//! extra settings that are not flat go as `__extra__=<json>`; a second `://` gives the host a protocol.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Masker;
use crate::kept::{UnknownSecret, keep_secret_text, keep_secrets};
use crate::mask::{MASK, is_sensitive_name, mask_addresses, passwords_in_addresses, secrets_in};

const SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The longest connection id.
pub const MAX_CONN_ID: usize = 250;

/// A connection as it is written down. `Debug` shows no secret.
#[derive(Clone, Default)]
pub struct ConnectionForm {
    pub conn_type: String,
    pub host: Option<String>,
    pub login: Option<String>,
    pub password: Option<SecretString>,
    pub port: Option<u16>,
    /// Database; for SQLite the file.
    pub schema: Option<String>,
    pub extra: Map<String, Value>,
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionFormError {
    #[error(
        "connection id '{0}' is not allowed: letters, digits and _ # ! ( ) - . : / \\, at most {MAX_CONN_ID} characters"
    )]
    BadId(String),
    #[error("a connection URI looks like type://login:password@host:port/schema?key=value; this one has no '://'")]
    NoScheme,
    #[error("a connection URI may hold '://' twice at the most (type://protocol://host); this one has it more often")]
    TooManySchemes,
    #[error(
        "the parts of the connection's URI can't be told apart: percent-encode / @ # ? in the login and the password (%2F %40 %23 %3F), or give the connection as JSON"
    )]
    Unescaped,
    #[error("the port of a connection must be a number from 1 to 65535, got '{0}'")]
    BadPort(String),
    #[error("a part of the connection is not UTF-8 after percent-decoding")]
    NotText,
    #[error("the connection's JSON can't be read: {0}")]
    BadJson(String),
    #[error("'extra' of a connection must be a JSON object")]
    ExtraNotObject,
    #[error("a connection needs a type (conn_type): mysql, postgres, redshift, sqlite, aws or http")]
    NoType,
    #[error("'{0}' is no type of connection; a type (conn_type) has letters, digits, '_', '-', '.' and '+'")]
    BadType(String),
}

/// The JSON form.
#[derive(Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields)]
struct JsonForm {
    #[serde(default)]
    conn_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, alias = "user", skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<Value>,
    #[serde(default, alias = "database", skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    extra: Value,
}

impl fmt::Debug for ConnectionForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionForm")
            .field("conn_type", &self.conn_type)
            .field("host", &self.host)
            .field("login", &self.login)
            .field("password", &self.password.as_ref().map(|_| MASK))
            .field("port", &self.port)
            .field("schema", &self.schema)
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

pub fn check_conn_id(conn_id: &str) -> Result<(), ConnectionFormError> {
    let allowed = |c: char| c.is_alphanumeric() || "_#!()-.:/\\".contains(c);
    // An address that ends in one of these is another address.
    let leads_away = matches!(conn_id, "." | "..");
    if conn_id.is_empty() || leads_away || conn_id.chars().count() > MAX_CONN_ID || !conn_id.chars().all(allowed) {
        return Err(ConnectionFormError::BadId(conn_id.chars().take(60).collect()));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, ConnectionFormError> {
    percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| ConnectionFormError::NotText)
}

fn decode_some(text: &str) -> Result<Option<String>, ConnectionFormError> {
    if text.is_empty() { Ok(None) } else { decode(text).map(Some) }
}

fn check_type(text: &str) -> Result<(), ConnectionFormError> {
    if text.is_empty() {
        return Err(ConnectionFormError::NoType);
    }
    let is_plain = text.chars().all(|letter| letter.is_alphanumeric() || "_-.+".contains(letter));
    if is_plain { Ok(()) } else { Err(ConnectionFormError::BadType(text.chars().take(60).collect())) }
}

fn normal_type(text: &str) -> String {
    match text.to_lowercase().replace('-', "_").as_str() {
        "postgresql" => "postgres".to_owned(),
        "mariadb" => "mysql".to_owned(),
        "s3" => "aws".to_owned(),
        other => other.to_owned(),
    }
}

fn parse_port(text: &str) -> Result<u16, ConnectionFormError> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| ConnectionFormError::BadPort(text.to_owned()))
}

impl ConnectionForm {
    /// Reads either form: JSON when the text begins with `{`, else a URI.
    pub fn parse(text: &str) -> Result<Self, ConnectionFormError> {
        let text = text.trim();
        if text.starts_with('{') { Self::parse_json(text) } else { Self::parse_uri(text) }
    }

    pub fn parse_json(text: &str) -> Result<Self, ConnectionFormError> {
        Self::from_value(serde_json::from_str(text).map_err(|e| ConnectionFormError::BadJson(e.to_string()))?)
    }

    pub fn from_value(value: Value) -> Result<Self, ConnectionFormError> {
        let form: JsonForm = serde_json::from_value(value).map_err(|e| ConnectionFormError::BadJson(e.to_string()))?;
        check_type(&form.conn_type)?;
        let port = match form.port {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(parse_port(&text)?),
            Some(other) => Some(parse_port(&other.to_string())?),
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            conn_type: normal_type(&form.conn_type),
            host: some(form.host),
            login: some(form.login),
            password: some(form.password).map(SecretString::from),
            port,
            schema: some(form.schema),
            extra: parse_extra(form.extra)?,
            description: some(form.description),
        })
    }

    pub fn parse_uri(text: &str) -> Result<Self, ConnectionFormError> {
        let (scheme, rest) = text.split_once("://").ok_or(ConnectionFormError::NoScheme)?;
        check_type(scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.matches("://").count() > 1 {
            return Err(ConnectionFormError::TooManySchemes);
        }
        let (protocol, rest) = match rest.split_once("://") {
            Some((protocol, rest)) => (Some(protocol), rest),
            None => (None, rest),
        };
        let (authority, schema) = rest.split_once('/').unwrap_or((rest, ""));
        // What follows a '/' or '?' of the password is no schema and no setting: both would be shown.
        let is_cut = |rest: &str| !authority.is_empty() && rest.contains(['@', '#']);
        if is_cut(schema) || (!authority.contains('@') && is_cut(query)) {
            return Err(ConnectionFormError::Unescaped);
        }
        let (credentials, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (login, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (host, port) = split_port(place)?;
        let host = decode_some(host)?;
        let host = match protocol {
            Some(protocol) => Some(format!("{protocol}://{}", host.unwrap_or_default())),
            None => host,
        };
        let mut extra = Map::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key)?, decode(&value.replace('+', " "))?);
            if key == "__extra__" {
                extra.extend(parse_extra(Value::String(value))?);
            } else {
                extra.insert(key, typed(value));
            }
        }
        Ok(Self {
            conn_type: normal_type(scheme),
            host,
            login: decode_some(login)?,
            password: decode_some(password)?.map(SecretString::from),
            port,
            schema: decode_some(schema)?,
            extra,
            description: None,
        })
    }

    /// The URI form, with the password in it: for export on request only.
    pub fn to_uri(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, SAFE).to_string();
        let mut uri = format!("{}://", self.conn_type.replace('_', "-"));
        let (protocol, host) = match self.host.as_deref().and_then(|host| host.split_once("://")) {
            Some((protocol, host)) => (Some(protocol), Some(host)),
            None => (None, self.host.as_deref()),
        };
        if let Some(protocol) = protocol {
            uri.push_str(&format!("{protocol}://"));
        }
        if self.login.is_some() || self.password.is_some() {
            uri.push_str(&encode(self.login.as_deref().unwrap_or_default()));
            if let Some(password) = &self.password {
                uri.push_str(&format!(":{}", encode(password.expose_secret())));
            }
            uri.push('@');
        }
        let has_host = host.is_some_and(|host| !host.is_empty());
        uri.push_str(&encode(host.unwrap_or_default()));
        if let Some(port) = self.port {
            if !has_host && !uri.ends_with('@') {
                uri.push('@');
            }
            uri.push_str(&format!(":{port}"));
        }
        uri.push('/');
        uri.push_str(&encode(self.schema.as_deref().unwrap_or_default()));
        if self.extra.is_empty() {
            return uri;
        }
        // A flat extra whose texts come back as texts goes as key=value, everything else as JSON.
        let flat = self.extra.iter().all(|(key, value)| {
            key != "__extra__" && !key.is_empty() && value.as_str().is_some_and(|text| typed(text.to_owned()) == *value)
        });
        let pairs: Vec<String> = if flat {
            self.extra
                .iter()
                .map(|(key, value)| format!("{}={}", encode(key), encode(value.as_str().unwrap_or_default())))
                .collect()
        } else {
            vec![format!("__extra__={}", encode(&Value::Object(self.extra.clone()).to_string()))]
        };
        uri.push('?');
        uri.push_str(&pairs.join("&"));
        uri
    }

    /// The JSON form with secrets, for sealing and export on request.
    pub fn to_value(&self) -> Value {
        let form = JsonForm {
            conn_type: self.conn_type.clone(),
            description: self.description.clone(),
            host: self.host.clone(),
            login: self.login.clone(),
            password: self.password.as_ref().map(|password| password.expose_secret().to_owned()),
            port: self.port.map(Value::from),
            schema: self.schema.clone(),
            extra: if self.extra.is_empty() { Value::Null } else { Value::Object(self.extra.clone()) },
        };
        serde_json::to_value(form).unwrap_or(Value::Null)
    }

    /// The JSON form of [`masked`](Self::masked).
    pub fn to_masked_value(&self) -> Value {
        self.masked().to_value()
    }

    /// As it may be shown: `***` for the password, for sensitive extra values and for passwords within addresses.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        for text in [&mut masked.host, &mut masked.login, &mut masked.schema, &mut masked.description] {
            *text = text.as_deref().map(mask_addresses);
        }
        masked.password = self.password.as_ref().map(|_| SecretString::from(MASK));
        masked.extra = mask_extra(&self.extra);
        masked
    }

    /// `***` in the new form means "as before".
    pub fn keeping_masked_from(mut self, old: Option<&Self>) -> Result<Self, UnknownSecret> {
        if self.password.as_ref().is_some_and(|password| password.expose_secret() == MASK) {
            let kept = old.and_then(|old| old.password.clone());
            self.password = Some(kept.ok_or_else(|| UnknownSecret { place: "password".to_owned() })?);
        }
        let old_texts = old.map(|old| [&old.host, &old.login, &old.schema, &old.description]);
        let texts = [&mut self.host, &mut self.login, &mut self.schema, &mut self.description];
        for (number, (text, place)) in texts.into_iter().zip(["host", "login", "schema", "description"]).enumerate() {
            let before =
                old_texts.and_then(|old| old[number].as_deref()).map(|before| (before, mask_addresses(before)));
            let before = before.as_ref().map(|(before, shown)| (*before, shown.as_str()));
            if let Some(text) = text {
                keep_secret_text(text, before, place, false)?;
            }
        }
        let mut extra = Value::Object(self.extra);
        let before = old.map(|old| Value::Object(old.extra.clone()));
        keep_secrets(&mut extra, before.as_ref(), "extra", &Masker::new())?;
        self.extra = if let Value::Object(extra) = extra { extra } else { Map::new() };
        Ok(self)
    }

    /// Whether whoever answers to both is the same, and is spoken to in the same way: what secrets are sent to.
    pub fn leads_where(&self, other: &Self) -> bool {
        self.conn_type == other.conn_type
            && self.host == other.host
            && self.port == other.port
            && self.schema == other.schema
            && self.extra == other.extra
    }

    /// Every secret in it, for the masker.
    pub fn secrets(&self) -> Vec<String> {
        let mut found: Vec<String> = self.password.iter().map(|p| p.expose_secret().to_owned()).collect();
        let texts = [&self.host, &self.login, &self.schema, &self.description];
        found.extend(texts.into_iter().flatten().flat_map(|text| passwords_in_addresses(text)));
        found.extend(secrets_in(&Value::Object(self.extra.clone()), false));
        found
    }
}

fn mask_extra(extra: &Map<String, Value>) -> Map<String, Value> {
    extra
        .iter()
        .map(|(key, value)| {
            let masked = match value {
                _ if is_sensitive_name(key) && !value.is_null() => Value::String(MASK.to_owned()),
                other => mask_inside(other),
            };
            (key.clone(), masked)
        })
        .collect()
}

fn mask_inside(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(mask_extra(map)),
        Value::Array(items) => Value::Array(items.iter().map(mask_inside).collect()),
        Value::String(text) => Value::String(mask_addresses(text)),
        other => other.clone(),
    }
}

fn parse_extra(extra: Value) -> Result<Map<String, Value>, ConnectionFormError> {
    match extra {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        Value::String(text) if text.trim().is_empty() => Ok(Map::new()),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(ConnectionFormError::ExtraNotObject),
        },
        _ => Err(ConnectionFormError::ExtraNotObject),
    }
}

/// A query value is JSON when it can be read as such; numbers that would lose digits stay text.
fn typed(text: String) -> Value {
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value.is_object() || value.is_array() => value,
        Ok(value) if serde_json::to_string(&value).is_ok_and(|again| again == text) => value,
        _ => Value::String(text),
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), ConnectionFormError> {
    // [::1]:5432 keeps its brackets' content as the host.
    if let Some(rest) = place.strip_prefix('[')
        && let Some((host, after)) = rest.split_once(']')
    {
        let port = after.strip_prefix(':').filter(|port| !port.is_empty()).map(parse_port).transpose()?;
        return Ok((host, port));
    }
    match place.rsplit_once(':') {
        Some((host, "")) => Ok((host, None)),
        Some((host, port)) => Ok((host, Some(parse_port(port)?))),
        None => Ok((place, None)),
    }
}

/// The environment variables that may hold a connection, in the order of look-up.
pub fn connection_variables(conn_id: &str) -> [String; 2] {
    let name = conn_id.to_uppercase();
    [format!("MILLRACE_CONN_{name}"), format!("AIRFLOW_CONN_{name}")]
}

/// The environment variables that may hold a variable, in the order of look-up.
pub fn variable_variables(key: &str) -> [String; 2] {
    let name = key.to_uppercase();
    [format!("MILLRACE_VAR_{name}"), format!("AIRFLOW_VAR_{name}")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_shown_and_sent_back_keeps_every_secret() {
        let form = ConnectionForm::parse_json(
            r#"{"conn_type": "http", "host": "https://me:in-the-host@api.example", "password": "plain-one", "extra":
                {"pwd": "short-name", "list": [{"sas": "deep-one", "n": 1}], "mirror": "ftp://u:in-extra@m"}}"#,
        )
        .unwrap();
        let shown = form.to_masked_value();
        for secret in ["in-the-host", "plain-one", "short-name", "deep-one", "in-extra"] {
            assert!(!shown.to_string().contains(secret), "{shown}");
            assert!(form.secrets().contains(&secret.to_owned()), "{secret}");
        }
        let back = ConnectionForm::from_value(shown).unwrap().keeping_masked_from(Some(&form)).unwrap();
        assert_eq!(back.to_value(), form.to_value());
    }

    fn uri(text: &str) -> Value {
        ConnectionForm::parse_uri(text).unwrap().to_value()
    }

    #[test]
    fn case_97_uris_are_read() {
        assert_eq!(
            uri("postgresql://us%40er:p%2Fw%25@db.example:5433/prod?sslmode=require&n=5"),
            json!({"conn_type": "postgres", "login": "us@er", "password": "p/w%", "host": "db.example", "port": 5433,
                   "schema": "prod", "extra": {"sslmode": "require", "n": 5}})
        );
        assert_eq!(uri("mysql://host"), json!({"conn_type": "mysql", "host": "host"}));
        assert_eq!(uri("my-type://@:5432/"), json!({"conn_type": "my_type", "port": 5432}));
        assert_eq!(
            uri("http://https://host:80/x"),
            json!({"conn_type": "http", "host": "https://host", "port": 80, "schema": "x"})
        );
        assert_eq!(
            uri("aws://?__extra__=%7B%22a%22%3A%7B%22b%22%3A1%7D%7D"),
            json!({"conn_type": "aws", "extra": {"a": {"b": 1}}})
        );
        assert_eq!(uri("sqlite:///%2Fvar%2Fx.db"), json!({"conn_type": "sqlite", "schema": "/var/x.db"}));
        assert_eq!(
            uri("aws:///?k=12345678901234567890123"),
            json!({"conn_type": "aws", "extra": {"k": "12345678901234567890123"}})
        );
    }

    #[test]
    fn bad_uris_say_why() {
        for (text, error) in [
            ("nothing", ConnectionFormError::NoScheme),
            ("a://b://c://d", ConnectionFormError::TooManySchemes),
            ("postgres://reader:p@ss/w#rd@127.0.0.1:5432/shop", ConnectionFormError::Unescaped),
            ("postgres://reader:pa/ss@127.0.0.1:5432/shop", ConnectionFormError::Unescaped),
            ("postgres://reader:p?ss@127.0.0.1:5432/shop", ConnectionFormError::Unescaped),
            ("a://h:99999/", ConnectionFormError::BadPort("99999".into())),
            ("a://%ff@h", ConnectionFormError::NotText),
        ] {
            assert_eq!(ConnectionForm::parse_uri(text).unwrap_err(), error);
        }
    }

    #[test]
    fn forms_round_trip_losslessly() {
        for value in [
            json!({"conn_type": "mysql", "login": "a:b@c/d?e", "password": "%&=+ ä", "host": "h", "port": 1, "schema": "s/t"}),
            json!({"conn_type": "aws", "login": "AKIA", "password": "s", "extra": {"region": "eu north", "verify": false}}),
            json!({"conn_type": "x", "port": 5432}),
            json!({"conn_type": "x", "host": "https://h", "extra": {"a": "1", "b": "true"}}),
            json!({"conn_type": "x", "password": "only"}),
            json!({"conn_type": "x", "extra": {"list": [1, "2"]}}),
        ] {
            let form = ConnectionForm::from_value(value.clone()).unwrap();
            let again = ConnectionForm::parse_uri(&form.to_uri()).unwrap();
            assert_eq!(again.to_value(), value, "{}", form.to_uri());
        }
    }

    #[test]
    fn extra_may_be_json_in_a_string_and_nothing_else() {
        let form = ConnectionForm::parse(r#"{"conn_type": "aws", "extra": "{\"region\": \"r\"}"}"#).unwrap();
        assert_eq!(form.extra["region"], "r");
        assert_eq!(
            ConnectionForm::parse(r#"{"conn_type": "aws", "extra": "[1]"}"#).unwrap_err(),
            ConnectionFormError::ExtraNotObject
        );
        assert_eq!(ConnectionForm::parse("{}").unwrap_err(), ConnectionFormError::NoType);
    }

    #[test]
    fn masked_view_hides_and_keeps() {
        let form = ConnectionForm::from_value(json!({"conn_type": "aws", "password": "pw123", "extra":
            {"aws_session_token": "tok", "region": "r", "nested": {"api_key": "k"}}}))
        .unwrap();
        let masked = form.to_masked_value();
        assert_eq!(masked["password"], MASK);
        assert_eq!(masked["extra"], json!({"aws_session_token": MASK, "region": "r", "nested": {"api_key": MASK}}));
        let edited = ConnectionForm::from_value(masked).unwrap().keeping_masked_from(Some(&form)).unwrap();
        assert_eq!(edited.to_value(), form.to_value());
        assert!(!format!("{form:?}").contains("pw123"));
    }

    #[test]
    fn ids_are_checked() {
        assert!(check_conn_id("mysql-prod.v2:a/b").is_ok());
        for bad in ["", "a b", "a;b", "a\n", ".", ".."] {
            assert!(check_conn_id(bad).is_err());
        }
    }
}
