//! What tasks wait for, through the store and over restarts.

use millrace_model::change::TryOutcome;
use millrace_model::dag::Dag;
use millrace_model::state::RunState;
use serde_json::Value;

use crate::stage::{Stage, dag};

fn failure() -> TryOutcome {
    TryOutcome::Failed { reason: "error".into(), retry: false }
}

#[tokio::test]
async fn fail_fast_reaches_the_running_tries_and_goes_on_after_a_kill() {
    for is_killed in [false, true] {
        let mut stage = Stage::new(3).await;
        stage.put(&Dag { fail_fast: true, ..dag("d", Value::Null, &["a", "b", "c < b"]) }).await;
        stage.lead().await;
        stage.trigger("d").await;
        stage.turn().await;
        let running = stage.executor.running();
        let b = running.iter().find(|it| it.task().task_id.as_str() == "b").unwrap().instance;
        stage.end("a", failure()).await;
        assert_eq!(stage.executor.cancelled(), [(b, "fail_fast: a failed".to_owned())]);
        assert_eq!(stage.tasks().await, ["a failed 1", "b running 1", "c skipped 0"]);
        assert_eq!(stage.run_states().await, [RunState::Running], "it has not ended while a try runs");
        if is_killed {
            stage.kill();
            stage.lead().await;
        } else {
            stage.end("b", TryOutcome::Cancelled { reason: "fail_fast: a failed".into() }).await;
        }
        let b = stage.store.instance_by_key(b).await.unwrap().unwrap();
        assert_eq!((b.state.as_str(), b.state_reason.as_deref()), ("failed", Some("fail_fast: a failed")));
        let run = stage.runs().await.remove(0);
        assert_eq!((run.state, run.state_reason.as_deref()), (RunState::Failed, Some("fail_fast: a failed")));
    }
}
