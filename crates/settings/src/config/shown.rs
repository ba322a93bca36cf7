//! The configuration shown: values in force with what is secret hidden, and the reference of every key.

use std::ops::Range;

use percent_encoding::percent_decode_str;
use toml::Value;

use super::Config;
use super::reading::defaults;
use crate::mask::{MASK, is_sensitive_name};

/// Section and key of addresses that may hold a password.
const ADDRESSES: &[(&str, &str)] = &[("database", "url"), ("traces", "endpoint")];

/// Section and key of what is never shown.
const SECRETS: &[(&str, &str)] = &[("oidc", "client_secret"), ("traces", "headers")];

impl Config {
    /// Every key with its value in force, `section.key`, in the order of the reference; secrets masked.
    pub fn entries(&self) -> Vec<(String, String)> {
        let Ok(Value::Table(sections)) = Value::try_from(self) else { return Vec::new() };
        let mut entries = Vec::new();
        for (section, keys) in sections {
            let Value::Table(keys) = keys else { continue };
            for (key, value) in keys {
                let text = match value {
                    Value::String(text) if ADDRESSES.contains(&(section.as_str(), key.as_str())) => mask_url(&text),
                    Value::String(text) if SECRETS.contains(&(section.as_str(), key.as_str())) && !text.is_empty() => {
                        MASK.to_owned()
                    }
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                entries.push((format!("{section}.{key}"), text));
            }
        }
        entries
    }

    /// The values that are never shown, for the masker: as they stand here, and what they say.
    pub fn secrets(&self) -> impl Iterator<Item = String> {
        let headers = self.traces.headers.split(',').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned()));
        let addresses = [&self.database.url, &self.traces.endpoint];
        let passwords =
            addresses.into_iter().flat_map(|url| url_passwords(url).into_iter().map(|range| url[range].to_owned()));
        let decoded = |text: String| {
            let plain = percent_decode_str(&text).decode_utf8_lossy().into_owned();
            [text, plain]
        };
        let passwords = passwords.flat_map(decoded);
        [self.oidc.client_secret.clone()]
            .into_iter()
            .chain(headers)
            .chain(passwords)
            .filter(|secret| !secret.is_empty())
    }

    /// A documented `millrace.toml` with every key at its default, commented out.
    pub fn reference() -> String {
        let schema = schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let schema = schema.into_generator().into_root_schema_for::<Self>();
        let mut text = String::from(
            "# Millrace's configuration. Every key can also be set by the environment: MILLRACE__SECTION__KEY=value.\n# What is commented out is the default.\n",
        );
        for (section, keys) in &defaults() {
            let area = &schema.as_value()["properties"][section];
            text.push_str(&format!("\n{}[{section}]\n", comment(&area["description"])));
            let Value::Table(keys) = keys else { continue };
            for (key, value) in keys {
                text.push_str(&format!("{}#{key} = {value}\n", comment(&area["properties"][key]["description"])));
            }
        }
        text
    }
}

fn comment(description: &serde_json::Value) -> String {
    description.as_str().unwrap_or_default().lines().map(|line| format!("# {line}\n")).collect()
}

/// Where passwords stand in an address: byte ranges, in order.
fn url_passwords(url: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let Some(begin) = url.find("://").map(|place| place + 3) else { return found };
    // A password may hold '/' or '@' unencoded: the last '@' ends it.
    let at = url.rfind('@').filter(|at| *at >= begin);
    if let Some((at, colon)) = at.and_then(|at| Some((at, begin + url[begin..at].find(':')?))) {
        found.push(colon + 1..at);
    }
    let after = at.unwrap_or(begin);
    let mut from = url[after..].find('?').map_or(url.len(), |place| after + place + 1);
    for pair in url[from..].split('&') {
        if let Some((name, value)) = pair.split_once('=').filter(|(name, _)| is_sensitive_name(name)) {
            let value_from = from + name.len() + 1;
            found.push(value_from..value_from + value.len());
        }
        from += pair.len() + 1;
    }
    found
}

/// An address with its passwords hidden.
pub fn mask_url(url: &str) -> String {
    let mut masked = url.to_owned();
    for range in url_passwords(url).into_iter().rev() {
        masked.replace_range(range, MASK);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reading::tests::read;

    #[test]
    fn every_secret_is_hidden_and_known_to_the_masker() {
        let config = read(
            "[database]\nurl = 'postgres://me:p%40ss@db/meta?sslmode=disable&password=in-query'\n\
             [traces]\nheaders = 'authorization=Bearer%20x, x-key=key-of-traces'\n\
             endpoint = 'http://me:of-endpoint@col:4318'\n[oidc]\nclient_secret = 'of-oidc'\n",
            &[],
        );
        let config = config.unwrap();
        let secrets: Vec<String> = config.secrets().collect();
        for secret in ["p%40ss", "p@ss", "in-query", "key-of-traces", "Bearer%20x", "of-endpoint", "of-oidc"] {
            assert!(secrets.iter().any(|known| known == secret), "{secret}: {secrets:?}");
        }
        let shown = config.entries().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n");
        for secret in ["p%40ss", "in-query", "key-of-traces", "of-endpoint", "of-oidc"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
        assert_eq!(mask_url(&config.database.url), "postgres://me:***@db/meta?sslmode=disable&password=***");
        assert_eq!(mask_url("sqlite:///a/b.db?mode=rwc"), "sqlite:///a/b.db?mode=rwc");
    }

    #[test]
    fn the_reference_is_complete_and_readable() {
        let reference = Config::reference();
        let uncommented: String = reference
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(read(&uncommented, &[]).unwrap(), Config::default());
        let documented = reference.lines().filter(|line| line.starts_with("# ")).count();
        assert!(documented > Config::default().entries().len(), "every key has a sentence");
    }

    #[test]
    fn a_database_password_is_never_listed() {
        let secret = read("[oidc]\nclient_secret = \"hunter22\"", &[]).unwrap();
        assert!(secret.entries().contains(&("oidc.client_secret".to_owned(), "***".to_owned())));
        let config = read("[database]\nurl = \"postgres://u:p@/s%s@h:5432/db\"", &[]).unwrap();
        let entries = config.entries();
        assert!(entries.contains(&("database.url".to_owned(), "postgres://u:***@h:5432/db".to_owned())), "{entries:?}");
    }
}
