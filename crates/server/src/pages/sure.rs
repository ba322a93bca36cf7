//! Asks before something is deleted or ended, where scripts do not run: the button of such a form leads here with all that
//! the form holds, and the button of this page does it.

use axum::Form;
use axum::extract::State;
use http::HeaderMap;

use crate::access::person::Person;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

/// What the form says to this page stands under names that begin so.
const OWN: &str = "sure.";

/// Changes nothing. That a page of ours has written the question is what the token of the form says.
pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    let given = Parameters(fields);
    let said = |name: &str| given.owned(name).unwrap_or_default();
    let fields: Vec<_> =
        given.0.iter().filter(|(name, _)| !name.starts_with(OWN) && name != "csrf_token").cloned().collect();
    let values = values! {
        to => here(&said("sure.to"))?,
        back => here(&said("sure.back"))?,
        question => said("sure.question"),
        what => said("sure.what"),
        yes => said("sure.yes"),
        fields,
    };
    server.page("sure.html", Some(&person), &Wishes::of(&headers), values).await
}

fn here(path: &str) -> Answer<&str> {
    links::local(path).ok_or_else(|| Problem::invalid("say what is to be done: an address that begins with '/'"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn templates(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                templates(&path, found);
            } else {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }

    #[test]
    fn whatever_a_dialog_asks_is_asked_without_scripts_too() {
        let mut found = Vec::new();
        templates(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/templates")), &mut found);
        let forms = |text: &str| {
            text.split("<form").skip(1).map(|it| it.split("</form>").next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let asking: Vec<(&str, String)> = found
            .iter()
            .flat_map(|(name, text)| forms(text).into_iter().map(move |form| (name.as_str(), form)))
            .filter(|(_, form)| form.contains("data-confirm") || form.contains("class=\"danger\""))
            .collect();
        assert!(asking.len() >= 4, "{asking:?}");
        for (name, form) in asking {
            // A password is typed for nothing else, and is never sent back; what asks asks nobody else.
            let asks = name.ends_with("/sure.html") || form.contains("method=\"dialog\"");
            if !form.contains("type=\"password\"") && !asks {
                assert!(form.contains("formaction=\"/sure\"") && form.contains("{{ sure("), "{name}: {form}");
            }
        }
    }
}
