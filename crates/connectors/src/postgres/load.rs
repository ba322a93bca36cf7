//! Rows into a PostgreSQL table: COPY into a temporary table outside of any lock, then one short transaction. Rows that
//! only come to others, or into an empty table, go into the table itself (see [`straight`](super::straight)).
//!
//! The staging table is temporary and dies with the connection, so that nothing is left behind however a try ends. Only
//! the short transaction is seen by anybody else, and it carries the marker.

use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRequest};
use millrace_operator_api::{PortError, PortErrorKind};

use super::keys::{Key, key_of};
use super::stage::{STAGING, Staged, Staging};
use super::writing::{Writing, is_rule};
use super::{locks, references, row_security, straight};
use crate::parts::csv_rows::check_format;
use crate::parts::dialect::Dialect;
use crate::parts::exact::Keeps;
use crate::parts::failure::{invalid, while_doing};
use crate::parts::quarantine;
use crate::parts::row_counts::{require_all_inserted, require_all_read};
use crate::parts::rows::{CellKind, LoadColumn, Longest, Rejects, declared_length, taken};
use crate::parts::said::Said;
use crate::parts::session::{BASE_TYPE, ask, find_marker, has_marker, insert_marker, loaded_before, marker_of, picks};
use crate::parts::sql::{literal, quote, table};
use crate::parts::swap::{build_by_name, load_report, marker_of_swap, request_of_load};
use crate::parts::turns::Turns;
use crate::parts::upsert::{SEQUENCE, TextOrder, Upsert, check_keys, out_of_order, rows_not_waiting};
use crate::parts::wire::{ClientSession, WireClient, WireConfig};
use crate::parts::{long_names, old_markers};

pub async fn load(config: &WireConfig, request: LoadRequest) -> Result<LoadReport, PortError> {
    check_format(&request.format, "PostgreSQL")?;
    for table in std::iter::once(&request.target).chain(&request.quarantine) {
        long_names::check_table(Dialect::Postgres, table)?;
    }
    let client = config.showing(request.show_values).connect().await?;
    let loaded = load_by(&client, &request).await;
    if loaded.is_ok() {
        old_markers::tend(&ClientSession { client: &client }, &request.target).await;
    }
    loaded
}

async fn load_by(client: &WireClient, request: &LoadRequest) -> Result<LoadReport, PortError> {
    let session = ClientSession { client };
    let typed = file_columns(&session, request).await?;
    let target = table(&request.target);
    let marker =
        if request.method == LoadMethod::Swap { marker_of_swap(&request.work) } else { marker_of(&request.work) };
    if has_marker(&session, &request.target, &marker).await? {
        return loaded_before(&session, request, &marker).await;
    }
    if matches!(request.method, LoadMethod::Replace | LoadMethod::Swap) {
        // Before anything is read; the short transaction asks again.
        references::check(&session, &request.target, &target).await?;
    }
    if let Some(what) = what_needs_all_rows(&request.method) {
        row_security::check(&session, &request.target, what).await?;
    }
    let computed = typed.iter().filter(|described| described.is_generated).map(|described| &described.column.name);
    let computed: Vec<String> = computed.cloned().collect();
    let ddl = staging_ddl(&typed, request.format.max_error > 0);
    let fields: Vec<LoadColumn> = typed.into_iter().map(|described| described.column).collect();
    let columns = taken(&fields);
    let attempted = format!("loading into {}", request.target);
    let mut rejects = Rejects::of(request, &fields);
    let mut staging = Staging { client, into: &target, fields: &fields, columns: &columns, format: &request.format };
    if straight::is_possible(&session, request).await? {
        let loaded = straight::load(&staging, request, &mut rejects).await;
        if let Some(report) = loaded.map_err(|error| while_doing(&attempted, error))? {
            return Ok(LoadReport { computed, remote_ids: client.remote_id().await.into_iter().collect(), ..report });
        }
    }
    client.batch(&ddl).await?;
    staging.into = STAGING;
    let staged = staging.fill(&request.rows, &mut rejects).await.map_err(|error| while_doing(&attempted, error))?;
    require_all_read(request, Some(staged.rows))?;
    if let LoadMethod::Upsert { keys, order_key: Some(order_key) } = &request.method
        && columns.iter().any(|column| column.name == *order_key && matches!(column.kind, CellKind::Text(_)))
    {
        let order = TextOrder { target: &target, staging: STAGING, keys, order_key, collation: " COLLATE \"C\"" };
        let found = client.query(&order.objections()).await?;
        if found.rows.first().and_then(|row| row.first()).is_some_and(|cell| cell.as_deref() != Some("0")) {
            return Err(out_of_order(&request.target, order_key));
        }
    }
    let remote_id = client.remote_id().await;
    let mut loading =
        Loading { session: &session, client, request, columns: &columns, rejects, staged, computed, remote_id };
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    if request.method == LoadMethod::Swap {
        return loading.swap(&names).await;
    }
    loading.publish(&names).await.map_err(|error| while_doing(&attempted, error))
}

