//! The forms in which programs write a secret down.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::MIN_LENGTH;

/// A text of several lines that is longer than this is sought as it is, and by its lines in every form: to write the whole
/// in every form too would find nothing more but the ends of its lines.
const LONGEST_ENCODED: usize = 256;

/// What URL builders leave as it is: nothing; Python's `quote`; its `quote_plus`; `encodeURIComponent`; forms; the part of an
/// address before the `@`.
const URL_SETS: [&AsciiSet; 6] = [
    NON_ALPHANUMERIC,
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/'),
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~'),
    &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b'!')
        .remove(b'*')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')'),
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*'),
    &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'`')
        .add(b'{')
        .add(b'}')
        .add(b'/')
        .add(b':')
        .add(b';')
        .add(b'=')
        .add(b'@')
        .add(b'[')
        .add(b'\\')
        .add(b']')
        .add(b'^')
        .add(b'|'),
];

/// What `printf %q` and `set -x` put a backslash before.
const SHELL_SPECIAL: &str = " \t'\"\\|&;()<>!{}*[]?^$`,";

/// What is sought in a text in a secret's place.
#[derive(Default)]
pub(super) struct Forms {
    /// Hidden as they are.
    pub plain: BTreeSet<String>,
    /// Of a longer base64 text, of which all is hidden: what stands around them has bits of the secret.
    pub base64: BTreeSet<String>,
}

impl Forms {
    pub fn add(&mut self, secret: &str) {
        let has_lines = secret.contains('\n');
        if has_lines && secret.len() > LONGEST_ENCODED {
            self.plain.insert(secret.to_owned());
        } else {
            self.add_part(secret);
        }
        if has_lines {
            secret.lines().for_each(|line| self.add_part(line));
        }
    }

    fn add_part(&mut self, part: &str) {
        if part.chars().count() < MIN_LENGTH {
            return;
        }
        self.plain.insert(part.to_owned());
        add_base64(part, &mut self.base64);
        // Most secrets are written alike everywhere.
        if part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return;
        }
        add_urls(part, &mut self.plain);
        add_json(part, &mut self.plain);
        add_html(part, &mut self.plain);
        add_quoted(part, &mut self.plain);
    }
}

fn add_urls(part: &str, forms: &mut BTreeSet<String>) {
    for set in URL_SETS {
        let upper = utf8_percent_encode(part, set).to_string();
        let mut lower = String::with_capacity(upper.len());
        let mut of_escape = 0;
        for letter in upper.chars() {
            lower.push(if of_escape > 0 { letter.to_ascii_lowercase() } else { letter });
            of_escape = if letter == '%' { 2_u8 } else { of_escape.saturating_sub(1) };
        }
        for form in [upper, lower] {
            forms.insert(form.replace("%20", "+"));
            forms.insert(form);
        }
    }
}

fn add_json(part: &str, forms: &mut BTreeSet<String>) {
    let quoted = |text: &str| {
        let json = Value::String(text.to_owned()).to_string();
        json[1..json.len() - 1].to_owned()
    };
    let json = quoted(part);
    // Go's.
    let for_pages = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let mut ascii = String::with_capacity(json.len());
    let mut upper = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            ascii.push(letter);
            upper.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}");
                let _ = write!(upper, "\\u{unit:04X}");
            }
        }
    }
    // PHP's.
    let slashes = ascii.replace('/', "\\/");
    let twice = quoted(&json);
    forms.extend([json, for_pages, ascii, upper, slashes, twice]);
}

fn add_html(part: &str, forms: &mut BTreeSet<String>) {
    let text = part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for (double, single) in
        [("\"", "'"), ("&quot;", "'"), ("&quot;", "&#x27;"), ("&quot;", "&#39;"), ("&#34;", "&#39;")]
    {
        forms.insert(text.replace('"', double).replace('\'', single));
    }
}

/// As shells, Python and SQL write it between quotes, or without them.
fn add_quoted(part: &str, forms: &mut BTreeSet<String>) {
    let before = |special: &str| {
        let mut escaped = String::with_capacity(part.len() + 8);
        for letter in part.chars() {
            if special.contains(letter) {
                escaped.push('\\');
            }
            escaped.push(letter);
        }
        escaped
    };
    let bytes = |octal: bool| {
        let mut escaped = String::with_capacity(part.len() + 8);
        for byte in part.bytes() {
            let _ = match byte {
                b'\\' | b'\'' => write!(escaped, "\\{}", char::from(byte)),
                b' '..=b'~' => write!(escaped, "{}", char::from(byte)),
                _ if octal => write!(escaped, "\\{byte:03o}"),
                _ => write!(escaped, "\\x{byte:02x}"),
            };
        }
        escaped
    };
    let for_shell = before(SHELL_SPECIAL);
    forms.extend([
        // Special where a word begins.
        if part.starts_with(['~', '#']) { format!("\\{for_shell}") } else { for_shell },
        // An older bash leaves it as it is.
        before(SHELL_SPECIAL.trim_end_matches(',')),
        before("\\"),
        before("\\'"),
        before("\\\"$`"),
        bytes(true),
        bytes(false),
        part.replace('\'', "'\\''"),
        part.replace('\'', "'\"'\"'"),
        part.replace('\'', "''"),
        part.replace('"', "\"\""),
    ]);
}

/// Within any base64 text: `user:secret`, a whole file. Where it begins in a group of three bytes decides what it looks like;
/// characters that hold bits of what stands around it are not part of the form.
fn add_base64(part: &str, forms: &mut BTreeSet<String>) {
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(part.as_bytes());
        let first = (before * 8).div_ceil(6);
        let end = bytes.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.insert(engine.encode(&bytes)[first..end].to_owned());
        }
    }
}

pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
}
