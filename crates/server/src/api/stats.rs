//! Counts over DAGs: runs by state, and the tags that there are.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use millrace_model::state::RunState;
use millrace_store::{DagFilter, DagRow};
use schemars::JsonSchema;
use serde::Serialize;

use super::{cut, listed, paged};
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

listed!(DagTags { tags: String });
listed!(DagStats { dags: DagStat });

#[derive(Serialize, JsonSchema)]
pub(crate) struct DagStat {
    dag_id: String,
    dag_display_name: String,
    stats: Vec<StateCount>,
}

#[derive(Serialize, JsonSchema)]
struct StateCount {
    state: &'static str,
    count: u64,
}

pub(super) async fn tags(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<DagTags>> {
    let rows = server.store().dags(&DagFilter::default()).await?.rows;
    let part = parameters.text("tag_name_pattern").map(|text| text.trim_matches('%').to_lowercase());
    let masked = |row: &DagRow| {
        let masker = server.masker_of_dag(&row.dag);
        row.dag.tags.iter().map(|tag| masker.mask(tag)).collect::<Vec<_>>()
    };
    let tags: BTreeSet<String> = rows.iter().flat_map(masked).collect();
    let wanted = |tag: &String| part.as_ref().is_none_or(|part| tag.to_lowercase().contains(part));
    let (tags, total_entries) = paged(tags.into_iter().filter(wanted).collect(), &parameters, TAG_ORDERS)?;
    Ok(Json(DagTags { tags, total_entries }))
}

/// They are names.
pub(super) const TAG_ORDERS: &[&str] = &["name"];

/// Of the DAGs that `dag_ids` names, or of all.
pub(super) async fn runs(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<DagStats>> {
    let (page, wanted) = (parameters.page()?, parameters.all("dag_ids"));
    let mut rows = server.store().dags(&DagFilter::default()).await?.rows;
    rows.retain(|row| wanted.is_empty() || wanted.contains(&row.dag_id.as_str()));
    let (rows, total_entries) = cut(rows, page);
    let ids: Vec<&str> = rows.iter().map(|row| row.dag_id.as_str()).collect();
    let counts = server.store().run_counts(&ids).await?;
    let stat = |dag_id: &&str| DagStat {
        dag_id: (*dag_id).to_owned(),
        dag_display_name: (*dag_id).to_owned(),
        stats: RunState::ALL
            .iter()
            .map(|state| StateCount {
                state: state.as_str(),
                count: counts.get(&((*dag_id).to_owned(), *state)).copied().unwrap_or_default(),
            })
            .collect(),
    };
    Ok(Json(DagStats { dags: ids.iter().map(stat).collect(), total_entries }))
}
