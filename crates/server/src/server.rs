//! What all requests share, and the life of the listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use millrace_logs::LogFolder;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::Clock;
use millrace_settings::keyring::random_bytes;
use millrace_store::Store;
use millrace_vault::Vault;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::actions::TriggerKeys;
use millrace_situation::Surroundings;

use crate::attempts::Attempts;
use crate::live::Live;
use crate::password::Verified;
use crate::rendering::Rendering;
use crate::{live, routes};

/// Tries out a connection: a sentence for people, whether it works or not.
pub type ConnectionTest = Arc<dyn Fn(Connection) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

pub struct ServerOptions {
    pub store: Store,
    pub vault: Vault,
    pub logs: LogFolder,
    pub clock: Arc<dyn Clock>,
    /// How long a sign-in, or a token that was asked for, is good.
    pub session_hours: u64,
    /// What the scheduler is told, for "why is it not running".
    pub surroundings: watch::Receiver<Surroundings>,
    pub test_connection: ConnectionTest,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("could not make the server's secret")]
    Secret(#[source] millrace_settings::KeyringError),
    #[error("the listener failed")]
    Listener(#[source] std::io::Error),
}

/// How long open connections may go on after the stop was asked for.
const GRACE: Duration = Duration::from_secs(3);
/// Passwords hashed at once: each costs 19 MiB and a core.
const HASHING_AT_ONCE: usize = 2;

pub(crate) struct Server {
    pub options: ServerOptions,
    /// Made anew with every start: keys the cache of verified passwords and the tokens of forms of people who signed in
    /// without a session.
    pub secret: [u8; 32],
    pub verified: Verified,
    pub hashing: Semaphore,
    pub attempts: Attempts,
    pub trigger_keys: TriggerKeys,
    pub live: Live,
    pub rendering: Rendering,
    pub stop: CancellationToken,
}

pub(crate) type Shared = Arc<Server>;

impl Server {
    pub fn now(&self) -> DateTime<Utc> {
        self.options.clock.now()
    }

    pub fn surroundings(&self) -> Surroundings {
        self.options.surroundings.borrow().clone()
    }

    pub fn store(&self) -> &Store {
        &self.options.store
    }
}

/// Answers until `shutdown`, then lets open requests end, for a few seconds at the most.
pub async fn serve(
    listener: TcpListener,
    options: ServerOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let stop = CancellationToken::new();
    let server = Arc::new(Server {
        options,
        secret: random_bytes::<32>().map_err(ServeError::Secret)?,
        verified: Verified::default(),
        hashing: Semaphore::new(HASHING_AT_ONCE),
        attempts: Attempts::default(),
        trigger_keys: TriggerKeys::default(),
        live: Live::default(),
        rendering: Rendering::new(),
        stop: stop.clone(),
    });
    let watcher = tokio::spawn(live::watch(server.clone()));
    let app = routes::all(server).into_make_service_with_connect_info::<SocketAddr>();
    let stopping = stop.clone();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        shutdown.await;
        stopping.cancel();
    });
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        result = serving.into_future() => result.map_err(ServeError::Listener),
        () = too_long => Ok(()),
    };
    stop.cancel();
    // It ends by itself with `stop`; a panic in it has been reported by its own hook.
    let _ = watcher.await;
    result
}
