//! Random tables of every kind of column, moved from every source into every warehouse, straight and as files of every
//! kind, by every method. After each load both sides are proved the same, by checksums of two makes.
//!
//! `MILLRACE_TABLE_SEEDS` says how many tables go into each target (3), `MILLRACE_TABLE_FIRST` the seed of the first; a
//! failure shows its own. `MILLRACE_STRUCK_SEEDS` is the number of tables (1) that everything goes wrong with.

mod dice;
mod faults;
mod plain;
mod proof;
mod sorts;
mod table;
mod way;

use anyhow::{Context, Result};
use millrace_operator_api::ports::{NewColumn, Ports, TableName};

use dice::Dice;
use proof::Proof;
use table::{Method, Table};
use way::Way;

use crate::copies::databases::{Database, Kind};
use crate::world::World;

const SOURCES: [Kind; 3] = [Kind::Maria, Kind::Postgres, Kind::Lite];
/// Loads of each table.
const MOVES: u64 = 4;

fn number(name: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
        Err(_) => Ok(otherwise),
    }
}

async fn source(world: &World, kind: Kind) -> Result<Database> {
    let source = Database::start(world, kind, "source").await?;
    if kind == Kind::Postgres {
        source.postgres()?.execute("CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('', '행복', 'x,y')")?;
    }
    Ok(source)
}

/// An empty table in the target, of the types that those of the source become.
async fn make_target(world: &World, source: &Database, target: &Database, table: &Table) -> Result<()> {
    let reader = world.connectors.source(&world.context(1), &source.conn_id).await?;
    let types = reader.query(&table.query(source)).await?.columns;
    let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
    let columns: Vec<NewColumn> = types
        .iter()
        .map(|column| NewColumn {
            name: column.name.clone(),
            type_name: warehouse.column_type(&column.value),
            is_nullable: true,
        })
        .collect();
    let schema = (target.schema == "dw").then(|| "dw".to_owned());
    let name = TableName { schema, name: table.name.clone() };
    Ok(warehouse.create_table(&name, &columns, &table.keys, false).await?)
}

/// Puts rows into the source, by chance on top of those that are there, as suits the method.
async fn prepare(dice: &mut Dice, source: &Database, table: &mut Table, method: Method, turn: u64) -> Result<()> {
    table.empty(source).await?;
    table.fill(dice, source, method == Method::Append, turn % 3 * 50).await?;
    table.expect(source, method).await
}

async fn a_table_arrives(world: &World, source: &Database, target: &Database, seed: u64) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut table = Table::make(&mut dice, seed, source, target.kind).await?;
    make_target(world, source, target, &table).await?;
    let told = format!("{:?}", table.columns.iter().map(|(name, sort)| (name, sort.ddl)).collect::<Vec<_>>());
    for turn in seed * MOVES..(seed + 1) * MOVES {
        let (way, method) = Way::at(turn);
        let way = way.into(target.kind, &table);
        let told = format!("turn {turn}: {way:?} by {method:?}: {told}");
        prepare(&mut dice, source, &mut table, method, turn).await.with_context(|| told.clone())?;
        let steps = way.steps(world, &mut dice, (source, target), &table, method, turn);
        if let Some(extract) = &steps.extract {
            extract.run(1).await.with_context(|| told.clone())?;
        }
        steps.load.run(1).await.with_context(|| told.clone())?;
        let proof = Proof { world, source, target, table: &table };
        proof.holds().await.with_context(|| told.clone())?;
    }
    Proof { world, source, target, table: &table }.fails_for_any_value(&mut dice).await.context(told)
}

async fn tables_arrive(target: Kind) -> Result<()> {
    let (first, count) = (number("MILLRACE_TABLE_FIRST", 1)?, number("MILLRACE_TABLE_SEEDS", 3)?);
    let world = World::start().await?;
    let target = Database::start(&world, target, "target").await?;
    let mut sources = Vec::new();
    for kind in SOURCES {
        sources.push(source(&world, kind).await?);
    }
    for seed in first..first + count {
        let source = &sources[usize::try_from(seed % SOURCES.len() as u64)?];
        let failed = || {
            format!("MILLRACE_TABLE_SEEDS=1 MILLRACE_TABLE_FIRST={seed}: {} into {}", source.conn_id, target.conn_id)
        };
        a_table_arrives(&world, source, &target, seed).await.with_context(failed)?;
    }
    Ok(())
}

#[tokio::test]
async fn random_tables_arrive_in_postgres() -> Result<()> {
    tables_arrive(Kind::Postgres).await
}

#[tokio::test]
async fn random_tables_arrive_in_sqlite() -> Result<()> {
    tables_arrive(Kind::Lite).await
}

#[tokio::test]
async fn random_tables_arrive_in_redshift_by_the_data_api() -> Result<()> {
    tables_arrive(Kind::Redshift).await
}

#[tokio::test]
async fn random_tables_arrive_in_redshift_by_wire() -> Result<()> {
    tables_arrive(Kind::Wire).await
}
