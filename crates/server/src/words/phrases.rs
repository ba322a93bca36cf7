//! Sentences that other rooms finish themselves, such as why a task does not run: recognised by what stands still in
//! them and said in the viewer's language.
//!
//! `web/words/LANGUAGE-phrases.toml` holds them by the English ones. `{name}` stands for anything and is kept as it is;
//! `{-name}` for something that is said in the viewer's language too, if it is known. One that nobody knows stays English.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::assets;
use crate::viewer::{Language, viewer};
use crate::words::t;

static KOREAN: LazyLock<Phrases> =
    LazyLock::new(|| Phrases::read(&assets::words("ko-phrases.toml").unwrap_or_default()));

/// Sentences within sentences.
const DEEPEST: u32 = 4;

struct Phrase {
    english: Regex,
    names: Vec<String>,
    said: String,
}

struct Phrases(Vec<Phrase>);

impl Phrases {
    /// The more of a sentence stands still, the surer it is that it was meant.
    fn read(text: &str) -> Self {
        let all: HashMap<String, String> = toml::from_str(text).unwrap_or_default();
        let mut all: Vec<(String, String)> = all.into_iter().collect();
        all.sort_by_key(|(english, _)| (usize::MAX - fixed(english), english.clone()));
        Self(all.into_iter().filter_map(|(english, said)| Phrase::new(&english, said)).collect())
    }

    fn say(&self, text: &str, depth: u32) -> Option<String> {
        let found = self.0.iter().find_map(|phrase| Some((phrase, phrase.english.captures(text)?)));
        let (phrase, found) = found?;
        let mut said = String::with_capacity(text.len());
        let mut rest = phrase.said.as_str();
        // In one pass: what is filled in is not looked at again.
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            said.push_str(before);
            let place = phrase.names.iter().position(|known| known == name);
            let value = place.and_then(|place| found.get(place + 1)).map_or("", |found| found.as_str());
            let is_said = name.starts_with('-') && depth < DEEPEST;
            match is_said.then(|| self.say(value, depth + 1)).flatten() {
                Some(inner) => said.push_str(&inner),
                None if is_said => said.push_str(t(value)),
                None => said.push_str(value),
            }
            rest = after;
        }
        said.push_str(rest);
        Some(said)
    }
}

impl Phrase {
    fn new(english: &str, said: String) -> Option<Self> {
        let (mut pattern, mut names) = ("(?s)^".to_owned(), Vec::new());
        let mut rest = english;
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            pattern.push_str(&regex::escape(before));
            pattern.push_str("(.+?)");
            names.push(name.to_owned());
            rest = after;
        }
        pattern.push_str(&regex::escape(rest));
        pattern.push('$');
        Some(Self { english: Regex::new(&pattern).ok()?, names, said })
    }
}

/// Letters outside of the names.
fn fixed(english: &str) -> usize {
    let parts = english.split('{').enumerate();
    parts
        .map(
            |(place, part)| {
                if place == 0 { part.len() } else { part.split_once('}').map_or(0, |(_, rest)| rest.len()) }
            },
        )
        .sum()
}

/// The finished English sentence in the viewer's language.
pub(crate) fn say(text: &str) -> String {
    match viewer().language {
        Language::English => text.to_owned(),
        Language::Korean => KOREAN.say(text, 0).unwrap_or_else(|| t(text).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_known_by_what_stands_still_in_it() {
        let phrases = Phrases::read(
            "\"waits for {task}\" = \"{task} 기다림\"\n\"waits for {task} and {more} more\" = \"{task} 외 {more}개 기다림\"\n\
             \"it is held: {-why}\" = \"멈춤: {-why}\"\n",
        );
        let say = |text: &str| phrases.say(text, 0);
        assert_eq!(say("waits for a and 2 more").as_deref(), Some("a 외 2개 기다림"));
        assert_eq!(say("waits for {more}").as_deref(), Some("{more} 기다림"));
        assert_eq!(say("it is held: waits for load").as_deref(), Some("멈춤: load 기다림"));
        assert_eq!(say("it is held: nobody knows").as_deref(), Some("멈춤: nobody knows"));
        assert_eq!(say("waits"), None);
    }

    #[test]
    fn every_translation_fills_in_what_its_sentence_does() {
        let all: HashMap<String, String> = toml::from_str(&assets::words("ko-phrases.toml").unwrap()).unwrap();
        let names = |text: &str| {
            let parts = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            let mut names: Vec<String> = parts.map(|(name, _)| name.to_owned()).collect();
            names.sort();
            names
        };
        for (english, korean) in all {
            assert_eq!(names(&english), names(&korean), "{english:?} and {korean:?}");
        }
    }
}
