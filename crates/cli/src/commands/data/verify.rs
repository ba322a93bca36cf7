//! `millrace data verify`: are the rows that were moved still the same on both sides?

use std::time::Instant;

use anyhow::{Context, bail};
use futures::StreamExt;
use millrace_connectors::{Connectors, Counterpart, QueryFilter, query_filter};
use millrace_model::ledger::{DROPPED, RowsRead, RowsWritten, WriteMethod, hash_key_of, zone_moved_from};
use millrace_operator_api::ports::{SourceColumn, SqlSource, TableName, ValueType};
use millrace_operators::parts::proof::canonical::{form_of_pair, natural_form};
use millrace_operators::parts::proof::comparing::{Comparison, Difference, Kind, Side, Verdict};
use millrace_operators::parts::proof::row_hash::Fingerprint;
use millrace_operators::parts::reads::treatment::{HashKey, Repeated, Treatments};
use millrace_store::LedgerFilter;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::moved::{Moved, moved_by};
use crate::app::App;
use crate::args::VerifyArgs;
use crate::failure::usage;
use crate::output::{Format, counted, notice, print_list, print_one};
use crate::signals::Signals;
use crate::{lookup, wiring};

/// Movements of one run that are looked through.
const MOST_LINES: u64 = 10_000;

pub async fn run(app: &App, args: VerifyArgs) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let work = verify(app, &args);
    // Dropped, the queries are cancelled on their servers.
    tokio::select! {
        result = work => result,
        which = signals.next() => bail!("{which}; nothing was changed"),
    }
}

async fn verify(app: &App, args: &VerifyArgs) -> anyhow::Result<()> {
    let began = Instant::now();
    let store = app.store().await?;
    let row = lookup::dag(app, &store, &args.dag_id).await?;
    let run = lookup::run(&store, &row.dag, &args.run).await?;
    lookup::task_index(&*lookup::pinned(&store, &run).await?, &args.task_id)?;
    let filter = LedgerFilter {
        dag_id: Some(row.dag_id.clone()),
        run_id: Some(run.run_id.to_string()),
        limit: MOST_LINES,
        ..LedgerFilter::default()
    };
    let lines = store.ledger_lines(&filter).await?.rows;
    let moved = moved_by(&lines, &args.task_id, args.table.as_deref())?;
    if moved.read.query.contains("***") {
        bail!("the query holds a secret, which the ledger does not keep, so it can't be sent again");
    }
    let connectors = wiring::connectors(app, &app.vault(&store)?);
    let plan = plan(&connectors, &moved, args).await?;
    for line in &plan.remarks {
        notice(line);
    }
    let tell = |label: &str, what: &str| notice(format!("{:6.1} s  {label}: {what}", began.elapsed().as_secs_f64()));
    let verdict = plan.comparison.run(&tell).await?;
    let report = report(&plan, &moved, &verdict, args, began.elapsed().as_secs_f64());
    print(app.format, &report)?;
    if verdict.is_equal() {
        return Ok(());
    }
    let (source, target) = (verdict.source.rows, verdict.target.rows);
    bail!(
        "source and target differ: {}{} rows ({source} rows in the source, {target} in the target)",
        if verdict.is_partial { "at least " } else { "" },
        verdict.rows_different.max(1)
    )
}

struct Plan {
    comparison: Comparison,
    key: Vec<String>,
    skipped: Vec<String>,
    remarks: Vec<String>,
}

