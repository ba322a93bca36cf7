//! Addresses like `https://name:password@host`.

use std::ops::Range;

/// Where their passwords stand in a text: byte ranges, in order.
pub fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(place) = text[from..].find("://") {
        let begin = from + place + 3;
        let end = text[begin..]
            .find(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '"' | '\'' | '<' | '>' | '?' | '#'))
            .map_or(text.len(), |length| begin + length);
        let authority = &text[begin..end];
        if let Some(at) = authority.rfind('@')
            && let Some(colon) = authority[..at].find(':')
            && colon + 1 < at
        {
            found.push(begin + colon + 1..begin + at);
        }
        from = end;
    }
    found
}
