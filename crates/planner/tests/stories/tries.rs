//! Retries, final failures and lost workers.

use crate::script::check;

#[test]
fn case_54_a_try_is_repeated_strictly_later_than_its_delay_after_the_end() {
    check(
        "dag d none
         - a retries 2
         > at 2024-01-02T00:00
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > at 2024-01-02T00:10
         > fail d 2024-01-02 a
         d/2024-01-02/a up_for_retry until 00:15:00
         wake 2024-01-02T00:15:00.000001
         > why d 2024-01-02 a
         no, try 2 may start after 2024-01-02T00:15:00.000000Z
         > at 2024-01-02T00:15
         wake 2024-01-02T00:15:00.000001
         > at 2024-01-02T00:15:00.000001
         d/2024-01-02/a try 2
         > fail d 2024-01-02 a
         d/2024-01-02/a up_for_retry until 00:20:00
         wake 2024-01-02T00:20:00.000002
         > at 2024-01-02T01:00
         d/2024-01-02/a try 3
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         run d/2024-01-02 failed (task_failure)",
    );
}

#[test]
fn case_56_what_cannot_be_mended_by_trying_again_is_not_tried_again() {
    check(
        "dag d none
         - a retries 5
         - b retries 5
         - c retries 5
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         d/2024-01-02/c try 1
         > fail! d 2024-01-02 a
         d/2024-01-02/a failed
         > skip d 2024-01-02 b
         d/2024-01-02/b skipped
         > stop d 2024-01-02 c marked failed by ann
         d/2024-01-02/c failed
         run d/2024-01-02 failed (task_failure)",
    );
}

#[test]
fn case_60_a_lost_worker_costs_no_try_and_is_made_good_three_times() {
    check(
        "dag d none
         - a
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > lost d 2024-01-02 a
         d/2024-01-02/a up_for_retry uncounted (lost_worker)
         d/2024-01-02/a try 2
         > lost d 2024-01-02 a
         d/2024-01-02/a up_for_retry uncounted (lost_worker)
         d/2024-01-02/a try 3
         > lost d 2024-01-02 a
         d/2024-01-02/a up_for_retry uncounted (lost_worker)
         d/2024-01-02/a try 4
         > lost d 2024-01-02 a
         d/2024-01-02/a failed
         run d/2024-01-02 failed (task_failure)",
    );
}

#[test]
fn a_lost_worker_leaves_the_retries_for_real_failures() {
    check(
        "dag d none
         - a retries 1 delay 0s
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > lost d 2024-01-02 a
         d/2024-01-02/a up_for_retry uncounted (lost_worker)
         d/2024-01-02/a try 2
         > fail d 2024-01-02 a
         d/2024-01-02/a up_for_retry until 00:00:00
         wake 2024-01-02T00:00:00.000001
         > at 2024-01-02T00:01
         d/2024-01-02/a try 3
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         run d/2024-01-02 failed (task_failure)",
    );
}

#[test]
fn a_try_stopped_by_a_shutdown_is_given_again() {
    check(
        "dag d none
         - a
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > stop d 2024-01-02 a shutdown
         d/2024-01-02/a up_for_retry uncounted (shutdown)
         d/2024-01-02/a try 2",
    );
}

#[test]
fn a_completion_with_an_old_token_changes_nothing() {
    check(
        "dag d none
         - a
         - b after a
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         d/2024-01-02/b try 1
         > fail d 2024-01-02 a
         refused job.1",
    );
}

#[test]
fn case_55_waits_grow_from_the_end_of_each_failed_try() {
    // At most the cap, so that the jitter is out of sight: 300 s is capped to 5 min exactly, 1 s has no room for any.
    check(
        "dag d none
         - a retries 9 delay 300s backoff 2 at_most 5m
         - b retries 9 delay 0s backoff 2
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > fail d 2024-01-02 a
         d/2024-01-02/a up_for_retry until 00:05:00
         wake 2024-01-02T00:05:00.000001
         > fail d 2024-01-02 b
         d/2024-01-02/b up_for_retry until 00:00:01
         wake 2024-01-02T00:00:01.000001
         > why d 2024-01-02 b
         no, try 2 may start after 2024-01-02T00:00:01.000000Z",
    );
}

#[test]
fn case_54_each_repetition_is_told_of_and_the_final_failure_once() {
    check(
        "dag d none tells
         - a retries 2 tells
         - b after a rule all_done tells
         - c after a tells
         > at 2024-01-02T00:00
         > trigger d
         run d/2024-01-02 running
         tell of execute of d/2024-01-02/a try 1
         d/2024-01-02/a try 1
         > fail d 2024-01-02 a
         d/2024-01-02/a up_for_retry until 00:05:00
         tell of retry of d/2024-01-02/a try 1 (boom)
         wake 2024-01-02T00:05:00.000001
         > at 2024-01-02T00:10
         tell of execute of d/2024-01-02/a try 2
         d/2024-01-02/a try 2
         > lost d 2024-01-02 a
         d/2024-01-02/a up_for_retry uncounted (lost_worker)
         tell of execute of d/2024-01-02/a try 3
         d/2024-01-02/a try 3
         > fail d 2024-01-02 a
         d/2024-01-02/a up_for_retry until 00:15:00
         tell of retry of d/2024-01-02/a try 3 (boom)
         wake 2024-01-02T00:15:00.000001
         > at 2024-01-02T00:20
         tell of execute of d/2024-01-02/a try 4
         d/2024-01-02/a try 4
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         tell of failure of d/2024-01-02/a try 4 (boom)
         tell of execute of d/2024-01-02/b try 1
         d/2024-01-02/c upstream_failed (all_success: a is failed)
         d/2024-01-02/b try 1
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         run d/2024-01-02 failed (task_failure)
         tell of success of d/2024-01-02/b try 1
         tell of failure of d/2024-01-02 (task_failure: a)",
    );
}

#[test]
fn a_task_that_skips_itself_tells_and_what_is_skipped_because_of_it_does_not() {
    check(
        "dag d none
         - a tells
         - b after a tells
         - c tells
         > at 2024-01-02T00:00
         > trigger d
         run d/2024-01-02 running
         tell of execute of d/2024-01-02/a try 1
         tell of execute of d/2024-01-02/c try 1
         d/2024-01-02/a try 1
         d/2024-01-02/c try 1
         > skip d 2024-01-02 a
         d/2024-01-02/a skipped
         tell of skipped of d/2024-01-02/a try 1 (exit code 99)
         d/2024-01-02/b skipped (all_success: a is skipped)
         > later d 2024-01-02 c 2024-01-02T00:05
         d/2024-01-02/c up_for_reschedule until 00:05:00
         wake 2024-01-02T00:05:00.000001
         > at 2024-01-02T00:06
         d/2024-01-02/c try 1
         > ok d 2024-01-02 c
         d/2024-01-02/c success
         run d/2024-01-02 success
         tell of success of d/2024-01-02/c try 1",
    );
}
