//! What is said of one table in a DAG file, and the same with everything rendered.

use millrace_operator_api::ports::TableName;
use millrace_operator_api::{Problems, TaskError};
use millrace_template::Template;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};

use super::convert::Decimals;
use super::dotted;
use crate::parts::loads::load_parameters::NulBytes;
use crate::parts::one_select::without_end;
use crate::parts::parameter::{OneOrMany, rendered, rendered_option, rendered_text, written, yes};
use crate::parts::reads::treatment::{self, Personal, Treatment, Treatments, ZeroDates};
use crate::parts::sensor::Length;
use crate::parts::written_moments::form_problem;

/// Where the incremental filter goes in `custom_select`; what `{{ incremental_filter }}` renders to.
pub const FILTER_PLACE: &str = "{incremental_filter}";

/// One table and how it is copied.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// The table to read, `schema.table` with exactly one dot. Quotes are not needed, and are understood.
    pub source: Template<String>,
    /// The table to write, `schema.table`. Left out: the name of the source.
    #[serde(default)]
    pub target: Option<Template<String>>,
    /// The columns by which a row is known: one, or a list. Where several rows that are read have the same values of them, the
    /// copy fails and the target stays as it was (with `full_sync` where `verify` has `keys`).
    #[serde(default)]
    pub primary_key: Option<Template<OneOrMany>>,
    /// `full_sync` leaves exactly the rows of the source; `incremental_sync` reads what has changed and merges it by key.
    #[serde(default)]
    pub sync_mode: SyncMode,
    /// The column that says when a row was last changed.
    #[serde(default)]
    pub incremental_field: Option<Template<String>>,
    /// How its values are written: `timestamp` (to the microsecond), `datetime` (to the second), `date`, `yyyymmdd` (eight
    /// digits) or `integer`. Where the source keeps them as texts, each copy first has it look at all of them: one that is
    /// written otherwise would be passed over.
    #[serde(default)]
    pub incremental_field_type: FieldType,
    /// What becomes of rows whose incremental field is NULL (or an empty text) once the target has rows. No value says whether
    /// such a row is new, so `read` (default) reads all of them at every copy, and each overwrites the row with its key: that
    /// costs as much as there are.
    /// Where there are many (`updated_at` that stays NULL until the first change) give them a value, `SELECT *,
    /// COALESCE(updated_at, created_at) AS changed_at` in `custom_select` with that as `incremental_field`. `ignore` never
    /// reads them again, nor one that came later. With `limit` they are not read.
    #[serde(default)]
    pub incremental_nulls: IncrementalNulls,
    /// Where the highest value of the copy before is found: `from_target` asks the table for it; `stored` keeps it in
    /// `millrace_watermark` beside the table, for each task, and of a mapped one for each item of its list, written in the
    /// transaction of the rows. A target that several tasks or instances fill (shards, parts by `custom_where`) needs `stored`:
    /// the rows of one would hide those of another. An item that is new, or written in another way than before, begins with
    /// all of its rows.
    #[serde(default)]
    pub watermark: Watermark,
    /// `>=` (default) reads the rows at the watermark again, which the key makes harmless; `>` does not.
    #[serde(default)]
    pub watermark_op: WatermarkOp,
    /// How far before the watermark reading begins, for rows that were committed late. The task's result and the ledger tell
    /// how many rows were read again, and how many of them were late: new to the target, or newer than there.
    #[serde(default)]
    pub lookback: Option<Length>,
    /// Rows between two reports of progress. All rows are read on one snapshot, in constant memory, whatever this says.
    #[serde(default = "ten_thousand")]
    pub batch_size: u64,
    /// A condition on the rows of the source, beside that of the incremental field.
    #[serde(default)]
    pub custom_where: Option<Template<String>>,
    /// A SELECT to read instead of the table. The conditions are put around it, or where `{{ incremental_filter }}` stands.
    #[serde(default)]
    pub custom_select: Option<Template<String>>,
    /// A SELECT that counts the rows to come, for progress only.
    #[serde(default)]
    pub custom_count: Option<Template<String>>,
    /// Count the rows of the source while they are copied, so that progress has an exact end. Otherwise the source's planner
    /// is asked how many it expects, which costs nothing. With `custom_count` always.
    #[serde(default)]
    pub count_rows: bool,
    /// Store empty texts as NULL, but for those of the key.
    #[serde(default = "yes")]
    pub empty_as_null: bool,
    /// NUL bytes in texts, which PostgreSQL and Redshift cannot hold: `refuse` (default) the row, or `remove` them, but for
    /// those of the key.
    #[serde(default)]
    pub nul_bytes: NulBytes,
    /// What becomes of `12.5` in a column of integers: `error`, `truncate` or `round` (half away from zero). `12.0` is 12.
    #[serde(default)]
    pub decimals: Decimals,
    /// How texts that go into a column of timestamps or dates may be written, tried in this order: `%Y-%m-%d %H:%M:%S`.
    /// Left out: ISO forms, `2024/01/31`, `20240131`, `20240131235959`.
    #[serde(default)]
    pub timestamp_formats: Option<Vec<String>>,
    /// Make the target when it is missing, with types that hold every value of the source.
    #[serde(default = "yes")]
    pub create_table: bool,
    /// What becomes of columns that the target does not have: `ignore` them with a warning, `add` them to it, or `fail`. With
    /// `incremental_sync` an added column stays NULL in rows that did not change: one `full_sync` fills it.
    #[serde(default)]
    pub new_columns: NewColumns,
    /// What becomes of columns that the source does not have: `ignore` them (they get their default value), or `fail`.
    #[serde(default)]
    pub removed_columns: RemovedColumns,
    /// Change the target's columns to wider types where the source's values may not fit any more: `integer` to `bigint`,
    /// `varchar(40)` to a longer one. Otherwise, and where no type holds what is there as well, a value that does not fit
    /// fails the copy. Redshift widens texts only; a domain is never widened.
    #[serde(default)]
    pub widen_columns: bool,
    /// What becomes of columns of the target that may not hold every value of the source's, and are not widened: `ignore`
    /// (they are told, and a value that does not fit fails the copy), or `fail` before a row is read.
    #[serde(default)]
    pub narrow_columns: NarrowColumns,
    /// What is done with a column: `mask` (every value becomes `***`), `hash` (HMAC-SHA256 with the key of `hash_conn_id`),
    /// `drop` (it is not read at all), or `{timezone: Asia/Seoul}` for a column of times without a zone, which become UTC; so
    /// do the midnights of a column of days, and texts that say no offset of their own, written as `timestamp_formats` says.
    #[serde(default)]
    pub columns: Treatments,
    /// The zone of the clock behind columns that have none (`DATETIME`, `timestamp`): their times become UTC. Left out: the
    /// connection's (extra: `source_timezone`); without either they stay as they are, and a target's column of moments
    /// (`timestamptz`) is refused them. `UTC` says that they are UTC.
    #[serde(default)]
    pub source_timezone: Option<Template<String>>,
    /// What becomes of dates with a zero for year, month or day (MySQL's `0000-00-00`): `error`, `null`, or `keep`.
    #[serde(default)]
    pub zero_dates: ZeroDates,
    /// Fail, to be tried again, while the source is a replica that is further behind.
    #[serde(default)]
    pub max_replica_lag: Option<Length>,
    /// How many rows the target may refuse before the copy fails. They go into `quarantine`, if it is named. Values that are
    /// no integer, timestamp or date where the target wants one fail the copy in any case, and so does a `primary_key` that
    /// names several rows. Rows that break a rule of the table count as with `copy` (see `quarantine` there).
    #[serde(default)]
    pub max_error: u32,
    /// The table for rows that the target refuses: `table` in the target's schema, or `schema.table`; it is made when it is
    /// missing.
    #[serde(default)]
    pub quarantine: Option<Template<String>>,
    /// With `incremental_sync`, what becomes of rows that the source has no more: `keep` them, or `reconcile`: the keys of
    /// the whole source (of `custom_select` where there is one, without `custom_where`) are read, and rows of the target that
    /// were there before, with a key that is not among them, are deleted, after the load; where the target has a unique rule
    /// besides `primary_key` also with it, before its rows come in (see `delete_missing` of `upsert`). Only for a target that
    /// no other source fills.
    #[serde(default)]
    pub deletes: Deletes,
    /// What is compared after the load: `counts`, `keys` (none twice), `watermark` (the newest row is there, and the oldest,
    /// unless a row that came in gave way to a newer one) and `checksums` (the values that were read with those that stand in
    /// the target). With `incremental_sync` checksums compares the
    /// target's rows from the watermark on, so that a row that only the target has is a difference: use `deletes: reconcile`
    /// with it. What cannot be compared (of rows that were refused, or that an earlier try had copied) the log and the
    /// result's `not_checked` tell. Left out: all but checksums.
    #[serde(default)]
    pub verify: Option<Vec<Verify>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    #[default]
    FullSync,
    IncrementalSync,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    #[default]
    Timestamp,
    Yyyymmdd,
    Date,
    Datetime,
    Integer,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncrementalNulls {
    #[default]
    Read,
    Ignore,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Watermark {
    #[default]
    FromTarget,
    Stored,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WatermarkOp {
    #[default]
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = ">")]
    Above,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewColumns {
    Fail,
    Add,
    #[default]
    Ignore,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemovedColumns {
    #[default]
    Ignore,
    Fail,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NarrowColumns {
    #[default]
    Ignore,
    Fail,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Deletes {
    #[default]
    Keep,
    Reconcile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    Counts,
    Keys,
    Watermark,
    Checksums,
}

impl WatermarkOp {
    pub fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::Above => ">",
        }
    }
}

impl SyncMode {
    pub fn name(self) -> &'static str {
        match self {
            Self::FullSync => "full_sync",
            Self::IncrementalSync => "incremental_sync",
        }
    }
}

fn ten_thousand() -> u64 {
    10_000
}

/// One table, or a list.
#[derive(Debug)]
pub struct Tables(pub Vec<TableConfig>);

impl<'de> Deserialize<'de> for Tables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn read<T: DeserializeOwned, E: Error>(value: serde_json::Value) -> Result<T, E> {
            serde_json::from_value(value).map_err(E::custom)
        }
        let value = serde_json::Value::deserialize(deserializer)?;
        if value.is_array() { read(value).map(Self) } else { read(value).map(|table| Self(vec![table])) }
    }
}

