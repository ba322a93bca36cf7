//! When a task may start, given how its direct upstreams ended.

use serde::{Deserialize, Serialize};

use crate::state::TaskState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerRule {
    #[default]
    AllSuccess,
    AllFailed,
    AllDone,
    AllDoneMinOneSuccess,
    AllDoneSetupSuccess,
    OneSuccess,
    OneFailed,
    OneDone,
    NoneFailed,
    #[serde(alias = "none_failed_or_skipped")]
    NoneFailedMinOneSuccess,
    NoneSkipped,
    AllSkipped,
    #[serde(alias = "dummy")]
    Always,
}

/// How the direct upstream instances of a task stand. `total` counts all of them; the five others only finished ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamCounts {
    pub total: u32,
    pub success: u32,
    pub skipped: u32,
    pub failed: u32,
    pub upstream_failed: u32,
    pub removed: u32,
    /// Of the upstreams that are setups: how many there are, how many succeeded, how many were skipped.
    pub setups: u32,
    pub setups_success: u32,
    pub setups_skipped: u32,
}

impl UpstreamCounts {
    /// Of each upstream instance its state, and whether its task is a setup.
    pub fn of(upstream: impl IntoIterator<Item = (TaskState, bool)>) -> Self {
        let mut counts = Self::default();
        for (state, is_setup) in upstream {
            counts.total += 1;
            if is_setup {
                counts.setups += 1;
                counts.setups_success += u32::from(state == TaskState::Success);
                counts.setups_skipped += u32::from(state == TaskState::Skipped);
            }
            match state {
                TaskState::Success => counts.success += 1,
                TaskState::Skipped => counts.skipped += 1,
                TaskState::Failed => counts.failed += 1,
                TaskState::UpstreamFailed => counts.upstream_failed += 1,
                TaskState::Removed => counts.removed += 1,
                _ => {}
            }
        }
        counts
    }

    pub const fn finished(&self) -> u32 {
        self.success + self.skipped + self.failed + self.upstream_failed + self.removed
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Wait,
    Run,
    /// Ends without running: skipped or upstream_failed.
    Mark(TaskState),
}

impl TriggerRule {
    pub const ALL: &[Self] = &[
        Self::AllSuccess,
        Self::AllFailed,
        Self::AllDone,
        Self::AllDoneMinOneSuccess,
        Self::AllDoneSetupSuccess,
        Self::OneSuccess,
        Self::OneFailed,
        Self::OneDone,
        Self::NoneFailed,
        Self::NoneFailedMinOneSuccess,
        Self::NoneSkipped,
        Self::AllSkipped,
        Self::Always,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllSuccess => "all_success",
            Self::AllFailed => "all_failed",
            Self::AllDone => "all_done",
            Self::AllDoneMinOneSuccess => "all_done_min_one_success",
            Self::AllDoneSetupSuccess => "all_done_setup_success",
            Self::OneSuccess => "one_success",
            Self::OneFailed => "one_failed",
            Self::OneDone => "one_done",
            Self::NoneFailed => "none_failed",
            Self::NoneFailedMinOneSuccess => "none_failed_min_one_success",
            Self::NoneSkipped => "none_skipped",
            Self::AllSkipped => "all_skipped",
            Self::Always => "always",
        }
    }

