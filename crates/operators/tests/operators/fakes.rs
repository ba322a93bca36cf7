//! Fake ports: an object store in memory, a scripted source, a warehouse and a shell that record what they are asked.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use futures::stream::{self, BoxStream, StreamExt};
use millrace_model::change::RunFacts;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunType;
use millrace_operator_api::context::*;
use millrace_operator_api::entry::find;
use millrace_operator_api::ports::*;
use millrace_operator_api::{BoxFuture, Outcome, PortError, PortErrorKind, Problems, TaskContext, TaskError};
use secrecy::SecretString;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

pub fn at(seconds: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_704_067_200 + seconds, 0).unwrap()
}

#[derive(Clone)]
pub struct Object {
    pub body: Vec<u8>,
    pub metadata: BTreeMap<String, String>,
    pub modified: DateTime<Utc>,
}

/// After what the process "dies": the effect happened, and nobody was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Put,
    Remove,
    Delete,
    Copy,
}

#[derive(Default)]
pub struct World {
    pub objects: Mutex<BTreeMap<String, Object>>,
    pub scratch: Mutex<BTreeMap<String, Vec<u8>>>,
    pub rows: Mutex<Vec<Vec<Option<Vec<u8>>>>>,
    pub columns: Mutex<Vec<String>>,
    /// The source breaks after so many rows.
    pub source_breaks_after: Mutex<Option<usize>>,
    pub queries: Mutex<Vec<String>>,
    pub deletes: Mutex<Vec<usize>>,
    pub loads: Mutex<Vec<LoadRequest>>,
    pub load_report: Mutex<LoadReport>,
    pub unloads: Mutex<Vec<UnloadRequest>>,
    pub unload_report: Mutex<UnloadReport>,
    pub table: Mutex<Vec<String>>,
    /// Tables and columns that were made, in words.
    pub made: Mutex<Vec<String>>,
    pub engine: Mutex<&'static str>,
    pub checks: Mutex<Vec<CheckResult>>,
    pub build: Mutex<BuildReport>,
    pub builds: Mutex<Vec<BuildRequest>>,
    pub executed: Mutex<Vec<(Vec<String>, bool)>>,
    pub execute_error: Mutex<Option<PortError>>,
    pub small: Mutex<SmallResult>,
    pub processes: Mutex<Vec<ProcessSpec>>,
    pub exit: Mutex<Option<ProcessExit>>,
    pub results: Mutex<BTreeMap<String, Value>>,
    pub log: Mutex<Vec<(LogLevel, String)>>,
    pub ledger: Mutex<Vec<LedgerEntry>>,
    pub checkpoints: Mutex<Vec<Checkpoint>>,
    pub death: Mutex<Option<Death>>,
    /// The object store puts a stranger's object there between looking and publishing.
    pub race: AtomicBool,
    pub put_answer_is_lost: AtomicBool,
    pub cancelled: AtomicBool,
    pub cancel_after_chunks: Mutex<Option<u64>>,
    /// The longest value that a column of the warehouse holds, if it says so before the load.
    pub longest: Mutex<Option<usize>>,
    /// The table has a unique rule besides that on its keys.
    pub hinders: AtomicBool,
    pub replica_lag: Mutex<Option<TimeDelta>>,
    pub sleeps: Mutex<Vec<TimeDelta>>,
    /// What looking at a table comes to, one after another, before it works.
    pub describe_errors: Mutex<Vec<PortError>>,
    pub seconds: AtomicU64,
    pub largest_chunk: AtomicU64,
}

impl World {
    pub fn new() -> Arc<Self> {
        let world = Self::default();
        *lock(&world.engine) = "sqlite";
        Arc::new(world)
    }

    pub fn with_rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Arc<Self> {
        let world = Self::new();
        *lock(&world.columns) = columns.iter().map(|name| (*name).to_owned()).collect();
        *lock(&world.rows) =
            rows.iter().map(|row| row.iter().map(|cell| cell.map(|text| text.as_bytes().to_vec())).collect()).collect();
        world
    }

    pub fn put_stranger(&self, key: &str, body: &str) {
        let object = Object { body: body.as_bytes().to_vec(), metadata: BTreeMap::new(), modified: at(0) };
        lock(&self.objects).insert(key.to_owned(), object);
    }

    /// What statements answer from now on.
    pub fn answer(&self, rows: &[&[Option<&str>]]) {
        let cells = |row: &&[Option<&str>]| row.iter().map(|cell| cell.map(str::to_owned)).collect();
        lock(&self.small).rows = rows.iter().map(cells).collect();
    }

