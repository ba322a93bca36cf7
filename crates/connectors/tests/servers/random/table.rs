//! A random table in a source, beside it what its copy should come to, and changes to both.

use anyhow::Result;

use super::dice::Dice;
use super::plain::Form;
use super::sorts::{Sort, quoted};
use crate::copies::databases::{Database, Kind};

/// Korean, reserved, with blanks and quotes.
const NAMES: &[&str] = &[
    "주문",
    "select",
    "order",
    "a b",
    "a,b",
    "it's",
    "a\"b",
    "a`b",
    "100%",
    "\\N",
    "$1",
    "{{ x }}",
    "누적 금액 (원)",
    "group",
    "user",
    "c",
];
const TABLES: &[&str] = &["주문", "order", "table", "t", "누적 t"];
const KEYS: &[&str] = &["id", "아이디", "primary"];
const CODES: &[&str] = &["", "a", "A", "주문", "\\N", "x,y", "NULL"];

/// Rows that one statement writes.
const MOST_ROWS: u64 = 40;

pub struct Table {
    pub name: String,
    /// What the target's table should hold, in the source.
    pub expected: String,
    pub keys: Vec<String>,
    pub columns: Vec<(String, Sort)>,
    schema: String,
    next_id: u64,
}

pub const VERSION: &str = "version";
const CODE: &str = "code";

impl Table {
    /// Made in the source, and empty.
    pub async fn make(dice: &mut Dice, seed: u64, source: &Database, target: Kind) -> Result<Self> {
        let columns = (0..=dice.below(11))
            .map(|number| (format!("{}{number}", dice.one_of(NAMES)), Sort::any(dice, source.kind, target)))
            .collect();
        let mut keys = vec![dice.one_of(KEYS).to_owned()];
        if dice.is_one_in(2) {
            keys.push(CODE.to_owned());
        }
        let name = format!("{}{seed}", dice.one_of(TABLES));
        let expected = format!("{name} expected");
        let table = Self { name, expected, keys, columns, schema: source.schema.clone(), next_id: 0 };
        for name in [&table.name, &table.expected] {
            source.run(&table.ddl(source, name)).await?;
        }
        Ok(table)
    }

    fn ddl(&self, source: &Database, name: &str) -> String {
        let code = match source.kind {
            // Texts that differ are different keys.
            Kind::Maria => "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
            _ => "varchar(20)",
        };
        let columns: Vec<String> =
            self.columns.iter().map(|(name, sort)| format!("{} {}", source.quoted(name), sort.ddl)).collect();
        let keys: Vec<String> = self.keys.iter().map(|key| source.quoted(key)).collect();
        format!(
            "CREATE TABLE {} ({} bigint NOT NULL, {CODE} {code} NOT NULL, {VERSION} int, {}, PRIMARY KEY ({}))",
            source.quoted(name),
            source.quoted(&self.keys[0]),
            columns.join(", "),
            keys.join(", ")
        )
    }

    /// Of all columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [self.keys[0].as_str(), CODE, VERSION].into_iter().chain(self.columns.iter().map(|(name, _)| name.as_str()))
    }

    pub fn forms(&self) -> impl Iterator<Item = Form> {
        [Form::Number, Form::Text, Form::Number].into_iter().chain(self.columns.iter().map(|(_, sort)| sort.form))
    }

    pub fn query(&self, source: &Database) -> String {
        format!("SELECT * FROM {}", source.quoted(&self.name))
    }

    /// As `table_copy` and `Comparison` name it.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub async fn empty(&self, source: &Database) -> Result<()> {
        source.run(&format!("DELETE FROM {}", source.quoted(&self.name))).await
    }

    /// Adds random rows: of ids that nobody had, or from the first one.
    pub async fn fill(&mut self, dice: &mut Dice, source: &Database, are_new: bool, version: u64) -> Result<()> {
        let count = if dice.is_one_in(8) { 0 } else { 1 + dice.below(MOST_ROWS) };
        let first = if are_new { self.next_id } else { 0 };
        let step = 1 + dice.below(2);
        let mut rows = Vec::new();
        for number in 0..count {
            let id = first + number * step;
            self.next_id = self.next_id.max(id + 1);
            let of_row = if dice.is_one_in(5) { "NULL".to_owned() } else { (version + dice.below(100)).to_string() };
            // With a key of two columns an id may come twice.
            let codes = if self.keys.len() == 2 { 1 + usize::try_from(dice.below(2))? } else { 1 };
            let first_code = usize::try_from(dice.below(CODES.len() as u64))?;
            for code in 0..codes {
                let code = CODES[(first_code + code) % CODES.len()];
                let cells: Vec<String> = self.columns.iter().map(|(_, sort)| sort.value(dice, source.kind)).collect();
                rows.push(format!("({id}, {}, {of_row}, {})", quoted(code, source.kind), cells.join(", ")));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        source.run(&format!("INSERT INTO {} VALUES {}", source.quoted(&self.name), rows.join(", "))).await
    }

    /// What is expected once the rows that are there now were moved by this method.
    pub async fn expect(&self, source: &Database, method: Method) -> Result<()> {
        let (name, expected) = (source.quoted(&self.name), source.quoted(&self.expected));
        let same: Vec<String> =
            self.keys.iter().map(|key| format!("{name}.{key} = {expected}.{key}", key = source.quoted(key))).collect();
        let same = same.join(" AND ");
        let delete = match method {
            Method::Append => None,
            Method::Replace | Method::Swap => Some(String::new()),
            Method::Upsert => Some(format!(" WHERE EXISTS (SELECT 1 FROM {name} WHERE {same})")),
            Method::UpsertNewest => Some(format!(
                " WHERE EXISTS (SELECT 1 FROM {name} WHERE {same} AND COALESCE({name}.{VERSION}, -1) >= \
                 COALESCE({expected}.{VERSION}, -1))"
            )),
        };
        if let Some(condition) = delete {
            source.run(&format!("DELETE FROM {expected}{condition}")).await?;
        }
        source
            .run(&format!(
                "INSERT INTO {expected} SELECT * FROM {name} WHERE NOT EXISTS (SELECT 1 FROM {expected} WHERE {same})"
            ))
            .await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Append,
    Replace,
    Swap,
    Upsert,
    UpsertNewest,
}
