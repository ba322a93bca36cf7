//! The SQL of a load into Redshift, for every transport. Pure.
//!
//! COPY goes into a staging table first, because DELETE and COPY in one transaction would hold the target's lock for the
//! whole COPY; then one short transaction takes the lock, looks at the marker, moves the rows by name, leaves the marker
//! and drops the staging table. TRUNCATE is never used, because it commits.

use millrace_operator_api::connection::Extra;
use millrace_operator_api::ports::{Column, CsvFormat, FileKind, LoadMethod, TableName, ValueType};
use serde_json::json;

use crate::parts::ddl;
use crate::parts::dialect::Dialect;
use crate::parts::doubles;
use crate::parts::room;
use crate::parts::session::{guard_marker, insert_marker};
use crate::parts::sql::{self, keys_not_null, list, list_of, quote, table};
use crate::parts::upsert::{SEQUENCE, TextOrder, count_late, delete_gone, has_no_value, which_is_gone};
use crate::redshift::blanks::Blanks;
use crate::redshift::limits::Limit;

/// Digits of the longest DECIMAL; one of them stands before the point.
const MOST_DIGITS: usize = 38;
/// Columns that one statement looks at.
const COLUMNS_AT_ONCE: usize = 100;

/// A load, as far as its SQL is concerned.
pub struct LoadPlan<'a> {
    pub target: &'a TableName,
    /// All columns of the table.
    pub table_columns: &'a [Column],
    /// Those of the rows that the table takes.
    pub columns: &'a [String],
    /// All that the rows have, in their order.
    pub fields: &'a [String],
    /// What their values are; empty where that is not known.
    pub types: &'a [ValueType],
    pub method: &'a LoadMethod,
    pub format: &'a CsvFormat,
    /// `None` when rows are inserted without files.
    pub copy: Option<CopyFrom<'a>>,
    pub marker: &'a str,
    /// Which rows go before others come: see `LoadRequest`.
    pub gone: &'a [String],
    /// Statements for the short transaction, after the rows.
    pub also: &'a [String],
    /// Rows below it are counted where they are new or newer: see `LoadRequest`.
    pub late_before: Option<&'a str>,
    /// See `LoadRequest`.
    pub null_is_newest: bool,
    /// Columns of which no two rows may have the same values.
    pub unique_by: &'a [String],
    /// The target itself takes the rows as they come.
    pub is_own_table: bool,
    /// Names the staging table: the same for every try of the work, so that a later try finds what an earlier one left.
    pub hash: &'a str,
}

/// What COPY reads.
pub struct CopyFrom<'a> {
    /// `s3://bucket/key` of the manifest.
    pub manifest_url: &'a str,
    pub credentials: &'a str,
    /// For files that their writer encrypted.
    pub symmetric_key: Option<&'a str>,
    pub region: Option<&'a str>,
}

/// Numbers of the statements of [`LoadPlan::stage`] that say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// How many rows are staged.
    pub rows: usize,
    /// Which query the COPY was.
    pub copy_id: usize,
    /// How many keys come in several rows of which none is the best.
    pub ties: Option<usize>,
    /// A key that names several rows.
    pub doubles: Option<usize>,
}

/// Number of the statement in [`LoadPlan::publish`] whose one cell counts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub inserted: Option<usize>,
    pub updated: Option<usize>,
    /// Of several these count together.
    pub deleted: Vec<usize>,
    pub late: Option<usize>,
}

const LONGEST_TEXT: &str = "varchar(65535)";

/// Whether an option of COPY was asked for that is nothing but its name.
pub fn has_option(format: &CsvFormat, name: &str) -> bool {
    format.other.iter().any(|option| option == name)
}

/// Of an option that only the target itself takes.
const OF_TARGET: [&str; 2] = ["EXPLICIT_IDS", "NOLOAD"];

/// A number that the file has in fewer bits than the table: it is staged as it is there.
fn is_widened(value: &ValueType, type_name: &str) -> bool {
    let limit = Limit::of(type_name);
    let is_number = match value {
        ValueType::Integer { .. } | ValueType::Bit { .. } | ValueType::Year => {
            matches!(limit, Limit::Integer { .. } | Limit::Decimal { .. })
        }
        ValueType::Float { bits: 32 } => matches!(limit, Limit::Float { .. }),
        _ => false,
    };
    is_number && room::holds(type_name, value, Dialect::Redshift)
}

