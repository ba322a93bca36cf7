//! The canonical text of a JSON document: as PostgreSQL writes `jsonb`, whose texts need little then. Keys are in order (short
//! ones first), those that are alike as they stand, one blank follows each comma and colon, and numbers are written digit by
//! digit.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Text;

/// What may be nested in JSON; as many as serde's readers take.
const DEEPEST: usize = 128;
/// What most documents stay far within.
const USUAL_DEPTH: usize = 32;

/// Writes the text over what is in `out`, unless it is the cell's own. `None`: it is no JSON, or nested deeper than any reader
/// would go.
pub fn canonical_json<'a>(cell: &'a [u8], out: &mut Vec<u8>, room: &mut Room) -> Option<Text<'a>> {
    usual(cell, out, room).or_else(|| any(cell, out).map(|()| Text::Written))
}

/// Whether a text that PostgreSQL wrote of a `jsonb` is canonical: no number has a fraction or a zero at its end. False also of
/// texts within it that look so.
pub fn stands_as_jsonb(cell: &[u8]) -> bool {
    let Some(last) = cell.len().checked_sub(2) else { return true };
    let (before, here, behind) = (&cell[..last], &cell[1..], &cell[2..]);
    let is_odd = |((before, here), behind): ((&u8, &u8), &u8)| {
        let is_last_zero = u8::from(*here == b'0') & u8::from(matches!(behind, b',' | b']' | b'}'));
        u8::from(before.is_ascii_digit()) & (u8::from(*here == b'.') | is_last_zero)
    };
    // All of them are looked at, by instructions for many at a time, which a branch would keep away.
    let odd = before.iter().zip(here).zip(behind).fold(0, |odd, three| odd | is_odd(three));
    odd == 0 && cell[last + 1] != b'0'
}

/// What a document needs while it is looked at, kept for the next one.
#[derive(Default)]
pub struct Room {
    /// Of the objects around a place, the innermost last.
    members: Vec<Member>,
    /// Members that are being put in order.
    unsorted: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Member {
    /// Where its key stands in the document, without its quotes.
    key: (usize, usize),
    /// Where it begins and ends in what is written.
    start: usize,
    end: usize,
}

/// Short ones first, as PostgreSQL keeps them: what it sends is in order.
fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Of the documents that need no decoding, in one go: most of them, a hundred thousand times over. `None` for others, and
/// for what may be none.
fn usual<'a>(cell: &'a [u8], out: &mut Vec<u8>, room: &mut Room) -> Option<Text<'a>> {
    out.clear();
    room.members.clear();
    let mut walk = Walk { text: cell, at: 0, pending: 0, out, room };
    walk.value(USUAL_DEPTH)?;
    walk.blanks();
    if walk.at < cell.len() {
        return None;
    }
    if walk.out.is_empty() {
        return Some(Text::Part(&cell[walk.pending..]));
    }
    walk.write();
    Some(Text::Written)
}

/// Each step is `None` at whatever [`any`] should look at.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    /// From here to `at` is what stands in the canonical text too and has yet to be written.
    pending: usize,
    out: &'a mut Vec<u8>,
    room: &'a mut Room,
}

impl Walk<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn write(&mut self) {
        self.out.extend_from_slice(&self.text[self.pending..self.at]);
        self.pending = self.at;
    }

    /// How long the canonical text is up to here.
    #[inline]
    fn length(&self) -> usize {
        self.out.len() + self.at - self.pending
    }

    #[inline]
    fn blanks(&mut self) {
        let is_blank = |byte: Option<u8>| matches!(byte, Some(b' ' | b'\n' | b'\t' | b'\r'));
        if is_blank(self.peek()) {
            self.write();
            while is_blank(self.peek()) {
                self.at += 1;
            }
            self.pending = self.at;
        }
    }

    /// One blank, whatever stands there.
    #[inline]
    fn one_blank(&mut self) {
        let is_written = self.peek() == Some(b' ');
        self.at += usize::from(is_written);
        if !is_written {
            self.write();
            self.out.push(b' ');
        }
        self.blanks();
    }

    /// The next byte that is no blank, taken when it is this one.
    #[inline]
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
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        let first = self.room.members.len();
        let mut is_sorted = true;
        if !self.takes(b'}') {
            loop {
                self.blanks();
                let start = self.length();
                let key = self.key()?;
                if !self.takes(b':') {
                    return None;
                }
                self.one_blank();
                self.value(depth)?;
                self.blanks();
                if let Some(before) = self.room.members[first..].last() {
                    is_sorted &= in_order(&self.text[before.key.0..before.key.1], &self.text[key.0..key.1]).is_le();
                }
                self.room.members.push(Member { key, start, end: self.length() });
                if self.takes(b'}') {
                    break;
                }
                if !self.takes(b',') {
                    return None;
                }
                self.one_blank();
            }
        }
        if !is_sorted {
            self.sort(first);
        }
        self.room.members.truncate(first);
        Some(())
    }

    /// Puts the members from this one on in order; the object has just ended.
    fn sort(&mut self, first: usize) {
        self.write();
        let Room { members, unsorted } = &mut *self.room;
        let members = &mut members[first..];
        let Some(start) = members.first().map(|member| member.start) else { return };
        unsorted.clear();
        unsorted.extend_from_slice(&self.out[start..]);
        self.out.truncate(start);
        let key = |member: &Member| &self.text[member.key.0..member.key.1];
        members.sort_by(|a, b| in_order(key(a), key(b)));
        for (at, member) in members.iter().enumerate() {
            if at > 0 {
                self.out.extend_from_slice(b", ");
            }
            self.out.extend_from_slice(&unsorted[member.start - start..member.end - start]);
        }
        self.out.push(b'}');
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        if self.takes(b']') {
            return Some(());
        }
        loop {
            self.value(depth)?;
            if self.takes(b']') {
                return Some(());
            }
            if !self.takes(b',') {
                return None;
            }
            self.one_blank();
        }
    }

    /// Keys are compared as they are written.
    fn key(&mut self) -> Option<(usize, usize)> {
        let (start, is_escaped) = (self.at + 1, self.string()?);
        (!is_escaped).then_some((start, self.at - 1))
    }

    /// A text whose escapes are those that are written anyway: whether it has any.
    fn string(&mut self) -> Option<bool> {
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        let mut is_escaped = false;
        loop {
            let rest = &self.text[self.at..];
            let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            self.at += length + 1;
            match rest[length] {
                b'"' => return Some(is_escaped),
                b'\\' if matches!(self.peek()?, b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                _ => return None,
            }
            is_escaped = true;
        }
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let is_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (is_zero && whole > 1) {
            return None;
        }
        let mut is_whole = true;
        if self.peek() == Some(b'.') {
            is_whole = false;
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return None;
            }
        }
        if !is_whole || self.text[self.at - 1] == b'0' {
            self.out.extend_from_slice(&self.text[self.pending..start]);
            append_number(self.out, std::str::from_utf8(&self.text[start..self.at]).ok()?);
            self.pending = self.at;
        }
        Some(())
    }

    #[inline]
    fn digits(&mut self) -> usize {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += length;
        length
    }

    fn word(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        Some(())
    }
}

