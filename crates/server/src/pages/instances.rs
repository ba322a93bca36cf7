//! The instances of mapped tasks, and the tasks of groups: what is shown together, and in which state.

use std::collections::HashMap;

use millrace_model::dag::{Dag, Task};
use millrace_model::state::TaskState;
use millrace_store::InstanceRow;
use serde::Serialize;

/// Of several, the state that says most about them comes first.
pub(super) fn urgency(state: TaskState) -> u8 {
    match state {
        TaskState::Failed => 9,
        TaskState::UpstreamFailed => 8,
        TaskState::UpForRetry => 7,
        TaskState::Running | TaskState::Restarting => 6,
        TaskState::Deferred | TaskState::AwaitingInput | TaskState::UpForReschedule => 5,
        TaskState::Queued => 4,
        TaskState::Scheduled => 3,
        TaskState::None => 2,
        TaskState::Success => 1,
        TaskState::Skipped | TaskState::Removed => 0,
    }
}

/// The one that says most about all of them.
pub(super) fn most_urgent<'a>(rows: impl IntoIterator<Item = &'a InstanceRow>) -> Option<&'a InstanceRow> {
    // The first of equals.
    rows.into_iter().fold(None, |most: Option<&InstanceRow>, row| match most {
        Some(most) if urgency(most.state) >= urgency(row.state) => Some(most),
        _ => Some(row),
    })
}

/// `18 success, 2 failed`, the most urgent first.
pub(super) fn counts<'a>(rows: impl IntoIterator<Item = &'a InstanceRow>) -> Vec<(&'static str, usize)> {
    let mut counts: Vec<(TaskState, usize)> = Vec::new();
    for row in rows {
        match counts.iter_mut().find(|(state, _)| *state == row.state) {
            Some((_, count)) => *count += 1,
            None => counts.push((row.state, 1)),
        }
    }
    counts.sort_by_key(|(state, _)| std::cmp::Reverse(urgency(*state)));
    counts.into_iter().map(|(state, count)| (state.as_str(), count)).collect()
}

/// What an instance of a mapped task is called.
pub(super) fn name(row: &InstanceRow) -> String {
    match (&row.rendered_map_index, row.map_index) {
        (Some(name), index) => format!("{index}: {name}"),
        (None, -1) => "not expanded yet".to_owned(),
        (None, index) => index.to_string(),
    }
}

/// The tasks of a run that are shown one after another: those of one outermost group, or of none.
#[derive(Debug, Serialize)]
pub(super) struct Section<T> {
    pub group: Option<GroupLine>,
    pub tasks: Vec<T>,
}

#[derive(Debug, Serialize)]
pub(super) struct GroupLine {
    pub group_id: String,
    pub description: Option<String>,
    pub state: &'static str,
    pub counts: Vec<(&'static str, usize)>,
    /// Something in it wants to be seen.
    pub is_open: bool,
}

/// Folds a run's instances, which are in the order of the tasks: a line for each task, a section for each group.
pub(super) fn sections<T>(dag: &Dag, rows: &[InstanceRow], line: impl Fn(&[InstanceRow]) -> T) -> Vec<Section<T>> {
    let tasks: HashMap<&str, &Task> = dag.tasks.iter().map(|task| (task.task_id.as_str(), task)).collect();
    let mut sections: Vec<Section<T>> = Vec::new();
    let mut of_groups: Vec<Vec<&InstanceRow>> = Vec::new();
    for of_task in rows.chunk_by(|one, other| one.task_id == other.task_id) {
        let outermost = tasks.get(of_task[0].task_id.as_str()).and_then(|task| dag.groups_of(task).last());
        let id = outermost.map(|group| group.group_id.as_str());
        let known = sections.last().map(|section| section.group.as_ref().map(|group| group.group_id.as_str()));
        if known != Some(id) {
            let group = outermost.map(|group| GroupLine {
                group_id: group.group_id.to_string(),
                description: group.description.clone(),
                state: "none",
                counts: Vec::new(),
                is_open: false,
            });
            sections.push(Section { group, tasks: Vec::new() });
            of_groups.push(Vec::new());
        }
        if let (Some(section), Some(members)) = (sections.last_mut(), of_groups.last_mut()) {
            section.tasks.push(line(of_task));
            members.extend(of_task);
        }
    }
    for (section, members) in sections.iter_mut().zip(of_groups) {
        let (Some(group), Some(most)) = (&mut section.group, most_urgent(members.iter().copied())) else { continue };
        group.state = most.state.as_str();
        group.counts = counts(members.iter().copied());
        group.is_open = urgency(most.state) >= urgency(TaskState::Running);
    }
    sections
}
