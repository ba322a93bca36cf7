//! Who did what.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::conditions::{Conditions, DateSpan};
use crate::sql::{Row, micros, values};
use crate::{Page, Result, Store, Tx, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// `cli`, `scheduler`, `rest:<user>`.
    pub actor: String,
    /// `trigger`, `clear`, `pause`, …
    pub action: String,
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub details: Value,
    /// What was changed, as it was and as it is; without secrets.
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// What the audit log tells of a thing whose row it cannot read itself: without secrets.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub actor: Option<String>,
    pub action: Option<String>,
    /// Any of these actions; empty: all.
    pub included: Vec<String>,
    /// None of these actions.
    pub excluded: Vec<String>,
    pub at: DateSpan,
    /// One of [`AuditFilter::ORDERS`], and whether it goes down; without one, the newest come first.
    pub order: Option<(&'static str, bool)>,
    pub limit: u64,
    pub offset: u64,
}

impl AuditFilter {
    /// What rows can be ordered by.
    pub const ORDERS: &[&str] = &["event_log_id", "when", "event", "owner", "dag_id", "run_id", "task_id"];

    /// The two databases sort what is not there to different ends: it counts as the least.
    fn order(&self) -> String {
        let Some((name, is_descending)) = self.order else { return "id DESC".to_owned() };
        let column = match name {
            "when" => "at",
            "event" => "action",
            "owner" => "actor",
            "dag_id" => "COALESCE(dag_id, '')",
            "run_id" => "COALESCE(run_id, '')",
            "task_id" => "COALESCE(task_id, '')",
            _ => "id",
        };
        let direction = if is_descending { "DESC" } else { "ASC" };
        format!("{column} {direction}, id {direction}")
    }

    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        let texts = [
            ("dag_id", &self.dag_id),
            ("run_id", &self.run_id),
            ("task_id", &self.task_id),
            ("actor", &self.actor),
            ("action", &self.action),
        ];
        for (column, text) in texts {
            conditions.among(column, text.as_slice());
        }
        conditions.among("action", &self.included);
        for action in &self.excluded {
            conditions.compare("action", "<>", action.as_str());
        }
        conditions.within("at", self.at);
        conditions
    }
}

impl AuditRow {
    /// Of something done to no DAG in particular.
    pub fn new(actor: &str, action: &str, details: Value, at: DateTime<Utc>) -> Self {
        Self {
            id: 0,
            at,
            actor: actor.to_owned(),
            action: action.to_owned(),
            dag_id: None,
            run_id: None,
            task_id: None,
            details,
            before: None,
            after: None,
        }
    }

    #[must_use]
    pub fn with_change(mut self, before: Option<Value>, after: Option<Value>) -> Self {
        (self.before, self.after) = (before, after);
        self
    }

    #[must_use]
    pub fn on_dag(mut self, dag_id: &str) -> Self {
        self.dag_id = Some(dag_id.to_owned());
        self
    }

    /// Where it is about one task.
    #[must_use]
    pub fn on_task(mut self, task_id: &str) -> Self {
        self.task_id = Some(task_id.to_owned());
        self
    }

    #[must_use]
    pub fn on_run(mut self, dag_id: &str, run_id: &str) -> Self {
        self.run_id = Some(run_id.to_owned());
        self.on_dag(dag_id)
    }
}

/// Bytes of JSON that a row keeps of the details, of what was and of what is, each.
const MOST_KEPT: usize = 64 * 1024;

/// What stands in the log for a text of so many bytes.
fn left_out(bytes: usize) -> Value {
    Value::String(format!("({bytes} bytes, which are too long for the audit log)"))
}

/// As it is kept. Of what is too long, the longest members are left out, and each of them whole: half a secret would be
/// hidden by nobody.
fn kept(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= MOST_KEPT {
        return text;
    }
    let mut short = value.clone();
    if let Value::Object(members) = &mut short {
        let mut sizes: Vec<(usize, &mut Value)> =
            members.iter_mut().map(|(_, member)| (member.to_string().len(), member)).collect();
        sizes.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut left = text.len();
        for (bytes, member) in sizes {
            if left <= MOST_KEPT {
                break;
            }
            *member = left_out(bytes);
            left = left - bytes + member.to_string().len();
        }
    }
    let short = short.to_string();
    if short.len() <= MOST_KEPT { short } else { left_out(text.len()).to_string() }
}

fn read(row: &Row) -> Result<AuditRow> {
    Ok(AuditRow {
        id: row.int("id")?,
        at: row.instant("at")?,
        actor: row.text("actor")?,
        action: row.text("action")?,
        dag_id: row.opt_text("dag_id")?,
        run_id: row.opt_text("run_id")?,
        task_id: row.opt_text("task_id")?,
        details: row.json("details")?,
        before: row.opt_json("state_before")?,
        after: row.opt_json("state_after")?,
    })
}

impl Store {
    /// Newest first, unless it is ordered.
    pub async fn audit_log(&self, filter: &AuditFilter) -> Result<Page<AuditRow>> {
        let conditions = filter.conditions();
        let (clause, values) = (conditions.clause(), conditions.values);
        let count = format!("SELECT COUNT(*) AS n FROM audit_log{clause}");
        let list = format!("SELECT * FROM audit_log{clause} ORDER BY {}", filter.order());
        self.page("read the audit log", (count, list), values, (filter.limit, filter.offset), read).await
    }

    pub async fn audit_row(&self, id: i64) -> Result<Option<AuditRow>> {
        let row = sql::one(self.reader(), "read the audit log", "SELECT * FROM audit_log WHERE id = $1", values![id]);
        row.await?.as_ref().map(read).transpose()
    }

    /// For what faces do without changing a row here: a sign-in, a download. `row.id` is not looked at.
    pub async fn record_audit(&self, row: &AuditRow) -> Result<()> {
        let tx = self.begin("write the audit log").await?;
        tx.audit(row).await?;
        tx.commit().await
    }
}

impl Tx {
    /// Joins this transaction. `row.id` is not looked at.
    pub async fn audit(&self, row: &AuditRow) -> Result<()> {
        let sql = "INSERT INTO audit_log (at, actor, action, dag_id, run_id, task_id, details, state_before, \
                   state_after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let values = values![
            micros(row.at),
            row.actor.as_str(),
            row.action.as_str(),
            row.dag_id.clone(),
            row.run_id.clone(),
            row.task_id.clone(),
            kept(&row.details),
            row.before.as_ref().map(kept),
            row.after.as_ref().map(kept),
        ];
        sql::run(&self.inner, "write the audit log", sql, values).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_long_is_left_out_whole_and_its_length_is_told() {
        let short = json!({"slots": 3, "description": "x".repeat(MOST_KEPT / 2)});
        assert_eq!(kept(&short), short.to_string());
        let long = "x".repeat(1 << 20);
        let told: Value =
            serde_json::from_str(&kept(&json!({"slots": 3, "description": long, "note": "mine"}))).unwrap();
        let left_out = "(1048578 bytes, which are too long for the audit log)";
        assert_eq!(told, json!({"slots": 3, "description": left_out, "note": "mine"}));
        assert_eq!(kept(&json!([long])), "\"(1048580 bytes, which are too long for the audit log)\"");
        let many: serde_json::Map<_, _> = (0..100_000).map(|n| (n.to_string(), json!(n))).collect();
        assert!(kept(&Value::Object(many)).len() < 100);
    }
}
