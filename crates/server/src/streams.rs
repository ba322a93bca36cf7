//! Streams that stay open: each person may have so many, and none outlives the rights of whoever opened it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use millrace_model::error_code::ErrorCode;

use crate::access::client::Client;
use crate::access::guard::{Asked, identify};
use crate::access::permission::Access;
use crate::problem::{Answer, Problem};
use crate::server::Shared;

/// Of one person, over all pages and browsers.
pub(crate) const MOST_STREAMS: usize = 30;

/// The rights of whoever reads are looked at so often.
const REVIEWED_EVERY: Duration = Duration::from_secs(5);

/// Who opened a stream: with which credentials, and what the address asks for.
pub(crate) struct Reader {
    server: Shared,
    client: Client,
    credentials: HeaderMap,
    access: Access,
}

impl Reader {
    /// Whether the same request would be let in now. Where nobody can tell, it would not.
    pub async fn is_let_in(&self) -> bool {
        let found = identify(&self.server, &self.credentials, &self.client, Asked::ByItself).await;
        let Ok(Some((person, _))) = found else { return false };
        match self.access {
            Access::Open => true,
            Access::Act(act) | Access::OfSomeDag(act) => person.may_somewhere(act),
        }
    }

    /// Comes back when they are let in no more.
    pub async fn shut_out(self) {
        loop {
            tokio::time::sleep(REVIEWED_EVERY).await;
            if !self.is_let_in().await {
                return;
            }
        }
    }
}

impl FromRequestParts<Shared> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Shared) -> Result<Self, Problem> {
        let known = parts.extensions.get::<Client>().cloned().zip(parts.extensions.get::<Access>().copied());
        // The guard lets nobody pass without these.
        let (client, access) = known.ok_or_else(|| Problem::new(ErrorCode::UNAUTHENTICATED, "sign in first"))?;
        let kept = [header::AUTHORIZATION, header::COOKIE];
        let credentials = kept.into_iter().filter_map(|name| Some((name.clone(), parts.headers.get(name)?.clone())));
        Ok(Self { server: server.clone(), client, credentials: credentials.collect(), access })
    }
}

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
