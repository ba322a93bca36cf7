//! Every act that somebody may do here, and the least role for it. Each address asks for one of them.

use std::fmt;

/// What a person is, everywhere or for some DAGs. Each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks at DAGs, runs and logs, and changes nothing.
    Viewer,
    /// Runs things: triggers, pauses, clears, marks, backfills.
    Operator,
    /// Also changes what DAGs work with: connections, variables, pools.
    Editor,
    /// Also people, their tokens and grants, and the audit log.
    Admin,
}

impl Role {
    pub const ALL: &[Self] = &[Self::Viewer, Self::Operator, Self::Editor, Self::Admin];

    /// `user` is the old word for an operator.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "viewer" => Some(Self::Viewer),
            "operator" | "user" => Some(Self::Operator),
            "editor" => Some(Self::Editor),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// As it stands in a row: whoever has an unknown word may least.
    pub(crate) fn of_row(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::Viewer)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! acts {
    ($($act:ident = $name:literal, $role:ident, $of_dag:literal, $text:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Act {
            $(#[doc = $text] $act,)+
        }

        impl Act {
            pub const ALL: &[Self] = &[$(Self::$act,)+];

            /// As scopes of tokens name it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$act => $name,)+ }
            }

            pub const fn least(self) -> Role {
                match self { $(Self::$act => Role::$role,)+ }
            }

            /// Whether a grant for a DAG can allow it.
            pub const fn is_of_dag(self) -> bool {
                match self { $(Self::$act => $of_dag,)+ }
            }

            pub const fn describe(self) -> &'static str {
                match self { $(Self::$act => $text,)+ }
            }
        }
    };
}

acts! {
    ReadDags = "dags:read", Viewer, true, "look at DAGs, runs and tasks: what they do, what they moved, why they wait";
    ReadLogs = "logs:read", Viewer, true, "read the logs of tries";
    ReadSystem = "system:read", Viewer, false, "look at pools, calendars, assets, alerts, notifications and processes";
    OwnAccount = "account", Viewer, false, "change one's own password and tokens";
    PauseDags = "dags:pause", Operator, true, "pause and unpause a DAG, have its file read again";
    TriggerRuns = "runs:trigger", Operator, true, "start a run";
    ChangeRuns = "runs:change", Operator, true, "clear, mark and annotate runs and tasks";
    Backfill = "backfills:write", Operator, true, "make, pause and cancel backfills";
    DeleteHistory = "history:delete", Editor, true, "delete runs that have ended, and DAGs whose file is gone";
    RecordAssets = "assets:record", Operator, false, "say that an asset is up to date";
    WriteWebhooks = "webhooks:write", Operator, false, "make and revoke webhooks that do what one may do oneself";
    SeeAlerts = "alerts:write", Operator, false, "note that an alert was seen, tell callbacks again what was given up";
    ReadConnections = "connections:read", Operator, false, "look at connections, without their secrets";
    TestConnections = "connections:test", Operator, false, "try a stored connection";
    ReadVariables = "variables:read", Operator, false, "look at variables, without secrets";
    WriteConnections = "connections:write", Editor, false, "add, change and delete connections, and try what is not stored";
    WriteVariables = "variables:write", Editor, false, "add, change and delete variables";
    WritePools = "pools:write", Editor, false, "add, change and delete pools";
    ManagePeople = "people:write", Admin, false, "manage users, their roles and grants, and everybody's tokens";
    ReadAudit = "audit:read", Admin, false, "read the audit log and the configuration";
}

impl Act {
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|act| act.name() == text)
    }
}

/// What an address asks of whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: health, static files, signing in.
    Open,
    /// That they may do this; where the address names a DAG, to this DAG.
    Act(Act),
    /// That they may do this to some DAG. Which one the request says elsewhere than in its address, and its handler asks.
    OfSomeDag(Act),
}

impl From<Act> for Access {
    fn from(act: Act) -> Self {
        Self::Act(act)
    }
}

/// What a token may, at the most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// Whatever its person may.
    #[default]
    All,
    Words(Vec<Word>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// All that this role may.
    Role(Role),
    Act(Act),
}

impl Word {
    fn parse(text: &str) -> Option<Self> {
        Role::parse(text).map(Self::Role).or_else(|| Act::parse(text).map(Self::Act))
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Role(role) => role.as_str(),
            Self::Act(act) => act.name(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("'{word}' is neither a role (viewer, operator, editor, admin) nor an act ({acts})")]
pub struct ScopeError {
    word: String,
    acts: String,
}

impl Scope {
    /// Words with spaces or commas between them; none: everything.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let read = |word: &str| {
            Word::parse(word).ok_or_else(|| ScopeError {
                word: word.chars().take(40).collect(),
                acts: Act::ALL.iter().map(|act| act.name()).collect::<Vec<_>>().join(", "),
            })
        };
        let words = words.map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(if words.is_empty() { Self::All } else { Self::Words(words) })
    }

    /// As it stands in a row: an unknown word allows nothing.
    pub(crate) fn of_row(text: Option<&str>) -> Self {
        match text {
            None => Self::All,
            Some(text) => Self::Words(text.split(' ').filter_map(Word::parse).collect()),
        }
    }

    /// For the row.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Words(words) => Some(words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ")),
        }
    }

    pub fn allows(&self, act: Act) -> bool {
        match self {
            Self::All => true,
            Self::Words(words) => words.iter().any(|word| match word {
                Word::Role(role) => *role >= act.least(),
                Word::Act(named) => *named == act,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_unknown_ones_may_least() {
        assert!(Role::ALL.is_sorted());
        assert_eq!(Role::of_row("root"), Role::Viewer);
        assert_eq!(Role::parse("user"), Some(Role::Operator), "the old word");
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(*role));
        }
    }

    #[test]
    fn names_of_acts_are_unique_and_no_roles() {
        for (place, act) in Act::ALL.iter().enumerate() {
            assert_eq!(Act::ALL.iter().position(|other| other.name() == act.name()), Some(place));
            assert_eq!(Role::parse(act.name()), None);
        }
    }

    #[test]
    fn a_scope_allows_what_it_names() {
        let scope = Scope::parse("viewer, runs:trigger").unwrap();
        assert!(scope.allows(Act::ReadLogs) && scope.allows(Act::TriggerRuns));
        assert!(!scope.allows(Act::PauseDags) && !scope.allows(Act::ManagePeople));
        assert_eq!(Scope::of_row(scope.text().as_deref()), scope);
        assert_eq!(Scope::parse(" ").unwrap(), Scope::All);
        assert!(Scope::parse("runs:delete").unwrap_err().to_string().contains("'runs:delete' is neither"));
        assert!(!Scope::of_row(Some("gone:word")).allows(Act::ReadDags), "what is unknown allows nothing");
    }
}
