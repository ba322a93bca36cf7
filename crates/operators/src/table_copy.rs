//! `table_copy`: tables from one database straight into another.

use futures::stream::{self, StreamExt};
use millrace_operator_api::ports::Staging;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parts::copying::config::{TablePlan, Tables, WatermarkOp};
use crate::parts::copying::staging::StagingPlace;
use crate::parts::copying::table::{Job, copy};
use crate::parts::parameter::{is_blank, rendered, rendered_option, rendered_text, written};
use crate::parts::reads::treatment::HashKey;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<TableCopy>("table_copy", "copies tables from one database straight into another")
        .aliases(&["postgres_data_copy"])
        .parameter_aliases(&[
            ("sql_conn_id", "source_conn_id"),
            ("warehouse_conn_id", "target_conn_id"),
            ("redshift_conn_id", "target_conn_id"),
            ("table_config", "tables"),
            ("table_configs", "tables"),
        ]);

/// Copies tables from a source (MySQL, PostgreSQL, SQLite) straight into a warehouse (PostgreSQL, SQLite, Redshift): the
/// whole of them, or what has changed since the last time.
///
/// For each table: its columns are looked up and the target is made when it is missing; the rows are read on one snapshot
/// and staged while they are read; one transaction puts them into the target, so that readers see the rows of before or
/// those of after; counts, keys and watermark are checked. A try that died after that transaction is not repeated. Each
/// step is a checkpoint, and the task's result holds the numbers and the checks of every table.
///
/// `full_sync` leaves exactly the rows of the source. `incremental_sync` reads the rows from the highest value that the
/// target has of `incremental_field`, that value included, and merges them by `primary_key`: an older row never overwrites
/// a newer one. A target without rows gets all of them. Rows whose incremental field is NULL are read each time
/// (`incremental_nulls`).
/// A field of texts must hold them in the form of its type (`2024-01-31 10:00:00`, no offset but that of UTC), or the copy
/// fails: of others newer ones would be passed over.
/// Where a foreign key of another table would follow the deletion of the target's rows (ON DELETE CASCADE, SET NULL, SET
/// DEFAULT), `full_sync` is refused; `incremental_sync` deletes no row.
///
/// Where text meets a column of integers, timestamps or dates it is read as such: `12.0` is 12, and a value that is none
/// fails the copy with its row and column.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableCopy {
    /// The connection to read from.
    source_conn_id: Template<String>,
    /// The connection to the warehouse.
    target_conn_id: Template<String>,
    /// The table and how it is copied, or a list of tables.
    tables: Tables,
    /// How many tables are copied at one time.
    #[serde(default = "one")]
    max_parallel_tables: usize,
    /// Write nothing: say what would be made and read, and read and convert the first rows (`limit`, or 1,000).
    #[serde(default)]
    dry_run: Template<bool>,
    /// Copy so many rows of each table at most, for trying a copy out. Refused where `full_sync` would leave fewer rows than
    /// the target has.
    #[serde(default)]
    limit: Option<Template<u64>>,
    /// The connection whose password is the key of `columns: {…: hash}`.
    #[serde(default)]
    hash_conn_id: Option<Template<String>>,
    /// Where rows on their way into Redshift are put for its COPY, `s3://bucket/prefix`: compressed files that are removed
    /// afterwards. Left out: the place that the connection names (extra: `s3_staging` and `s3_conn_id`); without either, and
    /// where COPY could cut a value or take one of no bytes for NULL, rows go by INSERT, which is for small tables.
    #[serde(default)]
    s3_staging: Option<Template<String>>,
    /// The connection to S3 for `s3_staging`.
    #[serde(default)]
    s3_conn_id: Option<Template<String>>,
    /// So few rows (and no more than 1 MiB of them) go by INSERT all the same, without files: that is quicker. 0: never.
    #[serde(default = "a_thousand")]
    direct_rows: u64,
    /// Show values in errors. Otherwise an error names row and column only.
    #[serde(default)]
    show_values: bool,
}

fn a_thousand() -> u64 {
    1_000
}

fn one() -> usize {
    1
}

