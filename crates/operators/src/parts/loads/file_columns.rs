//! Which columns the fields of files are: by name wherever a name is known anywhere.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_operator_api::ports::{
    Column, CsvFormat, FileKind, LoadMethod, ObjectInfo, ObjectStore, TableName, ValueType, Warehouse,
};
use millrace_operator_api::{TaskContext, TaskError};
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::schema::types::Type;

use crate::parts::column_name::{counterpart, find, require_apart};
use crate::parts::files::mark::Marks;
use crate::parts::loads::drift::{Incoming, Settled, described, settle};
use crate::parts::loads::loading::Loading;
use crate::parts::loads::unknown_clock::{self, Mend, Pair};
use crate::parts::report::while_doing;

/// Files whose ends are read at one time.
pub const FILES_AT_ONCE: usize = 16;
/// What stands behind the metadata of a Parquet file: their length in four bytes, and `PAR1`.
const PARQUET_END: u64 = 8;
/// Far more than the metadata of a thousand columns in a thousand row groups.
const LONGEST_METADATA: u64 = 256 << 20;

/// What is known of the columns of a file, in the order of its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileColumns {
    /// Empty where they are not known.
    pub names: Vec<String>,
    /// As many, or none where they are not known.
    pub types: Vec<ValueType>,
}

impl FileColumns {
    fn new(names: &[String], types: &[ValueType]) -> Self {
        let types = if types.len() == names.len() { types.to_vec() } else { Vec::new() };
        Self { names: names.to_vec(), types }
    }
}

/// Finds the names of files' columns.
pub struct Naming<'a> {
    pub store: &'a dyn ObjectStore,
    /// As the list of the files or the task that wrote them tells, for all of them. Empty: they don't.
    pub told: &'a FileColumns,
    pub format: &'a CsvFormat,
    /// The user names the columns.
    pub are_given: bool,
}

impl Naming<'_> {
    /// For each object its columns; none for a foreign file that does not name them.
    pub async fn of(&self, objects: &[ObjectInfo], marks: &[Marks]) -> Result<Vec<FileColumns>, TaskError> {
        let found: Vec<_> = objects.iter().zip(marks).map(|(object, marks)| self.of_one(object, marks)).collect();
        stream::iter(found).buffered(FILES_AT_ONCE).try_collect().await
    }

    async fn of_one(&self, object: &ObjectInfo, marks: &Marks) -> Result<FileColumns, TaskError> {
        let told = self.told;
        match marks.shape.as_ref() {
            Some(shape) if !shape.columns.is_empty() => {
                let types =
                    if shape.types.is_empty() && told.names == shape.columns { &told.types } else { &shape.types };
                Ok(FileColumns::new(&shape.columns, types))
            }
            _ if !told.names.is_empty() => Ok(FileColumns::new(&told.names, &told.types)),
            _ if self.format.kind == FileKind::Parquet => parquet_columns(self.store, object).await,
            Some(_) if !self.are_given => Err(TaskError::Fail(format!(
                "the names of the columns of {} were too long for its metadata, and by their order alone values could land in \
                 other columns: load it by from_task, let sql_to_s3 write it in parts (split_size), or list its columns in \
                 columns",
                object.url()
            ))),
            _ => Ok(FileColumns::default()),
        }
    }
}

/// The file's own names and types, from its end.
async fn parquet_columns(store: &dyn ObjectStore, object: &ObjectInfo) -> Result<FileColumns, TaskError> {
    let attempted = format!("reading the names of the columns of {}", object.url());
    let broken = |reason: &str| TaskError::Fail(format!("{attempted}: it is no Parquet file: {reason}"));
    let end = object.size.checked_sub(PARQUET_END).ok_or_else(|| broken("it is too short"))?;
    let tail = bytes_of(store, object, end..object.size).await.map_err(|error| while_doing(&attempted, error))?;
    let length = match tail.split_first_chunk::<4>() {
        Some((length, b"PAR1")) => u64::from(u32::from_le_bytes(*length)),
        _ => return Err(broken("its last bytes are not PAR1")),
    };
    let start = end.checked_sub(length).filter(|_| length <= LONGEST_METADATA);
    let start = start.ok_or_else(|| broken("its metadata have an impossible length"))?;
    let metadata = bytes_of(store, object, start..end).await.map_err(|error| while_doing(&attempted, error))?;
    let metadata = ParquetMetaDataReader::decode_metadata(&metadata).map_err(|error| broken(&error.to_string()))?;
    let fields = metadata.file_metadata().schema().get_fields();
    Ok(FileColumns {
        names: fields.iter().map(|field| field.name().to_owned()).collect(),
        types: fields.iter().map(|field| parquet_type(field)).collect(),
    })
}

