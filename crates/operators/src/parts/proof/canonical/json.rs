//! The canonical text of a JSON document: keys in order, those that are alike as they
//! stand, no blanks, and numbers digit by digit.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What may be nested in JSON; as many as serde's readers take.
const DEEPEST: usize = 128;
/// What most documents stay far within.
const USUAL_DEPTH: usize = 32;

/// `None`: it is no JSON, or nested deeper than any reader would go.
pub fn canonical_json(cell: &[u8]) -> Option<Vec<u8>> {
    usual(cell).or_else(|| any(cell))
}

/// Of the documents that need no decoding, in one go: most of them, a hundred thousand times over. `None` for others, and
/// for what may be none.
fn usual(cell: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(cell).ok()?;
    let mut walk = Walk { text: cell, at: 0, out: Vec::with_capacity(cell.len()), members: Vec::new() };
    walk.value(USUAL_DEPTH)?;
    walk.blanks();
    (walk.at == cell.len()).then_some(walk.out)
}

/// Each step is `None` at whatever [`any`] should look at.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// Of the objects around this place, the innermost last: where each member begins in `out`, its key ends, and it ends.
    members: Vec<Member>,
}

#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Member {
    /// Without its quotes, which would come after a blank.
    fn key(self, out: &[u8]) -> &[u8] {
        &out[self.start + 1..self.key_end - 1]
    }
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is no blank, taken when it is this one.
    fn takes(&mut self, byte: u8) -> bool {
        self.blanks();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.blanks();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'{');
        let first = self.members.len();
        let mut is_sorted = true;
        if !self.takes(b'}') {
            loop {
                let start = self.out.len();
                self.blanks();
                self.key()?;
                let key_end = self.out.len();
                if !self.takes(b':') {
                    return None;
                }
                self.out.push(b':');
                self.value(depth)?;
                let member = Member { start, key_end, end: self.out.len() };
                if let Some(before) = self.members[first..].last() {
                    is_sorted &= before.key(&self.out) <= member.key(&self.out);
                }
                self.members.push(member);
                if self.takes(b'}') {
                    break;
                }
                if !self.takes(b',') {
                    return None;
                }
                self.out.push(b',');
            }
        }
        if !is_sorted {
            self.sort(first);
        }
        self.members.truncate(first);
        self.out.push(b'}');
        Some(())
    }

    /// Puts the members from this one on in order.
    fn sort(&mut self, first: usize) {
        let members = &mut self.members[first..];
        let Some(start) = members.first().map(|member| member.start) else { return };
        let written = self.out.split_off(start);
        for member in &mut *members {
            *member = Member { start: member.start - start, key_end: member.key_end - start, end: member.end - start };
        }
        members.sort_by(|a, b| a.key(&written).cmp(b.key(&written)));
        for (at, member) in members.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&written[member.start..member.end]);
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'[');
        if !self.takes(b']') {
            loop {
                self.value(depth)?;
                if self.takes(b']') {
                    break;
                }
                if !self.takes(b',') {
                    return None;
                }
                self.out.push(b',');
            }
        }
        self.out.push(b']');
        Some(())
    }

    /// Keys are compared as they are written.
    fn key(&mut self) -> Option<()> {
        let start = self.out.len();
        self.string()?;
        (!self.out[start..].contains(&b'\\')).then_some(())
    }

    /// A text whose escapes are those that are written anyway.
    fn string(&mut self) -> Option<()> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    if !matches!(self.peek()?, b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') {
                        return None;
                    }
                    self.at += 1;
                }
                0..0x20 => return None,
                _ => {}
            }
        }
        self.out.extend_from_slice(&self.text[start..self.at]);
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let is_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (is_zero && whole > 1) {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return None;
            }
        }
        append_number(&mut self.out, std::str::from_utf8(&self.text[start..self.at]).ok()?);
        Some(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        self.out.extend_from_slice(word);
        Some(())
    }
}

/// By serde's readers.
fn any(cell: &[u8]) -> Option<Vec<u8>> {
    let value: &RawValue = serde_json::from_slice(cell).ok()?;
    let mut out = Vec::with_capacity(cell.len());
    append(&mut out, value.get(), DEEPEST).ok()?.then_some(out)
}

/// The text is JSON without blanks around it. False: it is nested too deep.
fn append(out: &mut Vec<u8>, text: &str, depth: usize) -> serde_json::Result<bool> {
    if depth == 0 {
        return Ok(false);
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(mut members) = serde_json::from_str(text)?;
            // Members of one name all count: a reader that keeps the last one has lost something.
            members.sort_by(|a, b| a.0.cmp(&b.0));
            out.push(b'{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                if !append(out, value.get(), depth - 1)? {
                    return Ok(false);
                }
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(text)?;
            out.push(b'[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                if !append(out, value.get(), depth - 1)? {
                    return Ok(false);
                }
            }
            out.push(b']');
        }
        Some(b'-' | b'0'..=b'9') => append_number(out, text),
        // Texts may be escaped in several ways.
        Some(b'"') if text.contains('\\') => {
            serde_json::to_writer(out, &serde_json::from_str::<Cow<'_, str>>(text)?)?;
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
    Ok(true)
}

/// As they stand in the object.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Lent where nothing in it is escaped.
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visit)
    }
}

