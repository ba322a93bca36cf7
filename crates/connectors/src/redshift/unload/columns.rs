//! What the columns of an unloaded query are, and whether one of their texts would be read as NULL.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{Column, TableName, UnloadRequest};

use crate::parts::failure::{data, while_doing};
use crate::parts::session::{Session, ask, read_columns, select_columns};
use crate::parts::sql;

/// Temporary, so that it is in nobody's schema.
const SHAPE: &str = "millrace_unload_shape";

/// A query, its columns, and the text that stands for NULL in the files.
pub struct Asked<'a> {
    query: &'a str,
    marker: &'a str,
    columns: Vec<Column>,
}

impl<'a> Asked<'a> {
    /// Without a marker nothing is asked: the files know NULL and their columns themselves.
    pub async fn of(session: &dyn Session, request: &'a UnloadRequest) -> Result<Self, PortError> {
        let query = request.query.as_str();
        let Some(marker) = request.null_marker.as_deref() else {
            return Ok(Self { query, marker: "", columns: Vec::new() });
        };
        let shape = TableName { schema: None, name: SHAPE.to_owned() };
        let statements = vec![
            format!("CREATE TEMP TABLE {SHAPE} AS SELECT * FROM ({query}\n) AS asked WHERE 1 = 0"),
            select_columns(&shape, session.dialect()),
            format!("DROP TABLE {SHAPE}"),
        ];
        let answers = session.run("unload-columns", statements).await.map_err(told)?;
        let columns = answers.into_iter().nth(1).map(read_columns).unwrap_or_default();
        Ok(Self { query, marker, columns })
    }

    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Those whose values may be the marker.
    fn texts(&self) -> impl Iterator<Item = &Column> {
        let is_text =
            |column: &&Column| ["char", "text", "bpchar"].iter().any(|name| column.type_name.starts_with(name));
        self.columns.iter().filter(|_| !self.marker.is_empty()).filter(is_text)
    }

    fn is_marker(&self, column: &Column) -> String {
        format!("{} = {}", sql::quote(&column.name), sql::literal(self.marker))
    }

    /// Stops what comes behind it in a transaction, by a division by zero, when a text is the marker.
    pub fn guard(&self) -> Option<String> {
        let texts: Vec<String> = self.texts().map(|column| self.is_marker(column)).collect();
        (!texts.is_empty()).then(|| {
            format!(
                "SELECT 1 / (CASE WHEN COUNT(*) = 0 THEN 1 ELSE 0 END) FROM ({}\n) AS asked WHERE {}",
                self.query,
                texts.join(" OR ")
            )
        })
    }

    /// Says which columns hold the marker, if that is why the transaction ended.
    pub async fn explain<T>(&self, session: &dyn Session, ended: Result<T, PortError>) -> Result<T, PortError> {
        let error = match ended {
            Err(error) if is_division_by_zero(&error.message) => error,
            ended => return ended,
        };
        let counts: Vec<String> =
            self.texts().map(|column| format!("COUNT(CASE WHEN {} THEN 1 END)", self.is_marker(column))).collect();
        if counts.is_empty() {
            return Err(error);
        }
        let question = format!("SELECT {} FROM ({}\n) AS asked", counts.join(", "), self.query);
        // The query may divide by zero itself: then there is no more to say than what is said.
        let Ok(answer) = ask(session, "unload-marker", question).await else { return Err(error) };
        let cells = answer.rows.into_iter().next().unwrap_or_default();
        let holding: Vec<String> = self
            .texts()
            .zip(cells)
            .filter_map(|(column, cell)| Some((column, cell.filter(|count| count != "0")?)))
            .map(|(column, count)| format!("{} ({count})", column.name))
            .collect();
        if holding.is_empty() {
            return Err(error);
        }
        Err(data(format!(
            "nothing was written: there are texts that are exactly '{}', in {}, which stands for NULL in the files, so that the two \
             could not be told apart; write null as with another text among the options, or unload as parquet",
            self.marker,
            holding.join(", ")
        )))
    }
}

fn is_division_by_zero(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    lower.contains("division by zero") || lower.contains("divide by zero")
}

fn told(error: PortError) -> PortError {
    let lower = error.message.to_ascii_lowercase();
    let hint = if lower.contains("more than once") || lower.contains("duplicate") {
        "; each column needs a name of its own: give it one by AS"
    } else if lower.contains("temporary") {
        "; they are found out by an empty temporary table, which GRANT TEMP ON DATABASE allows"
    } else {
        ""
    };
    let error = while_doing("finding out what the columns of the query are", error);
    PortError { message: format!("{}{hint}", error.message), ..error }
}
