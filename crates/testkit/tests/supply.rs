//! What comes from others: where from, under which licence, and what must not come at all. What other platforms would need
//! besides is not looked at: building here never downloads it. Known vulnerabilities need the network: `make audit` asks
//! for them.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Each of these may be part of a binary under Apache-2.0.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    // By file: its own files stay under it, and only they.
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Why each must not be here.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "TLS is rustls everywhere: nothing to install, one to keep up to date"),
    ("native-tls", "TLS is rustls everywhere"),
    ("aws-lc-sys", "rustls runs on ring; a second C library for the same doubles the build"),
    ("git2", "nothing here reads repositories"),
    ("atty", "unmaintained; std::io::IsTerminal does it"),
    ("serde_yaml", "unmaintained; YAML is read by saphyr"),
];

fn packages() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let answer = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", "host-tuple"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let metadata: Value = serde_json::from_slice(&answer.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// `A OR B` needs one that is allowed, `A AND B` both; brackets as usual.
fn is_allowed(expression: &str) -> bool {
    let text = expression.trim();
    if let Some(parts) = split(text, " OR ").or_else(|| split(text, "/")) {
        return parts.iter().any(|part| is_allowed(part));
    }
    // It binds closer than OR.
    if let Some(parts) = split(text, " AND ") {
        return parts.iter().all(|part| is_allowed(part));
    }
    match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        None => LICENCES.contains(&text),
    }
}

/// At the places of the word that stand in no bracket; none: there is no such place.
fn split<'a>(text: &'a str, word: &str) -> Option<Vec<&'a str>> {
    let (mut depth, mut from, mut parts) = (0_i32, 0, Vec::new());
    for (place, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && place >= from && text[place..].starts_with(word) => {
                parts.push(&text[from..place]);
                from = place + word.len();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    (parts.len() > 1).then_some(parts)
}

#[test]
fn licences_are_read_as_they_are_written() {
    for good in ["MIT", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0", "MIT/Apache-2.0", "Apache-2.0 / MIT"] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR AGPL-3.0) AND MIT", "", "SSPL-1.0"] {
        assert!(!is_allowed(bad), "{bad}");
    }
}

#[test]
fn everything_of_others_is_licensed_wanted_and_from_the_registry() {
    let packages = packages();
    assert!(packages.len() > 300, "{}", packages.len());
    let mut wrong = Vec::new();
    for package in &packages {
        let name = format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        match package["source"].as_str() {
            None => {
                let is_ours = package["name"].as_str().unwrap().starts_with("millrace-");
                assert!(is_ours, "{name} is part of the workspace under a name that is not ours");
                continue;
            }
            Some("registry+https://github.com/rust-lang/crates.io-index") => {}
            Some(other) => wrong.push(format!("{name} comes from {other}")),
        }
        let licence = package["license"].as_str().unwrap_or_default();
        if !is_allowed(licence) {
            wrong.push(format!("{name} has the licence '{licence}'"));
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| package["name"] == *banned) {
            wrong.push(format!("{name} must not be here: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
