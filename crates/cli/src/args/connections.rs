//! `millrace connections …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum ConnectionsCommand {
    /// Add a connection
    Add(Box<ConnectionAddArgs>),
    /// List the connections
    List,
    /// Show one, secrets masked
    Get { conn_id: String },
    /// Delete one
    Delete { conn_id: String },
    /// Try to reach it
    Test { conn_id: String },
    /// Read connections from a JSON or YAML file: `{conn_id: {conn_type: …} or "uri"}`
    Import {
        file: PathBuf,
        /// Replace those that exist
        #[arg(long)]
        overwrite: bool,
    },
    /// Write all connections to a file (`-` for standard output)
    Export {
        file: PathBuf,
        #[arg(long, value_enum)]
        file_format: Option<FileFormat>,
        /// Write secrets in clear instead of ***; the file is made readable for you only
        #[arg(long)]
        with_secrets: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    Json,
    Yaml,
    Env,
}

#[derive(Debug, Args)]
pub struct ConnectionAddArgs {
    pub conn_id: String,
    /// type://login:password@host:port/schema?key=value
    #[arg(long = "conn-uri", alias = "uri", conflicts_with_all = ["conn_json", "conn_type"])]
    pub conn_uri: Option<String>,
    /// {"conn_type": …, "host": …, "login": …, "password": …, "port": …, "schema": …, "extra": {…}}; `-` reads standard input
    #[arg(long = "conn-json", alias = "json", conflicts_with = "conn_type")]
    pub conn_json: Option<String>,
    /// mysql, postgres, redshift, sqlite, aws or http; another, such as generic, only holds a key or values
    #[arg(long = "conn-type")]
    pub conn_type: Option<String>,
    #[arg(long = "conn-host")]
    pub host: Option<String>,
    #[arg(long = "conn-login")]
    pub login: Option<String>,
    /// Better: `--conn-json -`, which other people on the machine can't see
    #[arg(long = "conn-password")]
    pub password: Option<String>,
    #[arg(long = "conn-port")]
    pub port: Option<u16>,
    /// Database; for SQLite the file
    #[arg(long = "conn-schema")]
    pub schema: Option<String>,
    /// A JSON object
    #[arg(long = "conn-extra")]
    pub extra: Option<String>,
    #[arg(long = "conn-description")]
    pub description: Option<String>,
    /// Replace it if it exists
    #[arg(long)]
    pub overwrite: bool,
}
