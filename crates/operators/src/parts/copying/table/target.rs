//! The target of a copy: looked at, made or widened, and its columns met with those of the source.

use chrono::TimeDelta;
use millrace_operator_api::ports::{Alteration, Column, NO_SCHEMA, NewColumn, SourceColumn};
use millrace_operator_api::{PortErrorKind, TaskError};

use super::reading::Found;
use super::{Meeting, TableCopying};
use crate::parts::column_name::counterpart;
use crate::parts::copying::config::{NarrowColumns, NewColumns, RemovedColumns, SyncMode, Verify};
use crate::parts::loads::drift::{is_text_type, too_narrow};
use crate::parts::loads::unknown_clock::{self, Mend, Pair};
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
                Err(error) if error.kind == PortErrorKind::NotFound && error.code.as_deref() != Some(NO_SCHEMA) => {
                    return Ok(None);
                }
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

    pub(super) async fn ensure_table(&self, found: Found) -> Result<Meeting, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let Some(existing) = self.look_at_target().await? else {
            return self.make_table(found).await;
        };
        let mut meeting = Meeting {
            columns: Vec::new(),
            names: Vec::new(),
            types: Vec::new(),
            required: Vec::new(),
            is_part: found.has_dropped,
            zone: found.zone,
            field_is_written: found.field_is_written(&*job.source),
            treated: found.changed,
            changes: Vec::new(),
            drift: Vec::new(),
            added: Vec::new(),
            exists: true,
        };
        let (mut unknown, mut alterations) = (Vec::new(), Vec::new());
        let incoming = found.columns.clone();
        for column in found.columns {
            match counterpart(&existing, &column.name, &incoming) {
                Some(other) => {
                    let type_name = match self.wider(other, &column) {
                        Some(type_name) => {
                            meeting.drift.push(too_narrow(other, &column.value) + ": it was widened to " + &type_name);
                            meeting.changes.push(format!("widen {} to {type_name}", other.name));
                            let column = other.name.clone();
                            alterations.push(Alteration::Widen { column, type_name: type_name.clone() });
                            type_name
                        }
                        None => {
                            meeting.drift.extend(self.narrow(other, &column)?);
                            other.held_type().to_owned()
                        }
                    };
                    meeting.names.push(other.name.clone());
                    meeting.types.push(Some(type_name));
                    meeting.required.push(!other.is_nullable);
                    meeting.columns.push(column);
                }
                None => unknown.push(column),
            }
        }
        self.require_zones(&meeting)?;
        self.look_for_removed(&existing, &mut meeting)?;
        if !unknown.is_empty() {
            alterations.extend(self.meet_new(unknown, &existing, &mut meeting)?);
        }
        if !alterations.is_empty() && !job.dry_run {
            let altered = job.warehouse.alter_table(&plan.target, &alterations).await;
            altered.map_err(|error| while_doing(&self.at("ensure_table"), error))?;
            self.context.info(format!("{}: {}", self.at("ensure_table"), meeting.changes.join("; ")));
        }
        Ok(meeting)
    }

    pub(super) fn tell_of_target(&self, meeting: &Meeting) {
        self.checkpoint(
            "ensure_table",
            if meeting.changes.is_empty() {
                format!("{} takes {} columns", self.plan.target, meeting.names.len())
            } else {
                meeting.changes.join("; ")
            },
        );
    }

    /// The type that the target's column is to get, if it is too narrow for the source's and may be changed.
    fn wider(&self, known: &Column, column: &SourceColumn) -> Option<String> {
        // A domain would be gone with its rules.
        let is_wanted = self.plan.widen_columns && known.base_type.is_none() && self.is_too_narrow(known, column);
        is_wanted
            .then(|| self.job.warehouse.widened(known.held_type(), &column.value))
            .flatten()
            .filter(|type_name| *type_name != known.type_name)
    }

    /// Texts are read as what the target wants; where it wants no text they are converted or refused one by one.
    fn is_too_narrow(&self, known: &Column, column: &SourceColumn) -> bool {
        !self.job.warehouse.holds(known.held_type(), &column.value)
            && (!column.value.is_text() || is_text_type(known.held_type()))
    }

    /// What is told of a column that stays as it is.
    fn narrow(&self, known: &Column, column: &SourceColumn) -> Result<Option<String>, TaskError> {
        if !self.is_too_narrow(known, column) {
            return Ok(None);
        }
        let message = too_narrow(known, &column.value);
        if self.plan.narrow_columns == NarrowColumns::Fail {
            let mend = match known.base_type {
                Some(_) => "a domain is not widened: ALTER TABLE makes the column of another type".to_owned(),
                None => {
                    let engine = self.job.warehouse.engine();
                    format!("widen_columns: true makes it wider where {engine} can do that")
                }
            };
            return Err(TaskError::Fail(format!(
                "{}: {message} (narrow_columns: fail); {mend}",
                self.at("ensure_table")
            )));
        }
        let told = format!("{message}: a value that it does not hold is refused");
        self.context.info(format!("schema of {}: {told}", self.plan.target));
        Ok(Some(told))
    }

    /// A zone for times that go into columns of moments.
    fn require_zones(&self, meeting: &Meeting) -> Result<(), TaskError> {
        let of_days = "in columns ({at: {timezone: Asia/Seoul}})";
        let of_clocks = format!(
            "in source_timezone of the table or in the extra settings of {}, or for one column {of_days}",
            self.job.source_conn_id
        );
        let pairs = meeting.columns.iter().zip(&meeting.types).filter_map(|(column, type_name)| {
            Some(Pair { name: &column.name, value: &column.value, type_name: type_name.as_deref()? })
        });
        unknown_clock::refuse(&self.plan.target, pairs, &Mend { of_clocks: &of_clocks, of_days })
    }

    /// Columns of the target that no value comes in for.
    fn look_for_removed(&self, existing: &[Column], meeting: &mut Meeting) -> Result<(), TaskError> {
        let plan = self.plan;
        let missing: Vec<&Column> = existing.iter().filter(|column| !meeting.names.contains(&column.name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        if plan.removed_columns == RemovedColumns::Fail {
            return Err(TaskError::Fail(format!(
                "{}: the source has no column {names}, which {} has (removed_columns: fail)",
                self.at("ensure_table"),
                plan.target
            )));
        }
        let told = format!("the source has no column {names}; new rows get the default value");
        let message = format!("{}: {told}", plan.target);
        meeting.drift.push(told);
        // Of a table that is replaced the values that are there are lost.
        if plan.sync_mode == SyncMode::FullSync && missing.iter().any(|column| column.default.is_none()) {
            self.context.warning(message);
        } else {
            self.context.info(message);
        }
        Ok(())
    }

    /// Columns that the target does not have: what has to be done to it for them.
    fn meet_new(
        &self,
        unknown: Vec<SourceColumn>,
        existing: &[Column],
        meeting: &mut Meeting,
    ) -> Result<Vec<Alteration>, TaskError> {
        let plan = self.plan;
        let needed: Vec<&str> = plan
            .primary_key
            .iter()
            .chain(&plan.incremental_field)
            .filter(|name| unknown.iter().any(|column| column.name == **name))
            .map(String::as_str)
            .collect();
        if plan.new_columns != NewColumns::Add && !needed.is_empty() {
            return Err(TaskError::Fail(format!(
                "{}: the target has no column {}, by which rows are known; make it, or set new_columns: add",
                self.at("ensure_table"),
                needed.join(", ")
            )));
        }
        let names = unknown.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        match plan.new_columns {
            NewColumns::Fail => {
                let known: Vec<&str> = existing.iter().map(|column| column.name.as_str()).collect();
                Err(TaskError::Fail(format!(
                    "{}: the target has no column {names}; it has {}. new_columns: add makes it, new_columns: ignore leaves \
                     it out",
                    self.at("ensure_table"),
                    known.join(", ")
                )))
            }
            NewColumns::Ignore => {
                let told = format!(
                    "the source's {names} is not copied, because the target does not have it; new_columns: add makes it"
                );
                self.context.warning(format!("{}: {told}", plan.target));
                meeting.drift.push(told);
                meeting.is_part = true;
                Ok(Vec::new())
            }
            NewColumns::Add => {
                let added: Vec<NewColumn> = unknown.iter().map(|column| self.new_column(column, true)).collect();
                self.check_names(&added)?;
                meeting.changes.extend(added.iter().map(|c| format!("add {} {}", c.name, c.type_name)));
                for column in unknown {
                    meeting
                        .drift
                        .push(format!("column {} comes in, and the table did not have it: it was added", column.name));
                    meeting.added.push(column.name.clone());
                    meeting.names.push(column.name.clone());
                    meeting.types.push(None);
                    meeting.required.push(false);
                    meeting.columns.push(column);
                }
                Ok(added.into_iter().map(Alteration::Add).collect())
            }
        }
    }

    async fn make_table(&self, found: Found) -> Result<Meeting, TaskError> {
        let (job, plan) = (self.job, self.plan);
        let field_is_written = found.field_is_written(&*job.source);
        let Found { columns: found, has_dropped, zone, changed, .. } = found;
        if !plan.create_table {
            return Err(TaskError::Fail(format!(
                "{}: there is no table {}, and create_table is false",
                self.at("ensure_table"),
                plan.target
            )));
        }
        let is_key = |column: &SourceColumn| plan.primary_key.contains(&column.name);
        let columns: Vec<NewColumn> = found.iter().map(|column| self.new_column(column, !is_key(column))).collect();
        self.check_names(&columns)?;
        let keys: Vec<String> =
            plan.primary_key.iter().filter(|key| columns.iter().any(|column| column.name == **key)).cloned().collect();
        let required = columns.iter().map(|column| !column.is_nullable).collect();
        let shown: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
        if !job.dry_run {
            let made = job.warehouse.create_table(&plan.target, &columns, &keys, true).await;
            made.map_err(|error| while_doing(&self.at("ensure_table"), error))?;
        }
        Ok(Meeting {
            names: columns.into_iter().map(|column| column.name).collect(),
            types: vec![None; found.len()],
            required,
            columns: found,
            is_part: has_dropped,
            zone,
            field_is_written,
            treated: changed,
            changes: vec![format!("create {} ({})", plan.target, shown.join(", "))],
            drift: Vec::new(),
            added: Vec::new(),
            exists: !job.dry_run,
        })
    }

    /// What no two rows may have the same of: merged, one of them would take the place of the other in silence.
    pub(super) fn unique_by(&self, meeting: &Meeting) -> Vec<String> {
        let plan = self.plan;
        let is_asked = plan.sync_mode == SyncMode::IncrementalSync || plan.verify.contains(&Verify::Keys);
        if is_asked { meeting.target_names(&plan.primary_key) } else { Vec::new() }
    }

    /// A dry run makes nothing that would be refused.
    fn check_names(&self, columns: &[NewColumn]) -> Result<(), TaskError> {
        let refusal = self.job.warehouse.name_refusal(&self.plan.target, columns);
        refusal.map_or(Ok(()), |error| Err(while_doing(&self.at("ensure_table"), error)))
    }

    pub(super) fn new_column(&self, column: &SourceColumn, is_nullable: bool) -> NewColumn {
        NewColumn { name: column.name.clone(), type_name: self.job.warehouse.column_type(&column.value), is_nullable }
    }
}
