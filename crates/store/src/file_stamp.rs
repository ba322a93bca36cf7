//! What DAG files were like when they were last read, so that a process that has just started need not read them again.

use millrace_model::ids::DagId;
use serde_json::{Value, json};

use crate::sql::{Kind, values};
use crate::{Result, Store, Tx, sql};

/// A file whose DAG is stored exactly as it was read from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedFile {
    pub file_path: String,
    pub dag_id: DagId,
    pub content_hash: String,
    /// As the reader of files wrote it.
    pub stamps: Value,
}

impl Store {
    /// The files that this reader has read and whose DAGs are in service as they were read: neither stale, nor replaced,
    /// nor with an error.
    pub async fn stamped_files(&self, reader: &str) -> Result<Vec<StampedFile>> {
        let sql = "SELECT f.file_path, f.dag_id, f.content_hash, f.stamps FROM dag_file f \
                   JOIN dag d ON d.dag_id = f.dag_id AND d.file_path = f.file_path \
                   JOIN dag_version v ON v.id = d.version_id AND v.content_hash = f.content_hash \
                   WHERE f.reader = $1 AND NOT d.is_stale \
                   AND NOT EXISTS (SELECT 1 FROM import_error e WHERE e.file_path = f.file_path)";
        let rows = sql::all(self.reader(), "read what DAG files were like", sql, values![reader]).await?;
        rows.iter()
            .map(|row| {
                Ok(StampedFile {
                    file_path: row.text("file_path")?,
                    dag_id: DagId::new_unchecked(row.text("dag_id")?),
                    content_hash: row.text("content_hash")?,
                    stamps: row.json("stamps")?,
                })
            })
            .collect()
    }
}

pub(crate) async fn put(tx: &Tx, reader: &str, stamps: &[StampedFile]) -> Result<()> {
    if stamps.is_empty() {
        return Ok(());
    }
    let columns = [("x_file", Kind::Text), ("x_dag", Kind::Text), ("x_hash", Kind::Text), ("x_stamps", Kind::Text)];
    let source = sql::source(tx.dialect(), 1, &columns);
    let sql = format!(
        "INSERT INTO dag_file (file_path, dag_id, content_hash, stamps, reader) SELECT x.*, $2 FROM {source} \
         WHERE TRUE ON CONFLICT (file_path) DO UPDATE SET dag_id = excluded.dag_id, \
         content_hash = excluded.content_hash, stamps = excluded.stamps, reader = excluded.reader"
    );
    let rows = sql::rows(stamps.iter().map(|stamp| {
        let (dag_id, stamps) = (stamp.dag_id.as_str(), stamp.stamps.to_string());
        vec![json!(stamp.file_path), json!(dag_id), json!(stamp.content_hash), json!(stamps)]
    }));
    sql::run(&tx.inner, "note what DAG files were like", sql, vec![rows, reader.into()]).await.map(|_| ())
}
