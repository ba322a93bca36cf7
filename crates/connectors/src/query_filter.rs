//! Which rows of a table a query picks, said so that another engine's table can be asked for the same ones.

use millrace_operator_api::ports::SqlSource;
use sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, Statement, UnaryOperator, Value,
};
use sqlparser::dialect::{Dialect, GenericDialect, MySqlDialect};
use sqlparser::parser::Parser;

/// What a query's WHERE means for a copy of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryFilter {
    /// It picks all rows.
    All,
    /// It picks rows by what they hold: the condition, in the words of the other engine.
    Rows(String),
    /// It picks them by something else; this is what.
    Unknown(String),
}

/// `rename` gives the target's name of a column that the query puts out.
pub fn query_filter(
    query: &str,
    source: &dyn SqlSource,
    target: &dyn SqlSource,
    rename: impl Fn(&str) -> Option<String>,
) -> QueryFilter {
    let dialect: Box<dyn Dialect> =
        if source.quote("a").starts_with('`') { Box::new(MySqlDialect {}) } else { Box::new(GenericDialect {}) };
    match read(query, &*dialect) {
        Ok(select) => match &select.selection {
            None => QueryFilter::All,
            Some(condition) => {
                let names = Names { select: &select, target, rename: &rename };
                names.condition(condition).map_or_else(QueryFilter::Unknown, QueryFilter::Rows)
            }
        },
        Err(reason) => QueryFilter::Unknown(reason),
    }
}

/// One SELECT whose rows are rows of its tables.
fn read(query: &str, dialect: &dyn Dialect) -> Result<Select, String> {
    let mut statements = Parser::parse_sql(dialect, query).map_err(|error| error.to_string())?;
    let (Some(Statement::Query(query)), true) = (statements.pop(), statements.is_empty()) else {
        return Err("it is not one SELECT".to_owned());
    };
    let Query { with, body, limit_clause, fetch, .. } = *query;
    let SetExpr::Select(select) = *body else { return Err("it is not a plain SELECT".to_owned()) };
    let groups = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if groups || select.having.is_some() || select.distinct.is_some() || select.top.is_some() {
        return Err("it groups its rows".to_owned());
    }
    if limit_clause.is_some() || fetch.is_some() {
        return Err("it has a LIMIT".to_owned());
    }
    if with.is_some() {
        return Err("it begins with WITH".to_owned());
    }
    Ok(*select)
}

struct Names<'a> {
    select: &'a Select,
    target: &'a dyn SqlSource,
    rename: &'a dyn Fn(&str) -> Option<String>,
}

impl Names<'_> {
    /// The column under which the query puts this one out, as the target names it.
    fn column(&self, name: &Ident) -> Result<String, String> {
        let same = |other: &Ident| other.value.eq_ignore_ascii_case(&name.value);
        let put_out = self.select.projection.iter().find_map(|item| match item {
            SelectItem::UnnamedExpr(Expr::Identifier(column)) if same(column) => Some(&name.value),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) if parts.last().is_some_and(same) => {
                Some(&name.value)
            }
            SelectItem::ExprWithAlias { expr: Expr::Identifier(column), alias } if same(column) => Some(&alias.value),
            SelectItem::ExprWithAlias { expr: Expr::CompoundIdentifier(parts), alias }
                if parts.last().is_some_and(same) =>
            {
                Some(&alias.value)
            }
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => Some(&name.value),
            _ => None,
        });
        let renamed = put_out.and_then(|name| (self.rename)(name));
        let renamed = renamed.ok_or_else(|| format!("it asks for {}, which it does not put out", name.value))?;
        Ok(self.target.quote(&renamed))
    }

    fn condition(&self, condition: &Expr) -> Result<String, String> {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        Ok(match condition {
            Expr::Identifier(name) => self.column(name)?,
            Expr::CompoundIdentifier(parts) => match parts.last() {
                Some(name) => self.column(name)?,
                None => return Err(format!("of {condition}")),
            },
            Expr::Value(value) => self.value(&value.value)?,
            Expr::TypedString(text) => self.value(&text.value.value)?,
            Expr::Nested(inner) => format!("({})", self.condition(inner)?),
            Expr::IsNull(inner) => format!("{} IS NULL", self.condition(inner)?),
            Expr::IsNotNull(inner) => format!("{} IS NOT NULL", self.condition(inner)?),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => format!("NOT ({})", self.condition(expr)?),
            Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => {
                format!("{op}{}", self.condition(expr)?)
            }
            Expr::BinaryOp { left, op, right } if is_common(op) => {
                format!("{} {op} {}", self.condition(left)?, self.condition(right)?)
            }
            Expr::Between { expr, negated, low, high } => {
                let (expr, low, high) = (self.condition(expr)?, self.condition(low)?, self.condition(high)?);
                format!("{expr} {}BETWEEN {low} AND {high}", not(*negated))
            }
            Expr::InList { expr, list, negated } => {
                let list: Vec<String> = list.iter().map(|item| self.condition(item)).collect::<Result<_, _>>()?;
                format!("{} {}IN ({})", self.condition(expr)?, not(*negated), list.join(", "))
            }
            other => return Err(format!("it picks its rows by {other}")),
        })
    }

    fn value(&self, value: &Value) -> Result<String, String> {
        match value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Ok(self.target.literal(text)),
            Value::Number(..) | Value::Null => Ok(value.to_string()),
            other => Err(format!("it picks its rows by {other}")),
        }
    }
}

