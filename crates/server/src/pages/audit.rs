//! Who changed what, newest first.

use axum::extract::State;
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_store::{AuditFilter, AuditRow};
use serde::Serialize;
use serde_json::Value;

use super::paging::{kept, paging};
use crate::access::person::Person;
use crate::format::When;
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, merged, values};
use crate::server::Shared;

const ROWS: u64 = 50;

#[derive(Serialize)]
struct Line {
    at: When,
    actor: String,
    action: String,
    dag: Option<(String, String)>,
    run: Option<(String, String)>,
    task_id: Option<String>,
    details: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let offset = parameters.offset()?;
    let filter = AuditFilter {
        dag_id: parameters.owned("dag"),
        run_id: parameters.owned("run"),
        task_id: parameters.owned("task"),
        actor: parameters.owned("actor"),
        action: parameters.owned("action"),
        limit: ROWS,
        offset,
        ..AuditFilter::default()
    };
    let mut page = server.store().audit_log(&filter).await?;
    server.masked_audit(&mut page.rows).await?;
    let shown = |value: &Value| match value {
        Value::Null => None,
        Value::Object(map) if map.is_empty() => None,
        value => Some(serde_json::to_string_pretty(value).unwrap_or_default()),
    };
    let line = |row: &AuditRow| Line {
        at: When::new(row.at, server.now(), Tz::UTC),
        actor: row.actor.clone(),
        action: row.action.clone(),
        dag: row.dag_id.as_ref().map(|dag_id| (dag_id.clone(), links::dag(dag_id))),
        run: row
            .dag_id
            .as_ref()
            .zip(row.run_id.as_ref())
            .map(|(dag_id, run_id)| (run_id.clone(), links::run(dag_id, run_id))),
        task_id: row.task_id.clone(),
        details: shown(&row.details),
        before: row.before.as_ref().and_then(shown),
        after: row.after.as_ref().and_then(shown),
    };
    let rest = kept(&parameters, &["dag", "run", "task", "actor", "action"]);
    let values = values! {
        lines => page.rows.iter().map(line).collect::<Vec<_>>(),
        total => page.total,
        rest,
        dag_id => parameters.owned("dag"),
        run_id => parameters.owned("run"),
        task_id => parameters.owned("task"),
        actor => parameters.owned("actor"),
        action => parameters.owned("action"),
    };
    let values = merged(values, paging(offset, page.rows.len(), ROWS, page.total));
    server.page("audit.html", Some(&person), &Wishes::of(&headers), values).await
}
