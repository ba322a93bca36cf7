//! `make bench`: what scheduling costs, on SQLite and on PostgreSQL, one JSON line for each figure, beside what the
//! machine can do at best, measured in the same run. Nothing is spared that durability needs: SQLite
//! `synchronous=FULL`, PostgreSQL `fsync=on` and `synchronous_commit=on`.
//!
//! `cargo bench -p millrace-cli --bench scheduling -- sqlite runs` measures a part: databases (`sqlite`, `postgres`) and
//! groups (`runs`, `many`, `due`, `demo`, `pages`, `history`).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and fails by panicking")]

mod figure;
mod files;
mod history;
mod home;
mod machine;
mod many;
mod pages;
mod runs;

use millrace_testkit::{Postgres, PrivatePostgres};

use crate::figure::Figures;
use crate::home::Home;

const DATABASES: [&str; 2] = ["sqlite", "postgres"];
const GROUPS: [&str; 6] = ["runs", "many", "due", "demo", "pages", "history"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let unknown: Vec<&String> = words.iter().filter(|word| !is_known(word)).collect();
    assert!(unknown.is_empty(), "not a database or a group of figures: {unknown:?}");
    let is_wanted = |word: &str, all: &[&str]| {
        let chosen: Vec<&String> = words.iter().filter(|word| all.contains(&word.as_str())).collect();
        chosen.is_empty() || chosen.iter().any(|chosen| *chosen == word)
    };
    for database in DATABASES.into_iter().filter(|database| is_wanted(database, &DATABASES)) {
        let server = (database == "postgres").then(|| Postgres::durable().unwrap());
        let is_wanted = |group: &str| is_wanted(group, &GROUPS);
        measure(database, server.as_ref(), &is_wanted);
    }
}

fn is_known(word: &str) -> bool {
    DATABASES.contains(&word) || GROUPS.contains(&word)
}

fn measure(database: &'static str, server: Option<&PrivatePostgres>, is_wanted: &dyn Fn(&str) -> bool) {
    let mut figures = Figures::new(database);
    let with_history = is_wanted("history");
    if is_wanted("runs") || with_history {
        let mut home = Home::new(server, &files::workloads());
        home.start_scheduler();
        runs::measure(&home, &mut figures);
        if with_history {
            figures.with_history();
            history::add(&home);
            runs::measure(&home, &mut figures);
            figures.without_history();
        }
    }
    if is_wanted("many") || with_history {
        let mut home = Home::new(server, &files::never_due());
        many::first_reading(&home, &mut figures);
        many::measure(&mut home, &mut figures);
        if with_history {
            figures.with_history();
            history::add(&home);
            many::measure(&mut home, &mut figures);
            figures.without_history();
        }
    }
    if is_wanted("due") {
        many::all_due(&mut Home::new(server, &files::due_every_minute()), &mut figures);
    }
    if is_wanted("pages") {
        pages::measure(&mut Home::new(server, &files::never_due()), &mut figures);
    }
    if is_wanted("demo") {
        many::idle_demo(&mut Home::new(server, &[]), &mut figures);
    }
}
