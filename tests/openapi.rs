//! The whole API answers as its own document says: schemathesis makes requests from the document, right ones and wrong
//! ones, and looks at what comes back.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::fs;
use std::process::Command;

use support::{PATIENCE, TestHome, repository};

/// Not held against the API, each with its reason.
const NOT_CHECKED: &str = concat!(
    // Not every rule can be said in a schema: a name that is taken, a schedule that makes no sense, dates the wrong way round.
    "positive_data_acceptance,",
    // Wrong passwords from one place are soon answered with 429, as they should be; every address is asked by nobody, and
    // by every role, in the server's own tests.
    "ignored_auth",
);

/// Not asked: what does not end by itself; what would change or delete the one who asks.
const NOT_ASKED: &str = "/events$|/wait$|^/api/v1/users/|^/api/v1/account/password$";

#[test]
fn nothing_is_answered_that_the_document_does_not_say() {
    let program = repository().join("tests/openapi/venv/bin/schemathesis");
    assert!(program.exists(), "{} is missing; tests/setup.sh installs it", program.display());
    let home = TestHome::new();
    fs::remove_dir(home.file("dags")).unwrap();
    let mut daemon = home.daemon(&["standalone", "--demo", "--port", "0"]);
    let line = daemon.wait_for_line("address   http://127.0.0.1:", PATIENCE).unwrap();
    let address = line.trim().strip_prefix("address").unwrap().trim().to_owned();
    let password = fs::read_to_string(home.file("admin_password")).unwrap();

    let output = Command::new(&program)
        .arg("--config-file")
        .arg(repository().join("tests/openapi/schemathesis.toml"))
        .arg("run")
        .arg(format!("{address}/api/v1/openapi.json"))
        .args(["--auth", &format!("admin:{}", password.trim())])
        .args(["--exclude-checks", NOT_CHECKED, "--exclude-path-regex", NOT_ASKED])
        .args(["--phases", "coverage,fuzzing,stateful", "--max-examples", "2", "--seed", "1"])
        .args(["--continue-on-failure", "--no-shrink", "--no-color", "--warnings", "off"])
        .args(["--generation-database", "none", "--request-timeout", "60"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    // That it asked at all: an empty document has no failures either.
    let tested = told.lines().find_map(|line| line.trim().strip_prefix("Tested: ")).unwrap_or_default();
    assert!(tested.trim().parse::<u32>().is_ok_and(|count| count > 90), "{told}");
    daemon.terminate(PATIENCE).unwrap();
}
