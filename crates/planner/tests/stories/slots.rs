//! Limits and order: who gets a slot.

use crate::script::check;

#[test]
fn heavy_before_light_and_what_waits_is_scheduled() {
    check(
        "dag d none
         - light
         - heavy
         - after_heavy after heavy
         executor 1
         at 2024-01-02
         trigger d
         ok d 2024-01-02 heavy
         why d 2024-01-02 light",
        "at 2024-01-02:
         trigger d:
         run d/2024-01-02 running
         d/2024-01-02/light scheduled
         d/2024-01-02/heavy try 1
         ok d 2024-01-02 heavy:
         d/2024-01-02/heavy success
         d/2024-01-02/after_heavy scheduled
         d/2024-01-02/light try 1
         why d 2024-01-02 light: yes, try 1 is running",
    );
}

#[test]
fn older_dates_first_among_equals_and_normal_runs_before_backfills() {
    check(
        "dag d @daily from 2024-01-01 runs 2 catchup
         - a
         executor 1
         at 2024-01-03
         backfill d 7 runs 5 2024-01-02
         ok d 2024-01-01 a
         ok d 2024-01-02 a
         ",
        "at 2024-01-03:
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a scheduled
         d/2024-01-01/a try 1
         backfill d 7 runs 5 2024-01-02:
         run d/2024-01-02 running
         d/2024-01-02/a scheduled
         ok d 2024-01-01 a:
         d/2024-01-01/a success
         run d/2024-01-01 success
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00
         ok d 2024-01-02 a:
         d/2024-01-02/a success
         run d/2024-01-02 success
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn max_active_tasks_bounds_a_run() {
    check(
        "dag d none tasks 2
         - a
         - b
         - c
         at 2024-01-02
         trigger d
         why d 2024-01-02 c
         ok d 2024-01-02 a",
        "at 2024-01-02:
         trigger d:
         run d/2024-01-02 running
         d/2024-01-02/c scheduled
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         why d 2024-01-02 c: no, 2 of 2 tasks of the run are active (max_active_tasks)
         ok d 2024-01-02 a:
         d/2024-01-02/a success
         d/2024-01-02/c try 1",
    );
}

#[test]
fn case_70_a_task_that_does_not_fit_its_pool_holds_up_nobody() {
    check(
        "pool p 2
         dag d none
         - first pool p weight 9
         - big pool p slots 2 weight 5
         - small pool p
         - other
         at 2024-01-02
         trigger d
         why d 2024-01-02 big
         ok d 2024-01-02 first
         ok d 2024-01-02 small",
        "at 2024-01-02:
         trigger d:
         run d/2024-01-02 running
         d/2024-01-02/big scheduled
         d/2024-01-02/first try 1
         d/2024-01-02/small try 1
         d/2024-01-02/other try 1
         why d 2024-01-02 big: no, pool p: 2 of 2 slots are in use, the task needs 2
         ok d 2024-01-02 first:
         d/2024-01-02/first success
         ok d 2024-01-02 small:
         d/2024-01-02/small success
         d/2024-01-02/big try 1",
    );
}

#[test]
fn case_71_a_task_that_can_never_run_says_so() {
    check(
        "pool p 2
         dag d none
         - big pool p slots 3
         - nowhere pool missing
         at 2024-01-02
         trigger d
         why d 2024-01-02 big
         why d 2024-01-02 nowhere
         pool missing -1
         turn",
        "at 2024-01-02:
         trigger d:
         run d/2024-01-02 running
         d/2024-01-02/big scheduled
         d/2024-01-02/nowhere scheduled
         why d 2024-01-02 big: no, pool p has 2 slots; the task needs 3 and can never run
         why d 2024-01-02 nowhere: no, there is no pool missing
         turn:
         d/2024-01-02/nowhere try 1",
    );
}

#[test]
fn case_73_a_full_pool_hides_no_other_pool() {
    let many: String = (0..300).map(|n| format!("- a{n} pool full weight 99\n")).collect();
    let script = format!(
        "pool full 1
         dag d none tasks 999
         {many}
         - free pool open
         pool open 1
         at 2024-01-02
         trigger d"
    );
    let waiting: String = (1..300).map(|n| format!("d/2024-01-02/a{n} scheduled\n")).collect();
    check(
        &script,
        &format!(
            "at 2024-01-02:
             trigger d:
             run d/2024-01-02 running
             {waiting}
             d/2024-01-02/a0 try 1
             d/2024-01-02/free try 1"
        ),
    );
}
