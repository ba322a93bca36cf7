//! Tries that begin. The claim commits before the work starts.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use millrace_model::change::Claim;
use millrace_model::state::TaskState;
use serde_json::{Value, json};

use super::{CommitReport, Touched};
use crate::runs::xcom;
use crate::sql::{Kind, micros};
use crate::{Backend, Result, Tx, sql};

pub(super) async fn apply(
    tx: &Tx,
    claims: &[Claim],
    now: DateTime<Utc>,
    report: &mut CommitReport,
    touched: &mut Touched,
) -> Result<()> {
    if claims.is_empty() {
        return Ok(());
    }
    // A second claim of one instance in the same batch is stale by definition: its guard cannot hold.
    let mut named = HashSet::new();
    let (first, again): (Vec<usize>, Vec<usize>) = (0..claims.len()).partition(|index| {
        let claim = &claims[*index];
        claim.from.may_become(TaskState::Running) && named.insert(claim.instance)
    });
    report.stale_claims.extend(again);

    let mut unless = touched.unless_changed("task_instance.run_id");
    if report.has_less_room {
        // Runs that were to start in this batch wait in the queue.
        unless += " AND EXISTS (SELECT 1 FROM dag_run r WHERE r.id = task_instance.run_id AND r.state = 'running')";
    }
    let taken = take(tx, claims, &first, &unless, now).await?;
    let mut begun = Vec::with_capacity(first.len());
    for index in first {
        if taken.contains(&claims[index].instance) {
            touched.instances.push(claims[index].instance);
            begun.push(&claims[index]);
        } else {
            report.stale_claims.push(index);
        }
    }
    report.stale_claims.sort_unstable();
    if begun.is_empty() {
        return Ok(());
    }
    // A first try has no earlier one whose results could be there.
    let again: Vec<i64> = begun.iter().filter(|claim| claim.try_number > 1).map(|claim| claim.instance).collect();
    xcom::forget(tx, &again).await
}

const COLUMNS: &[(&str, Kind)] = &[
    ("x_id", Kind::Int),
    ("x_from", Kind::Text),
    ("x_try", Kind::Int),
    ("x_owner", Kind::Text),
    ("x_token", Kind::Text),
    ("x_expires", Kind::Int),
    ("x_queued", Kind::Int),
    ("x_item", Kind::Int),
];

fn row(claim: &Claim) -> Vec<Value> {
    vec![
        json!(claim.instance),
        json!(claim.from.as_str()),
        json!(claim.try_number),
        json!(claim.owner),
        json!(claim.token),
        json!(micros(claim.lease_expires_at)),
        json!(micros(claim.queued_at)),
        json!(claim.item),
    ]
}

/// Claims what is still as it was planned, and opens a try for each. Returns what was claimed.
async fn take(tx: &Tx, claims: &[Claim], which: &[usize], unless: &str, now: DateTime<Utc>) -> Result<HashSet<i64>> {
    let source = sql::source(tx.dialect(), 1, COLUMNS);
    let instances = format!(
        "UPDATE task_instance SET state = 'running', state_reason = NULL, try_number = x_try, lease_owner = x_owner, \
         lease_token = x_token, lease_expires_at = x_expires, queued_at = x_queued, \
         start_date = COALESCE(first_start, $2), end_date = NULL, next_try_at = NULL, is_outside = FALSE, \
         departed_from = NULL, item_digest = x_item FROM {source} WHERE task_instance.id = x_id AND state = x_from{unless} RETURNING id"
    );
    let values = |which: &[usize]| {
        let rows = sql::rows(which.iter().map(|index| row(&claims[*index])));
        vec![rows, micros(now).into()]
    };
    let attempted = "claim tries";
    match tx.store.backend() {
        // One round trip.
        Backend::Postgres => {
            let tries = open_tries("taken");
            let sql = format!(
                "WITH taken AS ({instances}, generation, x_try, x_owner, x_queued), tries AS ({tries}) SELECT id FROM taken"
            );
            Ok(sql::ids(&tx.inner, attempted, sql, values(which)).await?.into_iter().collect())
        }
        Backend::Sqlite => {
            let taken = sql::ids(&tx.inner, attempted, instances, values(which)).await?;
            let taken: HashSet<i64> = taken.into_iter().collect();
            let begun: Vec<usize> =
                which.iter().copied().filter(|index| taken.contains(&claims[*index].instance)).collect();
            if !begun.is_empty() {
                let tries = open_tries(&format!("{source} JOIN task_instance ON id = x_id"));
                sql::run(&tx.inner, "open tries", tries, values(&begun)).await?;
            }
            Ok(taken)
        }
    }
}

/// A try that goes on after a wait without a slot keeps its number, and so its row and its beginning.
fn open_tries(taken: &str) -> String {
    format!(
        "INSERT INTO task_try (instance_id, try_number, generation, state, owner, queued_at, start_date) \
         SELECT id, x_try, generation, 'running', x_owner, x_queued, $2 FROM {taken} WHERE TRUE \
         ON CONFLICT (instance_id, try_number) DO UPDATE SET \
         state = 'running', state_reason = NULL, owner = excluded.owner, end_date = NULL, error = NULL"
    )
}