impl Operator for TableCopy {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("source_conn_id", &self.source_conn_id), ("target_conn_id", &self.target_conn_id)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if self.s3_staging.is_some() != self.s3_conn_id.is_some() {
            problems.add("s3_staging", "s3_staging and s3_conn_id are needed together");
        }
        let Tables(tables) = &self.tables;
        if tables.is_empty() {
            problems.add("tables", "tables lists no table");
        }
        if self.max_parallel_tables == 0 {
            problems.add("max_parallel_tables", "max_parallel_tables is 0: no table would be copied");
        }
        if self.limit.as_ref().and_then(written) == Some(0) {
            problems.add("limit", "limit is 0: no row would be copied");
        }
        let mut targets: Vec<String> = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let place = if tables.len() == 1 { "tables.".to_owned() } else { format!("tables.{index}.") };
            table.check(&place, self.hash_conn_id.is_some(), problems);
            if self.limit.is_some() && table.watermark_op == WatermarkOp::Above {
                problems.add(
                    format!("{place}watermark_op"),
                    "with a limit, rows that share the last value of a copy may be left for the next one, and '>' would pass over \
                     them: use '>='",
                );
            }
            if let Some(target) = written(table.target.as_ref().unwrap_or(&table.source)) {
                if targets.contains(&target) {
                    problems.add(format!("{place}target"), format!("{target} is the target of two tables"));
                }
                targets.push(target);
            }
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl TableCopy {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let source_conn_id = rendered_text("source_conn_id", &self.source_conn_id)?;
        let target_conn_id = rendered_text("target_conn_id", &self.target_conn_id)?;
        let plans: Vec<TablePlan> = self.tables.0.iter().map(|table| table.rendered()).collect::<Result<_, _>>()?;
        let hash_key = match rendered_option("hash_conn_id", self.hash_conn_id.as_ref())? {
            Some(conn_id) => Some(HashKey::of(context, conn_id).await?),
            None => None,
        };
        let warehouse = context.ports.warehouse(context, &target_conn_id).await?;
        one_target_each(&plans, warehouse.engine())?;
        let staging = match (&self.s3_staging, &self.s3_conn_id) {
            (Some(address), Some(conn_id)) => Some(Staging {
                conn_id: rendered_text("s3_conn_id", conn_id)?,
                address: rendered_text("s3_staging", address)?,
            }),
            _ => warehouse.staging(),
        };
        let staging = match staging {
            Some(_) if warehouse.engine() != "redshift" => {
                return Err(TaskError::Fail(format!(
                    "s3_staging is for Redshift; {target_conn_id} ({}) takes rows as they come, so leave it out",
                    warehouse.engine()
                )));
            }
            Some(staging) => Some(StagingPlace::open(context, &staging).await?),
            None => None,
        };
        let job = Job {
            hash_key,
            source: context.ports.source(context, &source_conn_id).await?,
            warehouse,
            staging,
            direct_rows: self.direct_rows,
            source_conn_id,
            target_conn_id,
            dry_run: rendered("dry_run", &self.dry_run)?,
            limit: rendered_option("limit", self.limit.as_ref())?,
            show_values: self.show_values,
            is_one_of_many: plans.len() > 1,
        };
        let copies: Vec<BoxFuture<'_, Result<Value, TaskError>>> =
            plans.iter().map(|plan| Box::pin(copy(context, &job, plan)) as BoxFuture<'_, _>).collect();
        let results: Vec<Result<Value, TaskError>> =
            stream::iter(copies).buffered(self.max_parallel_tables).collect().await;
        let (mut copied, mut failed) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(value) => copied.push(value),
                Err(cancelled @ TaskError::Cancelled(_)) => return Err(cancelled),
                Err(error) => failed.push(error),
            }
        }
        if failed.is_empty() {
            return Ok(Outcome::with(json!({ "kind": "table_copy", "tables": copied })));
        }
        if failed.len() == 1 && copied.is_empty() {
            return Err(failed.remove(0));
        }
        let text = format!(
            "{} of {} tables were not copied: {}",
            failed.len(),
            plans.len(),
            failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        );
        // Those that were copied are not copied again by the next try.
        let may_help = failed.iter().any(|error| matches!(error, TaskError::Retry(_)));
        Err(if may_help { TaskError::Retry(text) } else { TaskError::Fail(text) })
    }
}

/// Two tables of one name would take each other's rows for their own.
fn one_target_each(plans: &[TablePlan], engine: &str) -> Result<(), TaskError> {
    let tells_case = engine == "postgres";
    for (at, plan) in plans.iter().enumerate() {
        let name = plan.target.to_string();
        for other in plans[..at].iter().map(|other| other.target.to_string()) {
            if name == other {
                return Err(TaskError::Fail(format!(
                    "tables.{at}.target: {name} is the target of two tables, and one would be taken for the other"
                )));
            }
            if !tells_case && name.eq_ignore_ascii_case(&other) {
                return Err(TaskError::Fail(format!(
                    "tables.{at}.target: {name} and {other} are one table, because {engine} does not tell names by their case: \
                     give one of them a `target` of another name"
                )));
            }
        }
    }
    Ok(())
}
