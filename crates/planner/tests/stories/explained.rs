//! Why is this not running?

use crate::script::check;

#[test]
fn the_first_unmet_condition_is_named_with_its_numbers() {
    check(
        "dag d none
         - a
         - b
         - c after a,b
         executor 1
         > at 2024-01-02
         > trigger d
         run d/2024-01-02 running
         d/2024-01-02/b scheduled
         d/2024-01-02/a try 1
         > why d 2024-01-02 a
         yes, try 1 is running
         > why d 2024-01-02 b
         no, 1 of 1 worker slots are in use
         > why d 2024-01-02 c
         no, all_success: 0 of 2 upstream tasks have ended (a is running, b is scheduled)
         > ok d 2024-01-02 a
         d/2024-01-02/a success
         d/2024-01-02/b try 1
         > why d 2024-01-02 a
         yes, it has ended: success after 1 try
         > why d 2024-01-02 c
         no, all_success: 1 of 2 upstream tasks have ended (b is running)
         > next d
         no, its schedule has no further run; it runs when triggered",
    );
}
