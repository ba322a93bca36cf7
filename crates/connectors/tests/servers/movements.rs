//! Random tables by way of S3: every source into every warehouse, as CSV, gzip, zstd and Parquet, by every method. After
//! each load the table equals what it should be, value by value.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use millrace_operator_api::entry::find;
use millrace_operator_api::ports::{NewColumn, Ports, TableName};
use millrace_operator_api::{Problems, TaskError};
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::world::{World, work};

/// A small generator of numbers; the seed is in every message.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[usize::try_from(self.below(items.len() as u64)).unwrap_or(0)]
    }

    fn digits(&mut self, count: u64) -> String {
        (0..count).map(|_| char::from(b'0' + u8::try_from(self.below(10)).unwrap_or(0))).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Small,
    Big,
    Unsigned,
    Decimal,
    Double,
    Real,
    Text,
    Choice,
    Bytes,
    Day,
    Moment,
    Zoned,
    Clock,
    Length,
    Flag,
    Document,
    Uuid,
    Bits,
    List,
    Span,
}

/// Those that every source has.
const COMMON: [Column; 9] = [
    Column::Small,
    Column::Big,
    Column::Double,
    Column::Text,
    Column::Bytes,
    Column::Day,
    Column::Moment,
    Column::Flag,
    Column::Clock,
];
const OF_MARIA: [Column; 6] =
    [Column::Unsigned, Column::Decimal, Column::Choice, Column::Length, Column::Document, Column::Uuid];
const OF_POSTGRES: [Column; 9] = [
    Column::Decimal,
    Column::Real,
    Column::Choice,
    Column::Zoned,
    Column::Document,
    Column::Uuid,
    Column::Bits,
    Column::List,
    Column::Span,
];

const PIECES: [&str; 15] =
    ["", " ", "a", "\\", "\\N", "''", "\"", ",", "\n", "\r\n", "\t", "한글", "😀", "NULL", "<null>"];

impl Column {
    fn any(dice: &mut Dice, kind: Kind) -> Self {
        let own: &[Self] = match kind {
            Kind::Maria => &OF_MARIA,
            Kind::Postgres => &OF_POSTGRES,
            Kind::Lite | Kind::Redshift => &[],
        };
        let number = usize::try_from(dice.below((COMMON.len() + own.len()) as u64)).unwrap_or(0);
        COMMON.iter().chain(own).nth(number).copied().unwrap_or(Self::Text)
    }

