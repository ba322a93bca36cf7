//! `millrace data …`

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// What was moved, newest first: rows, bytes, time, file, checksum, remote query ids
    Ledger(LedgerArgs),
}

#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// Only this DAG
    #[arg(short, long, value_name = "DAG")]
    pub dag_id: Option<String>,
    /// Only tasks of this id
    #[arg(short, long, value_name = "TASK")]
    pub task_id: Option<String>,
    /// Only this run: its id or, with a DAG, its logical date
    #[arg(short, long, value_name = "RUN")]
    pub run_id: Option<String>,
    /// Only `extract`, `upload`, `load`, `build`, `check` or `delete`
    #[arg(long)]
    pub stage: Option<String>,
    /// Only what was written here: a table with or without its schema, or a whole target as it is listed
    #[arg(long, value_name = "TABLE")]
    pub target: Option<String>,
    /// Only movements that ended then or later
    #[arg(long, value_name = "INSTANT")]
    pub since: Option<String>,
    /// Only movements that ended before
    #[arg(long, value_name = "INSTANT")]
    pub until: Option<String>,
    /// At the most so many
    #[arg(long, default_value_t = 50)]
    pub limit: u64,
    /// Pass over so many of the newest
    #[arg(long, default_value_t = 0)]
    pub offset: u64,
}
