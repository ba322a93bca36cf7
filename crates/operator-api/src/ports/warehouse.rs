//! The SQL engine that data is loaded into. No operator builds SQL for one engine by hand: it says what should be true,
//! and each engine says how in its own file.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{ObjectInfo, ObjectPlace, ObjectStore, RowStream, ValueType};
use crate::context::WorkId;
use crate::error::{PortError, PortErrorKind};

/// `schema.table`, unquoted. Engines quote it themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// How rows meet the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadMethod {
    Append,
    /// The table holds exactly the incoming rows afterwards; readers see the old ones or the new ones.
    Replace,
    /// As `Replace`, by a table that is filled beside the live one and takes its place with its grants, defaults and
    /// comments. Where something hangs on the live table itself (views, foreign keys), its rows are exchanged instead.
    Swap,
    /// Update where the keys are equal, insert elsewhere. Of several rows with one key (in the table or coming in) the
    /// one with the highest order key stays; NULL is lowest; in a tie the incoming row, and of these the last, wins.
    Upsert {
        keys: Vec<String>,
        order_key: Option<String>,
    },
}

/// What a file is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    #[default]
    Csv,
    Parquet,
    /// Text with a delimiter (`|` by default), without the rules of CSV; Redshift only.
    Delimited,
    /// Another one that Redshift knows, as COPY names it: `JSON 'auto'`, `ORC`, `FIXEDWIDTH 'a:3,b:9'`.
    Other(String),
}

/// Options of COPY that have a meaning for every engine here, checked against each other when the file is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvFormat {
    #[serde(default)]
    pub kind: FileKind,
    /// Default `,` for CSV.
    pub delimiter: Option<char>,
    pub quote: Option<char>,
    /// Lines to pass over at the start of each file.
    pub ignore_header: u32,
    /// A field of exactly this text is NULL, quoted or not. Without it an empty field is NULL for non-text columns and ''
    /// for text columns, as Redshift reads CSV.
    pub null_as: Option<String>,
    pub empty_as_null: bool,
    pub blanks_as_null: bool,
    pub gzip: bool,
    #[serde(default)]
    pub zstd: bool,
    pub truncate_columns: bool,
    pub accept_inv_chars: bool,
    /// NUL bytes are taken out of values; otherwise a text with one is refused where it cannot be held.
    pub remove_nul: bool,
    /// Rows that may be rejected before the load fails.
    pub max_error: u32,
    pub date_format: Option<String>,
    pub time_format: Option<String>,
    /// Further options as written, upper case, for an engine that knows them (Redshift): `STATUPDATE OFF`.
    pub other: Vec<String>,
}

impl CsvFormat {
    /// Digits that a column does not hold may go (`ROUNDEC`); otherwise a value with more of them is refused.
    pub fn may_round(&self) -> bool {
        self.other.iter().any(|option| option.eq_ignore_ascii_case("ROUNDEC"))
    }
}

/// Objects that hold the rows of a load.
#[derive(Clone)]
pub struct ObjectRows {
    /// Exactly these, with the sizes and etags they were seen with.
    pub objects: Vec<ObjectInfo>,
    /// Reads them, for engines that can't read S3 themselves; writes the manifest for those that can.
    pub store: Arc<dyn ObjectStore>,
    /// Where a manifest may be written: bucket and key prefix.
    pub manifest_prefix: (String, String),
}

/// Where the rows of a load come from.
pub enum LoadRows {
    Objects(ObjectRows),
    /// Straight from a source, in its canonical text, without a file in between; read once. Of [`CsvFormat`] only what is
    /// said about values has a meaning: NULL and '' are known, so `null_as` is not asked.
    Direct(OneStream),
}

/// A stream that is read once, by whoever takes it.
pub struct OneStream(Mutex<Option<RowStream>>);

impl OneStream {
    /// An error when it was taken before.
    pub fn take(&self) -> Result<RowStream, PortError> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| {
            PortError::new(
                PortErrorKind::Unavailable,
                "the rows of the source were read already; they must be asked for again",
            )
        })
    }
}

impl LoadRows {
    pub fn direct(stream: RowStream) -> Self {
        Self::Direct(OneStream(Mutex::new(Some(stream))))
    }