impl JsonSchema for Tables {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tables".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = TableConfig::json_schema(generator);
        json_schema!({ "anyOf": [table, { "type": "array", "items": table, "minItems": 1 }] })
    }
}

/// One table with everything rendered.
#[derive(Debug, Clone)]
pub struct TablePlan {
    pub source: TableName,
    pub target: TableName,
    pub primary_key: Vec<String>,
    pub sync_mode: SyncMode,
    pub incremental_field: Option<String>,
    pub incremental_field_type: FieldType,
    pub incremental_nulls: IncrementalNulls,
    pub watermark: Watermark,
    pub watermark_op: WatermarkOp,
    pub lookback: Option<Length>,
    pub batch_size: u64,
    pub custom_where: Option<String>,
    pub custom_select: Option<String>,
    pub custom_count: Option<String>,
    pub count_rows: bool,
    pub empty_as_null: bool,
    pub nul_bytes: NulBytes,
    pub decimals: Decimals,
    pub timestamp_formats: Option<Vec<String>>,
    pub create_table: bool,
    pub new_columns: NewColumns,
    pub removed_columns: RemovedColumns,
    pub widen_columns: bool,
    pub narrow_columns: NarrowColumns,
    pub columns: Treatments,
    pub source_timezone: Option<String>,
    pub zero_dates: ZeroDates,
    pub max_replica_lag: Option<Length>,
    pub max_error: u32,
    pub quarantine: Option<TableName>,
    pub deletes: Deletes,
    pub verify: Vec<Verify>,
}

