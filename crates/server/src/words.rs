//! What pages say, in the language of whoever looks: `web/words/LANGUAGE.toml` holds the sentences by the English ones.
//!
//! A sentence may hold `{name}`s, which are filled in after it was translated. One without a translation stays English; a
//! test finds it.

mod phrases;

use std::collections::HashMap;
use std::sync::LazyLock;

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, HtmlEscape};

use crate::viewer::{Language, viewer};
use crate::web_files;

pub(crate) use phrases::{say, say_in};

static KOREAN: LazyLock<HashMap<String, String>> =
    LazyLock::new(|| web_files::words("ko.toml").and_then(|text| toml::from_str(&text).ok()).unwrap_or_default());

/// A sentence that is said later, by a variable: so that it is known to need a translation.
macro_rules! said {
    ($text:literal) => {
        $text
    };
}
pub(crate) use said;

/// The sentence in the viewer's language.
pub(crate) fn t(text: &str) -> &str {
    match viewer().language {
        Language::English => text,
        Language::Korean => KOREAN.get(text).map_or(text, String::as_str),
    }
}

/// The same, with its names filled in.
pub(crate) fn fill(text: &str, arguments: &[(&str, &str)]) -> String {
    arguments.iter().fold(t(text).to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// `t("Try {n} of {all}", n=2, all=3)`. A sentence with markup in it, or filled with some, is markup; what it is filled
/// with is escaped all the same.
pub(crate) fn in_template(text: &str, arguments: Kwargs) -> Result<Value, Error> {
    let mut values = Vec::new();
    for name in arguments.args() {
        values.push((name, arguments.get::<Value>(name)?));
    }
    let is_markup = text.contains('<') || values.iter().any(|(_, value)| value.is_safe());
    let mut rest = t(text);
    let mut said = String::with_capacity(rest.len() + 16);
    // In one pass: what is filled in is not looked at again.
    while let Some(start) = rest.find('{') {
        let Some(end) = rest[start..].find('}').map(|end| start + end) else { break };
        said.push_str(&rest[..start]);
        match values.iter().find(|(name, _)| *name == &rest[start + 1..end]) {
            Some((_, value)) if is_markup && !value.is_safe() => {
                said.push_str(&HtmlEscape(&value.to_string()).to_string());
            }
            Some((_, value)) => said.push_str(&value.to_string()),
            None => said.push_str(&rest[start..=end]),
        }
        rest = &rest[end + 1..];
    }
    said.push_str(rest);
    Ok(if is_markup { Value::from_safe_string(said) } else { Value::from(said) })
}

/// A text in which what stands between backticks is to be typed as it is.
pub(crate) fn ticks(text: &str) -> Value {
    let parts: Vec<&str> = text.split('`').collect();
    let mut said = String::with_capacity(text.len() + 16);
    for (place, part) in parts.iter().enumerate() {
        // Of an odd number of backticks, the last is one.
        match place % 2 {
            1 if place + 1 < parts.len() => said.push_str(&format!("<code>{}</code>", HtmlEscape(part))),
            1 => said.push_str(&format!("`{}", HtmlEscape(part))),
            _ => said.push_str(&HtmlEscape(part).to_string()),
        }
    }
    Value::from_safe_string(said)
}

/// A text to be typed as it is.
pub(crate) fn code(text: &str) -> Value {
    Value::from_safe_string(format!("<code>{}</code>", HtmlEscape(text)))
}

#[cfg(test)]
mod tests {
    use millrace_model::state::{RunType, TaskState};

    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code() {
        let told = [
            ("`a < b` is \"c\"", "<code>a &lt; b</code> is &quot;c&quot;"),
            ("no `end", "no `end"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("<b>", "&lt;b&gt;"),
        ];
        for (text, wanted) in told {
            assert_eq!(ticks(text).to_string(), wanted);
        }
    }

    fn all() -> HashMap<String, String> {
        toml::from_str(&web_files::words("ko.toml").unwrap()).unwrap()
    }

    /// Every text between `t("` or the like and its closing quote.
    fn said_in(text: &str, calls: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for call in calls {
            for (place, _) in text.match_indices(call) {
                // `format(` is no call of it.
                if text[..place].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
                    continue;
                }
                let rest = text[place + call.len()..].trim_start();
                let Some(rest) = rest.strip_prefix('"') else { continue };
                let mut sentence = String::new();
                let mut letters = rest.chars();
                while let Some(letter) = letters.next() {
                    match letter {
                        '"' => break,
                        '\\' => sentence.extend(letters.next()),
                        other => sentence.push(other),
                    }
                }
                found.push(sentence);
            }
        }
        found
    }

    fn everything_said() -> Vec<String> {
        let mut found = Vec::new();
        for name in web_files::templates() {
            let text = web_files::template(&name).unwrap();
            found.extend(said_in(&text, &["t("]));
        }
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![sources];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("words.rs") {
                    found.extend(said_in(&std::fs::read_to_string(path).unwrap(), &["t(", "fill(", "said!("]));
                }
            }
        }
        let states = TaskState::ALL.iter().map(|state| state.as_str());
        let kinds = RunType::ALL.iter().map(|kind| kind.as_str());
        let of_model = states.chain(kinds).filter(|word| *word != "none").map(|word| word.replace('_', " "));
        found.extend(of_model);
        found.extend(crate::access::permission::Role::ALL.iter().map(|role| role.as_str().to_owned()));
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn everything_said_has_a_translation() {
        let known = all();
        let said = everything_said();
        assert!(said.len() > 200, "only {} sentences were found", said.len());
        let missing: Vec<_> = said.iter().filter(|text| !known.contains_key(*text)).collect();
        assert!(missing.is_empty(), "web/words/ko.toml lacks: {missing:#?}");
    }

    #[test]
    fn a_translation_fills_in_what_its_sentence_does() {
        let names = |text: &str| {
            let mut names: Vec<String> = text
                .split('{')
                .skip(1)
                .filter_map(|rest| rest.split_once('}'))
                .map(|(name, _)| name.to_owned())
                .collect();
            names.sort();
            names
        };
        for (english, korean) in all() {
            assert_eq!(names(&english), names(&korean), "{english:?} and {korean:?}");
            assert_eq!(english.matches('<').count(), korean.matches('<').count(), "{english:?} and {korean:?}");
            assert!(!korean.trim().is_empty(), "{english:?}");
        }
    }

    #[test]
    fn templates_say_nothing_past_the_translations() {
        for name in web_files::templates() {
            let text = web_files::template(&name).unwrap();
            let bare = without_tags(&text);
            let words: Vec<&str> = bare
                .split(|letter: char| !letter.is_ascii_alphabetic())
                .filter(|word| word.len() > 1 && !["Millrace", "UTC", "amp"].contains(word))
                .collect();
            assert!(words.is_empty(), "{name} says without t(): {words:?}");
        }
    }

    /// What is left of a template without its tags, expressions and what stands in `code` or `kbd`.
    fn without_tags(text: &str) -> String {
        let mut bare = String::new();
        // Which entry of the bar is the page's: not said.
        let text = text.split("{% block here %}").enumerate().map(|(place, part)| match place {
            0 => part,
            _ => part.split_once("{% endblock %}").map_or(part, |(_, rest)| rest),
        });
        let text: String = text.collect();
        let mut rest = text.as_str();
        while let Some(start) = rest.find(['<', '{']) {
            bare.push_str(&rest[..start]);
            bare.push(' ');
            rest = &rest[start..];
            let end = ["{{", "{%", "{#"].iter().zip(["}}", "%}", "#}"]).find(|(open, _)| rest.starts_with(**open));
            let close = match end {
                Some((_, close)) => rest.find(close).map(|end| end + 2),
                None if rest.starts_with('<') => end_of_tag(rest),
                None => Some(1),
            };
            let tag = rest;
            rest = &rest[close.unwrap_or(rest.len())..];
            for quoted in ["code", "kbd"] {
                if tag.starts_with(&format!("<{quoted}")) {
                    rest = rest.split_once(&format!("</{quoted}>")).map_or("", |(_, rest)| rest);
                }
            }
        }
        bare.push_str(rest);
        bare
    }

    /// Expressions within a tag may hold its closing letter.
    fn end_of_tag(text: &str) -> Option<usize> {
        let mut place = 0;
        while place < text.len() {
            let rest = &text[place..];
            if rest.starts_with('>') {
                return Some(place + 1);
            }
            let inner = [("{{", "}}"), ("{%", "%}")].iter().find(|(open, _)| rest.starts_with(open));
            place += match inner {
                Some((_, close)) => rest.find(close)? + 2,
                None => rest.chars().next()?.len_utf8(),
            };
        }
        None
    }

    #[test]
    fn what_is_filled_in_stays_text() {
        let said = |text: &str, value: Value| in_template(text, Kwargs::from_iter([("name", value)])).unwrap();
        let plain = said("Delete {name}?", Value::from("<b>"));
        assert!(!plain.is_safe(), "the template escapes it");
        let markup = said("<strong>{name}</strong> {other}", Value::from("<i>{name}"));
        assert!(markup.is_safe());
        assert_eq!(markup.to_string(), "<strong>&lt;i&gt;{name}</strong> {other}");
        assert_eq!(said("{name}.", code("a<b")).to_string(), "<code>a&lt;b</code>.");
    }
}
