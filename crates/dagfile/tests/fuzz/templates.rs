//! Templates, as they are checked and as they are rendered.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::RunFacts;
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunType;
use millrace_template::{
    ConnView, Lookup, RenderContext, RenderFacts, Renderer, check_syntax, has_substitution, is_template,
    referenced_names, substitute,
};
use millrace_testkit::Fuzz;
use serde_json::{Value, json};

struct Known;

impl Lookup for Known {
    fn variable(&self, key: &str) -> Result<Option<String>, String> {
        Ok((key == "bucket").then(|| "{\"a\": [1, 2]}".to_owned()))
    }

    fn connection(&self, _: &str) -> Result<Option<ConnView>, String> {
        Err("the vault is shut".to_owned())
    }

    fn xcom(&self, _: &str, _: &str) -> Result<Option<Value>, String> {
        Ok(Some(json!({"rows": 7})))
    }

    fn xcom_at(&self, _: &str, _: &str, _: i32) -> Result<Option<Value>, String> {
        Ok(None)
    }
}

const SEEDS: &[&str] = &[
    "{{ ds }} {{ ds_nodash }} {{ ts }}",
    "{{ macros.ds_add(ds, -1) }}/{{ ds_format(ds, '%Y-%m-%d', '%d.%m.%Y') }}",
    "{% for i in range(3) %}{{ loop.index }}{% endfor %}",
    "{% if params.limit > 3 %}LIMIT {{ params.limit }}{% else %}none{% endif %}",
    "{{ var.value.bucket }} {{ var.json.bucket.a }} {{ var.value.get('x', 'd') }}",
    "{{ ti.xcom_pull(task_ids='a')['rows'] | default(1) }}",
    "{{ data_interval_start.strftime('%Y/%m/%d %H:%M:%S %j %U') }} {{ logical_date.in_timezone('Asia/Seoul') }}",
    "{{ conn.db.host }}",
    "{{ (data_interval_end - data_interval_start).total_seconds() }} {{ logical_date + macros.timedelta(days=1) }}",
    "{{ dag.dag_id | upper | replace('N', 'm') }} {{ [3, 1, 2] | sort | join(',') }} {{ 'a' * 10 }} {{ 2 ** 10 }}",
    "{% set x = namespace(n=0) %}{% set x.n = x.n + 1 %}{{ x.n }} {% raw %}{{ ds }}{% endraw %} {# note #}",
    "${region} $${no} ${a.b}",
];

const WORDS: &[&str] = &[
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "endfor",
    "endif",
    "for i in ",
    "range(",
    "10000000000",
    "ds",
    "params",
    ".get(",
    "macros.",
    "| tojson",
    "| int",
    "| float",
    "| round(9)",
    "| batch(2)",
    "| slice(3)",
    "strftime('%",
    "%s%f%z%+",
    "timedelta(",
    "days=",
    "hours=1e9",
    "** 99",
    "% 0",
    "// 0",
    "~",
    "is defined",
    "[::-1]",
    "[0:",
    "caller()",
    "{% macro m() %}",
    "{{ m() }}",
    "| join",
    "| indent(99999)",
    "| center(999999999)",
    "* 99999999",
];

#[test]
fn fuzz_templates() {
    let start: DateTime<Utc> = "2024-02-29T15:00:00Z".parse().unwrap();
    let params = json!({"limit": 5, "nothing": null, "list": [1, "two"]});
    let dag = Dag { params: params.as_object().cloned().unwrap(), ..Dag::new(DagId::parse("nps").unwrap()) };
    let run = RunFacts {
        run_key: 1,
        run_id: RunId::new_unchecked("r"),
        run_type: RunType::Scheduled,
        logical_date: start,
        data_interval: DataInterval::new(start, start + TimeDelta::days(1)),
        run_after: start,
        created_at: start,
        start_date: None,
        conf: serde_json::Map::new(),
        asset_events: Vec::new(),
    };
    let facts = RenderFacts {
        dag: &dag,
        task_id: "load",
        run: &run,
        try_number: 1,
        max_tries: 0,
        map_index: -1,
        is_test: false,
    };
    let renderer = Renderer::new(RenderContext::new(&facts, Arc::new(Known)));
    let names = json!({"region": "seoul", "a": {"b": 1}});
    let names = names.as_object().unwrap();
    Fuzz::new("templates", 2_500).seeds(SEEDS).words(WORDS).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (checked, rendered) = (check_syntax(&text), renderer.render_text(&text));
        if has_substitution(&text) {
            let _ = substitute(&text, names);
        }
        if let Err(error) = &checked {
            assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty(), "{error:?}");
            assert!(error.line <= text.lines().count() + 1, "behind the end: {error:?}");
            assert!(rendered.is_err(), "what cannot be read was rendered");
        }
        referenced_names(&text);
        match rendered {
            Ok(out) => {
                assert!(is_template(&text) || out == text);
                format!("{}", out.len().min(64))
            }
            Err(error) => {
                assert!(!error.message.is_empty());
                error.message.chars().filter(|letter| letter.is_ascii_lowercase() || *letter == ' ').take(32).collect()
            }
        }
    });
}
