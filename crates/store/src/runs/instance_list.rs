//! Task instances of any DAG, as people browse them.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::ids::{DagId, RunId};
use millrace_model::state::TaskState;

use crate::conditions::{Conditions, DateSpan, count_to};
use crate::runs::instance::read_instance;
use crate::sql::values;
use crate::{InstanceRow, Result, Store, sql};

/// An instance and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedInstance {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub logical_date: DateTime<Utc>,
    pub run_after: DateTime<Utc>,
    pub row: InstanceRow,
}

/// Empty or `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct InstanceFilter {
    pub dag_ids: Vec<String>,
    pub run_ids: Vec<String>,
    pub task_ids: Vec<String>,
    /// A part of the task's name, in any case.
    pub task_part: Option<String>,
    /// -1: not mapped.
    pub map_indexes: Vec<i32>,
    /// Of mapped tasks only.
    pub is_mapped: bool,
    pub try_numbers: Vec<u32>,
    pub operators: Vec<String>,
    pub pools: Vec<String>,
    pub states: Vec<TaskState>,
    pub logical_date: DateSpan,
    pub run_after: DateSpan,
    pub start_date: DateSpan,
    pub end_date: DateSpan,
    /// From the start to the end, at least.
    pub duration_from: Option<TimeDelta>,
    /// At most.
    pub duration_to: Option<TimeDelta>,
    /// One of [`InstanceFilter::ORDERS`] or [`InstanceFilter::PLACE`], and whether it goes down; without one, the newest
    /// come first.
    pub order: Option<(&'static str, bool)>,
    pub limit: u64,
    pub offset: u64,
}

impl InstanceFilter {
    /// What instances can be ordered by.
    pub const ORDERS: &[&str] = &[
        "id",
        "task_id",
        "map_index",
        "state",
        "start_date",
        "end_date",
        "duration",
        "try_number",
        "operator",
        "pool",
        "logical_date",
        "run_after",
    ];

    /// As the instances of one run stand in it: in the order of its tasks, those of a mapped one by their index.
    pub const PLACE: &str = "place";

    /// The two databases sort what is not there to different ends: it counts as the least.
    fn order(&self) -> String {
        let Some((name, is_descending)) = self.order else { return "i.id DESC".to_owned() };
        let column = match name {
            "task_id" => "i.task_id",
            "map_index" => "i.map_index",
            "state" => "i.state",
            "start_date" => "COALESCE(i.start_date, 0)",
            "end_date" => "COALESCE(i.end_date, 0)",
            "duration" => "COALESCE(i.end_date - i.start_date, -1)",
            "try_number" => "i.try_number",
            "operator" => "i.operator",
            "pool" => "i.pool",
            "logical_date" => "r.logical_date",
            "run_after" => "r.run_after",
            Self::PLACE => {
                // The first of a mapped task stands where the task stood before it was mapped.
                return "COALESCE((SELECT f.id FROM task_instance f WHERE f.run_id = i.run_id AND f.task_id = i.task_id \
                        AND f.map_index = 0 AND i.map_index > 0), i.id), i.map_index"
                    .to_owned();
            }
            _ => "i.id",
        };
        let direction = if is_descending { "DESC" } else { "ASC" };
        format!("{column} {direction}, i.id {direction}")
    }

    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        conditions.among("r.dag_id", &self.dag_ids);
        conditions.among("r.run_id", &self.run_ids);
        conditions.among("i.task_id", &self.task_ids);
        if let Some(part) = &self.task_part {
            conditions.contains("i.task_id", part);
        }
        // Numbers, as our own words.
        let any_of = |numbers: &[String]| numbers.join(", ");
        if !self.map_indexes.is_empty() {
            let numbers: Vec<String> = self.map_indexes.iter().map(ToString::to_string).collect();
            conditions.add(format!("i.map_index IN ({})", any_of(&numbers)));
        }
        if self.is_mapped {
            conditions.add("i.map_index >= 0".to_owned());
        }
        if !self.try_numbers.is_empty() {
            let numbers: Vec<String> = self.try_numbers.iter().map(ToString::to_string).collect();
            conditions.add(format!("i.try_number IN ({})", any_of(&numbers)));
        }
        conditions.among("i.operator", &self.operators);
        conditions.among("i.pool", &self.pools);
        conditions.within("r.logical_date", self.logical_date);
        conditions.within("r.run_after", self.run_after);
        conditions.within("i.start_date", self.start_date);
        conditions.within("i.end_date", self.end_date);
        let micros = |length: TimeDelta| length.num_microseconds().unwrap_or(i64::MAX);
        if let Some(from) = self.duration_from {
            conditions.compare("i.end_date - i.start_date", ">=", micros(from));
        }
        if let Some(to) = self.duration_to {
            conditions.compare("i.end_date - i.start_date", "<=", micros(to));
        }
        if !self.states.is_empty() {
            // The words are our own. With the condition of the index beside them, SQLite sees that the index serves.
            let words: Vec<String> = self.states.iter().map(|state| format!("'{state}'")).collect();
            conditions.add(match words.as_slice() {
                [word] => format!("i.state = {word}"),
                _ => format!("i.state IN ({})", words.join(", ")),
            });
            if self.states.iter().all(|state| HELD_READY.contains(state)) {
                conditions.add(TROUBLED.to_owned());
            }
        }
        conditions
    }
}

const FROM: &str = "task_instance i JOIN dag_run r ON r.id = i.run_id";

impl Store {
    /// How many the filter chooses, counted to `most`.
    pub async fn count_instances(&self, filter: &InstanceFilter, most: u64) -> Result<u64> {
        let conditions = filter.conditions();
        let count = count_to(most, &format!("{FROM}{}", conditions.clause()));
        self.count_rows("count task instances", count, conditions.values).await
    }

    /// The newest first, unless they are ordered.
    pub async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<ListedInstance>> {
        let conditions = filter.conditions();
        let (clause, mut values) = (conditions.clause(), conditions.values);
        let (limit, offset) = (values.len() + 1, values.len() + 2);
        let sql = format!(
            "SELECT i.*, r.dag_id, r.run_id AS run_name, r.logical_date, r.run_after FROM {FROM}{clause} \
             ORDER BY {} LIMIT ${limit} OFFSET ${offset}",
            filter.order()
        );
        values.extend(values![
            i64::try_from(filter.limit).unwrap_or(i64::MAX),
            i64::try_from(filter.offset).unwrap_or(i64::MAX)
        ]);
        let rows = sql::all(self.reader(), "list task instances", sql, values).await?;
        rows.iter()
            .map(|row| {
                Ok(ListedInstance {
                    dag_id: DagId::new_unchecked(row.text("dag_id")?),
                    run_id: RunId::new_unchecked(row.text("run_name")?),
                    logical_date: row.instant("logical_date")?,
                    run_after: row.instant("run_after")?,
                    row: read_instance(row)?,
                })
            })
            .collect()
    }
}

/// States that are rare among many instances, and looked for.
const HELD_READY: [TaskState; 3] = [TaskState::Failed, TaskState::UpstreamFailed, TaskState::UpForRetry];

/// As the index `task_instance_troubled` has it.
const TROUBLED: &str = "i.state IN ('failed', 'upstream_failed', 'up_for_retry')";
