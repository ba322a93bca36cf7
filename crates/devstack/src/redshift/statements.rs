//! Every statement that was sent, what became of it, and the sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::SqlError;
use super::engine::{Connection, Done, Engine, Mode, ResultSet, Watcher, Work};
use super::translate::Parameter;

/// A client token is remembered as long as this.
const TOKEN_LIFE: chrono::TimeDelta = chrono::TimeDelta::hours(8);
/// A statement and its result are kept as long as this.
const STATEMENT_LIFE: chrono::TimeDelta = chrono::TimeDelta::hours(24);
/// Statements that run at a time.
const MOST_ACTIVE: usize = 500;
/// Connections to PostgreSQL at a time, besides those of sessions; further statements wait, as in Redshift's queue.
const MOST_CONNECTIONS: usize = 32;

/// The states of the Data API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Submitted,
    Picked,
    Started,
    Finished,
    Failed,
    Aborted,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Picked => "PICKED",
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }

    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Aborted)
    }
}

/// What a client asked for; two requests with one token must be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) sqls: Vec<String>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) mode: Mode,
    pub(super) cluster: Option<String>,
    pub(super) workgroup: Option<String>,
    pub(super) database: Option<String>,
    pub(super) db_user: Option<String>,
    pub(super) secret_arn: Option<String>,
    pub(super) name: Option<String>,
    pub(super) session: Option<String>,
    pub(super) keep_alive: Option<u32>,
}

/// One statement, or one of a batch, as far as it has come.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) status: Status,
    pub(super) created: DateTime<Utc>,
    pub(super) updated: DateTime<Utc>,
    /// Nanoseconds.
    pub(super) duration: i64,
    pub(super) error: Option<String>,
    pub(super) query_id: i64,
    pub(super) rows: i64,
    pub(super) result: Option<Arc<ResultSet>>,
}

impl Progress {
    fn new() -> Self {
        let now = Utc::now();
        Self {
            status: Status::Submitted,
            created: now,
            updated: now,
            duration: -1,
            error: None,
            query_id: 0,
            rows: -1,
            result: None,
        }
    }

    fn set(&mut self, status: Status) {
        self.status = status;
        self.updated = Utc::now();
        if status.is_final() {
            self.duration = (self.updated - self.created).num_nanoseconds().unwrap_or(i64::MAX);
        }
    }
}

/// A statement or a batch.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) id: String,
    pub(super) request: Request,
    pub(super) session: Option<String>,
    serverless: bool,
    whole: Mutex<Progress>,
    /// One for each SQL text; a single statement has one too.
    parts: Mutex<Vec<Progress>>,
    pid: Mutex<i32>,
    cancel: CancellationToken,
    changes: watch::Sender<Status>,
}

impl Statement {
    pub(super) fn whole(&self) -> MutexGuard<'_, Progress> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn parts(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> Status {
        self.whole().status
    }

    pub(super) fn pid(&self) -> i32 {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_batch(&self) -> bool {
        self.request.mode != Mode::Single
    }

    fn set(&self, status: Status) {
        self.whole().set(status);
        self.changes.send_replace(status);
    }

    /// Waits until it is over, at most as long as this.
    pub(super) async fn wait(&self, at_most: Duration) {
        let mut changes = self.changes.subscribe();
        let over = changes.wait_for(|status| status.is_final());
        // Not being over in time is an answer too.
        let _ = tokio::time::timeout(at_most, over).await;
    }

    fn end(&self, result: Result<(), SqlError>) {
        let status = match &result {
            Ok(()) => Status::Finished,
            Err(error) if error.aborted => Status::Aborted,
            Err(_) => Status::Failed,
        };
        {
            let mut parts = self.parts();
            let failed_at = parts.iter().position(|part| part.error.is_some());
            for part in parts.iter_mut().filter(|part| !part.status.is_final()) {
                part.set(Status::Aborted);
            }
            let mut whole = self.whole();
            if let Err(error) = result {
                whole.error = Some(match failed_at {
                    Some(at) if self.is_batch() => format!("Query #{} failed with {}", at + 1, error.message()),
                    _ => error.message().to_owned(),
                });
            }
            if let Some(last) = parts.last_mut().filter(|_| !self.is_batch()) {
                whole.rows = last.rows;
                whole.query_id = last.query_id;
                whole.result.clone_from(&last.result);
            }
        }
        self.set(status);
    }
}

