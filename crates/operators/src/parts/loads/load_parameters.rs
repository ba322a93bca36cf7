//! The parameters of a load: those of `copy`, and of `upsert`, `replace` and `swap`, which are `copy` by one method.

mod delete_missing;

use millrace_operator_api::ports::LoadMethod;
use millrace_operator_api::{Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::parts::copying::dotted;
use crate::parts::loads::copy_options;
use crate::parts::loads::drift::{Added, SchemaDrift, Widened};
use crate::parts::loads::handover::WrittenObject;
use crate::parts::loads::loading::{Direct, Handed, Loading, Query};
use crate::parts::one_select::without_end;
use crate::parts::parameter::{OneOrMany, aws_default, is_blank, rendered, rendered_option, rendered_text, written};
use crate::parts::reads::treatment::{self, Treatments, ZeroDates};
use crate::parts::table_name;
use delete_missing::DeleteMissing;

/// Other names of parameters, the same for operators that load.
pub const ALIASES: &[(&str, &str)] = &[
    ("primary_key", "upsert_keys"),
    ("redshift_conn_id", "warehouse_conn_id"),
    ("column_list", "columns"),
    ("mysql_conn_id", "sql_conn_id"),
    ("postgres_conn_id", "sql_conn_id"),
    ("sql", "query"),
];

/// The same for operators that know no keys: all but the first.
pub const ALIASES_WITHOUT_KEYS: &[(&str, &str)] = ALIASES.split_at(1).1;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadParameters {
    /// The connection to the warehouse.
    warehouse_conn_id: Template<String>,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
    /// The bucket of the objects. Left out with `from_task`.
    #[serde(default)]
    s3_bucket: Option<Template<String>>,
    /// The object's key, exactly: a file, or with `manifest` in `copy_options` (or when `sql_to_s3` wrote parts) the list
    /// of the files; with `prefix` the beginning of keys. Left out with `from_task`.
    #[serde(default)]
    s3_key: Option<Template<String>>,
    /// The task with `sql_to_s3`, `upload` or `unload` that wrote the object: gives bucket and key, and how it is written; the
    /// rows it wrote must be the rows that are read.
    #[serde(default)]
    from_task: Option<Template<String>>,
    /// Instead of an object: the connection whose rows go straight into the table, without S3. For small tables.
    #[serde(default)]
    sql_conn_id: Option<Template<String>>,
    /// With `sql_conn_id`: one SELECT. Its columns go by name, and clocks without a zone are read in the connection's (extra:
    /// `source_timezone`).
    #[serde(default)]
    query: Option<Template<String>>,
    /// With `sql_conn_id`, what becomes of dates with a zero for year, month or day (MySQL's `0000-00-00`): `error`, `null`,
    /// `keep`.
    #[serde(default)]
    zero_dates: ZeroDates,
    /// With `sql_conn_id`, what is done with a column before anything else sees it: `mask`, `hash`, `drop`, or
    /// `{timezone: Asia/Seoul}`, as in `columns` of `sql_to_s3`.
    #[serde(default)]
    treat: Treatments,
    /// With `sql_conn_id`, the connection, of any type, whose password is the key of `hash`.
    #[serde(default)]
    hash_conn_id: Option<Template<String>>,
    /// With `sql_conn_id`, the zone of every timestamp without one that `treat` does not name. Left out: what the connection
    /// says (extra: `source_timezone`), or else such timestamps stay as they are, and a column of moments (`timestamptz`) is
    /// refused them. With files only `UTC`: their timestamps and texts without a zone, and days, are UTC.
    #[serde(default)]
    source_timezone: Option<Template<String>>,
    /// Load every object whose key begins with `s3_key`.
    #[serde(default)]
    prefix: bool,
    /// The table's schema. Left out: the connection's own search path.
    #[serde(default)]
    schema: Option<Template<String>>,
    /// The table's name, without schema.
    table: Template<String>,
    /// The names of the table's columns, in the file's order. Left out: the names that the file remembers (a Parquet file
    /// always does), or else, for a foreign CSV file, all columns of the table in their order; a header with the same names in
    /// another order (`ignoreheader 1`) is refused, but for `bzip2` and `lzop`, into which only Redshift sees.
    #[serde(default)]
    columns: Option<Template<Vec<String>>>,
    /// `append` (default of `copy`), `replace`, `swap` or `upsert`.
    #[serde(default)]
    method: Option<Method>,
    /// `true` means `method: replace`.
    #[serde(default)]
    truncate_table: Option<bool>,
    /// The key by which `upsert` finds equal rows: a column or a list of columns.
    #[serde(default)]
    upsert_keys: Option<Template<OneOrMany>>,
    /// The column by which `upsert` chooses among rows with one key: the highest stays, NULL is lowest.
    #[serde(default)]
    order_key: Option<Template<String>>,
    /// Which of them stays: `desc`, the highest, always; it need not be said.
    #[serde(default)]
    order: Option<Order>,
    /// With `upsert`: rows that the source has no more are deleted. All keys of the source are read by
    /// `query` (the columns of `upsert_keys`, in their order) over `sql_conn_id`; rows of the table that were there before
    /// and have a key that is not among them go. Keys that the extract hashed or moved to UTC need its `columns`,
    /// `hash_conn_id` and `source_timezone` here, too. Only for a table that no other source fills. They go after the load. Where
    /// PostgreSQL or SQLite holds the table to a unique rule besides that on the keys (an e-mail that a new account has again),
    /// the keys are read before the load too, and what is gone by then goes in its transaction, before its rows come in; not where
    /// none of the keys is known yet, and not where more would happen with such a row than that it goes (a trigger, a reference
    /// with `ON DELETE CASCADE` or a deferred one).
    #[serde(default)]
    delete_missing: Option<DeleteMissing>,
    /// Options of COPY: `csv`, `parquet`, `gzip`, `ignoreheader 1`, `delimiter ';'`, `null as '\N'`, `emptyasnull`,
    /// `maxerror 10`, …. `noload` has Redshift check the files, and loads nothing. `explicit_ids` keeps the values of the rows for an
    /// IDENTITY column of Redshift, with `append` and `replace`; the files are read twice then. `fillrecord` fills rows
    /// that are too short: '' in columns of text, NULL in others.
    #[serde(default = "csv")]
    copy_options: Template<OneOrMany>,
    /// What is done when the columns that the file names are not those of the table. By default a column that the table
    /// does not have is passed over, with a warning.
    #[serde(default)]
    schema_drift: SchemaDrift,
    /// The table that rows go to which cannot be taken, as many as `maxerror` allows: with file, line, column, value, reason
    /// and the whole row. `table` in the target's schema, or `schema.table`; it is made when it is missing. On PostgreSQL and
    /// SQLite a row counts as one of them, too, that a CHECK, NOT NULL, a unique key (not that of the upsert, which finds the row
    /// to update) or a reference from or to another table refuses: of two rows that cannot both be there the first one stays.
    /// What a trigger or a deferred rule says ends the load, and so does any rule of a table that refers to itself or has a key
    /// that can be deferred. A refused row is as one that did not come: of several rows with one key the next best goes in; each that
    /// is refused counts.
    #[serde(default)]
    quarantine: Option<Template<String>>,
    /// NUL bytes in texts, which PostgreSQL and Redshift cannot hold: `refuse` (default) the row, or `remove` them. Files
    /// that Redshift reads by COPY cannot have them removed.
    #[serde(default)]
    nul_bytes: NulBytes,
    /// Show values of refused rows in logs and messages; otherwise only their lengths, and keys that are whole numbers or days.
    #[serde(default)]
    show_values: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    Append,
    Replace,
    Swap,
    Upsert,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Swap => "swap",
            Self::Upsert => "upsert",
        }
    }

    /// Parameters that mean nothing to it.
    fn refused(self) -> &'static [&'static str] {
        match self {
            Self::Append => &["upsert_keys", "order_key", "order", "delete_missing", "truncate_table"],
            Self::Replace => &["upsert_keys", "order_key", "order", "delete_missing"],
            Self::Swap => &["upsert_keys", "order_key", "order", "delete_missing", "truncate_table"],
            Self::Upsert => &["truncate_table"],
        }
    }
}

