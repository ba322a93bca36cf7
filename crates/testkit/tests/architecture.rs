//! The plan of the house, checked: who imports whom, what the pure rooms must not touch, how long a file may be.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate -> (floor, our crates that it may import). An edge that is missing here is a decision about the design, not an
/// oversight of this table: think before adding one.
const ALLOWED: &[(&str, u8, &[&str])] = &[
    // Floor 0, pure: no tokio, no database, no files, no clock, no environment.
    ("model", 0, &[]),
    ("template", 0, &["model"]),
    ("operator-api", 0, &["model", "template"]),
    ("dagfile", 0, &["model", "template", "operator-api"]),
    ("planner", 0, &["model"]),
    // Floor 1, edges.
    ("migrations", 0, &[]),
    ("settings", 1, &["model"]),
    ("store", 1, &["model", "migrations"]),
    ("logs", 1, &["model"]),
    ("connectors", 1, &["operator-api", "model"]),
    // Floor 2, engines. The scheduler and the worker never import each other.
    ("operators", 2, &["operator-api", "model", "template"]),
    // The planner's view read from the store: what the scheduler leads by and what the faces explain by.
    // A backfill that any face asks for is warned of by the lints.
    ("situation", 2, &["planner", "store", "model", "template", "dagfile"]),
    ("scheduler", 3, &["planner", "situation", "dagfile", "store", "model", "operator-api"]),
    // The masker of `settings` is what keeps secrets out of a try's log.
    // A run that a task asks for is made by the planner's rules, as one that a person asks for.
    ("worker", 2, &["operator-api", "template", "store", "logs", "settings", "model", "planner"]),
    // Connections and variables: sealed by the keyring of `settings`, kept by `store`.
    ("vault", 2, &["operator-api", "settings", "store", "model"]),
    // Floor 3, faces.
    (
        "server",
        3,
        &["store", "planner", "situation", "logs", "settings", "vault", "model", "template", "operator-api", "dagfile"],
    ),
    (
        "cli",
        4,
        &[
            "model",
            "template",
            "operator-api",
            "dagfile",
            "planner",
            "settings",
            "store",
            "logs",
            "connectors",
            "operators",
            "situation",
            "scheduler",
            "worker",
            "server",
            "vault",
            "devstack",
            "migrations",
        ],
    ),
    // Beside: of use without the rest.
    ("devstack", 0, &[]),
    ("testkit", 0, &[]),
];

/// What floor 0 must not reach, not even through somebody else's crate.
const IMPURE: &[&str] = &["tokio", "sqlx", "sqlx-core", "sea-orm", "tokio-postgres", "hyper", "mio", "notify"];

/// Operators see ports, never a driver.
const DRIVERS: &[&str] =
    &["tokio", "sqlx", "sea-orm", "tokio-postgres", "aws-config", "aws-sdk-s3", "aws-sdk-redshiftdata", "hyper"];

const LONGEST_FILE: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read_toml(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{} is not TOML: {error}", path.display()))
}

/// Every crate of ours by its short name, with what stands in `[dependencies]` and `[target.….dependencies]`.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let mut manifests = vec![root().join("migrations/Cargo.toml")];
    manifests
        .extend(fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path().join("Cargo.toml")));
    manifests
        .into_iter()
        .map(|path| read_toml(&path))
        .map(|manifest| (short_name(&manifest), dependencies(&manifest)))
        .collect()
}

fn short_name(manifest: &toml::Table) -> String {
    let name = manifest["package"]["name"].as_str().unwrap();
    name.strip_prefix("millrace-").unwrap_or_else(|| panic!("the package {name} lacks the prefix millrace-")).to_owned()
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(|targets| targets.as_table());
    let of_targets = targets.into_iter().flatten().filter_map(|(_, target)| target.get("dependencies"));
    let tables = manifest.get("dependencies").into_iter().chain(of_targets).filter_map(|table| table.as_table());
    tables
        .flatten()
        .map(|(name, value)| value.get("package").and_then(|package| package.as_str()).unwrap_or(name).to_owned())
        .collect()
}

fn ours(dependencies: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    dependencies.iter().filter_map(|name| name.strip_prefix("millrace-"))
}

