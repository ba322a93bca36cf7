//! `millrace variables …`

use std::path::Path;

use anyhow::{Context, bail};
use millrace_settings::home::write_private_file;
use millrace_vault::{NamedVariable, Vault};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::{App, argument_or_stdin};
use crate::args::{ExistingKey, VariablesCommand};
use crate::output::{counted, notice, print_list, print_text};

const ACTOR: &str = "cli";

#[derive(Serialize)]
struct Row {
    key: String,
    value: String,
    description: Option<String>,
    origin: &'static str,
}

pub async fn run(app: &App, command: VariablesCommand) -> anyhow::Result<()> {
    let vault = app.vault(&app.store().await?)?;
    match command {
        VariablesCommand::List => {
            let row = |variable: NamedVariable| Row {
                value: variable.masked_value(),
                key: variable.key,
                description: variable.description,
                origin: variable.origin.as_str(),
            };
            let variables = vault.variables().await?;
            variables.iter().filter_map(|variable| variable.problem.as_deref()).for_each(notice);
            let rows: Vec<Row> = variables.into_iter().map(row).collect();
            print_list(app.format, &["key", "value", "description", "origin"], &rows)
        }
        // Whoever may read the home may read its variables: this shows a value on request, as an export with secrets does.
        VariablesCommand::Get { key, default } => match (vault.variable(&key).await?, default) {
            (Some(variable), _) => print_text(variable.value.expose_secret()),
            (None, Some(default)) => print_text(&default),
            (None, None) => bail!(not_found(&key)),
        },
        VariablesCommand::Set { key, value, description } => {
            let value = argument_or_stdin(&value)?;
            let is_new = vault.put_variable(&key, value.trim_end_matches('\n'), description, ACTOR, app.now()).await?;
            notice(format!("{} the variable '{key}'", if is_new { "added" } else { "changed" }));
            Ok(())
        }
        VariablesCommand::Delete { key } => {
            if !vault.delete_variable(&key, ACTOR, app.now()).await? {
                bail!(not_found(&key));
            }
            notice(format!("deleted the variable '{key}'"));
            Ok(())
        }
        VariablesCommand::Import { file, existing } => import(app, &vault, &file, existing).await,
        VariablesCommand::Export { file, with_secrets } => export(&vault, &file, with_secrets).await,
    }
}

fn not_found(key: &str) -> String {
    format!("there is no variable '{key}'; `millrace variables list` shows those that exist")
}

async fn import(app: &App, vault: &Vault, file: &Path, existing: ExistingKey) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    let entries: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", file.display()))?;
    // `fail` must not leave half of the file behind: look before the first is written.
    let mut present = Vec::new();
    for key in entries.keys() {
        if vault.variable(key).await?.is_some() {
            present.push(key.clone());
        }
    }
    if existing == ExistingKey::Fail && !present.is_empty() {
        bail!("these variables exist already: {}; nothing was imported", present.join(", "));
    }
    let (mut written, mut kept) = (0, 0);
    for (key, value) in entries {
        if existing == ExistingKey::Skip && present.contains(&key) {
            kept += 1;
            continue;
        }
        // Texts as they are; everything else as JSON, for `var.json`.
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        vault.put_variable(&key, &text, None, ACTOR, app.now()).await?;
        written += 1;
    }
    notice(format!("imported {}, kept {kept}", counted(written, "variable")));
    Ok(())
}

async fn export(vault: &Vault, file: &Path, with_secrets: bool) -> anyhow::Result<()> {
    let variables = vault.variables().await?;
    if let Some(problem) = variables.iter().find_map(|variable| variable.problem.as_ref()) {
        bail!("nothing was exported: {problem}");
    }
    let shown = |variable: &NamedVariable| {
        if with_secrets { variable.value.expose_secret().to_owned() } else { variable.masked_value() }
    };
    let map: Map<String, Value> =
        variables.iter().map(|variable| (variable.key.clone(), Value::String(shown(variable)))).collect();
    let text = serde_json::to_string_pretty(&map)?;
    if file.as_os_str() == "-" {
        return print_text(&text);
    }
    write_private_file(file, text.as_bytes())?;
    notice(format!("exported {} to {}", counted(variables.len(), "variable"), file.display()));
    Ok(())
}
