//! Sentences that other rooms finish themselves, such as why a task does not run: recognised by what stands still in
//! them and said in the viewer's language. `{zone}`, `{length}`, `{clock}`, `{clocks}` and `{…_id}` stand for what they are
//! called only.
//!
//! `web/words/LANGUAGE-phrases.toml` holds them by the English ones. `{name}` stands for anything and is kept as it is;
//! `{-name}` for something that is said in the viewer's language too, if it is known. One that nobody knows stays English.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono_tz::Tz;
use regex::{Captures, Regex};

use crate::format::with_times;
use crate::viewer::{Language, viewer};
use crate::web_files;
use crate::words::t;

static KOREAN: LazyLock<Phrases> =
    LazyLock::new(|| Phrases::read(&web_files::words("ko-phrases.toml").unwrap_or_default()));

/// Sentences within sentences.
const DEEPEST: u32 = 6;

struct Phrase {
    english: Regex,
    names: Vec<String>,
    said: String,
    /// Said though an inner sentence is not known.
    may_be_loose: bool,
}

/// Parts of schedules: half of one would be another one.
const OF_SCHEDULES: [&str; 4] = ["({zone})", "{-day}", "{-days}", "{-first}"];

struct Phrases(Vec<Phrase>);

impl Phrases {
    /// The more of a sentence stands still, the surer it is that it was meant.
    fn read(text: &str) -> Self {
        let all: HashMap<String, String> = toml::from_str(text).unwrap_or_default();
        let mut all: Vec<(String, String)> = all.into_iter().collect();
        // What ends in a zone is a whole schedule, and none of the parts of one; its time of day is no part of its days.
        let is_first = |english: &str| english.ends_with("({zone})") || english.contains("{clocks}");
        all.sort_by_key(|(english, _)| (!is_first(english), usize::MAX - fixed(english), english.clone()));
        Self(all.into_iter().filter_map(|(english, said)| Phrase::new(&english, said)).collect())
    }

    fn say(&self, text: &str, depth: u32) -> Option<String> {
        self.find(text, depth).map(|(said, _)| said)
    }

    /// The first that fits and knows its inner sentences too; else the first that fits and may be loose, and false.
    fn find(&self, text: &str, depth: u32) -> Option<(String, bool)> {
        let mut loose = None;
        for phrase in &self.0 {
            let Some(found) = phrase.english.captures(text) else { continue };
            let found = self.fill(phrase, &found, depth);
            if found.1 {
                return Some(found);
            }
            if phrase.may_be_loose {
                loose.get_or_insert(found);
            }
        }
        loose
    }

    /// What is said, and whether every inner sentence was known.
    fn fill(&self, phrase: &Phrase, found: &Captures<'_>, depth: u32) -> (String, bool) {
        let (mut said, mut is_whole) = (String::new(), true);
        let mut rest = phrase.said.as_str();
        // In one pass: what is filled in is not looked at again.
        while let Some((before, name, after)) = next_name(rest) {
            said.push_str(before);
            let place = phrase.names.iter().position(|known| known == name);
            let value = place.and_then(|place| found.get(place + 1)).map_or("", |found| found.as_str());
            let inner = || if depth < DEEPEST { self.find(value, depth + 1) } else { None };
            // States have words of their own.
            let word = || super::KOREAN.get(&value.replace('_', " ")).map(|word| (word.clone(), true));
            let is_number = value.bytes().all(|letter| letter.is_ascii_digit());
            let number = || is_number.then(|| (value.to_owned(), true));
            match name.starts_with('-').then(|| number().or_else(inner).or_else(word)) {
                Some(Some((inner, is_known))) => {
                    is_whole &= is_known;
                    said.push_str(&inner);
                }
                Some(None) => {
                    is_whole = false;
                    said.push_str(value);
                }
                None => said.push_str(value),
            }
            rest = after;
        }
        said.push_str(rest);
        (said, is_whole)
    }
}

/// What stands before the next `{name}`, the name, and the rest.
fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

