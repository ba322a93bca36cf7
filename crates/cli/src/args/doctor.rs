//! `millrace doctor` and `millrace dags test`

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DoctorArgs {
    #[command(subcommand)]
    pub command: Option<DoctorCommand>,
    /// Also try to reach every connection
    #[arg(long)]
    pub connections: bool,
    /// Exit with 1 for warnings too
    #[arg(long)]
    pub strict: bool,
    /// Show only what is not fine
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum DoctorCommand {
    /// Try what DAGs use of AWS, and print the least IAM policy for it
    Aws {
        /// One DAG [default: all DAGs of the folder]
        dag_id: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct DagTestArgs {
    pub dag_id: String,
    /// A date or an instant [default: now]
    pub date: Option<String>,
    /// Parameters of the run, a JSON object
    #[arg(short, long, value_name = "JSON")]
    pub conf: Option<String>,
}
