//! The text of a task's `concurrency` key.

use std::sync::Arc;

use millrace_planner::KeyFacts;
use millrace_template::{NoLookup, RenderContext, RenderFacts, Renderer};

/// From params, conf and dates alone: the same facts give the same key, today and after a restart.
pub(crate) fn render(facts: &KeyFacts<'_>) -> Result<String, String> {
    let render_facts = RenderFacts {
        dag: facts.dag,
        task_id: facts.task.task_id.as_str(),
        run: facts.run,
        try_number: 1,
        max_tries: facts.task.retries,
        map_index: facts.map_index,
        is_test: false,
    };
    let renderer = Renderer::new(RenderContext::new(&render_facts, Arc::new(NoLookup)));
    let key = renderer.render_text(facts.template).map_err(|error| error.message)?;
    let key = key.trim();
    if key.is_empty() { Err(format!("{} comes to an empty text", facts.template)) } else { Ok(key.to_owned()) }
}
