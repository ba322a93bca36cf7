//! What README.md and docs/ say is true: files validate, commands are understood, the tour can be walked.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millrace_model::state::TaskState;
use millrace_model::trigger_rule::TriggerRule;
use millrace_testkit::Daemon;
use serde_json::Value;
use support::{PATIENCE, TestHome, repository};

const PROGRAM: &str = env!("CARGO_BIN_EXE_millrace");

/// README.md and all of docs/, with what stands in them.
fn pages() -> Vec<(PathBuf, String)> {
    let root = repository();
    let mut paths = vec![root.join("README.md"), root.join("docker/README.md")];
    paths.extend(fs::read_dir(root.join("docs")).unwrap().flatten().map(|entry| entry.path()));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        match (&mut current, line.trim_end().strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(current.take()),
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, Some(info)) if info == language => current = Some(String::new()),
            // Another language: its lines are no block of ours, and its end opens none.
            (None, Some(info)) if !info.is_empty() => current = None,
            _ => {}
        }
    }
    found
}

#[test]
fn every_dag_in_the_pages_and_every_example_validates() {
    let home = TestHome::new();
    let mut count = 0;
    for (path, text) in pages() {
        // What the DAGs of a page need beside them.
        for info in text.lines().filter_map(|line| line.strip_prefix("```")).filter(|info| info.contains("calendars/"))
        {
            let name = info.strip_prefix("yaml ").unwrap();
            fs::create_dir_all(home.file("dags/calendars")).unwrap();
            home.write_dag(name, &blocks(&text, info)[0]);
        }
        for block in blocks(&text, "yaml") {
            count += 1;
            let file = home.write_dag(&format!("block{count}.yaml"), &block);
            let output = home.run(&["validate", file.to_str().unwrap()]);
            assert_eq!(output.code, 0, "{}:\n{}", path.display(), output.stdout);
        }
        for block in blocks(&text, "toml") {
            fs::write(home.file("millrace.toml"), block).unwrap();
            home.ok(&["config", "list"]);
            fs::remove_file(home.file("millrace.toml")).unwrap();
        }
    }
    assert!(count > 0, "no DAG in any page: the blocks are not found");
    let examples = repository().join("dags");
    let report = home.ok(&["validate", examples.to_str().unwrap(), "-o", "json"]).json();
    let files = fs::read_dir(&examples).unwrap().flatten();
    let yaml = files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "yaml")).count();
    assert!(yaml >= 4);
    assert_eq!(report.as_array().unwrap().len(), yaml);
    assert!(report.as_array().unwrap().iter().all(|file| file["diagnostics"] == serde_json::json!([])), "{report}");
}

/// The words of every command that a page shows: lines of `sh` blocks, and code in the text.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for block in blocks(text, "sh") {
        let mut end_of_text: Option<String> = None;
        for line in block.lines() {
            if let Some(end) = &end_of_text {
                if line == end {
                    end_of_text = None;
                }
                continue;
            }
            end_of_text = line.split_once("<<").map(|(_, end)| end.trim_matches(['\'', '"', ' ']).to_owned());
            lines.push(line.to_owned());
        }
    }
    let spans = text
        .split("```")
        .step_by(2)
        .flat_map(|prose| prose.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")));
    lines.extend(spans);
    lines.iter().filter_map(|line| words_of_ours(line)).collect()
}

fn words_of_ours(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start_matches("$ ");
    let rest = line.strip_prefix("millrace ").or_else(|| line.strip_prefix("cargo run --release -- "))?;
    let mut words = Vec::new();
    let (mut word, mut quote) = (String::new(), None);
    for c in rest.chars().chain([' ']) {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            (' ', None) if !word.is_empty() => words.push(std::mem::take(&mut word)),
            (' ', None) => {}
            _ => word.push(c),
        }
    }
    let end = words.iter().position(|word| ["|", "||", "&&", "<", ">", "#", "…"].contains(&word.as_str()));
    words.truncate(end.unwrap_or(words.len()));
    Some(words)
}

#[test]
fn every_command_in_the_pages_is_understood() {
    let home = TestHome::new();
    let mut count = 0;
    for (path, text) in pages() {
        for mut words in commands(&text) {
            count += 1;
            // Everything before it is read first: an unknown command, option or value is an error all the same.
            words.push("--help".to_owned());
            let output = home.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(output.code, 0, "{}: millrace {}\n{}", path.display(), words.join(" "), output.stderr);
        }
    }
    assert!(count > 30, "only {count} commands were found");
    home.run(&["dags", "triger", "--help"]).exits(2);
    home.run(&["dags", "trigger", "--wat", "--help"]).exits(2);
}