impl TableConfig {
    /// Finds mistakes; `place` is where the table stands in the parameters.
    pub fn check(&self, place: &str, has_key: bool, problems: &mut Problems) {
        let mut found = Problems::default();
        let zone = self.source_timezone.as_ref().and_then(written);
        treatment::check(&self.columns, has_key, zone.as_deref(), &mut found);
        self.check_names(&mut found);
        self.check_mode(&mut found);
        self.check_texts(&mut found);
        for (field, message) in found.into_items() {
            problems.add(format!("{place}{field}"), message);
        }
    }

    fn check_names(&self, problems: &mut Problems) {
        let tables = [("source", Some(&self.source)), ("target", self.target.as_ref())];
        for (name, field) in tables {
            if let Some(text) = field.and_then(written)
                && let Err(problem) = dotted::parse(&text)
            {
                problems.add(name, problem);
            }
        }
        let keys = self.primary_key.as_ref().and_then(written);
        if keys.as_ref().is_some_and(|OneOrMany(keys)| keys.is_empty() || keys.iter().any(|key| key.trim().is_empty()))
        {
            problems.add("primary_key", "primary_key names no column");
        }
        let personal = |name: &str| match self.columns.get(name) {
            Some(Treatment::Personal(personal)) => Some(*personal),
            _ => None,
        };
        if let Some(OneOrMany(keys)) = &keys
            && let Some(key) = keys.iter().find(|key| personal(key) == Some(Personal::Mask))
        {
            problems
                .add("primary_key", format!("{key} is masked, so all rows would have one key; hash keeps them apart"));
        }
        if let Some(field) = self.incremental_field.as_ref().and_then(written)
            && matches!(personal(&field), Some(Personal::Mask | Personal::Hash))
        {
            problems.add(
                "incremental_field",
                format!("{field} is masked or hashed, and then it does not say what is newer"),
            );
        }
        if let Some(Err(problem)) =
            self.quarantine.as_ref().and_then(written).map(|text| dotted::parse_beside(&text, None))
        {
            problems.add("quarantine", problem);
        }
        if self.quarantine.is_some() && self.max_error == 0 {
            problems.add("quarantine", "no row gets there while max_error is 0: say how many the target may refuse");
        }
    }

