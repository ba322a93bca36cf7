//! Due dates that became no run of their own, each with the reason.

use chrono::{DateTime, Utc};
use millrace_model::change::{NewRun, PassedSlots, SlotOutcome};
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunType;
use serde_json::json;

use crate::sql::{Kind, Row, micros, values};
use crate::{CreatedRun, Page, Result, Store, Tx, sql};

/// One record: a date, or a stretch of dates that were passed over together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    pub key: i64,
    pub slots: PassedSlots,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
}

pub(crate) async fn insert(tx: &Tx, passed: &[PassedSlots], now: DateTime<Utc>) -> Result<()> {
    if passed.is_empty() {
        return Ok(());
    }
    let columns = [
        ("x_dag", Kind::Text),
        ("x_first", Kind::Int),
        ("x_last", Kind::Int),
        ("x_start", Kind::Int),
        ("x_end", Kind::Int),
        ("x_count", Kind::Int),
        ("x_outcome", Kind::Text),
        ("x_reason", Kind::Text),
    ];
    let source = sql::source(tx.dialect(), 1, &columns);
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let sql = format!(
        "INSERT INTO schedule_slot (dag_id, logical_date, last_logical_date, data_interval_start, data_interval_end, \
         slots, outcome, reason, created_at) SELECT {}, CAST($2 AS BIGINT) FROM {source}",
        names.join(", ")
    );
    let rows = sql::rows(passed.iter().map(|passed| {
        vec![
            json!(passed.dag_id.as_str()),
            json!(micros(passed.first)),
            json!(micros(passed.last)),
            json!(micros(passed.data_interval.start)),
            json!(micros(passed.data_interval.end)),
            json!(i64::try_from(passed.count).unwrap_or(i64::MAX)),
            json!(passed.outcome.as_str()),
            json!(passed.reason),
        ]
    }));
    sql::run(&tx.inner, "record passed dates", sql, vec![rows, micros(now).into()]).await.map(|_| ())
}

/// A date of which the schedule could make no run, because another run has it, gets a record of that. Not when the run
/// is the schedule's own: a batch may be committed twice.
pub(crate) async fn insert_taken(
    tx: &Tx,
    new_runs: &[NewRun],
    created: &[Option<CreatedRun>],
    now: DateTime<Utc>,
) -> Result<()> {
    let refused = new_runs.iter().zip(created).filter(|(_, created)| created.is_none()).map(|(new, _)| new);
    let mut taken = Vec::new();
    for new in refused.filter(|new| new.run_type == RunType::Scheduled) {
        let sql = "SELECT run_id, data_interval_start, data_interval_end FROM dag_run \
                   WHERE dag_id = $1 AND logical_date = $2 AND run_id <> $3";
        let asked = values![new.dag_id.as_str(), micros(new.logical_date), new.run_id.as_str()];
        let Some(row) = sql::one(&tx.inner, "read the run of a date", sql, asked).await? else { continue };
        let covers = DataInterval::new(row.instant("data_interval_start")?, row.instant("data_interval_end")?);
        let mut reason = format!("the run {} was there already", row.text("run_id")?);
        if covers != new.data_interval {
            let [from, to] = [covers.start, covers.end].map(format_utc_micros);
            reason += &format!("; it covers {from} to {to}, so what this date covers was moved by no run of its own");
        }
        // Nor does its run start on another day.
        let sql = "DELETE FROM schedule_slot WHERE dag_id = $1 AND logical_date = $2 AND outcome = $3";
        let shifted = values![new.dag_id.as_str(), micros(new.logical_date), SlotOutcome::Shifted.as_str()];
        sql::run(&tx.inner, "take back that a date was shifted", sql, shifted).await?;
        taken.push(PassedSlots {
            dag_id: new.dag_id.clone(),
            first: new.logical_date,
            last: new.logical_date,
            data_interval: new.data_interval,
            count: 1,
            outcome: SlotOutcome::Taken,
            reason,
        });
    }
    insert(tx, &taken, now).await
}

impl Store {
    /// The latest dates first. `limit` 0: all.
    pub async fn passed_slots(&self, dag_id: &str, limit: u64, offset: u64) -> Result<Page<SlotRow>> {
        let count = "SELECT COUNT(*) AS total FROM schedule_slot WHERE dag_id = $1";
        let total = match sql::one(self.reader(), "count passed dates", count, values![dag_id]).await? {
            Some(row) => u64::try_from(row.int("total")?).unwrap_or(0),
            None => 0,
        };
        let limit = if limit == 0 { i64::MAX } else { i64::try_from(limit).unwrap_or(i64::MAX) };
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let sql = "SELECT * FROM schedule_slot WHERE dag_id = $1 \
                   ORDER BY logical_date DESC, id DESC LIMIT $2 OFFSET $3";
        let rows = sql::all(self.reader(), "list passed dates", sql, values![dag_id, limit, offset]).await?;
        Ok(Page { rows: rows.iter().map(read).collect::<Result<Vec<_>>>()?, total })
    }
}

fn read(row: &Row) -> Result<SlotRow> {
    Ok(SlotRow {
        key: row.int("id")?,
        slots: PassedSlots {
            dag_id: DagId::new_unchecked(row.text("dag_id")?),
            first: row.instant("logical_date")?,
            last: row.instant("last_logical_date")?,
            data_interval: DataInterval {
                start: row.instant("data_interval_start")?,
                end: row.instant("data_interval_end")?,
            },
            count: u64::try_from(row.int("slots")?).unwrap_or(0),
            outcome: row.word("outcome", SlotOutcome::parse)?,
            reason: row.text("reason")?,
        },
        created_at: row.instant("created_at")?,
    })
}