    /// None for rows that come straight from a source.
    pub fn objects(&self) -> &[ObjectInfo] {
        match self {
            Self::Objects(rows) => &rows.objects,
            Self::Direct(_) => &[],
        }
    }
}

pub struct LoadRequest {
    pub target: TableName,
    /// The columns of the rows in order; `None` = all columns of the table in their order.
    pub columns: Option<Vec<String>>,
    /// Those of `columns` that are read and passed over, because the table does not have them.
    pub ignored: Vec<String>,
    /// What the values of `columns` are, in the same order; empty where the files don't say it.
    pub types: Vec<ValueType>,
    /// A value of `types` that is a text and says no zone means UTC, where a column wants a moment; otherwise it is refused.
    pub texts_are_utc: bool,
    pub method: LoadMethod,
    pub rows: LoadRows,
    pub format: CsvFormat,
    /// Where rows that the table refuses go, within what `format.max_error` allows: a table that is made when it is
    /// missing (see `docs/operators.md`).
    pub quarantine: Option<TableName>,
    /// Values may be shown in errors and reports; otherwise only their lengths are.
    pub show_values: bool,
    /// Columns by which a person finds a row, besides the keys of the method: errors show them where they are numbers or days.
    pub known_by: Vec<String>,
    /// Columns that name one row: where two incoming rows have the same values of all of them, nothing is loaded. Rows with a
    /// NULL among them are left aside.
    pub unique_by: Vec<String>,
    /// The table is the task's own, empty, and nobody else looks at it: rows that come straight go into it as they come.
    pub is_own_table: bool,
    /// Of an upsert, conditions on rows of the target, called as [`Warehouse::table_sql`] does: such rows go before any comes in, in
    /// one transaction, but for those with the keys of one that comes. Where one is kept from going, all stay.
    pub gone: Vec<String>,
    /// Statements for the transaction of the rows, after them: what must be true exactly when they are there.
    pub also: Vec<String>,
    /// How many rows were written to the files, where their writer knows it: with another number nothing is loaded.
    pub expected_rows: Option<u64>,
    /// Of an upsert with an order key, a value of it as the table writes it: how far an earlier reading had come. Incoming rows
    /// below it that the table does not have, or has an older version of, are counted in [`LoadReport::rows_late`].
    pub late_before: Option<String>,
    /// Of an upsert with an order key: an incoming row where it is NULL or an empty text is what the source holds now, not
    /// its oldest state, and overwrites the row with its keys.
    pub null_is_newest: bool,
    pub work: WorkId,
}

impl LoadRequest {
    /// What the values of a column are, where that is known.
    pub fn value_of(&self, column: &str) -> Option<&ValueType> {
        let at = self.columns.as_ref()?.iter().position(|name| name == column)?;
        self.types.get(at)
    }

    /// All columns in the table's order, every value exactly as it comes, none refused, none shown.
    pub fn new(target: TableName, method: LoadMethod, rows: LoadRows, work: WorkId) -> Self {
        Self {
            target,
            columns: None,
            ignored: Vec::new(),
            types: Vec::new(),
            texts_are_utc: false,
            method,
            rows,
            format: CsvFormat::default(),
            quarantine: None,
            show_values: false,
            known_by: Vec::new(),
            unique_by: Vec::new(),
            is_own_table: false,
            gone: Vec::new(),
            also: Vec::new(),
            expected_rows: None,
            late_before: None,
            null_is_newest: false,
            work,
        }
    }
}

/// A row that the table did not take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectedRow {
    /// `s3://bucket/key`, or what the rows of a direct load are called.
    pub file: String,
    /// Line of the file that the row begins on, from 1; of a direct load the number of the row.
    pub line: Option<u64>,
    pub column: Option<String>,
    /// As it may be shown.
    pub value: Option<String>,
    pub reason: String,
}

impl RejectedRow {
    /// In the place of a file, where rows come straight from a database: `line` counts its rows.
    pub const OF_SOURCE: &'static str = "the source";
}

