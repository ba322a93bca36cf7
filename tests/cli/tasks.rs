//! One task at a time.

use millrace_testkit::{MariaDb, Postgres, wait_until_blocking};
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHome};
use crate::{home_with_hello, ids};

#[test]
fn case_91_tasks_test_runs_a_task_and_writes_nothing() {
    let home = home_with_hello();
    let output = home.ok(&["tasks", "test", "hello", "hello", "2024-05-06"]);
    assert!(output.stdout.contains("hello on 2024-05-06"), "{}", output.stdout);
    assert!(!home.file("millrace.db").exists(), "it works without a database and makes none");

    home.ok(&["variables", "set", "greeting", "good morning"]);
    home.json(&["dags", "list"]);
    home.write_dag("talks.yaml", "schedule: none\ntasks:\n  say:\n    operator: bash\n    bash_command: echo '{{ var.value.greeting }}'; exit {{ params.code | default(0) }}\nparams: {code: 0}\n");
    let stored = || {
        let mut files = home.files();
        // Of the database only what is durable: its shared memory is an index of readers.
        files.retain(|name, bytes| (name == "millrace.db" || name == "millrace.db-wal") && !bytes.is_empty());
        files
    };
    let before = stored();
    assert!(before.contains_key("millrace.db"));
    let output = home.ok(&["tasks", "test", "talks", "say", "2024-05-06"]);
    assert!(output.stdout.contains("good morning"), "it reads the database: {}", output.stdout);
    home.run(&["tasks", "test", "talks", "say", "2024-05-06", "-t", r#"{"code": 3}"#]).exits(1);
    assert!(stored() == before, "the database or its log of changes was written to");
    assert_eq!(ids(&home.json(&["dags", "list"])), ["hello", "talks"]);
    assert_eq!(home.json(&["dags", "list-runs", "talks"]), json!([]));
}

#[test]
fn case_92_tasks_run_records_and_minds_dependencies() {
    let home = home_with_hello();
    let refused = home.run(&["tasks", "run", "hello", "after", "2024-05-06"]).exits(1);
    assert!(
        refused.stderr.contains("hello is not started") && refused.stderr.contains("--ignore-dependencies"),
        "{}",
        refused.stderr
    );
    home.ok(&["tasks", "run", "hello", "hello", "2024-05-06"]);
    let again = home.run(&["tasks", "run", "hello", "hello", "2024-05-06"]).exits(1);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    home.ok(&["tasks", "run", "hello", "after", "2024-05-06"]);

    let runs = home.json(&["dags", "list-runs", "hello"]);
    assert_eq!(runs.as_array().unwrap().len(), 1);
    assert_eq!((&runs[0]["run_type"], &runs[0]["state"]), (&json!("manual"), &json!("success")));
    assert_eq!(runs[0]["logical_date"], "2024-05-06T00:00:00.000000Z");
    let run_id = runs[0]["run_id"].as_str().unwrap();
    for run in [run_id, "2024-05-06", "2024-05-06T00:00:00Z"] {
        assert_eq!(home.ok(&["tasks", "state", "hello", "hello", run]).stdout, "success\n");
        assert!(home.ok(&["tasks", "logs", "hello", "hello", run]).stdout.contains("hello on 2024-05-06"));
        assert_eq!(home.ok(&["dags", "state", "hello", run]).stdout, "success\n");
    }
    home.ok(&["tasks", "run", "hello", "hello", "2024-05-06", "--force"]);
    let tasks = home.json(&["tasks", "states-for-dag-run", "hello", run_id]);
    let tries: Vec<(&str, u64)> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["task_id"].as_str().unwrap(), task["try_number"].as_u64().unwrap()))
        .collect();
    assert!(tries.contains(&("hello", 2)) && tries.contains(&("after", 1)), "{tries:?}");
    let start = tasks[0]["start_date"].as_str().unwrap();
    assert!(start.len() == 27 && start.ends_with('Z'), "RFC 3339 in UTC with microseconds: {start}");
    assert!(home.ok(&["tasks", "logs", "hello", "hello", run_id, "--try", "1"]).stdout.contains("hello on"));
    let lines = home.json(&["tasks", "logs", "hello", "hello", run_id, "--try", "1"]);
    let said = lines.as_array().unwrap().iter().find(|line| line["event"] == "hello on 2024-05-06").unwrap();
    assert_eq!((&said["level"], &said["try_number"]), (&json!("info"), &json!(1)));
    assert!(said["timestamp"].as_str().unwrap().ends_with('Z'), "{said}");
    let followed = home.ok(&["tasks", "logs", "hello", "hello", run_id, "--try", "1", "--follow", "-o", "json"]).stdout;
    let followed: Vec<Value> = followed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(followed), lines, "an object a line");
    let plain = home.ok(&["tasks", "logs", "hello", "hello", run_id, "-o", "plain"]).stdout;
    assert!(plain.starts_with("try_number  timestamp"), "{plain}");
    home.run(&["tasks", "logs", "hello", "hello", run_id, "--follow", "-o", "yaml"]).exits(2);
    let none = home.run(&["tasks", "logs", "hello", "hello", run_id, "--try", "9"]).exits(1);
    assert!(none.stderr.contains("is number 2; there is no try 9"), "{}", none.stderr);

    let list = home.json(&["tasks", "list", "hello"]);
    assert_eq!(
        (&list[0]["task_id"], &list[1]["task_id"]),
        (&json!("hello"), &json!("after")),
        "in the order of dependencies"
    );
    let rendered = home.json(&["tasks", "render", "hello", "hello", "2024-07-08"]);
    assert_eq!(rendered["bash_command"], "echo hello on 2024-07-08");
}

