//! Branches, short circuits, setups and teardowns.

use crate::script::check;

#[test]
fn case_47_a_join_of_branches_is_skipped_unless_it_asks_for_one_success() {
    check(
        "dag d none
         - choose
         - a after choose
         - b after choose
         - all after a,b
         - some after a,b rule none_failed_min_one_success
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/choose try 1
         > ok d 2024-01-02 choose follow a
         d/2024-01-02/choose success
         d/2024-01-02/b skipped (branch: not followed by choose)
         d/2024-01-02/all skipped (all_success: b is skipped)
         d/2024-01-02/a try 1
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         d/2024-01-02/some try 1",
    );
}

#[test]
fn a_branch_skips_only_the_tasks_directly_after_it_and_at_once() {
    check(
        "dag d none
         - choose
         - slow
         - a after choose,slow rule all_done
         - b after a rule all_done
         - drop after choose teardown
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/choose try 1
         d/2024-01-02/slow try 1
         > ok d 2024-01-02 choose follow other
         d/2024-01-02/choose success
         d/2024-01-02/a skipped (branch: not followed by choose)
         d/2024-01-02/b try 1
         d/2024-01-02/drop try 1",
    );
}

#[test]
fn case_53_a_short_circuit_skips_everything_or_only_what_comes_directly_after() {
    let begin = "dag d none
         - stop
         - a after stop
         - b after a rule all_done
         - drop after b teardown
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/stop try 1
         > ok d 2024-01-02 stop";
    check(&format!(
        "{begin} skip_descendants
         d/2024-01-02/stop success
         d/2024-01-02/a skipped (short_circuit: stop let nothing after it run)
         d/2024-01-02/b skipped (short_circuit: stop let nothing after it run)
         d/2024-01-02/drop try 1"
    ));
    check(&format!(
        "{begin} skip_children
         d/2024-01-02/stop success
         d/2024-01-02/a skipped (short_circuit: skipped by stop)
         d/2024-01-02/b try 1"
    ));
    check(&format!(
        "{begin}
         d/2024-01-02/stop success
         d/2024-01-02/a try 1"
    ));
}

/// A setup, its work, its teardown: the setup runs.
const SCOPE: &str = "dag d none
         - create setup
         - work after create
         - drop after create,work teardown
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/create try 1";

#[test]
fn case_52_a_teardown_runs_after_a_failure_and_the_run_fails_all_the_same() {
    check(&format!(
        "{SCOPE}
         > ok d 2024-01-02 create
         d/2024-01-02/create success
         d/2024-01-02/work try 1
         > why d 2024-01-02 drop
         no, all_done_setup_success: 1 of 2 upstream tasks have ended (work is running)
         > fail d 2024-01-02 work
         d/2024-01-02/work failed
         d/2024-01-02/drop try 1
         > ok d 2024-01-02 drop
         d/2024-01-02/drop success
         run d/2024-01-02 failed (task_failure)"
    ));
}

#[test]
fn case_52_a_failing_teardown_fails_the_run_only_if_told_so() {
    for (dag, end) in [
        (SCOPE.to_owned(), "run d/2024-01-02 success"),
        (SCOPE.replace("work teardown", "work teardown fails_run"), "run d/2024-01-02 failed (task_failure)"),
    ] {
        check(&format!(
            "{dag}
             > ok d 2024-01-02 create
             d/2024-01-02/create success
             d/2024-01-02/work try 1
             > ok d 2024-01-02 work
             d/2024-01-02/work success
             d/2024-01-02/drop try 1
             > fail d 2024-01-02 drop
             d/2024-01-02/drop failed
             {end}"
        ));
    }
}

#[test]
fn case_52_without_its_setup_neither_work_nor_teardown_runs() {
    for (end, state, run) in [("fail", "upstream_failed", "failed (task_failure)"), ("skip", "skipped", "success")] {
        let (ended, reason) =
            if end == "fail" { ("failed", "setup create is failed") } else { ("skipped", "setup create is skipped") };
        check(&format!(
            "{SCOPE}
             > {end} d 2024-01-02 create
             d/2024-01-02/create {ended}
             run d/2024-01-02 {run}
             d/2024-01-02/work {state} ({reason})
             d/2024-01-02/drop {state} (all_done_setup_success: create is {ended})"
        ));
    }
}

#[test]
fn case_52_whatever_their_rules_tasks_wait_for_a_setup_until_its_teardown_has_run() {
    check(
        "dag d none
         - create setup
         - first after create
         - always after first rule always
         - drop after create,always teardown
         - later after drop rule all_done
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/create try 1
         > why d 2024-01-02 always
         no, setup create is running
         > fail d 2024-01-02 create
         d/2024-01-02/create failed
         d/2024-01-02/first upstream_failed (setup create is failed)
         d/2024-01-02/always upstream_failed (setup create is failed)
         d/2024-01-02/drop upstream_failed (all_done_setup_success: create is failed)
         d/2024-01-02/later try 1",
    );
}

#[test]
fn case_52_a_teardown_waits_for_everything_between_it_and_its_setup() {
    check(
        "dag d none
         - create setup
         - slow after create
         - quick after create
         - either after slow,quick rule one_success
         - drop after create,either teardown
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/create try 1
         > ok d 2024-01-02 create
         d/2024-01-02/create success
         d/2024-01-02/slow try 1
         d/2024-01-02/quick try 1
         > ok d 2024-01-02 quick
         d/2024-01-02/quick success
         d/2024-01-02/either try 1
         > ok d 2024-01-02 either
         d/2024-01-02/either success
         > why d 2024-01-02 drop
         no, teardown: slow is running
         > fail d 2024-01-02 slow
         d/2024-01-02/slow failed
         d/2024-01-02/drop try 1",
    );
}

#[test]
fn a_run_that_is_stopped_still_runs_its_teardowns_with_their_retries() {
    check(
        "dag d none fail_fast
         - create setup
         - work after create
         - drop after create,work teardown retries 1
         - other
         - last after other
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/create try 1
         d/2024-01-02/other try 1
         > ok d 2024-01-02 create
         d/2024-01-02/create success
         d/2024-01-02/work try 1
         > fail d 2024-01-02 work
         d/2024-01-02/work failed
         run d/2024-01-02 winds down (fail_fast: work failed)
         d/2024-01-02/last skipped (fail_fast: work failed)
         d/2024-01-02/drop try 1
         stop d/2024-01-02/other (fail_fast: work failed)
         > stop d 2024-01-02 other fail_fast: work failed
         d/2024-01-02/other failed
         > fail d 2024-01-02 drop
         d/2024-01-02/drop up_for_retry until 00:05:00
         wake 2024-01-02T00:05:00.000001
         > at 2024-01-02T01:00
         d/2024-01-02/drop try 2
         > ok d 2024-01-02 drop
         d/2024-01-02/drop success
         run d/2024-01-02 failed (fail_fast: work failed)",
    );
}

#[test]
fn a_deadlock_leaves_nothing_behind_that_a_setup_made() {
    check(
        "dag d none
         - up setup
         - work after up over gone
         - down after up,work teardown
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/up try 1
         > ok d 2024-01-02 up
         d/2024-01-02/up success
         run d/2024-01-02 winds down (deadlock)
         d/2024-01-02/work skipped (deadlock)
         d/2024-01-02/down try 1
         > ok d 2024-01-02 down
         d/2024-01-02/down success
         run d/2024-01-02 failed (deadlock)",
    );
}
