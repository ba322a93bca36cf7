//! A connection to a SQLite file, whose statements run where they may block.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use tokio::task::JoinHandle;

use crate::parts::farewell::farewell;

/// What SQLite begins just after it was interrupted does not see that, so it is interrupted until it has ended.
pub const INTERRUPTS: Duration = Duration::from_millis(20);

pub struct Session {
    /// Away while something is done with it, and for good when that was given up.
    connection: Option<Open>,
    interrupt: Arc<InterruptHandle>,
}

impl Session {
    pub fn of(connection: Connection) -> Self {
        let interrupt = Arc::new(connection.get_interrupt_handle());
        Self { connection: Some(Open(Some(connection))), interrupt }
    }

    /// `None` when the work broke off, or one before it. Who gives up waiting interrupts it, and the connection is closed,
    /// which rolls back what had begun.
    pub async fn with<T: Send + 'static>(&mut self, work: impl FnOnce(&Connection) -> T + Send + 'static) -> Option<T> {
        let connection = self.connection.take()?;
        let work = tokio::task::spawn_blocking(move || {
            let done = connection.0.as_ref().map(work);
            (connection, done)
        });
        let mut work = Work { task: Some(work), interrupt: Arc::clone(&self.interrupt) };
        let ended = work.task.as_mut()?.await;
        work.task = None;
        let (connection, done) = ended.ok()?;
        self.connection = Some(connection);
        done
    }
}

/// Closed where it may block: the last one to close a file writes all that was changed from its log into it.
struct Open(Option<Connection>);

impl Drop for Open {
    fn drop(&mut self) {
        let connection = self.0.take();
        farewell(async move {
            let _ = tokio::task::spawn_blocking(move || drop(connection)).await;
        });
    }
}

struct Work<T: Send + 'static> {
    task: Option<JoinHandle<T>>,
    interrupt: Arc<InterruptHandle>,
}

impl<T: Send + 'static> Drop for Work<T> {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        let interrupt = Arc::clone(&self.interrupt);
        farewell(async move {
            while !task.is_finished() {
                interrupt.interrupt();
                tokio::time::sleep(INTERRUPTS).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_is_interrupted_and_the_session_ends_with_it() {
        let mut session = Session::of(Connection::open_in_memory().unwrap());
        assert_eq!(
            session.with(|connection| connection.query_row("SELECT 1", [], |row| row.get(0))).await,
            Some(Ok(1))
        );
        let ended = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&ended);
        let endless = session.with(move |connection| {
            let counted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
            let result = connection.query_row(counted, [], |row| row.get::<_, i64>(0));
            note.store(result.is_err(), Ordering::SeqCst);
        });
        assert!(tokio::time::timeout(INTERRUPTS, endless).await.is_err());
        tokio::time::timeout(Duration::from_mins(1), async {
            while !ended.load(Ordering::SeqCst) {
                tokio::time::sleep(INTERRUPTS).await;
            }
        })
        .await
        .expect("it is interrupted");
        assert_eq!(session.with(|_| ()).await, None);
    }
    /// Goes with the connection, and says on which thread.
    struct Guest(std::sync::mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Guest {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().id());
        }
    }

    #[tokio::test]
    async fn nobody_waits_while_a_connection_is_closed() {
        let (sender, closed_on) = std::sync::mpsc::channel();
        let connection = Connection::open_in_memory().unwrap();
        let guest = Guest(sender);
        let compare = move |left: &str, right: &str| {
            let _ = &guest;
            left.cmp(right)
        };
        connection.create_collation("guest", compare).unwrap();
        drop(Session::of(connection));
        let thread = loop {
            match closed_on.try_recv() {
                Ok(thread) => break thread,
                Err(_) => tokio::time::sleep(INTERRUPTS).await,
            }
        };
        assert_ne!(thread, std::thread::current().id());
    }
}
