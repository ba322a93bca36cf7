//! What all requests share, and the life of the listener.

use std::sync::{Arc, Once};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use millrace_logs::LogFolder;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::Clock;
use millrace_operator_api::entry::Catalogue;
use millrace_settings::keyring::random_bytes;
use millrace_store::{SealedStamp, Store, StoreError};
use millrace_vault::Vault;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use millrace_situation::{Surroundings, said_by_leader};

use crate::access::attempts::Attempts;
use crate::access::client::Network;
use crate::access::oidc::{OidcOptions, Provider};
use crate::access::password::{Guesses, Verified};
use crate::listener::Patience;
use crate::live::Live;
use crate::metrics::Answers;
use crate::rendering::Rendering;
use crate::streams::Streams;
use crate::tls::Tls;
use crate::webhooks::Deliveries;
use crate::{listener, live, routes};

/// Tries out a connection: a sentence for people, whether it works or not.
pub type ConnectionTest = Arc<dyn Fn(Connection) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

pub struct ServerOptions {
    pub store: Store,
    pub vault: Vault,
    pub logs: LogFolder,
    pub clock: Arc<dyn Clock>,
    /// How long a sign-in, or a token that was got for a password, is good.
    pub session_hours: u64,
    /// A sign-in ends after so long without a request; 0: not before its hours are over.
    pub session_idle_minutes: u64,
    /// Proxies whose word is taken for who the client is and whether it speaks HTTPS.
    pub trusted_proxies: Vec<Network>,
    pub patience: Patience,
    /// Signing in with a provider of identities.
    pub oidc: Option<OidcOptions>,
    /// HTTPS with the certificate of the moment; None: plain HTTP.
    pub tls: Option<watch::Receiver<Tls>>,
    /// What a scheduler of this process is told, for "why is it not running" while none leads.
    pub surroundings: watch::Receiver<Surroundings>,
    pub test_connection: ConnectionTest,
    /// The operators that are documented on their pages.
    pub operators: Catalogue,
    /// What is in force: key and value, for the page that shows it.
    pub configuration: watch::Receiver<Vec<(String, String)>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("could not make the server's secret")]
    Secret(#[source] millrace_settings::KeyringError),
}

/// Passwords hashed at once: each costs 19 MiB and a core.
const HASHING_AT_ONCE: usize = 2;
/// More than so many sign in at one moment: the others are told to try again.
const HASHING_QUEUE: usize = 64;
/// Sessions and tokens that have ended are deleted so often.
const TIDY_EVERY: Duration = Duration::from_mins(10);
/// How long the key of a request that may be sent again is remembered.
pub(crate) const KEYS_KEPT: chrono::TimeDelta = chrono::TimeDelta::days(1);

pub(crate) struct Server {
    pub options: ServerOptions,
    /// Made anew with every start: keys the cache of verified passwords and the tokens of forms of people who signed in
    /// without a session.
    pub secret: [u8; 32],
    pub verified: Verified,
    pub guesses: Guesses,
    pub hashing: Semaphore,
    /// Places for those that are hashed or wait for it.
    pub hashing_queue: Semaphore,
    pub attempts: Attempts,
    /// That there is a proxy which is not trusted was said.
    pub proxy_told: Once,
    pub oidc: Option<Provider>,
    pub live: Live,
    pub streams: Streams,
    pub deliveries: Deliveries,
    pub rendering: Rendering,
    /// Held by whoever changes something that is to be as they saw it.
    pub changing: tokio::sync::Mutex<()>,
    pub answered: Answers,
    pub stop: CancellationToken,
}

pub(crate) type Shared = Arc<Server>;

/// Secrets that others wrote are read again so often, if there are new ones.
const LEARN_EVERY: Duration = Duration::from_secs(10);

impl Server {
    pub fn now(&self) -> DateTime<Utc> {
        self.options.clock.now()
    }

    /// What the scheduler that leads is told, which may be in another process with another configuration; when nobody leads,
    /// what one of this process would be told.
    pub async fn surroundings(&self) -> Result<Surroundings, StoreError> {
        let own = self.options.surroundings.borrow().clone();
        Ok(said_by_leader(self.store()).await?.unwrap_or(own))
    }

    pub fn store(&self) -> &Store {
        &self.options.store
    }
}

/// Answers until `shutdown`, then lets open requests end, for a few seconds at the most.
pub async fn serve(
    listener: TcpListener,
    mut options: ServerOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let stop = CancellationToken::new();
    let watch = random_bytes::<8>().map(u64::from_be_bytes).map_err(ServeError::Secret)?;
    let oidc = options.oidc.take().map(Provider::new);
    let server = Arc::new(Server {
        options,
        oidc,
        secret: random_bytes::<32>().map_err(ServeError::Secret)?,
        verified: Verified::default(),
        guesses: Guesses::default(),
        hashing: Semaphore::new(HASHING_AT_ONCE),
        hashing_queue: Semaphore::new(HASHING_QUEUE),
        attempts: Attempts::default(),
        proxy_told: Once::new(),
        live: Live::new(watch),
        streams: Streams::default(),
        deliveries: Deliveries::default(),
        rendering: Rendering::new(),
        changing: tokio::sync::Mutex::new(()),
        answered: Answers::default(),
        stop: stop.clone(),
    });
    // Before the first answer: what no connection of this process has opened yet is masked too.
    let learned = learn(&server, None).await;
    let learning = tokio::spawn(keep_learning(server.clone(), learned));
    let watcher = tokio::spawn(live::watch(server.clone()));
    let tidying = tokio::spawn(tidy(server.clone()));
    let app = routes::all(server.clone());
    let serving = listener::serve(listener, app, &server);
    let stopping = stop.clone();
    let asked = async move {
        shutdown.await;
        stopping.cancel();
    };
    let ((), ()) = tokio::join!(serving, asked);
    // They end by themselves with `stop`; a panic in one has been reported by its own hook.
    let _ = watcher.await;
    let _ = tidying.await;
    let _ = learning.await;
    Ok(())
}

/// Tells the masker every secret, unless they are those that it was told. Gives what they were then.
async fn learn(server: &Server, known: Option<SealedStamp>) -> Option<SealedStamp> {
    let learned = async {
        let stamp = server.store().sealed_stamp().await?;
        if known != Some(stamp) {
            server.options.vault.tell_masker().await?;
        }
        Ok::<_, StoreError>(stamp)
    };
    match learned.await {
        Ok(stamp) => Some(stamp),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not read which secrets there are");
            known
        }
    }
}

async fn keep_learning(server: Shared, mut known: Option<SealedStamp>) {
    let mut tick = tokio::time::interval(LEARN_EVERY);
    loop {
        tokio::select! {
            () = server.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        known = learn(&server, known).await;
    }
}

/// Deletes sessions and tokens that have ended.
async fn tidy(server: Shared) {
    let mut tick = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            () = server.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = server.now();
        if let Err(error) = server.store().purge_access(server.idle(), now - KEYS_KEPT, now).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not delete sessions that have ended");
        }
    }
}
