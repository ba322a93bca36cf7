//! What a task asks of its pool that it can never get.

use std::collections::BTreeMap;
use std::fmt;

use crate::dag::{Dag, Task};

/// Slots by the pool's name; negative: without limit.
pub type PoolSizes = BTreeMap<String, i64>;

/// Why a task can never run, whatever else ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolFault {
    Unknown { task_id: String, pool: String },
    TooSmall { task_id: String, pool: String, slots: i64, needed: u32 },
}

impl PoolFault {
    pub fn of(task: &Task, pools: &PoolSizes) -> Option<Self> {
        // An inline task takes no slot of any pool.
        if task.is_inline {
            return None;
        }
        let (task_id, pool) = (task.task_id.to_string(), task.pool.clone());
        match pools.get(&task.pool) {
            None => Some(Self::Unknown { task_id, pool }),
            Some(slots) if *slots >= 0 && i64::from(task.pool_slots) > *slots => {
                Some(Self::TooSmall { task_id, pool, slots: *slots, needed: task.pool_slots })
            }
            Some(_) => None,
        }
    }

    /// Of all tasks, in the order of the file.
    pub fn all_of(dag: &Dag, pools: &PoolSizes) -> Vec<Self> {
        dag.tasks.iter().filter_map(|task| Self::of(task, pools)).collect()
    }

    pub fn task_id(&self) -> &str {
        match self {
            Self::Unknown { task_id, .. } | Self::TooSmall { task_id, .. } => task_id,
        }
    }

    /// Airflow's word for the first kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "non-existent pool",
            Self::TooSmall { .. } => "pool too small",
        }
    }

    /// How to mend it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { pool, .. } => format!("`millrace pools set {pool} SLOTS` makes it"),
            Self::TooSmall { pool, needed, .. } => {
                format!("`millrace pools set {pool} {needed}` makes it large enough; or let the task need fewer slots")
            }
        }
    }
}

impl fmt::Display for PoolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { task_id, pool } => {
                write!(f, "the task '{task_id}' can never run: there is no pool '{pool}'")
            }
            Self::TooSmall { task_id, pool, slots, needed } => write!(
                f,
                "the task '{task_id}' can never run: it needs {needed} slots, and the pool '{pool}' has {slots}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;

    #[test]
    fn only_what_can_never_run_is_a_fault() {
        let pools = PoolSizes::from([("two".to_owned(), 2), ("open".to_owned(), -1), ("shut".to_owned(), 0)]);
        let text = |pool: &str, slots| {
            let mut task = Task::new(TaskId::new_unchecked("a"), "bash");
            (task.pool, task.pool_slots) = (pool.to_owned(), slots);
            PoolFault::of(&task, &pools).map(|fault| fault.to_string())
        };
        assert_eq!((text("two", 2), text("open", 500)), (None, None));
        assert_eq!(text("two", 3).unwrap(), "the task 'a' can never run: it needs 3 slots, and the pool 'two' has 2");
        assert!(text("shut", 1).is_some());
        assert_eq!(text("tow", 1).unwrap(), "the task 'a' can never run: there is no pool 'tow'");
        let inline = Task { is_inline: true, pool: "tow".to_owned(), ..Task::new(TaskId::new_unchecked("a"), "empty") };
        assert_eq!(PoolFault::of(&inline, &pools), None);
    }
}