/// The type of a column that is staged and passed over.
fn of_file(value: &ValueType) -> String {
    match value {
        ValueType::Integer { .. }
        | ValueType::Bit { .. }
        | ValueType::Year
        | ValueType::Decimal { .. }
        | ValueType::Money
        | ValueType::Float { .. }
        | ValueType::Bool
        | ValueType::Bytes { .. }
        | ValueType::Date
        | ValueType::Time { beyond_day: false, zoned: false }
        | ValueType::Timestamp { .. } => ddl::redshift(value),
        // Texts in the file, whatever they are in the source.
        _ => LONGEST_TEXT.to_owned(),
    }
}

impl LoadPlan<'_> {
    pub fn staging(&self) -> TableName {
        if self.is_own_table {
            return self.target.clone();
        }
        sql::beside(self.target, &format!("millrace_staging_{}", self.hash))
    }

    fn has_sequence(&self) -> bool {
        matches!(self.method, LoadMethod::Upsert { .. })
    }

    /// Makes and fills the staging table by COPY, and counts its rows. Touches no table but its own.
    pub fn stage(&self, from: &CopyFrom<'_>) -> (Vec<String>, Stage) {
        let mut statements = self.create_staging();
        // A columnar file has as many columns as its table, so that none can be numbered beside them.
        let raw = (self.is_columnar() && self.has_sequence())
            .then(|| table(&sql::beside(self.target, &format!("millrace_staging_{}_raw", self.hash))));
        match &raw {
            None => statements.push(self.copy(&table(&self.staging()), from)),
            Some(raw) => {
                let fields = list(self.fields);
                let definitions: Vec<String> = self.fields.iter().map(|name| self.definition(name)).collect();
                statements.push(format!("DROP TABLE IF EXISTS {raw}"));
                statements.push(format!("CREATE TABLE {raw} ({})", definitions.join(", ")));
                statements.push(self.copy(raw, from));
                let staging = table(&self.staging());
                statements.push(format!("INSERT INTO {staging} ({fields}) SELECT {fields} FROM {raw}"));
                statements.push(format!("DROP TABLE {raw}"));
            }
        }
        let mut places = Stage { rows: statements.len(), copy_id: statements.len() + 1, ties: None, doubles: None };
        statements.push(self.count_staged());
        statements.push("SELECT pg_last_copy_id()".to_owned());
        if let Some(find) = self.find_doubles() {
            places.doubles = Some(statements.len());
            statements.push(find);
        }
        if let Some(count) = self.count_ties() {
            places.ties = Some(statements.len());
            statements.push(count);
        }
        statements.extend(self.keep_best_incoming());
        (statements, places)
    }

    fn is_columnar(&self) -> bool {
        match &self.format.kind {
            FileKind::Parquet => true,
            FileKind::Other(name) => name.starts_with("ORC"),
            FileKind::Csv | FileKind::Delimited => false,
        }
    }

    pub fn create_staging(&self) -> Vec<String> {
        if self.is_own_table {
            return Vec::new();
        }
        let staging = table(&self.staging());
        // A row of staging has what the files have; inserted rows have what the table takes.
        let names = if self.copy.is_some() { self.fields } else { self.columns };
        let mut definitions: Vec<String> = names.iter().map(|name| self.definition(name)).collect();
        if self.has_sequence() {
            // COPY numbers the rows itself; inserted ones bring their number.
            let identity = if self.copy.is_some() { " IDENTITY(1,1)" } else { "" };
            definitions.push(format!("{} bigint{identity}", quote(SEQUENCE)));
        }
        vec![format!("DROP TABLE IF EXISTS {staging}"), format!("CREATE TABLE {staging} ({})", definitions.join(", "))]
    }

    fn definition(&self, name: &String) -> String {
        match self.table_columns.iter().find(|column| column.name == *name && self.columns.contains(name)) {
            Some(column) => {
                let not_null = if column.is_nullable { "" } else { " NOT NULL" };
                let narrower = self.type_in_file(name).filter(|value| is_widened(value, &column.type_name));
                let type_name = match narrower {
                    Some(value) => ddl::redshift(value),
                    None => self.roomier(column).unwrap_or_else(|| declared(&column.type_name).to_owned()),
                };
                format!("{} {type_name}{not_null}", quote(name))
            }
            None => {
                format!("{} {}", quote(name), self.type_in_file(name).map_or_else(|| LONGEST_TEXT.to_owned(), of_file))
            }
        }
    }

    /// What a column of a file is that has types of its own: COPY widens nothing.
    fn type_in_file(&self, name: &String) -> Option<&ValueType> {
        let at = self.fields.iter().position(|field| field == name)?;
        self.types.get(at).filter(|_| self.copy.is_some() && self.is_columnar())
    }

    /// COPY cuts digits behind the point without a word: they are staged in as many as there can be, and looked at there.
    /// `None` for a column that needs no such room, or a file whose types must be those of the table.
    fn roomier(&self, column: &Column) -> Option<String> {
        let Limit::Decimal { precision, scale } = Limit::of(&column.type_name) else { return None };
        if self.copy.is_none() || self.is_columnar() || self.format.may_round() {
            return None;
        }
        let room = (MOST_DIGITS - precision.saturating_sub(scale)).min(MOST_DIGITS - 1);
        (room > scale).then(|| format!("decimal({MOST_DIGITS},{room})"))
    }

    /// For some columns each a statement that answers with a value of each of them that would be cut, or NULL.
    pub fn look_for_cuts(&self) -> Vec<(Vec<&Column>, String)> {
        let is_taken = |column: &&Column| self.columns.contains(&column.name) && self.roomier(column).is_some();
        let columns: Vec<&Column> = self.table_columns.iter().filter(is_taken).collect();
        let look = |columns: &[&Column]| {
            let cells: Vec<String> = columns
                .iter()
                .map(|column| {
                    let name = quote(&column.name);
                    format!("MAX(CASE WHEN {name} <> CAST({name} AS {}) THEN {name} END)", declared(&column.type_name))
                })
                .collect();
            format!("SELECT {} FROM {}", cells.join(", "), table(&self.staging()))
        };
        columns.chunks(COLUMNS_AT_ONCE).map(|columns| (columns.to_vec(), look(columns))).collect()
    }

    /// Asks whether a text column that an upsert goes by is in the order of its numbers.
    pub fn look_at_order(&self) -> Option<String> {
        let LoadMethod::Upsert { keys, order_key: Some(order_key) } = self.method else { return None };
        let column = self.table_columns.iter().find(|column| column.name == *order_key)?;
        if !matches!(Limit::of(&column.type_name), Limit::Varchar(_) | Limit::Char(_)) {
            return None;
        }
        let (target, staging) = (table(self.target), table(&self.staging()));
        Some(TextOrder { target: &target, staging: &staging, keys, order_key, collation: "" }.objections())
    }

    pub fn count_staged(&self) -> String {
        format!("SELECT COUNT(*) FROM {}", table(&self.staging()))
    }

    pub fn find_doubles(&self) -> Option<String> {
        let told_apart = self.blanks().told_apart("", self.unique_by);
        (!self.unique_by.is_empty()).then(|| doubles::find(&table(&self.staging()), self.unique_by, &told_apart))
    }

    fn blanks(&self) -> Blanks<'_> {
        Blanks(self.table_columns)
    }

    /// COPY reads side by side and numbers the rows as it likes: of different rows with one key and one order key the last
    /// one of the files can't be told any more. Rows that are the same in everything may well come twice.
    pub fn count_ties(&self) -> Option<String> {
        let LoadMethod::Upsert { keys, order_key } = self.method else { return None };
        if keys == self.unique_by {
            return None;
        }
        let (staging, keys_listed) = (table(&self.staging()), list(keys));
        let told_apart = self.blanks().told_apart("", keys);
        let typed = |name: &String| self.table_columns.iter().find(|column| column.name == *name);
        let can_compare =
            self.columns.iter().all(|name| typed(name).is_none_or(|column| is_comparable(&column.type_name)));
        let lengths = self.blanks().lengths("s.", self.columns, keys).filter(|_| can_compare);
        let rows = format!(
            "SELECT {}{}{} FROM {staging} AS s WHERE {}",
            if can_compare { "DISTINCT " } else { "" },
            list_of("s", self.columns),
            lengths.map(|lengths| format!(", {lengths} AS millrace_lengths")).unwrap_or_default(),
            keys_not_null("s", keys)
        );
        let best = order_key.as_ref().map_or_else(
            || rows.clone(),
            |order| {
                format!(
                    "SELECT {keys_listed} FROM (SELECT {keys_listed}, RANK() OVER (PARTITION BY {told_apart} ORDER BY {} DESC \
                     NULLS LAST) AS millrace_rank FROM ({rows}) AS d) AS r WHERE millrace_rank = 1",
                    quote(order)
                )
            },
        );
        Some(format!(
            "SELECT COUNT(*) FROM (SELECT {keys_listed} FROM ({best}) AS b GROUP BY {told_apart} HAVING COUNT(*) > 1) AS t"
        ))
    }

    /// One incoming row for each key, for an upsert. Rows with a NULL in their key equal no other row and all stay.
    pub fn keep_best_incoming(&self) -> Option<String> {
        let LoadMethod::Upsert { keys, order_key } = self.method else { return None };
        if keys == self.unique_by {
            return None;
        }
        let order = order_key.as_ref().map(|key| format!("{} DESC NULLS LAST, ", quote(key))).unwrap_or_default();
        Some(format!(
            "DELETE FROM {staging} WHERE {seq} IN (SELECT {seq} FROM (SELECT {seq}, ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY \
             {order}{seq} DESC) AS millrace_rank FROM {staging} AS s WHERE {complete}) AS ranked WHERE millrace_rank > 1)",
            staging = table(&self.staging()),
            seq = quote(SEQUENCE),
            keys = self.blanks().told_apart("", keys),
            complete = keys_not_null("s", keys),
        ))
    }

    fn copy(&self, into: &str, from: &CopyFrom<'_>) -> String {
        let is_columnar = self.is_columnar();
        // Columnar files go by order and take no list.
        let columns = if is_columnar { String::new() } else { format!(" ({})", list(self.fields)) };
        let mut parts = vec![
            format!("COPY {into}{columns}"),
            format!("FROM {}", escaped(from.manifest_url)),
            from.credentials.to_owned(),
            "MANIFEST".to_owned(),
        ];
        if let Some(key) = from.symmetric_key.filter(|_| self.format.other.iter().any(|option| option == "ENCRYPTED")) {
            parts.push(format!("MASTER_SYMMETRIC_KEY {}", escaped(key)));
        }
        if let Some(region) = from.region.filter(|_| !is_columnar) {
            parts.push(format!("REGION {}", escaped(region)));
        }
        let format = self.format;
        match &format.kind {
            FileKind::Csv => parts.push("CSV".to_owned()),
            FileKind::Parquet => parts.push("FORMAT AS PARQUET".to_owned()),
            FileKind::Delimited => {}
            FileKind::Other(name) => parts.push(name.clone()),
        }
        if let Some(quote) = format.quote.filter(|quote| *quote != '"') {
            parts.push(format!("QUOTE AS {}", escaped(&quote.to_string())));
        }
        if let Some(delimiter) = format.delimiter.filter(|delimiter| *delimiter != ',' || format.kind != FileKind::Csv)
        {
            parts.push(format!("DELIMITER {}", escaped(&delimiter.to_string())));
        }
        if format.ignore_header > 0 {
            parts.push(format!("IGNOREHEADER {}", format.ignore_header));
        }
        if let Some(null) = &format.null_as {
            parts.push(format!("NULL AS {}", escaped(null)));
        }
        let flags = [
            (format.empty_as_null, "EMPTYASNULL"),
            (format.blanks_as_null, "BLANKSASNULL"),
            (format.gzip, "GZIP"),
            (format.zstd, "ZSTD"),
            (format.truncate_columns, "TRUNCATECOLUMNS"),
            (format.accept_inv_chars, "ACCEPTINVCHARS"),
        ];
        parts.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word.to_owned()));
        if format.max_error > 0 {
            parts.push(format!("MAXERROR {}", format.max_error));
        }
        if let Some(date) = &format.date_format {
            parts.push(format!("DATEFORMAT {}", escaped(date)));
        }
        if let Some(time) = &format.time_format {
            parts.push(format!("TIMEFORMAT {}", escaped(time)));
        }
        let defaults: &[(&str, &str)] = if is_columnar {
            &[("STATUPDATE", "STATUPDATE OFF")]
        } else {
            &[("COMPUPDATE", "COMPUPDATE OFF"), ("STATUPDATE", "STATUPDATE OFF")]
        };
        for (word, default) in defaults {
            // For a table that lives for one load neither is worth its time.
            if !format.other.iter().any(|option| option.to_ascii_uppercase().starts_with(word)) {
                parts.push((*default).to_owned());
            }
        }
        let is_own = into == table(self.target);
        parts.extend(format.other.iter().filter(|option| is_own || !OF_TARGET.contains(&option.as_str())).cloned());
        parts.join(" ")
    }

    /// A COPY into the target itself.
    pub fn copy_straight(&self, from: &CopyFrom<'_>) -> String {
        self.copy(&table(self.target), from)
    }

    /// The short transaction.
    pub fn publish(&self) -> (Vec<String>, Counts) {
        let (target, staging) = (table(self.target), table(&self.staging()));
        let mut statements = vec![format!("LOCK TABLE {target}"), guard_marker(self.target, self.marker)];
        let mut counts = Counts::default();
        let rows = format!("COUNT(*) FROM {staging}");
        match self.method {
            LoadMethod::Append | LoadMethod::Replace | LoadMethod::Swap => {
                if *self.method != LoadMethod::Append {
                    counts.deleted.push(statements.len());
                    statements.push(format!("SELECT COUNT(*) FROM {target}"));
                    statements.push(format!("DELETE FROM {target}"));
                }
                match self.copy.as_ref().filter(|_| has_option(self.format, "EXPLICIT_IDS")) {
                    // The staged rows were looked at; those of the table come from the same files.
                    Some(from) => {
                        statements.push(self.copy_straight(from));
                        counts.inserted = Some(statements.len());
                        statements.push("SELECT pg_last_copy_count()".to_owned());
                    }
                    None => {
                        counts.inserted = Some(statements.len());
                        statements.push(format!("SELECT {rows}"));
                        let columns = list(self.columns);
                        statements.push(format!("INSERT INTO {target} ({columns}) SELECT {columns} FROM {staging}"));
                    }
                }
            }
            LoadMethod::Upsert { keys, order_key } => {
                let same = self.blanks().same(&target, "i", keys);
                for condition in self.gone {
                    counts.deleted.push(statements.len());
                    let gone = which_is_gone(condition, &staging, &same);
                    statements.push(format!("SELECT COUNT(*) FROM {target} WHERE {gone}"));
                    statements.push(delete_gone(&target, condition, &staging, &same));
                }
                self.merge(keys, order_key.as_ref(), &mut statements, &mut counts);
            }
        }
        statements.extend_from_slice(self.also);
        statements.push(insert_marker(Dialect::Redshift, self.target, self.marker, &rows));
        statements.push(format!("DROP TABLE {staging}"));
        (statements, counts)
    }

    /// Redshift has neither row addresses nor ON CONFLICT, and its MERGE refuses double keys in the target. Of several
    /// existing rows with one key the one with the highest order key stays: they are taken out, and it is put back (with a
    /// new value in an identity column, which takes no other). Then the rows that are there are updated in place, unless
    /// they are newer than the incoming one (NULL is lowest, a tie goes to the incoming), and the others are inserted.
    /// Columns that the files do not have keep their values.
    fn merge(&self, keys: &[String], order_key: Option<&String>, statements: &mut Vec<String>, counts: &mut Counts) {
        let (target, staging, blanks) = (table(self.target), table(&self.staging()), self.blanks());
        let doubles = quote(&format!("millrace_doubles_{}", self.hash));
        let others = self.table_columns.iter().filter(|column| !is_identity(column)).map(|column| column.name.clone());
        let all: Vec<String> =
            self.columns.iter().cloned().chain(others.filter(|name| !self.columns.contains(name))).collect();
        let order = order_key.map_or_else(|| list_of("t", keys), |key| format!("t.{} DESC NULLS LAST", quote(key)));
        statements.push(format!(
            "CREATE TEMP TABLE {doubles} AS SELECT {0} FROM (SELECT {1}, ROW_NUMBER() OVER (PARTITION BY {2} ORDER BY {order}) \
             AS millrace_rank, COUNT(*) OVER (PARTITION BY {2}) AS millrace_rows FROM {target} AS t WHERE EXISTS \
             (SELECT 1 FROM {staging} AS i WHERE {3})) AS e WHERE millrace_rank = 1 AND millrace_rows > 1",
            list(&all),
            list_of("t", &all),
            blanks.told_apart("t.", keys),
            blanks.same("i", "t", keys),
        ));
        statements.push(format!("DELETE FROM {target} USING {doubles} WHERE {}", blanks.same(&target, &doubles, keys)));
        statements.push(format!("INSERT INTO {target} ({0}) SELECT {0} FROM {doubles}", list(&all)));
        statements.push(format!("DROP TABLE {doubles}"));
        if let (Some(before), Some(key)) = (self.late_before, order_key.map(|key| quote(key))) {
            counts.late = Some(statements.len());
            let told_apart = (blanks.told_apart("s.", keys), blanks.same("t", "s", keys));
            statements.push(count_late(&target, &staging, &told_apart, (&key, &sql::literal(before))));
        }
        let mut is_updated = blanks.same(&target, "i", keys);
        if let Some(key) = order_key.map(|key| quote(key)) {
            let is_newer = if self.null_is_newest {
                format!("{target}.{key} IS NOT NULL AND NOT {} AND {target}.{key} > i.{key}", has_no_value("i", &key))
            } else {
                format!("{target}.{key} IS NOT NULL AND (i.{key} IS NULL OR {target}.{key} > i.{key})")
            };
            is_updated.push_str(&format!(" AND NOT ({is_newer})"));
        }
        let is_new = format!("NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {})", blanks.same("t", "i", keys));
        counts.updated = Some(statements.len());
        statements.push(format!("SELECT COUNT(*) FROM {target}, {staging} AS i WHERE {is_updated}"));
        counts.inserted = Some(statements.len());
        statements.push(format!("SELECT COUNT(*) FROM {staging} AS i WHERE {is_new}"));
        let values: Vec<String> = self.columns.iter().map(|column| format!("{0} = i.{0}", quote(column))).collect();
        // In several statements where one would be too long: whichever columns went before, the same rows are updated.
        for values in pieces(&values) {
            statements.push(format!("UPDATE {target} SET {values} FROM {staging} AS i WHERE {is_updated}"));
        }
        statements.push(format!(
            "INSERT INTO {target} ({}) SELECT {} FROM {staging} AS i WHERE {is_new}",
            list(self.columns),
            list_of("i", self.columns)
        ));
    }

    pub fn drop_staging(&self) -> String {
        format!("DROP TABLE IF EXISTS {}", table(&self.staging()))
    }
}