impl fmt::Display for RejectedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(row) if self.file == Self::OF_SOURCE => write!(f, "row {row} of {}", self.file)?,
            Some(line) => write!(f, "{} line {line}", self.file)?,
            None => f.write_str(&self.file)?,
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        if let Some(value) = &self.value {
            write!(f, ", value {value}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// `None` = the engine can't tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Rows read from the files or from the source, refused ones included.
    pub rows_read: Option<u64>,
    pub rows_inserted: Option<u64>,
    pub rows_updated: Option<u64>,
    /// Rows that came in and changed nothing: a newer one was there, or a better one came in with them. One of the same
    /// age as that which is there counts as updated, also where it says the same.
    pub rows_unchanged: Option<u64>,
    /// Rows that an upsert was to update and that a trigger kept as they were, though other values came in. It may refuse them,
    /// or make of those values what is there already: nobody can tell. `None` where nothing keeps rows.
    pub rows_kept: Option<u64>,
    pub rows_deleted: Option<u64>,
    /// Rows that are new or newer although an earlier reading had come further: see [`LoadRequest::late_before`].
    pub rows_late: Option<u64>,
    pub rows_rejected: Option<u64>,
    /// How many of them are in the quarantine; `None` when there is none.
    pub rows_quarantined: Option<u64>,
    /// The first of them.
    pub rejected: Vec<RejectedRow>,
    /// Bytes of the values, of a direct load.
    pub bytes: Option<u64>,
    /// An earlier try of the same work had loaded it: nothing was done now.
    pub was_loaded_before: bool,
    /// Columns of the rows that the table works out itself (`GENERATED ALWAYS AS (…) STORED`): their values were passed over.
    pub computed: Vec<String>,
    /// Ids of remote statements or queries.
    pub remote_ids: Vec<String>,
}

/// The code of an error of [`Warehouse::describe`] and of what writes when not even the table's schema is there: the SQLSTATE
/// invalid_schema_name.
pub const NO_SCHEMA: &str = "3F000";

/// A check on a table that was built, in the words of the user's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableCheck {
    MinRows(u64),
    Unique(Vec<String>),
    NotNull(Vec<String>),
    /// The column holds nothing but these values and NULL.
    Accepted {
        column: String,
        values: Vec<String>,
    },
    /// The column's highest value is this moment, in UTC, or later.
    Fresh {
        column: String,
        not_before: DateTime<Utc>,
    },
    /// SQL whose first column of each row must be true (non-zero); `{table}` stands for the table's quoted name.
    Sql {
        name: String,
        sql: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// `rows >= 1`, `unique(id)`.
    pub name: String,
    pub passed: bool,
    /// What was found: `0 rows`, `3 keys occur more than once, for example id=7`.
    pub found: String,
}

#[derive(Debug, Clone)]
pub struct BuildRequest {
    pub target: TableName,
    /// SELECT that fills it.
    pub select: String,
    /// CREATE TABLE column list and attributes as SQL text in parentheses (`(day date not null, n bigint default 0)`);
    /// `None` = LIKE the live table INCLUDING DEFAULTS, which must exist then.
    pub columns_ddl: Option<String>,
    pub checks: Vec<TableCheck>,
    /// Keep the built table for inspection when a check fails.
    pub keep_failed: bool,
    /// Statements for the transaction that puts the table in place: what must be true exactly when it is there.
    pub also: Vec<String>,
    pub work: WorkId,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildReport {
    pub rows: Option<u64>,
    pub checks: Vec<CheckResult>,
    /// False when a check failed: the live table is untouched.
    pub was_swapped: bool,
    pub was_built_before: bool,
    /// Where the built table stands when it was kept.
    pub kept_as: Option<String>,
    pub remote_ids: Vec<String>,
}

/// What becomes of objects that are at the place already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is written, unless an earlier try of the same work left them.
    #[default]
    Refuse,
    /// Those of the same name are overwritten, the others stay.
    Overwrite,
    /// All are removed by the warehouse before it writes.
    Remove,
}

/// Rows that the warehouse writes into objects itself.
#[derive(Clone)]
pub struct UnloadRequest {
    /// One SELECT.
    pub query: String,
    /// The beginning of the objects' keys.
    pub to: ObjectPlace,
    /// How they are written, each in the warehouse's own words, checked: `FORMAT AS CSV`, `MAXFILESIZE 100 MB`.
    pub options: Vec<String>,
    /// In a format that has texts only, what stands for NULL: a text of the rows that is just that ends the unload. Empty where
    /// none could be taken for it, or may be.
    pub null_marker: Option<String>,
    pub existing: Existing,
    /// Looks at the place, and keeps the note of this work under `note_prefix`.
    pub store: Arc<dyn ObjectStore>,
    pub note_prefix: String,
    pub work: WorkId,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnloadReport {
    pub rows: Option<u64>,
    /// What is at the place now.
    pub objects: Vec<ObjectInfo>,
    /// The names of the query's columns, where the request has a `null_marker`.
    pub columns: Vec<String>,
    /// An earlier try of the same work had written it: nothing was done now.
    pub was_unloaded_before: bool,
    pub remote_ids: Vec<String>,
}

/// The answer to a small query: names and text cells. For results that fit in memory only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmallResult {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
    /// Rows changed by a statement that returns none.
    pub rows_affected: Option<u64>,
    pub remote_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As it is declared.
    pub type_name: String,
    /// Where that is a domain, or an array of one: the type at the end of its chain, which says what the column holds.
    pub base_type: Option<String>,
    pub is_nullable: bool,
    pub default: Option<String>,
}

impl Column {
    /// The type that says what the column holds.
    pub fn held_type(&self) -> &str {
        self.base_type.as_deref().unwrap_or(&self.type_name)
    }
}

/// A column that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    pub name: String,
    /// In the engine's words, as [`Warehouse::column_type`] gives it.
    pub type_name: String,
    pub is_nullable: bool,
}

