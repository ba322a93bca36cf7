//! Runs that are given up: what runs is stopped, what waits is skipped.

use crate::script::check;

#[test]
fn fail_fast_stops_what_runs_and_skips_what_waits() {
    check(
        "dag d none fail_fast
         - a
         - b retries 3
         - c after b
         - d retries 1
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b try 1
         d/2024-01-02/a try 1
         d/2024-01-02/d try 1
         > fail d 2024-01-02 d
         d/2024-01-02/d up_for_retry until 00:05:00
         wake 2024-01-02T00:05:00.000001
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         run d/2024-01-02 winds down (fail_fast: a failed)
         d/2024-01-02/c skipped (fail_fast: a failed)
         d/2024-01-02/d skipped (fail_fast: a failed)
         stop d/2024-01-02/b (fail_fast: a failed)
         > stop d 2024-01-02 b fail_fast: a failed
         d/2024-01-02/b failed
         run d/2024-01-02 failed (fail_fast: a failed)",
    );
}

#[test]
fn a_stopped_try_that_fails_by_itself_or_loses_its_worker_is_not_repeated_and_one_that_succeeds_has_succeeded() {
    check(
        "dag d none fail_fast
         - a
         - b retries 3
         - c retries 3
         - e
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         d/2024-01-02/c try 1
         d/2024-01-02/e try 1
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         run d/2024-01-02 winds down (fail_fast: a failed)
         stop d/2024-01-02/b (fail_fast: a failed)
         stop d/2024-01-02/c (fail_fast: a failed)
         stop d/2024-01-02/e (fail_fast: a failed)
         > fail d 2024-01-02 b
         d/2024-01-02/b failed
         > lost d 2024-01-02 c
         d/2024-01-02/c failed
         > ok d 2024-01-02 e
         d/2024-01-02/e success
         run d/2024-01-02 failed (fail_fast: a failed)",
    );
}
