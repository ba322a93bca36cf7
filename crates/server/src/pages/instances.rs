//! The instances of mapped tasks, and the tasks of groups: what is shown together, and in which state.

use std::collections::HashMap;

use millrace_model::dag::{Dag, Task};
use millrace_model::mapping::TaskGroup;
use millrace_model::state::TaskState;
use millrace_settings::Masker;
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

/// The groups that a task stands in, the outermost first.
pub(super) fn groups_around<'a>(dag: &'a Dag, task: &'a Task) -> Vec<&'a str> {
    let mut groups: Vec<&str> = dag.groups_of(task).map(|group| group.group_id.as_str()).collect();
    groups.reverse();
    groups
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

/// In which section each task stands, whose group is given: one for each group, also when a task that was taken out of it
/// stands between its others, and one for neighbours without a group.
fn places(groups: &[Option<&str>]) -> Vec<usize> {
    let mut sections = Vec::new();
    let mut places = Vec::with_capacity(groups.len());
    for group in groups {
        let known = sections.iter().rposition(|section| section == group);
        let known = known.filter(|at| group.is_some() || at + 1 == sections.len());
        places.push(known.unwrap_or(sections.len()));
        if known.is_none() {
            sections.push(*group);
        }
    }
    places
}

/// Folds a run's instances, which are in the order of the tasks: a line for each task, a section for each group where its
/// first task stands.
pub(super) fn sections<T>(
    dag: &Dag,
    rows: &[InstanceRow],
    masker: &Masker,
    line: impl Fn(&[InstanceRow]) -> T,
) -> Vec<Section<T>> {
    let tasks: HashMap<&str, &Task> = dag.tasks.iter().map(|task| (task.task_id.as_str(), task)).collect();
    let by_task: Vec<&[InstanceRow]> = rows.chunk_by(|one, other| one.task_id == other.task_id).collect();
    let outermost =
        |rows: &&[InstanceRow]| tasks.get(rows[0].task_id.as_str()).and_then(|task| dag.groups_of(task).last());
    let outermost: Vec<Option<&TaskGroup>> = by_task.iter().map(outermost).collect();
    let ids: Vec<Option<&str>> = outermost.iter().map(|group| group.map(|group| group.group_id.as_str())).collect();
    let mut sections: Vec<Section<T>> = Vec::new();
    let mut of_groups: Vec<Vec<&InstanceRow>> = Vec::new();
    for ((of_task, outermost), at) in by_task.into_iter().zip(outermost).zip(places(&ids)) {
        if at == sections.len() {
            let group = outermost.map(|group| GroupLine {
                group_id: group.group_id.to_string(),
                description: group.description.as_deref().map(|text| masker.mask(text)),
                state: "none",
                counts: Vec::new(),
                is_open: false,
            });
            sections.push(Section { group, tasks: Vec::new() });
            of_groups.push(Vec::new());
        }
        sections[at].tasks.push(line(of_task));
        of_groups[at].extend(of_task);
    }
    for (section, members) in sections.iter_mut().zip(of_groups) {
        let (Some(group), Some(most)) = (&mut section.group, most_urgent(members.iter().copied())) else { continue };
        group.state = most.state.as_str();
        group.counts = counts(members.iter().copied());
        group.is_open = urgency(most.state) >= urgency(TaskState::Running);
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn a_group_is_one_section_though_a_task_was_taken_out_of_it() {
        let (a, b) = (Some("a"), Some("b"));
        assert_eq!(places(&[None, a, a, None, a, b, None]), [0, 1, 1, 2, 1, 3, 4]);
        assert_eq!(places(&[None, None, a, b, a]), [0, 0, 1, 2, 1]);
    }
}
