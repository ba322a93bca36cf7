//! Trigger rules over whole graphs, and how a run ends.

use crate::script::check;

#[test]
fn a_failure_is_handed_down_in_one_turn() {
    check(
        "dag d none
         - a
         - b after a
         - c after b
         - x
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/x try 1
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         d/2024-01-02/b upstream_failed (all_success: a is failed)
         d/2024-01-02/c upstream_failed (all_success: b is upstream_failed)
         > ok d 2024-01-02 x
         d/2024-01-02/x success
         run d/2024-01-02 failed (task_failure)",
    );
}

#[test]
fn case_45_all_success_does_not_wait_for_the_rest_to_give_up() {
    check(
        "dag d none
         - a
         - b
         - c after a,b
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > skip d 2024-01-02 a
         d/2024-01-02/a skipped
         d/2024-01-02/c skipped (all_success: a is skipped)
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         run d/2024-01-02 success
         > at 2024-01-03
         > trigger d
         run d/2024-01-03 running
         d/2024-01-03/a try 1
         d/2024-01-03/b try 1
         > fail d 2024-01-03 a
         d/2024-01-03/a failed
         d/2024-01-03/c upstream_failed (all_success: a is failed)
         > why d 2024-01-03 b
         yes, try 1 is running",
    );
}

#[test]
fn a_mark_names_the_upstream_that_its_rule_looks_at() {
    check(
        "dag d none
         - b
         - a
         - k
         - all_failed after a,b rule all_failed
         - all_skipped after k,b rule all_skipped
         - all_skipped_too after k,a rule all_skipped
         - none_skipped after a,k rule none_skipped
         - none_failed after k,a rule none_failed
         - one after b,a,k rule all_done_min_one_success
         - one_failed after k,b rule one_failed
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/k try 1
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         d/2024-01-02/all_failed skipped (all_failed: b is success)
         d/2024-01-02/all_skipped skipped (all_skipped: b is success)
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         d/2024-01-02/all_skipped_too skipped (all_skipped: a is failed)
         d/2024-01-02/none_failed upstream_failed (none_failed: a is failed)
         > skip d 2024-01-02 k
         d/2024-01-02/k skipped
         run d/2024-01-02 failed (task_failure)
         d/2024-01-02/none_skipped skipped (none_skipped: k is skipped)
         d/2024-01-02/one skipped (all_done_min_one_success: k is skipped)
         d/2024-01-02/one_failed skipped (one_failed: k is skipped)",
    );
}

#[test]
fn case_46_one_failed_starts_while_another_still_runs() {
    check(
        "dag d none
         - a
         - b
         - alarm after a,b rule one_failed
         - long
         - first after a,b,long rule one_success
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         d/2024-01-02/long try 1
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         d/2024-01-02/alarm try 1
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         d/2024-01-02/first try 1
         > why d 2024-01-02 long
         yes, try 1 is running",
    );
}

#[test]
fn case_48_only_leaves_decide_how_a_run_ends() {
    check(
        "dag d none
         - a
         - b after a
         - c after b rule all_done
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         d/2024-01-02/b upstream_failed (all_success: a is failed)
         d/2024-01-02/c try 1
         > ok d 2024-01-02 c
         d/2024-01-02/c success
         run d/2024-01-02 success
         > dag e none
         > - a
         > - b after a
         > - c after b rule all_done
         > - leaf after b
         > trigger e
         run e/2024-01-02 running
         e/2024-01-02/a try 1
         > fail e 2024-01-02 a
         e/2024-01-02/a failed
         e/2024-01-02/b upstream_failed (all_success: a is failed)
         e/2024-01-02/leaf upstream_failed (all_success: b is upstream_failed)
         e/2024-01-02/c try 1
         > ok e 2024-01-02 c
         e/2024-01-02/c success
         run e/2024-01-02 failed (task_failure)",
    );
}

#[test]
fn inline_tasks_succeed_at_once_and_hand_on() {
    check(
        "dag d none
         - start inline
         - a after start
         - end after a inline
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/start success
         d/2024-01-02/a try 1
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         d/2024-01-02/end success",
    );
}

#[test]
fn always_does_not_wait_for_anything() {
    check(
        "dag d none
         - a
         - b after a rule always
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1",
    );
}
