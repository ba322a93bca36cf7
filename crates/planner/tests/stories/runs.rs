//! When runs are created and begin.

use crate::script::check;

#[test]
fn case_01_every_complete_interval_is_made_up_for() {
    check(
        "dag d @daily from 2024-01-01 catchup
         - a
         > at 2024-01-04T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-02T00:00:00+00:00 running
         create d scheduled__2024-01-03T00:00:00+00:00 running
         d/2024-01-01/a try 1
         d/2024-01-02/a try 1
         d/2024-01-03/a try 1
         wake 2024-01-05T00:00:00",
    );
}

#[test]
fn case_02_an_interval_counts_when_it_is_over() {
    check(
        "dag d @daily from 2024-01-01 catchup
         - a
         > at 2024-01-03T23:59:59
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-01/a try 1
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn case_05_without_catchup_an_outage_costs_all_but_the_latest() {
    check(
        "dag d @hourly from 2024-01-01
         - a
         > at 2024-01-01T01:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-01T02:00:00
         > ok d 2024-01-01T00:00 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         wake 2024-01-01T02:00:00
         > at 2024-01-01T11:00
         create d scheduled__2024-01-01T10:00:00+00:00 running
         coalesced d 2024-01-01T01:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T02:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T03:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T04:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T05:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T06:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T07:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T08:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T09:00 (the run for 2024-01-01T10:00:00.000000Z stands for it (misfire: latest))
         d/2024-01-01T10:00/a try 1
         wake 2024-01-01T12:00:00",
    );
}

#[test]
fn case_06_with_catchup_an_outage_is_made_up_for_within_max_active_runs_oldest_first() {
    check(
        "dag d @hourly from 2024-01-01 catchup runs 2
         - a
         > at 2024-01-01T04:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-01T01:00:00+00:00 running
         d/2024-01-01/a try 1
         d/2024-01-01T01:00/a try 1
         > ok d 2024-01-01T01:00 a
         d/2024-01-01T01:00/a success
         run d/2024-01-01T01:00 success
         create d scheduled__2024-01-01T02:00:00+00:00 running
         d/2024-01-01T02:00/a try 1
         > ok d 2024-01-01T00:00 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         create d scheduled__2024-01-01T03:00:00+00:00 running
         d/2024-01-01T03:00/a try 1
         > next d
         no, 2 of 2 runs of the DAG are active (max_active_runs); held by run scheduled__2024-01-01T02:00:00+00:00, run scheduled__2024-01-01T03:00:00+00:00",
    );
}

#[test]
fn case_08_a_start_date_in_the_future_is_waited_for_and_said() {
    check(
        "dag d @daily from 2024-02-01
         - a
         > at 2024-01-10
         wake 2024-02-02T00:00:00
         > next d
         no, the run for 2024-02-01T00:00:00.000000Z starts at 2024-02-02T00:00:00.000000Z
         > at 2024-02-02
         create d scheduled__2024-02-01T00:00:00+00:00 running
         d/2024-02-01/a try 1
         wake 2024-02-03T00:00:00",
    );
}

#[test]
fn case_09_the_end_date_is_the_last_logical_date() {
    check(
        "dag d @daily from 2024-01-02 until 2024-01-03 catchup
         - a inline
         > at 2024-01-10
         create d scheduled__2024-01-02T00:00:00+00:00 running
         create d scheduled__2024-01-03T00:00:00+00:00 running
         run d/2024-01-02 success
         run d/2024-01-03 success
         d/2024-01-02/a success
         d/2024-01-03/a success
         > next d
         no, its schedule has no further run; it runs when triggered",
    );
}

#[test]
fn case_34_a_clock_that_steps_back_repeats_nothing() {
    check(
        "dag d @hourly from 2024-01-01
         - a inline
         > at 2024-01-01T02:00
         create d scheduled__2024-01-01T01:00:00+00:00 running
         coalesced d 2024-01-01T00:00 (the run for 2024-01-01T01:00:00.000000Z stands for it (misfire: latest))
         run d/2024-01-01T01:00 success
         d/2024-01-01T01:00/a success
         wake 2024-01-01T03:00:00
         > at 2024-01-01T01:00
         wake 2024-01-01T03:00:00
         > at 2024-01-01T02:00
         wake 2024-01-01T03:00:00
         > at 2024-01-01T03:00
         create d scheduled__2024-01-01T02:00:00+00:00 running
         run d/2024-01-01T02:00 success
         d/2024-01-01T02:00/a success
         wake 2024-01-01T04:00:00",
    );
}

#[test]
fn case_33_once_is_once() {
    check(
        "dag d @once from 2024-01-05
         - a inline
         > at 2024-01-04
         wake 2024-01-05T00:00:00
         > at 2024-01-06
         create d scheduled__2024-01-05T00:00:00+00:00 running
         run d/2024-01-05 success
         d/2024-01-05/a success
         > at 2024-01-07",
    );
}

#[test]
fn case_33_continuous_is_never_two_at_a_time() {
    check(
        "dag d @continuous from 2024-01-01 runs 5
         - a
         > at 2024-01-01T10:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         > at 2024-01-01T11:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         create d scheduled__2024-01-01T10:00:00+00:00 running
         d/2024-01-01T10:00/a try 1",
    );
}

#[test]
fn a_continuous_dag_that_fails_at_once_does_not_spin() {
    check(
        "dag d @continuous from 2024-01-01
         - a inline
         > at 2024-01-01T10:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         run d/2024-01-01 success
         d/2024-01-01/a success
         wake 2024-01-01T10:00:10
         > next d
         no, the run for 2024-01-01T10:00:00.000000Z starts at 2024-01-01T10:00:10.000000Z
         > at 2024-01-01T10:00:09
         wake 2024-01-01T10:00:10
         > at 2024-01-01T10:00:10
         create d scheduled__2024-01-01T10:00:00+00:00 running
         run d/2024-01-01T10:00 success
         d/2024-01-01T10:00/a success
         wake 2024-01-01T10:00:20",
    );
}

#[test]
fn case_35_one_run_at_a_time_and_a_manual_one_waits_in_the_queue() {
    check(
        "dag d @daily from 2024-01-01 catchup runs 1
         - a
         > at 2024-01-03T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         > trigger d
         > why d 2024-01-03 a
         no, the run is queued: 1 of 1 runs of the DAG are running (max_active_runs); held by run scheduled__2024-01-01T00:00:00+00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         run d/2024-01-03 running
         d/2024-01-03/a try 1
         > ok d 2024-01-03 a
         d/2024-01-03/a success
         run d/2024-01-03 success
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a try 1",
    );
}

#[test]
fn case_35_five_due_dates_run_one_after_the_other_oldest_first() {
    check(
        "dag d @daily from 2024-01-01 catchup runs 1
         - a
         > at 2024-01-06T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a try 1
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         create d scheduled__2024-01-03T00:00:00+00:00 running
         d/2024-01-03/a try 1
         > ok d 2024-01-03 a
         d/2024-01-03/a success
         run d/2024-01-03 success
         create d scheduled__2024-01-04T00:00:00+00:00 running
         d/2024-01-04/a try 1
         > ok d 2024-01-04 a
         d/2024-01-04/a success
         run d/2024-01-04 success
         create d scheduled__2024-01-05T00:00:00+00:00 running
         d/2024-01-05/a try 1
         > ok d 2024-01-05 a
         d/2024-01-05/a success
         run d/2024-01-05 success
         wake 2024-01-07T00:00:00",
    );
}

#[test]
fn a_scheduled_run_whose_date_is_taken_is_passed_over() {
    check(
        "dag d @daily from 2024-01-01 runs 1
         - a inline
         > at 2024-01-01
         wake 2024-01-02T00:00:00
         > trigger d
         run d/2024-01-01 running
         run d/2024-01-01 success
         d/2024-01-01/a success
         wake 2024-01-02T00:00:00
         > at 2024-01-02
         create d scheduled__2024-01-01T00:00:00+00:00 running
         refused scheduled__2024-01-01T00:00:00+00:00
         wake 2024-01-03T00:00:00
         > at 2024-01-03
         create d scheduled__2024-01-02T00:00:00+00:00 running
         run d/2024-01-02 success
         d/2024-01-02/a success
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn case_36_lowering_the_limit_kills_nothing_and_starts_nothing() {
    check(
        "dag d none runs 3
         - a
         > at 2024-01-01T01:00
         > trigger d
         run d/2024-01-01T01:00 running
         d/2024-01-01T01:00/a try 1
         > at 2024-01-01T02:00
         > trigger d
         run d/2024-01-01T02:00 running
         d/2024-01-01T02:00/a try 1
         > at 2024-01-01T03:00
         > trigger d
         run d/2024-01-01T03:00 running
         d/2024-01-01T03:00/a try 1
         > dag d none runs 1
         > - a
         > at 2024-01-01T04:00
         > trigger d
         > ok d 2024-01-01T01:00 a
         d/2024-01-01T01:00/a success
         run d/2024-01-01T01:00 success
         > ok d 2024-01-01T02:00 a
         d/2024-01-01T02:00/a success
         run d/2024-01-01T02:00 success
         > why d 2024-01-01T03:00 a
         yes, try 1 is running
         > ok d 2024-01-01T03:00 a
         d/2024-01-01T03:00/a success
         run d/2024-01-01T03:00 success
         run d/2024-01-01T04:00 running
         d/2024-01-01T04:00/a try 1",
    );
}

#[test]
fn case_39_a_backfill_has_its_own_limit_and_moves_no_pointer_even_when_the_dag_is_paused() {
    check(
        "dag d @daily from 2024-01-01 runs 1
         - a
         > at 2024-01-10
         create d scheduled__2024-01-09T00:00:00+00:00 running
         coalesced d 2024-01-01T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-02T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-03T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-04T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-05T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-06T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-07T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-08T00:00 (the run for 2024-01-09T00:00:00.000000Z stands for it (misfire: latest))
         d/2024-01-09/a try 1
         > backfill d 7 runs 2 2024-01-03 2024-01-04 2024-01-05
         run d/2024-01-03 running
         run d/2024-01-04 running
         d/2024-01-03/a try 1
         d/2024-01-04/a try 1
         > pause d
         > ok d 2024-01-03 a
         d/2024-01-03/a success
         run d/2024-01-03 success
         run d/2024-01-05 running
         d/2024-01-05/a try 1",
    );
}

#[test]
fn a_paused_dag_starts_nothing_and_goes_on_where_it_was() {
    check(
        "dag d @daily from 2024-01-01
         - a
         - b after a
         - c after b inline
         > at 2024-01-02
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-03T00:00:00
         > pause d
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         > why d 2024-01-01 b
         no, DAG d is paused
         > trigger d
         > unpause d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-01/b try 1
         wake 2024-01-03T00:00:00
         > ok d 2024-01-01 b
         d/2024-01-01/b success
         run d/2024-01-01 success
         d/2024-01-01/c success
         wake 2024-01-03T00:00:00",
    );
}
