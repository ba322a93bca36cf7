//! Which exit code an error ends with: 2 for what was asked wrongly, 1 for what went wrong.

use millrace_model::instant::InstantError;
use millrace_model::schedule::DateError;
use millrace_planner::RequestError;
use millrace_settings::ConfigError;
use millrace_settings::connection::ConnectionFormError;

/// A command line that can't be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = error.is::<UsageError>()
        || error.is::<RequestError>()
        || error.is::<InstantError>()
        || error.is::<DateError>()
        || error.is::<ConfigError>()
        || error.is::<millrace_server::TlsError>()
        || error.is::<ConnectionFormError>();
    if is_usage { 2 } else { 1 }
}
