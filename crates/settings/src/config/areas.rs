//! One struct for each area of the configuration, with its defaults: a field's comment is its sentence in the reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// DAG files and their defaults. These keys may also stand at the top of the file, outside any section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Core {
    /// Where DAG files are; empty = the folder `dags` in the home. A relative path is taken from the home.
    pub dags_folder: String,
    /// Seconds between two full scans of the folder; changes are also seen at once.
    pub dag_dir_list_interval: u64,
    /// New DAGs start paused.
    pub dags_are_paused_at_creation: bool,
    /// Tasks that run at the same time on this machine.
    pub parallelism: usize,
    /// `max_active_runs` of a DAG that does not say.
    pub max_active_runs_per_dag: u32,
    /// `max_active_tasks` of a DAG that does not say; per run.
    pub max_active_tasks_per_dag: u32,
    /// `retries` of a task that does not say.
    pub default_task_retries: u32,
    /// Seconds; `retry_delay` of a task that does not say.
    pub default_task_retry_delay: u64,
    /// Instances that a mapped task may have.
    pub max_map_length: usize,
    /// `timezone` of a DAG that does not say.
    pub default_timezone: String,
    /// Windows in which nothing starts, with `;` between them: `Sat 22:00..Sun 04:00 Asia/Seoul; 2026-12-24T22:00..2026-12-25T06:00`.
    pub maintenance: String,
    /// DAGs with one of these tags (with `,` between them) run in these windows too.
    pub maintenance_except_tags: String,
    /// Which of a DAG file's `overlays` is used: `prod`, say; empty = none.
    pub environment: String,
}

/// The metadata database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://user:password@host:port/database`; empty = SQLite, `millrace.db` in the home.
    pub url: String,
    /// Connections at the most.
    pub max_connections: u32,
    /// Days that finished runs are kept, with their logs; 0 = for ever. The scheduler deletes what is older once a day.
    pub retention_days: u64,
    /// Write what is deleted to the folder `archive` in the home first.
    pub retention_archive: bool,
}

/// The scheduler's loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduler {
    /// Seconds between two heartbeats of scheduler and workers. On PostgreSQL at least four in leader_timeout.
    pub heartbeat_interval: u64,
    /// Seconds without a heartbeat after which a worker counts as dead and its tries are given to another.
    pub lease_timeout: u64,
    /// Seconds without a sign of life after which another scheduler takes the lead from one that hangs (PostgreSQL only).
    /// What that one runs is given again no earlier: when its leases have run out.
    pub leader_timeout: u64,
    /// Seconds between two looks at everything, should an event have been missed.
    pub slow_tick: u64,
    /// Seconds that running tasks get to finish when the daemon is stopped; then they are stopped and run again at the next start.
    pub drain_timeout: u64,
}

/// How tasks run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Seconds between SIGTERM and SIGKILL for a process that must stop.
    pub kill_grace: u64,
}

/// The web server: pages and REST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 = any free one.
    pub port: u16,
    /// File with the certificate (PEM, those that vouch for it behind it): then the port speaks HTTPS. A relative path is taken from the home. Read again with `millrace config reload`.
    pub tls_certificate: String,
    /// File with the certificate's private key (PEM, not encrypted).
    pub tls_key: String,
    /// Where browsers find this server, as in `https://millrace.example`: for those who send people back to it.
    pub public_url: String,
    /// Hours that a sign-in lasts.
    pub session_hours: u64,
    /// Minutes without a request after which a sign-in ends; 0 = it lasts its hours.
    pub session_idle_minutes: u64,
    /// Addresses or networks of reverse proxies, with `,` between them: only they are believed when they say who the client is (X-Forwarded-For), whether it speaks HTTPS (X-Forwarded-Proto) and to which host (X-Forwarded-Host).
    pub trusted_proxies: String,
}

/// Signing in with a provider of identities (OpenID Connect).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// The provider's address, exactly as its tokens say it; empty = people sign in with passwords only. Takes `server.public_url` too.
    pub issuer: String,
    /// As the provider knows this server. The address that it sends people back to is `server.public_url` and `/sign-in/oidc/callback`.
    pub client_id: String,
    /// Empty = the variable `oidc_client_secret`, and if there is none, a client without a secret.
    pub client_secret: String,
    /// On the button of the sign-in page.
    pub label: String,
    /// What is asked for, with spaces between.
    pub scopes: String,
    /// The claim of the token that holds a person's groups; dots lead into it (`realm_access.roles`).
    pub groups_claim: String,
    /// What groups may: `GROUP=ROLE`, with `,` between them; `*` is everybody. The highest holds, at each sign-in anew; who has none does not get in.
    pub roles: String,
    /// Domains of e-mail addresses, with `,` between them: only people with a verified address of one get in; empty = all.
    pub allowed_domains: String,
    /// PEM file with the authorities that vouch for the provider; empty = those of the machine.
    pub ca_file: String,
}

/// Logs of tries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// Where they are written; empty = the folder `logs` in the home. A relative path is taken from the home.
    pub folder: String,
    /// What the daemon itself prints: error, warn, info, debug or trace.
    pub level: String,
}

/// Spans of runs, tries, commits and requests for OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// A collector that takes OTLP over HTTP as JSON: `http://127.0.0.1:4318`, with `USER:PASSWORD@` before the host for Basic authorization; empty = none.
    pub endpoint: String,
    /// Sent with the spans: `NAME=VALUE`, with `,` between them.
    pub headers: String,
    /// What spans call this installation.
    pub service_name: String,
    /// PEM file with the authorities that vouch for the collector; empty = those of the machine.
    pub ca_file: String,
}

/// The stand-ins that `standalone` starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Devstack {
    /// Port of the S3 stand-in; 0 = any free one.
    pub s3_port: u16,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            dags_folder: String::new(),
            dag_dir_list_interval: 300,
            dags_are_paused_at_creation: true,
            parallelism: 32,
            max_active_runs_per_dag: 16,
            max_active_tasks_per_dag: 16,
            default_task_retries: 0,
            default_task_retry_delay: 300,
            max_map_length: 1024,
            default_timezone: "UTC".to_owned(),
            maintenance: String::new(),
            maintenance_except_tags: String::new(),
            environment: String::new(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), max_connections: 10, retention_days: 0, retention_archive: true }
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { heartbeat_interval: 5, lease_timeout: 30, leader_timeout: 7, slow_tick: 10, drain_timeout: 5 }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self { kill_grace: 5 }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            tls_certificate: String::new(),
            tls_key: String::new(),
            public_url: String::new(),
            session_hours: 24,
            session_idle_minutes: 720,
            trusted_proxies: String::new(),
        }
    }
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            label: "Single sign-on".to_owned(),
            scopes: "openid profile email".to_owned(),
            groups_claim: "groups".to_owned(),
            roles: "*=viewer".to_owned(),
            allowed_domains: String::new(),
            ca_file: String::new(),
        }
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            headers: String::new(),
            service_name: "millrace".to_owned(),
            ca_file: String::new(),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self { folder: String::new(), level: "info".to_owned() }
    }
}

impl Default for Devstack {
    fn default() -> Self {
        Self { s3_port: 9000 }
    }
}