/// With the lowest first, an old row would overwrite a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    Desc,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NulBytes {
    #[default]
    Refuse,
    Remove,
}

/// Takes what the operator of this one method refuses out of its schema, so that nobody is offered it.
pub fn of_method(method: Method) -> impl FnMut(&mut Schema) {
    let refused = method.refused();
    move |schema| {
        let Some(properties) = schema.get_mut("properties").and_then(|all| all.as_object_mut()) else { return };
        properties.retain(|name, _| !refused.contains(&name.as_str()));
        let description = format!("What this operator does anyway: `{}`.", method.name());
        properties.insert(
            "method".to_owned(),
            json!({"type": ["string", "null"], "enum": [method.name(), null], "description": description}),
        );
        if method == Method::Upsert
            && let Some(required) = schema.get_mut("required").and_then(|names| names.as_array_mut())
        {
            required.push(json!("upsert_keys"));
        }
    }
}

/// The one zone that can be said of files.
const UTC: &str = "UTC";

fn zone_of_files(zone: &str) -> String {
    format!(
        "files are loaded as they are, and their times are not moved from {zone}: the task that wrote the file does that \
         (its source_timezone); UTC says that they are UTC already"
    )
}

fn csv() -> Template<OneOrMany> {
    "csv".into()
}

impl LoadParameters {
    /// `only` is the one method of an operator that has one.
    fn method(&self, only: Option<Method>) -> Method {
        match (only, self.method, self.truncate_table) {
            (Some(method), ..) | (None, Some(method), _) => method,
            (None, None, Some(true)) => Method::Replace,
            (None, None, _) => Method::Append,
        }
    }

