//! `millrace doctor` and `millrace dags test`

use clap::Args;

#[derive(Debug, Args)]
pub struct DoctorArgs {
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

#[derive(Debug, Args)]
pub struct DagTestArgs {
    pub dag_id: String,
    /// A date or an instant [default: now]
    pub date: Option<String>,
    /// Parameters of the run, a JSON object
    #[arg(short, long, value_name = "JSON")]
    pub conf: Option<String>,
}
