//! What an object says about itself in its metadata: whose work wrote it, and how the rows are written in it.
//!
//! A load reads it back, so that NULL, header and column order need not be said twice and can't be said differently.

use std::collections::BTreeMap;

use millrace_operator_api::TaskContext;
use millrace_operator_api::ports::{ObjectInfo, ObjectPlace, ValueType};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::parts::files::csv::{CsvOptions, DEFAULT_NULL_MARKER};
use crate::parts::files::type_codes;
use crate::parts::reads::treatment::Personal;

const WORK: &str = "millrace-work";
const TRY: &str = "millrace-try";
const ROWS: &str = "millrace-rows";
const SHA256: &str = "millrace-sha256";
const NULL: &str = "millrace-null";
const HEADER: &str = "millrace-header";
const DELIMITER: &str = "millrace-delimiter";
const COMPRESSION: &str = "millrace-compression";
const FORMAT: &str = "millrace-format";
const MANIFEST: &str = "millrace-manifest";
const COLUMNS: &str = "millrace-columns";
const TYPES: &str = "millrace-types";
const PERSONAL: &str = "millrace-personal";
const ORIGIN: &str = "millrace-origin";

/// S3 takes 2 KB of metadata; names (and types, which come second) that don't fit beside the rest are known from the
/// writer's result, or from the list of the parts.
const COLUMNS_LIMIT: usize = 1_200;

/// Header values are ASCII and lose blanks at their ends.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b' ').add(b',');

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What a file is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Csv,
    Parquet,
}

/// How rows are written in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileShape {
    #[serde(default)]
    pub format: Format,
    pub delimiter: char,
    pub header: bool,
    pub null_marker: String,
    pub compression: Compression,
    /// In the order of the fields. Empty when they were too many for the metadata of the object.
    pub columns: Vec<String>,
    /// What the values of the columns are, in the same order. Empty where that is not known.
    #[serde(default, with = "type_codes", skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<ValueType>,
    /// Columns of the source whose values were not written as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub personal: BTreeMap<String, Personal>,
}

impl FileShape {
    /// How the rows are written, whatever they hold.
    #[must_use]
    pub fn without_columns(&self) -> Self {
        Self { columns: Vec::new(), types: Vec::new(), personal: BTreeMap::new(), ..self.clone() }
    }

    pub fn csv_options(&self) -> CsvOptions {
        CsvOptions {
            // Checked to be ASCII where it comes from.
            delimiter: u8::try_from(self.delimiter).unwrap_or(b','),
            header: self.header,
            null_marker: self.null_marker.clone(),
        }
    }

    pub fn content_type(&self) -> &'static str {
        match (self.format, self.compression) {
            (Format::Parquet, _) => "application/vnd.apache.parquet",
            (Format::Csv, Compression::None) => "text/csv",
            (Format::Csv, Compression::Gzip) => "application/gzip",
            (Format::Csv, Compression::Zstd) => "application/zstd",
        }
    }

    pub fn extension(&self) -> &'static str {
        match (self.format, self.compression) {
            (Format::Parquet, _) => ".parquet",
            (Format::Csv, Compression::None) => ".csv",
            (Format::Csv, Compression::Gzip) => ".csv.gz",
            (Format::Csv, Compression::Zstd) => ".csv.zst",
        }
    }
}

/// What the metadata of an object says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub rows: Option<u64>,
    /// `None` for an object that was not written by an operator here.
    pub shape: Option<FileShape>,
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn unescape(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// The metadata of an object that this task instance writes.
pub fn metadata(
    context: &TaskContext,
    shape: Option<&FileShape>,
    rows: Option<u64>,
    checksum: Option<&str>,
) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([
        (WORK.to_owned(), escape(&context.work.marker())),
        (TRY.to_owned(), context.try_number.to_string()),
    ]);
    let mut add = |key: &str, value: String| metadata.insert(key.to_owned(), value);
    if let Some(shape) = shape {
        add(HEADER, shape.header.to_string());
        add(DELIMITER, escape(&shape.delimiter.to_string()));
        if !shape.null_marker.is_empty() {
            add(NULL, escape(&shape.null_marker));
        }
        if shape.compression != Compression::None {
            add(COMPRESSION, shape.compression.name().to_owned());
        }
        if shape.format == Format::Parquet {
            add(FORMAT, "parquet".to_owned());
        }
        let columns = shape.columns.iter().map(|name| escape(name)).collect::<Vec<_>>().join(",");
        let types = shape.types.iter().map(type_codes::code).collect::<Vec<_>>().join(",");
        let personal: Vec<String> =
            shape.personal.iter().map(|(name, done)| format!("{}={}", escape(name), done.name())).collect();
        let personal = personal.join(",");
        if !types.is_empty() && columns.len() + personal.len() + types.len() <= COLUMNS_LIMIT {
            add(TYPES, types);
        }
        if !personal.is_empty() && columns.len() + personal.len() <= COLUMNS_LIMIT {
            add(PERSONAL, personal);
        }
        if columns.len() <= COLUMNS_LIMIT {
            add(COLUMNS, columns);
        }
    }
    if let Some(rows) = rows {
        add(ROWS, rows.to_string());
    }
    if let Some(hex) = checksum.and_then(|checksum| checksum.strip_prefix("sha256:")) {
        add(SHA256, hex.to_owned());
    }
    metadata
}