    pub fn check(&self, only: Option<Method>, problems: &mut Problems) {
        self.check_place(problems);
        self.check_method(only, problems);
        table_name::check(self.schema.as_ref(), &self.table, problems);
        if let Some(columns) = self.columns.as_ref().and_then(written) {
            for problem in name_problems(&columns) {
                problems.add("columns", problem);
            }
        }
        if self.quarantine.as_ref().is_some_and(is_blank) {
            problems.add("quarantine", "quarantine is empty");
        } else if let Some(Err(problem)) =
            self.quarantine.as_ref().and_then(written).map(|text| dotted::parse_beside(&text, None))
        {
            problems.add("quarantine", problem);
        }
        let (texts, is_whole) = written_options(&self.copy_options);
        match copy_options::parse(&texts, is_whole) {
            Err(found) => {
                for problem in found {
                    problems.add("copy_options", problem);
                }
            }
            Ok(options) => {
                if options.is_manifest && self.prefix {
                    problems.add("prefix", "a manifest names its objects; prefix has no meaning with it");
                }
                if copy_options::loads_nothing(&options.format) {
                    self.check_noload(problems);
                }
                if self.quarantine.is_some() && is_whole && options.format.max_error == 0 {
                    problems.add(
                        "quarantine",
                        "no row may be refused, so none would go to the quarantine; add maxerror to copy_options",
                    );
                }
            }
        }
    }

    /// What would change something all the same, or needs files.
    fn check_noload(&self, problems: &mut Problems) {
        let changes = self.schema_drift.added == Added::Add || self.schema_drift.widened == Widened::Widen;
        let others = [
            ("delete_missing", self.delete_missing.is_some()),
            ("schema_drift", changes),
            ("quarantine", self.quarantine.is_some()),
        ];
        for (name, _) in others.iter().filter(|(_, is_there)| *is_there) {
            problems.add(*name, format!("noload checks the files and changes nothing; leave {name} out"));
        }
        if self.query.is_some() {
            problems.add("copy_options", "noload checks files, and the rows come straight from sql_conn_id");
        }
    }