async fn plan(connectors: &Connectors, moved: &Moved, args: &VerifyArgs) -> anyhow::Result<Plan> {
    let (read, written) = (&moved.read, &moved.written);
    let source = connectors.reader(&read.conn_id).await?;
    let target = connectors.reader(&written.conn_id).await?;
    let table = TableName { schema: written.schema.clone(), name: written.table.clone() };
    // The line break ends a comment that the query may end with.
    let relation = format!("({}\n) AS q", read.query.trim_end().trim_end_matches(';'));
    let of_query = source.query(&format!("SELECT * FROM {relation} WHERE 1 = 0")).await;
    let of_query = of_query.with_context(|| format!("looking at the query of {}", read.conn_id))?.columns;
    let of_table = target.table_columns(&table).await.with_context(|| format!("looking at table {table}"))?;
    let kept = |column: &SourceColumn| !read.changed.iter().any(|(name, how)| is(column, name) && how == DROPPED);
    let of_query: Vec<SourceColumn> = of_query.into_iter().filter(kept).collect();
    // A hash of '' was never empty.
    let is_hashed = |name: &String| read.changed.get(name).is_some_and(|how| hash_key_of(how).is_some());
    let emptied: Vec<String> = read.empty_as_null.iter().filter(|name| !is_hashed(name)).cloned().collect();
    let relation = without_empty(&*source, relation, &of_query, &emptied);
    let (of_query, unknown) = taken(of_query, written);
    let mut pairs = pair(of_query, &of_table, written)?;
    let mut remarks = remarks_of_load(moved, &emptied);
    if !unknown.is_empty() {
        remarks.push(format!("not compared: {}, which the load passed over (schema_drift)", unknown.join(", ")));
    }
    let mut skipped: Vec<String> = args.skip.iter().filter(|name| !unknown.contains(name)).cloned().collect();
    if let Some(unknown) = skipped.iter().find(|name| !pairs.iter().any(|(a, b)| is(a, name) || is(b, name))) {
        return Err(usage(format!("--skip {unknown}: there is no such column among those that were moved")));
    }
    let repeated = treatments(connectors, read, &pairs, &mut skipped, &mut remarks).await?;
    skipped.extend(unknown);
    pairs.retain(|(a, b)| !skipped.iter().any(|name| is(a, name) || is(b, name)));
    if pairs.is_empty() {
        bail!("no column of {table} is left to compare: {}", remarks.join("; "));
    }
    remarks.extend(remarks_of_columns(&table, &of_table, &pairs, &skipped));
    let key = key(&*target, &table, written, args).await?;
    let keys = positions(&key, &pairs)?;
    if keys.is_empty() {
        remarks.push("no key is known (--key names one): rows are told apart by all they hold".to_owned());
    }
    let filter = filter(moved, args, (&*source, &*target), &pairs)?;
    if let Some(filter) = &filter {
        remarks.push(format!("compared with the rows of {table} where {filter}"));
    }
    let (mut of_source, of_target): (Vec<SourceColumn>, Vec<SourceColumn>) = pairs.into_iter().unzip();
    if let Some(repeated) = &repeated {
        of_source = repeated.outcome(of_source)?;
    }
    let relation_of_target = target.table_sql(&table);
    let comparison = Comparison {
        source: Side {
            label: read.conn_id.clone(),
            source,
            relation,
            filter: args.source_where.clone(),
            columns: of_source,
            is_streamed: args.stream,
            repeated,
        },
        target: Side {
            label: format!("{}: {table}", written.conn_id),
            source: target,
            relation: relation_of_target,
            filter,
            columns: of_target,
            is_streamed: args.stream,
            repeated: None,
        },
        keys,
        most: args.most,
    };
    Ok(Plan { comparison, key, skipped, remarks })
}

/// What the load itself makes different.
fn remarks_of_load(moved: &Moved, emptied: &[String]) -> Vec<String> {
    let mut remarks = Vec::new();
    if moved.rejected > 0 {
        remarks.push(format!(
            "the load refused {} of the rows and passed them over: they are in the source only",
            moved.rejected
        ));
    }
    if !emptied.is_empty() {
        remarks.push(format!(
            "{}: empty texts of the source are compared as NULL, which they were stored as (empty_as_null)",
            emptied.join(", ")
        ));
    }
    remarks
}

/// Columns of the target that are not looked at, or not to the last digit.
fn remarks_of_columns(table: &TableName, of_table: &[SourceColumn], pairs: &Pairs, skipped: &[String]) -> Vec<String> {
    let mut remarks = Vec::new();
    let others: Vec<&str> = of_table
        .iter()
        .filter(|column| !skipped.iter().any(|name| is(column, name)))
        .filter(|column| !pairs.iter().any(|(_, of_target)| of_target.name == column.name))
        .map(|column| column.name.as_str())
        .collect();
    if !others.is_empty() {
        remarks.push(format!("not compared: {} of {table}", others.join(", ")));
    }
    let rounded: Vec<&str> =
        pairs.iter().filter(|(a, b)| is_compared_rounded(&a.value, &b.value)).map(|(a, _)| a.name.as_str()).collect();
    if !rounded.is_empty() {
        remarks.push(format!(
            "{}: compared to the digits that a floating-point number holds; digits beyond them, where a load was allowed to \
             round them off, are not told apart",
            rounded.join(", ")
        ));
    }
    remarks
}

