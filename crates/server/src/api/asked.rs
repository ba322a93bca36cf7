//! What a list can be asked for, in an address and, where names are many, in a body: Airflow's names for both.

use chrono::TimeDelta;
use millrace_store::DateSpan;
use serde::Serialize;
use serde_json::Value;

use crate::openapi::{Kind, Operation};
use crate::problem::{Answer, Problem};
use crate::query::{MOST_ROWS, Parameters, shortened};

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

    /// Seconds.
    pub fn length(&self, name: &str) -> Answer<Option<TimeDelta>> {
        let read = |text: &str| {
            let seconds: f64 = text.parse().map_err(|_| {
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
