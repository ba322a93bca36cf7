//! Which query's rows went into which table: read from the ledger of a run.

use anyhow::{Context, bail};
use millrace_model::ledger::{RowsRead, RowsWritten};
use millrace_store::LedgerLine;

/// The two ends of a movement.
#[derive(Debug)]
pub struct Moved {
    pub read: RowsRead,
    pub written: RowsWritten,
    /// Rows that the load refused and passed over.
    pub rejected: u64,
}

/// `lines` are the run's, newest first. The task is the one that wrote, or the one that read.
/// `table` chooses one of several tables that the task wrote into.
pub fn moved_by(lines: &[LedgerLine], task_id: &str, table: Option<&str>) -> anyhow::Result<Moved> {
    let of_task = || lines.iter().filter(|line| line.task_id.as_str() == task_id);
    if of_task().next().is_none() {
        bail!("the ledger has nothing of the task {task_id} in this run: it moved no rows, or has not ended");
    }
    if let Some(load) = newest_load(of_task(), table)? {
        let written = load.row.entry.written.clone().context("a load without a target")?;
        let read = match &load.row.entry.read {
            Some(read) => read.clone(),
            None => origin(lines, load)?,
        };
        let rejected = load.row.entry.rows_rejected.unwrap_or(0);
        return Ok(Moved { read, written, rejected });
    }
    let Some(extract) = of_task().find(|line| line.row.entry.read.is_some()) else {
        bail!(
            "the task {task_id} neither read from a database nor wrote into a table; name the task that loaded the rows"
        );
    };
    let loads = lines.iter().filter(|line| line.row.entry.written.is_some());
    let mut fed = loads.filter(|load| reaches(lines, load, &extract.row.entry.target));
    let load = fed.next().with_context(|| {
        format!(
            "nothing in this run loaded {} into a table, so there is nothing to compare with",
            extract.row.entry.target
        )
    })?;
    if let Some(other) = fed.find(|other| other.task_id != load.task_id) {
        bail!("the rows were loaded by {} and by {}; name one of them", load.task_id, other.task_id);
    }
    let read = extract.row.entry.read.clone().context("an extract without a query")?;
    let rejected = load.row.entry.rows_rejected.unwrap_or(0);
    Ok(Moved { read, written: load.row.entry.written.clone().context("a load without a target")?, rejected })
}

/// The load that is meant: the newest into one table, or into the only one.
fn newest_load<'a>(
    of_task: impl Iterator<Item = &'a LedgerLine>,
    table: Option<&str>,
) -> anyhow::Result<Option<&'a LedgerLine>> {
    let name = |written: &RowsWritten| match &written.schema {
        Some(schema) => format!("{schema}.{}", written.table),
        None => written.table.clone(),
    };
    let mut loads: Vec<(String, &LedgerLine)> = Vec::new();
    for line in of_task {
        if let Some(written) = &line.row.entry.written
            && !loads.iter().any(|(known, _)| *known == name(written))
        {
            loads.push((name(written), line));
        }
    }
    let Some(table) = table else {
        return match loads.as_slice() {
            [] => Ok(None),
            [(_, only)] => Ok(Some(only)),
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
                bail!("the task wrote into {}; --table names the one to compare", names.join(", "))
            }
        };
    };
    let is_meant = |name: &str| name == table || name.split_once('.').is_some_and(|(_, name)| name == table);
    let found = loads.iter().find(|(name, _)| is_meant(name)).map(|(_, line)| *line);
    let names: Vec<&str> = loads.iter().map(|(name, _)| name.as_str()).collect();
    Ok(Some(found.with_context(|| format!("the task did not write into {table}, but into {}", names.join(", ")))?))
}

/// True when the place feeds the line, over uploads and the like.
fn reaches(lines: &[LedgerLine], line: &LedgerLine, place: &str) -> bool {
    let source = &line.row.entry.source;
    names(source, place) || before(lines, line).any(|earlier| reaches(lines, earlier, place))
}

/// `s3://bucket/key* (3 objects)` names every key that begins so.
fn names(source: &str, place: &str) -> bool {
    let prefix = source.split_once("* (").map(|(prefix, _)| prefix);
    source == place || prefix.is_some_and(|prefix| place.starts_with(prefix))
}

/// The lines that made what this one read.
fn before<'a>(lines: &'a [LedgerLine], line: &'a LedgerLine) -> impl Iterator<Item = &'a LedgerLine> {
    lines
        .iter()
        .filter(move |earlier| earlier.row.id < line.row.id && names(&line.row.entry.source, &earlier.row.entry.target))
}

/// The query whose rows a load took.
fn origin(lines: &[LedgerLine], load: &LedgerLine) -> anyhow::Result<RowsRead> {
    let mut found: Vec<RowsRead> = Vec::new();
    let mut open = vec![load];
    while let Some(line) = open.pop() {
        // A task that was run again made the same file twice: the newest counts.
        let mut seen: Vec<&str> = Vec::new();
        for earlier in before(lines, line) {
            if seen.contains(&earlier.row.entry.target.as_str()) {
                continue;
            }
            seen.push(&earlier.row.entry.target);
            match &earlier.row.entry.read {
                Some(read) => found.push(read.clone()),
                None => open.push(earlier),
            }
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!(
            "the ledger of this run does not say which query's rows are in {}; they came from elsewhere",
            load.row.entry.source
        ),
        several => {
            bail!("{} holds the rows of {several} queries, which can't be compared as one", load.row.entry.source)
        }
    }
}