/// Whether a process lives that is no zombie.
fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn case_57_an_execution_timeout_ends_the_whole_process_group_of_each_try() {
    let mut home = TestHome::new();
    home.set("MILLRACE__WORKER__KILL_GRACE", "1");
    let pids = home.file("pids");
    // It hears SIGTERM and does not care; nor does its child.
    home.write_dag(
        "stubborn.yaml",
        &format!(
            "schedule: none\ntasks:\n  hang:\n    operator: bash\n    retries: 1\n    retry_delay: 0\n    execution_timeout: 1s\n    bash_command: |\n      trap 'echo asked to stop' TERM\n      (trap '' TERM; while true; do sleep 600; done) & echo $$ $! >> {}\n      while true; do wait; done\n",
            pids.display()
        ),
    );
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "stubborn"]);
    home.ok(&["dags", "trigger", "stubborn", "--run-id", "r"]);
    wait_until_blocking("the run fails", PATIENCE, || {
        home.ok(&["dags", "state", "stubborn", "r"]).stdout == "failed\n"
    })
    .unwrap();
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2, "two tries: {pids}");
    assert!(!pids.split_whitespace().any(is_alive), "nothing of either group is left: {pids}");
    let task = &home.json(&["tasks", "states-for-dag-run", "stubborn", "r"])[0];
    assert_eq!(
        (&task["state"], &task["state_reason"], &task["try_number"]),
        (&json!("failed"), &json!("timeout"), &json!(2))
    );
    let log = home.ok(&["tasks", "logs", "stubborn", "hang", "r", "--try", "1"]).stdout;
    assert!(log.contains("asked to stop") && log.contains("execution_timeout"), "{log}");
}

#[test]
fn case_58_a_run_that_takes_too_long_is_stopped_for_real() {
    let home = TestHome::new();
    let pid = home.file("pid");
    home.write_dag(
        "late.yaml",
        &format!(
            "schedule: none\ndagrun_timeout: 2s\ntasks:\n  hang:\n    operator: bash\n    retries: 3\n    bash_command: echo $$ > {}; exec sleep 600\n  next:\n    operator: noop\n    depends_on: hang\n",
            pid.display()
        ),
    );
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "late"]);
    home.ok(&["dags", "trigger", "late", "--run-id", "r"]);
    wait_until_blocking("the run fails", PATIENCE, || home.ok(&["dags", "state", "late", "r"]).stdout == "failed\n")
        .unwrap();
    assert!(!is_alive(std::fs::read_to_string(pid).unwrap().trim()));
    let tasks = home.json(&["tasks", "states-for-dag-run", "late", "r"]);
    let ends: Vec<(&str, &str)> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["state"].as_str().unwrap(), it["state_reason"].as_str().unwrap()))
        .collect();
    assert_eq!(ends, [("failed", "timeout"), ("skipped", "timeout")]);
}

