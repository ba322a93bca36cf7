//! The configuration that is in force, as Airflow's clients read it.

use axum::Json;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

#[derive(Serialize, JsonSchema)]
pub(crate) struct Config {
    sections: Vec<Section>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConfigSection")]
struct Section {
    name: String,
    options: Vec<Setting>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConfigOption")]
struct Setting {
    key: String,
    value: String,
}

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Config>> {
    let parameters = Parameters(parameters);
    let wanted = parameters.text("section");
    let mut sections: Vec<Section> = Vec::new();
    for (key, value) in server.configuration() {
        let (name, key) = key.split_once('.').map_or(("", key.as_str()), |(section, key)| (section, key));
        if wanted.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let setting = Setting { key: key.to_owned(), value };
        match sections.iter_mut().find(|section| section.name == name) {
            Some(section) => section.options.push(setting),
            None => sections.push(Section { name: name.to_owned(), options: vec![setting] }),
        }
    }
    Ok(Json(Config { sections }))
}
