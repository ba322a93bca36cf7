//! What becomes of dates that were due and not run.

use crate::script::check;

#[test]
fn case_05_each_missed_hour_has_a_record_of_its_own() {
    check(
        "dag d @hourly from 2024-01-01
         - a inline
         > at 2024-01-01T01:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         run d/2024-01-01 success
         d/2024-01-01/a success
         wake 2024-01-01T02:00:00
         > at 2024-01-01T05:00
         create d scheduled__2024-01-01T04:00:00+00:00 running
         coalesced d 2024-01-01T01:00 (the run for 2024-01-01T04:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T02:00 (the run for 2024-01-01T04:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T03:00 (the run for 2024-01-01T04:00:00.000000Z stands for it (misfire: latest))
         run d/2024-01-01T04:00 success
         d/2024-01-01T04:00/a success
         wake 2024-01-01T06:00:00",
    );
}

#[test]
fn case_34_a_clock_that_jumps_ahead_is_an_outage() {
    check(
        "dag all @hourly from 2024-01-01 misfire all
         - a inline
         dag latest @hourly from 2024-01-01 misfire latest
         - a inline
         dag none @hourly from 2024-01-01 misfire none
         - a inline
         dag within @hourly from 2024-01-01 misfire within:2h
         - a inline
         dag max @hourly from 2024-01-01 misfire max:2
         - a inline
         dag both @hourly from 2024-01-01 misfire within:3h,max:1
         - a inline
         > at 2024-01-01T01:00
         create all scheduled__2024-01-01T00:00:00+00:00 running
         create both scheduled__2024-01-01T00:00:00+00:00 running
         create latest scheduled__2024-01-01T00:00:00+00:00 running
         create max scheduled__2024-01-01T00:00:00+00:00 running
         create none scheduled__2024-01-01T00:00:00+00:00 running
         create within scheduled__2024-01-01T00:00:00+00:00 running
         run all/2024-01-01 success
         run both/2024-01-01 success
         run latest/2024-01-01 success
         run max/2024-01-01 success
         run none/2024-01-01 success
         run within/2024-01-01 success
         all/2024-01-01/a success
         both/2024-01-01/a success
         latest/2024-01-01/a success
         max/2024-01-01/a success
         none/2024-01-01/a success
         within/2024-01-01/a success
         wake 2024-01-01T02:00:00
         > at 2024-01-01T05:20
         create all scheduled__2024-01-01T01:00:00+00:00 running
         create all scheduled__2024-01-01T02:00:00+00:00 running
         create all scheduled__2024-01-01T03:00:00+00:00 running
         create all scheduled__2024-01-01T04:00:00+00:00 running
         create both scheduled__2024-01-01T04:00:00+00:00 running
         create latest scheduled__2024-01-01T04:00:00+00:00 running
         create max scheduled__2024-01-01T03:00:00+00:00 running
         create max scheduled__2024-01-01T04:00:00+00:00 running
         create within scheduled__2024-01-01T03:00:00+00:00 running
         create within scheduled__2024-01-01T04:00:00+00:00 running
         skipped both 2024-01-01T01:00 (missed beyond the bounds (misfire: {within: 3h, max: 1}))
         skipped both 2024-01-01T02:00 (missed beyond the bounds (misfire: {within: 3h, max: 1}))
         skipped both 2024-01-01T03:00 (missed beyond the bounds (misfire: {within: 3h, max: 1}))
         coalesced latest 2024-01-01T01:00 (the run for 2024-01-01T04:00:00.000000Z stands for it (misfire: latest))
         coalesced latest 2024-01-01T02:00 (the run for 2024-01-01T04:00:00.000000Z stands for it (misfire: latest))
         coalesced latest 2024-01-01T03:00 (the run for 2024-01-01T04:00:00.000000Z stands for it (misfire: latest))
         skipped max 2024-01-01T01:00 (missed beyond the bounds (misfire: {max: 2}))
         skipped max 2024-01-01T02:00 (missed beyond the bounds (misfire: {max: 2}))
         skipped none 2024-01-01T01:00 (missed by more than a minute (misfire: none))
         skipped none 2024-01-01T02:00 (missed by more than a minute (misfire: none))
         skipped none 2024-01-01T03:00 (missed by more than a minute (misfire: none))
         skipped none 2024-01-01T04:00 (missed by more than a minute (misfire: none))
         skipped within 2024-01-01T01:00 (missed beyond the bounds (misfire: {within: 2h}))
         skipped within 2024-01-01T02:00 (missed beyond the bounds (misfire: {within: 2h}))
         run all/2024-01-01T01:00 success
         run all/2024-01-01T02:00 success
         run all/2024-01-01T03:00 success
         run all/2024-01-01T04:00 success
         run both/2024-01-01T04:00 success
         run latest/2024-01-01T04:00 success
         run max/2024-01-01T03:00 success
         run max/2024-01-01T04:00 success
         run within/2024-01-01T03:00 success
         run within/2024-01-01T04:00 success
         all/2024-01-01T01:00/a success
         all/2024-01-01T02:00/a success
         all/2024-01-01T03:00/a success
         all/2024-01-01T04:00/a success
         both/2024-01-01T04:00/a success
         latest/2024-01-01T04:00/a success
         max/2024-01-01T03:00/a success
         max/2024-01-01T04:00/a success
         within/2024-01-01T03:00/a success
         within/2024-01-01T04:00/a success
         wake 2024-01-01T06:00:00",
    );
}

#[test]
fn years_of_minutes_are_one_record() {
    check(
        "dag d cron *_*_*_*_* from 2019-01-01 misfire none paused
         - a inline
         > at 2024-01-01T00:00:30
         > unpause d
         create d scheduled__2023-12-31T23:59:00+00:00 running
         skipped d 2019-01-01T00:00..2023-12-31T23:58 x2629439 (missed by more than a minute (misfire: none))
         run d/2023-12-31T23:59 success
         d/2023-12-31T23:59/a success
         wake 2024-01-01T00:01:00
         > at 2024-01-01T00:01:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         run d/2024-01-01 success
         d/2024-01-01/a success
         wake 2024-01-01T00:02:00
         > at 2024-01-01T00:05:30
         create d scheduled__2024-01-01T00:04:00+00:00 running
         skipped d 2024-01-01T00:01 (missed by more than a minute (misfire: none))
         skipped d 2024-01-01T00:02 (missed by more than a minute (misfire: none))
         skipped d 2024-01-01T00:03 (missed by more than a minute (misfire: none))
         run d/2024-01-01T00:04 success
         d/2024-01-01T00:04/a success
         wake 2024-01-01T00:06:00",
    );
}

#[test]
fn what_was_missed_before_the_end_date_is_recorded_once() {
    check(
        "dag d @daily from 2024-01-01 until 2024-01-03
         - a inline
         > at 2024-01-10
         skipped d 2024-01-01T00:00 (the end_date has passed (misfire: latest))
         skipped d 2024-01-02T00:00 (the end_date has passed (misfire: latest))
         skipped d 2024-01-03T00:00 (the end_date has passed (misfire: latest))
         > at 2024-01-11
         > next d
         no, its schedule has no further run; it runs when triggered",
    );
}

#[test]
fn a_full_dag_misses_dates_too() {
    check(
        "dag d @hourly from 2024-01-01 runs 1 misfire within:90m
         - a
         > at 2024-01-01T01:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         > at 2024-01-01T05:10
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         create d scheduled__2024-01-01T03:00:00+00:00 running
         skipped d 2024-01-01T01:00 (missed beyond the bounds (misfire: {within: 1h 30m}))
         skipped d 2024-01-01T02:00 (missed beyond the bounds (misfire: {within: 1h 30m}))
         d/2024-01-01T03:00/a try 1",
    );
}