/// What a load does with rows that are there, so that it has to see them all.
fn what_needs_all_rows(method: &LoadMethod) -> Option<&'static str> {
    match method {
        LoadMethod::Append => None,
        LoadMethod::Replace | LoadMethod::Swap => Some("replacing all rows"),
        LoadMethod::Upsert { .. } => Some("an upsert"),
    }
}

/// A column of the target, as staging takes it over.
#[derive(Clone)]
struct Described {
    column: LoadColumn,
    is_not_null: bool,
    is_generated: bool,
    /// Quoted, where it is not the type's own: by it staging tells one key from another as the target does.
    collation: Option<String>,
}

/// The columns of the files, typed as the table has them. What a domain keeps is what the type at the end of its chain keeps.
async fn file_columns(session: &ClientSession<'_>, request: &LoadRequest) -> Result<Vec<Described>, PortError> {
    let statement = format!(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '', t.typcategory, \
         {BASE_TYPE}, \
         quote_ident(ln.nspname) || '.' || quote_ident(l.collname), c.relkind \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
         JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.oid <> t.typcollation \
         LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace WHERE {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        picks(&request.target, Dialect::Postgres)
    );
    let found = ask(session, "describe", statement).await?;
    if found.rows.is_empty() {
        return Err(PortError::new(
            PortErrorKind::NotFound,
            format!("connection {:?}: there is no table {}", session.client.config.conn_id, request.target),
        ));
    }
    let cell = |row: &Vec<Option<String>>, index: usize| row.get(index).cloned().flatten().unwrap_or_default();
    refuse_what_is_no_table(request, found.rows.first().map(|row| cell(row, 7)).as_deref().unwrap_or_default())?;
    let all: Vec<Described> = found
        .rows
        .iter()
        .map(|row| {
            let (type_name, category, base) = (cell(row, 1), cell(row, 4), cell(row, 5));
            let kind = match base.as_str() {
                "smallint" | "integer" | "bigint" => CellKind::Integer,
                "bytea" => CellKind::Bytes,
                _ if category == "S" => CellKind::Text(declared_length(&base).map(Longest::Characters)),
                // Numbers, dates and times, truth, lengths of time, places in a network.
                _ if matches!(category.as_str(), "N" | "D" | "B" | "T" | "I") => CellKind::Other,
                _ => CellKind::Free,
            };
            let keeps = Keeps::of_postgres(&base);
            let name = cell(row, 0);
            let said = Said::in_column(&base, request, &name);
            Described {
                column: LoadColumn { name, type_name, kind, keeps, said },
                is_not_null: cell(row, 2) == "t",
                is_generated: cell(row, 3) == "t",
                collation: row.get(6).cloned().flatten(),
            }
        })
        .collect();
    let picked: Vec<Described> = match &request.columns {
        // A generated column can't be written, so the file can't have it.
        None => all.into_iter().filter(|described| !described.is_generated).collect(),
        Some(names) => names
            .iter()
            .map(|name| {
                if request.ignored.contains(name) {
                    let column = LoadColumn::ignored(name);
                    return Ok(Described { column, is_not_null: false, is_generated: false, collation: None });
                }
                let found = all.iter().find(|described| described.column.name == *name).cloned();
                if found.as_ref().is_some_and(|described| described.is_generated) {
                    // Values of it come where the source has the same table: they are those that the target works out.
                    let column = LoadColumn::ignored(name);
                    return Ok(Described { column, is_not_null: false, is_generated: true, collation: None });
                }
                found.ok_or_else(|| {
                    let known: Vec<&str> = all.iter().map(|described| described.column.name.as_str()).collect();
                    invalid(format!("table {} has no column {name:?}; it has {}", request.target, known.join(", ")))
                })
            })
            .collect::<Result<_, _>>()?,
    };
    let taken = picked.iter().map(|described| &described.column).filter(|column| column.kind != CellKind::Ignored);
    check_keys(request, &taken.map(|column| column.name.clone()).collect::<Vec<_>>())?;
    Ok(picked)
}

/// Rows can be added to a view that the database can take apart; what goes by single rows or whole tables needs a table.
fn refuse_what_is_no_table(request: &LoadRequest, relation_kind: &str) -> Result<(), PortError> {
    let target = &request.target;
    match (relation_kind, &request.method) {
        ("v", LoadMethod::Upsert { .. } | LoadMethod::Swap) => Err(invalid(format!(
            "{target} is a view: upsert and swap need a table, so name the table behind it (append and replace work \
             on views that can be written to)"
        ))),
        ("m", _) => Err(invalid(format!(
            "{target} is a materialized view, which only REFRESH MATERIALIZED VIEW fills: load the tables that it reads"
        ))),
        _ => Ok(()),
    }
}

/// `is_numbered`: the rows come with their numbers.
fn staging_ddl(columns: &[Described], is_numbered: bool) -> String {
    let number = is_numbered.then(|| format!("{} bigint", quote(SEQUENCE)));
    let parts = columns.iter().filter(|described| described.column.kind != CellKind::Ignored).map(
        |Described { column, is_not_null, collation, .. }| {
            let collation = collation.as_ref().map(|name| format!(" COLLATE {name}")).unwrap_or_default();
            let not_null = if *is_not_null { " NOT NULL" } else { "" };
            format!("{} {}{collation}{not_null}", quote(&column.name), column.type_name)
        },
    );
    let parts: Vec<String> = number.into_iter().chain(parts).collect();
    format!("CREATE TEMP TABLE millrace_staging ({})", parts.join(", "))
}

/// Staged rows on their way into the target.
struct Loading<'a> {
    session: &'a ClientSession<'a>,
    client: &'a WireClient,
    request: &'a LoadRequest,
    /// Those of the rows that the table takes.
    columns: &'a [LoadColumn],
    rejects: Rejects,
    staged: Staged,
    /// Columns of the rows whose values the table works out itself.
    computed: Vec<String>,
    remote_id: Option<String>,
}

