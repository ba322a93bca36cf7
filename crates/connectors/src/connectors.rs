//! Opens connections by id: the one value the rest of the program is given.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use millrace_operator_api::connection::{Connection, ConnectionLookup};
use millrace_operator_api::error::NO_CONNECTION;
use millrace_operator_api::ports::{ObjectStore, Ports, Processes, Scratch, SqlSource, Warehouse};
use millrace_operator_api::{PortError, PortErrorKind, TaskContext};
use secrecy::{ExposeSecret, SecretString};

use crate::aws;
use crate::mysql::MySqlSource;
use crate::parts::protection::Protection;
use crate::parts::task::TaskHandle;
use crate::postgres::{PostgresSource, PostgresWarehouse};
use crate::processes::{LocalProcesses, ProcessSettings};
use crate::redshift::{RedshiftSource, RedshiftWarehouse};
use crate::s3::S3Store;
use crate::scratch::FolderScratch;
use crate::sqlite::{SqliteFile, SqliteSource, SqliteWarehouse};

/// What connectors need to know of the program they run in.
#[derive(Debug, Clone)]
pub struct ConnectorsConfig {
    /// Folder for files that tasks of one run hand to each other.
    pub scratch_root: PathBuf,
    pub processes: ProcessSettings,
}

/// The ports, over real systems.
pub struct Connectors {
    lookup: Arc<dyn ConnectionLookup>,
    processes: Arc<LocalProcesses>,
    scratch: Arc<FolderScratch>,
    protection: Protection,
}

/// Types of connections. None: a callback is told over it, and nothing is opened.
static TYPES: [(&str, Option<Kind>); 6] = [
    ("mysql", Some(Kind::MySql)),
    ("postgres", Some(Kind::Postgres)),
    ("redshift", Some(Kind::Redshift)),
    ("sqlite", Some(Kind::Sqlite)),
    ("aws", Some(Kind::Aws)),
    (HTTP, None),
];
/// Other names of them.
const ALIASES: [(&str, &str); 3] = [("mariadb", "mysql"), ("postgresql", "postgres"), ("s3", "aws")];
const HTTP: &str = "http";

/// The types that [`known_type`] knows, for people.
pub fn known_types() -> String {
    TYPES.each_ref().map(|(name, _)| *name).join(", ")
}

impl Connectors {
    pub fn new(lookup: Arc<dyn ConnectionLookup>, config: ConnectorsConfig) -> Self {
        Self {
            lookup,
            processes: Arc::new(LocalProcesses::new(config.processes)),
            scratch: Arc::new(FolderScratch::new(config.scratch_root)),
            protection: Protection::default(),
        }
    }

    /// Proves that a connection works, and says what answered. Writes nothing.
    pub async fn test(connection: &Connection) -> Result<String, PortError> {
        if is_webhook(connection) {
            return crate::callback::reach(connection).await;
        }
        if connection.conn_type.eq_ignore_ascii_case(GENERIC) {
            return Ok("it holds a key or values of templates: there is nothing to reach".to_owned());
        }
        let task = TaskHandle::detached();
        let connection = &encrypted(connection.clone())?;
        // Boxed, since opening some of these holds kilobytes.
        Box::pin(async move {
            match Kind::of(connection)? {
                Kind::MySql => MySqlSource::open(connection, task)?.ping().await,
                Kind::Postgres => PostgresWarehouse::open(connection, task)?.ping().await,
                Kind::Sqlite => SqliteWarehouse::open(connection, task)?.ping().await,
                Kind::Redshift => RedshiftWarehouse::open(connection, task).await?.ping().await,
                Kind::Aws => S3Store::open(connection).await?.ping().await,
            }
        })
        .await
    }