    pub fn body(&self, key: &str) -> Option<String> {
        lock(&self.objects).get(key).map(|object| String::from_utf8(object.body.clone()).unwrap())
    }

    pub fn metadata(&self, key: &str) -> BTreeMap<String, String> {
        lock(&self.objects)[key].metadata.clone()
    }

    pub fn keys(&self) -> Vec<String> {
        lock(&self.objects).keys().cloned().collect()
    }

    pub fn ledger(&self) -> Vec<LedgerEntry> {
        lock(&self.ledger).clone()
    }

    pub fn log(&self) -> String {
        lock(&self.log).iter().map(|(level, line)| format!("{level:?} {line}\n")).collect()
    }

    fn dies(&self, place: Death) -> Result<(), PortError> {
        let mut death = lock(&self.death);
        if *death == Some(place) {
            *death = None;
            return Err(PortError::new(PortErrorKind::Other, "the process died here"));
        }
        Ok(())
    }

    pub fn context(self: &Arc<Self>, try_number: u32) -> TaskContext {
        self.context_of("extract_nps", try_number)
    }

    pub fn context_of(self: &Arc<Self>, task: &str, try_number: u32) -> TaskContext {
        TaskContext {
            work: WorkId {
                dag_id: DagId::new_unchecked("\u{b9e4}\u{cd9c}"),
                run_id: "scheduled__2024-01-01T00:00:00+00:00".to_owned(),
                run_created_at: at(86_400),
                task_id: TaskId::new_unchecked(task),
                map_index: -1,
                generation: 0,
                installation: "home1".to_owned(),
            },
            run: Arc::new(RunFacts {
                run_key: 1,
                run_id: RunId::new_unchecked("scheduled__2024-01-01T00:00:00+00:00"),
                run_type: RunType::Scheduled,
                logical_date: at(0),
                data_interval: DataInterval { start: at(0), end: at(86_400) },
                run_after: at(86_400),
                created_at: at(86_400),
                start_date: None,
                conf: serde_json::Map::new(),
                asset_events: Vec::new(),
            }),
            try_number,
            first_start: at(0),
            put_offs: 0,
            is_test: false,
            item: None,
            ports: Arc::new(Fake(Arc::clone(self))),
            reporter: Arc::new(Fake(Arc::clone(self))),
            journal: Arc::new(Fake(Arc::clone(self))),
            cancel: Arc::new(Fake(Arc::clone(self))),
            results: Arc::new(Fake(Arc::clone(self))),
            runs: Arc::new(millrace_operator_api::context::NoRuns),
            triggers: Arc::new(millrace_operator_api::context::NoTriggers),
            slot: Arc::new(millrace_operator_api::context::OwnSlot),
            clock: Arc::new(Fake(Arc::clone(self))),
            environment: vec![("DAG_ID".to_owned(), "d".to_owned()), ("X".to_owned(), "old".to_owned())],
        }
    }

    /// Runs an operator as the worker does, on parameters that are rendered.
    pub fn run(self: &Arc<Self>, operator: &str, parameters: Value) -> Result<Outcome, TaskError> {
        self.run_try(operator, parameters, 1)
    }

    pub fn run_try(self: &Arc<Self>, operator: &str, parameters: Value, number: u32) -> Result<Outcome, TaskError> {
        run_in(&self.context(number), operator, parameters)
    }
}

pub fn run_in(context: &TaskContext, operator: &str, parameters: Value) -> Result<Outcome, TaskError> {
    let entry = find(millrace_operators::catalogue(), operator).expect("a known operator");
    let operator = (entry.parse)(parameters).expect("parameters that can be read");
    let mut problems = Problems::default();
    operator.check(&mut problems);
    assert!(problems.is_empty(), "{:?}", problems.into_items());
    block_on(operator.run(context))
}

/// What is found when the file is read, one problem a line, `field: message`.
pub fn problems(operator: &str, parameters: Value) -> String {
    let entry = find(millrace_operators::catalogue(), operator).expect("a known operator");
    match (entry.parse)(parameters) {
        Err(error) => format!("unreadable: {error}"),
        Ok(operator) => {
            let mut problems = Problems::default();
            operator.check(&mut problems);
            problems.into_items().into_iter().map(|(field, message)| format!("{field}: {message}\n")).collect()
        }
    }
}

