//! `millrace data …`

use clap::{Args, Subcommand};
use millrace_model::ledger::STAGES;

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// What was moved, newest first: rows, bytes, time, file, checksum, remote query ids
    Ledger(LedgerArgs),
    /// Compare the rows that a task moved on both sides again; exit with 1 if they differ
    Verify(Box<VerifyArgs>),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    pub dag_id: String,
    /// The task that loaded the rows, or the one that read them
    pub task_id: String,
    /// A run id or a logical date
    pub run: String,
    /// Which table, where the task wrote into several: with or without its schema
    #[arg(short, long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Columns that tell rows apart, with commas [default: those of the upsert, or the table's primary key]
    #[arg(short, long, value_name = "COLUMNS", value_delimiter = ',')]
    pub key: Vec<String>,
    /// Which rows of the target are meant, as SQL [default: what the query's own WHERE says]
    #[arg(short, long = "where", value_name = "SQL")]
    pub filter: Option<String>,
    /// Which rows of the query are meant, as SQL on the columns it puts out
    #[arg(long, value_name = "SQL")]
    pub source_where: Option<String>,
    /// Columns that are not compared, with commas
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Name at the most so many rows that differ
    #[arg(long, default_value_t = 20)]
    pub most: usize,
    /// Print the values that differ, not only their lengths
    #[arg(long)]
    pub show_values: bool,
    /// Read all rows instead of letting the databases hash them
    #[arg(long)]
    pub stream: bool,
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
    /// Only movements of this kind
    #[arg(long, value_name = "STAGE", value_parser = STAGES)]
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
