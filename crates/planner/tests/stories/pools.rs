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
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/light scheduled
         d/2024-01-02/heavy try 1
         > ok d 2024-01-02 heavy
         d/2024-01-02/heavy success
         d/2024-01-02/after_heavy scheduled
         d/2024-01-02/light try 1
         > why d 2024-01-02 light
         yes, try 1 is running",
    );
}

#[test]
fn older_dates_first_among_equals_and_normal_runs_before_backfills() {
    check(
        "dag d @daily from 2024-01-01 runs 2 catchup
         - a
         executor 1
         > at 2024-01-03
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a scheduled
         d/2024-01-01/a try 1
         > backfill d 7 runs 5 2024-01-02
         run d/2024-01-02 running
         d/2024-01-02/a scheduled
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         run d/2024-01-01 success
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00
         > ok d 2024-01-02 a
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
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/c scheduled
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > why d 2024-01-02 c
         no, 2 of 2 tasks of the run are active (max_active_tasks)
         > ok d 2024-01-02 a
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
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/big scheduled
         d/2024-01-02/first try 1
         d/2024-01-02/other try 1
         d/2024-01-02/small try 1
         > why d 2024-01-02 big
         no, pool p: 2 of 2 slots are in use, the task needs 2; held by task first in run manual__2024-01-02T00:00:00+00:00 of DAG d, task small in run manual__2024-01-02T00:00:00+00:00 of DAG d
         > ok d 2024-01-02 first
         d/2024-01-02/first success
         > why d 2024-01-02 big
         no, pool p: 1 of 2 slots are in use, the task needs 2 at once; what needs fewer starts before it; held by task small in run manual__2024-01-02T00:00:00+00:00 of DAG d
         > ok d 2024-01-02 small
         d/2024-01-02/small success
         d/2024-01-02/big try 1",
    );
}

#[test]
fn case_70_a_task_that_needs_all_of_its_pool_goes_first_when_it_weighs_more() {
    check(
        "pool p 2
         dag d none
         - small pool p
         - big pool p slots 2 weight 5
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/small scheduled
         d/2024-01-02/big try 1
         > why d 2024-01-02 small
         no, pool p: 2 of 2 slots are in use, the task needs 1; held by task big in run manual__2024-01-02T00:00:00+00:00 of DAG d
         > ok d 2024-01-02 big
         d/2024-01-02/big success
         d/2024-01-02/small try 1",
    );
}

#[test]
fn of_many_that_hold_a_pool_the_first_are_named_and_the_others_counted() {
    check(
        "pool p 5
         dag d none
         - a pool p
         - b pool p
         - c pool p
         - d pool p
         - e pool p
         - f pool p
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/f scheduled
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         d/2024-01-02/c try 1
         d/2024-01-02/d try 1
         d/2024-01-02/e try 1
         > why d 2024-01-02 f
         no, pool p: 5 of 5 slots are in use, the task needs 1; held by task a in run manual__2024-01-02T00:00:00+00:00 of DAG d, task b in run manual__2024-01-02T00:00:00+00:00 of DAG d, task c in run manual__2024-01-02T00:00:00+00:00 of DAG d, and 2 more",
    );
}

#[test]
fn case_71_a_task_that_can_never_run_says_so() {
    check(
        "pool p 2
         dag d none
         - big pool p slots 3
         - nowhere pool missing
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/big scheduled
         d/2024-01-02/nowhere scheduled
         > why d 2024-01-02 big
         no, pool p has 2 of the 3 slots that the task needs, which can never run
         > why d 2024-01-02 nowhere
         no, there is no pool missing
         > pool missing -1
         > turn
         d/2024-01-02/nowhere try 1",
    );
}

#[test]
fn case_73_a_full_pool_hides_no_other_pool() {
    let many: String = (0..1000).map(|n| format!("- a{n} pool full weight 99\n")).collect();
    let waiting: String = (1..1000).map(|n| format!("d/2024-01-02/a{n} scheduled\n")).collect();
    check(&format!(
        "pool full 1
         dag d none tasks 2000
         {many}
         - free pool open
         pool open 1
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         {waiting}
         d/2024-01-02/a0 try 1
         d/2024-01-02/free try 1"
    ));
}