#[derive(Clone)]
struct Fake(Arc<World>);

impl Ports for Fake {
    fn source<'a>(
        &'a self,
        _: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn SqlSource>, PortError>> {
        Box::pin(async move {
            if conn_id == "nowhere" {
                return Err(PortError::new(PortErrorKind::NotFound, "there is no connection 'nowhere'"));
            }
            Ok(Arc::new(self.clone()) as Arc<dyn SqlSource>)
        })
    }

    fn objects<'a>(&'a self, _: &'a TaskContext, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn ObjectStore>, PortError>> {
        Box::pin(async move { Ok(Arc::new(self.clone()) as Arc<dyn ObjectStore>) })
    }

    fn warehouse<'a>(&'a self, _: &'a TaskContext, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Warehouse>, PortError>> {
        Box::pin(async move { Ok(Arc::new(self.clone()) as Arc<dyn Warehouse>) })
    }

    fn secret<'a>(&'a self, _: &'a TaskContext, conn_id: &'a str) -> BoxFuture<'a, Result<SecretString, PortError>> {
        Box::pin(async move { Ok(format!("password of {conn_id}").into()) })
    }

    fn processes(&self) -> Arc<dyn Processes> {
        Arc::new(self.clone())
    }

    fn scratch(&self) -> Arc<dyn Scratch> {
        Arc::new(self.clone())
    }
}

impl SqlSource for Fake {
    /// All that it holds is text.
    fn has_dates(&self) -> bool {
        false
    }

    fn replica_lag(&self) -> BoxFuture<'_, Result<Option<TimeDelta>, PortError>> {
        Box::pin(async move { Ok(*lock(&self.0.replica_lag)) })
    }

    fn quote(&self, name: &str) -> String {
        format!("\"{name}\"")
    }

    fn literal(&self, text: &str) -> String {
        format!("'{text}'")
    }

    fn table_sql(&self, table: &TableName) -> String {
        table.to_string()
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        lock(&self.0.queries).push(sql.to_owned());
        let names = lock(&self.0.columns).clone();
        let width = names.len();
        let mut batches: Vec<Result<RowBatch, PortError>> = Vec::new();
        let rows = lock(&self.0.rows).clone();
        // No text of its is written otherwise than a date.
        let asks_for_other_forms = sql.contains(" GLOB ") || sql.contains(" LIKE '____-");
        let rows = if asks_for_other_forms { Vec::new() } else { rows };
        let limit = *lock(&self.0.source_breaks_after);
        for chunk in rows[..limit.unwrap_or(rows.len()).min(rows.len())].chunks(1_000) {
            let mut batch = RowBatch::new(width);
            chunk.iter().flatten().for_each(|cell| batch.push(cell.as_deref()));
            batches.push(Ok(batch));
        }
        if limit.is_some() {
            batches.push(Err(PortError::new(PortErrorKind::Unavailable, "the connection was cut").with_code("08006")));
        }
        let columns = names.into_iter().map(SourceColumn::text).collect();
        Box::pin(async move { Ok(RowStream { columns, batches: stream::iter(batches).boxed() }) })
    }
}

impl Fake {
    async fn drain(&self, mut body: ByteStream) -> Result<Vec<u8>, PortError> {
        let mut bytes = Vec::new();
        let mut chunks = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| PortError::new(PortErrorKind::Other, format!("wrapped ({error})")))?;
            self.0.largest_chunk.fetch_max(chunk.len() as u64, Ordering::Relaxed);
            bytes.extend_from_slice(&chunk);
            chunks += 1;
            if lock(&self.0.cancel_after_chunks).is_some_and(|limit| chunks >= limit) {
                self.0.cancelled.store(true, Ordering::Relaxed);
                // As a slow upload would: never ends by itself.
                yield_once().await;
            }
        }
        Ok(bytes)
    }
}

async fn yield_once() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

fn info(bucket: &str, key: &str, object: &Object) -> ObjectInfo {
    ObjectInfo {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        size: object.body.len() as u64,
        // Another body, another name.
        etag: Some(format!("{:?}", Sha256::digest(&object.body)[..8].to_vec())),
        last_modified: Some(object.modified),
        metadata: object.metadata.clone(),
    }
}

impl ObjectStore for Fake {
    fn head<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<ObjectInfo>, PortError>> {
        Box::pin(async move { Ok(lock(&self.0.objects).get(key).map(|object| info(bucket, key, object))) })
    }

