//! The Redshift Data API stand-in: the protocol by axum, the SQL by a translation onto PostgreSQL.
//!
//! What it emulates, refuses or does not know stands in `docs/redshift-stand-in.md`.

mod alter;
mod answer;
mod api;
mod by_wire;
mod convert;
mod copy;
mod copy_options;
mod dialect;
mod engine;
mod float_text;
mod load_errors;
mod parquet_rows;
mod plan;
mod records;
mod rewrite;
mod source;
mod statements;
mod table;
mod tokens;
mod translate;
mod types;
mod unload;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{DevstackError, require_loopback};
use crate::faults::Faults;
use crate::objects::ObjectSource;
use engine::Engine;
use statements::Statements;

/// How the Redshift stand-in is started.
#[derive(Clone)]
pub struct RedshiftConfig {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The PostgreSQL database that holds the tables. The stand-in makes a schema `redshift_stand_in` in it.
    pub postgres_url: String,
    /// What clients must name as `Database`.
    pub database: String,
    /// Where COPY reads and UNLOAD writes.
    pub objects: Arc<dyn ObjectSource>,
    /// The access key id that requests must be signed with; the signature itself is not checked.
    pub access_key: String,
}

impl std::fmt::Debug for RedshiftConfig {
    /// The URL of the database may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RedshiftConfig")
            .field("listen", &self.listen)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A running Redshift stand-in. Dropping it stops it at once; [`RunningRedshift::shutdown`] waits.
pub struct RunningRedshift {
    address: SocketAddr,
    faults: Faults,
    statements: Arc<Statements>,
    engine: Arc<Engine>,
    database: String,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl RunningRedshift {
    /// For the client's endpoint setting.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers simple queries by the PostgreSQL protocol too, until it stops; whoever connects is let in. Says where.
    pub async fn serve_wire(&self, listen: SocketAddr) -> Result<SocketAddr, DevstackError> {
        require_loopback(listen)?;
        let failed = |source| DevstackError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (engine, database, stop) = (Arc::clone(&self.engine), self.database.clone(), self.stop.clone());
        tokio::spawn(by_wire::serve(listener, engine, database, stop));
        Ok(address)
    }

    /// Planned failures: of operations (`ExecuteStatement` …) and of statements by their first word (`COPY`, `COMMIT` …).
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Takes no new requests, cancels the statements that run and waits for them.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.statements.shutdown().await;
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::warn!(%error, "the Redshift stand-in did not end cleanly");
        }
    }
}

impl Drop for RunningRedshift {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts the Redshift stand-in.
pub async fn serve_redshift(config: RedshiftConfig) -> Result<RunningRedshift, DevstackError> {
    require_loopback(config.listen)?;
    let faults = Faults::new();
    let engine = Arc::new(Engine::start(config.postgres_url, config.objects, faults.clone()).await?);
    let stop = CancellationToken::new();
    let statements = Statements::new(Arc::clone(&engine), config.database.clone(), stop.clone());

    let listen_error = |source| DevstackError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let router = api::router(api::Api {
        statements: Arc::clone(&statements),
        faults: faults.clone(),
        access_key: config.access_key.into(),
    });
    let stopped = stop.clone();
    let server = tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "the Redshift stand-in stopped serving");
        }
    });
    tracing::info!(%address, "Redshift stand-in is listening");
    let database = config.database;
    Ok(RunningRedshift { address, faults, statements, engine, database, stop, server: Some(server) })
}
