//! The same tables with something in the way: after the next try both sides are proved the same; until then the target
//! holds what it held before, or all that it should.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use millrace_devstack::Fault;
use millrace_operator_api::TaskError;
use millrace_testkit::{Cable, wait_until};
use serde_json::Value;

use super::dice::Dice;
use super::plain::Plain;
use super::proof::Proof;
use super::table::{Method, Table};
use super::way::{Steps, Way};
use super::{make_target, number, prepare, source};
use crate::copies::databases::{Database, Kind};
use crate::tasks::{PATIENCE, Task, impatient, no_upload_is_left, patient};
use crate::world::World;

#[derive(Debug, Clone, PartialEq)]
enum Strike {
    /// The source breaks off, by chance in the middle of a row.
    SourceCut,
    /// The connection to the target breaks: before the rows, among them, before COMMIT or before its answer.
    TargetCut,
    /// A request for an object, after some that went well.
    Store(&'static str, Fault),
    /// A request to the Data API or a statement of Redshift.
    Statement(&'static str, Fault),
    /// The process is gone before or after it noted down what it is about to ask for.
    Death,
    /// The work is dropped while it waits for an object.
    Dropped,
    /// The target takes all rows but one.
    Refusal,
}

impl Strike {
    fn all(source: Kind, target: Kind) -> Vec<Self> {
        let mut all = vec![
            Self::Store("PutObject", Fault::InternalError),
            Self::Store("PutObject", Fault::LoseAnswer),
            Self::Refusal,
        ];
        if source != Kind::Lite {
            all.extend([Self::SourceCut, Self::SourceCut, Self::SourceCut]);
        }
        match target {
            Kind::Postgres => all.extend([Self::TargetCut, Self::TargetCut, Self::TargetCut, Self::TargetCut]),
            Kind::Redshift => {
                all.extend([Self::Death, Self::Death, Self::Death]);
                all.push(Self::Statement("BatchExecuteStatement", Fault::LoseAnswer));
            }
            Kind::Maria | Kind::Lite | Kind::Wire => {}
        }
        if target.is_redshift() {
            let conflict = "ERROR: 1023 DETAIL: Serializable isolation violation on table - 100, transactions forming \
                            the cycle are: 1, 2";
            for verb in ["INSERT", "COMMIT", "LOCK"] {
                all.push(Self::Statement(verb, Fault::AbortStatement));
            }
            all.push(Self::Statement("COMMIT", Fault::FailStatement(conflict.to_owned())));
        } else {
            all.extend([
                Self::Store("GetObject", Fault::InternalError),
                Self::Store("GetObject", Fault::CutBody { after: 50 }),
                Self::Dropped,
            ]);
        }
        all
    }

    fn needs_file(&self) -> bool {
        matches!(self, Self::Store(..) | Self::Dropped)
    }

    /// What is struck, where a file is written first, is that.
    fn is_of_extract(&self) -> bool {
        matches!(self, Self::SourceCut | Self::Store("PutObject", _))
    }
}

struct Stage<'a> {
    world: &'a World,
    source: &'a Database,
    target: &'a Database,
    /// What stands between us and the source, and the target.
    cables: (Option<Cable>, Option<Cable>),
}

impl Stage<'_> {
    /// Bytes that a movement gets from either.
    fn passed(&self) -> (u64, u64) {
        let of = |cable: &Option<Cable>| cable.as_ref().map_or(0, Cable::passed);
        (of(&self.cables.0), of(&self.cables.1))
    }

