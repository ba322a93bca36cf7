//! What keeps this process from working with its database, for whoever asks how it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::Store;

#[derive(Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<&'static str, String>>);

impl Store {
    /// Notes what keeps one part of this process (`scheduler`, `heartbeat` …) from its work, or that nothing does any
    /// more. Returns whether that is news, so that it can be said once.
    pub fn set_trouble(&self, part: &'static str, reason: Option<String>) -> bool {
        let mut troubles = self.inner.troubles.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => troubles.insert(part, reason).is_none(),
            None => troubles.remove(part).is_some(),
        }
    }

    /// The parts of this process that cannot do their work now, each with why.
    pub fn troubles(&self) -> Vec<(&'static str, String)> {
        let troubles = self.inner.troubles.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().map(|(part, reason)| (*part, reason.clone())).collect()
    }
}
