//! depends_on_past and wait_for_downstream.

use crate::script::{check, play};

#[test]
fn case_50_a_skipped_past_is_good_and_a_failed_one_holds_back() {
    check(
        "dag d @daily from 2024-01-01 catchup
         - a past
         > at 2024-01-02T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-03T00:00:00
         > skip d 2024-01-01 a
         d/2024-01-01/a skipped
         run d/2024-01-01 success
         wake 2024-01-03T00:00:00
         > at 2024-01-03T00:00
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00
         > why d 2024-01-02 a
         yes, try 1 is running
         > fail d 2024-01-02 a
         d/2024-01-02/a failed
         run d/2024-01-02 failed (task_failure)
         wake 2024-01-04T00:00:00
         > at 2024-01-04T00:00
         create d scheduled__2024-01-03T00:00:00+00:00 running
         wake 2024-01-05T00:00:00
         > why d 2024-01-03 a
         no, depends_on_past: a of 2024-01-02 is failed",
    );
}

#[test]
fn case_50_a_run_waits_for_one_that_still_runs_and_goes_on_with_its_end() {
    check(
        "dag d @daily from 2024-01-01 catchup
         - first
         - a after first past
         > at 2024-01-03T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-01/first try 1
         d/2024-01-02/first try 1
         wake 2024-01-04T00:00:00
         > ok d 2024-01-02 first
         d/2024-01-02/first success
         wake 2024-01-04T00:00:00
         > why d 2024-01-02 a
         no, depends_on_past: a of 2024-01-01 is not started
         > ok d 2024-01-01 first
         d/2024-01-01/first success
         d/2024-01-01/a try 1
         wake 2024-01-04T00:00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn case_50_a_task_that_is_missing_in_the_run_before_waits_unless_it_never_ran() {
    check(
        "dag d @daily from 2024-01-01 catchup
         - a
         - b past
         > at 2024-01-02T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         d/2024-01-01/b try 1
         wake 2024-01-03T00:00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         wake 2024-01-03T00:00:00
         > ok d 2024-01-01 b
         d/2024-01-01/b success
         run d/2024-01-01 success
         wake 2024-01-03T00:00:00
         > dag d @daily from 2024-01-01 catchup
         > - a
         > at 2024-01-03T00:00
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         wake 2024-01-04T00:00:00
         > dag d @daily from 2024-01-01 catchup
         > - b past
         > - c past
         > at 2024-01-04T00:00
         create d scheduled__2024-01-03T00:00:00+00:00 running
         d/2024-01-03/c try 1
         wake 2024-01-05T00:00:00
         > why d 2024-01-03 b
         no, depends_on_past: the run of 2024-01-02 has no b, which ran before it; give that run the newest version (`millrace dags repin`)",
    );
}

#[test]
fn case_50_wait_for_downstream_waits_for_the_children_there_too() {
    check(
        "dag d @daily from 2024-01-01 catchup
         - a past_and_downstream
         - b after a
         - c after b
         > at 2024-01-03T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-01/a try 1
         wake 2024-01-04T00:00:00
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         d/2024-01-01/b try 1
         wake 2024-01-04T00:00:00
         > why d 2024-01-02 a
         no, wait_for_downstream: b of 2024-01-01 is running
         > skip d 2024-01-01 b
         d/2024-01-01/b skipped
         run d/2024-01-01 success
         d/2024-01-01/c skipped (all_success: b is skipped)
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn with_catchup_a_manual_run_is_nobodys_past_and_without_it_is() {
    let looks_back = "no, depends_on_past: a of 2024-01-02 is failed";
    for (catchup, comes_of_it) in [
        ("catchup", "d/2024-01-02T12:00/a try 1\n> why d 2024-01-02T12:00 a\nyes, try 1 is running".to_owned()),
        ("", format!("> why d 2024-01-02T12:00 a\n{looks_back}")),
    ] {
        check(&format!(
            "dag d none {catchup}
             - a past
             > at 2024-01-01
             > trigger d
             run d/2024-01-01 running
             d/2024-01-01/a try 1
             > ok d 2024-01-01 a
             d/2024-01-01/a success
             run d/2024-01-01 success
             > at 2024-01-02
             > trigger d
             run d/2024-01-02 running
             d/2024-01-02/a try 1
             > fail d 2024-01-02 a
             d/2024-01-02/a failed
             run d/2024-01-02 failed (task_failure)
             > at 2024-01-02T12:00
             > trigger d
             run d/2024-01-02T12:00 running
             {comes_of_it}"
        ));
    }
}

#[test]
fn waiting_for_the_past_is_no_deadlock_even_when_everything_waits() {
    check(
        "dag d @daily from 2024-01-01 catchup runs 1
         - a past
         - b after a
         > at 2024-01-02T00:00
         create d scheduled__2024-01-01T00:00:00+00:00 running
         d/2024-01-01/a try 1
         > fail d 2024-01-01 a
         d/2024-01-01/a failed
         run d/2024-01-01 failed (task_failure)
         d/2024-01-01/b upstream_failed (all_success: a is failed)
         wake 2024-01-03T00:00:00
         > at 2024-01-03T00:00
         create d scheduled__2024-01-02T00:00:00+00:00 running
         > at 2024-01-04T00:00
         > next d
         no, 1 of 1 runs of the DAG are active (max_active_runs); held by run scheduled__2024-01-02T00:00:00+00:00",
    );
}

#[test]
fn a_task_that_was_given_up_with_its_run_has_not_ended_well() {
    let told = play(
        "dag d @daily from 2024-01-01 catchup fail_fast
         - a
         - b after c past
         - c
         > at 2024-01-02
         > fail! d 2024-01-01 a
         > at 2024-01-03
         > ok d 2024-01-02 c
         > why d 2024-01-02 b
         > stop d 2024-01-01 c fail_fast
         > why d 2024-01-02 b",
    );
    let why: Vec<&str> = told.lines().filter(|line| line.starts_with("no, ")).collect();
    // While that run is there, and when it has ended.
    let given_up = "no, depends_on_past: b of 2024-01-01 was given up with its run";
    assert_eq!(why, [given_up; 2], "{told}");
}

/// The clock was set back: the run before is not due until it has come so far again.
#[test]
fn a_run_makes_way_for_the_one_before_it_when_that_one_is_due_again() {
    check(
        "executor 0
         dag d none runs 1
         - a past
         > at 2024-01-05
         > trigger d
         run d/2024-01-05 running
         d/2024-01-05/a scheduled
         > pause d
         > at 2024-01-02
         > trigger d
         > at 2024-01-01
         > unpause d
         wake 2024-01-02T00:00:00
         > at 2024-01-02
         run d/2024-01-05 queued (the run before it runs first)
         run d/2024-01-02 running
         d/2024-01-02/a scheduled",
    );
}

#[test]
fn a_skip_may_wait_for_the_past_too() {
    let told = |flag: &str| {
        play(&format!(
            "dag d @daily from 2024-01-01 catchup
             - a
             - b after a past {flag}
             > at 2024-01-03
             > ok d 2024-01-01 a
             > skip d 2024-01-02 a
             > why d 2024-01-02 b
             > ok d 2024-01-01 b"
        ))
    };
    let (at_once, late) = (told(""), told("skips_late"));
    let skipped = |text: &str| text.lines().position(|line| line.starts_with("d/2024-01-02/b skipped"));
    let ended = |text: &str| text.lines().position(|line| line == "d/2024-01-01/b success");
    assert!(skipped(&at_once).is_some() && skipped(&at_once) < ended(&at_once), "{at_once}");
    assert!(ended(&late).is_some() && skipped(&late) > ended(&late), "{late}");
    assert!(late.contains("> why d 2024-01-02 b\nno, "), "{late}");
}