#[test]
fn links_in_the_pages_lead_somewhere() {
    for (path, text) in pages() {
        let folder = path.parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let is_ours = !file.is_empty() && !target.contains("://");
            assert!(!is_ours || folder.join(file).exists(), "{}: {target}", path.display());
        }
    }
}

#[test]
fn the_page_of_operators_is_what_the_program_says() {
    let home = TestHome::new();
    let mut page = String::from(
        "# Operators\n\nMade from what `millrace operators NAME` shows. T: takes templates. `a.b` is the key `b` of the map `a`, or of each map in\nthe list `a`.\n",
    );
    let mut told: Vec<(String, Vec<Row>)> = Vec::new();
    for entry in home.json(&["operators"]).as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let operator = home.json(&["operators", name]);
        page.push_str(&format!("\n## {name}\n\n{}\n", operator["schema"]["description"].as_str().unwrap_or_default()));
        let aliases: Vec<&str> = entry["aliases"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        if !aliases.is_empty() {
            page.push_str(&format!("\nAlso called {}.\n", aliases.join(", ")));
        }
        let rows: Vec<Row> = operator["parameters"].as_array().unwrap().iter().map(Row::of).collect();
        page.push_str(&parameters(&rows, &told));
        told.push((name.to_owned(), rows));
    }
    let path = repository().join("docs/operators.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/operators.md is out of date: WRITE_DOCS=1 cargo test -p millrace-cli --test docs writes it"
    );
    for wanted in ["`tables.sync_mode`", "`checks.accepted_values`", "`schema_drift.added`", "`7d`"] {
        assert!(page.contains(wanted), "{wanted} stands nowhere");
    }
}

/// A parameter as the page shows it.
#[derive(PartialEq)]
struct Row {
    name: String,
    is_needed: bool,
    line: String,
}

impl Row {
    fn of(parameter: &Value) -> Self {
        let text = |key: &str| parameter[key].as_str().unwrap().replace('|', "\\|").replace('\n', " ");
        let is_needed = parameter["required"] == true;
        let marks = [("needed", is_needed), ("T", parameter["template"] == true)];
        let marks: Vec<&str> = marks.into_iter().filter(|(_, is_so)| *is_so).map(|(mark, _)| mark).collect();
        let default = match &parameter["default"] {
            Value::Null => String::new(),
            Value::String(default) => format!("`{default}`"),
            default => format!("`{default}`"),
        };
        let (name, kind, description) = (text("parameter"), text("type"), text("description"));
        let line = format!("| `{name}` | {} | {kind} | {default} | {description} |\n", marks.join(", "));
        Self { name, is_needed, line }
    }
}

/// The table of parameters. Where an operator before it has many of them in the same words, they are named only.
fn parameters(rows: &[Row], told: &[(String, Vec<Row>)]) -> String {
    let shared_with = |(name, others): &(String, Vec<Row>)| {
        let is_optional = |name: &str| rows.iter().any(|of| of.name == name && !of.is_needed && others.contains(of));
        // What a map needs is told where the map is.
        let goes_along = |row: &Row| row.name.rsplit_once('.').is_some_and(|(map, _)| is_optional(map));
        let is_shared = |row: &&Row| others.contains(row) && (!row.is_needed || goes_along(row));
        (name.clone(), rows.iter().filter(is_shared).collect::<Vec<&Row>>())
    };
    let most = told.iter().map(shared_with).rev().max_by_key(|(_, shared)| shared.len());
    let (operator, shared) = most.filter(|(_, shared)| shared.len() > 3).unwrap_or_default();
    let own: Vec<&str> = rows.iter().filter(|row| !shared.contains(row)).map(|row| row.line.as_str()).collect();
    let mut page = String::new();
    if !own.is_empty() {
        page.push_str(&format!("\n| parameter | | type | default | |\n|---|---|---|---|---|\n{}", own.concat()));
    }
    if !shared.is_empty() {
        let is_told =
            |row: &Row| row.name.split_once('.').is_some_and(|(map, _)| shared.iter().any(|of| of.name == map));
        let names: Vec<String> =
            shared.iter().filter(|row| !is_told(row)).map(|row| format!("`{}`", row.name)).collect();
        page.push_str(&format!("\nAs with [{operator}](#{operator}): {}.\n", names.join(", ")));
    }
    page
}

