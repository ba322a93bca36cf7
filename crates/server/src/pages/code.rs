//! The file of a DAG: each version that was in service, and what changed between two.

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::error_code::ErrorCode;
use millrace_store::DagVersionRow;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::head::Tab;
use crate::access::person::Person;
use crate::format::When;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

/// Lines around a change.
const AROUND: usize = 3;
/// Lines of a file that are shown.
const MOST_LINES: usize = 5_000;
/// Versions to choose from.
const MOST_VERSIONS: usize = 100;

#[derive(Serialize)]
struct Version {
    number: u32,
    href: String,
    diff: Option<String>,
    when: When,
    hash: String,
    is_shown: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    old: Option<usize>,
    new: Option<usize>,
    /// `same`, `added`, `removed`, or `gap` for what lies between.
    kind: &'static str,
    text: String,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let row = server.dag_row(&dag_id, 0).await?;
    let versions = server.store().dag_versions(&dag_id).await?;
    let named = |name: &str| -> Answer<Option<&DagVersionRow>> {
        let Some(number) = parameters.number::<u32>(name)? else { return Ok(None) };
        let found = versions.iter().find(|version| version.number == number);
        found
            .map(Some)
            .ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, format!("DAG {dag_id} has no version {number}")))
    };
    let (shown, against) = (named("version")?.or(versions.first()), named("against")?);
    let text = async |version: &DagVersionRow| server.shown_source(version.version_key).await;
    let lines = match (shown, against) {
        (Some(shown), Some(against)) => difference(&text(against).await?, &text(shown).await?),
        (Some(shown), None) => whole(&text(shown).await?),
        (None, _) => Vec::new(),
    };
    let href = format!("{}/code", links::dag(&dag_id));
    let line = |(place, version): (usize, &DagVersionRow)| Version {
        number: version.number,
        href: format!("{href}?version={}", version.number),
        diff: versions
            .get(place + 1)
            .map(|before| format!("{href}?version={}&against={}", version.number, before.number)),
        when: When::new(version.created_at, server.now(), row.dag.timetable.timezone),
        hash: version.content_hash.chars().take(12).collect(),
        is_shown: shown.is_some_and(|shown| shown.number == version.number),
    };
    let values = values! {
        dag => server.dag_head(&row, Tab::Code),
        versions => versions.iter().take(MOST_VERSIONS).enumerate().map(line).collect::<Vec<_>>(),
        file => shown.map(|shown| shown.file_path.as_str()),
        number => shown.map(|shown| shown.number),
        against => against.map(|against| against.number),
        is_same => against.is_some() && lines.is_empty(),
        more => lines.len().saturating_sub(MOST_LINES),
        lines => lines.iter().take(MOST_LINES).collect::<Vec<_>>(),
    };
    server.page("code.html", Some(&person), &Wishes::of(&headers), values).await
}

fn whole(text: &str) -> Vec<Line> {
    let line =
        |(place, text): (usize, &str)| Line { old: None, new: Some(place + 1), kind: "same", text: text.to_owned() };
    text.lines().enumerate().map(line).collect()
}

/// The lines that differ, and some around them.
fn difference(old: &str, new: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(old, new);
    let mut lines = Vec::new();
    for (place, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if place > 0 {
            lines.push(Line { old: None, new: None, kind: "gap", text: "⋯".to_owned() });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            lines.push(Line {
                old: change.old_index().map(|index| index + 1),
                new: change.new_index().map(|index| index + 1),
                kind: match change.tag() {
                    ChangeTag::Equal => "same",
                    ChangeTag::Delete => "removed",
                    ChangeTag::Insert => "added",
                },
                text: change.value().trim_end_matches(['\r', '\n']).to_owned(),
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_changed_and_what_stands_around() {
        let old: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 15\n", "line fifteen\nand more\n");
        let lines = difference(&old, &new);
        let text: Vec<String> = lines.iter().map(|line| format!("{} {}", line.kind, line.text)).collect();
        assert_eq!(
            text,
            [
                "same line 12",
                "same line 13",
                "same line 14",
                "removed line 15",
                "added line fifteen",
                "added and more",
                "same line 16",
                "same line 17",
                "same line 18",
            ]
        );
        assert_eq!((lines[3].old, lines[3].new), (Some(15), None));
        assert_eq!((lines[6].old, lines[6].new), (Some(16), Some(17)));
        assert!(difference(&old, &old).is_empty());
    }
}