    /// The files of this machine that the connection opens: its database, and those of authorities.
    pub fn files_of(connection: &Connection) -> Vec<&str> {
        let is_sqlite = matches!(Kind::of(connection), Ok(Kind::Sqlite));
        let named = ["sslrootcert", "ssl_ca", "ca_file"].into_iter().filter_map(|name| connection.extra.text(name));
        let database = is_sqlite.then(|| SqliteFile::path_of(connection));
        database.into_iter().chain(named).chain(aws::authorities(connection)).collect()
    }

    /// Proves that the connection may list what begins with `prefix` in a bucket. Writes nothing.
    pub async fn test_bucket(connection: &Connection, bucket: &str, prefix: &str) -> Result<(), PortError> {
        S3Store::open(connection).await?.list_one(bucket, prefix).await
    }

    /// A connection to read and compare rows through, outside of any task. Redshift too: its answers arrive whole.
    pub async fn reader(&self, conn_id: &str) -> Result<Arc<dyn SqlSource>, PortError> {
        let (kind, connection) = self.find(conn_id).await?;
        let task = TaskHandle::detached();
        if kind == Kind::Redshift {
            return redshift_reader(&connection, task).await;
        }
        source_of(kind, &connection, task)?
            .ok_or_else(|| wrong_type(&connection, "a reader of rows", "mysql, postgres, redshift or sqlite"))
    }

    /// The password of a connection, which is used as a key.
    pub async fn key(&self, conn_id: &str) -> Result<SecretString, PortError> {
        let connection = self.lookup.find(conn_id).await?.ok_or_else(|| unknown(conn_id))?;
        let password = connection.password.filter(|password| !password.expose_secret().is_empty());
        password.ok_or_else(|| {
            PortError::new(
                PortErrorKind::Invalid,
                format!("connection {conn_id:?} has no password, which is needed as a key"),
            )
        })
    }

    async fn find(&self, conn_id: &str) -> Result<(Kind, Connection), PortError> {
        let connection = self.lookup.find(conn_id).await?.ok_or_else(|| unknown(conn_id))?;
        let connection = encrypted(connection)?;
        Ok((Kind::of(&connection)?, connection))
    }
}

/// What only holds a key or values.
const GENERIC: &str = "generic";

/// One that callbacks are told through.
fn is_webhook(connection: &Connection) -> bool {
    connection.conn_type.eq_ignore_ascii_case(HTTP)
}

/// A connection that signs in by a token does so by TLS only.
fn encrypted(connection: Connection) -> Result<Connection, PortError> {
    match Kind::of(&connection)? {
        Kind::MySql | Kind::Postgres => crate::rds::encrypted(connection),
        Kind::Sqlite | Kind::Aws | Kind::Redshift => Ok(connection),
    }
}

fn unknown(conn_id: &str) -> PortError {
    PortError::new(
        PortErrorKind::NotFound,
        format!(
            "there is no connection {conn_id:?}; add it with `millrace connections add {conn_id}`, or set MILLRACE_CONN_{}",
            conn_id.to_uppercase()
        ),
    )
    .with_code(NO_CONNECTION)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    MySql,
    Postgres,
    Sqlite,
    Aws,
    Redshift,
}

impl Kind {
    fn of(connection: &Connection) -> Result<Self, PortError> {
        let (conn_id, conn_type) = (&connection.conn_id, &connection.conn_type);
        let refused = |text| Err(PortError::new(PortErrorKind::Invalid, text));
        match type_named(conn_type) {
            Some((_, Some(kind))) => Ok(*kind),
            Some((_, None)) => refused(format!(
                "connection {conn_id:?} is of type {conn_type}: callbacks are told over it, and nothing is read or written"
            )),
            None => refused(format!(
                "connection {conn_id:?} has the unknown type {conn_type:?}; known types: {}",
                known_types()
            )),
        }
    }
}