/// Its digits without zeros at either end, and where the point belongs.
fn append_number(out: &mut Vec<u8>, number: &str) {
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if is_plain && (number == "0" || !number.ends_with('0')) {
        return out.extend_from_slice(number.as_bytes());
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let Ok(exponent) = exponent.parse::<i64>() else { return out.extend_from_slice(number.as_bytes()) };
    let power =
        exponent.saturating_sub(fraction.len() as i64).saturating_add((digits.len() - significant.len()) as i64);
    match significant.trim_start_matches('0') {
        "" => out.push(b'0'),
        digits if power == 0 => out.extend_from_slice(format!("{sign}{digits}").as_bytes()),
        digits => out.extend_from_slice(format!("{sign}{digits}e{power}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document of every kind of value, written in one of many ways.
    fn document(random: &mut u64, depth: usize, out: &mut String) {
        let mut next = |most: u64| {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*random >> 33) % most
        };
        const BLANKS: [&str; 4] = ["", " ", "\n", "\t "];
        const TEXTS: [&str; 14] = [
            "",
            "a",
            "b",
            "a b",
            "a!",
            "ab",
            "\u{d55c}\u{ae00} \u{1f600}",
            "q\\\"q",
            "n\\n",
            "b\\\\",
            "\\u0061",
            "s\\/",
            "bad\\x",
            "\u{1}",
        ];
        const NUMBERS: [&str; 12] =
            ["0", "-0", "7", "-12", "100", "1.50", "1e2", "1E-2", "12345678901234567890123", "01", "1.", "-"];
        out.push_str(BLANKS[next(4) as usize]);
        // Mistakes are rare, so that most documents have none.
        let pick = |texts: &[&'static str], number: u64, rare: usize| {
            let usual = texts.len() - rare;
            texts[if number.is_multiple_of(50) {
                usual + (number as usize / 50) % rare
            } else {
                number as usize % usual
            }]
        };
        match next(if depth == 0 { 3 } else { 5 }) {
            0 => out.push_str(pick(&NUMBERS, next(10_000), 3)),
            1 => out.push_str(&format!("\"{}\"", pick(&TEXTS, next(10_000), 2))),
            2 => out.push_str(["true", "false", "null"][next(3) as usize]),
            kind => {
                let (open, close) = if kind == 3 { ('[', ']') } else { ('{', '}') };
                out.push(open);
                let length = next(5);
                for at in 0..length {
                    if at > 0 {
                        out.push(',');
                    }
                    let blank = BLANKS[next(4) as usize];
                    if kind == 4 {
                        out.push_str(&format!("{blank}\"{}\"{blank}:", pick(&TEXTS, next(10_000), 2)));
                    }
                    let mut state = next(u64::MAX);
                    document(&mut state, depth - 1, out);
                    out.push_str(blank);
                }
                out.push(close);
            }
        }
    }

    #[test]
    fn usual_documents_are_written_as_any_are() {
        let (mut random, mut usuals) = (7, 0);
        for _ in 0..20_000 {
            let mut text = String::new();
            document(&mut random, 4, &mut text);
            if let Some(written) = usual(text.as_bytes()) {
                usuals += 1;
                assert_eq!(Some(written), any(text.as_bytes()), "{text}");
            }
        }
        assert!(usuals > 10_000, "{usuals}");
    }

    #[test]
    fn keys_are_in_the_order_of_their_texts() {
        let text = br#"{"k": 1, "u": "x", "tags": ["a", "b\"c"], "a!": 0, "a": {"z": {}, "b": []}}"#;
        let written = usual(text).expect("nothing in it is unusual");
        assert_eq!(written, br#"{"a":{"b":[],"z":{}},"a!":0,"k":1,"tags":["a","b\"c"],"u":"x"}"#);
        assert_eq!(any(text), Some(written));
    }

    #[test]
    fn members_of_one_name_stay_as_they_stand() {
        for (text, written) in [
            (r#"{"b": 0, "a": 2, "a": 1}"#, r#"{"a":2,"a":1,"b":0}"#),
            (r#"{"a": 1, "\u0061": 2}"#, r#"{"a":1,"a":2}"#),
        ] {
            assert_eq!(canonical_json(text.as_bytes()), Some(written.into()), "{text}");
        }
        assert_ne!(canonical_json(br#"{"a":1,"a":2}"#), canonical_json(br#"{"a":2}"#));
    }

    #[test]
    fn what_is_no_json_is_left_to_others() {
        for text in ["", "{", "[1", "{\"a\" 1}", "[1,]", "tru", "nul", "\"a", "1 2", "{\"a\":1,}", "+1", ".5", "NaN"] {
            assert_eq!((usual(text.as_bytes()), any(text.as_bytes())), (None, None), "{text}");
        }
        assert_eq!(usual(b"\"\xff\""), None);
    }
}
