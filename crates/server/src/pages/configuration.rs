//! What the server was started with. Secrets are masked, by their names and by what is known to be one.

use axum::extract::State;
use http::HeaderMap;
use millrace_settings::mask::{MASK, is_sensitive_name};

use crate::person::Person;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let masker = server.options.vault.masker();
    let lines: Vec<_> = server
        .options
        .configuration
        .iter()
        .map(|(key, value)| {
            let value = if is_sensitive_name(key) && !value.is_empty() { MASK.to_owned() } else { masker.mask(value) };
            values! { key => key, value => value }
        })
        .collect();
    server.page("configuration.html", Some(&person), &Wishes::of(&headers), values! { lines }).await
}
