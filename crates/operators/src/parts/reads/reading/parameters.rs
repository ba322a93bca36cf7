//! The parameters of an extract: those of `sql_to_s3` and of `extract`, which differ in where the rows go.

use std::sync::Arc;

use millrace_operator_api::ports::SqlSource;
use millrace_operator_api::{Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use super::for_table::ForTable;
use super::{Asked, Opened, open};
use crate::parts::files::csv::DEFAULT_NULL_MARKER;
use crate::parts::files::encoding::Proof;
use crate::parts::files::mark::{Compression, FileShape, Format};
use crate::parts::files::shape::{ShapeParameters, check_shape, rendered_shape};
use crate::parts::one_select::without_end;
use crate::parts::parameter::{is_blank, rendered_text, written, yes};
use crate::parts::reads::expected_columns::{self, ExpectedColumns};
use crate::parts::reads::incremental::{self, Incremental};
use crate::parts::reads::treatment::{self, Treating, Treatments, ZeroDates};
use crate::parts::report::query_label;

/// Other names of parameters, the same for every operator that reads a query's rows into files.
pub const ALIASES: &[(&str, &str)] = &[
    ("mysql_conn_id", "sql_conn_id"),
    ("postgres_conn_id", "sql_conn_id"),
    ("sql", "query"),
    ("file_format", "format"),
];

/// A part of an operator's parameters; the operator itself refuses names that nobody knows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ReadParameters {
    /// The connection to read from: MySQL, MariaDB, PostgreSQL or SQLite.
    sql_conn_id: Template<String>,
    /// One SELECT.
    query: Template<String>,
    /// Read only what has changed in the run's data interval: `modified_field`, `created_field`, `deleted_field`, `lookback`,
    /// `source_timezone`, `max_replica_lag`.
    #[serde(default)]
    incremental: Option<Incremental>,
    /// The columns that are counted on, and what is done when the query gives others: `{columns: [id, name], added: keep,
    /// removed: fail}`. `SELECT *` follows the source otherwise, whatever it becomes.
    #[serde(default)]
    expected_columns: Option<ExpectedColumns>,
    /// What happens to single columns: `{email: hash, ssn: drop, phone: mask, created_at: {timezone: Asia/Seoul}}`. `hash`
    /// is HMAC-SHA256 with the key of `hash_conn_id`, `mask` puts `***` in a value's place, `drop` leaves the column out;
    /// NULL stays NULL. `timezone` says which clocks a timestamp without a zone was read from; it is written in UTC. So are
    /// the midnights of a column of days, and texts in ISO's forms that say no offset of their own (`''` becomes NULL).
    #[serde(default)]
    columns: Treatments,
    /// The connection, of any type, whose password is the key of `hash`.
    #[serde(default)]
    hash_conn_id: Option<Template<String>>,
    /// The zone of every timestamp without one that `columns` does not name. Left out: what the connection says (extra:
    /// `source_timezone`), or else such timestamps stay as they are.
    #[serde(default)]
    source_timezone: Option<Template<String>>,
    /// What becomes of dates with a zero for year, month or day (MySQL's `0000-00-00`): `error`, `null`, or `keep`.
    #[serde(default)]
    zero_dates: ZeroDates,
    /// The table that the rows are meant for: `{warehouse_conn_id: redshift, schema: analytics, table: orders, key: id}`. A
    /// value that one of its columns could not hold (Redshift: too many bytes, out of range, no such date) stops the task
    /// with its row and column before anything is written, instead of the load later.
    #[serde(default)]
    for_table: Option<ForTable>,
    /// Hash what each row holds as it goes by and keep the sum in the ledger, by which `data verify` tells whether the source
    /// has changed since. `false` spares the processor's time that it takes.
    #[serde(default = "yes")]
    fingerprint: bool,
    /// Write a first line with the columns' names.
    #[serde(default)]
    header: bool,
    /// One ASCII character between fields; `\t` is a tab.
    #[serde(default = "comma")]
    delimiter: Template<String>,
    /// The text that stands for NULL. A row that holds exactly this text stops the task, since the two could not be told
    /// apart. Empty: NULL is an empty field without quotes.
    #[serde(default = "null_marker")]
    null_marker: Template<String>,
    /// `csv` or `parquet`.
    #[serde(default)]
    format: Format,
    /// `none`, `gzip` or `zstd`: the whole file of CSV, the pages of Parquet.
    #[serde(default)]
    compression: Compression,
}

fn comma() -> Template<String> {
    ",".into()
}

fn null_marker() -> Template<String> {
    DEFAULT_NULL_MARKER.into()
}

/// Rows on their way, and where they come from.
pub struct Read {
    /// For people.
    pub label: String,
    pub source: Arc<dyn SqlSource>,
    pub opened: Opened,
}

impl ReadParameters {
    pub fn check(&self, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("query", &self.query)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        incremental::check(self.incremental.as_ref(), problems);
        expected_columns::check(self.expected_columns.as_ref(), problems);
        if let Some(table) = &self.for_table {
            table.check(problems);
        }
        check_shape(self.shape_parameters(), problems);
        let zone = self.source_timezone.as_ref().and_then(written);
        treatment::check(&self.columns, self.hash_conn_id.is_some(), zone.as_deref(), problems);
    }

    /// The query as it stands in the file, where it is not known by the run only.
    pub fn written_query(&self) -> Option<String> {
        written(&self.query)
    }

    fn shape_parameters(&self) -> ShapeParameters<'_> {
        ShapeParameters {
            format: self.format,
            delimiter: &self.delimiter,
            null_marker: &self.null_marker,
            header: self.header,
            compression: self.compression,
        }
    }

    /// The shape without its columns, which only the query's answer knows.
    pub fn shape(&self) -> Result<FileShape, TaskError> {
        rendered_shape(self.shape_parameters())
    }

    /// Sends the query. `split` is the column by whose ranges several connections read, and how many.
    pub async fn open(&self, context: &TaskContext, split: Option<(&str, usize)>) -> Result<Read, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let query = without_end(&rendered_text("query", &self.query)?).to_owned();
        let label = query_label(&conn_id, &query);
        let source = context.ports.source(context, &conn_id).await?;
        let treating = Treating {
            columns: &self.columns,
            hash_conn_id: self.hash_conn_id.as_ref(),
            source_timezone: self.source_timezone.as_ref(),
            zero_dates: self.zero_dates,
        };
        let treating = treating.rendered(context, source.as_ref()).await?;
        let keys = self.for_table.as_ref().map(ForTable::keys).transpose()?.unwrap_or_default();
        let treating = treating.keeping_apart(&keys);
        let asked = Asked {
            conn_id,
            source: &source,
            label: &label,
            query: &query,
            incremental: self.incremental.as_ref(),
            expected_columns: self.expected_columns.as_ref(),
            treating: &treating,
            proof: if self.fingerprint { Proof::Taken } else { Proof::Left },
            split,
        };
        let mut opened = open(context, asked).await?;
        if let Some(table) = &self.for_table {
            opened.streams = table.watch(context, opened.streams, self.format).await?;
        }
        Ok(Read { label, source, opened })
    }
}
