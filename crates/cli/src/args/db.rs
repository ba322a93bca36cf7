//! `millrace db …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Make the database if it is missing, and migrate it; never drops anything
    Init,
    /// Bring the database to this version's schema
    #[command(alias = "upgrade")]
    Migrate {
        /// Fail at once when another process is migrating, instead of waiting
        #[arg(long)]
        no_wait: bool,
        /// Print the statements of all migrations, for whoever applies them by hand; change nothing
        #[arg(long, conflicts_with = "no_wait")]
        show_sql: bool,
    },
    /// Undo migrations
    Downgrade {
        /// Undo everything after this migration
        #[arg(long, value_name = "NAME", required_unless_present = "steps")]
        to: Option<String>,
        /// Undo so many
        #[arg(long, conflicts_with = "to")]
        steps: Option<u32>,
        #[arg(short, long)]
        yes: bool,
    },
    /// Can the database be reached, and is its schema this version's?
    #[command(alias = "check-migrations")]
    Check,
    /// Delete everything in the metadata database and make it anew
    Reset {
        /// Do not ask for the database's name
        #[arg(short, long)]
        yes: bool,
    },
    /// Delete finished runs, with all that belongs to them, and log entries that are old
    Clean(CleanArgs),
    /// Write the whole database to a file (`-` for standard output), to be read by `db import`
    Export { file: PathBuf },
    /// Read what `db export` wrote (`-` for standard input) into an empty database, of either kind
    Import { file: PathBuf },
    /// Open the database's own shell (sqlite3 or psql)
    Shell,
}

#[derive(Debug, Args)]
pub struct CleanArgs {
    /// What ended before this date or instant (UTC)
    #[arg(long, alias = "clean-before-timestamp", value_name = "DATE", required_unless_present = "keep")]
    pub before: Option<String>,
    /// All but the last so long: 90d, 12h
    #[arg(long, value_name = "LENGTH", conflicts_with = "before")]
    pub keep: Option<String>,
    /// Only these tables: dag_run, backfill, dag_version, schedule_slot, asset_event, alert, job, audit_log
    #[arg(short, long, value_delimiter = ',')]
    pub tables: Vec<String>,
    /// Only runs of these DAGs, and what is known by DAG
    #[arg(long, value_delimiter = ',')]
    pub dag_ids: Vec<String>,
    /// Count what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Runs that one transaction deletes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_size: u32,
    /// Do not write what is deleted to the home's folder `archive`
    #[arg(long)]
    pub skip_archive: bool,
    /// Leave the logs of deleted runs
    #[arg(long)]
    pub keep_logs: bool,
    #[arg(short, long)]
    pub yes: bool,
}
