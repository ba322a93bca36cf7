//! The list of DAGs.

use std::collections::HashSet;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect};
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, header};
use millrace_model::change::RunKey;
use millrace_model::state::RunState;
use millrace_store::{DagFilter, DagRow, LedgerRow, RunSummary};
use serde::Serialize;

use super::strip::{Bar, bars};
use crate::access::client::Client;
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::access::sessions::cookie;
use crate::api::{DAG_ORDERS, compare_dags, rows_moved};
use crate::format::{When, count, length, span};
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::words::{said, say, t};

const STRIP: u32 = 14;
const MOST_DAGS: usize = 100;
/// A run that should have been created this long ago is late.
const LATE: TimeDelta = TimeDelta::minutes(2);
const FAVOURITES: &str = "millrace_favourites";
/// A browser throws a cookie away that has more than 4096 with its name and what goes with it.
const FAVOURITES_BYTES: usize = 3900;

#[derive(Serialize)]
pub(super) struct Line {
    dag_id: String,
    href: String,
    description: Option<String>,
    owner: Option<String>,
    tags: Vec<String>,
    /// Whether who looks may run and pause it.
    may_change: bool,
    is_paused: bool,
    is_favourite: bool,
    is_stale: bool,
    has_import_error: bool,
    schedule: String,
    strip: Vec<Bar>,
    last: Option<Last>,
    next: Option<When>,
    /// The next run should have begun: it is late, or waits its turn.
    is_due: bool,
    is_late: bool,
    rows: Option<String>,
}

#[derive(Serialize)]
struct Last {
    href: String,
    state: &'static str,
    when: Option<When>,
    took: Option<String>,
}

/// What the buttons above the list choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    All,
    On,
    Paused,
    Failed,
    Running,
    Late,
    Favourites,
    Gone,
}

/// By what the DAGs are chosen, besides what stands in them.
struct Seen<'a> {
    server: &'a Server,
    favourites: &'a HashSet<String>,
    at_work: &'a HashSet<String>,
    /// With a run that goes on though a task of it has failed for good.
    failing: &'a HashSet<String>,
    person: &'a Person,
    now: DateTime<Utc>,
}

impl Choice {
    const ALL: [Self; 8] =
        [Self::All, Self::On, Self::Paused, Self::Failed, Self::Running, Self::Late, Self::Favourites, Self::Gone];