#[test]
fn crates_import_only_whom_the_plan_allows() {
    let mut problems = Vec::new();
    let crates = crates();
    for (name, dependencies) in &crates {
        let Some((_, _, allowed)) = ALLOWED.iter().find(|(known, ..)| known == name) else {
            problems.push(format!("crate `{name}` has no line in the table of this test"));
            continue;
        };
        let strangers = ours(dependencies).filter(|other| !allowed.contains(other));
        problems.extend(strangers.map(|other| format!("`{name}` must not import `{other}`")));
    }
    let gone = ALLOWED.iter().filter(|(name, ..)| !crates.contains_key(*name));
    problems.extend(gone.map(|(name, ..)| format!("the table names `{name}`, which does not exist")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_plan_itself_points_downwards() {
    let floor = |name: &str| ALLOWED.iter().find(|(known, ..)| *known == name).map(|(_, floor, _)| *floor).unwrap();
    for (name, own, allowed) in ALLOWED {
        for other in *allowed {
            let below = floor(other) < *own || (*own == 0 && floor(other) == 0);
            assert!(below, "the table lets `{name}` on floor {own} import `{other}` on floor {}", floor(other));
        }
    }
}

#[test]
fn floor_0_reaches_no_runtime_and_no_database() {
    let lock = read_toml(&root().join("Cargo.lock"));
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let edges = package.get("dependencies").and_then(|edges| edges.as_array()).into_iter().flatten();
        // Two versions of a crate count as one, and an edge may carry the version: "base64 0.22.1".
        let edges = edges.filter_map(|edge| edge.as_str()?.split(' ').next());
        graph.entry(package["name"].as_str().unwrap()).or_default().extend(edges);
    }
    let crates = crates();
    for name in pure_crates() {
        // Our own crates by their manifests: the lock file mixes in what only tests use.
        let mut reached: BTreeMap<&str, &str> = BTreeMap::new();
        let mut next: Vec<(&str, &str)> = crates[name].iter().map(|other| (other.as_str(), name)).collect();
        while let Some((package, because)) = next.pop() {
            if package.starts_with("millrace-") || reached.contains_key(package) {
                continue;
            }
            reached.insert(package, because);
            next.extend(graph.get(package).into_iter().flatten().map(|other| (*other, package)));
        }
        for impure in IMPURE {
            assert!(
                !reached.contains_key(impure),
                "`{name}` is pure, but reaches `{impure}` through `{}`",
                reached[impure]
            );
        }
    }
}

#[test]
fn floor_0_asks_neither_clock_nor_files_nor_environment() {
    let forbidden = [
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "Utc::now",
        "Local::now",
        "SystemTime::now",
        "Instant::now",
    ];
    let mut problems = Vec::new();
    for name in pure_crates() {
        for path in rust_files(&root().join("crates").join(name).join("src")) {
            let text = fs::read_to_string(&path).unwrap();
            let product = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").enumerate();
            for (number, line) in product.filter(|(_, line)| !line.trim_start().starts_with("//")) {
                let found = forbidden.iter().filter(|word| line.contains(**word));
                problems.extend(found.map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
            }
        }
    }
    assert!(problems.is_empty(), "what is pure takes these as arguments:\n{}", problems.join("\n"));
}

#[test]
fn operators_see_no_driver() {
    let crates = crates();
    let drivers: Vec<_> = DRIVERS.iter().filter(|driver| crates["operators"].contains(**driver)).collect();
    assert!(drivers.is_empty(), "`operators` imports {drivers:?}; a port of `operator-api` is missing");
}

#[test]
fn no_file_is_too_long() {
    let folders = ["crates", "migrations", "tests"].map(|folder| root().join(folder));
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| rust_files(folder)).collect();
    assert!(files.len() > 20, "only {} files were found", files.len());
    let lengths = files.iter().map(|path| (path, fs::read_to_string(path).unwrap().lines().count()));
    let long: Vec<_> = lengths.filter(|(_, lines)| *lines > LONGEST_FILE).collect();
    assert!(long.is_empty(), "more than {LONGEST_FILE} lines, so more than one noun: {long:#?}");
}

fn pure_crates() -> impl Iterator<Item = &'static str> {
    ["model", "template", "operator-api", "dagfile", "planner"].into_iter()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}
