//! From read DAG files to stored versions.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::dags::asset;
use crate::dags::file_alert::{end_import_errors, tell_of_lost_tasks};
use crate::dags::file_stamp::{self, StampedFile};
use crate::sql::{Kind, micros};
use crate::{Change, Result, SignalKind, Store, Tx, sql};

#[derive(Debug, Clone, Copy)]
pub struct SyncDag<'a> {
    pub dag: &'a Dag,
    /// Relative to the dags folder.
    pub file_path: &'a str,
    /// The file's text, for the code page.
    pub source: &'a str,
    pub paused_at_creation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncWhat {
    Created,
    NewVersion,
    Unchanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncOutcome {
    /// The DAG's newest version.
    pub version_key: i64,
    pub what: SyncWhat,
}

/// A DAG's row, as far as reading its file again may change it.
struct Stored {
    version_key: i64,
    content_hash: String,
    file_path: String,
    is_stale: bool,
    has_import_error: bool,
    /// A row from before heads were kept has none.
    has_head: bool,
}

impl Store {
    /// Stores a DAG that was read without an error: a new version only if its content changed. Its file's import error is
    /// removed, and it is no longer stale. A new version that lacks tasks of the one before raises an alert.
    pub async fn sync_dag(&self, file: SyncDag<'_>, now: DateTime<Utc>) -> Result<SyncOutcome> {
        self.sync_dags(&[file], now).await.map(|outcomes| outcomes[0])
    }

    /// Many in one transaction; outcomes in the order given. No two may have the same DAG id.
    pub async fn sync_dags(&self, files: &[SyncDag<'_>], now: DateTime<Utc>) -> Result<Vec<SyncOutcome>> {
        self.sync_stamped(files, "", &[], now).await
    }

    /// As [`Store::sync_dags`]; what the files were like is kept with them, for [`Store::stamped_files`] of this reader.
    pub async fn sync_stamped(
        &self,
        files: &[SyncDag<'_>],
        reader: &str,
        stamps: &[StampedFile],
        now: DateTime<Utc>,
    ) -> Result<Vec<SyncOutcome>> {
        let hashes: Vec<String> = files.iter().map(|file| file.dag.content_hash()).collect();
        // Nearly always nothing has changed, and then nothing is written.
        let stored = read_stored(self.reader(), files).await?;
        let is_settled = |(file, hash): (&SyncDag<'_>, &String)| {
            stored.get(file.dag.dag_id.as_str()).is_some_and(|it| {
                let is_same = it.content_hash == *hash && it.file_path == file.file_path && it.has_head;
                is_same && !it.is_stale && !it.has_import_error
            })
        };
        if files.iter().zip(&hashes).all(is_settled) {
            if !stamps.is_empty() {
                let tx = self.begin_in_turn("note what DAG files were like").await?;
                file_stamp::put(&tx, reader, stamps).await?;
                tx.commit().await?;
            }
            return Ok(files
                .iter()
                .filter_map(|file| stored.get(file.dag.dag_id.as_str()))
                .map(|it| SyncOutcome { version_key: it.version_key, what: SyncWhat::Unchanged })
                .collect());
        }
        let tx = self.begin_in_turn("store DAGs").await?;
        let outcomes = sync_in(&tx, files, &hashes, now).await?;
        file_stamp::put(&tx, reader, stamps).await?;
        tx.commit().await?;
        Ok(outcomes)
    }

    /// Marks every DAG that is not among `present` stale, and forgets what files not among `present_files` were like, and
    /// their import errors. Returns the newly stale.
    pub async fn mark_stale(
        &self,
        present: &[DagId],
        present_files: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<DagId>> {
        let source = sql::source(self.dialect(), 1, &[("x_name", Kind::Text)]);
        let gone_dags = format!("NOT is_stale AND dag_id NOT IN (SELECT x_name FROM {source})");
        let gone_files = format!("file_path NOT IN (SELECT x_name FROM {source})");
        let present = || vec![sql::column(present.iter().map(DagId::as_str))];
        let present_files = || vec![sql::column(present_files.iter().map(String::as_str))];

        let look = format!("SELECT 1 AS n FROM dag WHERE {gone_dags} LIMIT 1");
        let any_dag = sql::one(self.reader(), "look for stale DAGs", look, present()).await?.is_some();
        let look = format!("SELECT 1 AS n FROM import_error WHERE {gone_files} LIMIT 1");
        let any_file = sql::one(self.reader(), "look for old import errors", look, present_files()).await?.is_some();
        let look = format!("SELECT 1 AS n FROM dag_file WHERE {gone_files} LIMIT 1");
        let any_stamp = sql::one(self.reader(), "look for files that are gone", look, present_files()).await?.is_some();
        if !any_dag && !any_file && !any_stamp {
            return Ok(Vec::new());
        }

        let tx = self.begin_in_turn("mark DAGs stale").await?;
        let delete = format!("DELETE FROM import_error WHERE {gone_files}");
        sql::run(&tx.inner, "clear import errors", delete, present_files()).await?;
        let delete = format!("DELETE FROM dag_file WHERE {gone_files}");
        sql::run(&tx.inner, "forget files that are gone", delete, present_files()).await?;
        let update = format!("UPDATE dag SET is_stale = TRUE WHERE {gone_dags} RETURNING dag_id");
        let rows = sql::all(&tx.inner, "mark DAGs stale", update, present()).await?;
        let mut stale = Vec::with_capacity(rows.len());
        for row in &rows {
            let dag_id = DagId::new_unchecked(row.text("dag_id")?);
            tx.signal(SignalKind::DagChanged, Some(&dag_id), None, now).await?;
            tx.tell(Change::of_dag(&dag_id, "stale"));
            stale.push(dag_id);
        }
        stale.sort();
        end_import_errors(&tx, stale.iter(), now).await?;
        tx.commit().await?;
        Ok(stale)
    }
}

async fn read_stored(connection: &impl ConnectionTrait, files: &[SyncDag<'_>]) -> Result<HashMap<String, Stored>> {
    let source = sql::source(connection.get_database_backend(), 1, &[("x_dag", Kind::Text), ("x_file", Kind::Text)]);
    let sql = format!(
        "SELECT d.dag_id, d.version_id, d.file_path, d.is_stale, d.head IS NOT NULL AS has_head, v.content_hash, \
         (SELECT COUNT(*) FROM import_error e WHERE e.file_path IN (x_file, d.file_path)) AS errors \
         FROM {source} CROSS JOIN dag d CROSS JOIN dag_version v WHERE d.dag_id = x_dag AND v.id = d.version_id"
    );
    let rows = sql::rows(files.iter().map(|file| vec![json!(file.dag.dag_id.as_str()), json!(file.file_path)]));
    let rows = sql::all(connection, "read stored DAGs", sql, vec![rows]).await?;
    rows.iter()
        .map(|row| {
            let stored = Stored {
                version_key: row.int("version_id")?,
                content_hash: row.text("content_hash")?,
                file_path: row.text("file_path")?,
                is_stale: row.flag("is_stale")?,
                has_import_error: row.int("errors")? > 0,
                has_head: row.flag("has_head")?,
            };
            Ok((row.text("dag_id")?, stored))
        })
        .collect()
}

async fn sync_in(tx: &Tx, files: &[SyncDag<'_>], hashes: &[String], now: DateTime<Utc>) -> Result<Vec<SyncOutcome>> {
    let stored = read_stored(&tx.inner, files).await?;
    let mut outcomes: Vec<SyncOutcome> = files
        .iter()
        .zip(hashes)
        .map(|(file, hash)| match stored.get(file.dag.dag_id.as_str()) {
            None => SyncOutcome { version_key: 0, what: SyncWhat::Created },
            Some(it) if it.content_hash != *hash => SyncOutcome { version_key: 0, what: SyncWhat::NewVersion },
            Some(it) => SyncOutcome { version_key: it.version_key, what: SyncWhat::Unchanged },
        })
        .collect();

    let new_versions: Vec<_> = files
        .iter()
        .zip(hashes)
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.what != SyncWhat::Unchanged)
        .map(|((file, hash), _)| {
            let dag_id = file.dag.dag_id.as_str();
            vec![
                json!(dag_id),
                json!(hash),
                json!(json!(file.dag).to_string()),
                json!(file.file_path),
                json!(file.source),
            ]
        })
        .collect();
    let keys = insert_versions(tx, new_versions, now).await?;
    for (file, outcome) in files.iter().zip(&mut outcomes) {
        if let Some(key) = keys.get(file.dag.dag_id.as_str()) {
            outcome.version_key = *key;
        }
        if let Some(before) = stored.get(file.dag.dag_id.as_str()).filter(|_| outcome.what == SyncWhat::NewVersion) {
            let versions = (outcome.version_key, before.version_key);
            tell_of_lost_tasks(tx, (file.dag, file.file_path), versions, now).await?;
        }
    }
    put_dags(tx, files, hashes, &outcomes, now).await?;
    let changed = files.iter().zip(&outcomes).filter(|(_, outcome)| outcome.what != SyncWhat::Unchanged);
    asset::put_users(tx, &changed.map(|(file, _)| file.dag).collect::<Vec<_>>(), now).await?;

    let source = sql::source(tx.dialect(), 1, &[("x_file", Kind::Text)]);
    let sql = format!("DELETE FROM import_error WHERE file_path IN (SELECT x_file FROM {source})");
    let paths = sql::column(files.iter().map(|file| file.file_path));
    sql::run(&tx.inner, "clear import errors", sql, vec![paths]).await?;
    // Those whose row now says something else.
    let was_out = |dag_id: &DagId| stored.get(dag_id.as_str()).is_some_and(|it| it.is_stale || it.has_import_error);
    let dag_ids = files.iter().zip(&outcomes).map(|(file, outcome)| (&file.dag.dag_id, outcome.what));
    let news: Vec<&DagId> =
        dag_ids.filter(|(id, what)| *what != SyncWhat::Unchanged || was_out(id)).map(|(id, _)| id).collect();
    end_import_errors(tx, news.iter().copied(), now).await?;
    for dag_id in &news {
        tx.tell(Change::of_dag(dag_id, "version"));
    }
    // One note for several: whoever reads it reads every DAG's row again.
    let only = if let [only] = news.as_slice() { Some(*only) } else { None };
    tx.signal(SignalKind::DagChanged, only, None, now).await?;
    Ok(outcomes)
}

async fn insert_versions(
    tx: &Tx,
    versions: Vec<Vec<serde_json::Value>>,
    now: DateTime<Utc>,
) -> Result<HashMap<String, i64>> {
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_dag", Kind::Text),
            ("x_hash", Kind::Text),
            ("x_data", Kind::Text),
            ("x_file", Kind::Text),
            ("x_source", Kind::Text),
        ],
    );
    let sql = format!(
        "INSERT INTO dag_version (dag_id, number, content_hash, data, file_path, source, created_at) \
         SELECT x_dag, (SELECT COALESCE(MAX(v.number), 0) + 1 FROM dag_version v WHERE v.dag_id = x_dag), \
         x_hash, x_data, x_file, x_source, $2 FROM {source} RETURNING id, dag_id"
    );
    let values = vec![sql::rows(versions), micros(now).into()];
    let rows = sql::all(&tx.inner, "store DAG versions", sql, values).await?;
    rows.iter().map(|row| Ok((row.text("dag_id")?, row.int("id")?))).collect()
}

async fn put_dags(
    tx: &Tx,
    files: &[SyncDag<'_>],
    hashes: &[String],
    outcomes: &[SyncOutcome],
    now: DateTime<Utc>,
) -> Result<()> {
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_dag", Kind::Text),
            ("x_file", Kind::Text),
            ("x_paused", Kind::Bool),
            ("x_version", Kind::Int),
            ("x_head", Kind::Text),
            ("x_hash", Kind::Text),
        ],
    );
    let sql = format!(
        "INSERT INTO dag (dag_id, file_path, is_paused, version_id, head, content_hash, is_stale, first_seen_at, last_changed_at) \
         SELECT x.*, FALSE, $2, $2 FROM {source} WHERE TRUE ON CONFLICT (dag_id) DO UPDATE SET \
         file_path = excluded.file_path, is_stale = FALSE, version_id = excluded.version_id, head = excluded.head, \
         content_hash = excluded.content_hash, \
         last_changed_at = CASE WHEN dag.version_id = excluded.version_id THEN dag.last_changed_at \
         ELSE excluded.last_changed_at END"
    );
    let rows = sql::rows(files.iter().zip(hashes).zip(outcomes).map(|((file, hash), outcome)| {
        vec![
            json!(file.dag.dag_id.as_str()),
            json!(file.file_path),
            json!(file.paused_at_creation),
            json!(outcome.version_key),
            json!(json!(file.dag.head()).to_string()),
            json!(hash),
        ]
    }));
    sql::run(&tx.inner, "store DAGs", sql, vec![rows, micros(now).into()]).await.map(|_| ())
}
