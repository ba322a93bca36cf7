//! `sql_interval_check`: a day's figures beside those of an earlier day.

use std::collections::BTreeMap;

use chrono::{NaiveDate, TimeDelta};
use millrace_operator_api::ports::CheckResult;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::asking::{ask, conclude};
use crate::parts::parameter::{is_blank, rendered, rendered_option, rendered_text, written, yes};
use crate::parts::scalar::number;

pub const ENTRY: OperatorEntry = OperatorEntry::of::<SqlIntervalCheck>(
    "sql_interval_check",
    "fails when a day's figures are far from those of an earlier day",
)
.aliases(&["SQLIntervalCheckOperator", "IntervalCheckOperator", "RedshiftIntervalCheckOperator"])
.parameter_aliases(&[("conn_id", "sql_conn_id")]);

/// Compares figures of a table on the run's day with those of `days_back` days before, and fails when one of them has
/// changed by its threshold or more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlIntervalCheck {
    /// The connection to ask.
    sql_conn_id: Template<String>,
    /// The table as SQL writes it: `analytics.nps`, in quotes where the names need them.
    table: Template<String>,
    /// For each figure, as SQL (`COUNT(*)`, `SUM(amount)`), the ratio that it must stay below.
    metrics_thresholds: Template<BTreeMap<String, f64>>,
    /// The column that holds the day.
    #[serde(default = "ds")]
    date_filter_column: Template<String>,
    /// How many days lie between the two. A minus before it changes nothing.
    #[serde(default = "a_week")]
    days_back: i32,
    /// The day to check. Left out: the date of the run's logical date, in UTC.
    #[serde(default)]
    date: Option<Template<String>>,
    /// `max_over_min` divides the greater by the lesser, signs aside, and fails where they differ; `relative_diff` divides the difference by the earlier.
    #[serde(default)]
    ratio_formula: RatioFormula,
    /// Whether a figure passes when one of the two is 0 or NULL, of which there is no ratio.
    #[serde(default = "yes")]
    ignore_zero: bool,
    /// Whether a check that does not pass is tried again, as other failures are.
    #[serde(default = "yes")]
    retry_on_failure: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RatioFormula {
    #[default]
    MaxOverMin,
    RelativeDiff,
}

fn ds() -> Template<String> {
    "ds".into()
}

fn a_week() -> i32 {
    7
}

impl Operator for SqlIntervalCheck {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [
            ("sql_conn_id", &self.sql_conn_id),
            ("table", &self.table),
            ("date_filter_column", &self.date_filter_column),
        ] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if self.days_back == 0 {
            problems.add("days_back", "days_back is 0: a day would be compared with itself");
        }
        if let Some(metrics) = written(&self.metrics_thresholds) {
            if metrics.is_empty() {
                problems.add("metrics_thresholds", "metrics_thresholds names no figure");
            }
            for (metric, threshold) in metrics {
                if self.ratio_formula == RatioFormula::MaxOverMin && threshold <= 1.0 {
                    problems.add(
                        "metrics_thresholds",
                        format!(
                            "the threshold of {metric} is {threshold}, but the greater over the lesser is never below 1"
                        ),
                    );
                }
            }
        }
        if let Some(date) = self.date.as_ref().and_then(written)
            && date.parse::<NaiveDate>().is_err()
        {
            problems.add("date", format!("'{date}' is not a date such as 2024-01-31"));
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlIntervalCheck {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let table = rendered_text("table", &self.table)?;
        let column = rendered_text("date_filter_column", &self.date_filter_column)?;
        let metrics = rendered("metrics_thresholds", &self.metrics_thresholds)?;
        let day = match rendered_option("date", self.date.as_ref())? {
            None => context.run.logical_date.date_naive(),
            Some(text) => text
                .trim()
                .parse::<NaiveDate>()
                .map_err(|_| TaskError::Fail(format!("parameter date: '{text}' is not a date such as 2024-01-31")))?,
        };
        let before = day - TimeDelta::days(i64::from(self.days_back.unsigned_abs()));
        let figures = metrics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let question = |day: NaiveDate| format!("SELECT {figures} FROM {table} WHERE {column} = '{day}'");
        let now = ask(context, &conn_id, &question(day)).await?;
        let then = ask(context, &conn_id, &question(before)).await?;
        let cell = |answer: &[Vec<Option<String>>], index: usize| {
            answer.first().and_then(|row| row.get(index).cloned().flatten())
        };
        let results: Vec<CheckResult> = metrics
            .iter()
            .enumerate()
            .map(|(index, (metric, threshold))| {
                let (now, then) = (cell(&now.rows, index), cell(&then.rows, index));
                let (passed, ratio) = self.judge(now.as_deref(), then.as_deref(), *threshold);
                let shown = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
                CheckResult {
                    name: format!("{metric} of {day} to {before} below {threshold}"),
                    passed,
                    found: format!("{} against {}: {ratio}", shown(now), shown(then)),
                }
            })
            .collect();
        conclude(context, &conn_id, &format!("{table} on {day}"), &results, self.retry_on_failure)
    }

    fn judge(&self, now: Option<&str>, then: Option<&str>, threshold: f64) -> (bool, String) {
        let read = |cell: Option<&str>| cell.map_or(Some(0.0), number);
        let (Some(now), Some(then)) = (read(now), read(then)) else { return (false, "not a number".to_owned()) };
        if now == 0.0 || then == 0.0 {
            return (self.ignore_zero, "no ratio".to_owned());
        }
        self.ratio_formula.judge(now, then, threshold)
    }
}

impl RatioFormula {
    /// Neither figure is zero.
    fn judge(self, now: f64, then: f64, threshold: f64) -> (bool, String) {
        let ratio = match self {
            // From below zero to above it there is no factor, however large the change is.
            Self::MaxOverMin if now.is_sign_negative() != then.is_sign_negative() => {
                return (false, "no ratio, because their signs differ; relative_diff has one".to_owned());
            }
            Self::MaxOverMin => now.abs().max(then.abs()) / now.abs().min(then.abs()),
            Self::RelativeDiff => (now - then).abs() / then.abs(),
        };
        (ratio < threshold, format!("ratio {ratio:.4}"))
    }
}

#[cfg(test)]
mod tests {
    use super::RatioFormula;

    #[test]
    fn figures_below_zero_are_compared_by_their_size() {
        for (now, then, passes) in
            [(-50.0, -60.0, true), (-50.0, -100.0, false), (-50.0, 100.0, false), (50.0, 60.0, true)]
        {
            assert_eq!(RatioFormula::MaxOverMin.judge(now, then, 1.5).0, passes, "{now} against {then}");
        }
        assert!(RatioFormula::RelativeDiff.judge(-50.0, 100.0, 2.0).0);
    }
}