/// By serde's readers.
fn any(cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let value: &RawValue = serde_json::from_slice(cell).ok()?;
    out.clear();
    append(out, value.get(), DEEPEST).ok()?.then_some(())
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
            members.sort_by(|a, b| in_order(a.0.as_bytes(), b.0.as_bytes()));
            out.push(b'{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                serde_json::to_writer(&mut *out, key)?;
                out.extend_from_slice(b": ");
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
                    out.extend_from_slice(b", ");
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

    fn written(text: Text<'_>, out: &[u8]) -> Vec<u8> {
        match text {
            Text::Part(text) => text.to_vec(),
            Text::Written => out.to_vec(),
        }
    }

    fn usual(cell: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"of before".to_vec();
        let text = super::usual(cell, &mut out, &mut Room::default())?;
        Some(written(text, &out))
    }

    fn any(cell: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"of before".to_vec();
        super::any(cell, &mut out).map(|()| out)
    }

    fn canonical_json(cell: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let text = super::canonical_json(cell, &mut out, &mut Room::default())?;
        Some(written(text, &out))
    }

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
                assert_eq!(usual(&written).as_ref(), Some(&written), "the canonical text is its own: {text}");
                assert_eq!(Some(written), any(text.as_bytes()), "{text}");
            }
        }
        assert!(usuals > 10_000, "{usuals}");
    }

    #[test]
    fn keys_are_in_the_order_of_their_texts() {
        let text = br#"{"k": 1, "u": "x", "tags": ["a", "b\"c"], "a!": 0, "a": {"zz": {}, "b": []}}"#;
        let written = usual(text).expect("nothing in it is unusual");
        assert_eq!(written, br#"{"a": {"b": [], "zz": {}}, "k": 1, "u": "x", "a!": 0, "tags": ["a", "b\"c"]}"#);
        assert_eq!(any(text), Some(written));
    }

    #[test]
    fn texts_of_jsonb_are_canonical_but_for_their_numbers() {
        let seen = [
            "{}",
            "1",
            "-7",
            "0",
            "[0, -1, 105]",
            r#"{"k": 7, "u": "😀", "tags": ["a", "b\"c"]}"#,
            r#"{"b": ".5", "10": "x"}"#,
            "",
        ];
        for text in seen {
            assert!(stands_as_jsonb(text.as_bytes()), "{text}");
            if let Some(canonical) = canonical_json(text.as_bytes()) {
                assert_eq!(canonical, text.as_bytes());
            }
        }
        for text in
            ["10", "1.5", "[10]", "[1, 20, 3]", r#"{"a": 1.50}"#, r#"{"a": 100, "b": 1}"#, r#"{"a": {"b": 30}}"#]
        {
            assert!(!stands_as_jsonb(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn members_of_one_name_stay_as_they_stand() {
        for (text, written) in [
            (r#"{"b": 0, "a": 2, "a": 1}"#, r#"{"a": 2, "a": 1, "b": 0}"#),
            (r#"{"a": 1, "\u0061": 2}"#, r#"{"a": 1, "a": 2}"#),
        ] {
            assert_eq!(canonical_json(text.as_bytes()), Some(written.into()), "{text}");
        }
        assert_ne!(canonical_json(br#"{"a": 1, "a": 2}"#), canonical_json(br#"{"a":2}"#));
    }

    #[test]
    fn what_is_no_json_is_left_to_others() {
        for text in ["", "{", "[1", "{\"a\" 1}", "[1,]", "tru", "nul", "\"a", "1 2", "{\"a\":1,}", "+1", ".5", "NaN"] {
            assert_eq!((usual(text.as_bytes()), any(text.as_bytes())), (None, None), "{text}");
        }
        assert_eq!(any(b"\"\xff\""), None);
    }
}