/// Says of the metadata that the object is a list of parts, which hold so many rows together.
pub fn as_manifest(metadata: &mut BTreeMap<String, String>) {
    metadata.insert(MANIFEST.to_owned(), "true".to_owned());
}

/// True when the object is a list of parts that was written by an operator here.
pub fn is_manifest(object: &ObjectInfo) -> bool {
    object.metadata.contains_key(MANIFEST)
}

/// Notes the rows of an object that does not know them itself, as its manifest says.
pub fn note_rows(object: &mut ObjectInfo, rows: u64) {
    object.metadata.entry(ROWS.to_owned()).or_insert_with(|| rows.to_string());
}

/// True when this task instance (any try of it since it was last cleared) wrote the object.
pub fn is_own(context: &TaskContext, object: &ObjectInfo) -> bool {
    object.metadata.get(WORK) == Some(&escape(&context.work.marker()))
}

/// True when this task instance wrote the object, now or before it was cleared: to clear is to say that it is done again.
pub fn is_of_instance(context: &TaskContext, object: &ObjectInfo) -> bool {
    let instance = |marker: &str| marker.rsplit_once('/').map(|(instance, _)| instance.to_owned());
    object.metadata.get(WORK).and_then(|work| instance(work)) == instance(&escape(&context.work.marker()))
}

/// The other run of this DAG that wrote the object, if one did: a fault of the key when both should have one of their own.
pub fn other_run(context: &TaskContext, object: &ObjectInfo) -> Option<String> {
    let work = unescape(object.metadata.get(WORK)?)?;
    let ours = &context.work;
    let of_dag = work.strip_prefix(&format!("{}/{}/", ours.installation, ours.dag_id))?;
    // Neither the moment behind it nor a task's name has such a sign.
    let (run_id, _) = of_dag.rsplit_once('@')?;
    (run_id != ours.run_id).then(|| run_id.to_owned())
}

/// True when this very try wrote the object.
pub fn is_of_this_try(context: &TaskContext, object: &ObjectInfo) -> bool {
    is_own(context, object) && object.metadata.get(TRY) == Some(&context.try_number.to_string())
}

/// What a copy says about the object that it was made from: a hash of its place, and its ETag.
pub fn origin(from: &ObjectInfo) -> (String, String) {
    let place = place_hash(&from.bucket, &from.key);
    let etag = from.etag.as_deref().unwrap_or_default();
    (ORIGIN.to_owned(), format!("{place}:{}", escape(etag)))
}

/// True when the object was copied from just that object.
pub fn is_copy_of(object: &ObjectInfo, from: &ObjectInfo) -> bool {
    object.metadata.get(ORIGIN) == Some(&origin(from).1)
}

/// True when the object was copied from that place.
pub fn came_from(object: &ObjectInfo, place: &ObjectPlace) -> bool {
    let hash = place_hash(&place.bucket, &place.key);
    object.metadata.get(ORIGIN).and_then(|origin| origin.split_once(':')).is_some_and(|(place, _)| place == hash)
}

/// A key may be longer than all of the metadata.
fn place_hash(bucket: &str, key: &str) -> String {
    hex::encode(&Sha256::digest(format!("{bucket}/{key}"))[..16])
}

/// `sha256:<hex>` of the object's bytes, when the writer knew it beforehand.
pub fn checksum(object: &ObjectInfo) -> Option<String> {
    object.metadata.get(SHA256).map(|hex| format!("sha256:{hex}"))
}

pub fn read(object: &ObjectInfo) -> Marks {
    let get = |key: &str| object.metadata.get(key).and_then(|text| unescape(text));
    let shape = get(HEADER).map(|header| FileShape {
        delimiter: get(DELIMITER).and_then(|text| text.chars().next()).unwrap_or(','),
        header: header == "true",
        null_marker: get(NULL).unwrap_or_default(),
        format: if get(FORMAT).as_deref() == Some("parquet") { Format::Parquet } else { Format::Csv },
        compression: get(COMPRESSION).map_or(Compression::None, |name| Compression::named(&name)),
        columns: object
            .metadata
            .get(COLUMNS)
            .map(|names| names.split(',').filter_map(unescape).collect())
            .unwrap_or_default(),
        types: object
            .metadata
            .get(TYPES)
            .map(|codes| codes.split(',').map(type_codes::read).collect())
            .unwrap_or_default(),
        personal: object
            .metadata
            .get(PERSONAL)
            .map(|columns| columns.split(',').filter_map(personal_column).collect())
            .unwrap_or_default(),
    });
    Marks { rows: get(ROWS).and_then(|text| text.parse().ok()), shape }
}

/// `name=mask`
fn personal_column(text: &str) -> Option<(String, Personal)> {
    // A name may have such a sign of its own.
    let (name, done) = text.rsplit_once('=')?;
    Some((unescape(name)?, Personal::named(done)?))
}

impl Default for FileShape {
    fn default() -> Self {
        Self {
            format: Format::Csv,
            delimiter: ',',
            header: false,
            null_marker: DEFAULT_NULL_MARKER.to_owned(),
            compression: Compression::None,
            columns: Vec::new(),
            types: Vec::new(),
            personal: BTreeMap::new(),
        }
    }
}