/// With commas between, each of a length that leaves room for the rest of its statement.
fn pieces(values: &[String]) -> Vec<String> {
    const LONGEST: usize = 80_000;
    let mut pieces: Vec<String> = Vec::new();
    for value in values {
        match pieces.last_mut() {
            Some(piece) if piece.len() + value.len() < LONGEST => {
                piece.push_str(", ");
                piece.push_str(value);
            }
            _ => pieces.push(value.clone()),
        }
    }
    pieces
}

/// Its values are the table's own.
pub fn is_identity(column: &Column) -> bool {
    column.default.as_deref().is_some_and(|text| text.to_ascii_lowercase().contains("identity"))
}

/// Whether DISTINCT compares such values; what is not known to be comparable is not.
fn is_comparable(type_name: &str) -> bool {
    let kinds = ["super", "json", "varbyte", "binary varying", "bytea", "geometry", "geography", "hllsketch"];
    !kinds.iter().any(|kind| type_name.to_ascii_lowercase().starts_with(kind))
}

/// The catalogue speaks PostgreSQL where that has a type of the kind; CREATE TABLE does not.
pub fn declared(type_name: &str) -> &str {
    match type_name {
        "bytea" => "varbyte(16777216)",
        "jsonb" => "super",
        other => other,
    }
}

