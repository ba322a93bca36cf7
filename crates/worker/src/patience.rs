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
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        match question().await {
            Err(error) if error.is_transient() && Instant::now() < give_up_at => {
                tracing::debug!(%error, "a try waits for the metadata database");
                tokio::time::sleep(AGAIN).await;
            }
            answer => return answer,
        }
    }
}
