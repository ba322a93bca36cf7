//! `millrace connections …`

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use millrace_connectors::{Connectors, known_type, known_types};
use millrace_settings::ConnectionForm;
use millrace_settings::connection::check_conn_id;
use millrace_settings::home::write_private_file;
use millrace_settings::known_extra::unknown_settings;
use millrace_vault::{NamedConnection, to_port_connection};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::{App, argument_or_stdin};
use crate::args::{ConnectionAddArgs, ConnectionsCommand, FileFormat};
use crate::failure::usage;
use crate::output::{counted, notice, print_list, print_one, print_text};

const ACTOR: &str = "cli";

#[derive(Serialize)]
struct Row {
    conn_id: String,
    #[serde(flatten)]
    form: Value,
    origin: &'static str,
}

impl Row {
    fn of(connection: &NamedConnection) -> Self {
        Self {
            conn_id: connection.conn_id.clone(),
            form: connection.form.to_masked_value(),
            origin: connection.origin.as_str(),
        }
    }
}

pub async fn run(app: &App, command: ConnectionsCommand) -> anyhow::Result<()> {
    match command {
        ConnectionsCommand::Add(args) => add(app, *args).await,
        ConnectionsCommand::List => {
            let connections = app.vault(&app.store().await?)?.connections().await?;
            connections.iter().filter_map(|connection| connection.problem.as_deref()).for_each(notice);
            let rows: Vec<Row> = connections.iter().map(Row::of).collect();
            print_list(app.format, &["conn_id", "conn_type", "host", "port", "schema", "login", "origin"], &rows)
        }
        ConnectionsCommand::Get { conn_id } => print_one(app.format, &Row::of(&find(app, &conn_id).await?)),
        ConnectionsCommand::Delete { conn_id } => {
            if !app.vault(&app.store().await?)?.delete_connection(&conn_id, ACTOR, app.now()).await? {
                bail!(not_found(&conn_id));
            }
            notice(format!("deleted the connection '{conn_id}'"));
            Ok(())
        }
        ConnectionsCommand::Test { conn_id } => {
            let found = find(app, &conn_id).await?;
            tell_unknown(&conn_id, &found.form);
            let answer = Connectors::test(&to_port_connection(found)).await;
            let answer = answer.map_err(|e| anyhow::anyhow!("{}", app.masker.mask(&e.to_string())))?;
            print_text(&format!("{conn_id}: {answer}"))
        }
        ConnectionsCommand::Import { file, overwrite } => import(app, &file, overwrite).await,
        ConnectionsCommand::Export { file, file_format, with_secrets } => {
            export(app, &file, file_format, with_secrets).await
        }
    }
}

fn tell_unknown(conn_id: &str, form: &ConnectionForm) {
    for unknown in unknown_settings(&form.conn_type, &form.extra) {
        notice(format!("warning: {conn_id}: {unknown}"));
    }
}

fn not_found(conn_id: &str) -> String {
    format!("there is no connection '{conn_id}'; `millrace connections list` shows those that exist")
}

async fn find(app: &App, conn_id: &str) -> anyhow::Result<NamedConnection> {
    app.vault(&app.store().await?)?.connection(conn_id).await?.with_context(|| not_found(conn_id))
}

async fn add(app: &App, args: ConnectionAddArgs) -> anyhow::Result<()> {
    check_conn_id(&args.conn_id)?;
    let form = if let Some(uri) = &args.conn_uri {
        ConnectionForm::parse_uri(argument_or_stdin(uri)?.trim())?
    } else if let Some(text) = &args.conn_json {
        parse_given(&argument_or_stdin(text)?)?
    } else if args.conn_type.is_some() {
        let extra = match &args.extra {
            Some(text) => serde_json::from_str(text).context("--conn-extra must be a JSON object")?,
            None => Value::Null,
        };
        ConnectionForm::from_value(json!({
            "conn_type": args.conn_type, "host": args.host, "login": args.login, "password": args.password,
            "port": args.port, "schema": args.schema, "extra": extra,
        }))?
    } else {
        return Err(usage("say what the connection is: --conn-uri, --conn-json or --conn-type"));
    };
    let form = ConnectionForm { description: args.description.clone().or(form.description.clone()), ..form };
    let vault = app.vault(&app.store().await?)?;
    if !args.overwrite && vault.connection(&args.conn_id).await?.is_some() {
        bail!("there is a connection '{}' already; --overwrite replaces it", args.conn_id);
    }
    tell_unknown(&args.conn_id, &form);
    let is_new = vault.put_connection(&args.conn_id, form, ACTOR, app.now()).await?;
    notice(format!("{} the connection '{}'", if is_new { "added" } else { "replaced" }, args.conn_id));
    if let Some(connection) = vault.connection(&args.conn_id).await?
        && !known_type(&connection.form.conn_type)
    {
        notice(format!(
            "no connection of type '{}' can be opened (those of {} can); it can hold a key (hash_conn_id) or values of \
             templates",
            connection.form.conn_type,
            known_types()
        ));
    }
    Ok(())
}

