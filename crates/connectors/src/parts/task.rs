//! What a connector keeps of the task that opened it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_operator_api::context::{
    CancelSignal, Clock, LogLevel, OwnSlot, RemoteStatement, Reporter, Slot, StatementJournal,
};
use millrace_operator_api::{PortError, PortErrorKind, TaskContext};

/// The task's cancellation, journal, log and try. A connection that is merely tested has a handle that is never cancelled.
#[derive(Clone)]
pub struct TaskHandle {
    pub cancel: Arc<dyn CancelSignal>,
    pub journal: Arc<dyn StatementJournal>,
    pub slot: Arc<dyn Slot>,
    pub clock: Arc<dyn Clock>,
    reporter: Arc<dyn Reporter>,
    pub try_number: u32,
    /// `dag/task`: where cost and blame are to be found again.
    pub label: String,
}

impl TaskHandle {
    pub fn of(context: &TaskContext) -> Self {
        Self {
            cancel: Arc::clone(&context.cancel),
            journal: Arc::clone(&context.journal),
            slot: Arc::clone(&context.slot),
            clock: Arc::clone(&context.clock),
            reporter: Arc::clone(&context.reporter),
            try_number: context.try_number,
            label: format!("{}/{}", context.work.dag_id, context.work.task_id),
        }
    }

    pub fn detached() -> Self {
        Self {
            cancel: Arc::new(NeverCancelled),
            journal: Arc::new(NoJournal),
            slot: Arc::new(OwnSlot),
            clock: Arc::new(OfMachine),
            reporter: Arc::new(NoLog),
            try_number: 1,
            label: "millrace/connections test".to_owned(),
        }
    }

    /// A line of the try's log.
    pub fn tell(&self, line: &str) {
        self.reporter.log(LogLevel::Info, line);
    }

    /// Runs `work` until it ends or the task is cancelled; then it is dropped, which stops it on the other side too.
    pub async fn until_cancelled<T>(&self, work: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            result = &mut work => result,
            reason = self.cancel.cancelled() => Err(PortError::new(PortErrorKind::Cancelled, reason)),
        }
    }
}

/// Of a connection that belongs to no task.
struct OfMachine;

impl Clock for OfMachine {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        std::time::SystemTime::now().into()
    }
}

/// What is over so soon is not worth leaving a slot for.
const WORTH_LEAVING: Duration = Duration::from_secs(1);

impl TaskHandle {
    /// Waits for work that another system does. When it takes longer, the try gives its slot back, and has one again, or
    /// is cancelled, before this ends.
    pub async fn outside<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(WORTH_LEAVING, &mut work).await {
            return done;
        }
        self.slot.leave();
        let done = work.await;
        tokio::select! {
            () = self.slot.take_again() => {}
            _ = self.cancel.cancelled() => {}
        }
        done
    }
}

struct NeverCancelled;

impl CancelSignal for NeverCancelled {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn cancelled(&self) -> BoxFuture<'_, String> {
        Box::pin(futures::future::pending())
    }
}

struct NoLog;

impl Reporter for NoLog {
    fn log(&self, _: LogLevel, _: &str) {}
    fn checkpoint(&self, _: Checkpoint) {}
    fn ledger(&self, _: LedgerEntry) {}
}

struct NoJournal;

impl StatementJournal for NoJournal {
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<RemoteStatement>, PortError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn record(&self, _: RemoteStatement) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async { Ok(()) })
    }
}
