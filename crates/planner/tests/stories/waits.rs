//! Waits that hold no slot.

use crate::script::check;

#[test]
fn a_try_that_is_put_off_gives_its_slot_back_and_keeps_its_number() {
    check(
        "dag d none
         - a
         - b
         executor 1
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b scheduled
         d/2024-01-02/a try 1
         > later d 2024-01-02 a 2024-01-02T00:01
         d/2024-01-02/a up_for_reschedule until 00:01:00
         d/2024-01-02/b try 1
         wake 2024-01-02T00:01:00.000001
         > why d 2024-01-02 a
         no, what it waits for was not there: it has looked once since 2024-01-02T00:00:00.000000Z and looks again after 2024-01-02T00:01:00.000000Z
         > at 2024-01-02T00:01:01
         d/2024-01-02/a scheduled
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         d/2024-01-02/a try 1
         > later d 2024-01-02 a 2024-01-02T00:02
         d/2024-01-02/a up_for_reschedule until 00:02:00
         wake 2024-01-02T00:02:00.000001
         > why d 2024-01-02 a
         no, what it waits for was not there: it has looked 2 times since 2024-01-02T00:00:00.000000Z and looks again after 2024-01-02T00:02:00.000000Z
         > at 2024-01-02T00:03
         d/2024-01-02/a try 1
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success",
    );
}

#[test]
fn case_56_a_timeout_of_waiting_is_not_retried_and_an_error_of_a_look_is() {
    check(
        "dag d none
         - a retries 1 delay 1s
         - b retries 1 delay 1s
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > later d 2024-01-02 a 2024-01-02T00:01
         d/2024-01-02/a up_for_reschedule until 00:01:00
         wake 2024-01-02T00:01:00.000001
         > later d 2024-01-02 b 2024-01-02T00:01
         d/2024-01-02/b up_for_reschedule until 00:01:00
         wake 2024-01-02T00:01:00.000001
         > at 2024-01-02T00:02
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > fail! d 2024-01-02 a
         d/2024-01-02/a failed
         > fail d 2024-01-02 b
         d/2024-01-02/b up_for_retry until 00:02:01
         wake 2024-01-02T00:02:01.000001
         > at 2024-01-02T00:03
         d/2024-01-02/b try 2",
    );
}

#[test]
fn a_worker_that_is_lost_while_it_looks_leaves_the_wait_where_it_was() {
    check(
        "dag d none
         - a
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > later d 2024-01-02 a 2024-01-02T00:01
         d/2024-01-02/a up_for_reschedule until 00:01:00
         wake 2024-01-02T00:01:00.000001
         > at 2024-01-02T00:02
         d/2024-01-02/a try 1
         > lost d 2024-01-02 a
         d/2024-01-02/a up_for_reschedule
         d/2024-01-02/a try 1
         > later d 2024-01-02 a 2024-01-02T00:03
         d/2024-01-02/a up_for_reschedule until 00:03:00
         wake 2024-01-02T00:03:00.000001
         > why d 2024-01-02 a
         no, what it waits for was not there: it has looked 3 times since 2024-01-02T00:00:00.000000Z and looks again after 2024-01-02T00:03:00.000000Z",
    );
}

#[test]
fn case_58_a_run_times_out_by_its_start_and_not_by_its_time_in_the_queue() {
    check(
        "dag d none runs 1 timeout 10m
         - a
         - b after a
         > at 2024-01-02T00:00
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         wake 2024-01-02T00:10:00
         > at 2024-01-02T00:05
         wake 2024-01-02T00:10:00
         > trigger d
         wake 2024-01-02T00:10:00
         > at 2024-01-02T00:10
         run d/2024-01-02 winds down (timeout)
         d/2024-01-02/b skipped (timeout)
         stop d/2024-01-02/a (timeout)
         > stop d 2024-01-02 a timeout
         d/2024-01-02/a failed
         run d/2024-01-02 failed (timeout)
         run d/2024-01-02T00:05 running
         d/2024-01-02T00:05/a try 1
         wake 2024-01-02T00:20:00
         > at 2024-01-02T00:19
         wake 2024-01-02T00:20:00
         > at 2024-01-02T00:20
         run d/2024-01-02T00:05 winds down (timeout)
         d/2024-01-02T00:05/b skipped (timeout)
         stop d/2024-01-02T00:05/a (timeout)
         > ok d 2024-01-02T00:05 a
         d/2024-01-02T00:05/a success
         run d/2024-01-02T00:05 failed (timeout)",
    );
}

