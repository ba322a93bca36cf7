//! A task's surroundings: connections by name, a journal that can die, a switch to cancel.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use chrono::DateTime;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_connectors::{Connectors, ConnectorsConfig, ProcessSettings};
use millrace_devstack::{RunningS3, S3Config, serve_s3};
use millrace_model::change::RunFacts;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunType;
use millrace_operator_api::connection::{Connection, ConnectionLookup, Extra};
use millrace_operator_api::context::{
    CancelSignal, Clock, LogLevel, RemoteStatement, Reporter, Results, StatementJournal, WorkId,
};
use millrace_operator_api::ports::{
    BuildRequest, LoadMethod, LoadRequest, LoadRows, ObjectInfo, ObjectRows, ObjectStore, Ports, PutOptions, RowBatch,
    RowStream, SourceColumn, TableName, ValueType,
};
use millrace_operator_api::{PortError, TaskContext};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub type Cells = Vec<Vec<Option<String>>>;

/// Connections, and what one task leaves behind.
pub struct World {
    pub connectors: Arc<Connectors>,
    connections: Arc<Connections>,
    pub journal: Arc<Journal>,
    pub cancel: CancellationToken,
    pub s3: RunningS3,
    pub folder: tempfile::TempDir,
}

impl World {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let s3 = serve_s3(S3Config {
            root: folder.path().join("s3"),
            access_key: "standin".to_owned(),
            secret_key: "standin-secret".to_owned(),
            listen: "127.0.0.1:0".parse()?,
            buckets: vec!["lake".to_owned()],
        })
        .await?;
        let connections = Arc::new(Connections::default());
        let connectors = Connectors::new(
            Arc::clone(&connections) as Arc<dyn ConnectionLookup>,
            ConnectorsConfig { scratch_root: folder.path().join("scratch"), processes: settings(folder.path()) },
        );
        let world = Self {
            connectors: Arc::new(connectors),
            connections,
            journal: Arc::new(Journal::default()),
            cancel: CancellationToken::new(),
            s3,
            folder,
        };
        world.add(Connection {
            login: Some("standin".to_owned()),
            password: Some("standin-secret".into()),
            extra: extra(json!({"endpoint_url": world.s3.endpoint_url(), "region_name": "eu-west-1"})),
            ..connection("s3", "aws")
        });
        Ok(world)
    }

    pub fn add(&self, connection: Connection) {
        lock(&self.connections.known).insert(connection.conn_id.clone(), connection);
    }

    pub fn change(&self, conn_id: &str, change: impl FnOnce(&mut Connection)) {
        lock(&self.connections.known).get_mut(conn_id).map(change);
    }

    pub fn known(&self, conn_id: &str) -> Option<Connection> {
        lock(&self.connections.known).get(conn_id).cloned()
    }

    /// A connection from `scheme://user:password@host:port/database`, as the test kit gives it.
    pub fn add_url(&self, conn_id: &str, conn_type: &str, url: &str) -> Result<()> {
        let rest = url.split_once("://").context("a URL")?.1;
        let (user, rest) = rest.split_once('@').context("a user")?;
        let (login, password) = user.split_once(':').context("a password")?;
        let (place, database) = rest.split_once('/').context("a database")?;
        let (host, port) = place.split_once(':').context("a port")?;
        self.add(Connection {
            host: Some(host.to_owned()),
            port: Some(port.parse()?),
            login: Some(login.to_owned()),
            password: Some(password.to_owned().into()),
            schema: Some(database.to_owned()),
            ..connection(conn_id, conn_type)
        });
        Ok(())
    }

    pub fn context(&self, try_number: u32) -> TaskContext {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        TaskContext {
            work: work(0),
            run: Arc::new(RunFacts {
                run_key: 1,
                run_id: RunId::new_unchecked("manual"),
                run_type: RunType::Manual,
                logical_date: at(0),
                data_interval: DataInterval { start: at(0), end: at(86_400) },
                run_after: at(0),
                created_at: at(0),
                start_date: None,
                conf: serde_json::Map::new(),
                asset_events: Vec::new(),
            }),
            try_number,
            first_start: at(0),
            put_offs: 0,
            is_test: false,
            item: None,
            ports: Arc::clone(&self.connectors) as Arc<dyn Ports>,
            reporter: Arc::new(Silent),
            journal: Arc::clone(&self.journal) as Arc<dyn StatementJournal>,
            cancel: Arc::new(Switch(self.cancel.clone())),
            results: Arc::new(Silent),
            runs: Arc::new(millrace_operator_api::context::NoRuns),
            triggers: Arc::new(millrace_operator_api::context::NoTriggers),
            slot: Arc::new(millrace_operator_api::context::OwnSlot),
            clock: Arc::new(Silent),
            environment: Vec::new(),
        }
    }

    pub async fn store(&self) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.connectors.objects(&self.context(1), "s3").await?)
    }

    /// An object in the lake.
    pub async fn put(&self, key: &str, body: Vec<u8>) -> Result<ObjectInfo> {
        let store = self.store().await?;
        let body = stream::iter([Ok(Bytes::from(body))]).boxed();
        store.put("lake", key, body, PutOptions::default()).await?;
        store.head("lake", key).await?.context("just written")
    }

    /// Puts files into the lake and asks for their load.
    pub async fn request(&self, table: &str, method: LoadMethod, files: &[(&str, &str)]) -> Result<LoadRequest> {
        let store = self.store().await?;
        let mut objects = Vec::new();
        for (key, text) in files {
            objects.push(self.put(key, (*text).as_bytes().to_vec()).await?);
        }
        let (schema, name) =
            table.split_once('.').map_or((None, table), |(schema, name)| (Some(schema.to_owned()), name));
        let manifest_prefix = ("lake".to_owned(), "manifests/".to_owned());
        let rows = LoadRows::Objects(ObjectRows { objects, store, manifest_prefix });
        let target = TableName { schema, name: name.to_owned() };
        Ok(LoadRequest { show_values: true, ..LoadRequest::new(target, method, rows, work(0)) })
    }

    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let store = self.store().await?;
        let found: Vec<_> = store.list("lake", prefix).try_collect().await?;
        Ok(found.into_iter().map(|object| object.key).collect())
    }
}

