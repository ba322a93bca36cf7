//! Keeps secrets out of what people see: logs, errors, rendered templates, exports.

mod escapes;
mod forms;
mod names;
mod open;
mod own;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use millrace_model::address;
use serde_json::{Map, Value};

use escapes::Unescaped;
pub use escapes::without_escapes;
use forms::{Forms, is_base64};
use names::is_quantity;
pub use names::{is_secret, is_sensitive_name};
pub use open::{NotOpen, check_open};
pub use own::check_own_secrets;
use own::{Remembered, TooManySecrets, bounded, own_secrets};

/// What a secret is shown as. Sent back on edit it means "keep the old value".
pub const MASK: &str = "***";

/// Shorter secrets are not masked in texts: they would blot out innocent words (Airflow masks from 5 on).
pub const MIN_LENGTH: usize = 5;

/// In bytes. A longer secret is hidden under its name only: to seek it in every text would cost more than it is worth.
const LONGEST: usize = 16 * 1024;

/// The passwords that stand in addresses of this text.
pub fn passwords_in_addresses(text: &str) -> Vec<String> {
    address::passwords(text).into_iter().map(|range| text[range].to_owned()).filter(|found| found != MASK).collect()
}

/// Whether `***` stands in an address as its password.
pub fn has_masked_password(text: &str) -> bool {
    address::passwords(text).into_iter().any(|range| &text[range] == MASK)
}

/// The text with `***` for each password that stands in an address.
pub fn mask_addresses(text: &str) -> String {
    let mut found = address::passwords(text);
    if let Some(plain) = Unescaped::of(text) {
        found.extend(address::passwords(&plain.text).into_iter().map(|range| plain.place(range)));
        found.sort_unstable_by_key(|range| (range.start, range.end));
    }
    hidden(text, found)
}

/// The text with `***` for each of these ranges, in order of their begins. Of two that overlap neither leaves an end of the
/// other.
fn hidden(text: &str, ranges: Vec<Range<usize>>) -> String {
    if ranges.is_empty() {
        return text.to_owned();
    }
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for (place, range) in ranges.into_iter().enumerate() {
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

/// The secrets in a JSON value, at any depth: texts and numbers under sensitive names, passwords in addresses. All of it
/// when `is_all`.
pub fn secrets_in(value: &Value, is_all: bool) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, "", is_all, &mut found);
    found
}

fn collect(value: &Value, name: &str, is_all: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if is_all => found.push(text.clone()),
        Value::String(text) => found.extend(passwords_in_addresses(text)),
        Value::Number(number) if is_all && !is_quantity(name) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, is_all, found)),
        Value::Object(map) => {
            map.iter().for_each(|(key, item)| collect(item, key, is_all || is_secret(key, item), found));
        }
        _ => {}
    }
}

/// The secrets that were read so far, and the replacing of them. Cheap to clone; all clones share the secrets.
#[derive(Clone, Default)]
pub struct Masker {
    inner: Arc<RwLock<Patterns>>,
    /// Whose secrets it knows as well.
    beneath: Option<Arc<Masker>>,
    /// What was made for runs that were looked at lately.
    remembered: Arc<Remembered>,
    /// It was to know more secrets than can be sought: it shows no text at all.
    hides_all: bool,
}

#[derive(Default)]
struct Patterns {
    secrets: BTreeSet<String>,
    forms: Forms,
    finder: Option<Arc<Finder>>,
}

/// Finds the forms of secrets in a text.
struct Finder {
    automaton: AhoCorasick,
    /// Patterns from this number on stand within base64.
    first_base64: usize,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker")
    }
}

