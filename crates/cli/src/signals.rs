//! Signals by which a person, or whoever runs a command for them, ends it.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for Ctrl-C or SIGTERM, and says which it was.
pub async fn stop() -> std::io::Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok("interrupted at the keyboard"),
        _ = terminate.recv() => Ok("stopped by SIGTERM"),
    }
}
