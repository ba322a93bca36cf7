//! Days on which nothing starts.

use std::sync::Arc;

use chrono::{Datelike, TimeZone, Utc};
use millrace_model::calendar::{Calendar, CalendarRule, NamedDays};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_model::schedule::{Schedule, Timetable};
use millrace_planner::{BackfillRange, DagVersion, RequestError, backfill_runs};

use crate::script::check;

#[test]
fn a_day_off_is_skipped_with_its_reason_when_it_is_due() {
    check(
        "dag d cron 0_9_*_*_* from 2024-01-04 calendar skip:sat,sun
         - a inline
         > at 2024-01-05T09:00
         create d scheduled__2024-01-04T09:00:00+00:00 running
         run d/2024-01-04T09:00 success
         d/2024-01-04T09:00/a success
         wake 2024-01-06T09:00:00
         > next d
         no, the run for 2024-01-07T09:00:00.000000Z starts at 2024-01-08T09:00:00.000000Z
         > at 2024-01-06T09:00
         skipped d 2024-01-05T09:00 (calendar off: 2024-01-06)
         wake 2024-01-07T09:00:00
         > at 2024-01-07T09:00
         skipped d 2024-01-06T09:00 (calendar off: 2024-01-07)
         wake 2024-01-08T09:00:00
         > at 2024-01-08T09:00
         create d scheduled__2024-01-07T09:00:00+00:00 running
         run d/2024-01-07T09:00 success
         d/2024-01-07T09:00/a success
         wake 2024-01-09T09:00:00",
    );
}

#[test]
fn the_logical_date_can_be_what_counts() {
    check(
        "dag d @daily from 2024-01-05 calendar skip-logical:sat
         - a inline
         > at 2024-01-06
         create d scheduled__2024-01-05T00:00:00+00:00 running
         run d/2024-01-05 success
         d/2024-01-05/a success
         wake 2024-01-07T00:00:00
         > at 2024-01-07
         skipped d 2024-01-06T00:00 (calendar off: 2024-01-06)
         wake 2024-01-08T00:00:00
         > at 2024-01-08
         create d scheduled__2024-01-07T00:00:00+00:00 running
         run d/2024-01-07 success
         d/2024-01-07/a success
         wake 2024-01-09T00:00:00",
    );
}

#[test]
fn a_shifted_run_waits_for_its_day_and_takes_no_place() {
    check(
        "dag d @daily from 2024-01-05 runs 1 calendar shift:sun
         - a inline
         > at 2024-01-06
         create d scheduled__2024-01-05T00:00:00+00:00 running
         run d/2024-01-05 success
         d/2024-01-05/a success
         wake 2024-01-07T00:00:00
         > at 2024-01-07
         create d scheduled__2024-01-06T00:00:00+00:00 queued
         shifted d 2024-01-06T00:00 (calendar off: 2024-01-07; the run starts at 2024-01-08T00:00:00.000000Z)
         wake 2024-01-08T00:00:00
         > next d
         no, the run for 2024-01-07T00:00:00.000000Z starts at 2024-01-08T00:00:00.000000Z
         > at 2024-01-08
         run d/2024-01-06 running
         run d/2024-01-06 success
         create d scheduled__2024-01-07T00:00:00+00:00 running
         d/2024-01-06/a success
         run d/2024-01-07 success
         d/2024-01-07/a success
         wake 2024-01-09T00:00:00
         > at 2024-01-09
         create d scheduled__2024-01-08T00:00:00+00:00 running
         run d/2024-01-08 success
         d/2024-01-08/a success
         wake 2024-01-10T00:00:00",
    );
}

#[test]
fn only_the_days_of_a_calendar() {
    check(
        "dag d @hourly from 2024-01-01T22:00 catchup calendar only:mon
         - a inline
         > at 2024-01-02T01:00
         create d scheduled__2024-01-01T22:00:00+00:00 running
         skipped d 2024-01-01T23:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T00:00 (calendar on: 2024-01-02 is not in it)
         run d/2024-01-01T22:00 success
         d/2024-01-01T22:00/a success
         wake 2024-01-02T02:00:00
         > next d
         no, the run for 2024-01-07T23:00:00.000000Z starts at 2024-01-08T00:00:00.000000Z
         > at 2024-01-02T02:00
         skipped d 2024-01-02T01:00 (calendar on: 2024-01-02 is not in it)
         wake 2024-01-02T03:00:00
         > at 2024-01-08T00:00
         create d scheduled__2024-01-07T23:00:00+00:00 running
         skipped d 2024-01-02T02:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T03:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T04:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T05:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T06:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T07:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T08:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T09:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T10:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T11:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T12:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T13:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T14:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T15:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T16:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T17:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T18:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T19:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T20:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T21:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T22:00 (calendar on: 2024-01-02 is not in it)
         skipped d 2024-01-02T23:00 (calendar on: 2024-01-03 is not in it)
         skipped d 2024-01-03T00:00 (calendar on: 2024-01-03 is not in it)
         skipped d 2024-01-03T01:00..2024-01-03T22:00 x22 (calendar on: 2024-01-03 is not in it)
         skipped d 2024-01-03T23:00..2024-01-04T22:00 x24 (calendar on: 2024-01-04 is not in it)
         skipped d 2024-01-04T23:00..2024-01-05T22:00 x24 (calendar on: 2024-01-05 is not in it)
         skipped d 2024-01-05T23:00..2024-01-06T22:00 x24 (calendar on: 2024-01-06 is not in it)
         skipped d 2024-01-06T23:00..2024-01-07T22:00 x24 (calendar on: 2024-01-07 is not in it)
         run d/2024-01-07T23:00 success
         d/2024-01-07T23:00/a success
         wake 2024-01-08T01:00:00",
    );
}

