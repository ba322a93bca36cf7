//! What the colours and marks mean.

use axum::extract::State;
use http::HeaderMap;
use millrace_model::state::TaskState;

use crate::access::person::Person;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;
use crate::words::said;

const fn meaning(state: TaskState) -> &'static str {
    match state {
        TaskState::None => said!("Waits for the tasks before it."),
        TaskState::Scheduled => said!("Everything before it is done; it waits for a slot in its pool or run."),
        TaskState::Queued => said!("Waits for a worker."),
        TaskState::Running => said!("A worker is at it."),
        TaskState::Deferred => said!("Waits for something outside, without holding a slot."),
        TaskState::AwaitingInput => said!("Waits for a person's answer."),
        TaskState::UpForRetry => said!("Failed, and will be tried again."),
        TaskState::UpForReschedule => said!("Looked, found nothing yet, and will look again."),
        TaskState::Restarting => said!("Was cleared while it ran; it is stopped, then runs again."),
        TaskState::Success => said!("Done."),
        TaskState::Failed => said!("Failed, and no try is left."),
        TaskState::UpstreamFailed => said!("Never got its chance, because one before it failed."),
        TaskState::Skipped => said!("Was not needed this time."),
        TaskState::Removed => said!("The DAG no longer has this task."),
    }
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let states: Vec<(&str, &str)> = TaskState::ALL.iter().map(|state| (state.as_str(), meaning(*state))).collect();
    server.page("legend.html", Some(&person), &Wishes::of(&headers), values! { states }).await
}
