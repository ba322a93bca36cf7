//! The command line, as scripts and people use it, on homes that begin with nothing but a folder `dags`.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "what was measured is for whoever asks")]

mod support;

/// One file for each noun.
mod cli {
    mod aws_profiles;
    mod backfills;
    mod callbacks;
    mod changes;
    mod copies;
    mod daemon;
    mod dag_test;
    mod dags;
    mod data;
    mod database;
    mod devstack;
    mod doctor;
    mod doctor_aws;
    mod explain;
    mod files;
    mod forms;
    mod home;
    mod lints;
    mod memory;
    mod openid;
    mod packaging;
    mod people;
    mod pools;
    mod privileges;
    mod reload;
    mod results;
    mod secrets;
    mod tasks;
    mod time;
    mod tls;
    mod traces;
    mod trigger_dag;
    mod unloads;
    mod verify;
}

use serde_json::Value;
use support::TestHome;

const HELLO: &str = "
schedule: \"@daily\"
start_date: 2024-01-01
catchup: true
tasks:
  hello:
    operator: bash
    bash_command: echo hello on {{ ds }}
  after:
    operator: bash
    depends_on: [hello]
    bash_command: echo done
";

fn home_with_hello() -> TestHome {
    let home = TestHome::new();
    home.write_dag("hello.yaml", HELLO);
    home
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap()).collect()
}
