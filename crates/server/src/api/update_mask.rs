//! `update_mask`: to which members of its body a change is limited, as Airflow's clients say it.

use crate::openapi::{Kind, Operation};
use crate::problem::Answer;
use crate::query::{Parameters, unknown};

const NAME: &str = "update_mask";

/// No name at all means every member that the body has.
pub(super) struct UpdateMask(Vec<String>);

pub(super) fn masked(operation: Operation) -> Operation {
    operation.many(NAME, Kind::Text, "Change only this member of the body; may be repeated")
}

impl UpdateMask {
    /// 422 for a name that is none of `members`. Older clients send several in one, between commas.
    pub fn of(parameters: &Parameters, members: &[&str]) -> Answer<Self> {
        let names = parameters.all(NAME).into_iter().flat_map(|text| text.split(',')).map(str::trim);
        Self::among(names.map(str::to_owned).collect(), members)
    }

    /// 422 for a name that is none of `members`.
    pub fn among(names: Vec<String>, members: &[&str]) -> Answer<Self> {
        match names.iter().find(|name| !members.contains(&name.as_str())) {
            None => Ok(Self(names)),
            Some(name) => Err(unknown(NAME, name, members)),
        }
    }

    pub fn keeps_all(&self) -> bool {
        self.0.is_empty()
    }

    pub fn keeps(&self, member: &str) -> bool {
        self.keeps_all() || self.0.iter().any(|name| name == member)
    }

    /// The member, where it may be changed.
    pub fn kept<T>(&self, member: &str, given: Option<T>) -> Option<T> {
        given.filter(|_| self.keeps(member))
    }
}
