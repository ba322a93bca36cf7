//! The signal that stops a try.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_operator_api::context::CancelSignal;
use tokio::sync::watch;
use tokio::time::Instant;

/// Fires once; the first reason stays. Cheap to clone.
#[derive(Clone)]
pub struct Cancel {
    sender: Arc<watch::Sender<Wish>>,
}

#[derive(Debug, Clone, Default)]
struct Wish {
    reason: Option<String>,
    /// When the try must be gone, whatever grace it has.
    cut_off_at: Option<Instant>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    pub fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(Wish::default())) }
    }

    pub fn fire(&self, reason: &str) {
        self.sender.send_if_modified(|wish| {
            let first = wish.reason.is_none();
            if first {
                wish.reason = Some(reason.to_owned());
            }
            first
        });
    }

    /// As [`Cancel::fire`], and at this moment the try is dropped, should it not have ended.
    pub fn cut_off(&self, reason: &str, at: Instant) {
        self.sender.send_modify(|wish| {
            wish.reason.get_or_insert_with(|| reason.to_owned());
            wish.cut_off_at = Some(wish.cut_off_at.map_or(at, |before| before.min(at)));
        });
    }

    pub fn reason(&self) -> Option<String> {
        self.sender.borrow().reason.clone()
    }

    /// Returns when the try must be gone; never, unless it was to be cut off.
    pub(crate) async fn must_be_gone(&self) {
        let mut receiver = self.sender.subscribe();
        let at = receiver.wait_for(|wish| wish.cut_off_at.is_some()).await.ok().and_then(|wish| wish.cut_off_at);
        match at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

impl CancelSignal for Cancel {
    fn is_cancelled(&self) -> bool {
        self.sender.borrow().reason.is_some()
    }

    fn cancelled(&self) -> BoxFuture<'_, String> {
        let mut receiver = self.sender.subscribe();
        async move {
            let wish = receiver.wait_for(|wish| wish.reason.is_some()).await.ok();
            // The sender lives as long as `self`, so this can't be missed.
            wish.and_then(|wish| wish.reason.clone()).unwrap_or_default()
        }
        .boxed()
    }
}
