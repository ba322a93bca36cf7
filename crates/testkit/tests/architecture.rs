//! The plan of the house, checked: who imports whom, what the pure rooms must not touch, how long a file may be.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate -> our crates that it imports. An edge that is missing here is a decision about the design, not an oversight of
/// this table: think before adding one. The floors stand in docs/architecture.md.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("template", &["model"]),
    ("operator-api", &["model"]),
    ("dagfile", &["model", "template", "operator-api"]),
    ("planner", &["model"]),
    ("migrations", &[]),
    ("settings", &["model"]),
    ("store", &["model", "migrations"]),
    ("logs", &[]),
    ("memory", &[]),
    ("connectors", &["operator-api", "model"]),
    ("operators", &["operator-api", "model", "template"]),
    // The planner's view read from the store: what the scheduler leads by and what the faces explain by.
    // A backfill that any face asks for is warned of by the lints.
    ("situation", &["planner", "store", "model", "template", "dagfile"]),
    // The scheduler and the worker never import each other.
    ("scheduler", &["planner", "situation", "dagfile", "store", "model", "operator-api"]),
    // The masker of `settings` is what keeps secrets out of a try's log.
    // A run that a task asks for is made by the planner's rules, as one that a person asks for.
    ("worker", &["operator-api", "template", "store", "logs", "settings", "model", "planner"]),
    // Connections and variables: sealed by the keyring of `settings`, kept by `store`.
    ("vault", &["operator-api", "settings", "store"]),
    // What an operator takes is shown as DAG files are read.
    ("server", &["store", "planner", "situation", "logs", "settings", "vault", "model", "operator-api", "dagfile"]),
    (
        "cli",
        &[
            "model",
            "template",
            "operator-api",
            "dagfile",
            "planner",
            "settings",
            "store",
            "logs",
            "memory",
            "connectors",
            "operators",
            "situation",
            "scheduler",
            "worker",
            "server",
            "vault",
            "devstack",
        ],
    ),
    ("devstack", &[]),
    ("testkit", &[]),
];

/// What floor 0 must not reach, not even through somebody else's crate.
const IMPURE: &[&str] =
    &["tokio", "sqlx", "sqlx-core", "rusqlite", "sea-orm", "tokio-postgres", "hyper", "mio", "notify"];

/// Operators see ports, never a driver.
const DRIVERS: &[&str] = &[
    "tokio",
    "sqlx",
    "rusqlite",
    "sea-orm",
    "tokio-postgres",
    "aws-config",
    "aws-sdk-s3",
    "aws-sdk-redshiftdata",
    "hyper",
];

const LONGEST_FILE: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read_toml(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{} is not TOML: {error}", path.display()))
}

/// The folder of every crate of ours.
fn folders() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    crates.chain([root().join("migrations")]).collect()
}

/// Every crate of ours by its short name, with what stands in `[dependencies]` and `[target.….dependencies]`.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    folders()
        .into_iter()
        .map(|folder| read_toml(&folder.join("Cargo.toml")))
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

/// The names of every kind of dependency.
fn all_dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of_kinds =
        kinds.iter().filter_map(|kind| manifest.get(*kind)?.as_table()).flat_map(|table| table.keys().cloned());
    of_kinds.chain(dependencies(manifest)).collect()
}

fn ours(dependencies: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    dependencies.iter().filter_map(|name| name.strip_prefix("millrace-"))
}

