//! What keeps a source from being hurt by those who read it: how many queries at a time, and how many rows a second.
//! Both are settings of the connection and hold for everything that this process reads through it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{RowHashing, RowStream, Snapshot, SqlSource, TableName};
use millrace_operator_api::{PortError, PortErrorKind, TaskContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::parts::failure::invalid;
use crate::parts::task::TaskHandle;

/// What a connection allows; one for all tasks that use it.
struct Limits {
    queries: Option<(usize, Arc<Semaphore>)>,
    pace: Option<(u64, Arc<Pace>)>,
}

/// The limits of every connection that has some.
#[derive(Default)]
pub struct Protection {
    known: Mutex<HashMap<String, Limits>>,
}

/// Rows go on no sooner than the rate allows.
struct Pace {
    rows_per_second: u64,
    due: tokio::sync::Mutex<Instant>,
}

impl Pace {
    async fn wait_for(&self, rows: usize) {
        let at = {
            let mut due = self.due.lock().await;
            let at = (*due).max(Instant::now());
            *due = at + Duration::from_secs_f64(rows as f64 / self.rows_per_second as f64);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

impl Protection {
    /// The source within its connection's limits.
    pub fn guard(
        &self,
        connection: &Connection,
        source: Arc<dyn SqlSource>,
        context: &TaskContext,
    ) -> Result<Arc<dyn SqlSource>, PortError> {
        let limit = |name: &str| match connection.extra.0.get(name) {
            None => Ok(None),
            Some(_) => match connection.extra.number(name) {
                Some(number) if number > 0 => Ok(Some(number)),
                _ => Err(invalid(format!("connection {:?}: {name} is no number above 0", connection.conn_id))),
            },
        };
        let (queries, rows) = (limit("max_concurrency")?, limit("max_rows_per_second")?);
        if queries.is_none() && rows.is_none() {
            return Ok(source);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = known.entry(connection.conn_id.clone()).or_insert_with(|| Limits { queries: None, pace: None });
        // A limit that was changed holds for those who come from now on.
        let queries = queries.map(|most| {
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
            if limits.queries.as_ref().is_none_or(|(known, _)| *known != most) {
                limits.queries = Some((most, Arc::new(Semaphore::new(most))));
            }
            limits.queries.clone().unwrap_or_else(|| (most, Arc::new(Semaphore::new(most))))
        });
        let pace = rows.map(|rate| {
            let new = || Arc::new(Pace { rows_per_second: rate, due: tokio::sync::Mutex::new(Instant::now()) });
            if limits.pace.as_ref().is_none_or(|(known, _)| *known != rate) {
                limits.pace = Some((rate, new()));
            }
            limits.pace.as_ref().map_or_else(new, |(_, pace)| Arc::clone(pace))
        });
        Ok(Arc::new(Guarded {
            conn_id: connection.conn_id.clone(),
            source,
            queries,
            pace,
            context: context.clone(),
            task: TaskHandle::of(context),
        }))
    }
}

struct Guarded {
    conn_id: String,
    source: Arc<dyn SqlSource>,
    /// How many at most, and the places that are free.
    queries: Option<(usize, Arc<Semaphore>)>,
    pace: Option<Arc<Pace>>,
    context: TaskContext,
    task: TaskHandle,
}

impl Guarded {
    /// Waits for so many places at once: taken one by one, two tasks could each wait for the other's.
    async fn places(&self, count: usize) -> Result<Option<Arc<OwnedSemaphorePermit>>, PortError> {
        let Some((most, places)) = &self.queries else { return Ok(None) };
        let count = u32::try_from(count.min(*most)).unwrap_or(u32::MAX);
        let closed = |_| PortError::new(PortErrorKind::Other, "the limit of queries is gone");
        if let Ok(permit) = Arc::clone(places).try_acquire_many_owned(count) {
            return Ok(Some(Arc::new(permit)));
        }
        self.context.info(format!(
            "waiting: {most} queries run on connection {} already, as many as its max_concurrency allows",
            self.conn_id
        ));
        let wait = async { Arc::clone(places).acquire_many_owned(count).await.map_err(closed) };
        Ok(Some(Arc::new(self.task.until_cancelled(wait).await?)))
    }
}

impl SqlSource for Guarded {
    fn quote(&self, name: &str) -> String {
        self.source.quote(name)
    }

    fn literal(&self, text: &str) -> String {
        self.source.literal(text)
    }

    fn table_sql(&self, table: &TableName) -> String {
        self.source.table_sql(table)
    }

    fn source_timezone(&self) -> Option<&str> {
        self.source.source_timezone()
    }

    fn has_dates(&self) -> bool {
        self.source.has_dates()
    }

    fn key_query(&self, table: &TableName) -> Option<String> {
        self.source.key_query(table)
    }

    fn answers_whole(&self) -> bool {
        self.source.answers_whole()
    }

    fn invisible_columns<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<String>, PortError>> {
        self.source.invisible_columns(table)
    }

    fn row_hashing(&self) -> Option<&dyn RowHashing> {
        self.source.row_hashing()
    }

    fn replica_lag(&self) -> BoxFuture<'_, Result<Option<TimeDelta>, PortError>> {
        self.source.replica_lag()
    }

    /// Not where queries are counted: it would be one more.
    fn expected_rows<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        match &self.queries {
            None => self.source.expected_rows(sql),
            Some(_) => Box::pin(std::future::ready(Ok(None))),
        }
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        Box::pin(async move {
            let permit = self.places(1).await?;
            Ok(held(self.source.query(sql).await?, self.pace.clone(), permit))
        })
    }

    fn snapshot(&self, readers: usize) -> BoxFuture<'_, Result<Option<Snapshot>, PortError>> {
        Box::pin(async move {
            let most = self.queries.as_ref().map_or(readers, |(most, _)| readers.min(*most));
            let permit = self.places(most).await?;
            let Some(mut snapshot) = self.source.snapshot(most).await? else { return Ok(None) };
            if most < readers && snapshot.note.is_none() {
                snapshot.note = Some(format!("connection {} has max_concurrency: {most}", self.conn_id));
            }
            // The places are free again when the last of the readers has ended.
            snapshot.readers = snapshot
                .readers
                .into_iter()
                .map(|reader| {
                    Arc::new(Placed { reader, permit: permit.clone(), pace: self.pace.clone() }) as Arc<dyn SqlSource>
                })
                .collect();
            Ok(Some(snapshot))
        })
    }
}

/// The rows at their pace; the place is free again when they have ended or are dropped.
fn held(rows: RowStream, pace: Option<Arc<Pace>>, permit: Option<Arc<OwnedSemaphorePermit>>) -> RowStream {
    let batches = stream::unfold((rows.batches, pace, permit), |(mut batches, pace, permit)| async move {
        let batch = batches.next().await?;
        if let (Some(pace), Ok(batch)) = (&pace, &batch) {
            pace.wait_for(batch.len()).await;
        }
        Some((batch, (batches, pace, permit)))
    });
    RowStream { columns: rows.columns, batches: batches.boxed() }
}

/// A reader of a snapshot, in a place that was taken for it.
struct Placed {
    reader: Arc<dyn SqlSource>,
    permit: Option<Arc<OwnedSemaphorePermit>>,
    pace: Option<Arc<Pace>>,
}

impl SqlSource for Placed {
    fn quote(&self, name: &str) -> String {
        self.reader.quote(name)
    }

    fn literal(&self, text: &str) -> String {
        self.reader.literal(text)
    }

    fn table_sql(&self, table: &TableName) -> String {
        self.reader.table_sql(table)
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        Box::pin(async move { Ok(held(self.reader.query(sql).await?, self.pace.clone(), self.permit.clone())) })
    }
}