/// What was done to the source's values when they were moved, to be done again. Columns whose treatment cannot be repeated
/// are skipped.
async fn treatments(
    connectors: &Connectors,
    read: &RowsRead,
    pairs: &Pairs,
    skipped: &mut Vec<String>,
    remarks: &mut Vec<String>,
) -> anyhow::Result<Option<Repeated>> {
    let (mut treatments, mut hash_key) = (Treatments::new(), None);
    for (name, how) in &read.changed {
        let is_there = pairs.iter().any(|(a, _)| is(a, name));
        if !is_there || skipped.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            continue;
        }
        // What stands in the table is not what the source has, and must not be said to be the same.
        let Some(treatment) = Repeated::treatment(how) else {
            remarks.push(format!("not compared: {name}, whose values were {how}"));
            skipped.push(name.clone());
            continue;
        };
        remarks
            .push(format!("{name}: the source's values are {how} to be compared, as they were when they were moved"));
        treatments.insert(name.clone(), treatment);
        if let Some(conn_id) = hash_key_of(how) {
            let key = connectors.key(conn_id).await;
            let key = key.with_context(|| format!("looking for the key of {name} (--skip {name} goes without)"))?;
            hash_key = Some(HashKey { conn_id: conn_id.to_owned(), key });
        }
    }
    Ok((!treatments.is_empty()).then(|| Repeated::new(treatments, hash_key)))
}

/// Where the key's columns stand among those compared.
fn positions(key: &[String], pairs: &Pairs) -> anyhow::Result<Vec<usize>> {
    let position = |name: &String| {
        let found = pairs.iter().position(|(a, b)| is(a, name) || is(b, name));
        found.with_context(|| format!("the key's column {name} is not among those compared; --key names others"))
    };
    key.iter().map(position).collect()
}

/// The condition that picks the rows of the table which the query stands for; `None`: all of them.
fn filter(
    moved: &Moved,
    args: &VerifyArgs,
    (source, target): (&dyn SqlSource, &dyn SqlSource),
    pairs: &Pairs,
) -> anyhow::Result<Option<String>> {
    let (read, written) = (&moved.read, &moved.written);
    if args.filter.is_some() || written.method == WriteMethod::Replace {
        return Ok(args.filter.clone());
    }
    match query_filter(&read.query, source, target, |name| counterpart(name, pairs, read)) {
        QueryFilter::All => Ok(None),
        QueryFilter::Rows(condition) => Ok(Some(condition)),
        QueryFilter::Unknown(reason) => bail!(
            "which rows of {} the query stands for is not clear ({reason}); say so with --where SQL, for example --where \
             \"id < 1000\", or --where \"1 = 1\" for all",
            TableName { schema: written.schema.clone(), name: written.table.clone() }
        ),
    }
}

/// What has become of a column of the query in the table.
fn counterpart(name: &str, pairs: &Pairs, read: &RowsRead) -> Counterpart {
    let how = read.changed.iter().find(|(changed, _)| changed.eq_ignore_ascii_case(name)).map(|(_, how)| how);
    let there = pairs.iter().find(|(a, _)| is(a, name)).map(|(_, b)| b.name.clone());
    match (there, how) {
        (_, Some(how)) if zone_moved_from(how).is_none() => Counterpart::Changed(how.clone()),
        (None, _) => Counterpart::Missing,
        (Some(name), None) => Counterpart::Same(name),
        (Some(name), Some(how)) => match zone_moved_from(how).map(str::parse) {
            Some(Ok(zone)) => Counterpart::Moved(name, zone),
            _ => Counterpart::Changed(how.clone()),
        },
    }
}

/// The relation with NULL where the load wrote NULL for an empty text.
fn without_empty(source: &dyn SqlSource, relation: String, columns: &[SourceColumn], emptied: &[String]) -> String {
    if emptied.is_empty() {
        return relation;
    }
    let list: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = source.quote(&column.name);
            // By bytes: blanks count as nothing to an engine that compares texts.
            if emptied.iter().any(|emptied| is(column, emptied)) {
                format!("CASE WHEN OCTET_LENGTH(q.{name}) = 0 THEN NULL ELSE q.{name} END AS {name}")
            } else {
                format!("q.{name}")
            }
        })
        .collect();
    format!("(SELECT {} FROM {relation}) AS q", list.join(", "))
}

fn is(column: &SourceColumn, name: &str) -> bool {
    column.name.eq_ignore_ascii_case(name)
}

