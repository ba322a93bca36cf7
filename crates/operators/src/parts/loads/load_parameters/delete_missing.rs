//! The parameter `delete_missing`.

use millrace_operator_api::{Problems, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::loads::loading::{Missing, Query};
use crate::parts::parameter::{OneOrMany, is_blank, rendered_option, rendered_text, written};
use crate::parts::reads::treatment::{self, Personal, Treatment, Treatments};

/// Where all keys of the source come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteMissing {
    /// The connection to the source.
    sql_conn_id: Template<String>,
    /// One SELECT of all keys, whatever was loaded: `SELECT id FROM orders`.
    query: Template<String>,
    /// What was done to the keys when they were extracted, to be done again: `{email: hash, at: {timezone: Asia/Seoul}}`.
    #[serde(default)]
    columns: Treatments,
    /// The connection whose password is the key of `hash`: the extract's.
    #[serde(default)]
    hash_conn_id: Option<Template<String>>,
    /// The zone of keys that are timestamps without one: the extract's. Left out: what the connection says.
    #[serde(default)]
    source_timezone: Option<Template<String>>,
}

impl DeleteMissing {
    pub fn check(&self, keys: Option<&Template<OneOrMany>>, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("query", &self.query)] {
            if is_blank(field) {
                problems.add(format!("delete_missing.{name}"), format!("{name} is empty"));
            }
        }
        let mut own = Problems::default();
        let zone = self.source_timezone.as_ref().and_then(written);
        treatment::check(&self.columns, self.hash_conn_id.is_some(), zone.as_deref(), &mut own);
        for (name, treatment) in &self.columns {
            if matches!(treatment, Treatment::Personal(Personal::Mask | Personal::Drop)) {
                own.add(format!("columns.{name}"), "keys that are masked or left out tell no row from another");
            }
            let keys = keys.and_then(written);
            if keys.is_some_and(|OneOrMany(keys)| !keys.iter().any(|key| key.eq_ignore_ascii_case(name))) {
                own.add(format!("columns.{name}"), "it is not among upsert_keys, and only those are read");
            }
        }
        for (name, problem) in own.into_items() {
            problems.add(format!("delete_missing.{name}"), problem);
        }
    }

    pub fn rendered(&self) -> Result<Missing, TaskError> {
        let (conn, query) = ("delete_missing.sql_conn_id", "delete_missing.query");
        let hash_conn_id = rendered_option("delete_missing.hash_conn_id", self.hash_conn_id.as_ref())?;
        let zone: Option<String> = rendered_option("delete_missing.source_timezone", self.source_timezone.as_ref())?;
        Ok(Missing {
            keys: Query { conn_id: rendered_text(conn, &self.sql_conn_id)?, query: rendered_text(query, &self.query)? },
            columns: self.columns.clone(),
            hash_conn_id,
            source_timezone: zone.filter(|zone| !zone.is_empty()),
        })
    }
}
