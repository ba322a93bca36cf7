//! DAGs with groups, for tests.

use millrace_model::dag::Task;
use millrace_model::ids::TaskId;
use millrace_model::mapping::TaskGroup;

pub(super) fn group(id: &str, parent: Option<&str>) -> TaskGroup {
    TaskGroup {
        group_id: TaskId::new_unchecked(id),
        parent: parent.map(TaskId::new_unchecked),
        description: None,
        expand: None,
    }
}

pub(super) fn task(id: &str, group: Option<&str>, depends_on: &[&str]) -> Task {
    Task {
        group: group.map(TaskId::new_unchecked),
        depends_on: depends_on.iter().map(|id| TaskId::new_unchecked(*id)).collect(),
        ..Task::new(TaskId::new_unchecked(id), "bash")
    }
}