impl Finder {
    fn new(forms: &Forms) -> Option<Arc<Self>> {
        let patterns = forms.plain.iter().chain(&forms.base64);
        // A DFA finds a little faster, and takes a hundred times the memory: it has each byte that may follow each byte.
        let kind = Some(AhoCorasickKind::ContiguousNFA);
        let automaton =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).kind(kind).build(patterns).ok()?;
        Some(Arc::new(Self { automaton, first_base64: forms.plain.len() }))
    }

    /// Of memory.
    fn bytes(&self) -> usize {
        self.automaton.memory_usage()
    }

    /// Where secrets stand, in order; of base64 only what is made of the secret alone.
    fn bare(&self, text: &str) -> impl Iterator<Item = (Range<usize>, bool)> {
        self.automaton.find_iter(text).map(|found| (found.range(), found.pattern().as_usize() >= self.first_base64))
    }

    /// Where there is something to hide, in order.
    fn find(&self, text: &str, found: &mut Vec<Range<usize>>) {
        let bytes = text.as_bytes();
        let mut last_end = 0;
        for (range, is_within_base64) in self.bare(text) {
            if range.end <= last_end {
                continue;
            }
            let range = if is_within_base64 {
                let from = bytes[last_end..range.start].iter().rposition(|byte| !is_base64(*byte));
                let length = bytes[range.end..].iter().position(|byte| !is_base64(*byte));
                from.map_or(last_end, |place| last_end + place + 1)
                    ..length.map_or(bytes.len(), |length| range.end + length)
            } else {
                range
            };
            last_end = range.end;
            found.push(range);
        }
    }
}

impl Masker {
    pub fn new() -> Self {
        Self::default()
    }

    /// One that knows what this one knows, now and later, and the secrets of each of these (the params of a DAG, the conf of
    /// a run), of which this one is told nothing: a word that is a secret of one run is none of another. Where one of them
    /// has more than [`check_own_secrets`] lets through, every text is `***`.
    #[must_use]
    pub fn beside(&self, members: &[&Map<String, Value>]) -> Self {
        members.iter().fold(self.clone(), |masker, members| masker.with_own(own_secrets(members)))
    }

    /// As [`beside`](Self::beside), of these secrets.
    #[must_use]
    pub fn beside_secrets(&self, secrets: Vec<String>) -> Self {
        self.with_own(bounded(secrets))
    }

    /// One that knows nothing but the secrets among these members: for what a person wrote, whom a mask would tell that
    /// a guess of theirs was right.
    #[must_use]
    pub fn apart(&self, members: &Map<String, Value>) -> Self {
        Self { beneath: None, ..self.with_own(own_secrets(members)) }
    }

    fn with_own(&self, own: Result<BTreeSet<String>, TooManySecrets>) -> Self {
        let hides_all = self.hides_all || own.is_err();
        let finder = own.ok().and_then(|secrets| self.remembered.finder(&secrets));
        Self {
            inner: Arc::new(RwLock::new(Patterns { finder, ..Patterns::default() })),
            beneath: Some(Arc::new(self.clone())),
            remembered: self.remembered.clone(),
            hides_all,
        }
    }

    /// From now on this secret, and each long line of it, are masked as they are and in every form that programs write
    /// them in: URL-quoted, JSON-escaped, quoted for a shell, base64.
    pub fn add(&self, secret: &str) {
        self.add_all([secret]);
    }

    /// As [`add`](Self::add) for each: what masks is made anew once, not with every secret.
    pub fn add_all(&self, secrets: impl IntoIterator<Item = impl AsRef<str>>) {
        let Ok(mut patterns) = self.inner.write() else { return };
        let before = patterns.secrets.len();
        for secret in secrets {
            let secret = secret.as_ref();
            if secret.len() <= LONGEST && !patterns.secrets.contains(secret) {
                patterns.secrets.insert(secret.to_owned());
                patterns.forms.add(secret);
            }
        }
        if patterns.secrets.len() != before {
            patterns.finder = Finder::new(&patterns.forms);
        }
    }

    /// The text with every known secret, and every password in an address, replaced by `***`: also one with a colour within.
    pub fn mask(&self, text: &str) -> String {
        let known_masked = self.mask_known(text);
        if known_masked.contains("://") || known_masked.contains('\u{1b}') {
            mask_addresses(&known_masked)
        } else {
            known_masked
        }
    }

    fn mask_known(&self, text: &str) -> String {
        if self.hides_all && !text.is_empty() {
            return MASK.to_owned();
        }
        hidden(text, self.places(text, Finder::find))
    }