    fn put<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        body: ByteStream,
        options: PutOptions,
    ) -> BoxFuture<'a, Result<ObjectInfo, PortError>> {
        Box::pin(async move {
            for (name, value) in &options.metadata {
                assert!(value.is_ascii() && value.trim() == value, "metadata {name}: {value:?} is no header value");
            }
            let body = self.drain(body).await?;
            if self.0.race.load(Ordering::Relaxed) {
                self.0.put_stranger(key, "stranger");
            }
            if options.only_if_absent && lock(&self.0.objects).contains_key(key) {
                return Err(PortError::new(PortErrorKind::AlreadyExists, "412"));
            }
            let object = Object { body, metadata: options.metadata, modified: self.now() };
            let info = info(bucket, key, &object);
            lock(&self.0.objects).insert(key.to_owned(), object);
            if self.0.put_answer_is_lost.load(Ordering::Relaxed) {
                return Err(PortError::new(PortErrorKind::AlreadyExists, "412"));
            }
            self.0.dies(Death::Put)?;
            Ok(info)
        })
    }

    fn get<'a>(&'a self, _: &'a str, key: &'a str) -> BoxFuture<'a, Result<ByteStream, PortError>> {
        Box::pin(async move {
            let Some(body) = lock(&self.0.objects).get(key).map(|object| object.body.clone()) else {
                return Err(PortError::new(PortErrorKind::NotFound, format!("there is no {key}")));
            };
            Ok(stream::once(async move { Ok(body.into()) }).boxed())
        })
    }

    fn get_same<'a>(
        &'a self,
        object: &'a ObjectInfo,
        range: Option<std::ops::Range<u64>>,
    ) -> BoxFuture<'a, Result<ByteStream, PortError>> {
        Box::pin(async move {
            let found = lock(&self.0.objects).get(&object.key).cloned();
            match found.filter(|found| info(&object.bucket, &object.key, found).etag == object.etag) {
                None => Err(PortError::new(PortErrorKind::Unavailable, "it is another object now")),
                Some(found) => {
                    let range = range.unwrap_or(0..object.size);
                    let body = found.body[range.start as usize..range.end as usize].to_vec();
                    Ok(stream::once(async move { Ok(body.into()) }).boxed())
                }
            }
        })
    }

    fn list<'a>(&'a self, bucket: &'a str, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, PortError>> {
        let objects = lock(&self.0.objects);
        let found: Vec<_> = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, object)| Ok(ObjectInfo { metadata: BTreeMap::new(), ..info(bucket, key, object) }))
            .collect();
        stream::iter(found).boxed()
    }

    fn delete<'a>(&'a self, _: &'a str, keys: Vec<String>) -> BoxFuture<'a, Result<DeleteReport, PortError>> {
        Box::pin(async move {
            lock(&self.0.deletes).push(keys.len());
            let mut report = DeleteReport { requests: keys.len().div_ceil(1_000) as u64, ..DeleteReport::default() };
            for key in keys {
                lock(&self.0.objects).remove(&key);
                if key.contains("locked") {
                    report.errors.push((key, "AccessDenied".to_owned()));
                } else {
                    report.deleted += 1;
                }
            }
            self.0.dies(Death::Delete)?;
            Ok(report)
        })
    }

    fn copy<'a>(&'a self, request: CopyRequest) -> BoxFuture<'a, Result<ObjectInfo, PortError>> {
        Box::pin(async move {
            let mut objects = lock(&self.0.objects);
            let Some(source) = objects.get(&request.from.key).cloned() else {
                return Err(PortError::new(PortErrorKind::NotFound, "there is no such object"));
            };
            if request.only_if_absent && objects.contains_key(&request.to.key) {
                return Err(PortError::new(PortErrorKind::AlreadyExists, "412"));
            }
            let mut metadata = source.metadata;
            metadata.extend(request.metadata);
            let object = Object { body: source.body, metadata, modified: at(0) };
            let info = info(&request.to.bucket, &request.to.key, &object);
            objects.insert(request.to.key, object);
            drop(objects);
            self.0.dies(Death::Copy)?;
            Ok(info)
        })
    }

    fn presign<'a>(
        &'a self,
        place: &'a ObjectPlace,
        valid: std::time::Duration,
    ) -> BoxFuture<'a, Result<String, PortError>> {
        Box::pin(async move {
            Ok(format!(
                "https://{}/{}?X-Amz-Expires={}&X-Amz-Signature=5ec2e7",
                place.bucket,
                place.key,
                valid.as_secs()
            ))
        })
    }
}

