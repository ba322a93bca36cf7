//! The parameters that `copy` and `upsert` have in common.

use millrace_operator_api::ports::LoadMethod;
use millrace_operator_api::{Problems, TaskContext, TaskError};
use millrace_template::Template;

use super::copy_options;
use super::handover::WrittenObject;
use super::loading::Loading;
use super::parameter::{OneOrMany, is_blank, rendered, rendered_option, rendered_text, written};
use super::table_name;

/// Borrowed from an operator's struct, which is what the user's file is read into.
pub struct Target<'a> {
    pub warehouse_conn_id: &'a Template<String>,
    pub aws_conn_id: &'a Template<String>,
    pub s3_bucket: Option<&'a Template<String>>,
    pub s3_key: Option<&'a Template<String>>,
    pub from_task: Option<&'a Template<String>>,
    pub prefix: bool,
    pub schema: Option<&'a Template<String>>,
    pub table: &'a Template<String>,
    pub columns: Option<&'a Template<Vec<String>>>,
    pub copy_options: &'a Template<OneOrMany>,
}

impl Target<'_> {
    pub fn check(&self, problems: &mut Problems) {
        let places = [("s3_bucket", self.s3_bucket), ("s3_key", self.s3_key)];
        for (name, field) in
            [("warehouse_conn_id", Some(self.warehouse_conn_id)), ("aws_conn_id", Some(self.aws_conn_id))]
                .into_iter()
                .chain(places)
        {
            if field.is_some_and(is_blank) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        match self.from_task {
            Some(_) if self.prefix => {
                problems.add("prefix", "from_task names one object; prefix has no meaning with it");
            }
            Some(_) => {
                for (name, field) in places {
                    if field.is_some() {
                        problems.add(name, format!("from_task gives the object; leave {name} out"));
                    }
                }
            }
            None => {
                for (name, field) in places {
                    if field.is_none() {
                        problems.add(name, format!("{name} is missing (or from_task, the task that wrote the object)"));
                    }
                }
            }
        }
        table_name::check(self.schema, self.table, problems);
        if let Some(columns) = self.columns.and_then(written) {
            for problem in name_problems(&columns) {
                problems.add("columns", problem);
            }
        }
        let (texts, is_whole) = written_options(self.copy_options);
        if let Err(found) = copy_options::parse(&texts, is_whole) {
            for problem in found {
                problems.add("copy_options", problem);
            }
        }
    }

    pub fn check_keys(keys: &Template<OneOrMany>, order_key: Option<&Template<String>>, problems: &mut Problems) {
        if let Some(OneOrMany(keys)) = written(keys) {
            for problem in name_problems(&keys) {
                problems.add("upsert_keys", problem);
            }
            if order_key.and_then(written).is_some_and(|order| keys.contains(&order)) {
                problems.add(
                    "order_key",
                    "rows with one key have one value of it, so a key column can't choose among them",
                );
            }
        }
        if order_key.is_some_and(is_blank) {
            problems.add("order_key", "order_key is empty");
        }
    }

    pub fn rendered_upsert(
        keys: &Template<OneOrMany>,
        order_key: Option<&Template<String>>,
    ) -> Result<LoadMethod, TaskError> {
        let OneOrMany(keys) = rendered("upsert_keys", keys)?;
        if let Some(problem) = name_problems(&keys).into_iter().next() {
            return Err(TaskError::Fail(format!("parameter upsert_keys: {problem}")));
        }
        let order_key = order_key.map(|field| rendered_text("order_key", field)).transpose()?;
        Ok(LoadMethod::Upsert { keys, order_key })
    }

    pub async fn rendered(&self, context: &TaskContext, method: LoadMethod) -> Result<Loading, TaskError> {
        let OneOrMany(options) = rendered("copy_options", self.copy_options)?;
        let options = copy_options::parse(&options, true)
            .map_err(|problems| TaskError::Fail(format!("parameter copy_options: {}", problems.join("; "))))?;
        let columns = rendered_option("columns", self.columns)?;
        if let Some(problem) = columns.as_deref().and_then(|names| name_problems(names).into_iter().next()) {
            return Err(TaskError::Fail(format!("parameter columns: {problem}")));
        }
        let (bucket, key, expected_rows) = match (self.from_task, self.s3_bucket, self.s3_key) {
            (Some(task), _, _) => {
                let object = WrittenObject::pull(context, &rendered_text("from_task", task)?).await?;
                (object.bucket, object.key, object.rows)
            }
            (None, Some(bucket), Some(key)) => {
                (rendered_text("s3_bucket", bucket)?, rendered_text("s3_key", key)?, None)
            }
            _ => return Err(TaskError::Fail("s3_bucket and s3_key, or from_task, are missing".to_owned())),
        };
        Ok(Loading {
            warehouse_conn_id: rendered_text("warehouse_conn_id", self.warehouse_conn_id)?,
            aws_conn_id: rendered_text("aws_conn_id", self.aws_conn_id)?,
            bucket,
            key,
            is_prefix: self.prefix,
            target: table_name::rendered(self.schema, self.table)?,
            columns,
            method,
            options,
            expected_rows,
        })
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