    /// Where the finders find something, in order of the begins: what two of them found may overlap.
    fn places(&self, text: &str, find: fn(&Finder, &str, &mut Vec<Range<usize>>)) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.each_finder(&mut |finder| find(finder, text, &mut found));
        if let Some(plain) = Unescaped::of(text) {
            let mut in_plain = Vec::new();
            self.each_finder(&mut |finder| find(finder, &plain.text, &mut in_plain));
            found.extend(in_plain.into_iter().map(|range| plain.place(range)));
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        found
    }

    /// Where a long text may be cut, at `at` if that is within no secret: else before the secret there, or behind it where
    /// it is all that is before. A secret that begins before `at` and ends behind the text is not seen: some of what
    /// follows `at` must be in the text.
    pub fn cut(&self, text: &str, at: usize) -> usize {
        let ranges = self.places(text, |finder, text, found| found.extend(finder.bare(text).map(|(range, _)| range)));
        let (mut from, mut to) = (0, 0);
        for range in ranges.into_iter().take_while(|range| range.start < at) {
            // What touches it counts: in base64 a letter beside it holds bits of the secret.
            if range.start > to + 1 {
                from = range.start;
            }
            to = to.max(range.end);
        }
        match from {
            _ if to == 0 || to < at => at,
            0 => to,
            _ => from,
        }
    }

