//! What is still to be said to another system when nobody waits for its answer any more: that a query is to be killed, an
//! upload dropped. It is said behind the back of whoever gave up, and a process must not end before.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Of the process.
static FAREWELLS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Runs whether anybody waits for it or not. `None` outside of the runtime, which has ended then.
pub fn farewell(work: impl Future<Output = ()> + Send + 'static) -> Option<JoinHandle<()>> {
    Some(FAREWELLS.spawn_on(work, &Handle::try_current().ok()?))
}

/// Until everything is said, at the end of a process. False for what would take longer than that, which is given up.
pub async fn farewells(patience: Duration) -> bool {
    FAREWELLS.close();
    tokio::time::timeout(patience, FAREWELLS.wait()).await.is_ok()
}