    /// Runs the task once, struck. Says whether it was struck at all.
    async fn run(
        &self,
        task: &Task<'_>,
        strike: &Strike,
        dice: &mut Dice,
        bytes: (u64, u64),
        table: &Table,
    ) -> Result<(Result<Value, TaskError>, bool)> {
        let nothing = Fault::Delay(Duration::ZERO);
        match strike {
            Strike::SourceCut | Strike::TargetCut => {
                let is_source = *strike == Strike::SourceCut;
                let (cable, bytes) = if is_source { (&self.cables.0, bytes.0) } else { (&self.cables.1, bytes.1) };
                let cable = cable.as_ref().context("a cable")?;
                cable.break_after(Some(1 + dice.below(bytes)));
                let result = task.run(1).await;
                let is_struck = cable.is_broken();
                cable.break_after(None);
                Ok((result, is_struck))
            }
            Strike::Store(operation, fault) => {
                let faults = self.world.s3.faults();
                faults.inject(*operation, nothing, dice.below(2) as u32);
                faults.inject(*operation, fault.clone(), 1);
                impatient(self.world, "s3");
                let result = task.run(1).await;
                patient(self.world, "s3");
                let is_struck = faults.pending() == 0;
                faults.clear();
                Ok((result, is_struck))
            }
            Strike::Statement(operation, fault) => {
                let faults = self.target.redshift()?.faults();
                faults.inject(*operation, nothing, dice.below(3) as u32);
                faults.inject(*operation, fault.clone(), 1);
                impatient(self.world, &self.target.conn_id);
                let result = task.run(1).await;
                patient(self.world, &self.target.conn_id);
                let is_struck = faults.pending() == 0;
                faults.clear();
                Ok((result, is_struck))
            }
            Strike::Death => {
                let number = 1 + usize::try_from(dice.below(12))?;
                let result = task.run_and_die(1, number, dice.is_one_in(2)).await;
                let is_struck = result.is_err();
                Ok((result, is_struck))
            }
            Strike::Dropped => {
                let faults = self.world.s3.faults();
                faults.inject("GetObject", Fault::Delay(Duration::from_hours(1)), 1);
                let mut running = Box::pin(task.run(1));
                let result = tokio::select! {
                    result = &mut running => Some(result),
                    waited = wait_until("the object is asked for", PATIENCE, async || faults.pending() == 0) => {
                        waited?;
                        None
                    }
                };
                drop(running);
                faults.clear();
                let is_struck = result.is_none();
                Ok((result.unwrap_or_else(|| Err(TaskError::Retry("dropped".to_owned()))), is_struck))
            }
            Strike::Refusal => {
                self.refuse(table, dice).await?;
                let result = task.run(1).await;
                self.take_again(table).await?;
                let is_struck = result.is_err();
                Ok((result, is_struck))
            }
        }
    }

    /// From now on the target does not take one of the source's keys.
    async fn refuse(&self, table: &Table, dice: &mut Dice) -> Result<()> {
        let key = self.source.quoted(&table.keys[0]);
        let sql = format!("SELECT {key} FROM {} ORDER BY {key}", self.source.quoted(&table.name));
        let ids = self.source.read(self.world, &sql).await?;
        let Some(id) = ids.get(usize::try_from(dice.below(ids.len() as u64))?).and_then(|row| row[0].clone()) else {
            return Ok(());
        };
        let (place, key) = (self.target.place(&self.target.quoted(&table.name)), self.target.quoted(&table.keys[0]));
        match self.target.kind {
            Kind::Lite => {
                let trigger = format!(
                    "CREATE TRIGGER refusal BEFORE INSERT ON {place} WHEN NEW.{key} = {id} \
                     BEGIN SELECT RAISE(ABORT, 'it is refused'); END"
                );
                values_of(self.world, self.target, &trigger).await
            }
            _ => self
                .target
                .postgres()?
                .execute(&format!("ALTER TABLE {place} ADD CONSTRAINT refusal CHECK ({key} <> {id}) NOT VALID")),
        }
    }

    async fn take_again(&self, table: &Table) -> Result<()> {
        match self.target.kind {
            Kind::Lite => values_of(self.world, self.target, "DROP TRIGGER IF EXISTS refusal").await,
            _ => {
                let place = self.target.place(&self.target.quoted(&table.name));
                self.target.postgres()?.execute(&format!("ALTER TABLE {place} DROP CONSTRAINT IF EXISTS refusal"))
            }
        }
    }

