//! Mapped tasks and groups: how many instances there are, and what counts them.

use crate::script::{check, play};

#[test]
fn a_list_in_the_file_has_its_instances_from_the_start() {
    check(
        "dag d none
         - a
         - b after a over [1,2]
         - c after b
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         d/2024-01-02/b[0] try 1
         d/2024-01-02/b[1] try 1
         > ok d 2024-01-02 b[1]
         d/2024-01-02/b[1] success
         > ok d 2024-01-02 b[0]
         d/2024-01-02/b[0] success
         d/2024-01-02/c try 1",
    );
}

#[test]
fn a_result_makes_instances_when_it_is_there() {
    check(
        "dag d none
         - list
         - copy after list over list
         - sum after copy
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/list try 1
         > ok d 2024-01-02 list = [1,2,3]
         d/2024-01-02/list success
         d/2024-01-02/copy x 3
         d/2024-01-02/copy[0] try 1
         d/2024-01-02/copy[1] try 1
         d/2024-01-02/copy[2] try 1
         > ok d 2024-01-02 copy[0]
         d/2024-01-02/copy[0] success
         > ok d 2024-01-02 copy[2]
         d/2024-01-02/copy[2] success
         > fail d 2024-01-02 copy[1]
         d/2024-01-02/copy[1] failed
         run d/2024-01-02 failed (task_failure)
         d/2024-01-02/sum upstream_failed (all_success: copy[1] is failed)",
    );
}

#[test]
fn case_51_an_empty_list_skips_the_task_and_its_child() {
    check(
        "dag d none
         - list
         - copy after list over list
         - sum after copy
         - report after copy rule none_failed
         dag e none
         - copy over []
         - sum after copy
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/list try 1
         > ok d 2024-01-02 list = []
         d/2024-01-02/list success
         d/2024-01-02/copy skipped (its list is empty)
         d/2024-01-02/sum skipped (all_success: copy is skipped)
         d/2024-01-02/report try 1
         > trigger e
         run e/2024-01-02 running
         run e/2024-01-02 success
         e/2024-01-02/copy skipped (its list is empty)
         e/2024-01-02/sum skipped (all_success: copy is skipped)",
    );
}

#[test]
fn case_51_too_long_a_list_is_its_producers_failure() {
    let list = |length: usize| format!("[{}]", vec!["0"; length].join(","));
    let story = |length: usize| {
        format!(
            "dag d none
             - list
             - copy after list over list
             executor 1
             > at 2024-01-02
             > trigger d
             run d/2024-01-02 running
             d/2024-01-02/list try 1
             > ok d 2024-01-02 list = {}",
            list(length)
        )
    };
    check(&format!(
        "{}
         d/2024-01-02/list failed: copy is mapped over the result of this task, but it has 1025 items, and max_map_length is 1024
         run d/2024-01-02 failed (task_failure)
         d/2024-01-02/copy upstream_failed (all_success: list is failed)",
        story(1025)
    ));
    let told = play(&story(1024));
    assert!(told.contains("copy x 1024\n"), "{told}");
}

