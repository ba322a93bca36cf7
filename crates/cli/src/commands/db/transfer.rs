//! `millrace db export`, `millrace db import`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};
use millrace_settings::config::mask_url;
use millrace_settings::home::create_private_file;
use millrace_store::TransferReport;

use crate::app::App;
use crate::output::{counted, notice};

/// Sealed secrets and password hashes stand in it: for its owner only.
pub async fn export(app: &App, file: &Path) -> anyhow::Result<()> {
    let Some(store) = app.store_read_only().await? else {
        bail!("there is no database at {} to export", mask_url(&app.database_url()));
    };
    if store.is_led().await? {
        notice(
            "a scheduler works on it: what happens from now on is not in the file, and is done again after an import; \
             to move, stop it first",
        );
    }
    if file.as_os_str() == "-" {
        let report = store.export(&mut BufWriter::new(std::io::stdout()), app.now()).await?;
        notice(said("exported", &report));
        return Ok(());
    }
    if !create_private_file(file, b"")? {
        bail!("{} exists already; give another name", file.display());
    }
    let opened = File::options().write(true).open(file).with_context(|| file.display().to_string())?;
    let mut out = BufWriter::new(opened);
    let result = store.export(&mut out, app.now()).await;
    let result = match result {
        Ok(report) => out.flush().and_then(|()| out.get_ref().sync_all()).map(|()| report).map_err(Into::into),
        Err(error) => Err(anyhow::Error::from(error)),
    };
    match result {
        Ok(report) => {
            notice(format!("{} to {}", said("exported", &report), file.display()));
            notice(format!("secrets in it are sealed: keep {} with it", app.home.key_file().display()));
            Ok(())
        }
        Err(error) => {
            let _ = std::fs::remove_file(file);
            Err(error.context(format!("could not write {}", file.display())))
        }
    }
}

pub async fn import(app: &App, file: &Path) -> anyhow::Result<()> {
    let store = app.store().await?;
    if store.is_led().await? {
        bail!("a scheduler works on {}; stop it first", mask_url(&app.database_url()));
    }
    let report = if file.as_os_str() == "-" {
        store.import(&mut BufReader::new(std::io::stdin()), "cli", app.now()).await?
    } else {
        let opened = File::open(file).with_context(|| format!("could not read {}", file.display()))?;
        store.import(&mut BufReader::new(opened), "cli", app.now()).await?
    };
    notice(format!("{} into {}", said("imported", &report), mask_url(&app.database_url())));
    if !app.home.key_file().exists() {
        notice("copy the encryption_key of the old home to this one: connections and variables are sealed with it");
    }
    Ok(())
}

fn said(word: &str, report: &TransferReport) -> String {
    let rows: u64 = report.iter().map(|(_, rows)| rows).sum();
    format!("{word} {} of {}", counted(rows, "row"), counted(report.len(), "table"))
}
