//! Requests after which an object may be there. A store may obey one long after whoever sent it has given up waiting, so
//! none is dropped on its way, and whoever looks for what is there waits for those that were given up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use millrace_operator_api::{PortError, PortErrorKind};
use tokio::task::JoinHandle;

use crate::parts::farewell::farewell;

/// How long a request that was given up may take. A store that has not answered by then rarely obeys.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was given up and is carried out behind the back of the task, of one store.
#[derive(Clone, Default)]
pub struct GivenUp(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl GivenUp {
    /// Carries a request out, also when nobody waits for its answer any more.
    pub async fn carry<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, PortError> {
        let mut carried = Carried { request: Some(tokio::spawn(request)), given_up: self };
        let answer = match &mut carried.request {
            Some(request) => request.await,
            None => std::future::pending().await,
        };
        carried.request = None;
        answer.map_err(|error| PortError::new(PortErrorKind::Other, error.to_string()))
    }

    /// Until what was given up has been obeyed, refused or dropped.
    pub async fn settled(&self) {
        let given_up = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(given_up).await;
    }
}

/// A request that somebody waits for.
struct Carried<'a, T: Send + 'static> {
    request: Option<JoinHandle<T>>,
    given_up: &'a GivenUp,
}

impl<T: Send + 'static> Drop for Carried<'_, T> {
    fn drop(&mut self) {
        let Some(mut request) = self.request.take() else { return };
        let left = farewell(async move {
            if tokio::time::timeout(PATIENCE, &mut request).await.is_err() {
                request.abort();
                tracing::warn!("the object store has not answered a request that was given up");
            }
        });
        self.given_up.0.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_looks_waits_for_a_request_that_was_given_up() {
        let given_up = GivenUp::default();
        given_up.settled().await;
        let (obey, obeyed) = oneshot::channel::<()>();
        assert!(given_up.carry(obeyed).now_or_never().is_none(), "it is on its way");
        let mut settled = Box::pin(given_up.settled());
        tokio::task::yield_now().await;
        assert!(settled.as_mut().now_or_never().is_none(), "it may still be obeyed");
        obey.send(()).expect("it is carried out although nobody waits for it");
        settled.await;
        assert_eq!(given_up.carry(async { 7 }).await.unwrap(), 7);
    }
}