impl Scratch for Fake {
    fn write<'a>(
        &'a self,
        _: &'a WorkId,
        name: &'a str,
        body: ByteStream,
    ) -> BoxFuture<'a, Result<ScratchFile, PortError>> {
        Box::pin(async move {
            let bytes = self.drain(body).await?;
            let size = bytes.len() as u64;
            lock(&self.0.scratch).insert(name.to_owned(), bytes);
            Ok(ScratchFile { name: name.to_owned(), path: PathBuf::from("/scratch").join(name), size })
        })
    }

    fn read<'a>(&'a self, _: &'a WorkId, name: &'a str) -> BoxFuture<'a, Result<(ScratchFile, ByteStream), PortError>> {
        Box::pin(async move {
            let Some(bytes) = lock(&self.0.scratch).get(name).cloned() else {
                return Err(PortError::new(PortErrorKind::NotFound, format!("there is no file {name}")));
            };
            let file = ScratchFile { name: name.to_owned(), path: PathBuf::from(name), size: bytes.len() as u64 };
            let pieces: Vec<_> = bytes.chunks(7).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece))).collect();
            Ok((file, stream::iter(pieces).boxed()))
        })
    }

    fn read_outside<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<(ScratchFile, ByteStream), PortError>> {
        Box::pin(async move {
            if path.to_string_lossy().contains("missing") {
                return Err(PortError::new(PortErrorKind::NotFound, "there is no such file"));
            }
            let file = ScratchFile { name: path.display().to_string(), path: path.to_owned(), size: 7 };
            Ok((file, stream::once(async { Ok(bytes::Bytes::from_static(b"outside")) }).boxed()))
        })
    }

    fn remove<'a>(&'a self, _: &'a WorkId, name: &'a str) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            lock(&self.0.scratch).remove(name);
            self.0.dies(Death::Remove)
        })
    }
}

impl Warehouse for Fake {
    fn engine(&self) -> &'static str {
        *lock(&self.0.engine)
    }

    fn split(&self, script: &str) -> Result<Vec<String>, PortError> {
        Ok(script.split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect())
    }

    fn quote(&self, name: &str) -> String {
        format!("\"{name}\"")
    }

    fn literal(&self, text: &str) -> String {
        format!("'{text}'")
    }

    fn table_sql(&self, table: &TableName) -> String {
        table.to_string()
    }

    fn execute_telling<'a>(
        &'a self,
        statements: &'a [String],
        autocommit: bool,
        _: &'a WorkId,
        _: Ended<'a>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(async move {
            lock(&self.0.executed).push((statements.to_vec(), autocommit));
            if statements.iter().any(|statement| statement.contains("bad"))
                && let Some(error) = lock(&self.0.execute_error).clone()
            {
                return Err(error);
            }
            Ok(statements.iter().map(|_| lock(&self.0.small).clone()).collect())
        })
    }

    fn forget<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            lock(&self.0.made).extend(tables.iter().map(|table| format!("forget {table}")));
            Ok(())
        })
    }

    fn describe<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<Column>, PortError>> {
        Box::pin(async move {
            if let Some(error) = lock(&self.0.describe_errors).pop() {
                return Err(error);
            }
            let names = lock(&self.0.table).clone();
            if names.is_empty() {
                return Err(PortError::new(PortErrorKind::NotFound, format!("table {table} does not exist")));
            }
            let column = |name: String| Column {
                name,
                type_name: "text".to_owned(),
                base_type: None,
                is_nullable: true,
                default: None,
            };
            Ok(names.into_iter().map(column).collect())
        })
    }

    fn unload(&self, request: UnloadRequest) -> BoxFuture<'_, Result<UnloadReport, PortError>> {
        Box::pin(async move {
            lock(&self.0.unloads).push(request);
            Ok(lock(&self.0.unload_report).clone())
        })
    }

    fn column_type(&self, value: &ValueType) -> String {
        value.to_string()
    }

    fn holds(&self, type_name: &str, value: &ValueType) -> bool {
        type_name == "text" || type_name == value.to_string()
    }

    fn column_limit(&self, _: &str, _: &ValueType, format: &CsvFormat) -> Option<Box<dyn ColumnLimit>> {
        let longest = lock(&self.0.longest).filter(|_| !format.truncate_columns)?;
        Some(Box::new(Longest(longest)) as Box<dyn ColumnLimit>)
    }

    fn create_table<'a>(
        &'a self,
        table: &'a TableName,
        columns: &'a [NewColumn],
        keys: &'a [String],
        _: bool,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            lock(&self.0.made).push(format!("create {table} ({}) keys ({})", names.join(", "), keys.join(", ")));
            *lock(&self.0.table) = names;
            Ok(())
        })
    }

    fn gone_rows_hinder<'a>(&'a self, _: &'a TableName, _: &'a [String]) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async { Ok(self.0.hinders.load(Ordering::Relaxed)) })
    }

    fn alter_table<'a>(
        &'a self,
        table: &'a TableName,
        alterations: &'a [Alteration],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            for alteration in alterations {
                let said = match alteration {
                    Alteration::Add(column) => {
                        lock(&self.0.table).push(column.name.clone());
                        format!("add {} {} to {table}", column.name, column.type_name)
                    }
                    Alteration::Widen { column, type_name } => format!("widen {column} of {table} to {type_name}"),
                };
                lock(&self.0.made).push(said);
            }
            Ok(())
        })
    }

    fn load<'a>(&'a self, request: LoadRequest) -> BoxFuture<'a, Result<LoadReport, PortError>> {
        lock(&self.0.loads).push(request);
        Box::pin(async move { Ok(lock(&self.0.load_report).clone()) })
    }

    fn check<'a>(
        &'a self,
        _: &'a TableName,
        _: &'a [TableCheck],
    ) -> BoxFuture<'a, Result<Vec<CheckResult>, PortError>> {
        Box::pin(async move { Ok(lock(&self.0.checks).clone()) })
    }

    fn build_and_swap<'a>(&'a self, request: BuildRequest) -> BoxFuture<'a, Result<BuildReport, PortError>> {
        lock(&self.0.builds).push(request);
        Box::pin(async move { Ok(lock(&self.0.build).clone()) })
    }

    fn ping(&self) -> BoxFuture<'_, Result<String, PortError>> {
        Box::pin(async { Ok("fake".to_owned()) })
    }
}