    /// Tables of ours in the target that should be gone.
    fn leftovers(&self) -> Result<Vec<String>> {
        if self.target.kind == Kind::Lite {
            return Ok(Vec::new());
        }
        let statement = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relpersistence <> 't' \
             AND (relname LIKE 'millrace%' AND relname <> 'millrace_load_marker' OR relname LIKE '%\\_\\_%') \
             AND relnamespace = 'dw'::regnamespace";
        Ok(self.target.postgres()?.query(statement)?.into_iter().flatten().flatten().collect())
    }
}

/// A trigger is one statement with semicolons in it.
async fn values_of(world: &World, database: &Database, sql: &str) -> Result<()> {
    use sqlx::Connection as _;
    let path = database.connection(world)?.schema.context("a path")?;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).busy_timeout(PATIENCE);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Runs the steps, one of them struck, and all of them again until they are done. Says whether anything was struck.
async fn move_struck(
    stage: &Stage<'_>,
    steps: &Steps<'_>,
    strike: &Strike,
    dice: &mut Dice,
    bytes: (u64, u64),
    proof: &Proof<'_>,
    before: &Plain,
) -> Result<bool> {
    let mut was_struck = false;
    let is_of_extract = strike.is_of_extract() && steps.extract.is_some();
    if let Some(extract) = &steps.extract {
        if is_of_extract {
            let (result, is_struck) = stage.run(extract, strike, dice, bytes, proof.table).await?;
            was_struck = is_struck;
            after_the_first_try(&result, is_struck)?;
            no_upload_is_left(stage.world).await?;
            if result.is_err() {
                extract.run(2).await.context("the second try")?;
            }
        } else {
            extract.run(1).await?;
        }
    }
    if is_of_extract {
        stage_load(stage, steps, proof).await?;
        return Ok(was_struck);
    }
    let (result, is_struck) = stage.run(&steps.load, strike, dice, bytes, proof.table).await?;
    after_the_first_try(&result, is_struck)?;
    let found = proof.of_target().await?;
    let expected = proof.of_expected().await?;
    let is_untouched = before.difference(&found).is_none();
    if result.is_err() && !is_untouched {
        let difference = expected.difference(&found);
        ensure!(difference.is_none(), "{result:?}: neither as it was nor as it should be: {difference:?}");
    }
    if result.is_err() {
        steps.load.run(2).await.context("the second try")?;
    }
    proof.holds().await.context("after the second try")?;
    Ok(is_struck)
}

async fn stage_load(stage: &Stage<'_>, steps: &Steps<'_>, proof: &Proof<'_>) -> Result<()> {
    steps.load.run(1).await?;
    proof.holds().await?;
    ensure!(stage.leftovers()?.is_empty(), "{:?}", stage.leftovers()?);
    Ok(())
}

/// What failed may be tried again, and nothing fails that was not struck.
fn after_the_first_try(result: &Result<Value, TaskError>, is_struck: bool) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(TaskError::Retry(_)) if is_struck => Ok(()),
        Err(error) => bail!("struck: {is_struck}: {error:?}"),
    }
}

/// A way that the strike can meet, from this turn on.
fn way_for(strike: &Strike, turn: &mut u64) -> (Way, Method) {
    loop {
        *turn += 1;
        let (way, method) = Way::at(*turn);
        if matches!(way, Way::File(..)) || !strike.needs_file() {
            return (way, method);
        }
    }
}

