//! `millrace tasks …`

use clap::Subcommand;

use super::{TasksClearArgs, TasksMarkArgs};

#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// Run tasks again, with their history kept
    Clear(TasksClearArgs),
    /// Give a task a state without running it
    Mark(TasksMarkArgs),
    /// List the tasks of a DAG
    List {
        dag_id: String,
        /// Show who waits for whom
        #[arg(long, short)]
        tree: bool,
    },
    /// Run one task for a date, now, ignoring dependencies; nothing is recorded
    Test {
        dag_id: String,
        task_id: String,
        /// A date, an instant or a run id
        date: String,
        /// Parameters, a JSON object, as a run's conf would give them
        #[arg(short = 't', long = "task-params", value_name = "JSON", alias = "conf")]
        params: Option<String>,
        /// Which instance of a mapped task, counted from 0
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        map_index: i32,
    },
    /// Run one task of the dated run, now, and record it; a run that is made for it leaves the others out
    Run {
        dag_id: String,
        task_id: String,
        /// A date, an instant or a run id
        date: String,
        /// Do not look at what the tasks before it came to, nor at the run before, nor at the wait before a retry
        #[arg(short = 'i', long)]
        ignore_dependencies: bool,
        /// Do not look at the run before (`depends_on_past`)
        #[arg(short = 'I', long)]
        ignore_depends_on_past: bool,
        /// Look at nothing: neither dependencies nor pools and other limits
        #[arg(short = 'A', long)]
        ignore_all_dependencies: bool,
        /// Run it although it has succeeded
        #[arg(short = 'f', long)]
        force: bool,
        /// Which instance of a mapped task, counted from 0
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        map_index: i32,
    },
    /// Print the log of a try; with -o json, yaml or plain its lines with time, level and try
    Logs {
        dag_id: String,
        task_id: String,
        /// A date, an instant or a run id
        run: String,
        /// Which try [default: the last]
        #[arg(long = "try", value_name = "N")]
        try_number: Option<u32>,
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        map_index: i32,
        /// Print new lines as they come, until the try ends
        #[arg(short = 'F', long)]
        follow: bool,
    },
    /// Why is it not running? The first unmet condition, or when it starts
    #[command(alias = "failed-deps")]
    Explain {
        dag_id: String,
        task_id: String,
        /// A date, an instant or a run id
        run: String,
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        map_index: i32,
    },
    /// Print the state of a task
    State {
        dag_id: String,
        task_id: String,
        /// A date, an instant or a run id
        run: String,
        /// Which instance of a mapped task, counted from 0
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        map_index: i32,
    },
    /// List the states of all tasks of a run
    StatesForDagRun {
        dag_id: String,
        /// A run id or a logical date
        run: String,
    },
    /// Print a task's parameters with templates rendered
    Render {
        dag_id: String,
        task_id: String,
        /// A date, an instant or a run id
        date: String,
        /// Which instance of a mapped task, counted from 0
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        map_index: i32,
    },
}
