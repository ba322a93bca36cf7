//! The configuration in force. Secrets are masked, by their names and by what is known to be one.

use axum::extract::State;
use http::HeaderMap;

use crate::access::person::Person;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let lines: Vec<_> =
        server.configuration().into_iter().map(|(key, value)| values! { key => key, value => value }).collect();
    server.page("configuration.html", Some(&person), &Wishes::of(&headers), values! { lines }).await
}