impl Phrase {
    fn new(english: &str, said: String) -> Option<Self> {
        let (mut pattern, mut names) = ("(?s)^".to_owned(), Vec::new());
        let mut rest = english;
        while let Some((before, name, after)) = next_name(rest) {
            pattern.push_str(&regex::escape(before));
            pattern.push_str(match name {
                "zone" => r"([\w/+-]+)",
                "length" => r"(\d+\w+(?: \d+\w+)*)",
                "clock" => r"([\d:]+)",
                "clocks" => r"([\d:]+(?:, [\d:]+)*)",
                _ if name.ends_with("_id") => r"([^\s,]+)",
                _ => "(.+?)",
            });
            names.push(name.to_owned());
            rest = after;
        }
        pattern.push_str(&regex::escape(rest));
        pattern.push('$');
        let may_be_loose = !OF_SCHEDULES.iter().any(|part| english.contains(part));
        Some(Self { english: Regex::new(&pattern).ok()?, names, said, may_be_loose })
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

/// The finished English sentence in the viewer's language, its instants in the viewer's zone.
pub(crate) fn say(text: &str) -> String {
    say_in(text, Tz::UTC)
}

/// As [`say`]; instants are those of `zone` where the viewer chose none.
pub(crate) fn say_in(text: &str, zone: Tz) -> String {
    // A reason that is one word of the program's: `task_failure`.
    let is_word = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    let text = if is_word { text.replace('_', " ") } else { text.to_owned() };
    let said = match viewer().language {
        Language::English => text,
        Language::Korean => KOREAN.say(&text, 0).unwrap_or_else(|| t(&text).to_owned()),
    };
    with_times(&said, zone).into_owned()
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
        let all: HashMap<String, String> = toml::from_str(&web_files::words("ko-phrases.toml").unwrap()).unwrap();
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

    /// The sentences that a file of another room finishes, with something in the place of each name.
    fn finished_in(path: &str) -> Vec<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//") && !line.contains("#["));
        let mut found = Vec::new();
        for line in lines {
            let quoted = line.split('"').skip(1).step_by(2);
            found.extend(quoted.filter(|text| text.trim().contains(' ') && !text.starts_with(' ')).map(sample));
        }
        found
    }

    fn sample(text: &str) -> String {
        let parts = text.split('{').enumerate();
        let filled = |(place, part): (usize, &str)| match (place, part.split_once('}')) {
            (0, _) | (_, None) => part.to_owned(),
            (_, Some((_, rest))) => format!("x{rest}"),
        };
        parts.map(filled).collect()
    }

    #[test]
    fn a_reason_that_is_a_word_of_the_programs_is_made_of_words() {
        assert_eq!(say("task_failure"), "task failure");
        assert_eq!(say("marked by web:a_b"), "marked by web:a_b");
    }

    #[test]
    fn every_reason_for_waiting_is_known() {
        let files = ["planner/src/explain.rs", "planner/src/holders.rs", "situation/src/explanation.rs"];
        let said: Vec<String> = files.iter().flat_map(|path| finished_in(path)).collect();
        assert!(said.len() > 40, "only {} sentences were found: {said:#?}", said.len());
        let unknown: Vec<&String> = said.iter().filter(|text| KOREAN.say(text, 0).is_none()).collect();
        assert!(unknown.is_empty(), "web/words/ko-phrases.toml lacks: {unknown:#?}");
    }

    /// What pages and forms refuse: REST speaks English, and so do the rooms behind `api`.
    fn refusals() -> Vec<String> {
        let begins = r"Problem::invalid\(\s*(?:format!\(\s*)?|Problem::new\(\s*ErrorCode::\w+,\s*(?:format!\(\s*)?|let text =\s*(?:format!\(\s*)?|Err\(\s*format!\(\s*";
        let literal = Regex::new(&format!(r#"(?:{begins})"((?:[^"\\]|\\.|\\\n)*)""#)).unwrap();
        let (broken, inner) = (Regex::new(r"\\\n\s*").unwrap(), Regex::new(r"\{\{.*?\}\}").unwrap());
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() && !path.ends_with("src/api") {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("src/webhooks.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                    found.extend(
                        literal.captures_iter(text).map(|it| broken.replace_all(&it[1], "").replace("\\\"", "\"")),
                    );
                }
            }
        }
        found.iter().filter(|text| text.contains(' ')).map(|text| sample(&inner.replace_all(text, "x"))).collect()
    }

    #[test]
    fn every_refusal_of_a_page_is_known() {
        let mut said = refusals();
        // Without words of its own.
        said.retain(|text| !["x x", "'x': x"].contains(&text.as_str()));
        assert!(said.len() > 60, "only {} sentences were found: {said:#?}", said.len());
        for code in millrace_model::error_code::ErrorCode::ALL {
            said.push(code.explanation.to_owned());
        }
        let unknown: Vec<&String> = said.iter().filter(|text| KOREAN.say(text, 0).is_none()).collect();
        assert!(unknown.is_empty(), "web/words/ko-phrases.toml lacks: {unknown:#?}");
        let title = |name: &str| crate::format::sentence(&name.replace("dag_", "DAG_").replace('_', " "));
        let titles = millrace_model::error_code::ErrorCode::ALL.iter().map(|code| title(code.name));
        let untitled: Vec<String> = titles.filter(|title| !super::super::KOREAN.contains_key(title)).collect();
        assert!(untitled.is_empty(), "web/words/ko.toml lacks: {untitled:#?}");
    }

    #[test]
    fn what_is_wrong_with_a_date_is_said_in_korean() {
        let texts = [
            "31.1.2024",
            "2024-02-31",
            "0000-01-01",
            "2024-01-31 ",
            "2024-01-31T",
            "2024-01-31T9",
            "2024-01-31T02:00x",
        ];
        for text in texts {
            let Err(error) = millrace_model::instant::parse_instant(text, Tz::UTC) else { continue };
            let said = KOREAN.say(&format!("parameter 'from' must be a date: {error}"), 0).unwrap_or_default();
            assert!(said.starts_with("'from'은(는) 날짜여야 합니다: ") && !said.contains(&error.problem), "{said}");
        }
    }

    #[test]
    fn every_act_is_known() {
        let acts = crate::access::permission::Act::ALL.iter().map(|act| act.describe());
        let unknown: Vec<&str> = acts.filter(|text| KOREAN.say(text, 0).is_none()).collect();
        assert!(unknown.is_empty(), "web/words/ko-phrases.toml lacks: {unknown:#?}");
    }

    #[test]
    fn schedules_are_said_in_korean() {
        let cases = [
            ("every day at 02:00 (Asia/Seoul)", "매일 02:00 (Asia/Seoul)"),
            ("Monday to Friday at 09:30 and 18:00 (UTC)", "월~금 09:30, 18:00 (UTC)"),
            ("every 15 minutes (UTC)", "15분마다 (UTC)"),
            ("every Monday and Friday at 07:00 (UTC)", "매주 월요일, 금요일 07:00 (UTC)"),
            ("on day 1 of every month at 00:00 (UTC)", "매월 1일 00:00 (UTC)"),
            ("on the first Monday of January at 00:00 (UTC)", "1월 첫째 월요일 00:00 (UTC)"),
            ("every 6h", "6h마다"),
            ("every 1h 30m", "1h 30m마다"),
            ("every hour at minute 15 (Asia/Seoul)", "매시 15분 (Asia/Seoul)"),
            ("every hour, and every day at 02:00 (Asia/Seoul)", "매시 정각, 그리고 매일 02:00 (Asia/Seoul)"),
            ("every Monday, Wednesday and Friday at 07:00 (UTC)", "매주 월요일, 수요일, 금요일 07:00 (UTC)"),
            ("on days 1 and 15 of January and July at 00:00 (UTC)", "1월, 7월 1, 15일 00:00 (UTC)"),
            ("on the last Friday of every month at 00:00 (UTC)", "매월 마지막 금요일 00:00 (UTC)"),
            ("only when triggered", "요청할 때만"),
        ];
        for (english, korean) in cases {
            assert_eq!(KOREAN.say(english, 0).as_deref(), Some(korean));
        }
        // Half of it would be another schedule.
        for unknown in ["every fortnight at 02:00 (UTC)", "every blue moon"] {
            assert_eq!(KOREAN.say(unknown, 0), None);
        }
    }

    #[test]
    fn what_a_name_stands_for_is_kept() {
        let say = |text: &str| KOREAN.say(text, 0).unwrap_or_default();
        assert_eq!(say("the next run"), "다음 런");
        assert_eq!(
            say("all_success: 1 of 2 upstream tasks have ended (load is running)"),
            "all_success: 앞선 태스크 2개 중 1개가 끝났습니다 (load: 실행 중)"
        );
        assert_eq!(
            say("pool p: 2 of 2 slots are in use, the task needs 1; held by task a[3] in run r of DAG d, and 4 more"),
            "풀 p: 슬롯 2개 중 2개 사용 중, 태스크에 1개 필요. 차지한 쪽: DAG d의 런 r의 태스크 a[3], 외 4개"
        );
        assert_eq!(
            say(
                "2 of 2 runs with the key 'eu' are running (concurrency); held by run r of DAG d, run s of the paused DAG e"
            ),
            "키 'eu'의 런 2개 중 2개가 실행 중입니다 (concurrency). 차지한 쪽: DAG d의 런 r, 일시 정지된 DAG e의 런 s"
        );
    }
}