/// Holds values of so many bytes.
struct Longest(usize);

impl ColumnLimit for Longest {
    fn refusal(&self, value: &[u8]) -> Option<String> {
        (value.len() > self.0).then(|| format!("is too long for {} bytes", self.0))
    }
}

impl Processes for Fake {
    fn run<'a>(
        &'a self,
        spec: ProcessSpec,
        lines: Arc<dyn LineSink>,
        _: Arc<dyn CancelSignal>,
    ) -> BoxFuture<'a, Result<ProcessExit, PortError>> {
        lock(&self.0.processes).push(spec);
        Box::pin(async move {
            lines.line(LogLevel::Info, "hello");
            lines.line(LogLevel::Warning, "it broke");
            let ok = ProcessExit { code: Some(0), signal: None, last_line: Some("hello".to_owned()) };
            Ok(lock(&self.0.exit).clone().unwrap_or(ok))
        })
    }
}

impl Reporter for Fake {
    fn log(&self, level: LogLevel, line: &str) {
        lock(&self.0.log).push((level, line.to_owned()));
    }

    fn checkpoint(&self, checkpoint: Checkpoint) {
        lock(&self.0.checkpoints).push(checkpoint);
    }

    fn ledger(&self, entry: LedgerEntry) {
        lock(&self.0.ledger).push(entry);
    }
}

impl StatementJournal for Fake {
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<RemoteStatement>, PortError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn record(&self, _: RemoteStatement) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async { Ok(()) })
    }
}

impl CancelSignal for Fake {
    fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    fn cancelled(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::poll_fn(|_| {
            if self.is_cancelled() { Poll::Ready("a person asked".to_owned()) } else { Poll::Pending }
        }))
    }
}

impl Results for Fake {
    fn pull<'a>(&'a self, task_id: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Value>, PortError>> {
        Box::pin(async move { Ok(lock(&self.0.results).get(task_id).cloned()) })
    }
}

impl Clock for Fake {
    /// A second passes with every look.
    fn now(&self) -> DateTime<Utc> {
        at(0) + TimeDelta::seconds(self.0.seconds.fetch_add(1, Ordering::Relaxed) as i64)
    }

    /// Is over at once.
    fn sleep(&self, length: TimeDelta) -> BoxFuture<'static, ()> {
        lock(&self.0.sleeps).push(length);
        Box::pin(std::future::ready(()))
    }
}
