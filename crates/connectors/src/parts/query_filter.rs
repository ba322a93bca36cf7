//! Which rows of a table a query picks, said so that another engine's table can be asked for the same ones.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
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

/// What has become of a column in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counterpart {
    /// It is there under this name, with the same values.
    Same(String),
    /// Under this name, and what a clock in the zone said became UTC.
    Moved(String, Tz),
    /// With other values, that were this.
    Changed(String),
    Missing,
}

/// `counterpart` says what has become of a column that the query puts out.
pub fn query_filter(
    query: &str,
    source: &dyn SqlSource,
    target: &dyn SqlSource,
    counterpart: impl Fn(&str) -> Counterpart,
) -> QueryFilter {
    let dialect: Box<dyn Dialect> =
        if source.quote("a").starts_with('`') { Box::new(MySqlDialect {}) } else { Box::new(GenericDialect {}) };
    match read(query, &*dialect) {
        Ok(select) => match &select.selection {
            None => QueryFilter::All,
            Some(condition) => {
                let names = Names { select: &select, target, counterpart: &counterpart };
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
    counterpart: &'a dyn Fn(&str) -> Counterpart,
}

impl Names<'_> {
    /// Whether two writings are the same column. In a join a name alone does not say of which table it is.
    fn is_same(&self, one: &[Ident], other: &[Ident]) -> bool {
        let alike = |(one, other): (&Ident, &Ident)| one.value.eq_ignore_ascii_case(&other.value);
        let is_one_table = matches!(self.select.from.as_slice(), [only] if only.joins.is_empty());
        let depth = if is_one_table { 1 } else { one.len().max(other.len()) };
        let (one, other) = (one.iter().rev(), other.iter().rev());
        one.len() >= depth && other.len() >= depth && one.zip(other).take(depth).all(alike)
    }

    /// Under which name the query puts the column out, and what has become of it.
    fn column(&self, parts: &[Ident]) -> Result<Counterpart, String> {
        let name = parts.last().map(|name| name.value.as_str()).unwrap_or_default();
        let is_one_table = matches!(self.select.from.as_slice(), [only] if only.joins.is_empty());
        let written = |expr: &Expr| match expr {
            Expr::Identifier(column) => self.is_same(std::slice::from_ref(column), parts),
            Expr::CompoundIdentifier(column) => self.is_same(column, parts),
            _ => false,
        };
        let put_out = self.select.projection.iter().find_map(|item| match item {
            SelectItem::UnnamedExpr(expr) if written(expr) => Some(name),
            SelectItem::ExprWithAlias { expr, alias } if written(expr) => Some(alias.value.as_str()),
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) if is_one_table => Some(name),
            _ => None,
        });
        match put_out.map(self.counterpart) {
            None | Some(Counterpart::Missing) => Err(format!("it asks for {name}, which it does not put out")),
            Some(Counterpart::Changed(how)) => Err(format!("it asks for {name}, whose values were {how}")),
            Some(there) => Ok(there),
        }
    }

    fn condition(&self, condition: &Expr) -> Result<String, String> {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        Ok(match condition {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.operand(condition, None)?,
            Expr::Value(_) | Expr::TypedString(_) => self.operand(condition, None)?,
            Expr::Nested(inner) => format!("({})", self.condition(inner)?),
            Expr::IsNull(inner) => format!("{} IS NULL", self.condition(inner)?),
            Expr::IsNotNull(inner) => format!("{} IS NOT NULL", self.condition(inner)?),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => format!("NOT ({})", self.condition(expr)?),
            Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => {
                format!("{op}{}", self.condition(expr)?)
            }
            Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                format!("{} {op} {}", self.condition(left)?, self.condition(right)?)
            }
            Expr::BinaryOp { left, op, right } if is_comparison(op) => {
                let zone = self.zone([&**left, &**right])?;
                format!("{} {op} {}", self.operand(left, zone)?, self.operand(right, zone)?)
            }
            Expr::Between { expr, negated, low, high } => {
                let zone = self.zone([&**expr, &**low, &**high])?;
                let operand = |expr| self.operand(expr, zone);
                format!("{} {}BETWEEN {} AND {}", operand(expr)?, not(*negated), operand(low)?, operand(high)?)
            }
            Expr::InList { expr, list, negated } => {
                let zone = self.zone(list.iter().chain([&**expr]))?;
                let list: Vec<String> = list.iter().map(|item| self.operand(item, zone)).collect::<Result<_, _>>()?;
                format!("{} {}IN ({})", self.operand(expr, zone)?, not(*negated), list.join(", "))
            }
            other => return Err(format!("it picks its rows by {other}")),
        })
    }

    /// The zone of the clock that one of these is compared with, where its values became UTC.
    fn zone<'e>(&self, among: impl IntoIterator<Item = &'e Expr>) -> Result<Option<Tz>, String> {
        let mut zones = Vec::new();
        for expr in among {
            let there = match expr {
                Expr::Identifier(name) => self.column(std::slice::from_ref(name))?,
                Expr::CompoundIdentifier(parts) => self.column(parts)?,
                _ => continue,
            };
            zones.push(match there {
                Counterpart::Moved(_, zone) => Some(zone),
                _ => None,
            });
        }
        if zones.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err("it compares clocks of different zones".to_owned());
        }
        Ok(zones.into_iter().next().flatten())
    }

    /// One side of a comparison. What stands beside a clock whose values became UTC becomes UTC too.
    fn operand(&self, expr: &Expr, zone: Option<Tz>) -> Result<String, String> {
        let value = match expr {
            Expr::Identifier(name) => return self.named(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(parts) => return self.named(parts),
            Expr::Value(value) => &value.value,
            Expr::TypedString(text) => &text.value.value,
            other => return self.condition(other),
        };
        match (value, zone) {
            (Value::SingleQuotedString(text) | Value::DoubleQuotedString(text), Some(zone)) => {
                let moved = in_utc(text, zone).ok_or_else(|| format!("{text} is no moment of a clock"))?;
                Ok(self.target.literal(&moved))
            }
            (Value::SingleQuotedString(text) | Value::DoubleQuotedString(text), None) => Ok(self.target.literal(text)),
            (Value::Null, _) | (Value::Number(..), None) => Ok(value.to_string()),
            (other, _) => Err(format!("it picks its rows by {other}")),
        }
    }

    fn named(&self, parts: &[Ident]) -> Result<String, String> {
        match self.column(parts)? {
            Counterpart::Same(name) | Counterpart::Moved(name, _) => Ok(self.target.quote(&name)),
            Counterpart::Changed(_) | Counterpart::Missing => Err("of a column that is not there".to_owned()),
        }
    }
}