    const fn name(self) -> &'static str {
        match self {
            Self::All => "",
            Self::On => "on",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Late => "late",
            Self::Favourites => "favourites",
            Self::Gone => "gone",
        }
    }

    fn text(self) -> &'static str {
        t(match self {
            Self::All => said!("All"),
            Self::On => said!("On"),
            Self::Paused => said!("Paused"),
            Self::Failed => said!("Failed"),
            Self::Running => said!("Running"),
            Self::Late => said!("Late"),
            Self::Favourites => said!("Favourites"),
            Self::Gone => said!("File gone"),
        })
    }

    /// Of an unknown word: everything.
    fn parse(text: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|choice| Some(choice.name()) == text).unwrap_or(Self::All)
    }

    fn holds(self, row: &DagRow, seen: &Seen<'_>) -> bool {
        if row.is_stale {
            return self == Self::Gone;
        }
        match self {
            Self::Gone => false,
            Self::All => true,
            Self::On => !row.is_paused,
            Self::Paused => row.is_paused,
            Self::Failed => {
                let newest = row.last_runs.iter().find(|run| run.state.is_finished());
                newest.is_some_and(|run| run.state == RunState::Failed) || seen.failing.contains(row.dag_id.as_str())
            }
            Self::Running => seen.at_work.contains(row.dag_id.as_str()),
            Self::Late => due_since(row, seen.at_work, seen.now).is_some(),
            Self::Favourites => seen.favourites.contains(row.dag_id.as_str()),
        }
    }
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let text = |name: &str| parameters.owned(name).unwrap_or_default();
    let (search, tag, owner) = (text("q"), text("tag"), text("owner"));
    let choice = Choice::parse(parameters.text("state"));
    let order = parameters.order(DAG_ORDERS)?;
    let offset = usize::try_from(parameters.offset()?).unwrap_or(usize::MAX);
    let now = server.now();
    let favourites = favourites(&headers);
    let (all, at_work) = server.dags_and_newest().await?;
    let failing = server.store().failing_runs().await?;
    let failing = failing.into_iter().map(|(run, _)| run.dag_id.to_string()).collect();
    let seen =
        Seen { server: &server, favourites: &favourites, at_work: &at_work, failing: &failing, person: &person, now };
    let is_empty = all.is_empty();
    let mut tags: Vec<&str> = all.iter().flat_map(|row| row.dag.tags.iter().map(String::as_str)).collect();
    tags.sort_unstable();
    tags.dedup();
    // One that holds a secret is no choice.
    tags.retain(|tag| server.masked_text(tag) == *tag);
    let mut owners: Vec<&str> = all.iter().filter_map(|row| row.dag.owner.as_deref()).collect();
    owners.sort_unstable();
    owners.dedup();
    owners.retain(|owner| server.masked_text(owner) == *owner);
    let wanted = search.to_lowercase();
    let meant: Vec<&DagRow> = all
        .iter()
        .filter(|row| wanted.is_empty() || row.dag_id.as_str().to_lowercase().contains(&wanted))
        .filter(|row| tag.is_empty() || row.dag.tags.contains(&tag))
        .filter(|row| owner.is_empty() || row.dag.owner.as_deref() == Some(owner.as_str()))
        .collect();
    let number = |choice: Choice| meant.iter().filter(|row| choice.holds(row, &seen)).count();
    let asked = query_of(&[("q", &search), ("tag", &tag), ("owner", &owner)]);
    let rest = format!("{asked}{}", query_of(&[("order_by", &text("order_by"))]));
    let choices: Vec<_> = Choice::ALL
        .into_iter()
        .map(|one| (one, number(one)))
        .filter(|(one, count)| *one != Choice::Gone || *count > 0 || choice == Choice::Gone)
        .map(|(one, count)| {
            values! {
                text => one.text(),
                count,
                is_on => one == choice,
                href => format!("/dags?state={}{rest}", one.name()),
            }
        })
        .collect();
    let mut shown: Vec<&DagRow> = meant.iter().copied().filter(|row| choice.holds(row, &seen)).collect();
    if let Some(order) = order {
        shown.sort_by(|one, other| compare_dags(order, one, other));
    }
    let total = shown.len();
    let mut shown: Vec<DagRow> = shown.into_iter().skip(offset).take(MOST_DAGS).cloned().collect();
    server.store().add_last_runs(&mut shown, STRIP).await?;
    let newest: Vec<RunKey> = shown.iter().filter_map(|row| Some(RunSummary::latest(&row.last_runs)?.key)).collect();
    let moved = if newest.is_empty() { Vec::new() } else { server.store().ledger_of_runs(&newest).await? };
    let lines: Vec<Line> = shown
        .iter()
        .map(|row| {
            let last = RunSummary::latest(&row.last_runs).map(|run| run.key);
            let of_last: Vec<LedgerRow> =
                moved.iter().filter(|(run, _)| Some(*run) == last).map(|(_, row)| row.clone()).collect();
            line(row, rows_moved(&of_last), &seen)
        })
        .collect();
    let next = Some(offset.saturating_add(MOST_DAGS)).filter(|next| *next < total);
    let values = values! {
        search, tag, tags, owner, owners, choices, lines, is_empty, total,
        is_searched => !search.is_empty() || !tag.is_empty() || !owner.is_empty() || choice != Choice::All,
        state => choice.name(),
        order_by => parameters.text("order_by"),
        sorted => format!("/dags?state={}{asked}", choice.name()),
        next => next.map(|next| format!("/dags?offset={next}&state={}{rest}", choice.name())),
    };
    server.page("dags.html", Some(&person), &Wishes::of(&headers), values).await
}

/// `&name=value` of those that have one.
fn query_of(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("&{name}={}", links::encode(value));
    pairs.iter().filter(|(_, value)| !value.is_empty()).map(pair).collect()
}

/// One row, alone.
pub(super) async fn row(server: &Server, person: &Person, row: &DagRow, headers: &HeaderMap) -> Answer<Line> {
    let moved = match RunSummary::latest(&row.last_runs) {
        Some(run) => rows_moved(&server.store().ledger_of_run(run.key).await?),
        None => None,
    };
    let at_work = server.store().dags_at_work().await?;
    let favourites = favourites(headers);
    // What fails is asked for by the buttons above the list alone.
    let failing = HashSet::new();
    let seen =
        Seen { server, favourites: &favourites, at_work: &at_work, failing: &failing, person, now: server.now() };
    Ok(line(row, moved, &seen))
}