/// What the values of a foreign file's column are; [`ValueType::Other`] for what nests.
fn parquet_type(field: &Type) -> ValueType {
    if !field.is_primitive() || field.is_schema() {
        return ValueType::Other;
    }
    let decimal = |precision: i32, scale: i32| ValueType::Decimal {
        precision: u32::try_from(precision).ok(),
        scale: u32::try_from(scale).ok(),
    };
    let info = field.get_basic_info();
    if info.has_repetition() && info.repetition() == Repetition::REPEATED {
        return ValueType::Other;
    }
    match info.logical_type_ref() {
        Some(LogicalType::Integer(of)) => {
            let bits = u8::try_from(of.bit_width).unwrap_or(64);
            return ValueType::Integer { bits, signed: of.is_signed };
        }
        Some(LogicalType::Decimal(of)) => return decimal(of.precision, of.scale),
        Some(LogicalType::Date) => return ValueType::Date,
        Some(LogicalType::Time(of)) => {
            return ValueType::Time { beyond_day: false, zoned: of.is_adjusted_to_u_t_c };
        }
        Some(LogicalType::Timestamp(of)) => return ValueType::Timestamp { zoned: of.is_adjusted_to_u_t_c },
        Some(LogicalType::String | LogicalType::Enum) => return ValueType::TEXT,
        Some(LogicalType::Json) => return ValueType::Json,
        Some(LogicalType::Uuid) => return ValueType::Uuid,
        Some(LogicalType::Float16) => return ValueType::Float { bits: 32 },
        _ => {}
    }
    match field.get_physical_type() {
        PhysicalType::BOOLEAN => ValueType::Bool,
        PhysicalType::INT32 => ValueType::Integer { bits: 32, signed: true },
        PhysicalType::INT64 => ValueType::Integer { bits: 64, signed: true },
        PhysicalType::INT96 => ValueType::Timestamp { zoned: false },
        PhysicalType::FLOAT => ValueType::Float { bits: 32 },
        PhysicalType::DOUBLE => ValueType::Float { bits: 64 },
        PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY => ValueType::Bytes { max_bytes: None },
    }
}

/// Those of an object that is still what it was when it was found.
pub async fn bytes_of(
    store: &dyn ObjectStore,
    object: &ObjectInfo,
    range: std::ops::Range<u64>,
) -> Result<Bytes, TaskError> {
    let body = store.get_same(object, Some(range)).await?;
    let bytes: Vec<u8> = body
        .try_fold(Vec::new(), |mut bytes, chunk| async move {
            bytes.extend_from_slice(&chunk);
            Ok(bytes)
        })
        .await?;
    Ok(bytes.into())
}

/// By name wherever the names are known: given, or remembered by the files. `None`, all columns of the table in their
/// order, is left for foreign files that hold no names.
pub async fn choose(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    loading: &Loading,
    mut files: Vec<FileColumns>,
) -> Result<Option<Settled>, TaskError> {
    let FileColumns { names: written, types } = files.pop().unwrap_or_default();
    if let Some(other) = files.iter().find(|other| other.names != written) {
        return Err(TaskError::Fail(format!(
            "the files have different columns ({} and {}), and one load reads all files in one way; load them by two tasks",
            other.names.join(", "),
            written.join(", ")
        )));
    }
    let types = files.iter().fold(types, |types, other| common(warehouse, &types, &other.types));
    if let Some(columns) = &loading.columns {
        if !written.is_empty() && written.len() != columns.len() {
            return Err(TaskError::Fail(format!(
                "columns lists {} names, but the file has {} columns: {}",
                columns.len(),
                written.len(),
                written.join(", ")
            )));
        }
        require_apart(columns, "columns")?;
        require_keys(&loading.method, columns, &[])?;
        let types = if types.len() == columns.len() { types } else { Vec::new() };
        if unknown_clock::has_clocks(&types) {
            let table = described(warehouse, &loading.target, &[]).await?;
            require_zones(loading, &table, columns, &types)?;
        }
        return Ok(Some(Settled { columns: columns.clone(), types, ..Settled::default() }));
    }
    if written.is_empty() {
        if matches!(loading.options.format.kind, FileKind::Csv | FileKind::Delimited) {
            context.info(format!(
                "the file does not say what its columns are called: its fields go into the columns of {} in their order",
                loading.target
            ));
        }
        return Ok(None);
    }
    require_apart(&written, if loading.direct.is_some() { "the query" } else { "the file" })?;
    let incoming: Vec<Incoming> = written
        .iter()
        .enumerate()
        .map(|(index, name)| Incoming { name: name.clone(), value: types.get(index).cloned() })
        .collect();
    let table = described(warehouse, &loading.target, &incoming).await?;
    require_acquaintance(&loading.target, &written, &table)?;
    require_zones(loading, &table, &written, &types)?;
    let settled = settle(context, warehouse, (&loading.target, table), &incoming, loading.drift).await?;
    require_keys(&loading.method, &settled.columns, &settled.ignored)?;
    Ok(Some(settled))
}