/// A change of a table that no row is lost by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alteration {
    /// At the end of the table, NULL in the rows that are there.
    Add(NewColumn),
    /// To a type that holds every value of the old one.
    Widen { column: String, type_name: String },
}

/// A place in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    /// The connection to the store.
    pub conn_id: String,
    /// `s3://bucket/prefix`.
    pub address: String,
}

/// Finds the values that a column does not hold as they are.
pub trait ColumnLimit: Send + Sync {
    /// Why, and how to mend it, as the rest of a sentence about the value; `None` for one that is held.
    fn refusal(&self, value: &[u8]) -> Option<String>;
}

/// Is told of a statement that has ended: its place in the script from 0, and what came of it.
pub type Ended<'a> = &'a (dyn Fn(usize, &SmallResult) + Send + Sync);

pub trait Warehouse: Send + Sync {
    /// `redshift`, `postgres`, `sqlite`, `mysql`.
    fn engine(&self) -> &'static str;

    /// Splits a script into statements as this engine's lexer sees them.
    fn split(&self, script: &str) -> Result<Vec<String>, PortError>;

    /// A name as this engine's SQL writes it, in quotes.
    fn quote(&self, name: &str) -> String;

    /// A text as this engine's SQL writes it.
    fn literal(&self, text: &str) -> String;

    /// A table's name as this engine's SQL writes it, in quotes.
    fn table_sql(&self, table: &TableName) -> String;

    /// Where rows may be put for it to fetch by itself, if its connection names such a place.
    fn staging(&self) -> Option<Staging> {
        None
    }

    /// A statement that keeps other writers off a table until the transaction ends. `None` where a transaction that writes
    /// has the database for itself.
    fn lock_sql(&self, _: &TableName) -> Option<String> {
        None
    }

    /// A statement that lets rows of a table be found by these columns. `None` where joins need none.
    fn index_sql(&self, _: &TableName, _columns: &[String]) -> Option<String> {
        None
    }