pub fn settings(_: &Path) -> ProcessSettings {
    ProcessSettings {
        grace: Duration::from_secs(10),
        installation: "test-home".to_owned(),
        owner: "this-daemon".to_owned(),
        home: "/srv/millrace".into(),
    }
}

pub fn connection(conn_id: &str, conn_type: &str) -> Connection {
    Connection {
        conn_id: conn_id.to_owned(),
        conn_type: conn_type.to_owned(),
        host: None,
        login: None,
        password: None,
        port: None,
        schema: None,
        extra: Extra::default(),
    }
}

pub fn extra(value: Value) -> Extra {
    Extra(value.as_object().cloned().unwrap_or_default())
}

/// A build of the whole table, without checks.
pub fn build(table: &str, select: &str, generation: u32) -> BuildRequest {
    BuildRequest {
        target: TableName { schema: None, name: table.to_owned() },
        select: select.to_owned(),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(generation),
    }
}

/// The same work for the same generation.
pub fn work(generation: u32) -> WorkId {
    WorkId {
        dag_id: DagId::new_unchecked("nightly"),
        run_id: "manual".to_owned(),
        run_created_at: DateTime::UNIX_EPOCH,
        task_id: TaskId::new_unchecked("load"),
        map_index: -1,
        generation,
        installation: "home".to_owned(),
    }
}

/// Rows as a source would give them.
pub fn stream_of(columns: &[(&str, ValueType)], rows: &Cells) -> RowStream {
    let columns: Vec<SourceColumn> = columns
        .iter()
        .map(|(name, value)| SourceColumn {
            name: (*name).to_owned(),
            type_name: value.to_string(),
            value: value.clone(),
        })
        .collect();
    let batches: Vec<Result<RowBatch, PortError>> = rows
        .chunks(7)
        .map(|rows| {
            let mut batch = RowBatch::new(columns.len());
            rows.iter().flatten().for_each(|cell| batch.push(cell.as_deref().map(str::as_bytes)));
            Ok(batch)
        })
        .collect();
    RowStream { columns, batches: stream::iter(batches).boxed() }
}

/// What stands for NULL in [`csv_of`].
pub const NULL_MARKER: &str = "<null>";

/// Rows as a CSV file, every value in quotes.
pub fn csv_of(rows: &Cells) -> String {
    let cell = |cell: &Option<String>| match cell {
        None => NULL_MARKER.to_owned(),
        Some(text) => format!("\"{}\"", text.replace('"', "\"\"")),
    };
    rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n").collect()
}

