//! A load into Redshift, step by step; safe to run again after dying at any of them.

use futures::{TryStreamExt, stream};
use millrace_operator_api::ports::{
    LoadMethod, LoadReport, LoadRequest, LoadRows, ObjectRows, PutOptions, RejectedRow, RowStream, SmallResult,
    TableName,
};
use millrace_operator_api::{PortError, PortErrorKind};
use sha2::{Digest, Sha256};

use super::column_limits::keeps_of;
use super::insert::Inserts;
use super::load_errors;
use super::plan::{CopyFrom, LoadPlan, has_option, manifest};
use super::refusals;
use crate::parts::dialect::Dialect;
use crate::parts::doubles;
use crate::parts::exact::ROUNDEC;
use crate::parts::failure::{data, invalid, while_doing};
use crate::parts::files::require_unchanged;
use crate::parts::old_markers;
use crate::parts::quarantine;
use crate::parts::row_counts::require_all_read;
use crate::parts::rows::{CellKind, DirectRows, LoadColumn, Longest, Rejects, Shaper, shown, taken};
use crate::parts::said::Said;
use crate::parts::session::{Attempt, Session, ask, describe, has_marker, in_schema_of, loaded_before, marker_of};
use crate::parts::sql::{beside, literal, scalar, scalar_number, table};
use crate::parts::swap::{build_by_name, load_report, marker_of_swap, request_of_load};
use crate::parts::task::TaskHandle;
use crate::parts::turns::Turns;
use crate::parts::upsert::{check_keys, out_of_order, tied};
use crate::redshift::limits::Limit;

/// Statements with refused rows that go with a load, and with a swap, which has rights and comments to copy: the Data API
/// takes 40 at once.
const QUARANTINE_STATEMENTS: usize = 20;
const QUARANTINE_STATEMENTS_OF_SWAP: usize = 10;

pub struct Options<'a> {
    pub credentials: &'a str,
    pub symmetric_key: Option<&'a str>,
    pub region: Option<&'a str>,
    pub task: &'a TaskHandle,
}

/// One load, as far as all its steps need it.
struct Loading<'a> {
    session: &'a dyn Session,
    plan: LoadPlan<'a>,
    task: &'a TaskHandle,
    quarantine: Option<&'a TableName>,
    show_values: bool,
    request: &'a LoadRequest,
}

/// What stands in the staging table.
struct Staged {
    results: Vec<SmallResult>,
    /// Refused rows included.
    rows: Option<u64>,
    bytes: Option<u64>,
    rejects: Rejects,
    /// `None` when it could not be found out.
    rejected: Option<u64>,
    /// Keys that come in several rows of which none is the best.
    ties: u64,
    /// A key that names several rows.
    doubles: SmallResult,
}

pub async fn load(session: &dyn Session, options: &Options<'_>, request: LoadRequest) -> Result<LoadReport, PortError> {
    let table_columns = describe(session, &request.target).await?;
    let columns = file_columns(&request, &table_columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>())?;
    let fields = columns;
    let columns: Vec<String> = fields.iter().filter(|name| !request.ignored.contains(name)).cloned().collect();
    check_keys(&request, &columns)?;
    refusals::check(&request, &table_columns, &fields)?;
    let marker =
        if request.method == LoadMethod::Swap { marker_of_swap(&request.work) } else { marker_of(&request.work) };
    // An earlier try's statements may still be on their way: nothing is decided before they have ended.
    session.await_earlier().await?;
    if has_marker(session, &request.target, &marker).await? {
        if options.task.try_number > 1 {
            sweep(session, &request, None).await;
            if let LoadRows::Objects(files) = &request.rows {
                let (bucket, key) = manifest_place(files, &fingerprint(&request, options.task.try_number));
                remove_manifest(files, bucket, key).await;
            }
        }
        return loaded_before(session, &request, &marker).await;
    }
    let hash = fingerprint(&request, options.task.try_number);
    if options.task.try_number > 1 {
        sweep(session, &request, Some(&hash)).await;
    }
    let attempted = format!("loading into {}", request.target);
    let LoadRequest { target, method, rows, format, .. } = &request;
    let place = match rows {
        LoadRows::Objects(files) => Some(manifest_place(files, &hash)),
        LoadRows::Direct(_) => None,
    };
    let manifest_url = place.as_ref().map(|(bucket, key)| format!("s3://{bucket}/{key}")).unwrap_or_default();
    let loading = Loading {
        session,
        plan: LoadPlan {
            target,
            table_columns: &table_columns,
            columns: &columns,
            fields: &fields,
            types: &request.types,
            method,
            format,
            copy: place.is_some().then_some(CopyFrom {
                manifest_url: &manifest_url,
                credentials: options.credentials,
                symmetric_key: options.symmetric_key,
                region: options.region,
            }),
            marker: &marker,
            gone: &request.gone,
            also: &request.also,
            late_before: request.late_before.as_deref(),
            null_is_newest: request.null_is_newest,
            unique_by: &request.unique_by,
            is_own_table: request.is_own_table,
            hash: &hash,
        },
        task: options.task,
        quarantine: request.quarantine.as_ref(),
        show_values: request.show_values,
        request: &request,
    };
    let result = match (rows, place) {
        (LoadRows::Direct(stream), _) if request.is_own_table => loading.fill(&mut stream.take()?).await,
        (LoadRows::Direct(stream), _) => loading.direct(&mut stream.take()?).await,
        (LoadRows::Objects(files), place) => loading.files(files, place.unwrap_or_default()).await,
    };
    if result.is_ok() {
        sweep_abandoned(session, &request).await;
        old_markers::tend(session, &request.target).await;
    }
    result.map_err(|error| while_doing(&attempted, error))
}