type Pairs = Vec<(SourceColumn, SourceColumn)>;

/// The query's columns that the load took, and the names of those that it passed over because the table did not have them.
fn taken(of_query: Vec<SourceColumn>, written: &RowsWritten) -> (Vec<SourceColumn>, Vec<String>) {
    let names = written.columns.as_deref().filter(|names| names.len() < of_query.len());
    let Some(names) = names.filter(|names| names.iter().all(|name| of_query.iter().any(|column| is(column, name))))
    else {
        return (of_query, Vec::new());
    };
    let (taken, others): (Vec<_>, Vec<_>) =
        of_query.into_iter().partition(|column| names.iter().any(|name| is(column, name)));
    (taken, others.into_iter().map(|column| column.name).collect())
}

/// Each column of the query with the table's column that it went into.
fn pair(of_query: Vec<SourceColumn>, of_table: &[SourceColumn], written: &RowsWritten) -> anyhow::Result<Pairs> {
    let find = |name: &str| {
        let exact = of_table.iter().find(|column| column.name == name);
        exact.or_else(|| of_table.iter().find(|column| is(column, name))).cloned()
    };
    let names: Vec<String> = match &written.columns {
        Some(names) if names.len() == of_query.len() => names.clone(),
        Some(names) => bail!(
            "the load wrote {}, but the query has {} now: it reads another table, or the table has changed",
            counted(names.len() as u64, "column"),
            of_query.len()
        ),
        None if of_query.iter().all(|column| find(&column.name).is_some()) => {
            of_query.iter().map(|column| column.name.clone()).collect()
        }
        // As the load did: by position.
        None if of_query.len() == of_table.len() => of_table.iter().map(|column| column.name.clone()).collect(),
        None => bail!("the query has {} columns and the table {}, with other names", of_query.len(), of_table.len()),
    };
    of_query
        .into_iter()
        .zip(names)
        .map(|(column, name)| {
            let of_target = find(&name).with_context(|| format!("the table has no column {name} any more"))?;
            Ok((column, of_target))
        })
        .collect()
}

async fn key(
    target: &dyn SqlSource,
    table: &TableName,
    written: &RowsWritten,
    args: &VerifyArgs,
) -> anyhow::Result<Vec<String>> {
    if !args.key.is_empty() {
        return Ok(args.key.clone());
    }
    if !written.keys.is_empty() {
        return Ok(written.keys.clone());
    }
    let Some(query) = target.key_query(table) else { return Ok(Vec::new()) };
    let mut answer = target.query(&query).await.with_context(|| format!("asking for the key of {table}"))?;
    let mut names = Vec::new();
    while let Some(batch) = answer.batches.next().await {
        let batch = batch?;
        names.extend(
            (0..batch.len())
                .filter_map(|row| batch.cell(row, 0).map(|name| String::from_utf8_lossy(name).into_owned())),
        );
    }
    Ok(names)
}

#[derive(Serialize)]
struct Report {
    is_equal: bool,
    source: Value,
    target: Value,
    columns: Vec<String>,
    skipped: Vec<String>,
    key: Vec<String>,
    /// Whether the source's rows are those that the task read then; null where the ledger can't tell.
    source_is_as_extracted: Option<bool>,
    rows_different: u64,
    /// There are more than were looked at.
    is_partial: bool,
    differences: Vec<Line>,
    seconds: f64,
}

#[derive(Serialize)]
struct Line {
    key: Map<String, Value>,
    difference: &'static str,
    column: Option<String>,
    source: Option<Value>,
    target: Option<Value>,
}

