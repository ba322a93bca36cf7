//! How often what happens. Each world has odds of its own: what is seldom in most happens again and again in some, and
//! never in others, where it cannot hide what something else does.

use super::random::Dice;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    End,
    StepOutside,
    PassTime,
    Kill,
    Usurp,
    LateOneActs,
    CutOff,
    Pause,
    Trigger,
    Clear,
    Mark,
    MarkRun,
    Backfill,
    ChangePool,
    Edit,
    Repin,
    Asset,
    PlanFault,
    Turn,
}

/// With their weights where nothing is out of the common.
const USUAL: &[(Act, usize)] = &[
    (Act::End, 10),
    (Act::StepOutside, 3),
    (Act::PassTime, 4),
    (Act::Kill, 1),
    (Act::Usurp, 1),
    (Act::LateOneActs, 2),
    (Act::CutOff, 1),
    (Act::Pause, 1),
    (Act::Trigger, 3),
    (Act::Clear, 2),
    (Act::Mark, 1),
    (Act::MarkRun, 1),
    (Act::Backfill, 4),
    (Act::ChangePool, 1),
    (Act::Edit, 1),
    (Act::Repin, 1),
    (Act::Asset, 1),
    (Act::PlanFault, 3),
    (Act::Turn, 3),
];

pub struct Odds {
    acts: Vec<(Act, usize)>,
    /// Of so many ends four are not a success.
    pub ends: usize,
    /// Of so many planned failures of the store one is a refusal.
    pub refusals: usize,
    /// In one of so many turns somebody asks for something before the leader decides; none: never.
    pub interruptions: Option<usize>,
}

impl Odds {
    pub fn new(dice: &mut Dice) -> Self {
        dice.riches = *dice.pick(&[1, 1, 2, 3]);
        let is_usual = dice.one_in(3);
        let mut weigh = |&(act, usual): &(Act, usize)| {
            let times = if is_usual { 1 } else { *dice.pick(&[0, 1, 1, 1, 5]) };
            // Nothing comes of a world in which nothing begins or ends.
            let least = usize::from(matches!(act, Act::End | Act::PassTime | Act::Turn));
            (act, usual * times.max(least))
        };
        let acts = USUAL.iter().map(&mut weigh).collect();
        Self {
            acts,
            ends: *dice.pick(&[5, 9, 9, 20]),
            refusals: *dice.pick(&[1, 4, 4]),
            interruptions: *dice.pick(&[None, Some(20), Some(4)]),
        }
    }

    pub fn act(&self, dice: &mut Dice) -> Act {
        let mut at = dice.roll(self.acts.iter().map(|(_, weight)| weight).sum());
        for (act, weight) in &self.acts {
            if at < *weight {
                return *act;
            }
            at -= weight;
        }
        unreachable!("it is less than all together")
    }
}
