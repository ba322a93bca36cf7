//! The S3 stand-in, and the connections to it and to the databases.

use std::path::PathBuf;

use millrace_testkit::{Daemon, free_port};
use serde_json::json;

use crate::home::{BINARY, Home, wait_for};
use crate::sources::Sources;

pub struct Lake {
    port: u16,
    folder: PathBuf,
    _daemon: Daemon,
}

impl Lake {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let port = free_port().unwrap();
        let arguments = ["devstack", "--s3-port", &port.to_string(), "--bucket", "lake"].map(str::to_owned);
        let daemon = Daemon::builder(BINARY).args(arguments).home(&folder).spawn().unwrap();
        wait_for("the S3 stand-in", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, folder, _daemon: daemon }
    }

    /// Uploads in parts that nobody has completed.
    pub fn unfinished(&self) -> usize {
        let uploads = self.folder.join("s3/buckets/lake/uploads");
        std::fs::read_dir(uploads).map_or(0, Iterator::count)
    }

    fn keys(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.folder.join("s3_keys")).unwrap();
        let (access, secret) = text.trim().split_once(':').unwrap();
        (access.to_owned(), secret.to_owned())
    }
}

impl Drop for Lake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn connect(home: &Home, sources: &Sources, lake: &Lake) {
    let server = sources.mariadb.server();
    let (access, secret) = lake.keys();
    let postgres: sqlx::postgres::PgConnectOptions = sources.url.parse().unwrap();
    let postgres = json!({
        "conn_type": "postgres", "host": postgres.get_host(), "port": postgres.get_port(),
        "login": postgres.get_username(), "password": password_of(&sources.url), "schema": postgres.get_database(),
    });
    let connections = json!({
        "mariadb": {
            "conn_type": "mysql", "host": "127.0.0.1", "port": server.port(), "login": server.user(),
            "password": server.password(), "schema": sources.mariadb.name(),
        },
        "postgres": postgres, "target": postgres,
        "lake": {
            "conn_type": "aws", "login": access, "password": secret,
            "extra": {"endpoint_url": format!("http://127.0.0.1:{}", lake.port), "region_name": "us-east-1"},
        },
    });
    let file = lake.folder.join("connections.json");
    std::fs::write(&file, connections.to_string()).unwrap();
    home.run(&["connections", "import", file.to_str().unwrap()]);
}

fn password_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap();
    let (login, _) = rest.split_once('@').unwrap();
    login.split_once(':').unwrap().1
}
