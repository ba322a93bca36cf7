//! Changing by hand what has run: `tasks clear`, `tasks mark`, `dags clear`, `dags rerun-failed`, `dags mark`, `dags note`,
//! `dags repin`.

use clap::{ArgGroup, Args, ValueEnum};

/// Which DAGs are meant.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("dags").required(true).args(["dag_ids", "tag", "all"])))]
pub struct ManyDagsArgs {
    #[arg(value_name = "DAG_ID")]
    pub dag_ids: Vec<String>,
    /// Every DAG with this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Every DAG
    #[arg(long)]
    pub all: bool,
}

/// Which runs are meant.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("runs").multiple(true).args(["run_id", "start_date", "end_date"])))]
pub struct RunsArgs {
    /// One run: its id or its logical date
    #[arg(short, long, value_name = "RUN", conflicts_with_all = ["start_date", "end_date"])]
    pub run_id: Option<String>,
    /// Runs from this logical date on
    #[arg(short, long, value_name = "DATE")]
    pub start_date: Option<String>,
    /// Runs before this logical date
    #[arg(short, long, value_name = "DATE")]
    pub end_date: Option<String>,
    /// The end date is meant too; one without a time is all of that day in the DAG's zone
    #[arg(long, requires = "end_date")]
    pub end_inclusive: bool,
}

/// Looking first, and being sure.
#[derive(Debug, Args)]
pub struct CareArgs {
    /// List what would be touched, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// More than what is named.
#[derive(Debug, Clone, Copy, Args)]
pub struct RelativesArgs {
    /// Also every task that these wait for
    #[arg(short, long)]
    pub upstream: bool,
    /// Also every task that waits for these
    #[arg(short, long)]
    pub downstream: bool,
    /// Also the same tasks in the DAG's earlier runs
    #[arg(long)]
    pub past: bool,
    /// Also the same tasks in the DAG's later runs
    #[arg(long)]
    pub future: bool,
}

#[derive(Debug, Args)]
pub struct ClearOptions {
    /// Only tasks that failed, or never got their chance: because of a failure, or because their run was given up
    #[arg(short = 'f', long)]
    pub only_failed: bool,
    /// Only tasks that are running
    #[arg(long, conflicts_with = "only_failed")]
    pub only_running: bool,
    /// Refuse, and change nothing, where one of them is running: it would be stopped
    #[arg(long, conflicts_with = "only_running")]
    pub prevent_running_task: bool,
    /// Leave finished runs finished; what is cleared waits
    #[arg(long)]
    pub leave_run_state: bool,
    /// Give the runs to the newest version of the DAG first
    #[arg(long)]
    pub latest_version: bool,
}

#[derive(Debug, Args)]
pub struct TasksClearArgs {
    pub dag_id: String,
    /// Only tasks in whose id this regular expression is found [default: all]
    #[arg(short, long, value_name = "REGEX")]
    pub task_regex: Option<String>,
    /// Only the tasks of this group, and of the groups in it
    #[arg(short, long, value_name = "GROUP", conflicts_with = "task_regex")]
    pub group: Option<String>,
    /// Only these instances of mapped tasks, counted from 0
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub map_index: Vec<i32>,
    #[command(flatten)]
    pub runs: RunsArgs,
    #[command(flatten)]
    pub relatives: RelativesArgs,
    #[command(flatten)]
    pub options: ClearOptions,
    #[command(flatten)]
    pub care: CareArgs,
}

#[derive(Debug, Args)]
pub struct DagsClearArgs {
    pub dag_id: String,
    #[command(flatten)]
    pub runs: RunsArgs,
    #[command(flatten)]
    pub options: ClearOptions,
    #[command(flatten)]
    pub care: CareArgs,
}

#[derive(Debug, Args)]
pub struct RerunFailedArgs {
    #[arg(required_unless_present = "all")]
    pub dag_id: Option<String>,
    /// Every DAG
    #[arg(long, conflicts_with = "dag_id")]
    pub all: bool,
    /// Runs from this logical date on
    #[arg(short, long, value_name = "DATE")]
    pub start_date: Option<String>,
    /// Runs before this logical date
    #[arg(short, long, value_name = "DATE")]
    pub end_date: Option<String>,
    /// The end date is meant too; one without a time is all of that day in the DAG's zone
    #[arg(long, requires = "end_date")]
    pub end_inclusive: bool,
    /// Give the runs to the newest version of the DAG first
    #[arg(long)]
    pub latest_version: bool,
    #[command(flatten)]
    pub care: CareArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarkedTask {
    Success,
    Failed,
    Skipped,
}

#[derive(Debug, Args)]
pub struct TasksMarkArgs {
    pub dag_id: String,
    /// A task, or a group: all tasks in it
    pub task_id: String,
    /// A run id or a logical date
    pub run: String,
    #[arg(long, value_enum)]
    pub state: MarkedTask,
    /// Only this instance of a mapped task
    #[arg(long, value_name = "N")]
    pub map_index: Option<i32>,
    #[command(flatten)]
    pub relatives: RelativesArgs,
    /// Becomes the note of the runs
    #[arg(long)]
    pub note: Option<String>,
    #[command(flatten)]
    pub care: CareArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarkedRun {
    Success,
    Failed,
}

#[derive(Debug, Args)]
pub struct DagsMarkArgs {
    pub dag_id: String,
    /// A run id or a logical date
    pub run: String,
    #[arg(long, value_enum)]
    pub state: MarkedRun,
    /// Becomes the note of the run
    #[arg(long)]
    pub note: Option<String>,
    /// List what would be touched, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Nothing is asked anyway; taken as `tasks mark` takes it
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct NoteArgs {
    pub dag_id: String,
    /// A run id or a logical date
    pub run: String,
    /// The note; '' takes it away [default: print it]
    pub text: Option<String>,
}

#[derive(Debug, Args)]
pub struct RepinArgs {
    pub dag_id: String,
    /// A run id or a logical date
    #[arg(required_unless_present = "all_active")]
    pub run: Option<String>,
    /// Every queued or running run of the DAG
    #[arg(long, conflicts_with = "run")]
    pub all_active: bool,
    /// List what would be touched, change nothing
    #[arg(long)]
    pub dry_run: bool,
}
