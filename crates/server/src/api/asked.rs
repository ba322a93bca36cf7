//! What a list can be asked for, in an address and, where names are many, in a body: Airflow's names for both.

use std::str::FromStr;

use chrono::TimeDelta;
use millrace_store::DateSpan;
use serde::Serialize;
use serde_json::Value;

use crate::openapi::{Kind, Operation};
use crate::problem::{Answer, Problem};
use crate::query::{MOST_ROWS, Parameters, not_whole, shortened};

/// Rows of many runs are counted to so many: of a million that alone would take longer than the list.
pub(crate) const MOST_COUNTED: u64 = 10_000;

/// Each date has four ends, and the address and the body name them alike.
const DATES: [(&str, &str); 16] = [
    ("run_after_gte", "Runs due from then on"),
    ("run_after_gt", "Runs due after then"),
    ("run_after_lte", "Runs due up to then"),
    ("run_after_lt", "Runs due before then"),
    ("logical_date_gte", "Of this logical date and later ones"),
    ("logical_date_gt", "Of later logical dates"),
    ("logical_date_lte", "Of this logical date and earlier ones"),
    ("logical_date_lt", "Of earlier logical dates"),
    ("start_date_gte", "Started from then on"),
    ("start_date_gt", "Started after then"),
    ("start_date_lte", "Started up to then"),
    ("start_date_lt", "Started before then"),
    ("end_date_gte", "Ended from then on"),
    ("end_date_gt", "Ended after then"),
    ("end_date_lte", "Ended up to then"),
    ("end_date_lt", "Ended before then"),
];

pub(super) fn dates(operation: Operation) -> Operation {
    DATES.into_iter().fold(operation, |operation, (name, text)| operation.query(name, Kind::Instant, text))
}

pub(super) fn most() -> u64 {
    MOST_ROWS
}

/// How long a list is that was counted to [`MOST_COUNTED`]: as far as this page, of `found` rows and one more if another
/// page follows, it is known to go.
pub(super) fn in_all(counted: u64, offset: u64, found: usize) -> u64 {
    if found == 0 { counted } else { counted.max(offset + found as u64) }
}

impl Parameters {
    /// What a body asks for, as an address would: a list is its name several times, and null the word `none`.
    pub fn of_body(body: &impl Serialize) -> Self {
        let members = serde_json::to_value(body).ok().and_then(|body| body.as_object().cloned()).unwrap_or_default();
        let text = |value: &Value| match value {
            Value::Null => "none".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut all = Vec::new();
        for (name, value) in members {
            match value {
                Value::Null => {}
                Value::Array(items) => all.extend(items.iter().map(|item| (name.clone(), text(item)))),
                one => all.push((name, text(&one))),
            }
        }
        Self(all)
    }

    /// Of the DAG or run that the address names, or of those that `name` does where the address says `~`.
    pub fn named_or(&self, name: &str, in_address: &str) -> Answer<Vec<String>> {
        match (in_address, self.all(name)) {
            ("~", names) => Ok(names.into_iter().map(str::to_owned).collect()),
            (one, names) if names.is_empty() => Ok(vec![one.to_owned()]),
            (one, _) => {
                let text = format!("'{name}' goes with ~ in the address, which is that of '{}'", shortened(one));
                Err(Problem::invalid(text).with("path", name.into()))
            }
        }
    }

    /// What Airflow's patterns look for: a part of the text. Theirs are SQL's, so `%` at an end means what it means there.
    pub fn part(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| text.trim_matches('%').to_owned()).filter(|part| !part.is_empty())
    }

    /// Several of one name.
    pub fn numbers<T: FromStr>(&self, name: &str) -> Answer<Vec<T>> {
        let read = |text: &str| text.parse().map_err(|_| not_whole(name, text));
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| read(value)).collect()
    }

    /// Seconds.
    pub fn length(&self, name: &str) -> Answer<Option<TimeDelta>> {
        let read = |text: &str| {
            let seconds = text.parse().ok().filter(|seconds: &f64| *seconds >= 0.0).ok_or_else(|| {
                Problem::invalid(format!("parameter '{name}' must be a number of seconds, not '{}'", shortened(text)))
            })?;
            Ok(TimeDelta::microseconds((seconds * 1e6) as i64))
        };
        self.given(name).map(read).transpose()
    }

    /// The span of time that `NAME_gte`, `NAME_gt`, `NAME_lte` and `NAME_lt` leave of all.
    pub fn span(&self, name: &str) -> Answer<DateSpan> {
        let step = TimeDelta::microseconds(1);
        let (gte, gt) = (self.instant(&format!("{name}_gte"))?, self.instant(&format!("{name}_gt"))?);
        let (lte, lt) = (self.instant(&format!("{name}_lte"))?, self.instant(&format!("{name}_lt"))?);
        Ok(DateSpan {
            from: gte.into_iter().chain(gt.map(|at| at + step)).max(),
            before: lt.into_iter().chain(lte.map(|at| at + step)).min(),
        })
    }
}

/// A body that asks for a part of a list: the members that are given, a page, an order and the dates. Written out again
/// it has the names of an address.
macro_rules! asked {
    ($(#[doc = $text:literal])* $name:ident as $schema:literal { $($(#[$of:meta])* $member:ident: $kind:ty,)+ }) => {
        crate::api::asked::asked!(@ $(#[doc = $text])* $name as $schema { $($(#[$of])* $member: $kind,)+ }
            run_after_gte run_after_gt run_after_lte run_after_lt
            logical_date_gte logical_date_gt logical_date_lte logical_date_lt
            start_date_gte start_date_gt start_date_lte start_date_lt
            end_date_gte end_date_gt end_date_lte end_date_lt);
    };
    (@ $(#[doc = $text:literal])* $name:ident as $schema:literal { $($(#[$of:meta])* $member:ident: $kind:ty,)+ } $($date:ident)+) => {
        $(#[doc = $text])*
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(rename = $schema)]
        pub(crate) struct $name {
            #[serde(default)]
            order_by: Option<String>,
            #[serde(default, rename(serialize = "offset"))]
            page_offset: u64,
            /// Never more than 100.
            #[serde(default = "crate::api::asked::most", rename(serialize = "limit"))]
            page_limit: u64,
            $(#[serde(default)] $(#[$of])* $member: Option<$kind>,)+
            $(#[serde(default)] $date: Option<String>,)+
        }
    };
}
pub(super) use asked;