impl Loading<'_> {
    async fn files(&self, files: &ObjectRows, (bucket, key): (String, String)) -> Result<LoadReport, PortError> {
        let Some(from) = self.plan.copy.as_ref().filter(|_| !files.objects.is_empty()) else {
            // A manifest without entries is an error to Redshift.
            if *self.plan.method == LoadMethod::Replace {
                return Err(invalid(format!("there are no files to replace the rows of {} with", self.plan.target)));
            }
            return Ok(LoadReport { rows_read: Some(0), rows_inserted: Some(0), ..LoadReport::default() });
        };
        write_manifest(files, &bucket, &key).await?;
        if has_option(self.plan.format, "NOLOAD") {
            let checked = match self.session.run("noload", vec![self.plan.copy_straight(from)]).await {
                Ok(results) => Ok(LoadReport { remote_ids: remote_ids(&[&results]), ..LoadReport::default() }),
                Err(error) => Err(load_errors::explained(self.session, files, error, self.show_values).await),
            };
            remove_manifest(files, bucket, key).await;
            return checked;
        }
        let result = match self.copy(files, from, "").await {
            // A COPY that was sent before was taken for this one, but its table was dropped in the meantime.
            Err(error)
                if error.kind == PortErrorKind::NotFound && error.message.contains(&self.plan.staging().name) =>
            {
                self.copy(files, from, "-again").await
            }
            other => other,
        };
        remove_manifest(files, bucket, key).await;
        result
    }

    async fn copy(&self, files: &ObjectRows, from: &CopyFrom<'_>, again: &str) -> Result<LoadReport, PortError> {
        let (statements, places) = self.plan.stage(from);
        let results = match self.session.run(&format!("stage{again}"), statements).await {
            Ok(results) => results,
            Err(error) => {
                let error = load_errors::explained(self.session, files, error, self.show_values).await;
                self.drop_staging().await;
                return Err(error);
            }
        };
        let staged_rows = results.get(places.rows).and_then(scalar_number);
        let doubles = places.doubles.and_then(|place| results.get(place)).cloned().unwrap_or_default();
        let ties = places.ties.and_then(|place| results.get(place)).and_then(scalar_number).unwrap_or(0);
        let copy_id = results.get(places.copy_id).and_then(scalar).map(ToOwned::to_owned);
        let (mut rejects, mut rejected) = (Rejects::new(0, self.show_values, false), Some(0));
        if self.plan.format.max_error > 0 {
            let found = match &copy_id {
                Some(id) => load_errors::read(self.session, id, self.show_values).await,
                None => load_errors::LoadErrors::default(),
            };
            rejected = found.count;
            rejects.count = found.count.unwrap_or_default();
            (rejects.kept, rejects.raw) = (found.rows, found.raw);
        }
        let rows = staged_rows.and_then(|rows| Some(rows + rejected?));
        let mut staged = Staged { results, rows, bytes: None, rejects, rejected, ties, doubles };
        if let (Some(id), Some(first)) = (copy_id.filter(|id| id != "-1"), staged.results.first().cloned()) {
            let remote_id = Some(format!("query:{id}"));
            staged.results.push(SmallResult { remote_id, ..first });
        }
        if let Err(error) = self.require_sound(files, &staged, again).await {
            self.drop_staging().await;
            return Err(error);
        }
        self.publish(&staged, again).await
    }

    /// Nothing of what is staged is seen by anybody yet.
    async fn require_sound(&self, files: &ObjectRows, staged: &Staged, again: &str) -> Result<(), PortError> {
        require_all_read(self.request, staged.rows)?;
        doubles::refuse(self.plan.unique_by, &staged.doubles, self.show_values)?;
        if let (LoadMethod::Upsert { keys, order_key }, 1..) = (self.plan.method, staged.ties) {
            return Err(tied(staged.ties, keys, order_key.as_ref()));
        }
        self.find_in_staged(again).await?;
        // COPY knows the objects by their keys alone.
        self.task.until_cancelled(require_unchanged(files)).await
    }

    /// What would change or go astray on the way into the target.
    async fn find_in_staged(&self, again: &str) -> Result<(), PortError> {
        let orders = self.plan.look_at_order();
        let cuts = self.plan.look_for_cuts();
        let statements: Vec<String> =
            orders.iter().cloned().chain(cuts.iter().map(|(_, statement)| statement.clone())).collect();
        if statements.is_empty() {
            return Ok(());
        }
        let results = self.session.run(&format!("look{again}"), statements).await?;
        if orders.is_some()
            && results.first().and_then(scalar_number) == Some(1)
            && let LoadMethod::Upsert { order_key: Some(order_key), .. } = self.plan.method
        {
            return Err(out_of_order(self.plan.target, order_key));
        }
        for ((columns, _), result) in cuts.iter().zip(results.iter().skip(usize::from(orders.is_some()))) {
            let cells = result.rows.first().map(Vec::as_slice).unwrap_or_default();
            for (column, cell) in columns.iter().zip(cells) {
                if let Some(value) = cell {
                    let value = shown(value.trim_end_matches('0').as_bytes(), self.show_values);
                    return Err(data(format!(
                        "column {}: the value {value} has more digits behind the point than {} holds, and they would be cut; \
                         {ROUNDEC}, a column with more digits keeps them",
                        column.name, column.type_name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Batches of INSERT into a table that nobody else looks at, so that it needs neither staging nor marker: another try makes
    /// it anew.
    async fn fill(&self, stream: &mut RowStream) -> Result<LoadReport, PortError> {
        let filled = self.insert(stream).await?;
        Ok(LoadReport {
            rows_read: filled.rows,
            rows_inserted: filled.rows,
            rows_rejected: filled.rejected,
            bytes: filled.bytes,
            remote_ids: remote_ids(&[&filled.results]),
            ..LoadReport::default()
        })
    }

    /// Batches of INSERT into the staging table, each a transaction of its own.
    async fn direct(&self, stream: &mut RowStream) -> Result<LoadReport, PortError> {
        let staged = match self.insert(stream).await {
            Ok(staged) => self.find_in_staged("").await.map(|()| staged),
            Err(error) => Err(error),
        };
        match staged {
            Ok(staged) => self.publish(&staged, "").await,
            Err(error) => {
                self.drop_staging().await;
                Err(error)
            }
        }
    }

    async fn insert(&self, stream: &mut RowStream) -> Result<Staged, PortError> {
        let fields = self.load_columns();
        let columns = taken(&fields);
        let has_sequence = matches!(self.plan.method, LoadMethod::Upsert { .. });
        let mut rejects = Rejects::of(self.request, &fields);
        rejects.enter(RejectedRow::OF_SOURCE);
        let mut results = match self.plan.create_staging() {
            none if none.is_empty() => Vec::new(),
            statements => self.session.run("make-staging", statements).await?,
        };
        let mut shaper = Shaper::of_stream(self.plan.format, &fields);
        shaper.refuses_nul = true;
        let mut rows = DirectRows::new(shaper);
        let mut inserts = Inserts::new(&self.plan.staging(), &columns, has_sequence, &mut rejects);
        let mut sent = 0;
        let mut is_last = false;
        while !is_last {
            match stream.batches.try_next().await? {
                Some(batch) => rows.feed(&batch, &mut inserts)?,
                None => is_last = true,
            }
            while let Some(statements) = inserts.ready(is_last) {
                sent += 1;
                results.extend(self.session.run(&format!("rows:{sent}"), statements).await?);
            }
        }
        if let Some(find) = self.plan.find_doubles() {
            doubles::refuse(self.plan.unique_by, &ask(self.session, "doubles", find).await?, self.show_values)?;
        }
        if let (LoadMethod::Upsert { keys, order_key: None }, Some(count)) = (self.plan.method, self.plan.count_ties())
            && let Some(ties @ 1..) = scalar_number(&ask(self.session, "ties", count).await?)
        {
            return Err(tied(ties, keys, None));
        }
        if let Some(statement) = self.plan.keep_best_incoming() {
            results.extend(self.session.run("best", vec![statement]).await?);
        }
        let rejected = Some(rejects.count);
        Ok(Staged {
            results,
            rows: Some(rows.rows),
            bytes: Some(rows.bytes),
            rejects,
            rejected,
            ties: 0,
            doubles: SmallResult::default(),
        })
    }

    fn load_columns(&self) -> Vec<LoadColumn> {
        let typed = |name: &String| {
            if !self.plan.columns.contains(name) {
                return LoadColumn::ignored(name);
            }
            let type_name = self
                .plan
                .table_columns
                .iter()
                .find(|column| column.name == *name)
                .map(|column| column.type_name.clone())
                .unwrap_or_default();
            let kind = match Limit::of(&type_name) {
                Limit::Varchar(most) | Limit::Char(most) => CellKind::Text(Some(Longest::Bytes(most))),
                Limit::Integer { .. } => CellKind::Integer,
                Limit::Varbyte(_) => CellKind::Bytes,
                Limit::Nothing | Limit::Super => CellKind::Free,
                _ => CellKind::Other,
            };
            let keeps = keeps_of(&type_name);
            let said = Said::in_column(&type_name, self.request, name);
            LoadColumn { name: name.clone(), type_name, kind, keeps, said }
        };
        self.plan.fields.iter().map(typed).collect()
    }

    /// The short transaction, again when another one was in its way.
    async fn publish(&self, staged: &Staged, again: &str) -> Result<LoadReport, PortError> {
        if *self.plan.method == LoadMethod::Swap {
            let result = self.swap(staged, again).await;
            self.drop_staging().await;
            return result;
        }
        let (mut statements, counts) = self.plan.publish();
        let (quarantine, rows_quarantined) = match self.quarantine(staged, QUARANTINE_STATEMENTS).await {
            Ok(found) => found,
            Err(error) => {
                self.drop_staging().await;
                return Err(error);
            }
        };
        statements.extend(quarantine);
        let mut turns = Turns::default();
        loop {
            // A step's name is part of its token: the same one would be answered with the same failure.
            let step = match turns.attempt() {
                1 => format!("load{again}"),
                number => format!("load{again}:{number}"),
            };
            let error = match self.session.run(&step, statements.clone()).await {
                Ok(done) => {
                    let count = |index: Option<usize>| index.and_then(|index| done.get(index)).and_then(scalar_number);
                    return Ok(LoadReport {
                        rows_read: staged.rows,
                        rows_inserted: count(counts.inserted),
                        rows_updated: count(counts.updated),
                        rows_deleted: counts.deleted.iter().filter_map(|at| count(Some(*at))).reduce(|a, b| a + b),
                        rows_late: count(counts.late),
                        rows_rejected: staged.rejected,
                        rows_quarantined,
                        rejected: staged.rejects.first(),
                        bytes: staged.bytes,
                        remote_ids: remote_ids(&[&staged.results, &done]),
                        ..LoadReport::default()
                    });
                }
                Err(error) => error,
            };
            // A statement whose answer was lost may have committed: the marker knows.
            if error.kind != PortErrorKind::Cancelled
                && has_marker(self.session, self.plan.target, self.plan.marker).await?
            {
                self.drop_staging().await;
                return Ok(LoadReport {
                    was_loaded_before: true,
                    remote_ids: remote_ids(&[&staged.results]),
                    ..LoadReport::default()
                });
            }
            if self.is_staging_gone(&error) {
                return Err(error);
            }
            if let Err(error) = turns.again(error, self.task).await {
                self.drop_staging().await;
                return Err(error);
            }
        }
    }

    fn is_staging_gone(&self, error: &PortError) -> bool {
        error.kind == PortErrorKind::NotFound && error.message.contains(&self.plan.staging().name)
    }

    async fn swap(&self, staged: &Staged, again: &str) -> Result<LoadReport, PortError> {
        let (quarantine, rows_quarantined) = self.quarantine(staged, QUARANTINE_STATEMENTS_OF_SWAP).await?;
        let request = request_of_load(self.request, &table(&self.plan.staging()), self.plan.columns, quarantine);
        let mut turns = Turns::default();
        let built = loop {
            let attempt = Attempt { session: self.session, again, number: turns.attempt() };
            match build_by_name(&attempt, &request, Some(self.plan.columns)).await {
                Ok(built) => break built,
                Err(error) if self.is_staging_gone(&error) => return Err(error),
                Err(error) => turns.again(error, self.task).await?,
            }
        };
        let report = LoadReport {
            rows_read: staged.rows,
            rows_rejected: staged.rejected,
            rows_quarantined,
            rejected: staged.rejects.first(),
            bytes: staged.bytes,
            remote_ids: remote_ids(&[&staged.results]),
            ..LoadReport::default()
        };
        Ok(load_report(report, built))
    }

    /// At most so many statements for the rows that were refused, and how many of them these hold; `None` where there is no
    /// quarantine.
    async fn quarantine(&self, staged: &Staged, most: usize) -> Result<(Vec<String>, Option<u64>), PortError> {
        let Some(quarantine) = self.quarantine else { return Ok((Vec::new(), None)) };
        if staged.rejects.count == 0 {
            return Ok((Vec::new(), Some(0)));
        }
        let name = table(quarantine);
        let known = quarantine::known(describe(self.session, quarantine).await)?;
        let (target, work) = (self.plan.target, &self.request.work);
        let mut rows = quarantine::insert(&name, target, work, &staged.rejects, "GETDATE()", literal);
        // They go with the load, in one batch.
        rows.truncate(most);
        let count = rows.iter().map(|(count, _)| *count as u64).sum();
        let make = quarantine::make(&name, known);
        Ok((make.into_iter().chain(rows.into_iter().map(|(_, statement)| statement)).collect(), Some(count)))
    }

    /// In every outcome, as far as it can be done; its name is the same for the next try, which drops it first.
    async fn drop_staging(&self) {
        if let Err(error) = self.session.clean_up(self.plan.drop_staging()).await {
            tracing::warn!(table = %self.plan.staging(), error = error.message, "the staging table could not be dropped");
        }
    }
}

pub fn remote_ids(results: &[&Vec<SmallResult>]) -> Vec<String> {
    let mut ids: Vec<String> =
        results.iter().flat_map(|results| results.iter().filter_map(|result| result.remote_id.clone())).collect();
    ids.dedup();
    ids
}

fn file_columns(request: &LoadRequest, all: &[String]) -> Result<Vec<String>, PortError> {
    let Some(names) = &request.columns else { return Ok(all.to_vec()) };
    names
        .iter()
        .map(|name| {
            if request.ignored.contains(name) {
                return Ok(name.clone());
            }
            // Redshift's names have no case unless the cluster is told otherwise.
            all.iter()
                .find(|known| *known == name)
                .or_else(|| all.iter().find(|known| known.eq_ignore_ascii_case(name)))
                .cloned()
                .ok_or_else(|| {
                    invalid(format!("table {} has no column {name:?}; it has {}", request.target, all.join(", ")))
                })
        })
        .collect()
}

/// Of the work, and of exactly what is loaded: a try that is handed other files does not take up an earlier staging. Nor does
/// one that reads its rows anew: a batch of a dead try whose fate is not known must not be found in its staging, nor missed
/// there.
fn fingerprint(request: &LoadRequest, try_number: u32) -> String {
    let mut digest = Sha256::new();
    if request.rows.objects().is_empty() {
        digest.update(format!("try {try_number}"));
    }
    for object in request.rows.objects() {
        digest.update(format!("\0{}\0{}\0{}", object.url(), object.size, object.etag.as_deref().unwrap_or_default()));
    }
    format!("{}_{}", work_hash(request), short(&digest.finalize()))
}

fn work_hash(request: &LoadRequest) -> String {
    short(&Sha256::digest(format!("{}\0{}", marker_of(&request.work), request.target)))
}

fn short(digest: &[u8]) -> String {
    hex::encode(&digest[..6])
}

/// Drops what earlier tries of this work left, but for the staging that may be taken up, as far as it can be done. What they
/// sent has ended.
async fn sweep(session: &dyn Session, request: &LoadRequest, but: Option<&str>) {
    let prefix = format!("millrace_staging_{}_", work_hash(request));
    let own = but.map(|hash| [format!("millrace_staging_{hash}"), format!("millrace_staging_{hash}_raw")]);
    let statement = format!(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {} AND c.relkind = 'r' \
         AND LEFT(c.relname, {}) = {}",
        in_schema_of(&request.target, Dialect::Redshift, "c.oid"),
        prefix.len(),
        literal(&prefix)
    );
    drop_leftovers(session, request, statement, own.as_ref().map_or(&[], |own| own.as_slice())).await;
}

/// Drops tables of loads beside the target that nobody can be working with any more: their tries were killed and never made
/// again. A statement ends after a day at the latest, and stays known for another one.
async fn sweep_abandoned(session: &dyn Session, request: &LoadRequest) {
    let statement = format!(
        "SELECT c.relname FROM pg_class_info c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {} \
         AND (LEFT(c.relname, 17) = 'millrace_staging_' OR LEFT(c.relname, 15) = 'millrace_known_' \
         OR LEFT(c.relname, 14) = 'millrace_keys_') AND c.relcreationtime < GETDATE() - INTERVAL '3 days'",
        in_schema_of(&request.target, Dialect::Redshift, "c.reloid"),
    );
    drop_leftovers(session, request, statement, &[]).await;
}

async fn drop_leftovers(session: &dyn Session, request: &LoadRequest, statement: String, but: &[String]) {
    let names: Vec<String> = match ask(session, "leftovers", statement).await {
        Ok(answer) => answer.rows.into_iter().filter_map(|row| row.into_iter().next()?).collect(),
        Err(error) => {
            tracing::debug!(error = error.message, "whether staging tables were left behind is not known");
            return;
        }
    };
    for name in names.into_iter().filter(|name| !but.contains(name)) {
        let left = beside(&request.target, &name);
        if let Err(error) = session.clean_up(format!("DROP TABLE IF EXISTS {}", table(&left))).await {
            tracing::warn!(table = %left, error = error.message, "a staging table of an earlier try could not be dropped");
        }
    }
}

fn manifest_place(files: &ObjectRows, hash: &str) -> (String, String) {
    let (bucket, prefix) = &files.manifest_prefix;
    let folder = if prefix.is_empty() || prefix.ends_with('/') { prefix.clone() } else { format!("{prefix}/") };
    (bucket.clone(), format!("{folder}{hash}.manifest"))
}

/// It has done its work in every outcome; what cannot be removed now is overwritten or removed by the next try.
async fn remove_manifest(files: &ObjectRows, bucket: String, key: String) {
    if let Err(error) = files.store.delete(&bucket, vec![key.clone()]).await {
        tracing::warn!(
            manifest = format!("s3://{bucket}/{key}"),
            error = error.message,
            "the manifest could not be removed"
        );
    }
}

async fn write_manifest(files: &ObjectRows, bucket: &str, key: &str) -> Result<(), PortError> {
    let urls: Vec<(String, u64)> = files.objects.iter().map(|object| (object.url(), object.size)).collect();
    let text = manifest(urls.iter().map(|(url, size)| (url.as_str(), *size)));
    let options = PutOptions { content_type: Some("application/json".to_owned()), ..PutOptions::default() };
    let body = Box::pin(stream::iter([Ok(bytes::Bytes::from(text))]));
    files
        .store
        .put(bucket, key, body, options)
        .await
        .map(|_| ())
        .map_err(|error| while_doing("writing the manifest of the load", error))
}
