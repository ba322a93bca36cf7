//! Which groups of a DAG are folded, as an address says it.

use millrace_model::dag::Dag;

use crate::links;
use crate::query::Parameters;

/// Those that are not as they usually are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Folds {
    open: Vec<String>,
    shut: Vec<String>,
}

impl Folds {
    pub fn of(parameters: &Parameters) -> Self {
        let all = |name: &str| parameters.all(name).into_iter().map(str::to_owned).collect();
        Self { open: all("open"), shut: all("shut") }
    }

    /// Every group of the DAG folded; `is_usual`: groups are open unless somebody folds them.
    pub fn all_shut(dag: &Dag, is_usual: bool) -> Self {
        let all = || dag.groups.iter().map(|group| group.group_id.to_string()).collect();
        Self { open: Vec::new(), shut: if is_usual { all() } else { Vec::new() } }
    }

    /// `name=value`, as they stand behind an address.
    pub fn parts(&self) -> impl Iterator<Item = String> {
        let named = |name, all: &[String]| all.iter().map(|one| format!("{name}={}", links::encode(one))).collect();
        let (open, shut): (Vec<_>, Vec<_>) = (named("open", &self.open), named("shut", &self.shut));
        open.into_iter().chain(shut)
    }

    pub fn is_open(&self, group: &str, is_usual: bool) -> bool {
        let is_named = |names: &[String]| names.iter().any(|name| name == group);
        !is_named(&self.shut) && (is_usual || is_named(&self.open))
    }

    /// As these, with that group the other way round.
    pub fn turned(&self, group: &str, is_open: bool) -> Self {
        let mut folds = self.clone();
        folds.open.retain(|one| one != group);
        folds.shut.retain(|one| one != group);
        if is_open {
            folds.shut.push(group.to_owned());
        } else {
            folds.open.push(group.to_owned());
        }
        folds
    }
}