fn type_named(conn_type: &str) -> Option<&'static (&'static str, Option<Kind>)> {
    let is = |name: &str| name.eq_ignore_ascii_case(conn_type);
    let name = ALIASES.iter().find(|(alias, _)| is(alias)).map_or(conn_type, |(_, name)| name);
    TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// Whether connections of the type can be used. Another one may hold a key (`hash_conn_id`) or values of templates.
pub fn known_type(conn_type: &str) -> bool {
    type_named(conn_type).is_some()
}

fn wrong_type(connection: &Connection, wanted: &str, types: &str) -> PortError {
    PortError::new(
        PortErrorKind::Invalid,
        format!(
            "connection {:?} is of type {}, but {wanted} is needed here: a connection of type {types}",
            connection.conn_id, connection.conn_type
        ),
    )
}

/// `None` for what is read in another way, or holds no rows.
fn source_of(kind: Kind, connection: &Connection, task: TaskHandle) -> Result<Option<Arc<dyn SqlSource>>, PortError> {
    Ok(Some(match kind {
        Kind::MySql => Arc::new(MySqlSource::open(connection, task)?),
        Kind::Postgres => Arc::new(PostgresSource::open(connection, task)?),
        Kind::Sqlite => Arc::new(SqliteSource::open(connection, task)?),
        Kind::Aws | Kind::Redshift => return Ok(None),
    }))
}

/// Its answers arrive whole, so that it is a reader and no source.
async fn redshift_reader(connection: &Connection, task: TaskHandle) -> Result<Arc<dyn SqlSource>, PortError> {
    // Boxed, since opening it holds kilobytes.
    let warehouse = Box::pin(RedshiftWarehouse::open(connection, task)).await?;
    Ok(Arc::new(RedshiftSource::new(warehouse)))
}

impl Ports for Connectors {
    fn source<'a>(
        &'a self,
        context: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn SqlSource>, PortError>> {
        Box::pin(async move {
            let (kind, connection) = self.find(conn_id).await?;
            let source = source_of(kind, &connection, TaskHandle::of(context))?
                .ok_or_else(|| wrong_type(&connection, "a source of rows", "mysql, postgres or sqlite"))?;
            self.protection.guard(&connection, source, context)
        })
    }

    fn reader<'a>(
        &'a self,
        context: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn SqlSource>, PortError>> {
        Box::pin(async move {
            let (kind, connection) = self.find(conn_id).await?;
            if kind != Kind::Redshift {
                return self.source(context, conn_id).await;
            }
            redshift_reader(&connection, TaskHandle::of(context)).await
        })
    }

    fn objects<'a>(
        &'a self,
        _: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn ObjectStore>, PortError>> {
        Box::pin(async move {
            let (kind, connection) = self.find(conn_id).await?;
            if kind != Kind::Aws {
                return Err(wrong_type(&connection, "an object store", "aws"));
            }
            Ok(Arc::new(S3Store::open(&connection).await?) as Arc<dyn ObjectStore>)
        })
    }

    fn warehouse<'a>(
        &'a self,
        context: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Warehouse>, PortError>> {
        Box::pin(async move {
            let (kind, connection) = self.find(conn_id).await?;
            let task = TaskHandle::of(context);
            Ok(match kind {
                Kind::Postgres => Arc::new(PostgresWarehouse::open(&connection, task)?) as Arc<dyn Warehouse>,
                Kind::Sqlite => Arc::new(SqliteWarehouse::open(&connection, task)?),
                Kind::Redshift => Arc::new(RedshiftWarehouse::open(&connection, task).await?),
                Kind::Aws | Kind::MySql => {
                    return Err(wrong_type(&connection, "a warehouse", "redshift, postgres or sqlite"));
                }
            })
        })
    }

    fn secret<'a>(&'a self, _: &'a TaskContext, conn_id: &'a str) -> BoxFuture<'a, Result<SecretString, PortError>> {
        Box::pin(self.key(conn_id))
    }

    fn processes(&self) -> Arc<dyn Processes> {
        Arc::clone(&self.processes) as Arc<dyn Processes>
    }

    fn scratch(&self) -> Arc<dyn Scratch> {
        Arc::clone(&self.scratch) as Arc<dyn Scratch>
    }
}