#[test]
fn after_an_outage_the_latest_day_that_counts_is_run() {
    check(
        "dag d @daily from 2024-01-01 calendar skip:sat,sun
         - a inline
         > at 2024-01-04
         create d scheduled__2024-01-03T00:00:00+00:00 running
         coalesced d 2024-01-01T00:00 (the run for 2024-01-03T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-02T00:00 (the run for 2024-01-03T00:00:00.000000Z stands for it (misfire: latest))
         run d/2024-01-03 success
         d/2024-01-03/a success
         wake 2024-01-05T00:00:00
         > at 2024-01-07T12:00
         create d scheduled__2024-01-04T00:00:00+00:00 running
         skipped d 2024-01-05T00:00 (calendar off: 2024-01-06)
         skipped d 2024-01-06T00:00 (calendar off: 2024-01-07)
         run d/2024-01-04 success
         d/2024-01-04/a success
         wake 2024-01-08T00:00:00
         > at 2024-01-08
         create d scheduled__2024-01-07T00:00:00+00:00 running
         run d/2024-01-07 success
         d/2024-01-07/a success
         wake 2024-01-09T00:00:00",
    );
}

#[test]
fn a_backfill_leaves_out_what_the_calendar_does() {
    let weekends = Calendar {
        name: "weekends".into(),
        description: None,
        days: ["sat", "sun"].map(|day| NamedDays { rule: day.parse().unwrap(), name: None }).to_vec(),
        include: vec![],
        except: vec![],
    };
    let dag = Dag {
        timetable: Timetable::interval(Schedule::from_value(&"@daily".into()).unwrap(), chrono_tz::Tz::UTC),
        calendar: Some(CalendarRule { exclude: vec![weekends], ..CalendarRule::default() }),
        ..Dag::new(DagId::new_unchecked("d"))
    };
    let version = DagVersion::new(1, Arc::new(dag)).unwrap();
    let day = |day: u32| Utc.with_ymd_and_hms(2024, 1, day, 0, 0, 0).unwrap();
    let range = BackfillRange {
        version: &version,
        from: day(4),
        to: day(10),
        includes_end: false,
        ignores_bounds: false,
        last_interval: None,
        conf: Default::default(),
    };
    let days = |range: &BackfillRange<'_>| -> Result<Vec<u32>, RequestError> {
        Ok(backfill_runs(range, day(20))?.iter().map(|run| run.logical_date.day()).collect())
    };
    assert_eq!(days(&range), Ok(vec![4, 7, 8, 9]), "those of the 5th and 6th would start on a Saturday and a Sunday");
    let all = BackfillRange { ignores_bounds: true, ..range.clone() };
    assert_eq!(days(&all), Ok(vec![4, 5, 6, 7, 8, 9]));
    let none = BackfillRange { from: day(5), to: day(7), ..range };
    assert!(matches!(days(&none), Err(RequestError::LeftOut { .. })));
}

#[test]
fn a_calendar_of_no_days_ends_the_schedule() {
    check(
        "dag d @daily from 2024-01-01 calendar only:2024-01-03
         - a inline
         > at 2024-01-03
         create d scheduled__2024-01-02T00:00:00+00:00 running
         skipped d 2024-01-01T00:00 (calendar on: 2024-01-02 is not in it)
         run d/2024-01-02 success
         d/2024-01-02/a success
         wake 2024-01-04T00:00:00
         > at 2024-01-04
         skipped d 2024-01-03T00:00 (calendar on: 2024-01-04 is not in it)
         wake 2024-01-05T00:00:00
         > next d
         no, its schedule has no further run; it runs when triggered",
    );
}