impl Watcher for Statement {
    fn started(&self, index: usize, query_id: i64) {
        if let Some(part) = self.parts().get_mut(index) {
            part.query_id = query_id;
            part.set(Status::Started);
        }
        if !self.is_batch() {
            self.whole().query_id = query_id;
        }
    }

    fn finished(&self, index: usize, result: Result<Done, SqlError>) {
        let mut parts = self.parts();
        let Some(part) = parts.get_mut(index) else { return };
        match result {
            Ok(done) => {
                part.rows = done.rows;
                part.result = done.result.map(Arc::new);
                part.set(Status::Finished);
            }
            Err(error) => {
                part.error = Some(error.message().to_owned());
                part.set(if error.aborted { Status::Aborted } else { Status::Failed });
            }
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Validation(String),
    NotFound(String),
    TooManyStatements,
}

struct Session {
    request: (Option<String>, Option<String>, Option<String>),
    /// `None` while a statement runs on it.
    connection: Option<Connection>,
    keep_alive: Duration,
    expires: Instant,
}

#[derive(Default)]
struct State {
    /// In order of age: the ids begin with the time.
    statements: BTreeMap<String, Arc<Statement>>,
    tokens: HashMap<String, (DateTime<Utc>, Arc<Statement>)>,
    sessions: HashMap<String, Session>,
}

/// All statements and sessions. In memory: they are gone when the stand-in stops.
pub(super) struct Statements {
    engine: Arc<Engine>,
    database: String,
    state: Mutex<State>,
    connections: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Statements {
    pub(super) fn new(engine: Arc<Engine>, database: String, stop: CancellationToken) -> Arc<Self> {
        let connections = Semaphore::new(MOST_CONNECTIONS);
        Arc::new(Self { engine, database, state: Mutex::default(), connections, tasks: TaskTracker::new(), stop })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request and runs it in the background. The same token with the same request is the same statement.
    pub(super) fn submit(self: &Arc<Self>, request: Request, token: Option<String>) -> Result<Arc<Statement>, Refusal> {
        let now = Utc::now();
        let mut state = self.state();
        state.statements.retain(|_, statement| {
            let progress = statement.whole();
            !progress.status.is_final() || now - progress.updated < STATEMENT_LIFE
        });
        state.tokens.retain(|_, (taken, _)| now - *taken < TOKEN_LIFE);
        let instant = Instant::now();
        state.sessions.retain(|_, session| session.connection.is_none() || session.expires > instant);

        if let Some(token) = &token
            && let Some((_, known)) = state.tokens.get(token)
        {
            if known.request == request {
                return Ok(Arc::clone(known));
            }
            return Err(Refusal::Validation(
                "The client token was used before with another request: use a new one".to_owned(),
            ));
        }
        let active = state.statements.values().filter(|statement| !statement.status().is_final()).count();
        if active >= MOST_ACTIVE {
            return Err(Refusal::TooManyStatements);
        }
        let (session, connection) = take_session(&mut state, &request)?;
        let of_session = session.as_ref().and_then(|id| state.sessions.get(id));
        let serverless = request.workgroup.is_some() || of_session.is_some_and(|session| session.request.1.is_some());
        let statement = Arc::new(Statement {
            serverless,
            id: uuid::Uuid::now_v7().to_string(),
            session,
            whole: Mutex::new(Progress::new()),
            parts: Mutex::new(request.sqls.iter().map(|_| Progress::new()).collect()),
            pid: Mutex::new(connection.as_ref().map_or(0, |connection| connection.pid)),
            cancel: self.stop.child_token(),
            changes: watch::Sender::new(Status::Submitted),
            request,
        });
        state.statements.insert(statement.id.clone(), Arc::clone(&statement));
        if let Some(token) = token {
            state.tokens.insert(token, (now, Arc::clone(&statement)));
        }
        drop(state);
        self.tasks.spawn(Arc::clone(self).work(Arc::clone(&statement), connection));
        Ok(statement)
    }

    async fn work(self: Arc<Self>, statement: Arc<Statement>, connection: Option<Connection>) {
        statement.set(Status::Picked);
        let mut used = connection;
        let result = self.work_on(&statement, &mut used).await;
        // Given back before anybody can see that the statement is over.
        self.give_back(&statement, used);
        statement.end(result);
    }

    async fn work_on(&self, statement: &Statement, used: &mut Option<Connection>) -> Result<(), SqlError> {
        if let Some(database) = &statement.request.database
            && *database != self.database
        {
            return Err(SqlError::verbatim(format!("FATAL: database \"{database}\" does not exist")));
        }
        // A session never waits here: others may wait for the locks that it holds.
        let _place = match &statement.session {
            Some(_) => None,
            None => tokio::select! {
                place = self.connections.acquire() => place.ok(),
                () = statement.cancel.cancelled() => return Err(SqlError::aborted()),
            },
        };
        let mut connection = match used.take() {
            Some(connection) => connection,
            None => self.engine.connect().await?,
        };
        *statement.pid.lock().unwrap_or_else(PoisonError::into_inner) = connection.pid;
        statement.set(Status::Started);
        let work = Work {
            sqls: &statement.request.sqls,
            parameters: &statement.request.parameters,
            mode: statement.request.mode,
            in_session: statement.session.is_some(),
            serverless: statement.serverless,
            cancel: &statement.cancel,
        };
        let result = self.engine.run(&mut connection, &work, statement).await;
        *used = Some(connection);
        result
    }

    /// A session's connection waits for its next statement; any other is closed, and its temporary tables with it.
    fn give_back(&self, statement: &Statement, connection: Option<Connection>) {
        let Some(id) = &statement.session else { return };
        let mut state = self.state();
        let Some(session) = state.sessions.get_mut(id) else { return };
        match connection {
            Some(connection) => {
                session.expires = Instant::now() + session.keep_alive;
                session.connection = Some(connection);
            }
            None => {
                state.sessions.remove(id);
            }
        }
    }

    pub(super) fn find(&self, id: &str) -> Result<Arc<Statement>, Refusal> {
        let state = self.state();
        let found = state.statements.get(id).cloned();
        found.ok_or_else(|| Refusal::NotFound(format!("Query {id} does not exist.")))
    }

    /// All statements, the youngest first.
    pub(super) fn all(&self) -> Vec<Arc<Statement>> {
        self.state().statements.values().rev().cloned().collect()
    }

    /// Asks a statement to stop. It may still finish.
    pub(super) fn cancel(&self, id: &str) -> Result<(), Refusal> {
        let statement = self.find(id)?;
        let status = statement.status();
        if status.is_final() {
            return Err(Refusal::Validation(format!(
                "Could not cancel a query that is already in {} state with ID: {id}",
                status.name()
            )));
        }
        statement.cancel.cancel();
        Ok(())
    }

    /// Cancels what runs and waits for it.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.state().sessions.clear();
    }
}

/// The session that a request names, or a new one when it wants to be kept alive.
fn take_session(state: &mut State, request: &Request) -> Result<(Option<String>, Option<Connection>), Refusal> {
    let target = (request.cluster.clone(), request.workgroup.clone(), request.database.clone());
    match (&request.session, request.keep_alive) {
        (Some(id), keep_alive) => {
            let session = state
                .sessions
                .get_mut(id)
                .ok_or_else(|| Refusal::Validation(format!("Session {id} does not exist or has expired.")))?;
            let differs = |asked: &Option<String>, own: &Option<String>| asked.is_some() && asked != own;
            if differs(&target.0, &session.request.0)
                || differs(&target.1, &session.request.1)
                || differs(&target.2, &session.request.2)
            {
                return Err(Refusal::Validation(format!("Session {id} belongs to another cluster or database.")));
            }
            // A session runs one statement at a time.
            let connection = session
                .connection
                .take()
                .ok_or_else(|| Refusal::Validation(format!("Session {id} is busy with another statement.")))?;
            if let Some(seconds) = keep_alive {
                session.keep_alive = Duration::from_secs(u64::from(seconds));
            }
            Ok((Some(id.clone()), Some(connection)))
        }
        (None, Some(seconds)) => {
            let id = uuid::Uuid::now_v7().to_string();
            let keep_alive = Duration::from_secs(u64::from(seconds));
            let session =
                Session { request: target, connection: None, keep_alive, expires: Instant::now() + keep_alive };
            state.sessions.insert(id.clone(), session);
            Ok((Some(id), None))
        }
        (None, None) => Ok((None, None)),
    }
}