fn is_common(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(op, Op::And | Op::Or | Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq)
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use millrace_operator_api::PortError;
    use millrace_operator_api::ports::{RowStream, TableName};

    use super::*;

    struct Words(char);

    impl SqlSource for Words {
        fn quote(&self, name: &str) -> String {
            format!("{0}{name}{0}", self.0)
        }

        fn literal(&self, text: &str) -> String {
            format!("'{text}'")
        }

        fn table_sql(&self, table: &TableName) -> String {
            self.quote(&table.name)
        }

        fn query<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
            unreachable!("only words are asked for")
        }
    }

    fn filter(query: &str) -> QueryFilter {
        let rename = |name: &str| (name != "secret").then(|| name.to_lowercase());
        query_filter(query, &Words('`'), &Words('"'), rename)
    }

    #[test]
    fn a_window_is_said_in_the_targets_words() {
        let cases = [
            (
                "SELECT id, `created` AS created_at FROM nps n WHERE n.created >= '2024-01-01' AND created < \"2024-01-02\"",
                r#""created_at" >= '2024-01-01' AND "created_at" < '2024-01-02'"#,
            ),
            (
                "SELECT * FROM nps WHERE (score IN (1, 2) OR note IS NULL) AND id <> -1;",
                r#"("score" IN (1, 2) OR "note" IS NULL) AND "id" <> -1"#,
            ),
            ("SELECT Id FROM nps WHERE Id BETWEEN 1 AND 5", r#""id" BETWEEN 1 AND 5"#),
            ("SELECT * FROM nps WHERE d = DATE '2024-01-01'", r#""d" = '2024-01-01'"#),
        ];
        for (query, expected) in cases {
            assert_eq!(filter(query), QueryFilter::Rows(expected.to_owned()), "{query}");
        }
        assert_eq!(filter("SELECT id FROM nps ORDER BY id"), QueryFilter::All);
    }

    #[test]
    fn what_cannot_be_said_is_told() {
        let cases = [
            ("SELECT id FROM nps WHERE score > 3", "score"),
            ("SELECT secret FROM nps WHERE secret = 1", "secret"),
            ("SELECT * FROM nps WHERE id IN (SELECT id FROM t)", "IN (SELECT"),
            ("SELECT * FROM nps WHERE DATE(created) = '2024-01-01'", "DATE(created)"),
            ("SELECT * FROM nps LIMIT 5", "LIMIT"),
            ("SELECT id, COUNT(*) FROM nps GROUP BY id", "groups"),
            ("SELECT id FROM a UNION SELECT id FROM b", "plain"),
            ("SELEC id", "Expected"),
        ];
        for (query, part) in cases {
            let QueryFilter::Unknown(reason) = filter(query) else { panic!("{query}") };
            assert!(reason.contains(part), "{query}: {reason}");
        }
    }
}