fn line(row: &DagRow, moved: Option<u64>, seen: &Seen<'_>) -> Line {
    let masker = seen.server.masker_of_dag(&row.dag);
    let now = seen.now;
    let zone = row.dag.timetable.timezone;
    let dag_id = row.dag_id.as_str();
    let next = row.next.as_ref().map(|next| next.run_after).filter(|_| !row.is_paused && !row.is_stale);
    Line {
        dag_id: dag_id.to_owned(),
        href: links::dag(dag_id),
        description: row.dag.description.as_deref().map(|text| masker.mask(text)),
        owner: row.dag.owner.as_deref().map(|owner| masker.mask(owner)),
        tags: row.dag.tags.iter().map(|tag| masker.mask(tag)).collect(),
        may_change: seen.person.may_on(Act::TriggerRuns, dag_id, &row.dag.tags),
        is_paused: row.is_paused,
        is_favourite: seen.favourites.contains(dag_id),
        is_stale: row.is_stale,
        has_import_error: row.has_import_error,
        schedule: say(&row.dag.describe_schedule()),
        strip: bars(dag_id, &row.last_runs, now),
        last: RunSummary::latest(&row.last_runs).map(|run| Last {
            href: links::run(dag_id, run.run_id.as_str()),
            state: run.state.as_str(),
            when: run.end_date.or(run.start_date).map(|at| When::new(at, now, zone)),
            took: span(run.start_date, run.end_date, now).map(length),
        }),
        is_due: next.is_some_and(|at| at < now),
        is_late: due_since(row, seen.at_work, now).is_some(),
        next: next.map(|at| When::new(at, now, zone)),
        rows: moved.map(count),
    }
}

/// Since when the next run should have been there, if it should. While one runs, the next may have to wait its turn.
pub(super) fn due_since(row: &DagRow, at_work: &HashSet<String>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let next = row.next.as_ref().filter(|_| !row.is_paused && !row.is_stale)?;
    (next.run_after + LATE < now && !at_work.contains(row.dag_id.as_str())).then_some(next.run_after)
}

/// The newest run that ended is among so many, unless more are active at once.
const LOOKED_AT: u32 = 4;

impl Server {
    /// Every DAG, also those whose file is gone, with its newest run, and with more where that has not ended; and the
    /// ids of those that have a run that has not. Strips of every DAG's runs would cost more than all the rest.
    pub(super) async fn dags_and_newest(&self) -> Answer<(Vec<DagRow>, HashSet<String>)> {
        let store = self.store();
        let all = store.dags(&DagFilter { last_runs: 1, include_stale: true, ..DagFilter::default() }).await?.rows;
        let at_work = store.dags_at_work().await?;
        let goes_on = |row: &DagRow| row.last_runs.first().is_some_and(|run| !run.state.is_finished());
        let (mut going, mut all): (Vec<DagRow>, Vec<DagRow>) = all.into_iter().partition(goes_on);
        store.add_last_runs(&mut going, LOOKED_AT).await?;
        all.append(&mut going);
        all.sort_by(|one, other| one.dag_id.as_str().cmp(other.dag_id.as_str()));
        Ok((all, at_work))
    }
}

/// The person's favourites: the browser keeps them.
fn favourites(headers: &HeaderMap) -> HashSet<String> {
    let decoded = |id: &str| percent_encoding::percent_decode_str(id).decode_utf8().ok().map(|id| id.into_owned());
    cookie(headers, FAVOURITES)
        .map(|text| text.split('.').filter(|id| !id.is_empty()).filter_map(decoded).collect())
        .unwrap_or_default()
}

pub(super) async fn favour(
    Path(dag_id): Path<String>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let mut all: Vec<String> = favourites(&headers).into_iter().collect();
    match all.iter().position(|id| *id == dag_id) {
        Some(place) => drop(all.remove(place)),
        None => all.push(dag_id.clone()),
    }
    // What was chosen last stays when there are too many.
    all.sort_unstable_by_key(|id| (*id != dag_id, id.clone()));
    let mut text = String::new();
    for id in all.iter().map(|id| links::encode(id)) {
        if text.len() + id.len() < FAVOURITES_BYTES {
            text.push_str(&id);
            text.push('.');
        }
    }
    let secure = client.secure_cookies();
    let kept = format!("{FAVOURITES}={text}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly{secure}");
    (AppendHeaders([(header::SET_COOKIE, kept)]), Redirect::to(&links::back(&headers, "/dags")))
}
