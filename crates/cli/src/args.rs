//! The command line.

mod backfills;
mod changes;
mod connections;
mod data;
mod db;
mod described;
mod doctor;
mod people;
mod pools;
mod tasks;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::output::Format;

pub use backfills::{BackfillArgs, BackfillsCommand, Reprocess};
pub use changes::{
    CareArgs, ClearOptions, DagsClearArgs, DagsMarkArgs, ManyDagsArgs, MarkedRun, MarkedTask, NoteArgs, RelativesArgs,
    RepinArgs, RerunFailedArgs, RunsArgs, TasksClearArgs, TasksMarkArgs,
};
pub use connections::{ConnectionAddArgs, ConnectionsCommand, FileFormat};
pub use data::{DataCommand, LedgerArgs, VerifyArgs};
pub use db::{CleanArgs, DbCommand};
pub use described::command;
pub use doctor::{DagTestArgs, DoctorArgs, DoctorCommand};
pub use people::{
    GrantAddArgs, GrantsCommand, PasswordArgs, RolesCommand, TokensCommand, UserCreateArgs, UsersCommand,
    WebhookCreateArgs, WebhooksCommand,
};
pub use pools::{JobsCommand, PoolSetArgs, PoolsCommand};
pub use tasks::TasksCommand;

/// Moves production tables into a warehouse, every night, and is honest about every row.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The home folder [default: $MILLRACE_HOME, or ~/millrace]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub home: Option<PathBuf>,
    /// How lists are printed
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process: scheduler, workers, web server and an S3 stand-in
    Standalone(StandaloneArgs),
    /// The scheduler with its local workers
    Scheduler {
        /// Migrate the metadata database first if it needs that
        #[arg(long)]
        migrate: bool,
    },
    /// The web server: pages and REST
    #[command(aliases = ["api-server", "webserver"])]
    Server(ServerArgs),
    /// Stand-ins for S3 and the Redshift Data API on this machine
    Devstack(DevstackArgs),
    /// DAGs and their runs
    #[command(subcommand, alias = "dag")]
    Dags(DagsCommand),
    /// Tasks of a DAG
    #[command(subcommand, alias = "task")]
    Tasks(TasksCommand),
    /// Runs of past dates: how far they are, pausing and cancelling them
    #[command(subcommand)]
    Backfills(BackfillsCommand),
    /// Outside systems and how to reach them
    #[command(subcommand)]
    Connections(ConnectionsCommand),
    /// Values that templates can use
    #[command(subcommand)]
    Variables(VariablesCommand),
    /// Who may sign in
    #[command(subcommand)]
    Users(UsersCommand),
    /// What each role may do
    #[command(subcommand)]
    Roles(RolesCommand),
    /// Tokens that programs send instead of a password
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Addresses at which other systems start runs, each with a secret of its own
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Roles that users have for some DAGs only
    #[command(subcommand)]
    Grants(GrantsCommand),
    /// Slots that tasks of several DAGs share
    #[command(subcommand)]
    Pools(PoolsCommand),
    /// Named sets of days that schedules keep to or leave out
    #[command(subcommand)]
    Calendars(CalendarsCommand),
    /// Schedulers and other long-lived processes
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Things that tasks bring up to date and that DAGs wait for
    #[command(subcommand)]
    Assets(AssetsCommand),
    /// What people are told of: late runs, long runs, DAGs that were paused
    #[command(subcommand)]
    Alerts(AlertsCommand),
    /// What was moved, and whether it is still the same on both sides
    #[command(subcommand)]
    Data(DataCommand),
    /// The metadata database
    #[command(subcommand)]
    Db(DbCommand),
    /// The configuration in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check DAG files without running or storing anything
    Validate(ValidateArgs),
    /// Look at everything: home, configuration, database, DAG files, pools, connections; exit with 1 if something is broken
    Doctor(DoctorArgs),
    /// Print the JSON Schema of DAG files, for editors
    Schema,
    /// List the operators, or show one with its parameters
    Operators {
        /// An operator's name
        name: Option<String>,
    },
    /// Make a new encryption key and encrypt all stored secrets again with it
    RotateKey,
    /// Explain an error code
    Explain {
        /// A code as REST answers and messages name it; without one, all are listed
        code: Option<String>,
    },
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// As Airflow's people look for them
    #[command(hide = true)]
    Runs {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        words: Vec<String>,
    },
    #[command(hide = true, name = "initdb")]
    Initdb,
    #[command(hide = true, name = "upgradedb")]
    Upgradedb,
}

