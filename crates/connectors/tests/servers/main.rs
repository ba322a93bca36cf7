//! The connectors against real servers and stand-ins: PostgreSQL, MariaDB, SQLite, S3, the Redshift Data API.

mod altered;
mod aws;
mod cancelling;
mod copies;
mod drifts;
mod extremes;
mod faults;
mod fidelity;
mod followers;
mod loads;
mod mysql;
mod postgres;
mod processes;
mod random;
mod readings;
mod redshift;
mod s3;
mod snapshots;
mod sqlite;
mod straight;
mod tasks;
mod tls;
mod types;
mod unload;
mod upserts;
mod world;