    fn ddl(self, kind: Kind) -> &'static str {
        let is_maria = kind == Kind::Maria;
        match self {
            Self::Small => "smallint",
            Self::Big => "bigint",
            Self::Unsigned => "bigint unsigned",
            Self::Decimal => "decimal(38,10)",
            Self::Double if is_maria => "double",
            Self::Double => "double precision",
            Self::Real => "real",
            Self::Text => "varchar(200)",
            Self::Choice if is_maria => "enum('', '행복', 'x,y')",
            Self::Choice => "mood",
            Self::Bytes if kind == Kind::Postgres => "bytea",
            Self::Bytes => "blob",
            Self::Day => "date",
            Self::Moment if is_maria => "datetime(6)",
            Self::Moment => "timestamp",
            Self::Zoned => "timestamptz",
            Self::Clock | Self::Length if is_maria => "time(6)",
            Self::Clock | Self::Length => "time",
            Self::Flag => "boolean",
            Self::Document if is_maria => "longtext",
            Self::Document => "json",
            Self::Uuid => "uuid",
            Self::Bits => "bit varying(20)",
            Self::List => "text[]",
            Self::Span => "interval",
        }
    }

    /// A value as the SQL of that source.
    fn value(self, dice: &mut Dice, kind: Kind) -> String {
        if dice.below(7) == 0 {
            return "NULL".to_owned();
        }
        let day = |dice: &mut Dice| {
            format!("{:04}-{:02}-{:02}", 1000 + dice.below(8_999), 1 + dice.below(12), 1 + dice.below(28))
        };
        let clock = |dice: &mut Dice| {
            format!("{:02}:{:02}:{:02}.{:06}", dice.below(24), dice.below(60), dice.below(60), dice.below(1_000_000))
        };
        match self {
            Self::Small => (i64::try_from(dice.below(65_536)).unwrap_or(0) - 32_768).to_string(),
            Self::Big => i64::from_ne_bytes(dice.next().to_ne_bytes()).to_string(),
            Self::Unsigned => dice.next().to_string(),
            Self::Decimal => {
                let (whole, fraction) = (1 + dice.below(28), 1 + dice.below(10));
                format!("{}1{}.{}", dice.one_of(&["", "-"]), dice.digits(whole - 1), dice.digits(fraction))
            }
            Self::Double => format!("{}e{}", dice.next() / 7, dice.below(30)),
            Self::Real => format!("{}.{}", dice.below(1_000), dice.below(1_000)),
            Self::Text => {
                let text: String = (0..dice.below(8)).map(|_| dice.one_of(&PIECES)).collect();
                let text = if kind == Kind::Maria { text.replace('\\', "\\\\") } else { text };
                format!("'{text}'")
            }
            Self::Choice => format!("'{}'", dice.one_of(&["", "행복", "x,y"])),
            Self::Bytes => {
                let hex: String = (0..=dice.below(20)).map(|_| format!("{:02x}", dice.below(256))).collect();
                if kind == Kind::Postgres { format!("'\\x{hex}'") } else { format!("x'{hex}'") }
            }
            Self::Day => format!("'{}'", day(dice)),
            Self::Moment => format!("'{} {}'", day(dice), clock(dice)),
            Self::Zoned => format!("'{} {}+00'", day(dice), clock(dice)),
            Self::Clock => format!("'{}'", clock(dice)),
            Self::Length => format!("'{}{}:{:02}:59.5'", dice.one_of(&["", "-"]), dice.below(838), dice.below(60)),
            Self::Flag => dice.one_of(&["TRUE", "FALSE"]).to_owned(),
            Self::Document => {
                format!("'{}'", dice.one_of(&["{\"a\": [1, null]}", "[]", "\"한글\"", "1.5", "true", "{}"]))
            }
            Self::Uuid => format!("'{:08x}-0000-4000-8000-{:012x}'", dice.below(1 << 32), dice.below(1 << 48)),
            Self::Bits => {
                let bits: String = (0..dice.below(21)).map(|_| dice.one_of(&["0", "1"])).collect();
                format!("B'{bits}'")
            }
            Self::List => dice.one_of(&["'{}'", "ARRAY['a,b', '', NULL]", "ARRAY['\\', '\"']", "'{한글}'"]).to_owned(),
            Self::Span => dice.one_of(&["'1 year 2 months -3 days 25:00:00.5'", "'0'", "'-1 month'"]).to_owned(),
        }
    }

    /// A cell in a form that does not depend on the engine.
    fn plain(self, cell: Option<&str>) -> String {
        let Some(cell) = cell else { return "NULL".to_owned() };
        let without_zeros = |cell: &str| {
            if cell.contains('.') {
                cell.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                cell.to_owned()
            }
        };
        match self {
            Self::Decimal | Self::Moment | Self::Clock | Self::Length => without_zeros(cell),
            Self::Zoned => without_zeros(cell.trim_end_matches("+00")),
            Self::Double => {
                cell.parse::<f64>().map_or_else(|_| cell.to_owned(), |number| format!("{:x}", number.to_bits()))
            }
            Self::Real => {
                cell.parse::<f32>().map_or_else(|_| cell.to_owned(), |number| format!("{:x}", number.to_bits()))
            }
            Self::Flag => if matches!(cell, "t" | "1" | "true") { "yes" } else { "no" }.to_owned(),
            Self::Bytes => cell.strip_prefix("\\x").unwrap_or(cell).to_lowercase(),
            _ => format!("'{cell}'"),
        }
    }
}

