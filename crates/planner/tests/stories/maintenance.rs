//! Windows in which nothing starts.

use crate::script::check;

#[test]
fn nothing_starts_in_a_window_and_nothing_is_lost() {
    check(
        "dag d @hourly from 2024-01-01 misfire none window 02:30..05:00
         - a
         - b after a
         > at 2024-01-01T02:00
         create d scheduled__2024-01-01T01:00:00+00:00 running
         skipped d 2024-01-01T00:00 (missed by more than a minute (misfire: none))
         d/2024-01-01T01:00/a try 1
         wake 2024-01-01T02:30:00
         > at 2024-01-01T02:30
         wake 2024-01-01T03:00:00
         > ok d 2024-01-01T01:00 a
         d/2024-01-01T01:00/a success
         wake 2024-01-01T03:00:00
         > why d 2024-01-01T01:00 b
         no, held by the maintenance window 02:30..05:00 UTC until 2024-01-01T05:00:00.000000Z
         > at 2024-01-01T03:00
         create d scheduled__2024-01-01T02:00:00+00:00 queued
         wake 2024-01-01T04:00:00
         > why d 2024-01-01T02:00 a
         no, held by the maintenance window 02:30..05:00 UTC until 2024-01-01T05:00:00.000000Z
         > next d
         no, the run for 2024-01-01T03:00:00.000000Z starts at 2024-01-01T04:00:00.000000Z
         > at 2024-01-01T04:00
         create d scheduled__2024-01-01T03:00:00+00:00 queued
         wake 2024-01-01T05:00:00
         > at 2024-01-01T05:00
         run d/2024-01-01T02:00 running
         run d/2024-01-01T03:00 running
         create d scheduled__2024-01-01T04:00:00+00:00 running
         d/2024-01-01T02:00/a try 1
         d/2024-01-01T03:00/a try 1
         d/2024-01-01T01:00/b try 1
         d/2024-01-01T04:00/a try 1
         wake 2024-01-01T06:00:00",
    );
}

#[test]
fn what_runs_is_finished_and_what_follows_waits() {
    check(
        "dag d @daily from 2024-01-01 window 00:10..01:00
         - a retries 1 delay 60s
         - b after a
         > at 2024-01-02
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-02T00:10:00
         > at 2024-01-02T00:10
         wake 2024-01-02T01:00:00
         > fail d 2024-01-01 a
         d/2024-01-01/a up_for_retry until 00:11:00
         wake 2024-01-02T00:11:00.000001
         > at 2024-01-02T00:20
         wake 2024-01-02T01:00:00
         > why d 2024-01-01 a
         no, held by the maintenance window 00:10..01:00 UTC until 2024-01-02T01:00:00.000000Z
         > trigger d
         wake 2024-01-02T01:00:00
         > at 2024-01-02T01:00
         run d/2024-01-02T00:20 running
         d/2024-01-01/a try 2
         d/2024-01-02T00:20/a try 1
         wake 2024-01-03T00:00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         d/2024-01-01/b try 1
         wake 2024-01-03T00:00:00",
    );
}

#[test]
fn the_installations_windows_spare_some_tags() {
    check(
        "windows Mon_00:00..Mon_06:00;2024-01-01T07:00..2024-01-01T08:00 critical
         dag d @hourly from 2024-01-01 runs 2
         - a inline
         dag e @hourly from 2024-01-01 tag critical
         - a inline
         > at 2024-01-01T01:00
         create d scheduled__2024-01-01T00:00:00+00:00 queued
         create e scheduled__2024-01-01T00:00:00+00:00 running
         run e/2024-01-01 success
         e/2024-01-01/a success
         wake 2024-01-01T02:00:00
         > at 2024-01-01T02:00
         create d scheduled__2024-01-01T01:00:00+00:00 queued
         create e scheduled__2024-01-01T01:00:00+00:00 running
         run e/2024-01-01T01:00 success
         e/2024-01-01T01:00/a success
         wake 2024-01-01T03:00:00
         > at 2024-01-01T03:00
         create d scheduled__2024-01-01T02:00:00+00:00 queued
         create e scheduled__2024-01-01T02:00:00+00:00 running
         run e/2024-01-01T02:00 success
         e/2024-01-01T02:00/a success
         wake 2024-01-01T04:00:00
         > at 2024-01-01T06:00
         run d/2024-01-01 running
         run d/2024-01-01 success
         run d/2024-01-01T01:00 running
         run d/2024-01-01T01:00 success
         run d/2024-01-01T02:00 running
         run d/2024-01-01T02:00 success
         create d scheduled__2024-01-01T05:00:00+00:00 running
         create e scheduled__2024-01-01T05:00:00+00:00 running
         coalesced d 2024-01-01T03:00 (the run for 2024-01-01T05:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-01T04:00 (the run for 2024-01-01T05:00:00.000000Z stands for it (misfire: latest))
         coalesced e 2024-01-01T03:00 (the run for 2024-01-01T05:00:00.000000Z stands for it (misfire: latest))
         coalesced e 2024-01-01T04:00 (the run for 2024-01-01T05:00:00.000000Z stands for it (misfire: latest))
         d/2024-01-01/a success
         d/2024-01-01T01:00/a success
         d/2024-01-01T02:00/a success
         run d/2024-01-01T05:00 success
         run e/2024-01-01T05:00 success
         d/2024-01-01T05:00/a success
         e/2024-01-01T05:00/a success
         wake 2024-01-01T07:00:00
         > next d
         no, the run for 2024-01-01T06:00:00.000000Z starts at 2024-01-01T07:00:00.000000Z",
    );
}