#[test]
fn case_58_an_hour_in_the_queue_counts_for_nothing() {
    check(
        "dag d none runs 1 timeout 10m
         - a
         > pause d
         > at 2024-01-02T00:00
         > trigger d
         > at 2024-01-02T01:00
         > unpause d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         wake 2024-01-02T01:10:00
         > at 2024-01-02T01:09:59
         wake 2024-01-02T01:10:00
         > at 2024-01-02T01:10
         run d/2024-01-02 winds down (timeout)
         stop d/2024-01-02/a (timeout)",
    );
}

#[test]
fn case_58_teardowns_are_run_after_a_timeout() {
    check(
        "dag d none timeout 10m
         - up setup
         - work after up
         - down teardown rule all_done after up,work
         > at 2024-01-02T00:00
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/up try 1
         wake 2024-01-02T00:10:00
         > ok d 2024-01-02 up
         d/2024-01-02/up success
         d/2024-01-02/work try 1
         wake 2024-01-02T00:10:00
         > at 2024-01-02T00:10
         run d/2024-01-02 winds down (timeout)
         stop d/2024-01-02/work (timeout)
         > stop d 2024-01-02 work timeout
         d/2024-01-02/work failed
         d/2024-01-02/down try 1
         > ok d 2024-01-02 down
         d/2024-01-02/down success
         run d/2024-01-02 failed (timeout)",
    );
}

#[test]
fn a_try_that_waits_outside_gives_its_slots_back_and_gets_one_before_it_goes_on() {
    check(
        "pool p 1
         dag d none tasks 1
         - a pool p
         - b pool p
         executor 1
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b scheduled
         d/2024-01-02/a try 1
         > out d 2024-01-02 a
         d/2024-01-02/a deferred (waits for something outside)
         d/2024-01-02/b try 1
         > why d 2024-01-02 a
         yes, try 1 waits for something outside and holds no slot
         > back d 2024-01-02 a
         > why d 2024-01-02 a
         no, 1 of 1 tasks of the run are active (max_active_tasks)
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         d/2024-01-02/a running
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success",
    );
}

#[test]
fn case_70_deferred_ones_hold_the_slots_of_a_pool_that_counts_them_and_always_those_of_their_key() {
    check(
        "pool p 1 deferred_too
         dag d none
         - a pool p key eu
         - b pool p
         - c key eu
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b scheduled
         d/2024-01-02/c scheduled
         d/2024-01-02/a try 1
         > out d 2024-01-02 a
         d/2024-01-02/a deferred (waits for something outside)
         > why d 2024-01-02 b
         no, pool p: 1 of 1 slots are in use, the task needs 1; held by task a in run manual__2024-01-02T00:00:00+00:00 of DAG d
         > why d 2024-01-02 c
         no, 1 of 1 tries with the key 'eu' are active (concurrency); held by task a in run manual__2024-01-02T00:00:00+00:00 of DAG d
         > back d 2024-01-02 a
         d/2024-01-02/a running
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         d/2024-01-02/b try 1
         d/2024-01-02/c try 1",
    );
}

#[test]
fn what_came_back_is_told_of_what_it_waits_for_and_of_nothing_else() {
    check(
        "pool p 1
         dag d none
         - a pool p key eu per_dag 1
         - b pool p
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b scheduled
         d/2024-01-02/a try 1
         > out d 2024-01-02 a
         d/2024-01-02/a deferred (waits for something outside)
         d/2024-01-02/b try 1
         > pause d
         > back d 2024-01-02 a
         > why d 2024-01-02 a
         no, pool p: 1 of 1 slots are in use, the task needs 1; held by task b in run manual__2024-01-02T00:00:00+00:00 of DAG d
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         d/2024-01-02/a running",
    );
}

#[test]
fn a_try_under_way_goes_on_in_a_paused_dag_and_may_end_outside() {
    check(
        "dag d none
         - a
         - b
         - c after a
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > out d 2024-01-02 a
         d/2024-01-02/a deferred (waits for something outside)
         > out d 2024-01-02 b
         d/2024-01-02/b deferred (waits for something outside)
         > pause d
         > back d 2024-01-02 a
         d/2024-01-02/a running
         > lost d 2024-01-02 b
         d/2024-01-02/b up_for_retry uncounted (lost_worker)
         > ok d 2024-01-02 a
         d/2024-01-02/a success",
    );
}