#[test]
fn a_task_that_waits_holds_no_slot_and_says_when_it_looks_again() {
    let mut home = TestHome::new();
    home.set("MILLRACE__CORE__PARALLELISM", "1");
    let there = home.file("there");
    home.write_dag(
        "waits.yaml",
        &format!(
            "schedule: none\ntasks:\n  look:\n    operator: wait_for_file\n    path: {}\n    poke_interval: 2s\n    weight_rule: absolute\n    priority_weight: 9\n  work:\n    operator: noop\n",
            there.display()
        ),
    );
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "waits"]);
    home.ok(&["dags", "trigger", "waits", "--run-id", "r"]);
    wait_until_blocking("the other task runs meanwhile", PATIENCE, || {
        home.task_states("waits", "r")["work"] == "success"
    })
    .unwrap();
    wait_until_blocking("it waits", PATIENCE, || home.task_states("waits", "r")["look"] == "up_for_reschedule")
        .unwrap();
    let why = home.ok(&["tasks", "explain", "waits", "look", "r"]).stdout;
    assert!(why.contains("looks again after") || why.contains("is running"), "{why}");
    std::fs::write(&there, "x").unwrap();
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "waits", "r"]).stdout == "success\n")
        .unwrap();
    let task = &home.json(&["tasks", "states-for-dag-run", "waits", "r"])[0];
    assert_eq!((&task["task_id"], &task["try_number"]), (&json!("look"), &json!(1)), "all looks are one try");
}

#[test]
fn tasks_run_minds_the_run_before_and_the_pool_unless_told_not_to() {
    let home = TestHome::new();
    home.ok(&["pools", "set", "small", "1"]);
    home.write_dag(
        "past.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\ntasks:\n  a: {operator: bash, command: 'exit {{ 1 if ds == \"2024-01-01\" else 0 }}', depends_on_past: true}\n  b: {operator: bash, command: 'true', pool: small, pool_slots: 2}\n",
    );
    home.run(&["tasks", "run", "past", "a", "2024-01-01"]).exits(1);
    let second = |more: &[&str]| home.run(&[&["tasks", "run", "past", "a", "2024-01-02"], more].concat());
    let held = second(&[]).exits(1);
    assert!(held.stderr.contains("depends_on_past: a of 2024-01-01 is failed"), "{}", held.stderr);
    assert!(held.stderr.contains("--ignore-depends-on-past"), "{}", held.stderr);
    second(&["-I"]).exits(0);
    let full = |more: &[&str]| home.run(&[&["tasks", "run", "past", "b", "2024-01-02"], more].concat());
    for some in [&[][..], &["-i"], &["-I"]] {
        let said = full(some).exits(1).stderr;
        assert!(
            said.contains("1 of the 2 slots that the task needs, which can never run")
                && said.contains("--ignore-all-dep"),
            "{said}"
        );
    }
    full(&["-A"]).exits(0);
}

#[test]
fn the_tree_puts_a_group_where_a_task_would_stand() {
    let home = TestHome::new();
    home.write_dag(
        "grouped.yaml",
        "schedule: none\ntasks:\n  extract: {operator: noop}\n  report: {operator: noop, depends_on: [load]}\ngroups:\n  load:\n    depends_on: [extract]\n    tasks:\n      orders: {operator: noop}\n      check: {operator: noop, depends_on: [orders]}\n",
    );
    let expected = "  extract (noop)\n    [load] (group)\n      load.orders (noop) after extract\n        load.check (noop) after load.orders\n      report (noop) after load.check\n";
    assert_eq!(home.ok(&["tasks", "list", "grouped", "--tree"]).stdout, expected);
    assert_eq!(home.json(&["tasks", "list", "grouped", "--tree"])[1]["depends_on"], json!(["extract"]));
}