/// The words in code of the section under this heading.
fn words_of_section(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    // What stands in a call or behind a dot is no name of its own, but its beginning is.
    let name = |code: &str| code.split(['.', '(', ' ', ':']).next().unwrap_or_default().to_owned();
    section.split('`').skip(1).step_by(2).map(name).collect()
}

#[test]
fn names_rules_and_states_stand_in_the_page_of_dag_files() {
    let page = fs::read_to_string(repository().join("docs/dag-files.md")).unwrap();
    let missing = |heading: &str, known: Vec<&str>| -> Vec<String> {
        let told = words_of_section(&page, heading);
        known.into_iter().filter(|name| !told.contains(*name)).map(str::to_owned).collect()
    };
    assert_eq!(missing("Templates", millrace_template::known_names().collect()), [""; 0]);
    assert_eq!(missing("The tasks", TriggerRule::ALL.iter().map(|rule| rule.as_str()).collect()), [""; 0]);
    assert_eq!(missing("States", TaskState::ALL.iter().map(|state| state.as_str()).collect()), [""; 0]);
}

#[test]
fn what_the_page_says_of_moments_and_macros_can_be_rendered() {
    let page = fs::read_to_string(repository().join("docs/dag-files.md")).unwrap();
    let codes = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let of_moments = page.split("\nA moment has ").nth(1).and_then(|rest| rest.split(" The filters").next()).unwrap();
    let of_macros = page.lines().find(|line| line.starts_with("| `macros`")).unwrap();
    let moments = codes(of_moments)
        .into_iter()
        .map(|code| format!("logical_date.{}", code.replace("other", "data_interval_end")));
    let calls = codes(of_macros).into_iter().filter(|code| code.starts_with("macros.") && code.ends_with(')'));
    let calls = calls.map(|code| code.replace("(a, b)", "(data_interval_end, logical_date)"));
    let lines: Vec<String> = moments.chain(calls).map(|code| format!("      {{{{ {code} }}}}\n")).collect();
    assert!(lines.len() > 20, "{lines:?}");
    let home = TestHome::new();
    let dag = format!("schedule: none\ntasks:\n  show:\n    operator: bash\n    bash_command: |\n{}", lines.concat());
    home.write_dag("moments.yaml", &dag);
    let shown = home.ok(&["tasks", "render", "moments", "show", "2024-01-31"]).stdout;
    assert!(shown.contains("2024-02-01") && shown.contains("2024/01"), "{shown}");
}

/// The commands below one, with what each is for, as its help lists them.
fn commands_below(home: &TestHome, words: &[&str]) -> Vec<(String, String)> {
    let help = home.ok(&[words, &["-h"]].concat()).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let one = |line: &str| {
        let (name, what) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
        (name.to_owned(), what.trim().to_owned())
    };
    listed.map(one).filter(|(name, _)| name != "help").collect()
}

/// What a command takes: its arguments as its usage shows them, then its own options.
fn taken_by(home: &TestHome, words: &[&str]) -> String {
    let everywhere = ["--home <FOLDER>", "--output <FORMAT>", "--help", "--version"];
    let help = home.ok(&[words, &["-h"]].concat()).stdout;
    let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap();
    let arguments = usage.rsplit_once("[OPTIONS]").map_or("", |(_, arguments)| arguments.trim());
    let options = help.lines().skip_while(|line| *line != "Options:").skip(1).filter_map(|line| {
        let (option, _) = line.trim_start().split_once("  ").unwrap_or((line.trim(), ""));
        let long = &option[option.find("--").filter(|_| option.starts_with('-'))?..];
        (!everywhere.contains(&long) && !arguments.contains(long)).then(|| format!("`{long}`"))
    });
    let arguments = (!arguments.is_empty()).then(|| format!("`{arguments}`"));
    arguments.into_iter().chain(options).collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    let home = TestHome::new();
    let mut page = String::from(
        "# Commands\n\nMade from what the program says of itself; `--help` after any of them says what each option means. Every list takes\n`-o table|json|yaml|plain`, every command `--home`. Exit codes: 0 done, 1 failed, 2 asked wrongly.\n",
    );
    let row = |words: &[&str], what: &str| {
        format!("| `millrace {}` | {} | {} |\n", words.join(" "), what.replace('|', "\\|"), taken_by(&home, words))
    };
    let head = "| | | takes |\n|---|---|---|\n";
    let mut alone = format!("\n## The program\n\n{head}");
    let mut groups = String::new();
    for (name, what) in commands_below(&home, &[]) {
        let below = commands_below(&home, &[&name]);
        if below.is_empty() {
            alone.push_str(&row(&[&name], &what));
            continue;
        }
        groups.push_str(&format!("\n## millrace {name}\n\n{what}.\n\n{head}"));
        if taken_by(&home, &[&name]).contains("--") {
            groups.push_str(&row(&[&name], &what));
        }
        for (inner, what) in below {
            groups.push_str(&row(&[&name, &inner], &what));
        }
    }
    page.push_str(&alone);
    page.push_str(&groups);
    page.push_str("\n## Lints\n\nWhat `millrace validate` warns of.\n\n| code | why |\n|---|---|\n");
    for lint in home.json(&["validate", "--list-lints"]).as_array().unwrap() {
        page.push_str(&format!("| `{}` | {} |\n", lint["code"].as_str().unwrap(), lint["why"].as_str().unwrap()));
    }
    let path = repository().join("docs/commands.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/commands.md is out of date: WRITE_DOCS=1 cargo test -p millrace-cli --test docs writes it"
    );
}

