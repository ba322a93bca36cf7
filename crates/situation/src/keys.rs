//! The text of a `concurrency` key, a task's or a run's.

use std::sync::Arc;

use millrace_planner::KeyFacts;
use millrace_template::{NoLookup, RenderContext, RenderFacts, Renderer};

/// From params, conf and dates alone: the same facts give the same key, today and after a restart.
pub(crate) fn render(facts: &KeyFacts<'_>) -> Result<String, String> {
    let render_facts = RenderFacts {
        dag: facts.dag,
        task_id: facts.task.map_or("", |task| task.task_id.as_str()),
        run: facts.run,
        try_number: 1,
        max_tries: facts.task.map_or(0, |task| task.retries),
        map_index: facts.map_index,
        is_test: false,
    };
    let renderer = Renderer::new(RenderContext::new(&render_facts, Arc::new(NoLookup)));
    let key = renderer.render_text(facts.template).map_err(|error| error.message)?;
    let key = key.trim();
    if key.is_empty() { Err(format!("{} comes to an empty text", facts.template)) } else { Ok(key.to_owned()) }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use millrace_model::change::RunFacts;
    use millrace_model::dag::{Dag, Task};
    use millrace_model::ids::{DagId, RunId, TaskId};
    use millrace_model::schedule::DataInterval;
    use millrace_model::state::RunType;
    use serde_json::json;

    use super::*;

    fn key(template: &str) -> Result<String, String> {
        let at = DateTime::from_timestamp(1_704_067_200, 0).unwrap_or_default();
        let task = Task::new(TaskId::new_unchecked("a"), "noop");
        let mut dag = Dag { tasks: vec![task.clone()], ..Dag::new(DagId::new_unchecked("d")) };
        dag.params.insert("region".to_owned(), json!("eu"));
        let run = RunFacts {
            run_key: 1,
            run_id: RunId::new_unchecked("r"),
            run_type: RunType::Manual,
            logical_date: at,
            data_interval: DataInterval { start: at, end: at },
            run_after: at,
            created_at: at,
            start_date: None,
            conf: json!({ "tenant": 7 }).as_object().cloned().unwrap_or_default(),
            asset_events: Vec::new(),
        };
        render(&KeyFacts { template, dag: &dag, task: Some(&task), run: &run, map_index: -1 })
    }

    #[test]
    fn a_key_knows_params_conf_and_dates() {
        assert_eq!(key("{{ params.region }}/{{ dag_run.conf.tenant }}/{{ ds }}").as_deref(), Ok("eu/7/2024-01-01"));
        assert_eq!(key(" plain ").as_deref(), Ok("plain"));
    }

    #[test]
    fn a_key_that_says_nothing_is_an_error() {
        assert!(key("{{ params.regoin }}").unwrap_err().contains("did you mean 'region'"));
        assert!(key("{{ '' }}").unwrap_err().contains("empty"));
    }
}