#[test]
fn crates_import_whom_the_plan_says() {
    let mut problems = Vec::new();
    let crates = crates();
    for (name, dependencies) in &crates {
        let Some((_, planned)) = EDGES.iter().find(|(known, _)| known == name) else {
            problems.push(format!("crate `{name}` has no line in the table of this test"));
            continue;
        };
        let strangers = ours(dependencies).filter(|other| !planned.contains(other));
        problems.extend(strangers.map(|other| format!("`{name}` must not import `{other}`")));
        let unused = planned.iter().filter(|other| !ours(dependencies).any(|real| real == **other));
        problems.extend(unused.map(|other| format!("the table lets `{name}` import `{other}`, which it does not")));
    }
    let gone = EDGES.iter().filter(|(name, _)| !crates.contains_key(*name));
    problems.extend(gone.map(|(name, _)| format!("the table names `{name}`, which does not exist")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A crate's line in the page on the architecture.
struct Line {
    /// What stands beside is below all.
    floor: u8,
    imports_of_its_floor: BTreeSet<String>,
}

/// The table of docs/architecture.md, by crate.
fn page() -> BTreeMap<String, Line> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut floor = 0;
    let mut lines = BTreeMap::new();
    for row in
        text.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let &[place, crates, _, imports] = cells.as_slice() else { panic!("{row}: not four cells") };
        floor = match place.chars().next() {
            None => floor,
            Some(digit @ '0'..='9') => digit as u8 - b'0',
            Some(_) => 0,
        };
        for name in crates.split(',').map(|name| name.trim().trim_matches('`').to_owned()) {
            let imports = imports.split(',').map(|other| other.trim().to_owned()).filter(|other| !other.is_empty());
            lines.insert(name, Line { floor, imports_of_its_floor: imports.collect() });
        }
    }
    lines
}

#[test]
fn the_page_shows_the_plan_and_points_downwards() {
    let page = page();
    let mut problems = Vec::new();
    for (name, planned) in EDGES {
        let Some(line) = page.get(*name) else {
            problems.push(format!("docs/architecture.md has no line of `{name}`"));
            continue;
        };
        let floor = |other: &str| page.get(other).map_or(line.floor, |other| other.floor);
        let beside: BTreeSet<String> =
            planned.iter().filter(|other| floor(other) >= line.floor).map(|other| (*other).to_owned()).collect();
        if beside != line.imports_of_its_floor {
            let shown = &line.imports_of_its_floor;
            problems.push(format!("`{name}` imports {beside:?} of its floor, docs/architecture.md says {shown:?}"));
        }
        let above = planned.iter().filter(|other| floor(other) > line.floor);
        problems.extend(above.map(|other| format!("`{name}` imports `{other}`, which is above it")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    let mut problems = Vec::new();
    for folder in folders() {
        let manifest = read_toml(&folder.join("Cargo.toml"));
        let name = short_name(&manifest);
        let product = sources(&[folder.join("src"), folder.join("build.rs")]);
        let mut tests = vec![folder.join("tests"), folder.join("benches"), folder.join("examples")];
        // The suites of the whole program are the binary's.
        tests.extend((name == "cli").then(|| root().join("tests")));
        let everything = format!("{product}{}", sources(&tests));
        for (kind, text) in
            [("dependencies", &product), ("build-dependencies", &product), ("dev-dependencies", &everything)]
        {
            let table = manifest.get(kind).and_then(|table| table.as_table()).into_iter().flatten();
            let unused = table.filter(|(package, _)| !names(text, &library_of(package)));
            problems
                .extend(unused.map(|(package, _)| format!("`{name}` names {package} in [{kind}] and does not use it")));
        }
    }
    let known: BTreeSet<String> =
        folders().iter().flat_map(|folder| all_dependencies(&read_toml(&folder.join("Cargo.toml")))).collect();
    let workspace = read_toml(&root().join("Cargo.toml"));
    let offered = workspace["workspace"]["dependencies"].as_table().unwrap().keys();
    problems
        .extend(offered.filter(|it| !known.contains(*it)).map(|it| format!("no crate takes {it} of the workspace")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// How code calls a package.
fn library_of(package: &str) -> String {
    if package == "md-5" { "md5".to_owned() } else { package.replace('-', "_") }
}

fn names(text: &str, library: &str) -> bool {
    let is_part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    text.match_indices(library).any(|(place, _)| {
        !is_part(text[..place].chars().next_back()) && !is_part(text[place + library.len()..].chars().next())
    })
}

fn sources(places: &[PathBuf]) -> String {
    let files = places.iter().flat_map(|place| if place.is_file() { vec![place.clone()] } else { rust_files(place) });
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
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
    for name in &pure_crates() {
        // Our own crates by their manifests: the lock file mixes in what only tests use.
        let mut reached: BTreeMap<&str, &str> = BTreeMap::new();
        let mut next: Vec<(&str, &str)> = crates[name].iter().map(|other| (other.as_str(), name.as_str())).collect();
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

/// Those of floor 0 that stand there for being pure, and not beside the house.
fn pure_crates() -> Vec<String> {
    let beside = ["devstack", "testkit", "migrations"];
    let pure = page().into_iter().filter(|(name, line)| line.floor == 0 && !beside.contains(&name.as_str()));
    let pure: Vec<String> = pure.map(|(name, _)| name).collect();
    assert!(pure.len() > 4, "only {pure:?} are pure");
    pure
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
