//! The signal that stops a try.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_operator_api::context::CancelSignal;
use tokio::sync::watch;

/// Fires once; the first reason stays. Cheap to clone.
#[derive(Clone)]
pub struct Cancel {
    sender: Arc<watch::Sender<Option<String>>>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    pub fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(None)) }
    }

    pub fn fire(&self, reason: &str) {
        self.sender.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason.to_owned());
            }
            first
        });
    }

    pub fn reason(&self) -> Option<String> {
        self.sender.borrow().clone()
    }
}

impl CancelSignal for Cancel {
    fn is_cancelled(&self) -> bool {
        self.sender.borrow().is_some()
    }

    fn cancelled(&self) -> BoxFuture<'_, String> {
        let mut receiver = self.sender.subscribe();
        async move {
            let reason = receiver.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            // The sender lives as long as `self`, so this can't be missed.
            reason.unwrap_or_default()
        }
        .boxed()
    }
}