    fn each_finder(&self, on_each: &mut dyn FnMut(&Finder)) {
        let finder = self.inner.read().ok().and_then(|patterns| patterns.finder.clone());
        if let Some(finder) = finder {
            on_each(&finder);
        }
        if let Some(beneath) = &self.beneath {
            beneath.each_finder(on_each);
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
                        let hidden = is_secret(key, item) && !item.is_null() && item != "";
                        (key.clone(), if hidden { Value::String(MASK.to_owned()) } else { self.mask_value(item) })
                    })
                    .collect(),
            ),
            Value::Number(number) if self.mask_known(&number.to_string()) == MASK => Value::String(MASK.to_owned()),
            other => other.clone(),
        }
    }
}

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

    /// What Python, Go, PHP, bash, curl and pages make of it, as they were seen to write it.
    #[test]
    fn each_form_that_programs_write_is_masked() {
        let masker = Masker::new();
        masker.add_all(["Tr0ub4dor&3 x", "비밀번호-서울123", "it's-<a> \"b\"\\$c/d", "k3y-of-the-kingdom"]);
        for text in [
            "Tr0ub4dor%263+x",
            "Tr0ub4dor%263%20x",
            "Tr0ub4dor&amp;3 x",
            r"Tr0ub4dor\u00263 x",
            r"Tr0ub4dor\&3\ x",
            r"\ube44\ubc00\ubc88\ud638-\uc11c\uc6b8123",
            r"\uBE44\uBC00\uBC88\uD638-\uC11C\uC6B8123",
            "%EB%B9%84%EB%B0%80%EB%B2%88%ED%98%B8-%EC%84%9C%EC%9A%B8123",
            "%eb%b9%84%eb%b0%80%eb%b2%88%ed%98%b8-%ec%84%9c%ec%9a%b8123",
            r"\xeb\xb9\x84\xeb\xb0\x80\xeb\xb2\x88\xed\x98\xb8-\xec\x84\x9c\xec\x9a\xb8123",
            r"\353\271\204\353\260\200\353\262\210\355\230\270-\354\204\234\354\232\270123",
            r#"it'\''s-<a> "b"\$c/d"#,
            r#"it'"'"'s-<a> "b"\$c/d"#,
            r#"it\'s-<a> "b"\\$c/d"#,
            r#"it''s-<a> "b"\$c/d"#,
            r#"it's-<a> ""b""\$c/d"#,
            r#"it's-<a> \"b\"\\$c/d"#,
            r#"it's-\u003ca\u003e \"b\"\\$c/d"#,
            r#"it's-<a> \"b\"\\$c\/d"#,
            "it&#x27;s-&lt;a&gt; &quot;b&quot;\\$c/d",
            "it&#39;s-&lt;a&gt; &#34;b&#34;\\$c/d",
            "it%27s-%3Ca%3E+%22b%22%5C%24c%2Fd",
            "it%27s-%3ca%3e+%22b%22%5c%24c/d",
        ] {
            assert_eq!(masker.mask(&format!("<{text}>")), "<***>", "{text}");
        }
    }

    /// The shell of this machine says how it quotes.
    #[test]
    fn what_bash_quotes_is_masked() {
        let secret = "p'a\"s s&w$o(r)d!*~#,;`|<>\\{}[]?^%=+@:";
        let masker = Masker::new();
        masker.add(secret);
        for script in ["printf %q \"$1\"", "set -x; : \"$1\"", "export S=$1; export -p | grep ' S='", "echo \"${1@Q}\""]
        {
            let said = std::process::Command::new("bash").args(["-c", script, "bash", secret]).output().unwrap();
            let said = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
            let masked = masker.mask(&said);
            assert!(
                masked.contains("***") && !masked.contains("w$o") && !masked.contains("(r"),
                "{script}: {said} {masked}"
            );
        }
    }

    #[test]
    fn what_stands_in_base64_is_hidden_with_all_around_it() {
        use base64::Engine as _;
        let masker = Masker::new();
        masker.add("k3y-of-the-kingdom?>");
        let secret = "k3y-of-the-kingdom?>";
        for engine in [&base64::engine::general_purpose::STANDARD, &base64::engine::general_purpose::URL_SAFE] {
            for around in ["", "u:", "me:", "joe:", "{\"password\": \""] {
                let said = engine.encode(format!("{around}{secret}"));
                let more = engine.encode(format!("{around}{secret} and more, {secret}"));
                assert_eq!(masker.mask(&format!("Basic {said}, {more}.")), "Basic ***, ***.", "{around}");
            }
        }
    }

    /// As `grep --color` and a coloured diff write it.
    #[test]
    fn a_secret_with_a_colour_within_is_masked() {
        use base64::Engine as _;
        let masker = Masker::new();
        masker.add_all(["supersecretvalue", "p@ss word"]);
        let in_base64 = base64::engine::general_purpose::STANDARD.encode("me:supersecretvalue");
        for (text, shown) in [
            ("super\u{1b}[31msecretvalue\u{1b}[0m.".to_owned(), "***\u{1b}[0m."),
            ("<\u{1b}[01;31m\u{1b}[Ksuper\u{1b}[m\u{1b}[Ksecretvalue>".to_owned(), "<\u{1b}[01;31m\u{1b}[K***>"),
            ("p%40ss\u{1b}[1m%20word, supersecretvalue".to_owned(), "***, ***"),
            (format!("Basic {}\u{1b}[0m{}", &in_base64[..5], &in_base64[5..]), "Basic ***"),
            ("https:\u{1b}[1m//me:unkn\u{1b}[0mown@host".to_owned(), "https:\u{1b}[1m//me:***@host"),
            ("https:/\u{1b}[1m/me:unkn\u{1b}[0mown@host".to_owned(), "https:/\u{1b}[1m/me:***@host"),
        ] {
            assert_eq!(masker.mask(&text), shown, "{text:?}");
        }
        assert_eq!(masker.cut("x super\u{1b}[31msecretvalue y", 9), 2);
    }

    #[test]
    fn a_text_is_not_cut_within_a_secret() {
        let everyones = Masker::new();
        everyones.add("secret-word");
        let conf = json!({"password": "word-of-run"});
        let masker = everyones.beside(&[conf.as_object().unwrap()]);
        for (text, at, cut) in [
            ("nothing in it", 4, 4),
            ("x secret-word y", 1, 1),
            ("x secret-word y", 7, 2),
            ("x secret-word y", 13, 2),
            ("x secret-word y", 14, 14),
            ("secret-word y", 7, 11),
            ("x secret-word-of-run y", 15, 2),
            ("secret-wordsecret-word", 13, 22),
        ] {
            assert_eq!(masker.cut(text, at), cut, "{text} at {at}");
        }
    }

    /// To seek each of a hundred thousand lines in every text of a run would stop everything else.
    #[test]
    fn a_conf_of_too_many_secrets_is_refused_and_costs_little() {
        let lines: String = (0..100_000).map(|n| format!("{n:07}\n")).collect();
        let many: Vec<String> = (0..100_000).map(|n| format!("{n:07}")).collect();
        for conf in [json!({"password": lines}), json!({"token": many}), json!({"api_key": "x".repeat(20_000)})] {
            let conf = conf.as_object().unwrap();
            assert!(check_own_secrets(conf).is_err());
            let params = json!({"token": "of-the-params"});
            let masker = Masker::new().beside(&[conf, params.as_object().unwrap()]);
            assert_eq!((masker.mask("0000007 or anything"), masker.mask("")), (MASK.to_owned(), String::new()));
            assert_eq!(masker.mask_value(&json!({"n": 7, "said": ["x"]})), json!({"n": MASK, "said": [MASK]}));
        }
        let key: String = (0..50).map(|n| format!("{n:02}").repeat(32) + "\n").collect();
        assert_eq!(check_own_secrets(json!({"private_key": key, "password": "hunter22"}).as_object().unwrap()), Ok(()));
    }

    /// What each may have is not taken from what the other may have.
    #[test]
    fn the_params_of_a_dag_leave_room_for_the_conf_of_its_runs() {
        let params = json!({"private_key": "x".repeat(8000)});
        let conf = json!({"api_token": "y".repeat(8000), "password": "hunter22"});
        let masker = Masker::new().beside(&[params.as_object().unwrap(), conf.as_object().unwrap()]);
        let said = format!("<{}|{}|hunter22>", "x".repeat(8000), "y".repeat(8000));
        assert_eq!(masker.mask(&said), "<***|***|***>");
    }

    fn bytes(masker: &Masker) -> usize {
        masker.inner.read().unwrap().finder.iter().map(|finder| finder.bytes()).sum()
    }

    #[test]
    fn what_finds_the_longest_secrets_takes_little_memory() {
        for letters in ["Ab3", "p'\"s &é", "&", "비밀"] {
            let longest = json!({"password": letters.chars().cycle().take(8000 / 3).collect::<String>()});
            let longest = longest.as_object().unwrap();
            assert_eq!(check_own_secrets(longest), Ok(()));
            let masker = Masker::new().beside(&[longest]);
            assert!((1..16 * 1024 * 1024).contains(&bytes(&masker)), "{letters}: {}", bytes(&masker));
        }
    }

    /// Of more than are kept, the others stay.
    #[test]
    fn what_finds_secrets_is_forgotten_one_by_one() {
        let masker = Masker::new();
        for number in 0..12 {
            let conf = json!({"password": format!("{number}'\"&é").repeat(800)});
            let _ = masker.beside(&[conf.as_object().unwrap()]);
        }
        let (kept, bytes) = masker.remembered.kept();
        assert!((4..12).contains(&kept) && bytes <= 32 * 1024 * 1024, "{kept} {bytes}");
    }

    #[test]
    fn what_finds_the_secrets_of_a_run_is_made_once() {
        let masker = Masker::new();
        let finder = |password: &str| {
            let conf = json!({"password": password});
            masker.beside(&[conf.as_object().unwrap()]).inner.read().unwrap().finder.clone().unwrap()
        };
        let first = finder("hunter22");
        assert!(Arc::ptr_eq(&first, &finder("hunter22")) && !Arc::ptr_eq(&first, &finder("hunter23")));
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
        let masker = Masker::new();
        masker.add_all(secrets_in(&json!({"aws_secret_access_key": "topsecret", "region": "eu-north-1"}), false));
        assert_eq!(masker.mask("topsecret in eu-north-1"), "*** in eu-north-1");
        assert_eq!(
            masker.mask_value(&json!({"password": "x", "n": 1, "empty_token": ""})),
            json!({"password": "***", "n": 1, "empty_token": ""})
        );
    }
}
