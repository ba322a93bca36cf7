//! A running server with a little in its store.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_logs::{Level, LogFolder};
use millrace_model::change::RunKey;
use millrace_model::state::{RunState, TaskState};
use millrace_operator_api::context::Clock;
use millrace_server::{Patience, ServerOptions, hash_password};
use millrace_settings::{Home, Keyring, Masker};
use millrace_store::{AuditFilter, AuditRow, NewToken, Store};
use millrace_vault::Vault;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::plant::{Part, Plant, dag};

pub struct TestClock(Mutex<DateTime<Utc>>);

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// DAG `copy_orders` (extract, load, notify; unpaused) with one failed and one running run, and the paused `quiet`.
pub struct Site {
    pub runtime: Runtime,
    pub plant: Plant,
    pub clock: Arc<TestClock>,
    pub running: RunKey,
    base: String,
    stop: Vec<oneshot::Sender<()>>,
    folder: TempDir,
}

pub const FAILED_RUN: &str = "scheduled__2024-03-01T00:00:00+00:00";
pub const RUNNING_RUN: &str = "scheduled__2024-03-02T00:00:00+00:00";
pub const EVIL: &str = "<script>alert('x')</script>";

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

pub fn now() -> DateTime<Utc> {
    "2024-03-03T06:00:00Z".parse().unwrap()
}

impl Site {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(Mutex::new(now())));
        let (plant, running, base, stop) = runtime.block_on(begin(folder.path(), clock.clone(), change));
        Self { runtime, plant, clock, running, base, stop: vec![stop], folder }
    }

    pub fn advance(&self, time: TimeDelta) {
        *self.clock.0.lock().unwrap() += time;
    }

    /// Another server of the same home, as another process would be. Gives where it is.
    pub fn start_another(&mut self) -> String {
        let (folder, clock) = (self.folder.path(), self.clock.clone());
        let (base, stop) = self.runtime.block_on(async {
            let store = Plant::open(folder).await;
            let logs = self.plant.logs.clone();
            serve(options(folder, store, logs, clock)).await
        });
        self.stop.push(stop);
        base
    }

    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        call_at(&self.base, method, path, headers, body)
    }

    /// A body that need not be a text, as the admin.
    pub fn bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers.iter().chain(&[("authorization", ADMIN)]) {
            request = request.header(*name, *value);
        }
        let answer = agent().run(request.body(body.to_vec()).unwrap());
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.body_mut().read_to_string().unwrap(),
        }
    }

    /// The first line of what is answered to these bytes.
    pub fn raw(&self, request: &str) -> String {
        let mut socket = self.connect();
        // Who sends too much may be cut off while sending.
        let _ = socket.write_all(request.as_bytes());
        let mut line = String::new();
        let _ = BufReader::new(socket).read_line(&mut line);
        line
    }

    /// As the admin, by HTTP Basic.
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[("authorization", ADMIN)], None)
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send_as(ADMIN, method, path, body)
    }

    pub fn send_as(&self, who: &str, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("authorization", who), ("content-type", "application/json")];
        self.call(method, path, &headers, Some(&body.to_string()))
    }

    /// A bearer token of a new user with this role.
    pub fn token_of(&self, name: &str, role: &str) -> String {
        let (token, token_hash) = millrace_server::make_token().unwrap();
        let new = NewToken {
            user_name: name.to_owned(),
            label: "test".to_owned(),
            token_hash,
            scope: None,
            expires_at: None,
            actor: "test".to_owned(),
        };
        self.runtime.block_on(async {
            self.plant.store.add_user(name, "no hash", role, "test", now()).await.unwrap();
            self.plant.store.add_api_token(&new, now()).await.unwrap();
        });
        format!("Bearer {token}")
    }

    /// A socket on which nothing was said yet.
    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.base.trim_start_matches("http://")).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        socket
    }

    /// The cookie of a session that was begun with the form.
    pub fn sign_in(&self) -> String {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let answer =
            self.call("POST", "/sign-in", &form, Some("username=admin&password=open+sesame&next=/runs")).is(303);
        assert_eq!(answer.header("location"), "/runs");
        let cookie = answer.header("set-cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    }

    /// The lines of an event stream, until one satisfies `enough`.
    pub fn stream(&self, path: &str, on_open: impl FnOnce(), enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        self.stream_of(path, &[("accept", "text/event-stream")], on_open, enough)
    }

    /// With these headers; the first of them says what kind the stream is.
    pub fn stream_of(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        on_open: impl FnOnce(),
        enough: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let mut request = http::Request::builder().uri(format!("{}{path}", self.base));
        for (name, value) in headers.iter().chain(&[("authorization", ADMIN)]) {
            // As somebody else, if they say so.
            if request.headers_ref().is_some_and(|given| !given.contains_key(*name)) {
                request = request.header(*name, *value);
            }
        }
        let answer = agent().run(request.body(()).unwrap()).unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-type"], headers[0].1);
        on_open();
        let mut seen = Vec::new();
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            seen.push(line.unwrap());
            if enough(&seen) {
                break;
            }
        }
        seen
    }

    /// As another process opens what the server keeps sealed.
    pub fn vault(&self) -> Vault {
        let keyring = Arc::new(Keyring::open_or_create(&Home::at(self.folder.path()).unwrap()).unwrap());
        Vault::new(Some(self.plant.store.clone()), Some(keyring), Masker::new(), BTreeMap::new())
    }

    pub fn audit(&self) -> Vec<AuditRow> {
        let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
        self.runtime.block_on(self.plant.store.audit_log(&filter)).unwrap().rows
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.clear();
    }
}

