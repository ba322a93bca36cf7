//! `millrace dags backfill` and `millrace backfills …`

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub struct BackfillArgs {
    pub dag_id: String,
    /// The first logical date
    #[arg(short, long, value_name = "DATE")]
    pub start_date: String,
    /// The end; not run itself
    #[arg(short, long, value_name = "DATE")]
    pub end_date: String,
    /// Run the end date too; one without a time is all of that day in the DAG's zone
    #[arg(long)]
    pub end_inclusive: bool,
    /// What to do with dates that have a finished run
    #[arg(long, value_enum, default_value_t)]
    pub reprocess: Reprocess,
    /// Runs at the same time [default: the DAG's max_active_runs]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_active_runs: Option<u32>,
    /// Only tasks in whose id this regular expression is found; what they wait for besides counts as done
    #[arg(short, long, value_name = "REGEX", alias = "task-regex")]
    pub tasks: Option<String>,
    /// Also every task that these wait for
    #[arg(long, requires = "tasks")]
    pub upstream: bool,
    /// Also every task that waits for these
    #[arg(long, requires = "tasks")]
    pub downstream: bool,
    /// The newest date first
    #[arg(long, alias = "run-backwards")]
    pub reverse: bool,
    /// Parameters of the runs, a JSON object
    #[arg(short, long, value_name = "JSON")]
    pub conf: Option<String>,
    /// Print the dates, create nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait for all runs to end; the exit code is 1 if one failed
    #[arg(long)]
    pub wait: bool,
    /// Allow dates outside of the DAG's start and end
    #[arg(long)]
    pub ignore_bounds: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Reprocess {
    /// Leave finished runs alone
    #[default]
    None,
    /// Run failed ones again
    Failed,
    /// Run every finished one again
    Completed,
}

#[derive(Debug, Subcommand)]
pub enum BackfillsCommand {
    /// Run a range of past dates: from the start, without the end
    Create(BackfillArgs),
    /// List the backfills, newest first
    List {
        /// Only those of this DAG
        dag_id: Option<String>,
    },
    /// Show one: what was asked for, and how far it is
    Show {
        /// Its number
        backfill: i64,
    },
    /// Start no more of its runs; what runs goes on
    Pause { backfill: i64 },
    /// Go on
    Unpause { backfill: i64 },
    /// Give up the runs that have not started; what runs goes on
    Cancel { backfill: i64 },
}