#[test]
fn a_dag_with_many_ready_tasks_shares_with_one_that_has_few() {
    let many: String = (0..50).map(|n| format!("- a{n} rule_of_weight absolute\n")).collect();
    let waiting: String = (4..50).map(|n| format!("many/2024-01-02/a{n} scheduled\n")).collect();
    check(&format!(
        "dag many none tasks 99
         {many}
         dag few none
         - b1
         - b2
         executor 4
         > at 2024-01-02
         > trigger many
         run many/2024-01-02 running
         {waiting}
         many/2024-01-02/a0 try 1
         many/2024-01-02/a1 try 1
         many/2024-01-02/a2 try 1
         many/2024-01-02/a3 try 1
         > trigger few
         run few/2024-01-02 running
         few/2024-01-02/b1 scheduled
         few/2024-01-02/b2 scheduled
         > ok many 2024-01-02 a0
         many/2024-01-02/a0 success
         few/2024-01-02/b1 try 1
         > ok many 2024-01-02 a1
         many/2024-01-02/a1 success
         few/2024-01-02/b2 try 1
         > ok many 2024-01-02 a2
         many/2024-01-02/a2 success
         many/2024-01-02/a4 try 1"
    ));
}

#[test]
fn weights_that_grow_with_a_dag_give_it_no_larger_share() {
    check(
        "dag wide none
         - a0
         - a1
         - a2
         - a3
         - last after a0,a1,a2,a3
         dag small none
         - b0
         - b1
         executor 2
         > at 2024-01-02
         > trigger wide
         run wide/2024-01-02 running
         wide/2024-01-02/a2 scheduled
         wide/2024-01-02/a3 scheduled
         wide/2024-01-02/a0 try 1
         wide/2024-01-02/a1 try 1
         > trigger small
         run small/2024-01-02 running
         small/2024-01-02/b0 scheduled
         small/2024-01-02/b1 scheduled
         > ok wide 2024-01-02 a0
         wide/2024-01-02/a0 success
         small/2024-01-02/b0 try 1
         > ok wide 2024-01-02 a1
         wide/2024-01-02/a1 success
         wide/2024-01-02/a2 try 1
         > ok small 2024-01-02 b0
         small/2024-01-02/b0 success
         small/2024-01-02/b1 try 1",
    );
}

#[test]
fn what_waits_for_a_task_makes_it_as_urgent_as_itself() {
    check(
        "dag plain none
         - x
         - y after x
         - z after y
         dag urgent none
         - first
         - report after first weight 5
         executor 0
         > at 2024-01-02
         > trigger plain
         run plain/2024-01-02 running
         plain/2024-01-02/x scheduled
         > trigger urgent
         run urgent/2024-01-02 running
         urgent/2024-01-02/first scheduled
         > executor 1
         > turn
         urgent/2024-01-02/first try 1",
    );
}

#[test]
fn a_backfill_takes_what_normal_runs_of_any_dag_leave() {
    check(
        "dag heavy @daily from 2024-01-01 paused
         - a weight 9
         - b after a
         dag light none
         - x
         - y
         executor 0
         > at 2024-01-05
         > backfill heavy 7 runs 5 2024-01-02
         run heavy/2024-01-02 running
         heavy/2024-01-02/a scheduled
         > trigger light
         run light/2024-01-05 running
         light/2024-01-05/x scheduled
         light/2024-01-05/y scheduled
         > executor 1
         > turn
         light/2024-01-05/x try 1
         > executor 3
         > turn
         light/2024-01-05/y try 1
         heavy/2024-01-02/a try 1",
    );
}