    /// Drops tables that a task made for itself, also after it was cancelled. One that is not there is no error.
    fn forget<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), PortError>>;

    /// Runs statements: all in one transaction, or each on its own (`autocommit`). The error names the statement's
    /// number, the database's own text and SQLSTATE; a transaction is rolled back.
    fn execute<'a>(
        &'a self,
        statements: &'a [String],
        autocommit: bool,
        work: &'a WorkId,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        self.execute_telling(statements, autocommit, work, &|_, _| {})
    }

    /// As `execute`. Whatever comes after it, `ended` is told of each statement, by its place in the script from 0: when its
    /// transaction has ended, or with `autocommit` when it has.
    fn execute_telling<'a>(
        &'a self,
        statements: &'a [String],
        autocommit: bool,
        work: &'a WorkId,
        ended: Ended<'a>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>>;

    /// `NotFound` when the table does not exist.
    fn describe<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<Column>, PortError>>;

    /// The type of a column that holds every value of `value` exactly, in this engine's words: see `docs/types.md`.
    fn column_type(&self, value: &ValueType) -> String;

    /// Whether a column of the type holds every such value. True where that can't be told.
    fn holds(&self, type_name: &str, value: &ValueType) -> bool;

    /// The type that holds what a column of the type has as well as every such value, where it can be made that without
    /// losing anything.
    fn widened(&self, _type_name: &str, value: &ValueType) -> Option<String> {
        Some(self.column_type(value))
    }

    /// Whether values of a column of the type are compared without the blanks at their end, though LENGTH counts them: where
    /// exactly the same value is meant, the lengths have to be compared too.
    fn passes_over_blanks(&self, _type_name: &str) -> bool {
        false
    }

    /// What a column of the type would refuse, or change without a word, of a source's values, so that it is known while
    /// they are read and before anything is loaded. `format` says what the load may do to them (cut, round, make NULL).
    /// `None` where nothing is to be found: the type holds every such value, or the engine takes rows as they are read and
    /// names the one that it refuses.
    fn column_limit(&self, _type_name: &str, _value: &ValueType, _format: &CsvFormat) -> Option<Box<dyn ColumnLimit>> {
        None
    }

    /// Why the table, or one of these columns of it, cannot be called so: an engine that cuts names would take two for one.
    /// Making or changing the table would be refused for the same reason; this is for those who do neither.
    fn name_refusal(&self, _table: &TableName, _columns: &[NewColumn]) -> Option<PortError> {
        None
    }

    /// Whether a row that is to go can keep one with other `keys` from coming in: by a unique rule of the table besides that on
    /// the keys. Not where its going before would take rows of the table along that refer to it until then.
    fn gone_rows_hinder<'a>(&'a self, _: &'a TableName, _: &'a [String]) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async { Ok(false) })
    }

    /// Makes a table. `keys` is its primary key, which Redshift does not enforce; empty for none. `AlreadyExists` when it
    /// is there, unless `if_not_exists`.
    fn create_table<'a>(
        &'a self,
        table: &'a TableName,
        columns: &'a [NewColumn],
        keys: &'a [String],
        if_not_exists: bool,
    ) -> BoxFuture<'a, Result<(), PortError>>;

    /// Changes a table, all of it or nothing where the engine can do that. `Invalid` for what it cannot do.
    fn alter_table<'a>(
        &'a self,
        table: &'a TableName,
        alterations: &'a [Alteration],
    ) -> BoxFuture<'a, Result<(), PortError>>;

    /// Loads rows in one transaction and leaves a marker of `request.work` in it, so that it never happens twice.
    fn load<'a>(&'a self, request: LoadRequest) -> BoxFuture<'a, Result<LoadReport, PortError>>;

    /// Writes the rows of a query into objects. `Invalid` for an engine that reaches no object store by itself.
    fn unload(&self, _: UnloadRequest) -> BoxFuture<'_, Result<UnloadReport, PortError>> {
        let engine = self.engine();
        Box::pin(async move {
            Err(PortError::new(
                PortErrorKind::Invalid,
                format!(
                    "{engine} writes no objects by itself; sql_to_s3 reads the rows of a query and writes them to S3"
                ),
            ))
        })
    }

    /// Runs checks against a table.
    fn check<'a>(
        &'a self,
        table: &'a TableName,
        checks: &'a [TableCheck],
    ) -> BoxFuture<'a, Result<Vec<CheckResult>, PortError>>;

    /// Builds a table beside the live one, checks it, and swaps it in when every check passed. Readers see the old table
    /// or the new one.
    fn build_and_swap<'a>(&'a self, request: BuildRequest) -> BoxFuture<'a, Result<BuildReport, PortError>>;

    /// A cheap query that proves the connection works; the text says what answered (`PostgreSQL 15.4`).
    fn ping(&self) -> BoxFuture<'_, Result<String, PortError>>;
}