async fn a_table_survives(stage: &Stage<'_>, seed: u64) -> Result<usize> {
    let (world, source, target) = (stage.world, stage.source, stage.target);
    let mut dice = Dice::new(seed ^ 0xFA11);
    let mut table = Table::make(&mut dice, seed, source, target.kind).await?;
    make_target(world, source, target, &table).await?;
    let mut turn = seed * 7;
    let mut count = 0;
    for strike in Strike::all(source.kind, target.kind) {
        let (way, method) = way_for(&strike, &mut turn);
        let way = way.into(target.kind, &table);
        let columns: Vec<&str> = table.columns.iter().map(|(_, sort)| sort.ddl).collect();
        let told = format!("turn {turn}: {strike:?}: {way:?} by {method:?}: {columns:?}");
        let moved = async {
            // Once without anything in the way, to see how much passes.
            prepare(&mut dice, source, &mut table, Method::Replace, turn).await?;
            let passed = stage.passed();
            let clean = way.steps(world, &mut dice, (source, target), &table, Method::Replace, turn * 2);
            if let Some(extract) = &clean.extract {
                extract.run(1).await?;
            }
            clean.load.run(1).await?;
            let bytes = (stage.passed().0 - passed.0, stage.passed().1 - passed.1);

            prepare(&mut dice, source, &mut table, method, turn).await?;
            let proof = Proof { world, source, target, table: &table };
            let before = proof.of_target().await?;
            let steps = way.steps(world, &mut dice, (source, target), &table, method, turn * 2 + 1);
            let is_struck = move_struck(stage, &steps, &strike, &mut dice, bytes, &proof, &before).await?;
            ensure!(stage.leftovers()?.is_empty(), "{:?}", stage.leftovers()?);
            anyhow::Ok(is_struck)
        };
        count += usize::from(moved.await.context(told)?);
    }
    Ok(count)
}

/// A cable to where the connection goes.
fn behind_a_cable(world: &World, database: &Database) -> Result<Option<Cable>> {
    let port = match database.kind {
        Kind::Maria => database.maria()?.server().port(),
        Kind::Postgres => database.postgres()?.server().port(),
        Kind::Lite | Kind::Redshift | Kind::Wire => return Ok(None),
    };
    let cable = Cable::to(port)?;
    world.change(&database.conn_id, |connection| connection.port = Some(cable.port));
    Ok(Some(cable))
}

async fn tables_survive(sources: &[Kind], target: Kind) -> Result<()> {
    let (first, count) = (number("MILLRACE_TABLE_FIRST", 1)?, number("MILLRACE_STRUCK_SEEDS", 1)?);
    let world = World::start().await?;
    let target = Database::start(&world, target, "target").await?;
    let to_target = behind_a_cable(&world, &target)?;
    let mut stage_cables = (None, to_target);
    for kind in sources {
        let source = source(&world, *kind).await?;
        stage_cables.0 = behind_a_cable(&world, &source)?;
        let stage = Stage { world: &world, source: &source, target: &target, cables: stage_cables };
        for seed in first..first + count {
            let told = || format!("MILLRACE_TABLE_FIRST={seed}: {} into {}", source.conn_id, target.conn_id);
            // One table for each source in the one target.
            let seed = seed * 10 + *kind as u64;
            let struck = a_table_survives(&stage, seed).await.with_context(told)?;
            ensure!(struck >= 3, "only {struck} were struck: {}", told());
        }
        stage_cables = stage.cables;
    }
    Ok(())
}

#[tokio::test]
async fn struck_tables_arrive_in_postgres_at_the_next_try() -> Result<()> {
    tables_survive(&[Kind::Maria, Kind::Postgres], Kind::Postgres).await
}

#[tokio::test]
async fn struck_tables_arrive_in_sqlite_at_the_next_try() -> Result<()> {
    tables_survive(&[Kind::Maria, Kind::Postgres, Kind::Lite], Kind::Lite).await
}

#[tokio::test]
async fn struck_tables_arrive_in_redshift_by_the_data_api_at_the_next_try() -> Result<()> {
    tables_survive(&[Kind::Maria], Kind::Redshift).await
}

#[tokio::test]
async fn struck_tables_arrive_in_redshift_by_wire_at_the_next_try() -> Result<()> {
    tables_survive(&[Kind::Postgres], Kind::Wire).await
}
