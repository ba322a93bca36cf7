//! What may be shown of what people wrote and programs printed: known secrets are masked, and those that stand beside it.

use std::collections::HashMap;

use millrace_model::dag::Dag;
use millrace_model::param;
use millrace_settings::Masker;
use millrace_settings::mask::{MASK, is_sensitive_name};
use millrace_store::{AuditRow, ImportErrorRow, RunRow, StoreError};
use serde_json::{Map, Value};

use crate::server::Server;

/// Members of a diagnostic that quote the file.
const OF_THE_FILE: [&str; 2] = ["text", "source_line"];

/// How the name of whoever did something begins where a task did it.
const TASK_ACTOR: &str = "task:";

impl Server {
    /// Keys and values, secrets masked by their names and by what is known to be one.
    pub fn configuration(&self) -> Vec<(String, String)> {
        let shown = |(key, value): &(String, String)| {
            let is_secret = is_sensitive_name(key) && !value.is_empty();
            (key.clone(), if is_secret { MASK.to_owned() } else { self.masked_text(value) })
        };
        self.options.configuration.borrow().iter().map(shown).collect()
    }

    /// A text that somebody wrote or a program printed, as it may be shown.
    pub fn masked_text(&self, text: &str) -> String {
        self.options.vault.masker().mask(text)
    }

    /// As [`masked_text`](Self::masked_text); what stands under the name of a secret is hidden whole.
    pub fn masked_value(&self, value: &Value) -> Value {
        self.options.vault.masker().mask_value(value)
    }

    /// The conf of a run or backfill, as it may be shown. What a person sent is searched for nothing but the secrets that
    /// its names and addresses tell of: `***` for any other word would tell them that they guessed a secret. What a task
    /// handed on may hold what its templates looked up.
    pub fn masked_conf(&self, conf: &Map<String, Value>, made_by: &str) -> Value {
        if made_by.starts_with(TASK_ACTOR) {
            return self.masked_members(conf);
        }
        self.options.vault.masker().apart(conf).mask_value(&Value::Object(conf.clone()))
    }

    /// The params of a DAG.
    pub fn masked_members(&self, members: &Map<String, Value>) -> Value {
        // Cheap to clone beside the query that brought it.
        let members = members.clone();
        self.options.vault.masker().beside(&[&members]).mask_value(&Value::Object(members))
    }

    /// What is wrong with DAG files, as it may be shown: without what stands in the file, which nobody could look through
    /// for secrets where the file cannot be read.
    pub async fn import_errors(&self) -> Result<Vec<ImportErrorRow>, StoreError> {
        let mut rows = self.store().import_errors().await?;
        for diagnostic in rows.iter_mut().flat_map(|row| &mut row.diagnostics) {
            *diagnostic = self.masked_value(diagnostic);
            if let Some(members) = diagnostic.as_object_mut() {
                members.retain(|name, _| !OF_THE_FILE.contains(&name.as_str()));
            }
        }
        Ok(rows)
    }

    /// What may be shown of the text of a version: known secrets are masked, and those among its DAG's params.
    pub async fn masker_of_version(&self, version_key: i64) -> Result<Masker, StoreError> {
        let masker = self.options.vault.masker();
        match self.store().dag_version(version_key).await {
            Ok(dag) => Ok(masker.beside(&[&param::defaults(&dag.params)])),
            Err(error) if error.is_transient() => Err(error),
            // Of another program's making: it has no params for us.
            Err(_) => Ok(masker.clone()),
        }
    }

    /// Rows of the audit log, as they may be shown. What is secret in the conf of a run is hidden in what was written of
    /// that run; of one that is gone, whose conf nobody knows any more, the note is hidden whole.
    pub async fn masked_audit(&self, rows: &mut [AuditRow]) -> Result<(), StoreError> {
        let has_note = |value: &Value| value.get("note").is_some_and(Value::is_string);
        let mut runs: HashMap<(String, String), Option<RunRow>> = HashMap::new();
        for row in rows {
            let mut conf = row.details.get("conf").and_then(Value::as_object).cloned().unwrap_or_default();
            let is_noted = has_note(&row.details) || row.before.as_ref().is_some_and(has_note);
            let mut hides_note = false;
            if let (true, Some(run)) = (is_noted, row.dag_id.clone().zip(row.run_id.clone())) {
                if !runs.contains_key(&run) {
                    runs.insert(run.clone(), self.store().run(&run.0, &run.1).await?);
                }
                // Another run of that name tells nothing of this one's secrets.
                match runs[&run].as_ref().filter(|found| found.created_at <= row.at) {
                    Some(found) => conf.extend(found.conf.clone()),
                    None => hides_note = !row.details.get("conf").is_some_and(Value::is_object),
                }
            }
            let masker = self.options.vault.masker().beside(&[&conf]);
            let sent =
                row.details.get("conf").and_then(Value::as_object).map(|sent| self.masked_conf(sent, &row.actor));
            for told in [Some(&mut row.details), row.before.as_mut(), row.after.as_mut()].into_iter().flatten() {
                *told = masker.mask_value(told);
                if let Some(note) = told.get_mut("note").filter(|note| hides_note && note.is_string()) {
                    *note = MASK.into();
                }
            }
            if let (Some(sent), Some(conf)) = (sent, row.details.get_mut("conf")) {
                *conf = sent;
            }
        }
        Ok(())
    }

    /// What somebody wrote on a run.
    pub fn note_of(&self, run: &RunRow) -> Option<String> {
        run.note.as_deref().map(|note| self.options.vault.masker().beside(&[&run.conf]).mask(note))
    }

    /// For what a DAG's file says in words: knows what is secret in its params, too.
    pub fn masker_of_dag(&self, dag: &Dag) -> Masker {
        self.options.vault.masker().beside(&[&param::defaults(&dag.params)])
    }

    /// For what tasks of a run left: knows what is secret in its conf and in the params of its DAG, too.
    pub fn masker_of_run(&self, dag: &Dag, run: &RunRow) -> Masker {
        self.options.vault.masker().beside(&[&param::defaults(&dag.params), &run.conf])
    }
}