    fn check_mode(&self, problems: &mut Problems) {
        match self.sync_mode {
            SyncMode::IncrementalSync => {
                if self.primary_key.is_none() {
                    problems.add("primary_key", "incremental_sync merges by key: give primary_key");
                }
                if self.incremental_field.is_none() {
                    problems.add(
                        "incremental_field",
                        "incremental_sync needs incremental_field, the column that says when a row was changed",
                    );
                }
            }
            SyncMode::FullSync => {
                let others = [
                    ("incremental_nulls", self.incremental_nulls != IncrementalNulls::Read),
                    ("watermark", self.watermark != Watermark::FromTarget),
                    ("watermark_op", self.watermark_op != WatermarkOp::AtLeast),
                    ("lookback", self.lookback.is_some()),
                    ("deletes", self.deletes != Deletes::Keep),
                ];
                for (name, _) in others.into_iter().filter(|(_, is_there)| *is_there) {
                    problems.add(name, format!("{name} has a meaning with sync_mode: incremental_sync only"));
                }
            }
        }
        if self.batch_size == 0 {
            problems.add("batch_size", "batch_size is 0");
        }
        if self.lookback.is_some() && matches!(self.incremental_field_type, FieldType::Integer) {
            problems.add("lookback", "lookback is a length of time, and the incremental field is an integer");
        }
    }

    fn check_texts(&self, problems: &mut Problems) {
        for (name, field) in [
            ("custom_where", &self.custom_where),
            ("custom_select", &self.custom_select),
            ("custom_count", &self.custom_count),
        ] {
            if field.as_ref().and_then(written).is_some_and(|text| text.trim().is_empty()) {
                problems.add(name, format!("{name} is empty; leave it out"));
            }
        }
        for problem in self.timestamp_formats.iter().flatten().filter_map(|form| form_problem(form)) {
            problems.add("timestamp_formats", problem);
        }
        if self.timestamp_formats.as_ref().is_some_and(Vec::is_empty) {
            problems.add("timestamp_formats", "timestamp_formats lists no format; leave it out for the usual ones");
        }
    }

    pub fn rendered(&self) -> Result<TablePlan, TaskError> {
        let name = |field: &str, text: String| {
            dotted::parse(&text).map_err(|problem| TaskError::Fail(format!("parameter {field}: {problem}")))
        };
        let source = name("source", rendered_text("source", &self.source)?)?;
        let target = match &self.target {
            Some(field) => name("target", rendered_text("target", field)?)?,
            None => source.clone(),
        };
        let primary_key = match &self.primary_key {
            Some(field) => rendered::<OneOrMany>("primary_key", field)?.0,
            None => Vec::new(),
        };
        let sql = |name: &str, field: &Option<Template<String>>| -> Result<Option<String>, TaskError> {
            let text = rendered_option(name, field.as_ref())?;
            Ok(text.map(|text: String| without_end(&text).to_owned()).filter(|t| !t.is_empty()))
        };
        let is_incremental = self.sync_mode == SyncMode::IncrementalSync;
        let quarantine = rendered_option("quarantine", self.quarantine.as_ref())?
            .map(|text: String| dotted::parse_beside(&text, target.schema.as_deref()))
            .transpose()
            .map_err(|problem| TaskError::Fail(format!("parameter quarantine: {problem}")))?;
        Ok(TablePlan {
            source,
            target,
            primary_key,
            sync_mode: self.sync_mode,
            incremental_field: rendered_option("incremental_field", self.incremental_field.as_ref())?
                .filter(|_| is_incremental),
            incremental_field_type: self.incremental_field_type,
            incremental_nulls: self.incremental_nulls,
            watermark: self.watermark,
            watermark_op: self.watermark_op,
            lookback: self.lookback,
            batch_size: self.batch_size,
            custom_where: sql("custom_where", &self.custom_where)?,
            custom_select: sql("custom_select", &self.custom_select)?,
            custom_count: sql("custom_count", &self.custom_count)?,
            count_rows: self.count_rows,
            empty_as_null: self.empty_as_null,
            nul_bytes: self.nul_bytes,
            decimals: self.decimals,
            timestamp_formats: self.timestamp_formats.clone(),
            create_table: self.create_table,
            new_columns: self.new_columns,
            removed_columns: self.removed_columns,
            widen_columns: self.widen_columns,
            narrow_columns: self.narrow_columns,
            columns: self.columns.clone(),
            source_timezone: rendered_option("source_timezone", self.source_timezone.as_ref())?
                .filter(|zone: &String| !zone.is_empty()),
            zero_dates: self.zero_dates,
            max_replica_lag: self.max_replica_lag,
            max_error: self.max_error,
            quarantine,
            deletes: self.deletes,
            verify: self.verify.clone().unwrap_or_else(|| vec![Verify::Counts, Verify::Keys, Verify::Watermark]),
        })
    }
}
