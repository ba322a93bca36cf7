//! `make bench-data`: what moving tables costs, one JSON line for each figure, beside what the databases' own clients
//! take for the same in the same run. MariaDB and PostgreSQL are real and on this machine, S3 is the stand-in; all of
//! them share its cores with Millrace.
//!
//! `cargo bench -p millrace-cli --bench data -- csv nps` measures a part: groups (`csv`, `load`, `table_copy`, `upsert`,
//! `verify`, `fingerprint`, `cancel`) and tables (`nps`: 5,000,000 rows of 3 columns, `orders`: 1,000,000 of 20).
//! `small` makes the tables a twentieth as large, to see whether it all works.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and fails by panicking")]
#![allow(dead_code, reason = "figures and homes are those of the other benchmark, which asks more of them")]

mod cancel;
#[path = "../scheduling/figure.rs"]
mod figure;
mod files;
mod fingerprint;
#[path = "../scheduling/home.rs"]
mod home;
mod lake;
mod moves;
mod sources;
mod verify;

use millrace_testkit::Postgres;

use crate::figure::Figures;
use crate::home::Home;
use crate::lake::Lake;
use crate::moves::Bench;
use crate::sources::{Rows, Sources};

const GROUPS: [&str; 7] = ["csv", "load", "table_copy", "upsert", "verify", "fingerprint", "cancel"];
const TABLES: [&str; 2] = ["nps", "orders"];
const SMALL: &str = "small";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let (small, words): (Vec<String>, Vec<String>) = words.into_iter().partition(|word| word == SMALL);
    let is_known = |word: &&String| !GROUPS.contains(&word.as_str()) && !TABLES.contains(&word.as_str());
    let unknown: Vec<&String> = words.iter().filter(is_known).collect();
    assert!(unknown.is_empty(), "not a group of figures or a table: {unknown:?}");
    let is_wanted = |word: &str, all: &[&str]| {
        let chosen: Vec<&String> = words.iter().filter(|word| all.contains(&word.as_str())).collect();
        chosen.is_empty() || chosen.iter().any(|chosen| *chosen == word)
    };
    let server = Postgres::durable().unwrap();
    let sources = Sources::build(&server, Rows::new(!small.is_empty()));
    let lake = Lake::start();
    let mut home = Home::new(None, &files::workloads(&sources));
    lake::connect(&home, &sources, &lake);
    home.start_scheduler();
    let mut bench = Bench::new(home, sources, Figures::new("sqlite"));
    for table in TABLES.into_iter().filter(|table| is_wanted(table, &TABLES)) {
        if is_wanted("csv", &GROUPS) {
            bench.csv_of_mariadb(table, if table == "nps" { 1.3 } else { 1.6 });
            bench.csv_of_postgres(table);
        }
        if is_wanted("load", &GROUPS) {
            bench.table_to_table(table);
        }
        if is_wanted("table_copy", &GROUPS) {
            bench.without_objects(table);
        }
        if is_wanted("fingerprint", &GROUPS) {
            bench.fingerprint(table);
        }
    }
    if is_wanted("nps", &TABLES) {
        if is_wanted("upsert", &GROUPS) {
            bench.upsert();
        }
        if is_wanted("verify", &GROUPS) {
            bench.verify();
        }
        if is_wanted("cancel", &GROUPS) {
            bench.cancel(&lake);
        }
    }
}