/// What a clock in the zone showed, in UTC: the second of two moments, as the rows beside it became UTC; for what it never
/// showed the moment after the leap, which parts the rows as the clock does.
fn in_utc(text: &str, zone: Tz) -> Option<String> {
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let clock = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let clock = clock.or_else(|| Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN)))?;
    let quarter = TimeDelta::minutes(15);
    let moment = (0..=96).find_map(|leap| zone.from_local_datetime(&(clock + quarter * leap)).latest())?;
    Some(moment.naive_utc().format("%Y-%m-%d %H:%M:%S%.f").to_string())
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq)
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
        let counterpart = |name: &str| match name {
            "secret" => Counterpart::Changed("hashed".to_owned()),
            "at" => Counterpart::Moved("at".to_owned(), Tz::Europe__Stockholm),
            "gone" => Counterpart::Missing,
            name => Counterpart::Same(name.to_lowercase()),
        };
        query_filter(query, &Words('`'), &Words('"'), counterpart)
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
            ("SELECT n.id, o.id AS other FROM nps n JOIN orders o ON o.nps = n.id WHERE o.id = 1", r#""other" = 1"#),
            (
                "SELECT * FROM nps WHERE at >= '2024-03-31' AND at < '2024-03-31 02:30:00' AND id = '2024-03-31'",
                r#""at" >= '2024-03-30 23:00:00' AND "at" < '2024-03-31 01:00:00' AND "id" = '2024-03-31'"#,
            ),
            (
                "SELECT * FROM nps WHERE at >= '2024-10-27 02:00:00' AND at < '2024-10-27 02:30:00'",
                r#""at" >= '2024-10-27 01:00:00' AND "at" < '2024-10-27 01:30:00'"#,
            ),
            (
                "SELECT * FROM nps WHERE at BETWEEN '2024-07-01 12:00' AND '2024-07-02' OR at IS NULL",
                r#""at" BETWEEN '2024-07-01 10:00:00' AND '2024-07-01 22:00:00' OR "at" IS NULL"#,
            ),
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
            ("SELECT secret FROM nps WHERE secret = 1", "hashed"),
            ("SELECT gone FROM nps WHERE gone = 1", "gone"),
            ("SELECT n.id FROM nps n JOIN orders o ON o.nps = n.id WHERE o.id = 1", "does not put out"),
            ("SELECT * FROM nps n JOIN orders o ON o.nps = n.id WHERE o.id = 1", "does not put out"),
            ("SELECT * FROM nps WHERE at > 5", "picks its rows by 5"),
            ("SELECT * FROM nps WHERE at > id", "different zones"),
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
