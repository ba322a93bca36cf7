//! Waiting on a condition, so that no test sleeps for a guessed time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until the condition holds; after `timeout` fails with `description`, which says what was
/// expected ("the run succeeds").
pub async fn wait_until(description: &str, timeout: Duration, mut condition: impl AsyncFnMut() -> bool) -> Result<()> {
    wait_for(description, timeout, async || condition().await.then_some(())).await
}

/// As [`wait_until`], for a condition that yields a value.
pub async fn wait_for<T>(
    description: &str,
    timeout: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {timeout:?} in vain: {description}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// As [`wait_until`], outside of async code.
pub fn wait_until_blocking(description: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + timeout;
    while !condition() {
        if Instant::now() >= deadline {
            bail!("waited {timeout:?} in vain: {description}");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_condition() {
        let mut asked = 0;
        let value = wait_for("three questions", Duration::from_secs(30), async || {
            asked += 1;
            (asked == 3).then_some("done")
        });
        assert_eq!(value.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn waiting_in_vain_says_for_what() {
        let error = wait_until("the moon is blue", Duration::ZERO, async || false).await.unwrap_err();
        assert!(error.to_string().contains("the moon is blue"), "{error}");
        let error = wait_until_blocking("the sea is red", Duration::ZERO, || false).unwrap_err();
        assert!(error.to_string().contains("the sea is red"), "{error}");
    }
}
