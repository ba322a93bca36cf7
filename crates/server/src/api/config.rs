//! The configuration that is in force, as Airflow's clients read it.

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::error_code::ErrorCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

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

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Config>> {
    let wanted = parameters.text("section");
    Ok(Json(config(&server, |section, _| wanted.is_none_or(|wanted| wanted == section))))
}

pub(super) async fn get(
    State(server): State<Shared>,
    Path((section, option)): Path<(String, String)>,
) -> Answer<Json<Config>> {
    let found = config(&server, |its_section, its_name| its_section == section && its_name == option);
    if found.sections.is_empty() {
        return Err(Problem::new(ErrorCode::NOT_FOUND, format!("there is no setting {section}.{option}")));
    }
    Ok(Json(found))
}

fn config(server: &Server, is_wanted: impl Fn(&str, &str) -> bool) -> Config {
    let mut sections: Vec<Section> = Vec::new();
    for (key, value) in server.configuration() {
        let (name, key) = key.split_once('.').map_or(("", key.as_str()), |(section, key)| (section, key));
        if !is_wanted(name, key) {
            continue;
        }
        let setting = Setting { key: key.to_owned(), value };
        match sections.iter_mut().find(|section| section.name == name) {
            Some(section) => section.options.push(setting),
            None => sections.push(Section { name: name.to_owned(), options: vec![setting] }),
        }
    }
    Config { sections }
}
