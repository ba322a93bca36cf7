//! What callbacks are told: kept until it was sent, and afterwards for people to look at.

use chrono::{DateTime, Utc};
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::notice::{Callback, Notice};
use serde_json::json;

use crate::conditions::Conditions;
use crate::sql::{Kind, Row, micros, opt_micros, values};
use crate::{AuditRow, DateSpan, Page, Result, Store, Tx, sql};

/// None means "any".
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    /// Those that were not sent yet or have been given up.
    pub only_unsent: bool,
    /// Those that are not attempted again.
    pub only_given_up: bool,
    pub at: DateSpan,
    pub dag_id: Option<String>,
    pub limit: u64,
    pub offset: u64,
}

/// One thing that one callback is told.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationRow {
    pub id: i64,
    pub dag_id: DagId,
    /// None: it is about the DAG's file.
    pub run_id: Option<RunId>,
    /// Of the run; of a file, the moment.
    pub logical_date: DateTime<Utc>,
    /// None: it is about the run.
    pub task_id: Option<TaskId>,
    /// -1 for a task that is not mapped.
    pub map_index: i64,
    pub try_number: i64,
    /// `failure`, `success`, `retry`, `execute`, `skipped`, or the kind of an alert.
    pub event: String,
    pub reason: Option<String>,
    pub callback: Callback,
    pub at: DateTime<Utc>,
    /// How often it was attempted.
    pub attempts: u32,
    /// When it is attempted next; none: it was sent, or given up.
    pub next_at: Option<DateTime<Utc>>,
    pub sent_at: Option<DateTime<Utc>>,
    /// Why the last attempt has failed.
    pub error: Option<String>,
}

impl NotificationRow {
    /// `sent`, `waits`, or `given up`.
    pub fn state(&self) -> &'static str {
        match (self.sent_at, self.next_at) {
            (Some(_), _) => "sent",
            (None, Some(_)) => "waits",
            (None, None) => "given up",
        }
    }

    /// Who is told: without a command's text, which may be long.
    pub fn callee(&self) -> String {
        match &self.callback {
            Callback::Webhook(conn_id) => format!("webhook {conn_id}"),
            Callback::Command(_) => "command".to_owned(),
        }
    }
}

