//! What will run.

use crate::script::check;

#[test]
fn the_hours_ahead_with_what_holds_each_up() {
    check(
        "dag c @continuous from 2024-01-05
         - a
         dag d cron 0_*/6_*_*_* from 2024-01-05 calendar skip:sat runs 1
         - a
         dag p @daily from 2024-01-05 paused
         - a
         dag w cron 0_3_*_*_* from 2024-01-04 window 02:00..05:00
         - a
         > at 2024-01-05T06:30
         create w scheduled__2024-01-04T03:00:00+00:00 running
         create d scheduled__2024-01-05T00:00:00+00:00 running
         create c scheduled__2024-01-05T00:00:00+00:00 running
         w/2024-01-04T03:00/a try 1
         d/2024-01-05/a try 1
         c/2024-01-05/a try 1
         wake 2024-01-06T02:00:00
         > plan 24
         c 01-05T06:30 run 01-05T06:30
         d 01-05T06:00 run 01-05T12:00
         d 01-05T12:00 run 01-05T18:00
         d 01-05T18:00 skipped never (calendar off: 2024-01-06)
         w 01-05T03:00 run 01-06T05:00 (held by the maintenance window 02:00..05:00 UTC until 2024-01-06T05:00:00.000000Z)
         d 01-06T00:00 skipped never (calendar off: 2024-01-06)
         p 01-05T00:00 paused 01-06T00:00 (the DAG is paused)
         > at 2024-01-05T12:00
         wake 2024-01-06T02:00:00
         > plan 6
         d 01-05T06:00 run 01-05T12:00 (1 of 1 runs of the DAG are active (max_active_runs); held by run scheduled__2024-01-05T00:00:00+00:00)
         c 01-05T06:30 run 01-05T12:00 (1 of 1 runs of the DAG are active (max_active_runs); held by run scheduled__2024-01-05T00:00:00+00:00)
         d 01-05T12:00 run 01-05T18:00",
    );
}

#[test]
fn paused_dags_do_not_crowd_the_others_out() {
    check(
        "dag p @hourly from 2024-01-01 catchup paused
         - a
         dag q @hourly from 2024-01-01 paused
         - a
         dag runs @daily from 2024-01-05
         - a
         > at 2024-01-05T06:30
         wake 2024-01-06T00:00:00
         > plan 24
         runs 01-05T00:00 run 01-06T00:00
         p 01-01T00:00 paused 01-05T06:30 (the DAG is paused)
         q 01-05T05:00 paused 01-05T06:30 (the DAG is paused)",
    );
}

#[test]
fn a_long_list_is_cut() {
    check(
        "dag d @hourly from 2024-01-05
         - a inline
         > at 2024-01-05T01:00
         create d scheduled__2024-01-05T00:00:00+00:00 running
         run d/2024-01-05 success
         d/2024-01-05/a success
         wake 2024-01-05T02:00:00
         > trigger d
         run d/2024-01-05T01:00 running
         run d/2024-01-05T01:00 success
         d/2024-01-05T01:00/a success
         wake 2024-01-05T02:00:00
         > plan 48
         d 01-05T01:00 run 01-05T02:00
         d 01-05T02:00 run 01-05T03:00
         d 01-05T03:00 run 01-05T04:00
         d 01-05T04:00 run 01-05T05:00
         d 01-05T05:00 run 01-05T06:00
         d 01-05T06:00 run 01-05T07:00
         d 01-05T07:00 run 01-05T08:00
         d 01-05T08:00 run 01-05T09:00
         and more",
    );
}
