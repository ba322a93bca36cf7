//! A schedule that became another one: its runs go on where the last one ended, or what they leave uncovered is said.

use crate::script::check;

#[test]
fn a_coarser_one_begins_at_its_next_date_and_what_lies_before_is_recorded() {
    for catchup in ["catchup", ""] {
        check(&format!(
            "dag d @hourly from 2024-01-03T09:00 {catchup}
             - a inline
             > at 2024-01-03T10:00
             create d scheduled__2024-01-03T09:00:00+00:00 running
             run d/2024-01-03T09:00 success
             d/2024-01-03T09:00/a success
             wake 2024-01-03T11:00:00
             > at 2024-01-03T10:30
             wake 2024-01-03T11:00:00
             > change d @daily from 2024-01-01 {catchup}
             wake 2024-01-05T00:00:00
             > at 2024-01-04T00:00
             wake 2024-01-05T00:00:00
             > at 2024-01-05T00:00
             create d scheduled__2024-01-04T00:00:00+00:00 running
             skipped d 2024-01-03T10:00 (no run covers what lies before 2024-01-04T00:00:00.000000Z: the schedule or its start_date is another than it was)
             run d/2024-01-04 success
             d/2024-01-04/a success
             wake 2024-01-06T00:00:00",
        ));
    }
}

#[test]
fn what_lies_before_is_recorded_where_a_later_run_stands_for_the_rest() {
    check(
        "dag d @hourly from 2024-01-03T09:00
         - a inline
         > at 2024-01-03T10:00
         create d scheduled__2024-01-03T09:00:00+00:00 running
         run d/2024-01-03T09:00 success
         d/2024-01-03T09:00/a success
         wake 2024-01-03T11:00:00
         > change d @daily from 2024-01-01
         wake 2024-01-05T00:00:00
         > at 2024-01-06T12:00
         create d scheduled__2024-01-05T00:00:00+00:00 running
         skipped d 2024-01-03T10:00 (no run covers what lies before 2024-01-04T00:00:00.000000Z: the schedule or its start_date is another than it was)
         coalesced d 2024-01-04T00:00 (the run for 2024-01-05T00:00:00.000000Z stands for it (misfire: latest))
         run d/2024-01-05 success
         d/2024-01-05/a success
         wake 2024-01-07T00:00:00",
    );
}

#[test]
fn what_lies_before_has_a_record_beside_many_dates_that_share_one() {
    check(
        "dag d @daily from 2024-01-03
         - a inline
         > at 2024-01-04T00:00
         create d scheduled__2024-01-03T00:00:00+00:00 running
         run d/2024-01-03 success
         d/2024-01-03/a success
         wake 2024-01-05T00:00:00
         > change d cron 0_0_*_*_MON from 2024-01-01
         wake 2024-01-15T00:00:00
         > at 2024-08-01T12:00
         create d scheduled__2024-07-22T00:00:00+00:00 running
         skipped d 2024-01-04T00:00 (no run covers what lies before 2024-01-08T00:00:00.000000Z: the schedule or its start_date is another than it was)
         coalesced d 2024-01-08T00:00..2024-07-15T00:00 x28 (the run for 2024-07-22T00:00:00.000000Z stands for it (misfire: latest))
         run d/2024-07-22 success
         d/2024-07-22/a success
         wake 2024-08-05T00:00:00",
    );
}

#[test]
fn a_finer_one_and_another_stride_go_on_where_the_last_run_ended() {
    check(
        "dag d @daily from 2024-01-03 catchup
         - a inline
         > at 2024-01-04T00:00
         create d scheduled__2024-01-03T00:00:00+00:00 running
         run d/2024-01-03 success
         d/2024-01-03/a success
         wake 2024-01-05T00:00:00
         > change d @hourly from 2024-01-01 catchup
         wake 2024-01-04T01:00:00
         > at 2024-01-04T01:00
         create d scheduled__2024-01-04T00:00:00+00:00 running
         run d/2024-01-04 success
         d/2024-01-04/a success
         wake 2024-01-04T02:00:00
         > change d every 6h from 2024-01-01 catchup
         wake 2024-01-04T07:00:00
         > at 2024-01-04T07:00
         create d scheduled__2024-01-04T01:00:00+00:00 running
         run d/2024-01-04T01:00 success
         d/2024-01-04T01:00/a success
         wake 2024-01-04T13:00:00",
    );
}

#[test]
fn what_a_later_start_date_leaves_out_is_recorded() {
    check(
        "dag d @daily from 2024-01-03 catchup
         - a inline
         > at 2024-01-04T00:00
         create d scheduled__2024-01-03T00:00:00+00:00 running
         run d/2024-01-03 success
         d/2024-01-03/a success
         wake 2024-01-05T00:00:00
         > change d @daily from 2024-01-08 catchup
         wake 2024-01-09T00:00:00
         > at 2024-01-09T00:00
         create d scheduled__2024-01-08T00:00:00+00:00 running
         skipped d 2024-01-04T00:00 (no run covers what lies before 2024-01-08T00:00:00.000000Z: the schedule or its start_date is another than it was)
         run d/2024-01-08 success
         d/2024-01-08/a success
         wake 2024-01-10T00:00:00",
    );
}