#[derive(Debug, Args)]
pub struct StandaloneArgs {
    /// Port of the web server; 0 picks free ports for it and for the S3 stand-in
    #[arg(long)]
    pub port: Option<u16>,
    /// Write demo DAGs and data into the home, and run the demo pipeline
    #[arg(long)]
    pub demo: bool,
    /// A bucket to make in the S3 stand-in besides `warehouse-landing`; may be given several times
    #[arg(long, value_name = "BUCKET")]
    pub bucket: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Port to listen on; 0 picks a free one
    #[arg(long)]
    pub port: Option<u16>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevstackArgs {
    #[command(subcommand)]
    pub command: Option<DevstackCommand>,
    /// Port of the S3 endpoint; 0 picks a free one
    #[arg(long, default_value_t = 9000)]
    pub s3_port: u16,
    /// Buckets to make
    #[arg(long, value_name = "BUCKET", default_values_t = ["warehouse-landing".to_owned()])]
    pub bucket: Vec<String>,
    /// PostgreSQL that plays Redshift (`postgres://…`), a database of its own and a superuser; without it only S3 is started
    #[arg(long, value_name = "URL", env = "MILLRACE_DEVSTACK_POSTGRES")]
    pub redshift_over: Option<String>,
    /// Port of the Redshift Data API endpoint; 0 picks a free one
    #[arg(long, default_value_t = 9001)]
    pub redshift_port: u16,
    /// Port that takes failures to come, `curl -H 'content-type: application/json' -d '{"operation": "PutObject", "fault":
    /// "throttle", "times": 3}' 127.0.0.1:PORT/s3`, or /redshift (see docs/operations.md); left out: none is taken
    #[arg(long)]
    pub faults_port: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub enum DevstackCommand {
    /// Ask a Redshift, or the stand-in, for every behaviour that loads rely on, and say what is different
    Conformance(ConformanceArgs),
}

#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// The connection of the cluster or workgroup; tables of its own are made and dropped in the schema found first
    pub conn_id: String,
    /// Where COPY and UNLOAD are tried, `s3://bucket/prefix`; without it they are left out
    #[arg(long, value_name = "ADDRESS", requires_all = ["s3_conn_id", "iam_role"])]
    pub s3: Option<String>,
    /// The connection that writes the objects to be read
    #[arg(long, value_name = "CONNECTION")]
    pub s3_conn_id: Option<String>,
    /// The role that the cluster reads and writes them by
    #[arg(long, value_name = "ARN")]
    pub iam_role: Option<String>,
    /// Only behaviours with these words
    #[arg(long, value_name = "WORDS")]
    pub only: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum AssetsCommand {
    /// List the assets, who makes them and who waits for them
    List,
    /// What happened to an asset, or to all, newest first
    Events {
        asset: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u64,
    },
    /// Say that an asset is up to date: DAGs that wait for it run
    Touch {
        asset: String,
        /// What the runs that come of it are told, as a JSON object: `{"rows": 5}`
        #[arg(long, value_name = "JSON")]
        extra: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// List what nobody has seen yet, newest first
    List {
        /// Also what was seen
        #[arg(long)]
        all: bool,
        #[arg(long, default_value_t = 50)]
        limit: u64,
    },
    /// List what callbacks (on_failure and the like) were told, newest first
    Notifications {
        /// Only what was not sent yet, or has been given up
        #[arg(long)]
        unsent: bool,
        #[arg(long, default_value_t = 50)]
        limit: u64,
    },
    /// Tell callbacks again what was given up; without ids, all of it
    Retry { ids: Vec<i64> },
    /// Note that alerts were seen; without ids, all of them
    Seen { ids: Vec<i64> },
}

/// Which DAGs are listed: all of them, or those that are all of what is asked.
#[derive(Debug, Args)]
pub struct ListDagsArgs {
    /// Part of the id, in any case
    pub search: Option<String>,
    /// With this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Paused ones
    #[arg(long, conflicts_with = "unpaused")]
    pub paused: bool,
    /// Those that are not paused
    #[arg(long)]
    pub unpaused: bool,
    /// Also those whose file is gone
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Subcommand)]
pub enum DagsCommand {
    /// List the DAGs
    List(ListDagsArgs),
    /// Show a DAG: its schedule, settings and tasks
    #[command(alias = "details")]
    Show { dag_id: String },
    /// Start a run now
    Trigger(TriggerArgs),
    /// Stop making new runs and starting tasks
    Pause(ManyDagsArgs),
    /// Go on
    Unpause(ManyDagsArgs),
    /// Delete a DAG whose file is gone with all of its runs, or one run that has ended
    Delete {
        dag_id: String,
        /// Only this run: a run id or a logical date
        #[arg(short, long)]
        run_id: Option<String>,
        #[command(flatten)]
        care: CareArgs,
    },
    /// Run a range of past dates: from the start, without the end
    Backfill(BackfillArgs),
    /// Run whole runs again
    Clear(DagsClearArgs),
    /// Run again what failed, in many runs
    RerunFailed(RerunFailedArgs),
    /// Give a run a state without running anything
    Mark(DagsMarkArgs),
    /// Say something of a run, or print what was said
    Note(NoteArgs),
    /// Give runs to the newest version of their DAG
    Repin(RepinArgs),
    /// List the runs of a DAG, or of all, newest first
    ListRuns {
        /// Left out, or `~`: all DAGs
        dag_id: Option<String>,
        /// Only runs in this state
        #[arg(long)]
        state: Option<String>,
        /// At the most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Print the state of a run
    State {
        dag_id: String,
        /// A run id or a logical date
        run: String,
    },
    /// Show when a DAG will run next, by the scheduler's own reckoning
    NextExecution {
        dag_id: String,
        /// How many runs
        #[arg(short = 'n', long, default_value_t = 1)]
        num_executions: usize,
        /// Reckon as if it were this instant, no run existed and the DAG were not paused
        #[arg(long, value_name = "INSTANT")]
        from: Option<String>,
    },
    /// What will run in the next hours, and what holds it up
    Plan {
        /// Only this DAG
        dag_id: Option<String>,
        #[arg(long, default_value_t = 24)]
        hours: u32,
        /// At the most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// List the due dates of a DAG that became no run, and why; the latest first
    Slots {
        dag_id: String,
        /// At the most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// List DAG files that could not be read, and why
    ListImportErrors,
    /// Run a whole DAG for a date, now, in this process; nothing is recorded
    Test(DagTestArgs),
    /// Why is it not running? The first unmet condition, or when it starts
    Explain {
        dag_id: String,
        /// A run id or a logical date [default: the next scheduled run]
        run: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum CalendarsCommand {
    /// List the calendars, the DAGs that name them and what is wrong with them
    List,
    /// List the days of a calendar
    Show {
        name: String,
        /// Of this year [default: the current one]
        #[arg(long)]
        year: Option<i32>,
    },
    /// Show the next dates of a DAG and what its calendars make of them
    Next {
        dag_id: String,
        /// How many dates
        #[arg(short = 'n', long, default_value_t = 10)]
        num_dates: usize,
    },
}

#[derive(Debug, Args)]
pub struct TriggerArgs {
    pub dag_id: String,
    /// A name for the run
    #[arg(short, long)]
    pub run_id: Option<String>,
    /// Parameters of the run, a JSON object
    #[arg(short, long, value_name = "JSON")]
    pub conf: Option<String>,
    /// The logical date: an instant, or a day of which the schedule's date is taken. Left out: the moment, for the last
    /// complete interval
    #[arg(short = 'e', long, alias = "exec-date", value_name = "DATE")]
    pub logical_date: Option<String>,
    /// Wait for the run to end; the exit code is its result
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Subcommand)]
pub enum VariablesCommand {
    /// List the variables
    List,
    /// Print one
    Get {
        key: String,
        /// Printed when there is no such variable
        #[arg(short, long)]
        default: Option<String>,
    },
    /// Set one
    Set {
        key: String,
        /// `-` reads standard input
        value: String,
        #[arg(long)]
        description: Option<String>,
    },
    /// Delete one
    Delete { key: String },
    /// Read variables from a JSON object in a file
    Import {
        file: PathBuf,
        /// What to do with keys that exist
        #[arg(short, long = "action-on-existing-key", value_enum, default_value_t)]
        existing: ExistingKey,
    },
    /// Write all variables to a file (`-` for standard output)
    Export {
        file: PathBuf,
        /// Write sensitive values in clear instead of ***
        #[arg(long)]
        with_secrets: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ExistingKey {
    #[default]
    Overwrite,
    Fail,
    Skip,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// List all settings
    List,
    /// Print one
    GetValue {
        section: String,
        /// The key; may also be given as `section.key`
        key: Option<String>,
    },
    /// Print a documented millrace.toml
    Reference,
    /// Check millrace.toml and the environment
    Lint,
    /// Let the daemons of this machine read the configuration again; says what needs a restart
    Reload,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Files or folders [default: the DAGs folder]
    pub paths: Vec<PathBuf>,
    /// Warnings are errors
    #[arg(long)]
    pub strict: bool,
    /// Only what keeps a file from being used
    #[arg(long)]
    pub no_lint: bool,
    /// List the lints: `# lint: ignore CODE` in a file silences one
    #[arg(long, conflicts_with_all = ["paths", "strict", "no_lint"])]
    pub list_lints: bool,
    /// Print each DAG as it is after defaults, includes, overlays and for_each
    #[arg(long)]
    pub expanded: bool,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
