//! What a command asks of a terminal within its words: colours, above all.

use std::borrow::Cow;
use std::iter::once;
use std::ops::Range;

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// A text without its escape sequences, which knows where its bytes stood.
pub(super) struct Unescaped {
    pub text: String,
    /// In the whole text, of each byte.
    places: Vec<usize>,
}

impl Unescaped {
    /// None where there is nothing to leave out.
    pub fn of(text: &str) -> Option<Self> {
        let sequences = sequences(text);
        if sequences.is_empty() {
            return None;
        }
        let mut kept = Self { text: String::with_capacity(text.len()), places: Vec::with_capacity(text.len()) };
        let mut from = 0;
        for sequence in sequences.into_iter().chain(once(text.len()..text.len())) {
            kept.text.push_str(&text[from..sequence.start]);
            kept.places.extend(from..sequence.start);
            from = sequence.end;
        }
        Some(kept)
    }

    /// Where a part that is not empty stands in the whole text, with the sequences within it.
    pub fn place(&self, part: Range<usize>) -> Range<usize> {
        self.places[part.start]..self.places[part.end - 1] + 1
    }
}

/// The text without escape sequences.
pub fn without_escapes(text: &str) -> Cow<'_, str> {
    Unescaped::of(text).map_or(Cow::Borrowed(text), |kept| Cow::Owned(kept.text))
}

/// Byte ranges, in order.
fn sequences(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(length) = text[from..].find(char::from(ESCAPE)) {
        let begin = from + length;
        from = begin + length_of(&bytes[begin..]);
        found.push(begin..from);
    }
    found
}

/// Of the sequence with which this begins (ECMA-48); of an escape that begins none, that of itself.
fn length_of(bytes: &[u8]) -> usize {
    let skip =
        |from: usize, kind: fn(u8) -> bool| from + bytes.iter().skip(from).take_while(|byte| kind(**byte)).count();
    let end = |at: usize, kind: fn(u8) -> bool| bytes.get(at).filter(|byte| kind(**byte)).map(|_| at + 1);
    let found = match bytes.get(1) {
        Some(b'[') => {
            let intermediate = skip(2, |byte| matches!(byte, 0x30..=0x3f));
            end(skip(intermediate, |byte| matches!(byte, 0x20..=0x2f)), |byte| matches!(byte, 0x40..=0x7e))
        }
        // A link, a title of the window: up to a bell, or to an escape with a backslash.
        Some(b']') => {
            let at = skip(2, |byte| byte != BELL && byte != ESCAPE);
            if bytes.get(at..at + 2) == Some(b"\x1b\\") { Some(at + 2) } else { end(at, |byte| byte == BELL) }
        }
        _ => end(skip(1, |byte| matches!(byte, 0x20..=0x2f)), |byte| matches!(byte, 0x30..=0x7e)),
    };
    found.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_a_terminal_is_left_out() {
        for (text, left) in [
            ("\u{1b}[0m22:47:42  \u{1b}[1;32mPASS=3\u{1b}[0m ERROR=0 [1m]", "22:47:42  PASS=3 ERROR=0 [1m]"),
            ("\u{1b}[01;31m\u{1b}[Kfound\u{1b}[m\u{1b}[K it", "found it"),
            ("\u{1b}]8;;https://x/y\u{1b}\\link\u{1b}]8;;\u{7} \u{1b}(B\u{1b}[?25l.", "link ."),
            ("\u{1b}", ""),
            ("a\u{1b}]never ends", "a]never ends"),
            ("a\u{1b}é\u{1b}[3é\u{1b}\u{1b}[0m", "aé[3é"),
            ("비밀", "비밀"),
        ] {
            assert_eq!(without_escapes(text), left, "{text:?}");
        }
    }

    #[test]
    fn a_part_is_found_again_with_what_was_left_out_of_it() {
        let text = "x \u{1b}[1mse비\u{1b}[0mcret\u{1b}[m y";
        let kept = Unescaped::of(text).unwrap();
        let part = kept.text.find("se비cret").unwrap();
        assert_eq!(&text[kept.place(part..part + "se비cret".len())], "se비\u{1b}[0mcret");
    }
}
