//! The SELECT that reads a table's rows.

use millrace_operator_api::ports::SqlSource;

use super::config::{FILTER_PLACE, TablePlan};

/// What is asked of the source.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Conditions on the incremental field.
    pub window: Vec<String>,
    /// `None` reads all columns, as they come.
    pub columns: Option<Vec<String>>,
    /// Columns besides all of them.
    pub besides: Vec<String>,
    /// Without the condition of the user's.
    pub is_whole: bool,
    pub order_by: Option<String>,
    pub limit: Option<u64>,
}

impl Question {
    /// Asks for the columns only.
    pub fn nothing(besides: Vec<String>) -> Self {
        Self { window: vec!["1 = 0".to_owned()], besides, ..Self::default() }
    }

    pub fn select(&self, source: &dyn SqlSource, plan: &TablePlan) -> String {
        let (from, conditions) = self.from(source, plan);
        let is_plain =
            conditions.is_empty() && self.columns.is_none() && self.order_by.is_none() && self.limit.is_none();
        if is_plain && let From::Select(custom) = &from {
            return custom.clone();
        }
        let list = match &self.columns {
            Some(columns) => columns.iter().map(|column| source.quote(column)).collect::<Vec<_>>().join(", "),
            None => std::iter::once("*".to_owned())
                .chain(self.besides.iter().map(|column| source.quote(column)))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let mut sql = format!("SELECT {list} FROM {}{}", from.text(), narrowed(&conditions));
        if let Some(column) = &self.order_by {
            sql.push_str(&format!(" ORDER BY {}", source.quote(column)));
        }
        if let Some(limit) = self.limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        sql
    }

    /// Asks for one expression over the same rows.
    pub fn figure(&self, source: &dyn SqlSource, plan: &TablePlan, expression: &str) -> String {
        let (from, conditions) = self.from(source, plan);
        format!("SELECT {expression} FROM {}{}", from.text(), narrowed(&conditions))
    }

    fn from(&self, source: &dyn SqlSource, plan: &TablePlan) -> (From, Vec<String>) {
        let own = plan.custom_where.iter().filter(|_| !self.is_whole).map(|text| format!("(\n{text}\n)"));
        match &plan.custom_select {
            None => (From::Table(source.table_sql(&plan.source)), self.window.iter().cloned().chain(own).collect()),
            Some(custom) if custom.contains(FILTER_PLACE) => {
                let window = if self.window.is_empty() { "1 = 1".to_owned() } else { self.window.join(" AND ") };
                (From::Select(custom.replace(FILTER_PLACE, &window)), own.collect())
            }
            Some(custom) => (From::Select(custom.clone()), self.window.iter().cloned().chain(own).collect()),
        }
    }
}

enum From {
    Table(String),
    Select(String),
}

impl From {
    fn text(&self) -> String {
        match self {
            Self::Table(name) => name.clone(),
            // The newline ends a comment that the SELECT may end with.
            Self::Select(text) => format!("(\n{text}\n) AS millrace_source"),
        }
    }
}

fn narrowed(conditions: &[String]) -> String {
    if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
}