#[test]
fn priority_comes_before_fairness() {
    check(
        "dag heavy none
         - a weight 5 rule_of_weight absolute
         - b weight 5 rule_of_weight absolute
         dag light none
         - c
         executor 0
         > at 2024-01-02
         > trigger light
         run light/2024-01-02 running
         light/2024-01-02/c scheduled
         > trigger heavy
         run heavy/2024-01-02 running
         heavy/2024-01-02/a scheduled
         heavy/2024-01-02/b scheduled
         > executor 2
         > turn
         heavy/2024-01-02/a try 1
         heavy/2024-01-02/b try 1",
    );
}

#[test]
fn the_pool_of_which_less_is_in_use_goes_first_among_equals() {
    check(
        "pool p 9
         pool q 9
         dag d none
         - a pool p
         - b pool p
         - c pool q
         executor 2
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b scheduled
         d/2024-01-02/a try 1
         d/2024-01-02/c try 1",
    );
}

#[test]
fn max_active_tis_per_dag_counts_over_all_runs() {
    check(
        "dag d @daily from 2024-01-01 catchup
         - a per_dag 1
         - b
         > at 2024-01-03
         create d scheduled__2024-01-01T00:00:00+00:00 running
         create d scheduled__2024-01-02T00:00:00+00:00 running
         d/2024-01-02/a scheduled
         d/2024-01-01/a try 1
         d/2024-01-01/b try 1
         d/2024-01-02/b try 1
         wake 2024-01-04T00:00:00
         > why d 2024-01-02 a
         no, 1 of 1 tries of the task are active in all runs (max_active_tis_per_dag); held by task a in run scheduled__2024-01-01T00:00:00+00:00 of DAG d
         > ok d 2024-01-01 a
         d/2024-01-01/a success
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00",
    );
}

#[test]
fn a_concurrency_key_is_shared_by_all_tasks_dags_and_runs_whose_keys_are_the_same_text() {
    check(
        "dag d none
         - a key eu
         - b key us
         dag e none
         - c key eu
         - d key DATE
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         > trigger e
         run e/2024-01-02 running
         e/2024-01-02/c scheduled
         e/2024-01-02/d try 1
         > why e 2024-01-02 c
         no, 1 of 1 tries with the key 'eu' are active (concurrency); held by task a in run manual__2024-01-02T00:00:00+00:00 of DAG d
         > ok d 2024-01-02 b
         d/2024-01-02/b success
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         e/2024-01-02/c try 1",
    );
}

#[test]
fn what_waits_for_a_key_goes_on_when_its_holder_leaves_in_any_way() {
    check(
        "dag d none
         - a key k retries 1
         dag e none
         - b key k weight 3
         - c key k
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > trigger e
         run e/2024-01-02 running
         e/2024-01-02/b scheduled
         e/2024-01-02/c scheduled
         > fail d 2024-01-02 a
         d/2024-01-02/a up_for_retry until 00:05:00
         e/2024-01-02/b try 1
         wake 2024-01-02T00:05:00.000001
         > lost e 2024-01-02 b
         e/2024-01-02/b up_for_retry uncounted (lost_worker)
         e/2024-01-02/b try 2
         wake 2024-01-02T00:05:00.000001
         > pause e
         wake 2024-01-02T00:05:00.000001
         > ok e 2024-01-02 b
         e/2024-01-02/b success
         wake 2024-01-02T00:05:00.000001
         > at 2024-01-02T00:06
         d/2024-01-02/a try 2
         > unpause e
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         e/2024-01-02/c try 1",
    );
}

