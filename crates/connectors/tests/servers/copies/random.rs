//! Random tables, copied and compared value by value.

use anyhow::Result;
use serde_json::json;

use super::databases::{Database, Kind, run};
use super::{SOURCES, TARGETS, copying, table};
use crate::world::World;

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
        items[self.below(items.len() as u64) as usize]
    }
}

#[derive(Debug, Clone, Copy)]
enum Column {
    Small,
    Big,
    Decimal,
    Double,
    Text,
    Day,
    Moment,
    Flag,
}

const COLUMNS: [Column; 8] = [
    Column::Small,
    Column::Big,
    Column::Decimal,
    Column::Double,
    Column::Text,
    Column::Day,
    Column::Moment,
    Column::Flag,
];

const PIECES: [&str; 14] = ["", " ", "a", "\\", "\\N", "''", "\"", ",", "\n", "\r\n", "\t", "한글", "😀", "NULL"];

impl Column {
    fn ddl(self, kind: Kind) -> &'static str {
        match self {
            Self::Small => "smallint",
            Self::Big => "bigint",
            Self::Decimal => "decimal(30,10)",
            Self::Double if kind == Kind::Maria => "double",
            Self::Double => "double precision",
            Self::Text => "varchar(200)",
            Self::Day => "date",
            Self::Moment if kind == Kind::Maria => "datetime(6)",
            Self::Moment => "timestamp",
            Self::Flag => "boolean",
        }
    }

    /// A value as SQL, of every engine here.
    fn value(self, dice: &mut Dice, kind: Kind) -> String {
        if dice.below(6) == 0 {
            return "NULL".to_owned();
        }
        match self {
            Self::Small => (dice.below(65_536) as i64 - 32_768).to_string(),
            Self::Big => (dice.next() as i64).to_string(),
            // SQLite has no decimals of its own: what fits its integers and short fractions.
            Self::Decimal if kind == Kind::Lite => format!("{}.5", dice.below(1_000_000)),
            Self::Decimal => format!("{}.{:010}", dice.below(u64::MAX / 2) as i64, dice.below(10_000_000_000)),
            Self::Double => format!("{}e{}", dice.below(1_000_000) as f64 / 7.0, dice.below(30) as i64 - 15),
            Self::Text => {
                let text: String = (0..dice.below(8)).map(|_| dice.one_of(&PIECES)).collect();
                let text = if kind == Kind::Maria { text.replace('\\', "\\\\") } else { text };
                format!("'{text}'")
            }
            Self::Day => {
                format!("'{:04}-{:02}-{:02}'", 1000 + dice.below(8_999), 1 + dice.below(12), 1 + dice.below(28))
            }
            Self::Moment => format!(
                "'{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}'",
                1000 + dice.below(8_999),
                1 + dice.below(12),
                1 + dice.below(28),
                dice.below(24),
                dice.below(60),
                dice.below(60),
                dice.below(1_000_000)
            ),
            Self::Flag => dice.one_of(&["TRUE", "FALSE"]).to_owned(),
        }
    }

    /// A cell in a form that does not depend on the engine.
    fn plain(self, cell: Option<&str>) -> String {
        let Some(cell) = cell else { return "NULL".to_owned() };
        match self {
            Self::Decimal => {
                let trimmed = if cell.contains('.') { cell.trim_end_matches('0').trim_end_matches('.') } else { cell };
                trimmed.to_owned()
            }
            Self::Double => {
                cell.parse::<f64>().map_or_else(|_| cell.to_owned(), |number| format!("{:x}", number.to_bits()))
            }
            Self::Moment if cell.contains('.') => cell.trim_end_matches('0').trim_end_matches('.').to_owned(),
            Self::Flag => if matches!(cell, "t" | "1" | "true") { "yes" } else { "no" }.to_owned(),
            Self::Text => format!("'{cell}'"),
            _ => cell.to_owned(),
        }
    }
}

fn rows_of(columns: &[Column], cells: &[Vec<Option<String>>]) -> Vec<String> {
    cells
        .iter()
        .map(|row| {
            let values: Vec<String> =
                row.iter().skip(1).zip(columns).map(|(cell, column)| column.plain(cell.as_deref())).collect();
            format!("{} | {}", row[0].as_deref().unwrap_or("NULL"), values.join(" | "))
        })
        .collect()
}

/// Random tables from one source into one target.
async fn tables_arrive(world: &World, source: &Database, target: &Database, seed: u64, generation: u32) -> Result<()> {
    let mut dice = Dice(seed);
    let columns: Vec<Column> =
        (0..=dice.below(12)).map(|_| COLUMNS[dice.below(COLUMNS.len() as u64) as usize]).collect();
    let told = format!("seed {seed}: {} -> {}: {columns:?}", source.conn_id, target.conn_id);
    let name = format!("t{seed}");
    let definitions: Vec<String> =
        columns.iter().enumerate().map(|(n, column)| format!("c{n} {}", column.ddl(source.kind))).collect();
    source.run(&format!("CREATE TABLE {name} (id int NOT NULL PRIMARY KEY, {})", definitions.join(", "))).await?;
    let rows = dice.below(120);
    if rows > 0 {
        let values: Vec<String> = (0..rows)
            .map(|id| {
                let cells: Vec<String> = columns.iter().map(|column| column.value(&mut dice, source.kind)).collect();
                format!("({id}, {})", cells.join(", "))
            })
            .collect();
        source.run(&format!("INSERT INTO {name} VALUES {}", values.join(", "))).await?;
    }
    let verify =
        if target.kind == Kind::Redshift { json!(["counts", "keys"]) } else { json!(["counts", "keys", "checksums"]) };
    let tables = table(
        &format!("{}.{name}", source.schema),
        &format!("{}.{name}_{}", target.schema, source.conn_id),
        json!({ "primary_key": "id", "verify": verify, "empty_as_null": false }),
    );
    run(world, generation, copying(source, target, tables))
        .await
        .map_err(|error| anyhow::anyhow!("{told}: {error}"))?;
    let before = source.read(world, &format!("SELECT * FROM {name} ORDER BY id")).await?;
    let copied = target.quoted(&format!("{name}_{}", source.conn_id));
    let after = target.rows(&format!("SELECT * FROM {} ORDER BY id", target.place(&copied))).await?;
    let (before, after) = (rows_of(&columns, &before), rows_of(&columns, &after));
    for (one, other) in before.iter().zip(&after) {
        assert_eq!(one, other, "{told}");
    }
    assert_eq!(before.len(), after.len(), "{told}");
    Ok(())
}

#[tokio::test]
async fn random_tables_arrive_value_by_value() -> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for source_kind in SOURCES {
        let source = Database::start(&world, source_kind, "source").await?;
        for target_kind in TARGETS {
            let target = Database::start(&world, target_kind, "target").await?;
            for _ in 0..6 {
                generation += 1;
                tables_arrive(&world, &source, &target, 0x5EED + u64::from(generation) * 977, generation).await?;
            }
        }
    }
    Ok(())
}
