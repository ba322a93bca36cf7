//! Every trigger rule over every pair of states, against the rules as the table in the documents of the field says them.

use millrace_model::state::TaskState::{
    self, Failed as F, None as W, Removed as R, Skipped as K, Success as S, UpstreamFailed as U,
};
use millrace_model::trigger_rule::{Decision, TriggerRule, UpstreamCounts};

const STATES: [TaskState; 6] = [S, K, F, U, R, W];

/// One line for each first state, one letter for each second: `r`uns, `.` waits, marked s`k`ipped or `u`pstream_failed.
/// In the order S K F U R W; W has not ended. Written from the table of rules, cell by cell.
#[rustfmt::skip]
const EXPECTED: &[(&str, [&str; 6])] = &[
    //                S K F U R W
    ("all_success", [
        /* S */ "rkuur.",
        /* K */ "kkuukk",
        /* F */ "uuuuuu",
        /* U */ "uuuuuu",
        /* R */ "rkuur.",
        /* W */ ".kuu..",
    ]),
    ("all_failed", [
        "kkkkkk",
        "kkkkkk",
        "kkrrr.",
        "kkrrr.",
        "kkrrr.",
        "kk....",
    ]),
    ("all_done", [
        "rrrrr.",
        "rrrrr.",
        "rrrrr.",
        "rrrrr.",
        "rrrrr.",
        "......",
    ]),
    ("all_done_min_one_success", [
        "rkrrr.",
        "kkkkkk",
        "rkuuu.",
        "rkuuu.",
        "rkuuu.",
        ".k....",
    ]),
    ("all_done_setup_success", [
        "rrrrr.",
        "rrrrr.",
        "rrrrr.",
        "rrrrr.",
        "rrrrr.",
        "......",
    ]),
    ("one_success", [
        "rrrrrr",
        "rkuuu.",
        "ruuuu.",
        "ruuuu.",
        "ruuuu.",
        "r.....",
    ]),
    ("one_failed", [
        "kkrrk.",
        "kkrrk.",
        "rrrrrr",
        "rrrrrr",
        "kkrrk.",
        "..rr..",
    ]),
    ("one_done", [
        "rrrrrr",
        "rkrkk.",
        "rrrrrr",
        "rkrkk.",
        "rkrkk.",
        "r.r...",
    ]),
    ("none_failed", [
        "rruur.",
        "rruur.",
        "uuuuuu",
        "uuuuuu",
        "rruur.",
        "..uu..",
    ]),
    ("none_failed_min_one_success", [
        "rruur.",
        "rkuuu.",
        "uuuuuu",
        "uuuuuu",
        "ruuuu.",
        "..uu..",
    ]),
    ("none_skipped", [
        "rkrrr.",
        "kkkkkk",
        "rkrrr.",
        "rkrrr.",
        "rkrrr.",
        ".k....",
    ]),
    ("all_skipped", [
        "kkkkkk",
        "krkk..",
        "kkkkkk",
        "kkkkkk",
        "k.kk..",
        "k.kk..",
    ]),
    ("always", [
        "rrrrrr",
        "rrrrrr",
        "rrrrrr",
        "rrrrrr",
        "rrrrrr",
        "rrrrrr",
    ]),
];

fn letter(decision: Decision) -> char {
    match decision {
        Decision::Run => 'r',
        Decision::Wait => '.',
        Decision::Mark(K) => 'k',
        Decision::Mark(U) => 'u',
        Decision::Mark(other) => panic!("no rule marks {other}"),
    }
}

fn decide(rule: TriggerRule, upstream: &[(TaskState, bool)]) -> char {
    letter(rule.decide(&UpstreamCounts::of(upstream.iter().copied())))
}

#[test]
fn case_44_all_pairs_of_upstream_states_for_every_rule() {
    assert_eq!(EXPECTED.len(), TriggerRule::ALL.len());
    let mut wrong = Vec::new();
    for (rule, (name, expected)) in TriggerRule::ALL.iter().zip(EXPECTED) {
        assert_eq!(rule.as_str(), *name);
        for (first, line) in STATES.iter().zip(expected) {
            for (second, letter) in STATES.iter().zip(line.chars()) {
                let found = decide(*rule, &[(*first, false), (*second, false)]);
                if found != letter {
                    wrong.push(format!("{name}({first}, {second}) is {found}, not {letter}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn case_44_the_table_is_symmetric() {
    for (name, expected) in EXPECTED {
        for (first, line) in expected.iter().enumerate() {
            for (second, letter) in line.chars().enumerate() {
                assert_eq!(expected[second].chars().nth(first), Some(letter), "{name} {first} {second}");
            }
        }
    }
}

#[test]
fn case_44_a_teardown_asks_its_setups() {
    let rule = TriggerRule::AllDoneSetupSuccess;
    for (setups, expected) in [
        (&[(S, true)][..], 'r'),
        (&[(S, true), (F, true)], 'r'),
        (&[(S, true), (K, true)], 'r'),
        (&[(K, true)], 'k'),
        (&[(K, true), (K, true)], 'k'),
        (&[(F, true)], 'u'),
        (&[(U, true)], 'u'),
        (&[(K, true), (F, true)], 'u'),
        (&[(W, true)], '.'),
    ] {
        for work in [S, K, F, U, R] {
            let upstream: Vec<_> = setups.iter().copied().chain([(work, false)]).collect();
            assert_eq!(decide(rule, &upstream), expected, "{upstream:?}");
        }
        let unfinished: Vec<_> = setups.iter().copied().chain([(W, false)]).collect();
        assert_eq!(decide(rule, &unfinished), '.', "{unfinished:?}");
    }
}
