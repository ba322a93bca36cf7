//! What tasks of every DAG handed on to others, newest first.

use axum::extract::State;
use http::HeaderMap;
use millrace_store::XcomFilter;
use serde::Serialize;
use serde_json::Value;

use super::paging::{kept, paging};
use crate::access::person::Person;
use crate::api::found_results;
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, merged, values};
use crate::server::Shared;

const ROWS: u64 = 50;
/// Letters of a value; the task's own page has more of it.
const LONGEST: usize = 300;

#[derive(Serialize)]
struct Line {
    key: String,
    dag_id: String,
    dag_href: String,
    run_id: String,
    run_href: String,
    name: String,
    href: String,
    value: String,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let offset = parameters.offset()?;
    let filter = XcomFilter {
        dag_id: parameters.owned("dag"),
        run_id: parameters.owned("run"),
        task_id: parameters.owned("task"),
        key: parameters.owned("key"),
        // One more says whether there are more.
        limit: ROWS + 1,
        offset,
        ..XcomFilter::default()
    };
    let found = found_results(&server, &filter).await?;
    let shown = found.len();
    let lines = found.into_iter().take(ROWS as usize).map(|it| Line {
        dag_href: links::dag(&it.dag_id),
        run_href: links::run(&it.dag_id, &it.dag_run_id),
        href: links::instance(&it.dag_id, &it.dag_run_id, &it.task_id, it.map_index),
        name: if it.map_index >= 0 { format!("{} [{}]", it.task_id, it.map_index) } else { it.task_id },
        value: shortened(&it.value),
        key: it.key,
        dag_id: it.dag_id,
        run_id: it.dag_run_id,
    });
    let values = values! {
        lines => lines.collect::<Vec<_>>(),
        rest => kept(&parameters, &["dag", "run", "task", "key"]),
        dag_id => filter.dag_id,
        run_id => filter.run_id,
        task_id => filter.task_id,
        key => filter.key,
    };
    // How many there are in all nobody counts.
    let values = merged(values, paging(offset, shown, ROWS, offset + shown as u64));
    server.page("results.html", Some(&person), &Wishes::of(&headers), values).await
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}