#[test]
fn a_key_that_cannot_be_made_is_a_failure_and_not_a_wait_for_ever() {
    check(
        "dag d none
         - a key ERROR
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         run d/2024-01-02 failed (task_failure)
         d/2024-01-02/a failed (the key of its concurrency can't be rendered: params has no 'region')",
    );
}

#[test]
fn runs_of_several_dags_take_turns_under_one_key() {
    check(
        "dag a none key eu
         - one
         dag b none key eu
         - two
         dag c none key us
         - three
         > at 2024-01-02
         > trigger a
         run a/2024-01-02 running
         a/2024-01-02/one try 1
         > trigger b
         > trigger c
         run c/2024-01-02 running
         c/2024-01-02/three try 1
         > why b 2024-01-02 two
         no, 1 of 1 runs with the key 'eu' are running (concurrency); held by run manual__2024-01-02T00:00:00+00:00 of DAG a
         > ok a 2024-01-02 one
         a/2024-01-02/one success
         run a/2024-01-02 success
         run b/2024-01-02 running
         b/2024-01-02/two try 1
         > ok b 2024-01-02 two
         b/2024-01-02/two success
         run b/2024-01-02 success",
    );
}

#[test]
fn a_dag_with_many_runs_under_a_key_lets_others_have_it_in_between() {
    check(
        "dag a none key eu
         - one
         dag b none key eu
         - two
         > at 2024-01-02
         > trigger a
         run a/2024-01-02 running
         a/2024-01-02/one try 1
         > at 2024-01-03
         > trigger a
         > trigger b
         > ok a 2024-01-02 one
         a/2024-01-02/one success
         run a/2024-01-02 success
         run b/2024-01-03 running
         b/2024-01-03/two try 1
         > ok b 2024-01-03 two
         b/2024-01-03/two success
         run b/2024-01-03 success
         run a/2024-01-03 running
         a/2024-01-03/one try 1",
    );
}

#[test]
fn a_run_whose_key_is_taken_holds_up_none_of_its_dag_with_another_key() {
    check(
        "dag other none key 01-01
         - holds
         dag d @daily from 2024-01-01 catchup key DATE
         - a
         > at 2024-01-01
         wake 2024-01-02T00:00:00
         > trigger other
         run other/2024-01-01 running
         other/2024-01-01/holds try 1
         wake 2024-01-02T00:00:00
         > at 2024-01-03
         create d scheduled__2024-01-01T00:00:00+00:00 queued
         create d scheduled__2024-01-02T00:00:00+00:00 queued
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         wake 2024-01-04T00:00:00
         > ok other 2024-01-01 holds
         other/2024-01-01/holds success
         run other/2024-01-01 success
         run d/2024-01-01 running
         d/2024-01-01/a try 1
         wake 2024-01-04T00:00:00",
    );
}

/// The later run gets the key first, because normal runs come before those of backfills.
#[test]
fn a_run_that_waits_for_an_earlier_one_gives_it_their_key() {
    check(
        "dag other none key eu
         - holds
         dag d @daily from 2024-01-01 key eu
         - a past
         > at 2024-01-01
         wake 2024-01-02T00:00:00
         > trigger other
         run other/2024-01-01 running
         other/2024-01-01/holds try 1
         wake 2024-01-02T00:00:00
         > at 2024-01-04
         create d scheduled__2024-01-03T00:00:00+00:00 queued
         coalesced d 2024-01-01T00:00 (the run for 2024-01-03T00:00:00.000000Z stands for it (misfire: latest))
         coalesced d 2024-01-02T00:00 (the run for 2024-01-03T00:00:00.000000Z stands for it (misfire: latest))
         wake 2024-01-05T00:00:00
         > backfill d 7 runs 1 2024-01-02
         wake 2024-01-05T00:00:00
         > ok other 2024-01-01 holds
         other/2024-01-01/holds success
         run other/2024-01-01 success
         run d/2024-01-03 running
         run d/2024-01-03 queued (the run before it runs first)
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         wake 2024-01-05T00:00:00
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         run d/2024-01-02 success
         run d/2024-01-03 running
         d/2024-01-03/a try 1
         wake 2024-01-05T00:00:00",
    );
}

#[test]
fn a_run_whose_key_has_no_text_waits_and_says_so() {
    check(
        "dag d none key ERROR
         - a
         > at 2024-01-02
         > trigger d
         > why d 2024-01-02 a
         no, the key of the DAG's 'concurrency' can't be made: params has no 'region'",
    );
}
