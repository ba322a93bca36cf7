//! What all requests share, and the life of the listener.

use std::collections::HashMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use millrace_logs::LogFolder;
use millrace_model::dag::Dag;
use millrace_model::param;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::Clock;
use millrace_operator_api::entry::Catalogue;
use millrace_settings::Masker;
use millrace_settings::keyring::random_bytes;
use millrace_settings::mask::{MASK, is_sensitive_name};
use millrace_store::{AuditRow, ImportErrorRow, RunRow, SealedStamp, Store, StoreError};
use millrace_vault::Vault;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use millrace_situation::{Surroundings, said_by_leader};

use crate::attempts::Attempts;
use crate::client::Network;
use crate::listener::Patience;
use crate::live::Live;
use crate::metrics::Answers;
use crate::oidc::{OidcOptions, Provider};
use crate::password::{Guesses, Verified};
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

/// Members of a diagnostic that quote the file.
const OF_THE_FILE: [&str; 2] = ["text", "source_line"];

/// How the name of whoever did something begins where a task did it.
const TASK_ACTOR: &str = "task:";

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

    /// Keys and values, secrets masked by their names and by what is known to be one.
    pub fn configuration(&self) -> Vec<(String, String)> {
        let shown = |(key, value): &(String, String)| {
            let is_secret = is_sensitive_name(key) && !value.is_empty();
            (key.clone(), if is_secret { MASK.to_owned() } else { self.masked_text(value) })
        };
        self.options.configuration.borrow().iter().map(shown).collect()
    }

    /// A text that somebody wrote or a program printed, as it may be shown.
    pub fn masked_text(&self, text: &str) -> String {
        self.options.vault.masker().mask(text)
    }

    /// As [`masked_text`](Self::masked_text); what stands under the name of a secret is hidden whole.
    pub fn masked_value(&self, value: &Value) -> Value {
        self.options.vault.masker().mask_value(value)
    }

    /// The conf of a run or backfill, as it may be shown. What a person sent is searched for nothing but the secrets that
    /// its names and addresses tell of: `***` for any other word would tell them that they guessed a secret. What a task
    /// handed on may hold what its templates looked up.
    pub fn masked_conf(&self, conf: &Map<String, Value>, made_by: &str) -> Value {
        if made_by.starts_with(TASK_ACTOR) {
            return self.masked_members(conf);
        }
        self.options.vault.masker().apart(conf).mask_value(&Value::Object(conf.clone()))
    }

    /// The params of a DAG.
    pub fn masked_members(&self, members: &Map<String, Value>) -> Value {
        // Cheap to clone beside the query that brought it.
        let members = members.clone();
        self.options.vault.masker().beside(&[&members]).mask_value(&Value::Object(members))
    }

    /// What is wrong with DAG files, as it may be shown: without what stands in the file, which nobody could look through
    /// for secrets where the file cannot be read.
    pub async fn import_errors(&self) -> Result<Vec<ImportErrorRow>, StoreError> {
        let mut rows = self.store().import_errors().await?;
        for diagnostic in rows.iter_mut().flat_map(|row| &mut row.diagnostics) {
            *diagnostic = self.masked_value(diagnostic);
            if let Some(members) = diagnostic.as_object_mut() {
                members.retain(|name, _| !OF_THE_FILE.contains(&name.as_str()));
            }
        }
        Ok(rows)
    }

    /// What may be shown of the text of a version: known secrets are masked, and those among its DAG's params.
    pub async fn masker_of_version(&self, version_key: i64) -> Result<Masker, StoreError> {
        let masker = self.options.vault.masker();
        match self.store().dag_version(version_key).await {
            Ok(dag) => Ok(masker.beside(&[&param::defaults(&dag.params)])),
            Err(error) if error.is_transient() => Err(error),
            // Of another program's making: it has no params for us.
            Err(_) => Ok(masker.clone()),
        }
    }

    /// Rows of the audit log, as they may be shown. What is secret in the conf of a run is hidden in what was written of
    /// that run; of one that is gone, whose conf nobody knows any more, the note is hidden whole.
    pub async fn masked_audit(&self, rows: &mut [AuditRow]) -> Result<(), StoreError> {
        let has_note = |value: &Value| value.get("note").is_some_and(Value::is_string);
        let mut runs: HashMap<(String, String), Option<RunRow>> = HashMap::new();
        for row in rows {
            let mut conf = row.details.get("conf").and_then(Value::as_object).cloned().unwrap_or_default();
            let is_noted = has_note(&row.details) || row.before.as_ref().is_some_and(has_note);
            let mut hides_note = false;
            if let (true, Some(run)) = (is_noted, row.dag_id.clone().zip(row.run_id.clone())) {
                if !runs.contains_key(&run) {
                    runs.insert(run.clone(), self.store().run(&run.0, &run.1).await?);
                }
                // Another run of that name tells nothing of this one's secrets.
                match runs[&run].as_ref().filter(|found| found.created_at <= row.at) {
                    Some(found) => conf.extend(found.conf.clone()),
                    None => hides_note = !row.details.get("conf").is_some_and(Value::is_object),
                }
            }
            let masker = self.options.vault.masker().beside(&[&conf]);
            let sent =
                row.details.get("conf").and_then(Value::as_object).map(|sent| self.masked_conf(sent, &row.actor));
            for told in [Some(&mut row.details), row.before.as_mut(), row.after.as_mut()].into_iter().flatten() {
                *told = masker.mask_value(told);
                if let Some(note) = told.get_mut("note").filter(|note| hides_note && note.is_string()) {
                    *note = MASK.into();
                }
            }
            if let (Some(sent), Some(conf)) = (sent, row.details.get_mut("conf")) {
                *conf = sent;
            }
        }
        Ok(())
    }

    /// What somebody wrote on a run.
    pub fn note_of(&self, run: &RunRow) -> Option<String> {
        run.note.as_deref().map(|note| self.options.vault.masker().beside(&[&run.conf]).mask(note))
    }

    /// For what a DAG's file says in words: knows what is secret in its params, too.
    pub fn masker_of_dag(&self, dag: &Dag) -> Masker {
        self.options.vault.masker().beside(&[&param::defaults(&dag.params)])
    }

    /// For what tasks of a run left: knows what is secret in its conf and in the params of its DAG, too.
    pub fn masker_of_run(&self, dag: &Dag, run: &RunRow) -> Masker {
        self.options.vault.masker().beside(&[&param::defaults(&dag.params), &run.conf])
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