/// Runs an operator as the worker does; each generation is another piece of work.
pub async fn operate(world: &World, generation: u32, operator: &str, parameters: Value) -> Result<Value> {
    let fail = |text: String| anyhow!("{operator}: {text}");
    let entry = find(millrace_operators::catalogue(), operator).context("no operator")?;
    let operator = (entry.parse)(parameters).map_err(fail)?;
    let mut problems = Problems::default();
    operator.check(&mut problems);
    if !problems.is_empty() {
        return Err(fail(format!("{:?}", problems.into_items())));
    }
    let mut context = world.context(1);
    context.work = work(generation);
    let outcome = operator.run(&context).await.map_err(|error: TaskError| fail(error.to_string()))?;
    outcome.result.context("no result")
}

type Rows = BTreeMap<i64, Vec<String>>;

fn rows_of(columns: &[Column], cells: &[Vec<Option<String>>]) -> Result<Rows> {
    cells
        .iter()
        .map(|row| {
            let id = row[0].as_deref().context("an id")?.parse()?;
            let values = row.iter().skip(2).zip(columns).map(|(cell, column)| column.plain(cell.as_deref()));
            Ok((id, std::iter::once(row[1].clone().unwrap_or_default()).chain(values).collect()))
        })
        .collect()
}

struct Movement<'a> {
    world: &'a World,
    source: &'a Database,
    target: &'a Database,
    columns: Vec<Column>,
    name: String,
    dice: Dice,
    generation: u32,
}

impl Movement<'_> {
    /// Puts random rows into the source, each with an id and a version.
    async fn fill(&mut self, ids: &[u64], version: u64) -> Result<()> {
        self.source.run(&format!("DELETE FROM {}", self.name)).await?;
        let kind = self.source.kind;
        let values: Vec<String> = ids
            .iter()
            .map(|id| {
                let cells: Vec<String> = self.columns.iter().map(|column| column.value(&mut self.dice, kind)).collect();
                let version = version + self.dice.below(100);
                format!("({id}, {version}, {})", cells.join(", "))
            })
            .collect();
        if !values.is_empty() {
            self.source.run(&format!("INSERT INTO {} VALUES {}", self.name, values.join(", "))).await?;
        }
        Ok(())
    }

    async fn source_rows(&self) -> Result<Rows> {
        rows_of(
            &self.columns,
            &self.source.read(self.world, &format!("SELECT * FROM {} ORDER BY id", self.name)).await?,
        )
    }

    async fn target_rows(&self) -> Result<Rows> {
        let name = self.target.place(&self.target.quoted(&self.name));
        let cells = self.target.rows(&format!("SELECT * FROM {name} ORDER BY id")).await?;
        let rows = rows_of(&self.columns, &cells)?;
        anyhow::ensure!(rows.len() == cells.len(), "an id stands there twice");
        Ok(rows)
    }

    /// Extracts by one way of writing, loads by one method, both at random; says which.
    async fn move_rows(&mut self, method: Value) -> Result<String> {
        let ways: &[(&str, &str)] = match self.target.kind {
            Kind::Redshift => &[("csv", "none"), ("csv", "gzip"), ("csv", "zstd")],
            _ => &[("csv", "none"), ("csv", "gzip"), ("csv", "zstd"), ("parquet", "none"), ("parquet", "zstd")],
        };
        let (format, compression) = ways[usize::try_from(self.dice.below(ways.len() as u64)).unwrap_or(0)];
        self.generation += 1;
        let key = format!("{}/{}", self.name, self.generation);
        let mut extract = json!({
            "sql_conn_id": self.source.conn_id, "query": format!("SELECT * FROM {}", self.name), "s3_bucket": "lake",
            "s3_key": key, "aws_conn_id": "s3", "format": format, "compression": compression, "null_marker": "(none)",
        });
        if format == "csv" {
            extract["header"] = json!(self.dice.below(2) == 0);
            if self.dice.below(3) == 0 {
                extract["max_rows_per_file"] = json!(7);
            }
        }
        let told = format!("{extract} by {method}");
        operate(self.world, self.generation, "sql_to_s3", extract).await.with_context(|| told.clone())?;
        let mut load = json!({
            "warehouse_conn_id": self.target.conn_id, "s3_bucket": "lake", "s3_key": key, "aws_conn_id": "s3",
            "table": self.name, "show_values": true,
        });
        if self.target.schema == "dw" {
            load["schema"] = json!("dw");
        }
        if let (Some(load), Some(method)) = (load.as_object_mut(), method.as_object()) {
            load.extend(method.clone());
        }
        self.generation += 1;
        operate(self.world, self.generation, "copy", load).await.with_context(|| told.clone())?;
        Ok(told)
    }
}