#[test]
fn a_log_that_cannot_be_written_fails_nothing_and_is_told() {
    let home = TestHome::new();
    home.write_dag(
        "says.yaml",
        "schedule: none\ntasks:\n  says: {operator: bash, bash_command: 'echo one; echo two'}\n",
    );
    let in_the_way = home.file("logs/dag_id=says");
    std::fs::create_dir_all(home.file("logs")).unwrap();
    std::fs::write(&in_the_way, "").unwrap();
    home.ok(&["dags", "unpause", "says"]);
    let mut scheduler = home.scheduler();
    for run in ["one", "two"] {
        home.ok(&["dags", "trigger", "says", "-r", run, "--wait"]);
    }
    scheduler.wait_for_line("lines of the logs of tries cannot be written, and are lost", PATIENCE).unwrap();
    std::fs::remove_file(&in_the_way).unwrap();
    let is_counted = || {
        let said = home.ok(&["tasks", "logs", "says", "says", "one"]).stderr;
        said.contains(" lines of this log could not be written (is the disk full?)")
    };
    wait_until_blocking("the lost lines are counted", PATIENCE, is_counted).unwrap();
    home.ok(&["dags", "trigger", "says", "-r", "three", "--wait"]);
    scheduler.wait_for_line("logs of tries can be written again", PATIENCE).unwrap();
    let told = (scheduler.stdout() + &scheduler.stderr()).matches("and are lost").count();
    assert_eq!(told, 1, "of two tries, once");
}

#[test]
fn tasks_run_beside_a_scheduler_runs_that_task_and_no_other() {
    let home = TestHome::new();
    home.write_dag(
        "one.yaml",
        "schedule: none\ntasks:\n  a: {operator: bash, command: 'echo a'}\n  b: {operator: noop, depends_on: [a]}\n  c: {operator: bash, command: 'exit 1'}\n",
    );
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "one"]);
    let states = |date: &str| {
        let tasks = home.json(&["tasks", "states-for-dag-run", "one", date]);
        let state = |task: &serde_json::Value| task["state"].as_str().unwrap_or("none").to_owned();
        let states: Vec<String> = tasks.as_array().unwrap().iter().map(state).collect();
        (states.join(" "), home.ok(&["dags", "state", "one", date]).stdout.trim().to_owned())
    };
    for date in ["2026-11-03", "2026-11-04", "2026-11-05"] {
        home.ok(&["tasks", "run", "one", "a", date]);
        assert_eq!(states(date), ("success skipped skipped".to_owned(), "success".to_owned()), "{date}");
    }
    // What comes after it may be asked for as well, and again, in the same run; so may what fails.
    home.ok(&["tasks", "run", "one", "b", "2026-11-03"]);
    home.ok(&["tasks", "run", "one", "a", "2026-11-03", "--force"]);
    assert_eq!(states("2026-11-03"), ("success success skipped".to_owned(), "success".to_owned()));
    home.run(&["tasks", "run", "one", "c", "2026-11-05"]).exits(1);
    assert_eq!(states("2026-11-05"), ("success skipped failed".to_owned(), "failed".to_owned()));
    // What may not start makes no run.
    let early = home.run(&["tasks", "run", "one", "b", "2026-11-09"]).exits(1);
    assert!(early.stderr.contains("a is not started"), "{}", early.stderr);
    assert_eq!(home.json(&["dags", "list-runs", "one"]).as_array().unwrap().len(), 3);
}

/// It would set the title of the window, or write into the clipboard.
#[test]
fn a_terminal_obeys_nothing_that_a_task_or_a_person_wrote() {
    let home = TestHome::new();
    home.write_dag(
        "loud.yaml",
        "schedule: none\ntasks:\n  loud: {operator: bash, bash_command: 'printf \"before \\033]0;title\\007 after\\n\"'}\n",
    );
    home.ok(&["tasks", "run", "loud", "loud", "2024-01-01"]);
    home.ok(&["dags", "note", "loud", "2024-01-01", "before \u{1b}]0;title\u{7} after"]);
    for arguments in [vec!["tasks", "logs", "loud", "loud", "2024-01-01"], vec!["dags", "note", "loud", "2024-01-01"]] {
        let command = home.command(&arguments);
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let line = words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        let mut terminal = std::process::Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null()).current_dir(home.path());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => terminal.env(name, value),
                None => terminal.env_remove(name),
            };
        }
        let shown = String::from_utf8(terminal.output().unwrap().stdout).unwrap();
        assert!(shown.contains("before ^[]0;title^G after"), "{arguments:?}: {shown:?}");
        assert!(home.ok(&arguments).stdout.contains("before \u{1b}]0;title\u{7} after"), "a pipe gets it as it is");
    }
}

