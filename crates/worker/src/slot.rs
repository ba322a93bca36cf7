//! The slot of a try, which it may leave while it waits for something outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_model::change::{InstanceKey, Report};
use millrace_operator_api::context::Slot;
use tokio::sync::{mpsc, watch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Seated,
    Outside,
    /// A slot that is given to it now is too late.
    Gone,
}

/// Who holds a slot of the executor. Shared by the try and the executor.
pub(crate) struct Seat {
    instance: InstanceKey,
    token: String,
    /// Slots in use.
    busy: Arc<AtomicUsize>,
    reports: mpsc::UnboundedSender<Report>,
    place: watch::Sender<Place>,
    /// Waits outside that are under way: a try may have several at once.
    outside: AtomicUsize,
}

impl Seat {
    /// Takes a slot.
    pub fn take(
        instance: InstanceKey,
        token: String,
        busy: Arc<AtomicUsize>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        busy.fetch_add(1, Ordering::SeqCst);
        Self { instance, token, busy, reports, place: watch::Sender::new(Place::Seated), outside: AtomicUsize::new(0) }
    }

    pub fn has(&self, token: &str) -> bool {
        self.token == token
    }

    /// The scheduler gave it a slot again.
    pub fn sit_down(&self) {
        self.go(Place::Seated);
    }

    /// The try is over.
    pub fn stand_up(&self) {
        self.go(Place::Gone);
    }

    /// Whether that changed anything.
    fn go(&self, to: Place) -> bool {
        self.place.send_if_modified(|place| {
            if *place == to || *place == Place::Gone {
                return false;
            }
            if to == Place::Seated {
                self.busy.fetch_add(1, Ordering::SeqCst);
            } else if *place == Place::Seated {
                self.busy.fetch_sub(1, Ordering::SeqCst);
            }
            *place = to;
            true
        })
    }

    fn tell(&self, report: Report) {
        if self.reports.send(report).is_err() {
            tracing::debug!(instance = self.instance, "nobody hears of a try's slot any more");
        }
    }
}

impl Slot for Seat {
    fn leave(&self) {
        if self.outside.fetch_add(1, Ordering::SeqCst) == 0 && self.go(Place::Outside) {
            self.tell(Report::WentOutside { instance: self.instance, token: self.token.clone() });
        }
    }

    fn take_again(&self) -> BoxFuture<'_, ()> {
        // While another wait of the try goes on, or when it has its slot already, there is nothing to ask for.
        let is_last = self.outside.fetch_sub(1, Ordering::SeqCst) == 1;
        async move {
            if !is_last || *self.place.borrow() != Place::Outside {
                return;
            }
            self.tell(Report::CameBack { instance: self.instance, token: self.token.clone() });
            let mut receiver = self.place.subscribe();
            // The sender lives as long as `self`, so this can't fail.
            let _ = receiver.wait_for(|place| *place != Place::Outside).await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat() -> (Seat, Arc<AtomicUsize>, mpsc::UnboundedReceiver<Report>) {
        let (busy, (sender, reports)) = (Arc::new(AtomicUsize::new(0)), mpsc::unbounded_channel());
        (Seat::take(7, "t".to_owned(), busy.clone(), sender), busy, reports)
    }

    #[tokio::test]
    async fn a_slot_is_left_once_and_taken_again_once_whatever_waits_at_the_same_time() {
        let (seat, busy, mut reports) = seat();
        seat.leave();
        seat.leave();
        assert_eq!(busy.load(Ordering::SeqCst), 0);
        seat.take_again().await;
        let back = seat.take_again();
        let mut back = std::pin::pin!(back);
        assert!((&mut back).now_or_never().is_none(), "nobody gave it a slot");
        seat.sit_down();
        back.await;
        assert_eq!(busy.load(Ordering::SeqCst), 1);
        let told = [reports.try_recv(), reports.try_recv()].map(Result::ok);
        let (instance, token) = (7, "t".to_owned());
        let expected = [Report::WentOutside { instance, token: token.clone() }, Report::CameBack { instance, token }];
        assert_eq!(told, expected.map(Some));
        assert!(reports.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_slot_that_comes_too_late_is_not_taken() {
        let (seat, busy, _reports) = seat();
        seat.leave();
        seat.stand_up();
        seat.sit_down();
        assert_eq!(busy.load(Ordering::SeqCst), 0);
        seat.take_again().await;
    }
}
