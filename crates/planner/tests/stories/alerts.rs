//! What people are told of.

use crate::script::{check, play};

#[test]
fn a_late_run_is_told_of_once() {
    check(
        "dag d @daily from 2024-01-01 deadline 2h
         - a
         > at 2024-01-02
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-02T02:00:00
         > at 2024-01-02T02:00
         alert d/2024-01-01 deadline: scheduled__2024-01-01T00:00:00+00:00 was running when it was due, at 2024-01-02T02:00:00.000000Z
         wake 2024-01-03T00:00:00
         > at 2024-01-02T03:00
         wake 2024-01-03T00:00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         wake 2024-01-03T00:00:00
         > at 2024-01-03
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a try 1
         wake 2024-01-03T02:00:00
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         wake 2024-01-04T00:00:00
         > at 2024-01-03T02:00
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn a_deadline_counts_from_what_it_names() {
    check(
        "dag begun @daily from 2024-01-01 deadline start_date:2h window 00:00..01:00
         - a
         > at 2024-01-02
         create begun scheduled__2024-01-01T00:00:00+00:00 queued
         wake 2024-01-02T01:00:00
         > at 2024-01-02T01:00
         run begun/2024-01-01 running
         begun/2024-01-01/a try 1
         wake 2024-01-02T03:00:00
         > at 2024-01-02T03:00
         alert begun/2024-01-01 deadline: scheduled__2024-01-01T00:00:00+00:00 was running when it was due, at 2024-01-02T03:00:00.000000Z
         wake 2024-01-03T00:00:00",
    );
    check(
        "dag dated @daily from 2024-01-01 deadline logical_date:25h
         - a
         > at 2024-01-02
         create dated scheduled__2024-01-01T00:00:00+00:00 running
         dated/2024-01-01/a try 1
         wake 2024-01-02T01:00:00
         > at 2024-01-02T01:00
         alert dated/2024-01-01 deadline: scheduled__2024-01-01T00:00:00+00:00 was running when it was due, at 2024-01-02T01:00:00.000000Z
         wake 2024-01-03T00:00:00",
    );
}

#[test]
fn a_run_that_is_made_up_for_is_given_its_time_from_then_on() {
    check(
        "dag d @daily from 2024-01-01 deadline 2h catchup runs 1
         - a
         > at 2024-01-02T12:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-02T14:00:00
         > at 2024-01-02T14:00
         alert d/2024-01-01 deadline: scheduled__2024-01-01T00:00:00+00:00 was running when it was due, at 2024-01-02T14:00:00.000000Z",
    );
}

#[test]
fn a_run_that_is_made_up_for_is_not_late_before_it_has_started() {
    check(
        "dag d @daily from 2024-01-01 deadline 2h catchup window 10:00..16:00
         - a
         > at 2024-01-02T12:00
         create d scheduled__2024-01-01T00:00:00+00:00 queued
         wake 2024-01-02T16:00:00
         > at 2024-01-02T16:00
         run d/2024-01-01 running
         d/2024-01-01/a try 1
         wake 2024-01-02T18:00:00
         > at 2024-01-02T18:00
         alert d/2024-01-01 deadline: scheduled__2024-01-01T00:00:00+00:00 was running when it was due, at 2024-01-02T18:00:00.000000Z
         wake 2024-01-03T00:00:00",
    );
}

#[test]
fn a_run_that_takes_longer_than_usual_is_told_of() {
    check(
        "dag d @daily from 2024-01-01 usual
         - a
         > at 2024-01-02
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-03T00:00:00
         > at 2024-01-02T00:10
         wake 2024-01-03T00:00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         wake 2024-01-03T00:00:00
         > at 2024-01-03
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a try 1
         wake 2024-01-03T00:20:00
         > at 2024-01-03T00:19:59
         wake 2024-01-03T00:20:00
         > at 2024-01-03T00:20
         alert d/2024-01-02 longer_than_usual: scheduled__2024-01-02T00:00:00+00:00 has been running for 20m; 10m is usual
         wake 2024-01-04T00:00:00
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn case_62_a_dag_is_paused_after_failures_in_a_row() {
    check(
        "dag d @daily from 2024-01-01 failures 2
         - a
         > at 2024-01-02
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-03T00:00:00
         > fail! d 2024-01-01 a
         d/2024-01-01/a failed
         run d/2024-01-01 failed (task_failure)
         wake 2024-01-03T00:00:00
         > at 2024-01-03
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         wake 2024-01-04T00:00:00
         > at 2024-01-04
         create d scheduled__2024-01-03T00:00:00+00:00 running
         d/2024-01-03/a try 1
         wake 2024-01-05T00:00:00
         > fail! d 2024-01-03 a
         d/2024-01-03/a failed
         run d/2024-01-03 failed (task_failure)
         wake 2024-01-05T00:00:00
         > at 2024-01-05
         create d scheduled__2024-01-04T00:00:00+00:00 running
         d/2024-01-04/a try 1
         wake 2024-01-06T00:00:00
         > fail! d 2024-01-04 a
         d/2024-01-04/a failed
         run d/2024-01-04 failed (task_failure)
         pause d (2 runs have failed in a row, the last of them to end scheduled__2024-01-04T00:00:00+00:00)
         alert d/2024-01-04 auto_paused: the DAG was paused: 2 runs have failed in a row, the last of them to end scheduled__2024-01-04T00:00:00+00:00
         > at 2024-01-06",
    );
}

#[test]
fn case_62_failures_in_a_row_are_counted_by_date_and_not_in_the_order_of_their_ends() {
    let told = play(
        "dag d @daily from 2024-01-01 failures 2 catchup runs 3
         - a
         > at 2024-01-03
         > ok d 2024-01-02 a
         > fail! d 2024-01-01 a
         > at 2024-01-04
         > fail! d 2024-01-03 a
         > at 2024-01-05
         > fail! d 2024-01-04 a",
    );
    let pauses: Vec<&str> = told.lines().filter(|line| line.starts_with("pause")).collect();
    let last = "the last of them to end scheduled__2024-01-04T00:00:00+00:00";
    assert_eq!(pauses, [format!("pause d (2 runs have failed in a row, {last})")], "{told}");
}
