//! The secrets of one run, which are secrets of no other: how many are sought, and what was made of them kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::forms::Forms;
use super::{Finder, MIN_LENGTH, collect, is_secret};

/// How many a run may have, a line of a longer one counted as one.
const MOST: usize = 200;
/// In bytes, all together.
const MOST_BYTES: usize = 8 * 1024;
/// In bytes of memory. Beyond it one is forgotten for another.
const MOST_REMEMBERED: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it holds more secrets (values under names such as `password`, passwords within addresses) than can be kept out of the \
     logs of one run: {MOST} of them, or {MOST_BYTES} bytes, are the most; hand on the name of a variable or of a \
     connection instead"
)]
pub struct TooManySecrets;

/// Refuses a conf whose secrets are too many, or too long, for each text of its run to be searched for them.
pub fn check_own_secrets(members: &Map<String, Value>) -> Result<(), TooManySecrets> {
    own_secrets(members).map(drop)
}

/// What is secret among these members, and long enough to be sought.
pub(super) fn own_secrets(members: &Map<String, Value>) -> Result<BTreeSet<String>, TooManySecrets> {
    let mut found = Vec::new();
    for (key, value) in members {
        collect(value, key, is_secret(key, value), &mut found);
    }
    bounded(found)
}

/// Those that are long enough to be sought.
pub(super) fn bounded(found: Vec<String>) -> Result<BTreeSet<String>, TooManySecrets> {
    let is_long = |secret: &String| secret.chars().nth(MIN_LENGTH - 1).is_some();
    let secrets: BTreeSet<String> = found.into_iter().filter(is_long).collect();
    let lines: usize = secrets.iter().map(|secret| secret.lines().count().max(1)).sum();
    let bytes: usize = secrets.iter().map(String::len).sum();
    if lines > MOST || bytes > MOST_BYTES { Err(TooManySecrets) } else { Ok(secrets) }
}

/// What finds the secrets of runs that were looked at lately: to make it costs a hundred times what it costs to use it.
#[derive(Default)]
pub(super) struct Remembered {
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    finders: HashMap<BTreeSet<String>, Arc<Finder>>,
    bytes: usize,
}

impl Remembered {
    pub fn finder(&self, secrets: &BTreeSet<String>) -> Option<Arc<Finder>> {
        if secrets.is_empty() {
            return None;
        }
        if let Some(known) = self.made.lock().ok()?.finders.get(secrets) {
            return Some(known.clone());
        }
        let mut forms = Forms::default();
        for secret in secrets {
            forms.add(secret);
        }
        let finder = Finder::new(&forms)?;
        let mut made = self.made.lock().ok()?;
        if made.finders.insert(secrets.clone(), finder.clone()).is_none() {
            made.bytes += finder.bytes();
        }
        while made.bytes > MOST_REMEMBERED {
            let Some(any) = made.finders.keys().next().cloned() else { break };
            made.bytes -= made.finders.remove(&any).map_or(0, |finder| finder.bytes());
        }
        Some(finder)
    }

    /// How many, and of how many bytes.
    #[cfg(test)]
    pub fn kept(&self) -> (usize, usize) {
        let made = self.made.lock().unwrap();
        (made.finders.len(), made.bytes)
    }
}
