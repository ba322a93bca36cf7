//! Waits that hold no slot.

use crate::script::check;

#[test]
fn a_try_that_is_put_off_gives_its_slot_back_and_keeps_its_number() {
    check(
        "dag d none
         - a
         - b
         executor 1
         at 2024-01-02
         trigger d
         later d 2024-01-02 a 2024-01-02T00:01
         why d 2024-01-02 a
         at 2024-01-02T00:01:01
         ok d 2024-01-02 b
         later d 2024-01-02 a 2024-01-02T00:02
         why d 2024-01-02 a
         at 2024-01-02T00:03
         ok d 2024-01-02 a",
        "at 2024-01-02:
         trigger d:
         run d/2024-01-02 running
         d/2024-01-02/b scheduled
         d/2024-01-02/a try 1
         later d 2024-01-02 a 2024-01-02T00:01:
         d/2024-01-02/a up_for_reschedule until 00:01:00
         d/2024-01-02/b try 1
         wake 2024-01-02T00:01:00.000001
         why d 2024-01-02 a: no, what it waits for was not there: it has looked once since 2024-01-02T00:00:00.000000Z and looks again after 2024-01-02T00:01:00.000000Z
         at 2024-01-02T00:01:01:
         d/2024-01-02/a scheduled
         ok d 2024-01-02 b:
         d/2024-01-02/b success
         d/2024-01-02/a try 1
         later d 2024-01-02 a 2024-01-02T00:02:
         d/2024-01-02/a up_for_reschedule until 00:02:00
         wake 2024-01-02T00:02:00.000001
         why d 2024-01-02 a: no, what it waits for was not there: it has looked 2 times since 2024-01-02T00:00:00.000000Z and looks again after 2024-01-02T00:02:00.000000Z
         at 2024-01-02T00:03:
         d/2024-01-02/a try 1
         ok d 2024-01-02 a:
         d/2024-01-02/a success
         run d/2024-01-02 success",
    );
}

#[test]
fn case_56_a_timeout_of_waiting_is_not_retried_and_an_error_of_a_look_is() {
    check(
        "dag d none
         - a retries 1 delay 1s
         - b retries 1 delay 1s
         at 2024-01-02
         trigger d
         later d 2024-01-02 a 2024-01-02T00:01
         later d 2024-01-02 b 2024-01-02T00:01
         at 2024-01-02T00:02
         fail! d 2024-01-02 a
         fail d 2024-01-02 b
         at 2024-01-02T00:03",
        "at 2024-01-02:
         trigger d:
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         later d 2024-01-02 a 2024-01-02T00:01:
         d/2024-01-02/a up_for_reschedule until 00:01:00
         wake 2024-01-02T00:01:00.000001
         later d 2024-01-02 b 2024-01-02T00:01:
         d/2024-01-02/b up_for_reschedule until 00:01:00
         wake 2024-01-02T00:01:00.000001
         at 2024-01-02T00:02:
         d/2024-01-02/a try 1
         d/2024-01-02/b try 1
         fail! d 2024-01-02 a:
         d/2024-01-02/a failed
         fail d 2024-01-02 b:
         d/2024-01-02/b up_for_retry until 00:02:01
         wake 2024-01-02T00:02:01.000001
         at 2024-01-02T00:03:
         d/2024-01-02/b try 2",
    );
}

#[test]
fn a_worker_that_is_lost_while_it_looks_leaves_the_wait_where_it_was() {
    check(
        "dag d none
         - a
         at 2024-01-02
         trigger d
         later d 2024-01-02 a 2024-01-02T00:01
         at 2024-01-02T00:02
         lost d 2024-01-02 a
         later d 2024-01-02 a 2024-01-02T00:03
         why d 2024-01-02 a",
        "at 2024-01-02:
         trigger d:
         run d/2024-01-02 running
         d/2024-01-02/a try 1
         later d 2024-01-02 a 2024-01-02T00:01:
         d/2024-01-02/a up_for_reschedule until 00:01:00
         wake 2024-01-02T00:01:00.000001
         at 2024-01-02T00:02:
         d/2024-01-02/a try 1
         lost d 2024-01-02 a:
         d/2024-01-02/a up_for_reschedule
         d/2024-01-02/a try 1
         later d 2024-01-02 a 2024-01-02T00:03:
         d/2024-01-02/a up_for_reschedule until 00:03:00
         wake 2024-01-02T00:03:00.000001
         why d 2024-01-02 a: no, what it waits for was not there: it has looked 3 times since 2024-01-02T00:00:00.000000Z and looks again after 2024-01-02T00:03:00.000000Z",
    );
}
