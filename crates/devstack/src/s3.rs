//! The S3 stand-in: the protocol by `s3s`, the storage by our own small file-backed store.

mod access;
mod blob;
mod claims;
mod conditions;
mod listing;
mod record;
mod service;
mod sessions;
mod source;
mod storage;
mod transfer;
mod upload;
mod wording;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{DevstackError, require_loopback};
use crate::faults::Faults;
pub use sessions::Sessions;
pub use storage::{Storage, StorageError};

/// How the S3 stand-in is started.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The folder that holds everything; made when missing. One stand-in at a time may use it.
    pub root: PathBuf,
    /// The only access key id that is accepted.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Buckets that exist from the start.
    pub buckets: Vec<String>,
}

/// A running S3 stand-in. Dropping it stops it at once; [`RunningS3::shutdown`] lets requests finish.
#[derive(Debug)]
pub struct RunningS3 {
    address: SocketAddr,
    storage: Arc<Storage>,
    faults: Faults,
    sessions: Sessions,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RunningS3 {
    /// For the client's endpoint setting; use path-style addressing.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The store behind it, for COPY and UNLOAD of the Redshift stand-in.
    pub fn storage(&self) -> Arc<Storage> {
        Arc::clone(&self.storage)
    }

    /// Planned failures. Operations are named as in the S3 API (`PutObject`, `UploadPart` …).
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Keys for a while, for the STS stand-in to give.
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Takes no new connections and waits for the requests in flight.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for RunningS3 {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts the S3 stand-in.
pub async fn serve_s3(config: S3Config) -> Result<RunningS3, DevstackError> {
    require_loopback(config.listen)?;
    let storage = Arc::new(Storage::open(&config.root)?);
    for bucket in &config.buckets {
        match storage.create_bucket(bucket) {
            Ok(()) | Err(StorageError::BucketExists { .. }) => {}
            Err(StorageError::BucketName { name }) => return Err(DevstackError::BucketName { name }),
            Err(error) => {
                let source = std::io::Error::other(error);
                return Err(DevstackError::Storage { path: config.root, source });
            }
        }
    }

    let faults = Faults::new();
    let mut builder = S3ServiceBuilder::new(service::Service::new(Arc::clone(&storage)));
    let sessions = Sessions::default();
    let fixed = (config.access_key, config.secret_key.into());
    builder.set_auth(sessions::Keys { fixed, sessions: sessions.clone() });
    builder.set_access(access::Access::new(faults.clone(), sessions.clone()));
    let service = builder.build();

    let listen_error = |source| DevstackError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;

    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(accept(listener, service, stop.clone(), tasks.clone()));
    tracing::info!(%address, "S3 stand-in is listening");
    Ok(RunningS3 { address, storage, faults, sessions, stop, tasks })
}

async fn accept(listener: TcpListener, service: S3Service, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve_connection(stream, service.clone(), stop.clone()));
            }
            // Out of file descriptors, or a client that was gone before it was accepted: the next accept may work.
            Err(error) => {
                tracing::warn!(%error, "S3 stand-in could not accept a connection");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Put into a request's extensions; set when the connection shall be cut instead of answered.
#[derive(Debug, Clone, Default)]
struct CutAnswer(Arc<AtomicBool>);

impl CutAnswer {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("the connection was cut on purpose")]
    Planned,
    #[error("the request was not obeyed to its end")]
    Unfinished(#[source] tokio::task::JoinError),
    #[error("the request could not be served")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
}

async fn serve_connection(stream: TcpStream, service: S3Service, stop: CancellationToken) {
    // Small answers must not wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let handler = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let service = service.clone();
        async move {
            let cut = CutAnswer::default();
            request.extensions_mut().insert(cut.clone());
            // As in S3, what has arrived is obeyed also when whoever sent it has gone.
            let obeyed = tokio::spawn(async move { service.call(request.map(s3s::Body::from)).await });
            let answer = obeyed.await.map_err(Interrupted::Unfinished)?;
            if cut.is_set() {
                return Err(Interrupted::Planned);
            }
            answer.map_err(|error| Interrupted::Service(error.into()))
        }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the S3 stand-in ended early");
    }
}