    fn check_place(&self, problems: &mut Problems) {
        let places = [("s3_bucket", self.s3_bucket.as_ref()), ("s3_key", self.s3_key.as_ref())];
        let direct = [("sql_conn_id", self.sql_conn_id.as_ref()), ("query", self.query.as_ref())];
        let connections =
            [("warehouse_conn_id", Some(&self.warehouse_conn_id)), ("aws_conn_id", Some(&self.aws_conn_id))];
        for (name, field) in connections.into_iter().chain(places).chain(direct) {
            if field.is_some_and(is_blank) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if direct.iter().any(|(_, field)| field.is_some()) {
            self.check_treatment(problems);
            for (name, _) in direct.iter().filter(|(_, field)| field.is_none()) {
                problems.add(*name, format!("{name} is missing: sql_conn_id and query are needed together"));
            }
            let others = [("from_task", self.from_task.is_some()), ("prefix", self.prefix)];
            let others = others.into_iter().chain(places.iter().map(|(name, field)| (*name, field.is_some())));
            for (name, _) in others.filter(|(_, is_there)| *is_there) {
                problems.add(name, format!("rows come straight from sql_conn_id; leave {name} out"));
            }
            return;
        }
        let of_rows = [
            ("zero_dates", self.zero_dates != ZeroDates::Error),
            ("treat", !self.treat.is_empty()),
            ("hash_conn_id", self.hash_conn_id.is_some()),
        ];
        for (name, _) in of_rows.iter().filter(|(_, is_there)| *is_there) {
            let there = if *name == "treat" { "columns" } else { name };
            problems.add(
                *name,
                format!("{name} has a meaning with sql_conn_id only; the task that wrote the file has it, as {there}"),
            );
        }
        if let Some(zone) = self.source_timezone.as_ref().and_then(written)
            && zone != UTC
        {
            problems.add("source_timezone", zone_of_files(&zone));
        }
        match &self.from_task {
            Some(_) if self.prefix => {
                problems.add("prefix", "from_task names one object; prefix has no meaning with it");
            }
            Some(_) => {
                for (name, _) in places.iter().filter(|(_, field)| field.is_some()) {
                    problems.add(*name, format!("from_task gives the object; leave {name} out"));
                }
            }
            None => {
                for (name, _) in places.iter().filter(|(_, field)| field.is_none()) {
                    problems.add(
                        *name,
                        format!(
                            "{name} is missing (or from_task, the task that wrote the object; or sql_conn_id and query, for \
                             rows without an object)"
                        ),
                    );
                }
            }
        }
    }

    fn check_treatment(&self, problems: &mut Problems) {
        let mut found = Problems::default();
        let zone = self.source_timezone.as_ref().and_then(written);
        treatment::check(&self.treat, self.hash_conn_id.is_some(), zone.as_deref(), &mut found);
        for (name, problem) in found.into_items() {
            problems.add(name.replacen("columns.", "treat.", 1), problem);
        }
    }

    fn check_method(&self, only: Option<Method>, problems: &mut Problems) {
        let method = self.method(only);
        if let Some(only) = only
            && self.method.is_some_and(|given| given != only)
        {
            problems
                .add("method", format!("this operator is the method {0}; leave method out, or use copy", only.name()));
        }
        for name in method.refused() {
            let (is_there, mend) = match *name {
                "truncate_table" => (
                    self.truncate_table == Some(true),
                    "truncate_table: true means method: replace, but the method is another one; keep one".to_owned(),
                ),
                key => (
                    match key {
                        "upsert_keys" => self.upsert_keys.is_some(),
                        "order_key" => self.order_key.is_some(),
                        "order" => self.order.is_some(),
                        _ => self.delete_missing.is_some(),
                    },
                    format!(
                        "{key} has a meaning for an upsert only: write operator: upsert, or method: upsert with copy"
                    ),
                ),
            };
            if is_there {
                problems.add(*name, mend);
            }
        }
        if method == Method::Upsert {
            match &self.upsert_keys {
                None => {
                    problems.add("upsert_keys", "an upsert needs upsert_keys, the columns by which rows are equal");
                }
                Some(keys) => check_keys(keys, self.order_key.as_ref(), problems),
            }
            if self.order.is_some() && self.order_key.is_none() {
                problems.add("order", "order says which row of a key stays by its order_key, which is missing");
            }
            if let Some(missing) = &self.delete_missing {
                missing.check(self.upsert_keys.as_ref(), problems);
            }
        }
    }

    /// Everything rendered.
    pub async fn rendered(&self, only: Option<Method>, context: &TaskContext) -> Result<Loading, TaskError> {
        let OneOrMany(options) = rendered("copy_options", &self.copy_options)?;
        let mut options = copy_options::parse(&options, true)
            .map_err(|problems| TaskError::Fail(format!("parameter copy_options: {}", problems.join("; "))))?;
        options.format.remove_nul = self.nul_bytes == NulBytes::Remove;
        let columns = rendered_option("columns", self.columns.as_ref())?;
        if let Some(problem) = columns.as_deref().and_then(|names| name_problems(names).into_iter().next()) {
            return Err(TaskError::Fail(format!("parameter columns: {problem}")));
        }
        let method = match self.method(only) {
            Method::Append => LoadMethod::Append,
            Method::Replace => LoadMethod::Replace,
            Method::Swap => LoadMethod::Swap,
            Method::Upsert => self.rendered_upsert()?,
        };
        let zone: Option<String> =
            rendered_option("source_timezone", self.source_timezone.as_ref())?.filter(|zone: &String| !zone.is_empty());
        let direct = self.rendered_direct(zone.clone())?;
        if let (None, Some(zone)) = (&direct, zone.as_deref().filter(|zone| *zone != UTC)) {
            return Err(TaskError::Fail(format!("parameter source_timezone: {}", zone_of_files(zone))));
        }
        let (bucket, key, handed) = match &direct {
            None => self.rendered_place(context).await?,
            Some(_) => (String::new(), String::new(), None),
        };
        let written = handed.as_ref().and_then(|handed| handed.options.as_ref());
        options.is_manifest |= written.is_some_and(|written| written.is_manifest);
        let delete_missing = self.delete_missing.as_ref().map(DeleteMissing::rendered).transpose()?;
        let target = table_name::rendered(self.schema.as_ref(), &self.table)?;
        let quarantine = rendered_option("quarantine", self.quarantine.as_ref())?
            .map(|text: String| dotted::parse_beside(&text, target.schema.as_deref()))
            .transpose()
            .map_err(|problem| TaskError::Fail(format!("parameter quarantine: {problem}")))?;
        Ok(Loading {
            warehouse_conn_id: rendered_text("warehouse_conn_id", &self.warehouse_conn_id)?,
            aws_conn_id: rendered_text("aws_conn_id", &self.aws_conn_id)?,
            bucket,
            key,
            is_prefix: self.prefix,
            quarantine,
            target,
            columns,
            method,
            options,
            drift: self.schema_drift,
            show_values: self.show_values,
            files_in_utc: zone.is_some(),
            handed,
            direct,
            delete_missing,
        })
    }

    fn rendered_direct(&self, source_timezone: Option<String>) -> Result<Option<Direct>, TaskError> {
        let (Some(conn_id), Some(query)) = (&self.sql_conn_id, &self.query) else { return Ok(None) };
        let text = rendered_text("query", query)?;
        let query = Query { conn_id: rendered_text("sql_conn_id", conn_id)?, query: without_end(&text).to_owned() };
        Ok(Some(Direct {
            query,
            zero_dates: self.zero_dates,
            treatments: self.treat.clone(),
            hash_conn_id: rendered_option("hash_conn_id", self.hash_conn_id.as_ref())?,
            source_timezone,
        }))
    }

    async fn rendered_place(&self, context: &TaskContext) -> Result<(String, String, Option<Handed>), TaskError> {
        match (&self.from_task, &self.s3_bucket, &self.s3_key) {
            (Some(task), _, _) => {
                let task = rendered_text("from_task", task)?;
                let handed = handed(WrittenObject::pull(context, &task).await?, task)?;
                Ok((handed.object.bucket.clone(), handed.object.key.clone(), Some(handed)))
            }
            (None, Some(bucket), Some(key)) => {
                Ok((rendered_text("s3_bucket", bucket)?, rendered_text("s3_key", key)?, None))
            }
            _ => Err(TaskError::Fail("s3_bucket and s3_key, or from_task, are missing".to_owned())),
        }
    }

    fn rendered_upsert(&self) -> Result<LoadMethod, TaskError> {
        let Some(keys) = &self.upsert_keys else {
            return Err(TaskError::Fail("an upsert needs upsert_keys".to_owned()));
        };
        let OneOrMany(keys) = rendered("upsert_keys", keys)?;
        if let Some(problem) = name_problems(&keys).into_iter().next() {
            return Err(TaskError::Fail(format!("parameter upsert_keys: {problem}")));
        }
        let order_key = self.order_key.as_ref().map(|field| rendered_text("order_key", field)).transpose()?;
        Ok(LoadMethod::Upsert { keys, order_key })
    }
}

fn handed(object: WrittenObject, task: String) -> Result<Handed, TaskError> {
    if object.copy_options.is_empty() {
        return Ok(Handed { task, object, options: None });
    }
    let options = copy_options::parse(&object.copy_options, true).map_err(|problems| {
        TaskError::Fail(format!("from_task: the result of task '{task}': {}", problems.join("; ")))
    })?;
    match object.parts {
        Some(parts) if !options.is_manifest => Err(TaskError::Fail(format!(
            "from_task: task '{task}' wrote {parts} objects, whose keys begin with {}, and no list of them; add manifest to its \
             unload_options",
            object.url
        ))),
        _ => Ok(Handed { task, object, options: Some(options) }),
    }
}

fn check_keys(keys: &Template<OneOrMany>, order_key: Option<&Template<String>>, problems: &mut Problems) {
    if let Some(OneOrMany(keys)) = written(keys) {
        for problem in name_problems(&keys) {
            problems.add("upsert_keys", problem);
        }
        if order_key.and_then(written).is_some_and(|order| keys.contains(&order)) {
            problems
                .add("order_key", "rows with one key have one value of it, so a key column can't choose among them");
        }
    }
    if order_key.is_some_and(is_blank) {
        problems.add("order_key", "order_key is empty");
    }
}

/// The options that hold no template, and whether these are all.
fn written_options(field: &Template<OneOrMany>) -> (Vec<String>, bool) {
    if let Some(OneOrMany(texts)) = written(field) {
        return (texts, true);
    }
    let is_plain = |text: &&str| !text.contains("{{") && !text.contains("{%");
    let items = field.raw().as_array().map(Vec::as_slice).unwrap_or_default();
    (items.iter().filter_map(|item| item.as_str()).filter(is_plain).map(str::to_owned).collect(), false)
}

fn name_problems(names: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    if names.is_empty() || names.iter().any(|name| name.trim().is_empty()) {
        problems.push("names of columns are wanted, and one is empty".to_owned());
    }
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            problems.push(format!("column {name} stands there twice"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{ALIASES_WITHOUT_KEYS, Method};

    #[test]
    fn operators_without_keys_have_no_other_name_for_them() {
        for method in [Method::Append, Method::Replace, Method::Swap] {
            let refused = method.refused();
            assert!(ALIASES_WITHOUT_KEYS.iter().all(|(_, name)| !refused.contains(name)), "{}", method.name());
        }
        assert_eq!(ALIASES_WITHOUT_KEYS.len() + 1, super::ALIASES.len());
    }
}