fn report(plan: &Plan, moved: &Moved, verdict: &Verdict, args: &VerifyArgs, seconds: f64) -> Report {
    let (source, target) = (&plan.comparison.source, &plan.comparison.target);
    let is_natural = source.columns.iter().zip(&target.columns).all(|(a, b)| form_of_pair(a, b) == natural_form(a));
    let is_whole = plan.skipped.is_empty() && source.filter.is_none();
    // An older version of the proof can't be compared with this one's.
    let known = moved.read.fingerprint.as_deref().filter(|_| is_natural && is_whole).and_then(Fingerprint::parse);
    Report {
        is_equal: verdict.is_equal(),
        source: json!({
            "conn_id": moved.read.conn_id,
            "query": moved.read.query,
            "where": source.filter,
            "rows": verdict.source.rows,
            "fingerprint": verdict.source.to_string(),
            "hashed_by": if verdict.in_sql.0 { "sql" } else { "reading" },
        }),
        target: json!({
            "conn_id": moved.written.conn_id,
            "table": target.label.split_once(": ").map(|(_, table)| table),
            "where": target.filter,
            "rows": verdict.target.rows,
            "fingerprint": verdict.target.to_string(),
            "hashed_by": if verdict.in_sql.1 { "sql" } else { "reading" },
        }),
        columns: target.columns.iter().map(|column| column.name.clone()).collect(),
        skipped: plan.skipped.clone(),
        key: plan.key.clone(),
        source_is_as_extracted: known.map(|known| known == verdict.source),
        rows_different: verdict.rows_different,
        is_partial: verdict.is_partial,
        differences: verdict
            .differences
            .iter()
            .flat_map(|difference| lines(difference, !plan.key.is_empty(), args.show_values))
            .collect(),
        seconds: (seconds * 1000.0).round() / 1000.0,
    }
}

/// A row that no key tells apart is named by all it holds, which is not shown unasked.
fn lines(difference: &Difference, has_key: bool, show: bool) -> Vec<Line> {
    let part = |(name, value): &(String, Option<String>)| (name.clone(), shown(value.as_deref(), has_key || show));
    let key: Map<String, Value> = difference.key.iter().map(part).collect();
    let whole = |kind| vec![Line { key: key.clone(), difference: kind, column: None, source: None, target: None }];
    match &difference.kind {
        Kind::OnlyInSource => whole("only in the source"),
        Kind::OnlyInTarget => whole("only in the target"),
        Kind::MoreInSource => whole("more often in the source"),
        Kind::MoreInTarget => whole("more often in the target"),
        Kind::Changed(columns) => columns
            .iter()
            .map(|(name, source, target)| Line {
                key: key.clone(),
                difference: "other value",
                column: Some(name.clone()),
                source: Some(shown(source.as_deref(), show)),
                target: Some(shown(target.as_deref(), show)),
            })
            .collect(),
    }
}

/// Whether one of the two holds numbers that the other holds in fewer digits.
fn is_compared_rounded(one: &ValueType, other: &ValueType) -> bool {
    match (one, other) {
        (ValueType::Float { bits: a }, ValueType::Float { bits: b }) => a != b,
        (ValueType::Integer { bits, .. }, ValueType::Float { bits: of_float })
        | (ValueType::Float { bits: of_float }, ValueType::Integer { bits, .. }) => {
            *bits > if *of_float == 32 { 24 } else { 53 }
        }
        (ValueType::Decimal { .. } | ValueType::Money, ValueType::Float { .. })
        | (ValueType::Float { .. }, ValueType::Decimal { .. } | ValueType::Money) => true,
        _ => false,
    }
}

/// A value, or without saying it what kind it is.
fn shown(value: Option<&str>, show: bool) -> Value {
    match value {
        value if show => json!(value),
        None => json!("NULL"),
        Some("") => json!("empty text"),
        Some(text) => json!(format!("*** ({} bytes)", text.len())),
    }
}

fn print(format: Format, report: &Report) -> anyhow::Result<()> {
    if matches!(format, Format::Json | Format::Yaml) {
        return print_one(format, report);
    }
    let side = |side: &Value| format!("{} rows, {}", side["rows"], side["fingerprint"].as_str().unwrap_or_default());
    let mut summary = json!({
        "result": if report.is_equal { "equal" } else { "different" },
        "source": side(&report.source),
        "target": side(&report.target),
        "rows different": report.rows_different,
        "seconds": report.seconds,
    });
    if let Some(same) = report.source_is_as_extracted {
        summary["source since then"] = json!(if same { "unchanged" } else { "changed" });
    }
    print_one(format, &summary)?;
    if report.differences.is_empty() {
        return Ok(());
    }
    let named = |line: &Line| {
        let key: Vec<String> =
            line.key.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("NULL"))).collect();
        let text = |value: &Option<Value>| match value {
            Some(Value::Null) => json!("NULL"),
            Some(value) => value.clone(),
            None => Value::Null,
        };
        json!({"key": key.join(", "), "difference": line.difference, "column": line.column,
               "source": text(&line.source), "target": text(&line.target)})
    };
    let rows: Vec<Value> = report.differences.iter().map(named).collect();
    print_list(format, &["key", "difference", "column", "source", "target"], &rows)
}
