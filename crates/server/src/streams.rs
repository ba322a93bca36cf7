//! Streams that stay open: each person may have so many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_model::error_code::ErrorCode;

use crate::problem::{Answer, Problem};

/// Of one person, over all pages and browsers.
pub(crate) const MOST_STREAMS: usize = 30;

#[derive(Default, Clone)]
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<String, usize>>>,
}

/// One open stream; it is counted until this is dropped.
pub(crate) struct OpenStream {
    streams: Streams,
    person: String,
}

impl Streams {
    pub fn begin(&self, person: &str) -> Answer<OpenStream> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(person.to_owned()).or_default();
        if *count >= MOST_STREAMS {
            let text = format!("{person} has {MOST_STREAMS} open streams already; close some pages");
            return Err(Problem::new(ErrorCode::TOO_MANY_REQUESTS, text));
        }
        *count += 1;
        Ok(OpenStream { streams: self.clone(), person: person.to_owned() })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.person) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_stream_makes_room() {
        let streams = Streams::default();
        let mut open: Vec<_> = (0..MOST_STREAMS).map(|_| streams.begin("ada").unwrap()).collect();
        assert!(streams.begin("ada").is_err() && streams.begin("bob").is_ok());
        open.pop();
        assert!(streams.begin("ada").is_ok());
        drop(open);
        assert!(streams.open.lock().unwrap().is_empty());
    }
}
