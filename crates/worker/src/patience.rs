//! A try that needs the metadata database while that is out of reach waits for it.

use std::time::Duration;

use millrace_store::StoreError;
use tokio::time::Instant;

/// How long. A try whose lease cannot be extended is stopped from elsewhere.
const PATIENCE: Duration = Duration::from_mins(2);
const AGAIN: Duration = Duration::from_millis(500);

/// Asks again until the database answers, be it with an error of its own.
pub(crate) async fn ask<T, F>(question: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    ask_while(StoreError::is_transient, question).await
}

/// As [`ask`], for errors that hold one of the database's.
pub async fn ask_while<T, E, F>(is_transient: impl Fn(&E) -> bool, question: impl Fn() -> F) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        match question().await {
            Err(error) if is_transient(&error) && Instant::now() < give_up_at => {
                tracing::debug!(%error, "a try waits for the metadata database");
                tokio::time::sleep(AGAIN).await;
            }
            answer => return answer,
        }
    }
}
