//! Looking for what is wrong: for `doctor`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::runs::active::ACTIVE_RUNS;
use crate::sql::{instant, values};
use crate::{Backend, Result, Store, sql};

/// The database itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examination {
    /// What an integrity check complains about (SQLite).
    pub damage: Vec<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The server's own clock (PostgreSQL).
    pub clock: Option<DateTime<Utc>>,
}

impl Store {
    /// Reads much: not for a page.
    pub async fn examine(&self) -> Result<Examination> {
        let what = "examine the database";
        match self.backend() {
            Backend::Sqlite => {
                let mut damage = Vec::new();
                for row in sql::all(self.reader(), what, "PRAGMA quick_check(10)", vec![]).await? {
                    let text = row.text("quick_check")?;
                    if text != "ok" {
                        damage.push(text);
                    }
                }
                let text =
                    "SELECT CAST(page_count * page_size AS BIGINT) AS n FROM pragma_page_count(), pragma_page_size()";
                let size = sql::one(self.reader(), what, text, vec![]).await?;
                let size = size.map(|row| row.int("n")).transpose()?.and_then(|size| u64::try_from(size).ok());
                Ok(Examination { damage, size, clock: None })
            }
            Backend::Postgres => {
                let text = "SELECT pg_database_size(current_database()) AS n, \
                            CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS at";
                let row = sql::one(self.reader(), what, text, vec![]).await?;
                let Some(row) = row else { return Ok(Examination::default()) };
                Ok(Examination {
                    damage: Vec::new(),
                    size: u64::try_from(row.int("n")?).ok(),
                    clock: instant(row.int("at")?),
                })
            }
        }
    }

    /// Unfinished runs, by DAG.
    pub async fn active_run_counts(&self) -> Result<BTreeMap<String, u64>> {
        let sql = format!("SELECT dag_id, COUNT(*) AS n FROM dag_run WHERE {ACTIVE_RUNS} GROUP BY dag_id");
        let rows = sql::all(self.reader(), "count unfinished runs", sql, vec![]).await?;
        rows.iter().map(|row| Ok((row.text("dag_id")?, u64::try_from(row.int("n")?).unwrap_or(0)))).collect()
    }

    /// DAGs of one task, in their newest successful run, that took it more than `micros`: DAG, seconds.
    pub async fn long_single_tasks(&self, micros: i64) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT r.dag_id, CAST((MAX(i.end_date) - MIN(i.start_date)) / 1000000 AS BIGINT) AS n FROM dag d \
                   JOIN dag_run r ON r.id = (SELECT n.id FROM dag_run n WHERE n.dag_id = d.dag_id \
                       AND n.state = 'success' ORDER BY n.run_after DESC LIMIT 1) \
                   JOIN task_instance i ON i.run_id = r.id GROUP BY r.dag_id \
                   HAVING COUNT(*) = 1 AND MAX(i.end_date) - MIN(i.start_date) > $1 ORDER BY r.dag_id";
        let found = sql::all(self.reader(), "look for long tasks", sql, values![micros]).await?;
        found.iter().map(|row| Ok((row.text("dag_id")?, row.int("n")?))).collect()
    }

    /// Tasks whose newest load replaced a table by more than `rows` rows: DAG, task, rows.
    pub async fn full_refreshes(&self, rows: i64) -> Result<Vec<(String, String, i64)>> {
        // Of the newest run of each DAG only, so that the cost does not grow with history.
        let sql = "SELECT r.dag_id, i.task_id, CAST(MAX(l.rows_inserted) AS BIGINT) AS n FROM dag d \
                   JOIN dag_run r ON r.id = (SELECT n.id FROM dag_run n WHERE n.dag_id = d.dag_id \
                       AND n.state = 'success' ORDER BY n.run_after DESC LIMIT 1) \
                   JOIN task_instance i ON i.run_id = r.id JOIN load_ledger l ON l.instance_id = i.id \
                   WHERE l.stage = 'load' AND l.rows_deleted > 0 AND l.rows_inserted > $1 \
                   AND l.rows_deleted * 2 > l.rows_inserted AND COALESCE(l.rows_updated, 0) = 0 GROUP BY r.dag_id, i.task_id ORDER BY r.dag_id, i.task_id";
        let found = sql::all(self.reader(), "look for large loads", sql, values![rows]).await?;
        found.iter().map(|row| Ok((row.text("dag_id")?, row.text("task_id")?, row.int("n")?))).collect()
    }
}