/// Names exactly these objects, all of which must be there.
pub fn manifest<'a>(objects: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let entries: Vec<serde_json::Value> = objects
        .into_iter()
        .map(|(url, size)| json!({"url": url, "mandatory": true, "meta": {"content_length": size}}))
        .collect();
    json!({ "entries": entries }).to_string()
}

/// `IAM_ROLE '…'`, or keys, or the cluster's default role.
pub fn copy_credentials(extra: &Extra) -> String {
    for name in ["iam_role", "role_arn", "aws_iam_role"] {
        if let Some(role) = extra.text(name) {
            return if role.eq_ignore_ascii_case("default") {
                "IAM_ROLE default".to_owned()
            } else {
                format!("IAM_ROLE {}", escaped(role))
            };
        }
    }
    if let (Some(key), Some(secret)) = (extra.text("aws_access_key_id"), extra.text("aws_secret_access_key")) {
        let token = extra.text("aws_session_token").map(|token| format!(";token={token}")).unwrap_or_default();
        return format!(
            "CREDENTIALS {}",
            escaped(&format!("aws_access_key_id={key};aws_secret_access_key={secret}{token}"))
        );
    }
    "IAM_ROLE default".to_owned()
}

/// A literal of COPY and UNLOAD, where a backslash escapes.
pub fn escaped(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests;
