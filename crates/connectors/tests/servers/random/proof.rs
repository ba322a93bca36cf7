//! That the target's table holds what it should: by the product's own comparison, and by a checksum that shares nothing
//! with it.

use anyhow::{Context, Result, bail, ensure};
use millrace_operator_api::ports::TableName;
use millrace_operators::parts::proof::comparing::{Comparison, Side, Verdict};

use super::dice::Dice;
use super::plain::Plain;
use super::table::Table;
use crate::copies::databases::{Database, Kind};
use crate::world::World;

pub struct Proof<'a> {
    pub world: &'a World,
    pub source: &'a Database,
    pub target: &'a Database,
    pub table: &'a Table,
}

impl Proof<'_> {
    pub async fn of_target(&self) -> Result<Plain> {
        Plain::read(self.world, self.target, self.table, &self.table.name).await
    }

    pub async fn of_expected(&self) -> Result<Plain> {
        Plain::read(self.world, self.source, self.table, &self.table.expected).await
    }

    async fn side(&self, database: &Database, name: &str, is_streamed: bool) -> Result<Side> {
        let reader = self.world.connectors.reader(&database.conn_id).await?;
        let schema = (database.kind != Kind::Maria && database.schema != "main").then(|| database.schema.clone());
        let table = TableName { schema, name: name.to_owned() };
        let found = reader.table_columns(&table).await?;
        let columns = self
            .table
            .names()
            .map(|name| {
                found.iter().find(|column| column.name.eq_ignore_ascii_case(name)).cloned().context(name.to_owned())
            })
            .collect::<Result<_>>()?;
        Ok(Side {
            label: format!("{}: {table}", database.conn_id),
            relation: reader.table_sql(&table),
            source: reader,
            filter: None,
            columns,
            is_streamed,
            repeated: None,
        })
    }

    /// As `data verify` compares.
    pub async fn verdict(&self, is_streamed: bool) -> Result<Verdict> {
        let names: Vec<&str> = self.table.names().collect();
        let keys = self.table.keys.iter().map(|key| names.iter().position(|name| name == key).context("a key"));
        let comparison = Comparison {
            source: self.side(self.source, &self.table.expected, is_streamed).await?,
            target: self.side(self.target, &self.table.name, is_streamed).await?,
            keys: keys.collect::<Result<_>>()?,
            most: 3,
        };
        Ok(comparison.run(&|_, _| {}).await?)
    }

    /// Both sides have the same checksums, by either way of making them.
    pub async fn holds(&self) -> Result<()> {
        let (expected, found) = (self.of_expected().await?, self.of_target().await?);
        if let Some(difference) = expected.difference(&found) {
            bail!("the rows differ: {difference}");
        }
        for is_streamed in [false, true] {
            let verdict = self.verdict(is_streamed).await?;
            ensure!(
                verdict.source == verdict.target,
                "the rows are the same, but not their fingerprints (streamed: {is_streamed}): {verdict:?}"
            );
            ensure!(verdict.source.rows == expected.lines.len() as u64, "{verdict:?}");
        }
        Ok(())
    }

    /// One value that is taken away from the target, any value, is found by both.
    pub async fn fails_for_any_value(&self, dice: &mut Dice) -> Result<()> {
        let before = self.of_target().await?;
        let rows = before.lines.len();
        let Some(line) = before.lines.get(usize::try_from(dice.below(rows as u64))?) else { return Ok(()) };
        let cells: Vec<&str> = line.split(" | ").collect();
        // A text may hold what stands between two columns; then the line is passed over.
        let names: Vec<&str> = self.table.names().collect();
        let (Some(id), true) = (cells.first(), cells.len() == names.len()) else { return Ok(()) };
        let filled: Vec<usize> = (2..names.len()).filter(|at| cells[*at] != "NULL").collect();
        if filled.is_empty() {
            return Ok(());
        }
        let name = names[dice.one_of(&filled)];
        let quoted = |name: &str| self.target.quoted(name);
        let id = id.trim_matches('"');
        let sql = format!(
            "UPDATE {} SET {name} = NULL WHERE {} = {id}",
            self.target.place(&quoted(&self.table.name)),
            quoted(names[0]),
            name = quoted(name),
        );
        self.target.run(&sql).await?;
        let after = self.of_target().await?;
        ensure!(before.checksum != after.checksum, "{sql}: the checksum is the same");
        let verdict = self.verdict(false).await?;
        ensure!(!verdict.is_equal() && verdict.rows_different >= 1, "{sql}: nobody noticed: {verdict:?}");
        Ok(())
    }
}
