//! A row of runs as bars: height is duration, colour and mark are the state.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::state::RunState;
use millrace_store::RunSummary;
use serde::Serialize;

use crate::format::{length, span, words};
use crate::links;

/// Heights that the style sheet knows.
const STEPS: i64 = 10;

#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub run_id: String,
    pub href: String,
    pub state: &'static str,
    /// 1 to 10.
    pub height: i64,
    pub title: String,
}

/// Oldest first, whatever the order given; the longest is the highest.
pub(crate) fn bars(dag_id: &str, newest_first: &[RunSummary], now: DateTime<Utc>) -> Vec<Bar> {
    let spans: Vec<Option<TimeDelta>> =
        newest_first.iter().map(|run| span(run.start_date, run.end_date, now)).collect();
    let longest = spans.iter().flatten().max().copied().unwrap_or_default();
    newest_first
        .iter()
        .zip(&spans)
        .rev()
        .map(|(run, span)| Bar {
            run_id: run.run_id.to_string(),
            href: links::run(dag_id, run.run_id.as_str()),
            state: run.state.as_str(),
            height: height(*span, longest),
            title: title(run.run_id.as_str(), run.state, *span),
        })
        .collect()
}

pub(crate) fn height(span: Option<TimeDelta>, longest: TimeDelta) -> i64 {
    let longest = longest.num_milliseconds().max(1);
    let Some(span) = span else { return 2 };
    (span.num_milliseconds() * STEPS / longest).clamp(2, STEPS)
}

pub(crate) fn title(run_id: &str, state: RunState, span: Option<TimeDelta>) -> String {
    let took = span.map(|span| format!(", {}", length(span))).unwrap_or_default();
    format!("{run_id}: {}{took}", words(state.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_shares_of_the_longest() {
        let seconds = |n| Some(TimeDelta::seconds(n));
        assert_eq!(height(seconds(100), TimeDelta::seconds(100)), 10);
        assert_eq!(height(seconds(50), TimeDelta::seconds(100)), 5);
        assert_eq!(height(seconds(0), TimeDelta::seconds(100)), 2);
        assert_eq!(height(None, TimeDelta::zero()), 2);
    }
}