/// The same load of files once more.
pub fn again(request: &LoadRequest) -> LoadRequest {
    let LoadRows::Objects(files) = &request.rows else { panic!("rows of a stream are read once") };
    LoadRequest {
        target: request.target.clone(),
        columns: request.columns.clone(),
        ignored: request.ignored.clone(),
        types: request.types.clone(),
        texts_are_utc: request.texts_are_utc,
        method: request.method.clone(),
        rows: LoadRows::Objects(files.clone()),
        format: request.format.clone(),
        quarantine: request.quarantine.clone(),
        show_values: request.show_values,
        known_by: Vec::new(),
        unique_by: request.unique_by.clone(),
        is_own_table: request.is_own_table,
        gone: request.gone.clone(),
        also: request.also.clone(),
        expected_rows: request.expected_rows,
        late_before: request.late_before.clone(),
        null_is_newest: request.null_is_newest,
        work: request.work.clone(),
    }
}

pub fn upsert(keys: &[&str], order_key: Option<&str>) -> LoadMethod {
    LoadMethod::Upsert {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        order_key: order_key.map(ToOwned::to_owned),
    }
}

pub async fn cells(stream: RowStream) -> Result<Cells> {
    let mut rows = Cells::new();
    let mut batches = stream.batches;
    while let Some(batch) = batches.try_next().await? {
        for row in batch.rows() {
            rows.push(row.map(|cell| cell.map(|cell| String::from_utf8_lossy(cell).into_owned())).collect());
        }
    }
    Ok(rows)
}

pub fn some(row: &[&str]) -> Vec<Option<String>> {
    row.iter().map(|cell| if *cell == "NULL" { None } else { Some((*cell).to_owned()) }).collect()
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Connections {
    known: Mutex<HashMap<String, Connection>>,
}

impl ConnectionLookup for Connections {
    fn find<'a>(&'a self, conn_id: &'a str) -> BoxFuture<'a, Result<Option<Connection>, PortError>> {
        Box::pin(async move { Ok(lock(&self.known).get(conn_id).cloned()) })
    }
}

pub struct Switch(pub CancellationToken);

impl CancelSignal for Switch {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn cancelled(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            self.0.cancelled().await;
            "somebody asked".to_owned()
        })
    }
}

/// Remembers as the metadata database does. The process may die at a chosen write: before it or just after it.
#[derive(Default)]
pub struct Journal {
    rows: Mutex<BTreeMap<String, RemoteStatement>>,
    dies_at: Mutex<Option<(usize, bool)>>,
    pub died: Notify,
}

impl Journal {
    /// The `number`-th write from now on (from 1) never returns, and `died` is told; the row is kept when `after`.
    pub fn die_at(&self, number: usize, after: bool) {
        *lock(&self.dies_at) = Some((number, after));
    }

    /// Does the work, and whether the process was gone at its `number`-th write before that had ended.
    pub async fn kills<T>(
        &self,
        (number, after): (usize, bool),
        mut work: BoxFuture<'_, Result<T, PortError>>,
    ) -> Result<bool, PortError> {
        self.die_at(number, after);
        let is_dead = tokio::select! {
            result = &mut work => {
                result?;
                false
            }
            () = self.died.notified() => true,
        };
        if is_dead {
            // Nothing of a killed process is tidied up.
            std::mem::forget(work);
        }
        Ok(is_dead)
    }

    /// It does not die any more.
    pub fn lives(&self) {
        *lock(&self.dies_at) = None;
    }

    pub fn all(&self) -> Vec<RemoteStatement> {
        lock(&self.rows).values().cloned().collect()
    }
}

impl StatementJournal for Journal {
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<RemoteStatement>, PortError>> {
        Box::pin(async { Ok(self.all().into_iter().filter(|row| !row.is_settled).collect()) })
    }

    fn record(&self, statement: RemoteStatement) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let death = {
                let mut dies_at = lock(&self.dies_at);
                match dies_at.as_mut() {
                    Some((number, after)) if *number == 1 => {
                        let after = *after;
                        *dies_at = None;
                        Some(after)
                    }
                    Some((number, _)) => {
                        *number -= 1;
                        None
                    }
                    None => None,
                }
            };
            if death != Some(false) {
                lock(&self.rows).insert(statement.client_token.clone(), statement);
            }
            if death.is_some() {
                self.died.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

struct Silent;

impl Reporter for Silent {
    fn log(&self, _: LogLevel, _: &str) {}
    fn checkpoint(&self, _: Checkpoint) {}
    fn ledger(&self, _: LedgerEntry) {}
}

impl Results for Silent {
    fn pull<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Value>, PortError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Clock for Silent {
    fn now(&self) -> DateTime<chrono::Utc> {
        DateTime::from_timestamp(0, 0).unwrap_or_default()
    }
}

/// The error that must come.
pub fn refused<T>(result: Result<T, PortError>) -> Result<PortError> {
    match result {
        Ok(_) => bail!("it worked, but should not have"),
        Err(error) => Ok(error),
    }
}