impl Store {
    /// Takes up to `limit` that are due, oldest first. They are due again at `again` unless [`Store::settle_notification`]
    /// says how it went before: whoever took them may die.
    pub async fn take_notifications(
        &self,
        limit: u32,
        again: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<NotificationRow>> {
        let due = "SELECT id FROM notification WHERE next_at <= $1 ORDER BY next_at LIMIT $2";
        // Nearly always there is none, and then nothing is written.
        let values = values![micros(now), 1_i64];
        if sql::one(self.reader(), "look for notifications", due, values).await?.is_none() {
            return Ok(Vec::new());
        }
        let tx = self.begin_in_turn("take notifications").await?;
        // Named twice: another daemon may have taken them between the two.
        let sql = format!(
            "UPDATE notification SET attempts = attempts + 1, next_at = $3 WHERE next_at <= $1 AND id IN ({due}) RETURNING *"
        );
        let values = values![micros(now), i64::from(limit), micros(again)];
        let rows = sql::all(&tx.inner, "take notifications", sql, values).await?;
        tx.commit().await?;
        let mut taken = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        taken.sort_by_key(|row| row.id);
        Ok(taken)
    }

    /// Notes how an attempt went: it was sent, or why not and when it is attempted again, if ever.
    pub async fn settle_notification(
        &self,
        id: i64,
        failed: Option<(&str, Option<DateTime<Utc>>)>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let (sent_at, error, next_at) = match failed {
            None => (Some(micros(now)), None, None),
            Some((error, next_at)) => (None, Some(error), opt_micros(next_at)),
        };
        let tx = self.begin_in_turn("note how a notification went").await?;
        let sql = "UPDATE notification SET sent_at = $2, error = $3, next_at = $4 WHERE id = $1 AND sent_at IS NULL";
        sql::run(&tx.inner, "note how a notification went", sql, values![id, sent_at, error, next_at]).await?;
        tx.commit().await
    }

    /// What was given up is due now, and has all its attempts again: these, or without ids all. What is not given up is left
    /// alone. Returns how many there were.
    pub async fn retry_notifications(&self, ids: Option<&[i64]>, actor: &str, now: DateTime<Utc>) -> Result<u64> {
        let tx = self.begin_in_turn("tell callbacks again").await?;
        let source = sql::source(tx.dialect(), 2, &[("x_id", Kind::Int)]);
        let only = if ids.is_some() { format!("AND id IN (SELECT x_id FROM {source})") } else { String::new() };
        let sql = format!(
            "UPDATE notification SET next_at = $1, attempts = 0 WHERE sent_at IS NULL AND next_at IS NULL {only}"
        );
        let mut values = values![micros(now)];
        values.extend(ids.map(|ids| sql::column(ids.iter().copied())));
        let retried = sql::run(&tx.inner, "tell callbacks again", sql, values).await?;
        if retried > 0 {
            let details = json!({ "notifications": retried, "ids": ids });
            let told = |state: &str| Some(json!({ "state": state }));
            let audit = AuditRow::new(actor, "notifications_retried", details, now);
            tx.audit(&audit.with_change(told("given up"), told("waits"))).await?;
        }
        tx.commit().await?;
        Ok(retried)
    }

    /// Newest first.
    pub async fn notifications(&self, filter: &NotificationFilter) -> Result<Page<NotificationRow>> {
        let mut conditions = Conditions::default();
        conditions.among("dag_id", filter.dag_id.as_slice());
        if filter.only_unsent {
            conditions.add("sent_at IS NULL".to_owned());
        }
        if filter.only_given_up {
            conditions.add("sent_at IS NULL AND next_at IS NULL".to_owned());
        }
        conditions.within("at", filter.at);
        let (clause, values) = (conditions.clause(), conditions.values);
        let count = format!("SELECT COUNT(*) AS n FROM notification{clause}");
        let list = format!("SELECT * FROM notification{clause} ORDER BY id DESC");
        self.page("list notifications", (count, list), values, (filter.limit, filter.offset), read).await
    }
}

fn read(row: &Row) -> Result<NotificationRow> {
    Ok(NotificationRow {
        id: row.int("id")?,
        dag_id: DagId::new_unchecked(row.text("dag_id")?),
        run_id: Some(row.text("run_name")?).filter(|name| !name.is_empty()).map(RunId::new_unchecked),
        logical_date: row.instant("logical_date")?,
        task_id: row.opt_text("task_id")?.map(TaskId::new_unchecked),
        map_index: row.opt_int("map_index")?.unwrap_or(-1),
        try_number: row.opt_int("try_number")?.unwrap_or(0),
        event: row.text("event")?,
        reason: row.opt_text("reason")?,
        callback: row.json("callback")?,
        at: row.instant("at")?,
        attempts: row.count("attempts")?,
        next_at: row.opt_instant("next_at")?,
        sent_at: row.opt_instant("sent_at")?,
        error: row.opt_text("error")?,
    })
}

/// Due at once.
pub(crate) async fn insert<'n>(tx: &Tx, notices: impl Iterator<Item = &'n Notice>) -> Result<()> {
    let rows: Vec<_> = notices
        .map(|notice| {
            let of_try = notice.of_try.as_ref();
            vec![
                json!(notice.dag_id.as_str()),
                json!(notice.run_id.as_str()),
                json!(micros(notice.logical_date)),
                json!(of_try.map(|it| it.task_id.as_str())),
                json!(of_try.map(|it| it.map_index)),
                json!(of_try.map(|it| it.try_number)),
                json!(notice.event.as_str()),
                json!(notice.reason),
                json!(json!(notice.callback).to_string()),
                json!(micros(notice.at)),
                json!(micros(notice.at)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_dag", Kind::Text),
            ("x_run", Kind::Text),
            ("x_logical", Kind::Int),
            ("x_task", Kind::Text),
            ("x_map", Kind::Int),
            ("x_try", Kind::Int),
            ("x_event", Kind::Text),
            ("x_reason", Kind::Text),
            ("x_callback", Kind::Text),
            ("x_at", Kind::Int),
            ("x_next", Kind::Int),
        ],
    );
    let sql = format!(
        "INSERT INTO notification (dag_id, run_name, logical_date, task_id, map_index, try_number, event, reason, \
         callback, at, next_at) SELECT x.* FROM {source}"
    );
    sql::run(&tx.inner, "keep notifications", sql, vec![sql::rows(rows)]).await.map(|_| ())
}
