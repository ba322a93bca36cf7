//! What tasks leave for others, of their own run and of later ones.

use crate::support::TestHome;

/// Each run counts on from what the newest earlier one left; only the first has nothing to go on from.
#[test]
fn a_result_of_an_earlier_run_is_read_on_request() {
    let home = TestHome::new();
    let counts = home.file("counts");
    home.write_dag(
        "d.yaml",
        &format!(
            "schedule: none\ntasks:\n  count:\n    operator: bash\n    bash_command: |\n      n=$(( {{{{ ti.xcom_pull('count', include_prior_dates=true) | default(0) }}}} + 1 ))\n      echo $n >> {}\n      echo $n\n",
            counts.display()
        ),
    );
    home.ok(&["dags", "unpause", "d"]);
    let _scheduler = home.scheduler();
    for run in ["one", "two", "three"] {
        home.ok(&["dags", "trigger", "d", "-r", run, "--wait"]);
    }
    assert_eq!(std::fs::read_to_string(&counts).unwrap(), "1\n2\n3\n");
}