/// As `connections get -o json` prints it, too: the name stands in the command, and where it was found is not kept.
fn parse_given(text: &str) -> anyhow::Result<ConnectionForm> {
    let Ok(Value::Object(mut members)) = serde_json::from_str(text) else {
        return Ok(ConnectionForm::parse_json(text)?);
    };
    members.retain(|name, _| !matches!(name.as_str(), "conn_id" | "origin"));
    Ok(ConnectionForm::from_value(Value::Object(members))?)
}

async fn import(app: &App, file: &Path, overwrite: bool) -> anyhow::Result<()> {
    let text = argument_or_stdin(&file.to_string_lossy())
        .and_then(|text| if file.as_os_str() == "-" { Ok(text) } else { Ok(std::fs::read_to_string(file)?) });
    let text = text.with_context(|| format!("could not read {}", file.display()))?;
    let entries = parse_entries(&text).with_context(|| format!("{} can't be imported", file.display()))?;
    let vault = app.vault(&app.store().await?)?;
    let (mut added, mut kept) = (0, 0);
    for (conn_id, form) in entries {
        if !overwrite && vault.connection(&conn_id).await?.is_some() {
            notice(format!("kept the connection '{conn_id}', which exists (--overwrite replaces it)"));
            kept += 1;
        } else {
            tell_unknown(&conn_id, &form);
            vault.put_connection(&conn_id, form, ACTOR, app.now()).await?;
            added += 1;
        }
    }
    notice(format!("imported {}, kept {kept}", counted(added, "connection")));
    Ok(())
}

/// All or nothing: every entry is read before one is stored. `.env` lines, or a JSON or YAML map.
fn parse_entries(text: &str) -> anyhow::Result<BTreeMap<String, ConnectionForm>> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) if is_env(text) => env_entries(text),
        Err(json_error) => serde_saphyr::from_str(text)
            .map_err(|yaml_error| anyhow::anyhow!("neither JSON ({json_error}) nor YAML ({yaml_error})"))?,
    };
    let Value::Object(map) = value else { bail!("expected a map from connection id to connection") };
    map.into_iter()
        .map(|(conn_id, value)| {
            let form = check_conn_id(&conn_id).and_then(|()| match value {
                Value::String(text) => ConnectionForm::parse(&text),
                value => ConnectionForm::from_value(value),
            });
            let form = form.with_context(|| format!("connection '{conn_id}'"))?;
            let form = form.keeping_masked_from(None).with_context(|| {
                format!("connection '{conn_id}' holds *** where a secret was: it was exported without --with-secrets")
            })?;
            Ok((conn_id, form))
        })
        .collect()
}

fn is_env(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).peekable();
    lines.peek().is_some() && lines.all(|line| line.split_once('=').is_some_and(|(_, uri)| uri.contains("://")))
}

fn env_entries(text: &str) -> Value {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let entries: Map<String, Value> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(id, uri)| (id.trim().to_owned(), Value::String(uri.trim().to_owned())))
        .collect();
    Value::Object(entries)
}

async fn export(app: &App, file: &Path, format: Option<FileFormat>, with_secrets: bool) -> anyhow::Result<()> {
    let connections = app.vault(&app.store().await?)?.connections().await?;
    if let Some(problem) = connections.iter().find_map(|connection| connection.problem.as_ref()) {
        bail!("nothing was exported: {problem}");
    }
    let format = format.unwrap_or_else(|| match file.extension().and_then(|e| e.to_str()) {
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("env") => FileFormat::Env,
        _ => FileFormat::Json,
    });
    let masked = |form: &ConnectionForm| ConnectionForm::from_value(form.to_masked_value());
    let text = if format == FileFormat::Env {
        let mut text = String::new();
        for connection in &connections {
            let form = if with_secrets { connection.form.clone() } else { masked(&connection.form)? };
            text.push_str(&format!("{}={}\n", connection.conn_id, form.to_uri()));
        }
        text
    } else {
        let value: Map<String, Value> = connections
            .iter()
            .map(|c| (c.conn_id.clone(), if with_secrets { c.form.to_value() } else { c.form.to_masked_value() }))
            .collect();
        match format {
            FileFormat::Yaml => serde_saphyr::to_string(&value).context("could not write YAML")?,
            _ => serde_json::to_string_pretty(&value)?,
        }
    };
    if file.as_os_str() == "-" {
        return print_text(&text);
    }
    write_private_file(file, text.as_bytes())?;
    notice(format!("exported {} to {}", counted(connections.len(), "connection"), file.display()));
    Ok(())
}
