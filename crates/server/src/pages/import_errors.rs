//! DAG files that cannot be read, with everything that is wrong in them.

use axum::extract::State;
use http::HeaderMap;
use millrace_model::pool::PoolFault;
use millrace_store::{DagFilter, DagRow};
use serde::Serialize;
use serde_json::Value;

use crate::access::person::Person;
use crate::format::When;
use crate::links;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::words::say;

#[derive(Serialize)]
struct Broken {
    file: String,
    since: When,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    place: String,
    is_warning: bool,
    message: String,
    hint: Option<String>,
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let now = server.now();
    let rows = server.import_errors().await?;
    let fault = |file: &str, one: &Value| {
        let text = |key: &str| one.get(key).and_then(Value::as_str).map(say);
        Fault {
            place: crate::api::import_place(file, one),
            is_warning: one.get("severity").and_then(Value::as_str) == Some("warning"),
            message: text("message").unwrap_or_default(),
            hint: text("hint"),
        }
    };
    let files: Vec<Broken> = rows
        .iter()
        .map(|row| Broken {
            file: row.file_path.clone(),
            since: When::new(row.first_seen_at, now, chrono_tz::UTC),
            faults: row.diagnostics.iter().map(|one| fault(&row.file_path, one)).collect(),
        })
        .collect();
    let never = server.never_runs(&server.store().dags(&DagFilter::default()).await?.rows).await?;
    server.page("import_errors.html", Some(&person), &Wishes::of(&headers), values! { files, never }).await
}

/// A task that can never run, of a DAG that can be read.
#[derive(Serialize)]
pub(super) struct Never {
    dag_id: String,
    href: String,
    text: String,
    hint: String,
}

impl Server {
    pub(super) async fn never_runs(&self, dags: &[DagRow]) -> Answer<Vec<Never>> {
        let pools = self.store().pool_sizes().await?;
        let of_dag = |row: &DagRow| {
            let never = |fault: &PoolFault| Never {
                dag_id: row.dag_id.to_string(),
                href: links::dag(row.dag_id.as_str()),
                text: say(&fault.to_string()),
                hint: say(&fault.hint()),
            };
            PoolFault::all_of(&row.dag, &pools).iter().map(never).collect::<Vec<_>>()
        };
        Ok(dags.iter().flat_map(of_dag).collect())
    }
}
