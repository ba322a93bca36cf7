//! The server as clients and browsers meet it: over a real socket, with a real SQLite store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod airflow;
mod asking;
mod audited;
mod backfills;
mod changes;
mod connections;
mod dags;
mod deletions;
mod doors;
mod events;
mod explain;
mod filters;
mod forms;
mod frame;
mod fuzz;
mod grid;
mod guessing;
mod hostile;
mod intake;
mod ledger;
mod limits;
mod lists;
mod logs;
mod many;
mod metrics;
mod notifications;
mod openapi;
mod openid;
mod pages;
mod people;
mod plant;
mod pools;
mod runs;
mod secrets;
mod signing_in;
mod site;
mod standing;
mod tls;
mod together;
mod views;
mod webhooks;
