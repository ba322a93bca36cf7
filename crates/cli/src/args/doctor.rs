//! `millrace doctor`

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