#[test]
fn the_tour_can_be_walked() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let tour = readme.split("\n## ").find(|section| section.starts_with("Five minutes")).unwrap();
    let steps = blocks(tour, "sh");
    assert!(steps.len() >= 4);

    // As a newcomer has it: a personal folder with nothing in it, and the program on the PATH.
    let person = tempfile::tempdir().unwrap();
    let programs = person.path().join("bin");
    fs::create_dir(&programs).unwrap();
    symlink(PROGRAM, programs.join("millrace")).unwrap();
    let mut daemon = Daemon::builder(PROGRAM)
        .args(["standalone", "--demo", "--port", "0"])
        .env("HOME", person.path())
        .home(person.path().join("millrace"))
        .spawn()
        .unwrap();
    daemon.wait_for_line("Millrace is ready", PATIENCE).unwrap();
    let printed: Vec<String> = steps.iter().map(|step| walk(step, person.path(), &programs)).collect();
    assert!(printed[1].contains("load_orders") && printed[1].contains("equal"), "{}", printed[1]);
    assert!(printed[2].contains("the exit code was 1") && printed[2].contains("upstream_failed"), "{}", printed[2]);
    assert!(printed[2].contains("No such file or directory"), "{}", printed[2]);
    assert!(printed[3].contains("Hello world, it is 2024-05-06"), "{}", printed[3]);
    assert!(printed[4].contains("all 5 runs succeeded"), "{}", printed[4]);
}

#[test]
fn the_tour_of_rest_can_be_walked() {
    let page = fs::read_to_string(repository().join("docs/rest.md")).unwrap();
    let steps = blocks(&page, "sh");
    assert!(steps.len() >= 4);
    let person = tempfile::tempdir().unwrap();
    let programs = person.path().join("bin");
    fs::create_dir(&programs).unwrap();
    symlink(PROGRAM, programs.join("millrace")).unwrap();
    let mut daemon = Daemon::builder(PROGRAM)
        .args(["standalone", "--demo", "--port", "0"])
        .env("HOME", person.path())
        .home(person.path().join("millrace"))
        .spawn()
        .unwrap();
    let ready = daemon.wait_for_line("  address  ", PATIENCE).unwrap();
    let address = ready.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    // One shell walks it all: later steps use what the first one made.
    let walked = format!("MILLRACE={}\n{}", address.trim_end_matches('/'), steps.concat());
    let printed = walk(&walked, person.path(), &programs);
    // What commands remark stands behind what they answer.
    let answers: Vec<Value> = printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut deliveries = answers.iter().filter(|answer| answer.get("webhook").is_some()).cloned().collect::<Vec<_>>();
    let repeated: Vec<Value> = deliveries.iter_mut().map(|delivery| delivery["repeated"].take()).collect();
    assert_eq!(repeated, [false, true], "{printed}");
    assert_eq!(deliveries[0], deliveries[1], "{printed}");
    let last = answers.iter().rfind(|answer| answer.get("clear_number").is_some()).unwrap();
    assert_eq!((&last["dag_run_id"], &last["state"]), (&"tour".into(), &"success".into()), "{printed}");
    assert_eq!(last["clear_number"], 1, "{printed}");
}

/// Runs a block in bash, every line of which must succeed; what it prints.
fn walk(step: &str, person: &Path, programs: &Path) -> String {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", step]).env("HOME", person).env("PATH", path).env_remove("MILLRACE_HOME");
    let output = bash.stdin(Stdio::null()).current_dir(person).output().unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{step}\n---\n{printed}");
    printed
}