impl Loading<'_> {
    fn writing<'a>(&'a self, target: &'a str, names: &'a [String]) -> Writing<'a> {
        let (client, request, columns) = (self.client, self.request, self.columns);
        Writing { client, request, columns, names, target, upsert: None, key: Key::Unique }
    }

    async fn publish(&self, names: &[String]) -> Result<LoadReport, PortError> {
        let target = table(&self.request.target);
        let may_refuse = self.rejects.are_allowed();
        let sequence = if may_refuse { quote(SEQUENCE) } else { CTID.to_owned() };
        let rows = if may_refuse { rows_not_waiting(STAGING) } else { STAGING.to_owned() };
        let mut writing = self.writing(&target, names);
        if self.request.method == LoadMethod::Replace {
            // A unique index says it at no cost.
            let keys = &self.request.unique_by;
            if !keys.is_empty() && key_of(self.session, &self.request.target, keys, names).await? == Key::MayRepeat {
                writing.refuse_doubles().await?;
            }
        }
        if let LoadMethod::Upsert { keys, order_key } = &self.request.method {
            let upsert = Upsert {
                target: &target,
                staging: STAGING,
                rows: &rows,
                may_refuse,
                columns: names,
                keys,
                order_key: order_key.as_ref(),
                null_is_newest: self.request.null_is_newest,
                row_address: &["tableoid", CTID],
                sequence: &sequence,
                overriding: "OVERRIDING SYSTEM VALUE ",
                collation: "",
            };
            writing.upsert = Some(upsert);
            writing.key = key_of(self.session, &self.request.target, keys, names).await?;
            if writing.key != Key::Arbiter {
                writing.keep_best_incoming(&upsert).await?;
            }
        }
        let mut turns = Turns::default();
        loop {
            match self.transaction(&writing).await {
                Ok(report) => return Ok(report),
                Err(error) if error.code.as_deref() == Some(UNIQUE_VIOLATION) => {
                    writing.refuse_doubles().await?;
                    return Err(error);
                }
                Err(error) => turns.again(error, &self.client.config.task).await?,
            }
        }
    }

    /// The short transaction: lock, look for the marker again, rows, marker.
    async fn transaction(&self, writing: &Writing<'_>) -> Result<LoadReport, PortError> {
        let (client, request, target) = (self.client, self.request, writing.target);
        let marker = marker_of(&request.work);
        let work = async {
            if !client.query(&find_marker(&request.target, &marker)).await?.rows.is_empty() {
                return Ok(None);
            }
            if let Some(what) = what_needs_all_rows(&request.method) {
                let found = client.query(&row_security::hidden(&request.target)).await?;
                row_security::judge(&request.target, what, &found)?;
            }
            let mut deleted = None;
            if request.method == LoadMethod::Replace {
                let found = client.query(&references::that_lose(&request.target, target)).await?;
                references::judge(&request.target, "replacing all rows", &found)?;
                deleted = client.query(&format!("DELETE FROM {target}")).await?.rows_affected;
            }
            let gone = writing.delete_gone().await?;
            let (written, rejects) = writing.write(&self.rejects).await?;
            let written = gone.and(written);
            let rejects = rejects.as_ref().unwrap_or(&self.rejects);
            require_all_inserted(request, self.staged.rows - rejects.count, written.inserted)?;
            for statement in self.quarantine(rejects).await?.iter().chain(&request.also) {
                client.batch(statement).await?;
            }
            let rows = self.staged.rows.to_string();
            client.batch(&insert_marker(Dialect::Postgres, &request.target, &marker, &rows)).await?;
            Ok(Some(LoadReport {
                rows_inserted: written.inserted,
                rows_updated: written.updated,
                rows_deleted: deleted.or(written.deleted),
                rows_kept: written.kept,
                rows_late: written.late,
                ..self.report(rejects)
            }))
        };
        locks::begin_with(client, target, "SHARE ROW EXCLUSIVE").await?;
        match work.await {
            Ok(Some(report)) => client.batch("COMMIT").await.map(|()| report),
            Ok(None) => {
                client.batch("ROLLBACK").await?;
                Ok(LoadReport { was_loaded_before: true, ..LoadReport::default() })
            }
            Err(error) => {
                // The first error counts; a connection that is gone has rolled back by itself.
                let _ = client.batch("ROLLBACK").await;
                Err(error)
            }
        }
    }

    async fn swap(&mut self, names: &[String]) -> Result<LoadReport, PortError> {
        let mut turns = Turns::default();
        let mut is_winnowed = !self.rejects.are_allowed();
        let built = loop {
            let request = request_of_load(self.request, STAGING, names, self.quarantine(&self.rejects).await?);
            match build_by_name(self.session, &request, Some(names)).await {
                Ok(built) => break built,
                Err(error) if is_rule(&error) && !is_winnowed => {
                    is_winnowed = true;
                    let target = table(&self.request.target);
                    self.rejects = self.writing(&target, names).winnow(&self.rejects).await?;
                }
                Err(error) => turns.again(error, &self.client.config.task).await?,
            }
        };
        Ok(load_report(self.report(&self.rejects), built))
    }

    /// Statements that put the refused rows there.
    async fn quarantine(&self, rejects: &Rejects) -> Result<Vec<String>, PortError> {
        let Some(quarantine) = self.request.quarantine.as_ref().filter(|_| rejects.count > 0) else {
            return Ok(Vec::new());
        };
        let (name, now) = (table(quarantine), "timezone('UTC', clock_timestamp())");
        let columns = format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass({}) AND attnum > 0 AND NOT attisdropped",
            literal(&name)
        );
        let columns = self.client.query(&columns).await?.rows;
        let names = columns.iter().filter_map(|row| row.first()?.as_deref());
        let known = (!columns.is_empty()).then(|| quarantine::is_of_today(names));
        let rows = quarantine::insert(&name, &self.request.target, &self.request.work, rejects, now, literal);
        Ok(quarantine::make(&name, known).into_iter().chain(rows.into_iter().map(|(_, statement)| statement)).collect())
    }

    fn report(&self, rejects: &Rejects) -> LoadReport {
        LoadReport {
            rows_read: Some(self.staged.rows),
            rows_rejected: Some(rejects.count),
            rows_quarantined: rejects.quarantined(),
            rejected: rejects.first(),
            bytes: self.staged.bytes,
            computed: self.computed.clone(),
            remote_ids: self.remote_id.iter().cloned().collect(),
            ..LoadReport::default()
        }
    }
}

pub(super) const UNIQUE_VIOLATION: &str = "23505";
/// COPY puts each row behind those before it, and nothing is ever deleted while it does.
const CTID: &str = "ctid";