async fn tables_arrive(world: &World, source: &Database, target: &Database, seed: u64, generation: u32) -> Result<()> {
    let mut dice = Dice(seed);
    let columns: Vec<Column> = (0..=dice.below(10)).map(|_| Column::any(&mut dice, source.kind)).collect();
    let name = format!("m{seed}");
    let told = format!("seed {seed}: {} -> {}: {columns:?}", source.conn_id, target.conn_id);
    let definitions: Vec<String> =
        columns.iter().enumerate().map(|(n, column)| format!("c{n} {}", column.ddl(source.kind))).collect();
    source
        .run(&format!("CREATE TABLE {name} (id int NOT NULL PRIMARY KEY, version int, {})", definitions.join(", ")))
        .await?;
    let reader = world.connectors.source(&world.context(1), &source.conn_id).await?;
    let types = reader.query(&format!("SELECT * FROM {name}")).await?.columns;
    let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
    let made: Vec<NewColumn> = types
        .iter()
        .map(|column| NewColumn {
            name: column.name.clone(),
            type_name: warehouse.column_type(&column.value),
            is_nullable: true,
        })
        .collect();
    let schema = (target.schema == "dw").then(|| "dw".to_owned());
    let table = TableName { schema, name: name.clone() };
    warehouse.create_table(&table, &made, &["id".to_owned()], false).await?;

    let mut movement = Movement { world, source, target, columns, name, dice, generation };
    let mut expected = Rows::new();
    for step in 0..3_u64 {
        let count = movement.dice.below(40);
        let ids: Vec<u64> = (0..count).map(|number| number * (1 + step % 2)).collect();
        movement.fill(&ids, step * 50).await?;
        let incoming = movement.source_rows().await?;
        let choice = if step == 0 { 3 } else { movement.dice.below(4) };
        let method = match choice {
            0 => json!({ "method": "replace" }),
            1 => json!({ "method": "swap" }),
            2 => json!({ "method": "upsert", "upsert_keys": "id" }),
            _ => json!({ "method": "upsert", "upsert_keys": ["id"], "order_key": "version" }),
        };
        let version = |row: &[String]| row[0].parse::<i64>().unwrap_or(i64::MIN);
        match choice {
            0 | 1 => expected = incoming,
            2 => expected.extend(incoming),
            _ => {
                for (id, row) in incoming {
                    if expected.get(&id).is_none_or(|old| version(old) <= version(&row)) {
                        expected.insert(id, row);
                    }
                }
            }
        }
        let way = movement.move_rows(method).await.with_context(|| told.clone())?;
        let found = movement.target_rows().await.with_context(|| told.clone())?;
        assert_eq!(found, expected, "{told}, step {step}: {way}");
    }
    Ok(())
}

#[tokio::test]
async fn random_tables_arrive_by_every_way_of_writing_and_method() -> Result<()> {
    let world = World::start().await?;
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let mut generation = 0;
    for source_kind in [Kind::Maria, Kind::Postgres, Kind::Lite] {
        let source = Database::start(&world, source_kind, "source").await?;
        if source_kind == Kind::Postgres {
            source.run("CREATE TYPE mood AS ENUM ('', '행복', 'x,y')").await?;
        }
        for target_kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
            let target = Database::start(&world, target_kind, "target").await?;
            for round in 0..2 {
                generation += 100;
                let seed = given.unwrap_or(0x00D1_CE00 + u64::from(generation) * 991 + round);
                tables_arrive(&world, &source, &target, seed, generation).await?;
            }
        }
    }
    Ok(())
}