/// Types that hold the values of either; none where those of one of them are not known.
fn common(warehouse: &dyn Warehouse, one: &[ValueType], other: &[ValueType]) -> Vec<ValueType> {
    if one.len() != other.len() {
        return Vec::new();
    }
    let wider = |(a, b): (&ValueType, &ValueType)| {
        if a == b || warehouse.holds(&warehouse.column_type(a), b) {
            a.clone()
        } else if warehouse.holds(&warehouse.column_type(b), a) {
            b.clone()
        } else {
            ValueType::TEXT
        }
    };
    one.iter().zip(other).map(wider).collect()
}

/// Where no name of the file is one of the table, it is the wrong file, or its order is meant: that has to be said.
fn require_acquaintance(target: &TableName, written: &[String], table: &[Column]) -> Result<(), TaskError> {
    let is_known = |name: &String| table.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    if written.iter().any(is_known) {
        return Ok(());
    }
    let of_table = table.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(TaskError::Fail(format!(
        "the file's columns ({}) do not fit table {target} ({of_table}): name them alike in the query, or list the table's \
         names in columns, in the order of the file",
        written.join(", "),
    )))
}

/// A zone for times that go into columns of moments.
fn require_zones(loading: &Loading, table: &[Column], names: &[String], types: &[ValueType]) -> Result<(), TaskError> {
    let (of_clocks, of_days) = match &loading.direct {
        Some(direct) => {
            let of_days = "in treat ({at: {timezone: Asia/Seoul}})".to_owned();
            let conn_id = &direct.query.conn_id;
            let of_all = format!("in source_timezone of the task or in the extra settings of {conn_id}");
            (format!("{of_all}, or for one column {of_days}"), of_days)
        }
        None if loading.files_in_utc => return Ok(()),
        None => {
            let here = "or here that its times are UTC (source_timezone: UTC)";
            (
                format!("where the file is written (source_timezone of that task or of its connection), {here}"),
                format!("where the file is written (columns: {{at: {{timezone: Asia/Seoul}}}}), {here}"),
            )
        }
    };
    let pairs = names.iter().zip(types).filter_map(|(name, value)| {
        let known = counterpart(table, name, names)?;
        Some(Pair { name, value, type_name: known.held_type() })
    });
    unknown_clock::refuse(&loading.target, pairs, &Mend { of_clocks: &of_clocks, of_days: &of_days })
}

fn require_keys(method: &LoadMethod, columns: &[String], ignored: &[String]) -> Result<(), TaskError> {
    let LoadMethod::Upsert { keys, order_key } = method else { return Ok(()) };
    let missing: Vec<&str> = keys
        .iter()
        .chain(order_key)
        .filter(|key| find(columns, key).is_none_or(|column| ignored.contains(column)))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        let others = columns.iter().filter(|column| !ignored.contains(column) && find(keys, column).is_none()).count();
        // The first load of all would make rows of bare keys, and no other anything.
        if others == 0 && !ignored.is_empty() {
            return Err(TaskError::Fail(format!(
                "nothing but the key ({}) would come into the table, which has none of the other columns ({}): name them \
                 alike in the query, or let them be added (schema_drift: {{added: add}})",
                keys.join(", "),
                ignored.join(", ")
            )));
        }
        return Ok(());
    }
    Err(TaskError::Fail(format!(
        "upsert needs {} in the file, whose columns are {}",
        missing.join(" and "),
        columns.join(", ")
    )))
}
