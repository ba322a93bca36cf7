//! The secrets of one run, which are secrets of no other: how many are sought, and what was made of them kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::forms::Forms;
use super::{Finder, MIN_LENGTH, collect, is_sensitive_name};

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
    if OwnSecrets::of(&[members]).is_all { Ok(()) } else { Err(TooManySecrets) }
}

pub(super) struct OwnSecrets {
    secrets: BTreeSet<String>,
    /// False where some had to be left out.
    is_all: bool,
}

impl OwnSecrets {
    pub fn of(members: &[&Map<String, Value>]) -> Self {
        let mut found = Vec::new();
        for (key, value) in members.iter().flat_map(|members| members.iter()) {
            collect(value, key, is_sensitive_name(key), &mut found);
        }
        Self::these(&found)
    }

    pub fn these(found: &[String]) -> Self {
        let mut own = Self { secrets: BTreeSet::new(), is_all: true };
        let (mut count, mut bytes) = (0, 0);
        for secret in found {
            if secret.chars().take(MIN_LENGTH).count() < MIN_LENGTH || own.secrets.contains(secret) {
                continue;
            }
            let lines = secret.lines().take(MOST + 1).count().max(1);
            if count + lines > MOST || bytes + secret.len() > MOST_BYTES {
                own.is_all = false;
                continue;
            }
            (count, bytes) = (count + lines, bytes + secret.len());
            own.secrets.insert(secret.clone());
        }
        own
    }
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
    pub fn finder(&self, own: &OwnSecrets) -> Option<Arc<Finder>> {
        if own.secrets.is_empty() {
            return None;
        }
        if let Some(known) = self.made.lock().ok()?.finders.get(&own.secrets) {
            return Some(known.clone());
        }
        let mut forms = Forms::default();
        own.secrets.iter().for_each(|secret| forms.add(secret));
        let finder = Finder::new(&forms)?;
        let mut made = self.made.lock().ok()?;
        if made.finders.insert(own.secrets.clone(), finder.clone()).is_none() {
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
