//! What stands above every page of a DAG: its name, its switch, and the ways to its other pages.

use millrace_store::{DagRow, RunFilter, RunRow};
use minijinja::Value;

use super::strip::{Bar, height, title};
use crate::format::{When, span};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::values;
use crate::server::Server;
use crate::words::{said, say, t};

/// Runs among which one is chosen.
const CHOICE: u64 = 20;

/// A page of a DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Grid,
    Graph,
    Gantt,
    Calendar,
    Runs,
    Backfills,
    Data,
    Code,
    Details,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 9] = [
        (Self::Grid, "", said!("Grid")),
        (Self::Graph, "/graph", said!("Graph")),
        (Self::Gantt, "/gantt", said!("Gantt")),
        (Self::Calendar, "/calendar", said!("Calendar")),
        (Self::Runs, "/runs", said!("Runs")),
        (Self::Backfills, "/backfills", said!("Backfills")),
        (Self::Data, "/data", said!("Data")),
        (Self::Code, "/code", said!("Code")),
        (Self::Details, "/details", said!("Details")),
    ];

    fn draws_one_run(self) -> bool {
        matches!(self, Self::Graph | Self::Gantt)
    }
}

impl Server {
    pub(super) fn dag_head(&self, row: &DagRow, tab: Tab) -> Value {
        self.dag_head_of(row, tab, None)
    }

    /// As [`dag_head`](Self::dag_head), of a page about this run: what else draws one run draws this one.
    pub(super) fn dag_head_of(&self, row: &DagRow, tab: Tab, run_id: Option<&str>) -> Value {
        let (zone, href) = (row.dag.timetable.timezone, links::dag(row.dag_id.as_str()));
        let next = row.next.as_ref().filter(|_| !row.is_paused && !row.is_stale);
        let masker = self.masker_of_dag(&row.dag);
        let tabs: Vec<Value> = Tab::ALL
            .iter()
            .map(|(one, end, text)| {
                let run = run_id.filter(|_| one.draws_one_run());
                let run = run.map(|run_id| format!("?run={}", links::encode(run_id))).unwrap_or_default();
                values! {
                    href => format!("{href}{end}{run}"), text => t(text), is_on => *one == tab,
                    draws_one_run => one.draws_one_run(),
                }
            })
            .collect();
        values! {
            dag_id => row.dag_id.as_str(),
            href,
            tabs,
            description => row.dag.description.as_deref().map(|text| masker.mask(text)),
            schedule => say(&row.dag.describe_schedule()),
            cron => row.dag.schedule_text(),
            timezone => zone.name(),
            tags => row.dag.tags.iter().map(|tag| masker.mask(tag)).collect::<Vec<_>>(),
            is_paused => row.is_paused,
            is_stale => row.is_stale,
            has_import_error => row.has_import_error,
            next => next.map(|next| When::new(next.run_after, self.now(), zone)),
        }
    }

    /// The run that the address names, or the newest; and the ones beside it to choose from, as bars that lead to
    /// `page?run=…`.
    pub(super) async fn chosen_run(
        &self,
        row: &DagRow,
        parameters: &Parameters,
        page: &str,
    ) -> Answer<(Option<RunRow>, Vec<Bar>)> {
        let dag_id = row.dag_id.as_str();
        let filter = RunFilter { dag_ids: vec![row.dag_id.clone()], limit: CHOICE, ..RunFilter::default() };
        let newest = self.store().runs(&filter).await?.rows;
        let now = self.now();
        let spans: Vec<_> = newest.iter().map(|run| span(run.start_date, run.end_date, now)).collect();
        let longest = spans.iter().flatten().max().copied().unwrap_or_default();
        let bar = |(run, span): (&RunRow, &Option<_>)| Bar {
            run_id: run.run_id.to_string(),
            href: format!("{}/{page}?run={}", links::dag(dag_id), links::encode(run.run_id.as_str())),
            state: run.state.as_str(),
            height: height(*span, longest),
            title: title(run.run_id.as_str(), run.state, *span),
        };
        let bars = newest.iter().zip(&spans).rev().map(bar).collect();
        let run = match parameters.text("run") {
            None => newest.into_iter().next(),
            Some(run_id) => {
                let run = self.store().run(dag_id, run_id).await?;
                Some(run.ok_or_else(|| Problem::no_run(dag_id, run_id))?)
            }
        };
        Ok((run, bars))
    }
}
