//! The table that an extract is meant for: its limits are known before anything is written.

use millrace_operator_api::ports::{Column, CsvFormat, FileKind, RowStream, SourceColumn};
use millrace_operator_api::{Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use super::fitting::{Fitting, Meets};
use crate::parts::files::mark::Format;
use crate::parts::loads::copy_options;
use crate::parts::loads::unknown_clock::{self, Mend, Pair};
use crate::parts::parameter::{OneOrMany, is_blank, rendered, rendered_option, rendered_text, written};
use crate::parts::report::{unless_cancelled, while_doing};
use crate::parts::table_name;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForTable {
    /// The connection to the warehouse.
    warehouse_conn_id: Template<String>,
    /// The table's schema. Left out: the connection's own search path.
    #[serde(default)]
    schema: Option<Template<String>>,
    /// The table's name, without schema.
    table: Template<String>,
    /// The column, or columns, by which the load tells rows apart: an error names the row by them, beside its number, and times
    /// of theirs that the source's clocks skipped are refused.
    #[serde(default)]
    key: Option<Template<OneOrMany>>,
    /// As in the task that loads the rows: what it may cut (`truncatecolumns`), round (`roundec`) or refuse by itself
    /// (`maxerror`) is no error here.
    #[serde(default)]
    copy_options: Option<Template<OneOrMany>>,
    /// Show the value in the error; otherwise only its length is.
    #[serde(default)]
    show_values: bool,
}

const ZONE_OF_ROWS: Mend<'_> = Mend {
    of_clocks: "in source_timezone of the task or in the extra settings of its connection, or for one column in columns ({at: \
                {timezone: Asia/Seoul}})",
    of_days: "in columns ({at: {timezone: Asia/Seoul}})",
};

impl ForTable {
    pub fn check(&self, problems: &mut Problems) {
        if is_blank(&self.warehouse_conn_id) {
            problems.add("for_table.warehouse_conn_id", "warehouse_conn_id is empty");
        }
        let mut of_table = Problems::default();
        table_name::check(self.schema.as_ref(), &self.table, &mut of_table);
        for (field, message) in of_table.into_items() {
            problems.add(format!("for_table.{field}"), message);
        }
        if let Some(OneOrMany(options)) = self.copy_options.as_ref().and_then(written)
            && let Err(found) = copy_options::parse(&options, true)
        {
            for problem in found {
                problems.add("for_table.copy_options", problem);
            }
        }
    }

    /// The columns by which the table tells rows apart.
    pub fn keys(&self) -> Result<Vec<String>, TaskError> {
        let keys = self.key.as_ref().map(|key| rendered("for_table.key", key)).transpose()?;
        Ok(keys.map(|OneOrMany(names)| names).unwrap_or_default())
    }

    /// The same rows, which stop at a value that the table would refuse, or not get as it is from such a file.
    pub async fn watch(
        &self,
        context: &TaskContext,
        streams: Vec<RowStream>,
        file: Format,
    ) -> Result<Vec<RowStream>, TaskError> {
        let conn_id = rendered_text("for_table.warehouse_conn_id", &self.warehouse_conn_id)?;
        let target = table_name::rendered(self.schema.as_ref(), &self.table)?;
        let options = rendered_option("for_table.copy_options", self.copy_options.as_ref())?;
        let mut format = match options {
            Some(OneOrMany(options)) => {
                copy_options::parse(&options, true)
                    .map_err(|problems| {
                        TaskError::Fail(format!("parameter for_table.copy_options: {}", problems.join("; ")))
                    })?
                    .format
            }
            None => CsvFormat::default(),
        };
        if file == Format::Parquet {
            format.kind = FileKind::Parquet;
        }
        if format.max_error > 0 {
            context
                .info(format!("{target} may refuse {} rows (maxerror): they are told by the load", format.max_error));
            return Ok(streams);
        }
        let keys = self.keys()?;
        let warehouse = context.ports.warehouse(context, &conn_id).await?;
        let known = unless_cancelled(context, async { Ok(warehouse.describe(&target).await?) })
            .await
            .map_err(|error| while_doing(&format!("for_table: looking at {target} of {conn_id}"), error))?;
        if let Some(rows) = streams.first() {
            let pairs = rows.columns.iter().filter_map(|column| {
                let known = meeting(&known, column)?;
                Some(Pair { name: &column.name, value: &column.value, type_name: known.held_type() })
            });
            unknown_clock::refuse(&target, pairs, &ZONE_OF_ROWS)?;
        }
        let mut is_looked_at = false;
        let streams = streams
            .into_iter()
            .map(|rows| {
                let met: Vec<Option<&Column>> = rows.columns.iter().map(|column| meeting(&known, column)).collect();
                let types: Vec<Option<String>> =
                    met.iter().map(|met| Some(met.as_ref()?.held_type().to_owned())).collect();
                let required: Vec<bool> = met.iter().map(|met| met.is_some_and(|met| !met.is_nullable)).collect();
                let meets = Meets {
                    target: Some(&target),
                    columns: &rows.columns,
                    types: &types,
                    required: &required,
                    keys: &keys,
                    format: &format,
                    show_values: self.show_values,
                };
                match Fitting::new(warehouse.as_ref(), &meets) {
                    Some(fitting) => {
                        is_looked_at = true;
                        fitting.watch(rows)
                    }
                    None => rows,
                }
            })
            .collect();
        context.info(if is_looked_at {
            format!("values are held against the columns of {target} ({conn_id}) before they are written")
        } else {
            format!("the columns of {target} ({conn_id}) have no limits to be looked at before the load")
        });
        Ok(streams)
    }
}

fn meeting<'a>(known: &'a [Column], column: &SourceColumn) -> Option<&'a Column> {
    let same = known.iter().find(|other| other.name == column.name);
    same.or_else(|| known.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)))
}
