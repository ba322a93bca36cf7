//! What DAG files were like when they were last read, so that a process that has just started need not read them again.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use millrace_model::ids::DagId;
use serde_json::{Value, json};

use crate::sql::{Kind, values};
use crate::{AuditRow, Result, SignalKind, Store, Tx, sql};

/// A file whose DAGs are stored exactly as they were read from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedFile {
    pub file_path: String,
    /// Each with the hash of its content.
    pub dags: Vec<(DagId, String)>,
    /// As the reader of files wrote it.
    pub stamps: Value,
}

impl Store {
    /// Has the leading scheduler read the DAG files again, because somebody changed this one, which belongs to `dag`.
    pub async fn ask_for_files(
        &self,
        file_path: &str,
        dag: Option<&DagId>,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let tx = self.begin("ask for DAG files to be read").await?;
        tx.signal(SignalKind::FilesAsked, None, None, now).await?;
        let audit = AuditRow::new(actor, "reparse", json!({ "file": file_path }), now);
        tx.audit(&match dag {
            Some(dag_id) => audit.on_dag(dag_id.as_str()),
            None => audit,
        })
        .await?;
        tx.commit().await
    }

    /// The files that this reader has read and whose DAGs are all in service as they were read: neither stale, nor
    /// replaced, nor with an error.
    pub async fn stamped_files(&self, reader: &str) -> Result<Vec<StampedFile>> {
        let sql = "SELECT d.dag_id, d.file_path, d.content_hash FROM dag d \
                   WHERE NOT d.is_stale AND d.content_hash IS NOT NULL \
                   AND NOT EXISTS (SELECT 1 FROM import_error e WHERE e.file_path = d.file_path)";
        let mut in_service = HashSet::new();
        let columns = ["dag_id", "file_path", "content_hash"];
        for row in sql::all_at_once(self.reader(), "read which DAGs are in service", &columns, sql, vec![]).await? {
            in_service.insert((row.text("file_path")?, row.text("dag_id")?, row.text("content_hash")?));
        }
        let sql = "SELECT file_path, dags, stamps FROM dag_file WHERE reader = $1";
        let columns = ["file_path", "dags", "stamps"];
        let rows =
            sql::all_at_once(self.reader(), "read what DAG files were like", &columns, sql, values![reader]).await?;
        let mut files = Vec::with_capacity(rows.len());
        for row in &rows {
            let (path, dags): (String, Vec<(String, String)>) = (row.text("file_path")?, row.json("dags")?);
            if dags.iter().all(|(id, hash)| in_service.contains(&(path.clone(), id.clone(), hash.clone()))) {
                let dags = dags.into_iter().map(|(id, hash)| (DagId::new_unchecked(id), hash)).collect();
                files.push(StampedFile { file_path: path, dags, stamps: row.json("stamps")? });
            }
        }
        Ok(files)
    }
}

pub(crate) async fn put(tx: &Tx, reader: &str, stamps: &[StampedFile]) -> Result<()> {
    if stamps.is_empty() {
        return Ok(());
    }
    let columns = [("x_file", Kind::Text), ("x_dags", Kind::Text), ("x_stamps", Kind::Text)];
    let source = sql::source(tx.dialect(), 1, &columns);
    let sql = format!(
        "INSERT INTO dag_file (file_path, dags, stamps, reader) SELECT x.*, $2 FROM {source} \
         WHERE TRUE ON CONFLICT (file_path) DO UPDATE SET dags = excluded.dags, stamps = excluded.stamps, \
         reader = excluded.reader"
    );
    let rows = sql::rows(stamps.iter().map(|stamp| {
        vec![json!(stamp.file_path), json!(json!(stamp.dags).to_string()), json!(stamp.stamps.to_string())]
    }));
    sql::run(&tx.inner, "note what DAG files were like", sql, vec![rows, reader.into()]).await.map(|_| ())
}