/// A query that would run on for ten minutes when nobody waits for it any more.
#[test]
fn a_signal_ends_the_query_in_the_database_before_the_command_ends() {
    let postgres = Postgres::shared().and_then(|server| server.create_database()).unwrap();
    let maria = MariaDb::shared().and_then(|server| server.create_database()).unwrap();
    let mut home = TestHome::new();
    home.set("MILLRACE_CONN_POSTGRES", postgres.url()).set("MILLRACE_CONN_MARIA", maria.url());
    let mark = maria.name();
    for (conn_id, sleep) in [("postgres", "pg_sleep(600)"), ("maria", "SLEEP(600)")] {
        let sql = format!("SELECT '{mark}', {sleep}");
        home.write_dag(
            &format!("{conn_id}.yaml"),
            &format!(
                "schedule: none\ntasks:\n  ask: {{operator: sql_check, sql_conn_id: {conn_id}, sql: \"{sql}\"}}\n"
            ),
        );
    }
    // Not the question itself.
    let looked_for = format!("LIKE '%SELECT ''{mark}'',%'");
    let count = |rows: Vec<Vec<Option<String>>>| rows[0][0].as_deref().unwrap().parse::<u32>().unwrap();
    let of_postgres = format!("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query {looked_for}");
    let of_maria = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE info {looked_for}");
    let in_postgres = || count(postgres.query(&of_postgres).unwrap());
    let in_maria = || maria.query(&of_maria).unwrap()[0][0].parse::<u32>().unwrap();
    let asked: [(&str, &dyn Fn() -> u32); 2] = [("postgres", &in_postgres), ("maria", &in_maria)];
    for (dag, running) in asked {
        let mut task = home.daemon(&["tasks", "test", dag, "ask", "2024-05-06"]);
        wait_until_blocking("the query runs", PATIENCE, || running() == 1).unwrap();
        let (ended, which) = match dag {
            "postgres" => (task.interrupt(PATIENCE), "interrupted at the keyboard"),
            _ => (task.terminate(PATIENCE), "stopped by SIGTERM"),
        };
        assert_eq!(ended.unwrap().code(), Some(1));
        assert!(task.stderr().contains(which), "{}", task.stderr());
        wait_until_blocking("the query has ended", PATIENCE, || running() == 0).unwrap();
    }
}

#[test]
fn the_second_signal_leaves_a_task_no_time_and_ends_all_its_processes() {
    let home = TestHome::new();
    // Within the grace of a task it would come to the end of that.
    let tidies = "sleep 2; touch \"$PID_FILE.tidied\"";
    let number = home.file("pid");
    let script = format!("trap '{tidies}' TERM INT; echo $$ > \"$PID_FILE\"; while true; do sleep 0.1; done");
    home.write_dag(
        "deaf.yaml",
        &format!(
            "schedule: none\ntasks:\n  hold:\n    operator: bash\n    bash_command: '{}'\n    env: {{PID_FILE: '{}'}}\n",
            script.replace('\'', "''"),
            number.display()
        ),
    );
    for command in [&["tasks", "test", "deaf", "hold", "2024-05-06"][..], &["dags", "test", "deaf", "2024-05-06"]] {
        let _ = std::fs::remove_file(&number);
        let mut task = home.daemon(command);
        let mut pid = String::new();
        wait_until_blocking("the task runs", PATIENCE, || {
            pid = std::fs::read_to_string(&number).unwrap_or_default().trim().to_owned();
            !pid.is_empty()
        })
        .unwrap();
        let first = std::process::Command::new("kill").args(["-INT", &task.pid().to_string()]).status().unwrap();
        assert!(first.success());
        task.wait_for_line("once more stops at once", PATIENCE).unwrap();
        assert_eq!(task.interrupt(PATIENCE).unwrap().code(), Some(1));
        let is_there = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        wait_until_blocking("its shell is gone", PATIENCE, || !is_there()).unwrap();
        assert!(!home.file("pid.tidied").exists(), "{command:?}");
    }
}