    /// Marks come first and do not wait for the rest unless the rule says so (Airflow 3.3, `trigger_rule_dep.py`).
    pub fn decide(self, counts: &UpstreamCounts) -> Decision {
        use Decision::{Mark, Run, Wait};
        use TaskState::{Skipped, UpstreamFailed};
        let UpstreamCounts { total, success, skipped, failed, upstream_failed, removed, .. } = *counts;
        let any_failure = failed + upstream_failed > 0;
        let done = counts.finished() == total;
        if total == 0 {
            return Run;
        }
        let run_when = |condition: bool| if condition { Run } else { Wait };
        match self {
            Self::Always => Run,
            Self::AllSuccess if any_failure => Mark(UpstreamFailed),
            Self::AllSuccess if skipped > 0 => Mark(Skipped),
            Self::AllSuccess => run_when(success + removed == total),
            Self::AllFailed if success + skipped > 0 => Mark(Skipped),
            Self::AllFailed => run_when(failed + upstream_failed + removed == total),
            Self::AllDone => run_when(done),
            Self::OneSuccess if success > 0 => Run,
            Self::OneSuccess if done && skipped == total => Mark(Skipped),
            Self::OneSuccess if done => Mark(UpstreamFailed),
            Self::OneSuccess => Wait,
            Self::OneFailed if any_failure => Run,
            Self::OneFailed if done => Mark(Skipped),
            Self::OneFailed => Wait,
            Self::OneDone if success + failed > 0 => Run,
            Self::OneDone if done => Mark(Skipped),
            Self::OneDone => Wait,
            Self::NoneFailed if any_failure => Mark(UpstreamFailed),
            Self::NoneFailed => run_when(success + skipped + removed == total),
            Self::NoneFailedMinOneSuccess if any_failure => Mark(UpstreamFailed),
            Self::NoneFailedMinOneSuccess if skipped == total => Mark(Skipped),
            Self::NoneFailedMinOneSuccess if done && success == 0 => Mark(UpstreamFailed),
            Self::NoneFailedMinOneSuccess => run_when(success + skipped + removed == total && success > 0),
            Self::NoneSkipped if skipped > 0 => Mark(Skipped),
            Self::NoneSkipped => run_when(done),
            Self::AllSkipped if success + failed + upstream_failed > 0 => Mark(Skipped),
            Self::AllSkipped => run_when(skipped == total),
            Self::AllDoneMinOneSuccess if skipped > 0 => Mark(Skipped),
            Self::AllDoneMinOneSuccess if done && success == 0 => Mark(UpstreamFailed),
            Self::AllDoneMinOneSuccess => run_when(done && success > 0),
            Self::AllDoneSetupSuccess if !done => Wait,
            Self::AllDoneSetupSuccess if counts.setups > 0 && counts.setups_skipped == counts.setups => Mark(Skipped),
            Self::AllDoneSetupSuccess if counts.setups > 0 && counts.setups_success == 0 => Mark(UpstreamFailed),
            Self::AllDoneSetupSuccess => Run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskState::{Failed, None as Waiting, Removed, Running, Skipped, Success, UpstreamFailed};

    fn decide(rule: TriggerRule, states: &[TaskState]) -> Decision {
        rule.decide(&UpstreamCounts::of(states.iter().map(|state| (*state, false))))
    }

    #[test]
    fn case_44_subtle_pairs() {
        use Decision::{Mark, Run};
        let cases: &[(TriggerRule, [TaskState; 2], Decision)] = &[
            (TriggerRule::OneSuccess, [Skipped, Failed], Mark(UpstreamFailed)),
            (TriggerRule::OneSuccess, [Skipped, Skipped], Mark(Skipped)),
            (TriggerRule::AllDoneMinOneSuccess, [Success, Skipped], Mark(Skipped)),
            (TriggerRule::NoneFailedMinOneSuccess, [Skipped, Removed], Mark(UpstreamFailed)),
            (TriggerRule::OneDone, [Skipped, UpstreamFailed], Mark(Skipped)),
            (TriggerRule::NoneFailed, [Skipped, Skipped], Run),
        ];
        for (rule, states, expected) in cases {
            assert_eq!(decide(*rule, states), *expected, "{} of {states:?}", rule.as_str());
        }
    }

    #[test]
    fn case_45_all_success_does_not_wait_to_give_up() {
        assert_eq!(decide(TriggerRule::AllSuccess, &[Skipped, Running]), Decision::Mark(Skipped));
        assert_eq!(decide(TriggerRule::AllSuccess, &[Failed, Running]), Decision::Mark(UpstreamFailed));
    }

    #[test]
    fn case_46_one_of_a_kind_does_not_wait() {
        assert_eq!(decide(TriggerRule::OneFailed, &[Failed, Running]), Decision::Run);
        assert_eq!(decide(TriggerRule::OneSuccess, &[Success, Waiting]), Decision::Run);
        assert_eq!(decide(TriggerRule::OneFailed, &[Success, Running]), Decision::Wait);
    }

    #[test]
    fn every_rule_decides_once_all_are_done_except_all_skipped_beside_a_removed_one() {
        let finished = [Success, Skipped, Failed, UpstreamFailed, Removed];
        for rule in TriggerRule::ALL {
            for a in finished {
                for b in finished {
                    let dead_end = match rule {
                        TriggerRule::AllSkipped => {
                            [a, b].contains(&Removed) && [a, b].iter().all(|s| [Skipped, Removed].contains(s))
                        }
                        _ => false,
                    };
                    assert_eq!(decide(*rule, &[a, b]) == Decision::Wait, dead_end, "{} of {a}, {b}", rule.as_str());
                }
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for rule in TriggerRule::ALL {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
        assert_eq!(serde_json::from_str::<TriggerRule>("\"dummy\"").unwrap(), TriggerRule::Always);
    }
}
