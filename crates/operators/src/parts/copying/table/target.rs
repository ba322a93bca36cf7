//! The target of a copy: looked at, made or widened, and its columns met with those of the source.

use chrono::TimeDelta;
use millrace_operator_api::ports::{Alteration, Column, NewColumn, SourceColumn};
use millrace_operator_api::{PortErrorKind, TaskError};

use super::{Meeting, TableCopying};
use crate::parts::copying::config::NewColumns;
use crate::parts::report::while_doing;

/// Looks at the target, in all; a moment's trouble of a busy warehouse is no reason to begin anew.
const LOOKS: u32 = 3;
/// The pause after the first look; each is longer than the one before by as much.
const PAUSE: TimeDelta = TimeDelta::seconds(2);

impl TableCopying<'_> {
    /// The target's columns; `None` when there is no such table. Tried again while the warehouse is not to be had.
    pub(super) async fn look_at_target(&self) -> Result<Option<Vec<Column>>, TaskError> {
        let mut look = 1;
        loop {
            match self.job.warehouse.describe(&self.plan.target).await {
                Ok(columns) => return Ok(Some(columns)),
                Err(error) if error.kind == PortErrorKind::NotFound => return Ok(None),
                Err(error)
                    if look < LOOKS && matches!(error.kind, PortErrorKind::Unavailable | PortErrorKind::Other) =>
                {
                    let pause = PAUSE * i32::try_from(look).unwrap_or(1);
                    self.context.warning(format!(
                        "looking at {} failed ({look} of {LOOKS}), once more in {} s: {error}",
                        self.plan.target,
                        pause.num_seconds()
                    ));
                    self.context.clock.sleep(pause).await;
                    look += 1;
                }
                Err(error) => return Err(while_doing(&self.at("ensure_table"), error)),
            }
        }
    }

    pub(super) async fn ensure_table(&self, found: Vec<SourceColumn>) -> Result<Meeting, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let Some(existing) = self.look_at_target().await? else {
            return self.make_table(found).await;
        };
        let mut meeting = Meeting {
            columns: Vec::new(),
            names: Vec::new(),
            types: Vec::new(),
            is_part: false,
            changes: Vec::new(),
            exists: true,
        };
        let mut unknown = Vec::new();
        for column in found {
            let same = existing
                .iter()
                .find(|other| other.name == column.name)
                .or_else(|| existing.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)));
            match same {
                Some(other) => {
                    meeting.names.push(other.name.clone());
                    meeting.types.push(Some(other.type_name.clone()));
                    meeting.columns.push(column);
                }
                None => unknown.push(column),
            }
        }
        if unknown.is_empty() {
            return Ok(meeting);
        }
        let names = unknown.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        match plan.new_columns {
            NewColumns::Fail => {
                let known: Vec<&str> = existing.iter().map(|column| column.name.as_str()).collect();
                return Err(TaskError::Fail(format!(
                    "{}: the target has no column {names}; it has {}. new_columns: add makes it, new_columns: ignore leaves \
                     it out",
                    self.at("ensure_table"),
                    known.join(", ")
                )));
            }
            NewColumns::Ignore => {
                self.context.warning(format!("{}: {names} is not copied (new_columns: ignore)", plan.target));
                meeting.is_part = true;
            }
            NewColumns::Add => {
                let added: Vec<NewColumn> = unknown.iter().map(|column| self.new_column(column, true)).collect();
                meeting.changes = added.iter().map(|c| format!("add {} {}", c.name, c.type_name)).collect();
                if !job.dry_run {
                    let alterations: Vec<Alteration> = added.into_iter().map(Alteration::Add).collect();
                    let altered = job.warehouse.alter_table(&plan.target, &alterations).await;
                    altered.map_err(|error| while_doing(&self.at("ensure_table"), error))?;
                }
                for column in unknown {
                    meeting.names.push(column.name.clone());
                    meeting.types.push(None);
                    meeting.columns.push(column);
                }
            }
        }
        Ok(meeting)
    }

    async fn make_table(&self, found: Vec<SourceColumn>) -> Result<Meeting, TaskError> {
        let (job, plan) = (self.job, self.plan);
        if !plan.create_table {
            return Err(TaskError::Fail(format!(
                "{}: there is no table {}, and create_table is false",
                self.at("ensure_table"),
                plan.target
            )));
        }
        let is_key = |column: &SourceColumn| plan.primary_key.iter().any(|key| key.eq_ignore_ascii_case(&column.name));
        let columns: Vec<NewColumn> = found.iter().map(|column| self.new_column(column, !is_key(column))).collect();
        let keys: Vec<String> = plan
            .primary_key
            .iter()
            .filter_map(|key| columns.iter().find(|column| column.name.eq_ignore_ascii_case(key)))
            .map(|column| column.name.clone())
            .collect();
        let shown: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
        if !job.dry_run {
            let made = job.warehouse.create_table(&plan.target, &columns, &keys, true).await;
            made.map_err(|error| while_doing(&self.at("ensure_table"), error))?;
        }
        Ok(Meeting {
            names: columns.into_iter().map(|column| column.name).collect(),
            types: vec![None; found.len()],
            columns: found,
            is_part: false,
            changes: vec![format!("create {} ({})", plan.target, shown.join(", "))],
            exists: !job.dry_run,
        })
    }

    pub(super) fn new_column(&self, column: &SourceColumn, is_nullable: bool) -> NewColumn {
        NewColumn { name: column.name.clone(), type_name: self.job.warehouse.column_type(&column.value), is_nullable }
    }
}