/// Of a server that [`Site::start_another`] started.
pub fn call_at(base: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let mut request = http::Request::builder().method(method).uri(format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = match body {
        Some(body) => agent().run(request.body(body.to_owned()).unwrap()),
        None => agent().run(request.body(()).unwrap()),
    };
    let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: answer.body_mut().read_to_string().unwrap(),
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_mins(1)))
        .allow_non_standard_methods(true)
        .build();
    ureq::Agent::new_with_config(config)
}

/// `admin:open sesame`
pub const ADMIN: &str = "Basic YWRtaW46b3BlbiBzZXNhbWU=";
/// `guest:looking only`
pub const VIEWER: &str = "Basic Z3Vlc3Q6bG9va2luZyBvbmx5";
/// `clerk:press buttons`
pub const USER: &str = "Basic Y2xlcms6cHJlc3MgYnV0dG9ucw==";

async fn begin(
    folder: &std::path::Path,
    clock: Arc<TestClock>,
    change: impl FnOnce(&mut ServerOptions),
) -> (Plant, RunKey, String, oneshot::Sender<()>) {
    let plant = Plant::new(folder, now() - TimeDelta::days(3), now()).await;
    for (name, password, role) in
        // `user` is the old word for an operator.
        [
            ("admin", "open sesame", "admin"),
            ("guest", "looking only", "viewer"),
            ("clerk", "press buttons", "user"),
        ]
    {
        let hash = hash_password(password).unwrap();
        plant.store.add_user(name, &hash, role, "test", now()).await.unwrap();
    }
    let running = fill(&plant).await;
    let mut options = options(folder, plant.store.clone(), plant.logs.clone(), clock);
    change(&mut options);
    let (base, stop) = serve(options).await;
    (plant, running, base, stop)
}

fn options(folder: &std::path::Path, store: Store, logs: LogFolder, clock: Arc<TestClock>) -> ServerOptions {
    let home = Home::at(folder).unwrap();
    let environment = BTreeMap::from([(
        "MILLRACE_CONN_FROM_ENV".to_owned(),
        "postgres://someone:environment-secret@db.internal:5432/app".to_owned(),
    )]);
    let keyring = Arc::new(Keyring::open_or_create(&home).unwrap());
    ServerOptions {
        store: store.clone(),
        vault: Vault::new(Some(store), Some(keyring), Masker::new(), environment),
        logs,
        clock,
        session_hours: 12,
        surroundings: tokio::sync::watch::channel(millrace_situation::Surroundings {
            parallelism: 32,
            maintenance: Default::default(),
        })
        .1,
        session_idle_minutes: 0,
        trusted_proxies: Vec::new(),
        patience: Patience::default(),
        oidc: None,
        tls: None,
        operators: &[],
        configuration: tokio::sync::watch::channel(vec![
            ("server.port".to_owned(), "8080".to_owned()),
            ("server.admin_password".to_owned(), "configured-secret".to_owned()),
        ])
        .1,
        test_connection: Arc::new(|connection| {
            Box::pin(async move {
                use secrecy::ExposeSecret;
                let password = connection.password.map(|password| password.expose_secret().to_owned());
                match connection.host.as_deref() {
                    Some("broken") => Err(format!("refused with {}", password.unwrap_or_default())),
                    _ => Ok(format!("answers, password of {} letters", password.unwrap_or_default().len())),
                }
            })
        }),
    }
}

async fn serve(options: ServerOptions) -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let shutdown = async move {
            let _ = stopped.await;
        };
        millrace_server::serve(listener, options, shutdown).await.unwrap();
    });
    (base, stop)
}

async fn fill(plant: &Plant) -> RunKey {
    let long_ago = now() - TimeDelta::days(3);
    let tasks: &[crate::plant::TaskLine<'_>] =
        &[("extract", "extract", &[], 0), ("load", "copy", &["extract"], 1), ("notify", "bash", &["load"], 0)];
    let mut orders = dag("copy_orders", "@daily", "UTC", &["nightly"], tasks);
    orders.description = Some(format!("Orders {EVIL}"));
    let orders = plant.sync(orders, false, long_ago).await;
    plant.sync(dag("quiet", "none", "UTC", &[], &[("only", "empty", &[], 0)]), true, long_ago).await;
    let first: DateTime<Utc> = "2024-03-01T00:00:00Z".parse().unwrap();
    let failed = Part::new("load", TaskState::Failed, 30)
        .error("value 'n/a' is not an INTEGER <script>alert('x')</script>\nsecond line")
        .line(Level::Info, "begin")
        .line(Level::Error, EVIL);
    let parts = [
        Part::new("extract", TaskState::Success, 20).rows(1_234_567).line(Level::Info, "read"),
        failed,
        Part::new("notify", TaskState::UpstreamFailed, 0),
    ];
    plant.run(&orders, first, first + TimeDelta::days(1), Some(RunState::Failed), &parts).await;
    let second = first + TimeDelta::days(1);
    let parts = [
        Part::new("extract", TaskState::Success, 20),
        Part::new("load", TaskState::Running, 10).line(Level::Info, "row 1").line(Level::Warning, "row 2"),
    ];
    plant.run(&orders, second, second + TimeDelta::days(1), None, &parts).await
}