#[test]
fn what_is_no_list_is_its_producers_failure_and_may_be_tried_again() {
    check(
        "dag d none
         - list retries 1 delay 60s
         - copy after list over list
         > at 2024-01-02T00:00
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/list try 1
         > ok d 2024-01-02 list
         d/2024-01-02/list up_for_retry until 00:01:00: copy is mapped over the result of this task, but it left none
         wake 2024-01-02T00:01:00.000001
         > at 2024-01-02T00:02
         d/2024-01-02/list try 2
         > ok d 2024-01-02 list = {\"a\":1}
         d/2024-01-02/list failed: copy is mapped over the result of this task, but it is a map, not a list
         run d/2024-01-02 failed (task_failure)
         d/2024-01-02/copy upstream_failed (all_success: list is failed)",
    );
}

#[test]
fn every_combination_of_two_results_within_the_limit() {
    let long = format!("[{}]", vec!["0"; 40].join(","));
    check(&format!(
        "dag d none
         - x
         - y
         - copy after x,y over x,y
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/x try 1
         d/2024-01-02/y try 1
         > ok d 2024-01-02 x = [1,2]
         d/2024-01-02/x success
         > ok d 2024-01-02 y = [1,2]
         d/2024-01-02/y success
         d/2024-01-02/copy x 4
         d/2024-01-02/copy[0] try 1
         d/2024-01-02/copy[1] try 1
         d/2024-01-02/copy[2] try 1
         d/2024-01-02/copy[3] try 1
         > dag e none
         > - x
         > - y
         > - copy after x,y over x,y
         > trigger e
         run e/2024-01-02 running
         e/2024-01-02/x try 1
         e/2024-01-02/y try 1
         > ok e 2024-01-02 x = {long}
         e/2024-01-02/x success
         > ok e 2024-01-02 y = {long}
         e/2024-01-02/y success
         run e/2024-01-02 failed (task_failure)
         e/2024-01-02/copy failed (it has 1600 items; max_map_length is 1024)"
    ));
}

#[test]
fn a_failed_or_skipped_producer_is_handed_down_unexpanded() {
    check(
        "dag d none
         - list
         - copy after list over list
         - any after list over list rule none_failed
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/list try 1
         > skip d 2024-01-02 list
         d/2024-01-02/list skipped
         run d/2024-01-02 success
         d/2024-01-02/copy skipped (all_success: list is skipped)
         d/2024-01-02/any skipped (list is skipped and left no list)",
    );
}

#[test]
fn trigger_rules_count_instances() {
    check(
        "dag d none
         - b over [1,2,3]
         - first after b rule one_success
         - done after b rule all_done
         - none after b rule none_failed
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b[0] try 1
         d/2024-01-02/b[1] try 1
         d/2024-01-02/b[2] try 1
         > ok d 2024-01-02 b[2]
         d/2024-01-02/b[2] success
         d/2024-01-02/first try 1
         > skip d 2024-01-02 b[1]
         d/2024-01-02/b[1] skipped
         > fail d 2024-01-02 b[0]
         d/2024-01-02/b[0] failed
         d/2024-01-02/none upstream_failed (none_failed: b[0] is failed)
         d/2024-01-02/done try 1",
    );
}

#[test]
fn a_mapped_group_goes_depth_first_and_is_counted_whole_outside() {
    check(
        "dag d none group g list
         - list
         - x in g after list
         - y in g after x
         - sum after y rule all_done
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/list try 1
         > ok d 2024-01-02 list = [1,2]
         d/2024-01-02/list success
         d/2024-01-02/x x 2
         d/2024-01-02/y x 2
         d/2024-01-02/x[0] try 1
         d/2024-01-02/x[1] try 1
         > ok d 2024-01-02 x[1]
         d/2024-01-02/x[1] success
         d/2024-01-02/y[1] try 1
         > fail d 2024-01-02 x[0]
         d/2024-01-02/x[0] failed
         d/2024-01-02/y[0] upstream_failed (all_success: x[0] is failed)
         > ok d 2024-01-02 y[1]
         d/2024-01-02/y[1] success
         d/2024-01-02/sum try 1",
    );
}

#[test]
fn a_task_may_be_mapped_over_the_results_of_a_mapped_one() {
    check(
        "dag d none
         - a over [1,2,3]
         - b after a over a rule all_done
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/a[0] try 1
         d/2024-01-02/a[1] try 1
         d/2024-01-02/a[2] try 1
         > ok d 2024-01-02 a[0] = 7
         d/2024-01-02/a[0] success
         > fail d 2024-01-02 a[1]
         d/2024-01-02/a[1] failed
         > ok d 2024-01-02 a[2] = [1]
         d/2024-01-02/a[2] success
         d/2024-01-02/b x 2
         d/2024-01-02/b[0] try 1
         d/2024-01-02/b[1] try 1",
    );
}

#[test]
fn inline_instances_end_at_once_and_only_together() {
    check(
        "dag d none
         - list
         - gate after list over list inline
         - next after gate
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/list try 1
         > ok d 2024-01-02 list = [1,2]
         d/2024-01-02/list success
         d/2024-01-02/gate x 2
         d/2024-01-02/gate[0] success
         d/2024-01-02/gate[1] success
         d/2024-01-02/next try 1",
    );
}

/// The whole group would let it begin, its own item does not.
#[test]
fn an_instance_of_a_mapped_group_says_what_it_waits_for_of_its_own_item() {
    check(
        "dag d none group g list
         - list
         - x in g after list
         - y in g after x rule one_success
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/list try 1
         > ok d 2024-01-02 list = [1,2]
         d/2024-01-02/list success
         d/2024-01-02/x x 2
         d/2024-01-02/y x 2
         d/2024-01-02/x[0] try 1
         d/2024-01-02/x[1] try 1
         > ok d 2024-01-02 x[1]
         d/2024-01-02/x[1] success
         d/2024-01-02/y[1] try 1
         > why d 2024-01-02 y[0]
         no, one_success: 0 of 1 upstream tasks have ended (x is running)",
    );
}
