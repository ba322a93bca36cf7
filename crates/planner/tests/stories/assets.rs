//! Runs that assets call for.

use crate::script::check;

#[test]
fn case_101_all_assets_and_one_run_for_all_their_events() {
    check(
        "dag a none
         - make outlet orders
         dag b none
         - make outlet customers
         dag both none assets orders+customers
         - use
         dag sleeping none assets orders paused
         - use
         > at 2024-01-01
         > trigger a
         run a/2024-01-01 running
         a/2024-01-01/make try 1
         > ok a 2024-01-01 make
         a/2024-01-01/make success
         run a/2024-01-01 success
         event orders
         > at 2024-01-02
         > trigger a
         run a/2024-01-02 running
         a/2024-01-02/make try 1
         > ok a 2024-01-02 make
         a/2024-01-02/make success
         run a/2024-01-02 success
         event orders
         > trigger b
         run b/2024-01-02 running
         b/2024-01-02/make try 1
         > ok b 2024-01-02 make
         b/2024-01-02/make success
         run b/2024-01-02 success
         event customers
         create both asset_triggered__2024-01-02T00:00:00+00:00 running for 3 events
         both/2024-01-02/use try 1
         > unpause sleeping
         > at 2024-01-03
         > trigger a
         run a/2024-01-03 running
         a/2024-01-03/make try 1
         > fail! a 2024-01-03 make
         a/2024-01-03/make failed
         run a/2024-01-03 failed (task_failure)",
    );
}

#[test]
fn one_or_two_others_together_are_enough() {
    check(
        "dag a none
         - make outlet q1
         dag b none
         - make outlet q2
         dag c none
         - make outlet q3
         dag tree none assets q1|q2+q3
         - use
         > at 2024-01-01
         > trigger b
         run b/2024-01-01 running
         b/2024-01-01/make try 1
         > ok b 2024-01-01 make
         b/2024-01-01/make success
         run b/2024-01-01 success
         event q2
         > trigger c
         run c/2024-01-01 running
         c/2024-01-01/make try 1
         > ok c 2024-01-01 make
         c/2024-01-01/make success
         run c/2024-01-01 success
         event q3
         create tree asset_triggered__2024-01-01T00:00:00+00:00 running for 2 events
         tree/2024-01-01/use try 1
         > ok tree 2024-01-01 use
         tree/2024-01-01/use success
         run tree/2024-01-01 success
         > at 2024-01-02
         > trigger c
         run c/2024-01-02 running
         c/2024-01-02/make try 1
         > ok c 2024-01-02 make
         c/2024-01-02/make success
         run c/2024-01-02 success
         event q3
         > trigger a
         run a/2024-01-02 running
         a/2024-01-02/make try 1
         > ok a 2024-01-02 make
         a/2024-01-02/make success
         run a/2024-01-02 success
         event q1
         create tree asset_triggered__2024-01-02T00:00:00+00:00 running for 2 events
         tree/2024-01-02/use try 1",
    );
}

#[test]
fn any_of_them_and_what_happens_meanwhile_goes_into_one_later_run() {
    check(
        "dag a none
         - make outlet orders
         dag either none assets orders|customers runs 1
         - use
         > at 2024-01-01
         > trigger a
         run a/2024-01-01 running
         a/2024-01-01/make try 1
         > ok a 2024-01-01 make
         a/2024-01-01/make success
         run a/2024-01-01 success
         event orders
         create either asset_triggered__2024-01-01T00:00:00+00:00 running for 1 events
         either/2024-01-01/use try 1
         > at 2024-01-02
         > trigger a
         run a/2024-01-02 running
         a/2024-01-02/make try 1
         > ok a 2024-01-02 make
         a/2024-01-02/make success
         run a/2024-01-02 success
         event orders
         > at 2024-01-03
         > trigger a
         run a/2024-01-03 running
         a/2024-01-03/make try 1
         > ok a 2024-01-03 make
         a/2024-01-03/make success
         run a/2024-01-03 success
         event orders
         > next either
         no, 1 of 1 runs of the DAG are active (max_active_runs); held by run asset_triggered__2024-01-01T00:00:00+00:00
         > ok either 2024-01-01 use
         either/2024-01-01/use success
         run either/2024-01-01 success
         create either asset_triggered__2024-01-03T00:00:00+00:00 running for 2 events
         either/2024-01-03/use try 1",
    );
}

#[test]
fn a_dag_with_a_schedule_and_assets_keeps_to_its_runs() {
    check(
        "dag a none
         - make outlet orders
         dag both @daily from 2024-01-01 catchup assets orders runs 1
         - use
         > at 2024-01-02
         create both scheduled__2024-01-01T00:00:00+00:00 running
         both/2024-01-01/use try 1
         > at 2024-01-03
         > trigger a
         run a/2024-01-03 running
         a/2024-01-03/make try 1
         > ok a 2024-01-03 make
         a/2024-01-03/make success
         run a/2024-01-03 success
         event orders
         > ok both 2024-01-01 use
         both/2024-01-01/use success
         run both/2024-01-01 success
         create both scheduled__2024-01-02T00:00:00+00:00 running
         both/2024-01-02/use try 1
         > ok both 2024-01-02 use
         both/2024-01-02/use success
         run both/2024-01-02 success
         create both asset_triggered__2024-01-03T00:00:00+00:00 running for 1 events
         both/2024-01-03/use try 1",
    );
}

#[test]
fn what_happens_twice_in_one_instant_makes_a_run_each() {
    check(
        "dag a none
         - make outlet orders
         - make_more outlet orders
         dag waits none assets orders runs 2
         - use
         > at 2024-01-02
         > trigger a
         run a/2024-01-02 running
         a/2024-01-02/make try 1
         a/2024-01-02/make_more try 1
         > ok a 2024-01-02 make
         a/2024-01-02/make success
         event orders
         create waits asset_triggered__2024-01-02T00:00:00+00:00 running for 1 events
         waits/2024-01-02/use try 1
         > ok a 2024-01-02 make_more
         a/2024-01-02/make_more success
         run a/2024-01-02 success
         event orders
         create waits asset_triggered__2024-01-02T00:00:00+00:00 running for 1 events
         refused asset_triggered__2024-01-02T00:00:00+00:00
         create waits asset_triggered__2024-01-02T00:00:00.000001+00:00 running for 1 events
         waits/2024-01-02/use try 1",
    );
}
