//! `millrace pools …` and `millrace jobs …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum PoolsCommand {
    /// List the pools and how full they are
    List,
    /// Show one
    Get { name: String },
    /// Add a pool, or change one
    Set(PoolSetArgs),
    /// Delete one; tasks that name it wait until it exists again
    Delete { name: String },
    /// Read pools from a JSON object in a file: `{name: {"slots": 4, "description": "…"}}`
    Import { file: PathBuf },
    /// Write all pools to a file (`-` for standard output)
    Export { file: PathBuf },
}

#[derive(Debug, Args)]
pub struct PoolSetArgs {
    pub name: String,
    /// How many tasks of one slot may run at the same time; -1 = without limit
    #[arg(allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub slots: i64,
    /// What it is for [default: what it was]
    pub description: Option<String>,
    /// Tasks that wait outside of a worker hold their slots too [default: what it was]
    #[arg(long, value_name = "YES", num_args = 0..=1, default_missing_value = "true")]
    pub include_deferred: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List schedulers and other long-lived processes, those at work first
    List {
        /// At the most so many
        #[arg(long, default_value_t = 20)]
        limit: u64,
        /// Also those that have ended
        #[arg(short, long)]
        all: bool,
    },
    /// Exit with 1 unless a scheduler lives: its last heartbeat is younger than `scheduler.lease_timeout`, and on SQLite its lock is held
    Check {
        /// Only on this machine
        #[arg(long)]
        hostname: Option<String>,
        /// scheduler, server or task_run
        #[arg(long, default_value = "scheduler")]
        job_type: String,
    },
}
