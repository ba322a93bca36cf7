//! `millrace db …`

pub mod clean;
mod transfer;

use std::io::{BufRead, Write};
use std::process::Command;

use anyhow::{Context, bail};
use millrace_settings::config::mask_url;
use millrace_store::schema;

use crate::app::App;
use crate::args::DbCommand;
use crate::output::{notice, print_list, print_text};

pub async fn run(app: &App, command: DbCommand) -> anyhow::Result<()> {
    match command {
        DbCommand::Init => migrate(app, true).await,
        DbCommand::Migrate { show_sql: true, .. } => print_text(&schema::show_sql(&app.database_url())?),
        DbCommand::Migrate { no_wait, .. } => migrate(app, !no_wait).await,
        DbCommand::Downgrade { to, steps, yes } => downgrade(app, to, steps, yes).await,
        DbCommand::Check => check(app).await,
        DbCommand::Reset { yes } => reset(app, yes).await,
        DbCommand::Clean(args) => clean::run(app, args).await,
        DbCommand::Export { file } => transfer::export(app, &file).await,
        DbCommand::Import { file } => transfer::import(app, &file).await,
        DbCommand::Shell => shell(app),
    }
}

pub async fn migrate(app: &App, wait: bool) -> anyhow::Result<()> {
    let applied = app.migrate(wait).await?;
    let place = mask_url(&app.database_url());
    match applied.len() {
        0 => notice(format!("the schema of {place} is up to date")),
        _ => notice(format!("migrated {place}: {}", applied.join(", "))),
    }
    Ok(())
}

async fn check(app: &App) -> anyhow::Result<()> {
    schema::check(&app.database_url()).await?;
    print_list(app.format, &["name", "description", "applied_at"], &migrations(app).await?)
}

#[derive(serde::Serialize)]
struct MigrationRow {
    name: String,
    description: String,
    applied_at: Option<String>,
}

async fn migrations(app: &App) -> anyhow::Result<Vec<MigrationRow>> {
    let rows = schema::status(&app.database_url()).await?;
    Ok(rows
        .into_iter()
        .map(|row| MigrationRow {
            name: row.name,
            description: row.description,
            applied_at: row.applied_at.map(millrace_model::instant::format_utc_micros),
        })
        .collect())
}

async fn downgrade(app: &App, to: Option<String>, steps: Option<u32>, yes: bool) -> anyhow::Result<()> {
    let applied: Vec<String> =
        migrations(app).await?.into_iter().filter(|row| row.applied_at.is_some()).map(|row| row.name).collect();
    let target = match (to, steps) {
        (Some(to), _) => to,
        // The migration before the ones to undo; "" undoes all.
        (None, Some(steps)) => {
            let keep = applied.len().saturating_sub(steps as usize);
            keep.checked_sub(1).map(|last| applied[last].clone()).unwrap_or_default()
        }
        (None, None) => bail!("say how far: --to NAME or --steps N"),
    };
    confirm(app, yes, "undo migrations, which may delete data,")?;
    let undone = schema::downgrade(&app.database_url(), &target, true).await?;
    notice(format!("undone: {}", if undone.is_empty() { "nothing".to_owned() } else { undone.join(", ") }));
    Ok(())
}

async fn reset(app: &App, yes: bool) -> anyhow::Result<()> {
    confirm(app, yes, "delete all DAGs, runs, connections and variables")?;
    schema::reset(&app.database_url(), app.now()).await?;
    notice(format!("{} is empty and migrated", mask_url(&app.database_url())));
    Ok(())
}

/// Asks for the database's name typed back.
fn confirm(app: &App, yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let url = mask_url(&app.database_url());
    let path = url.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut out = std::io::stderr().lock();
    write!(out, "This will {what} in {url}.\nType the database's name ({name}) to go on: ")?;
    out.flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).context("could not read the answer")?;
    if typed.trim() != name {
        bail!("nothing was changed");
    }
    Ok(())
}

fn shell(app: &App) -> anyhow::Result<()> {
    let url = app.database_url();
    let mut command = match url.strip_prefix("sqlite://") {
        Some(path) => {
            let mut command = Command::new("sqlite3");
            command.arg(path);
            command
        }
        None => psql(&url)?,
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("could not start {program}; is it installed?"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}

/// psql with the parts of the address as environment variables: a command line can be read by everybody on the machine.
fn psql(url: &str) -> anyhow::Result<Command> {
    let form = millrace_settings::ConnectionForm::parse_uri(url)?;
    let mut command = Command::new("psql");
    let password = form.password.as_ref().map(|p| secrecy::ExposeSecret::expose_secret(p).to_owned());
    let parts = [
        ("PGHOST", form.host),
        ("PGPORT", form.port.map(|port| port.to_string())),
        ("PGUSER", form.login),
        ("PGPASSWORD", password),
        ("PGDATABASE", form.schema),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    Ok(command)
}
