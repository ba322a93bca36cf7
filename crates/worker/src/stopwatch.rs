//! How long a try has been working: what it waits for outside, and for a slot to come back to, does not count.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_operator_api::context::Slot;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Stands still while the try has left its slot.
#[derive(Clone)]
pub(crate) struct Stopwatch {
    /// Waits outside that are under way: a try may have several at once.
    outside: Arc<watch::Sender<usize>>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self { outside: Arc::new(watch::Sender::new(0)) }
    }
}

impl Stopwatch {
    /// The slot, with the watch that is stopped and started by it.
    pub fn beside(&self, slot: Arc<dyn Slot>) -> TimedSlot {
        TimedSlot { slot, outside: self.outside.clone() }
    }

    /// Ends when the try has been working for so long, from now on.
    pub async fn reaches(&self, limit: Duration) {
        let mut outside = self.outside.subscribe();
        let mut left = limit;
        loop {
            // The sender lives as long as `self`, so waiting can't fail.
            let _ = outside.wait_for(|waits| *waits == 0).await;
            let began = Instant::now();
            tokio::select! {
                () = sleep(left) => return,
                _ = outside.wait_for(|waits| *waits > 0) => left = left.saturating_sub(began.elapsed()),
            }
        }
    }
}

pub(crate) struct TimedSlot {
    slot: Arc<dyn Slot>,
    outside: Arc<watch::Sender<usize>>,
}

impl Slot for TimedSlot {
    fn leave(&self) {
        self.outside.send_modify(|waits| *waits += 1);
        self.slot.leave();
    }

    fn take_again(&self) -> BoxFuture<'_, ()> {
        // Called now: the slot counts calls, not answers.
        let seated = self.slot.take_again();
        async move {
            seated.await;
            self.outside.send_modify(|waits| *waits = waits.saturating_sub(1));
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot that is given back when the sender says so.
    struct Held(watch::Sender<bool>);

    impl Slot for Held {
        fn leave(&self) {}

        fn take_again(&self) -> BoxFuture<'_, ()> {
            let mut free = self.0.subscribe();
            async move {
                let _ = free.wait_for(|free| *free).await;
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn neither_waits_nor_standing_in_line_for_a_slot_use_up_anything() {
        let stopwatch = Stopwatch::default();
        let free = watch::Sender::new(false);
        let slot = stopwatch.beside(Arc::new(Held(free.clone())));
        slot.leave();
        slot.leave();
        // No time at all is left; it would be over at once if the try worked.
        let mut over = std::pin::pin!(stopwatch.reaches(Duration::ZERO));
        assert!((&mut over).now_or_never().is_none(), "it waits outside");
        let (mut first, mut second) = (slot.take_again(), slot.take_again());
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert!((&mut over).now_or_never().is_none(), "it stands in line");
        free.send_replace(true);
        first.await;
        assert!((&mut over).now_or_never().is_none(), "another wait of the same try goes on");
        second.await;
        over.await;
    }

    #[tokio::test]
    async fn a_wait_that_begins_later_stops_it_too() {
        let stopwatch = Stopwatch::default();
        let free = watch::Sender::new(true);
        let slot = stopwatch.beside(Arc::new(Held(free)));
        let limit = Duration::from_millis(1);
        let mut over = std::pin::pin!(stopwatch.reaches(limit));
        assert!((&mut over).now_or_never().is_none());
        slot.leave();
        // Longer than what is left: were it counted, the watch would be at its end before.
        tokio::select! {
            biased;
            () = &mut over => panic!("the time outside was counted"),
            () = sleep(20 * limit) => {}
        }
        slot.take_again().await;
        over.await;
    }
}
