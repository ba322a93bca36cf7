//! `millrace pools …`

use std::path::Path;

use anyhow::{Context, bail};
use millrace_settings::home::write_private_file;
use millrace_store::{PoolRow, PoolUse, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::app::{App, argument_or_stdin};
use crate::args::{PoolSetArgs, PoolsCommand};
use crate::failure::usage;
use crate::output::{counted, notice, print_list, print_one, print_text};

const ACTOR: &str = "cli";
const LONGEST_NAME: usize = 250;

#[derive(Serialize)]
struct PoolView {
    pool: String,
    /// -1: without limit.
    slots: i64,
    running: i64,
    queued: i64,
    /// Ready, and without a slot.
    scheduled: i64,
    deferred: i64,
    open: Option<i64>,
    description: Option<String>,
    include_deferred: bool,
}

impl PoolView {
    fn of(row: PoolRow, used: &BTreeMap<String, PoolUse>) -> Self {
        let used = used.get(&row.name).copied().unwrap_or_default();
        Self {
            open: used.open_slots(&row),
            pool: row.name,
            slots: row.slots,
            running: used.running,
            queued: used.queued,
            scheduled: used.scheduled,
            deferred: used.deferred,
            description: row.description,
            include_deferred: row.include_deferred,
        }
    }
}

/// As it stands in a file. Airflow's exports have the same form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolEntry {
    slots: i64,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    include_deferred: bool,
}

pub async fn run(app: &App, command: PoolsCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        PoolsCommand::List => {
            let used = store.pool_use().await?;
            let views: Vec<PoolView> = store.pools().await?.into_iter().map(|row| PoolView::of(row, &used)).collect();
            print_list(
                app.format,
                &["pool", "slots", "running", "queued", "scheduled", "deferred", "open", "description"],
                &views,
            )
        }
        PoolsCommand::Get { name } => {
            let row = find(&store, &name).await?.with_context(|| not_found(&name))?;
            print_one(app.format, &PoolView::of(row, &store.pool_use().await?))
        }
        PoolsCommand::Set(args) => set(app, &store, args).await,
        PoolsCommand::Delete { name } => {
            if !store.delete_pool(&name, ACTOR, app.now()).await? {
                bail!(not_found(&name));
            }
            notice(format!("deleted the pool '{name}'; tasks that name it wait until it exists again"));
            Ok(())
        }
        PoolsCommand::Import { file } => import(app, &store, &file).await,
        PoolsCommand::Export { file } => export(&store, &file).await,
    }
}

async fn find(store: &Store, name: &str) -> anyhow::Result<Option<PoolRow>> {
    Ok(store.pools().await?.into_iter().find(|row| row.name == name))
}

fn not_found(name: &str) -> String {
    format!("there is no pool '{name}'; `millrace pools list` shows those that exist")
}

fn check_name(name: &str) -> anyhow::Result<()> {
    if name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(usage(format!("a pool's name must have 1 to {LONGEST_NAME} characters, none of them invisible")));
    }
    if matches!(name, "." | "..") {
        return Err(usage("a pool must not be named '.' or '..': no address could name it"));
    }
    Ok(())
}

async fn set(app: &App, store: &Store, args: PoolSetArgs) -> anyhow::Result<()> {
    check_name(&args.name)?;
    let before = find(store, &args.name).await?;
    let row = PoolRow {
        slots: args.slots,
        description: args.description.or_else(|| before.as_ref().and_then(|row| row.description.clone())),
        include_deferred: args.include_deferred.unwrap_or(before.as_ref().is_some_and(|row| row.include_deferred)),
        name: args.name,
    };
    let is_new = store.put_pool(&row, ACTOR, app.now()).await?;
    let slots = if row.slots < 0 { "without limit".to_owned() } else { counted(row.slots, "slot") };
    notice(format!("{} the pool '{}': {slots}", if is_new { "added" } else { "changed" }, row.name));
    Ok(())
}

async fn import(app: &App, store: &Store, file: &Path) -> anyhow::Result<()> {
    let text = if file.as_os_str() == "-" {
        argument_or_stdin("-")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?
    };
    let entries: BTreeMap<String, PoolEntry> = serde_json::from_str(&text).with_context(|| {
        format!("{} is not a JSON object of pools, like {{\"etl\": {{\"slots\": 4}}}}", file.display())
    })?;
    // All of it is looked at before the first is written.
    for (name, entry) in &entries {
        check_name(name)?;
        if entry.slots < -1 {
            return Err(usage(format!("pool '{name}' has {} slots; -1 means without limit", entry.slots)));
        }
    }
    let count = entries.len();
    for (name, entry) in entries {
        let PoolEntry { slots, description, include_deferred } = entry;
        store.put_pool(&PoolRow { name, slots, description, include_deferred }, ACTOR, app.now()).await?;
    }
    notice(format!("imported {}", counted(count, "pool")));
    Ok(())
}

async fn export(store: &Store, file: &Path) -> anyhow::Result<()> {
    let entry = |row: PoolRow| {
        let PoolRow { name, slots, description, include_deferred } = row;
        (name, PoolEntry { slots, description, include_deferred })
    };
    let entries: BTreeMap<String, PoolEntry> = store.pools().await?.into_iter().map(entry).collect();
    let text = serde_json::to_string_pretty(&entries)?;
    if file.as_os_str() == "-" {
        return print_text(&text);
    }
    write_private_file(file, text.as_bytes())?;
    notice(format!("exported {} to {}", counted(entries.len(), "pool"), file.display()));
    Ok(())
}
