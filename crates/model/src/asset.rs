//! Assets: named things that tasks bring up to date and that other DAGs wait for.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::address;
use crate::ids::{DagId, MAX_ID_LENGTH, RunId, TaskId};
use crate::schedule::DataInterval;

/// The name of an asset: anything without blanks and control characters, `s3://lake/orders` or `orders`; at most 250
/// bytes. Everybody sees it, and a part of it cannot be hidden without making another of it: it has no password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AssetName(String);

/// Why a text is no name of an asset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssetNameError {
    #[error(
        "'{0}' is not the name of an asset; write 1 to 250 characters without blanks, such as orders or s3://lake/orders"
    )]
    Shape(String),
    #[error(
        "the name of an asset is shown to everybody, and this one has a password in it; leave the password out, as in \
         pg://db/orders, and keep it in a connection"
    )]
    Password,
}

impl AssetName {
    pub fn parse(text: &str) -> Result<Self, AssetNameError> {
        if !address::passwords(text).is_empty() {
            return Err(AssetNameError::Password);
        }
        let fits = !text.is_empty() && text.len() <= MAX_ID_LENGTH;
        if !fits || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AssetNameError::Shape(text.chars().take(60).collect()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Takes the text as it is: for values that were checked before (read from the database, say).
    pub fn new_unchecked(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AssetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Which assets must have changed since a DAG's last run before it runs again. No part is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetCondition {
    Asset(AssetName),
    All(Vec<AssetCondition>),
    Any(Vec<AssetCondition>),
}

impl AssetCondition {
    /// Every asset that the condition names.
    pub fn names(&self) -> BTreeSet<&AssetName> {
        match self {
            Self::Asset(name) => BTreeSet::from([name]),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::names).collect(),
        }
    }

    /// Whether it holds when just these assets have changed.
    pub fn holds(&self, has_changed: &impl Fn(&AssetName) -> bool) -> bool {
        match self {
            Self::Asset(name) => has_changed(name),
            Self::All(parts) => parts.iter().all(|part| part.holds(has_changed)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(has_changed)),
        }
    }
}

impl fmt::Display for AssetCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::Asset(name) => return write!(f, "{name}"),
            Self::All(parts) => (parts, " and "),
            Self::Any(parts) => (parts, " or "),
        };
        for (place, part) in parts.iter().enumerate() {
            let separator = if place == 0 { "" } else { word };
            match part {
                Self::Asset(name) => write!(f, "{separator}{name}")?,
                several => write!(f, "{separator}({several})")?,
            }
        }
        Ok(())
    }
}

/// An asset was brought up to date. Also what a run that it triggered knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetEvent {
    /// Row id; larger ones are newer.
    pub id: i64,
    pub asset: AssetName,
    /// The task that did it; none of the three when a person said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dag_id: Option<DagId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// -1: the task is not mapped, or a person said so.
    #[serde(default = "unmapped")]
    pub map_index: i32,
    /// Of the run that did it; the moment of the event when a person said so.
    pub data_interval: DataInterval,
    pub at: DateTime<Utc>,
    /// What whoever said so said of it.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

fn unmapped() -> i32 {
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(name: &str) -> AssetCondition {
        AssetCondition::Asset(AssetName::parse(name).unwrap())
    }

    #[test]
    fn a_tree_holds_as_it_reads() {
        let tree = AssetCondition::Any(vec![asset("a"), AssetCondition::All(vec![asset("b"), asset("c")])]);
        assert_eq!(tree.to_string(), "a or (b and c)");
        let holds = |changed: &[&str]| tree.holds(&|name: &AssetName| changed.contains(&name.as_str()));
        assert!(holds(&["a"]) && holds(&["b", "c"]) && !holds(&["b"]) && !holds(&[]));
        assert_eq!(tree.names().len(), 3);
        let text = serde_json::to_string(&tree).unwrap();
        assert_eq!(text, r#"{"any":[{"asset":"a"},{"all":[{"asset":"b"},{"asset":"c"}]}]}"#);
        assert_eq!(serde_json::from_str::<AssetCondition>(&text).unwrap(), tree);
    }

    #[test]
    fn names_have_no_blanks() {
        for bad in ["", "a b", "a\nb", &"x".repeat(251)] {
            assert!(AssetName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(AssetName::parse("s3://lake/주문?x=1").is_ok());
    }

    #[test]
    fn names_have_no_passwords() {
        let error = AssetName::parse("pg://user:secretpw123@db/orders").unwrap_err();
        assert_eq!(error, AssetNameError::Password);
        assert!(!error.to_string().contains("secretpw123"));
        let too_long = format!("pg://user:secretpw123@db/{}", "x".repeat(250));
        assert_eq!(AssetName::parse(&too_long), Err(AssetNameError::Password), "its begin is not told either");
        for good in ["pg://db/orders", "pg://user@db:5432/orders", "orders:daily"] {
            assert!(AssetName::parse(good).is_ok(), "{good}");
        }
    }
}
