//! What templates give, as users write them.

#![expect(clippy::unwrap_used, reason = "a failing test is what they are for")]

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::change::RunFacts;
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::{DataInterval, RunImmediately, Schedule, Timetable, TimetableKind};
use millrace_model::state::RunType;
use millrace_template::{
    ConnView, Lookup, PreviousSuccess, RenderContext, RenderFacts, Renderer, TEMPLATE_MARKER, is_known_name,
    referenced_names, render_parameters,
};
use serde_json::{Map, Value, json};

struct Known;

impl Lookup for Known {
    fn variable(&self, key: &str) -> Result<Option<String>, String> {
        match key {
            "broken" => Err("the database is away".to_owned()),
            "bucket" => Ok(Some("landing".to_owned())),
            "settings" => Ok(Some(r#"{"region": {"name": "ap-northeast-2"}, "days": 7}"#.to_owned())),
            _ => Ok(None),
        }
    }

    fn connection(&self, conn_id: &str) -> Result<Option<ConnView>, String> {
        let extra = json!({"iam_role": "arn:aws:iam::1:role/x"}).as_object().cloned().unwrap_or_default();
        Ok((conn_id == "redshift_dev").then(|| ConnView {
            conn_type: "redshift".to_owned(),
            host: Some("db.example".to_owned()),
            login: Some("loader".to_owned()),
            password: Some("s3cret".to_owned()),
            port: Some(5439),
            extra,
            ..ConnView::default()
        }))
    }

    fn xcom(&self, task_id: &str, key: &str) -> Result<Option<Value>, String> {
        Ok(match (task_id, key) {
            ("count", "return_value") => Some(json!({"rows": 42})),
            // As of a mapped task.
            ("pairs", "return_value") => Some(json!([{"rows": 1}, {"rows": 2}])),
            ("pairs", _) => Some(json!([])),
            _ => None,
        })
    }

    fn xcom_at(&self, task_id: &str, key: &str, map_index: i32) -> Result<Option<Value>, String> {
        Ok(match (task_id, key) {
            ("each", "return_value") if map_index < 3 => Some(json!(map_index * 10)),
            ("pairs", "return_value") if map_index < 2 => Some(json!({"rows": map_index + 1})),
            _ => None,
        })
    }

    fn prior_xcom(&self, task_id: &str, key: &str) -> Result<Option<Value>, String> {
        Ok((matches!(task_id, "count" | "before") && key == "return_value").then(|| json!({"rows": 41})))
    }

    fn previous_success(&self) -> Result<Option<PreviousSuccess>, String> {
        let (start, end) = (at("2024-01-01T00:00:00Z"), at("2024-01-02T00:00:00Z"));
        let data_interval = DataInterval { start, end };
        Ok(Some(PreviousSuccess { logical_date: start, data_interval, start_date: Some(end), end_date: None }))
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn dag() -> Dag {
    let timetable = Timetable::interval(Schedule::from_value(&json!("@daily")).unwrap(), chrono_tz::Asia::Seoul);
    Dag {
        timetable,
        start_date: Some(at("2024-01-01T00:00:00Z")),
        tags: vec!["nps".to_owned()],
        params: json!({"limit": 5, "s3_bucket": "from-params", "nothing": null}).as_object().cloned().unwrap(),
        ..Dag::new(DagId::parse("nps").unwrap())
    }
}

fn context(logical_date: &str) -> RenderContext {
    let start = at(logical_date);
    let run = RunFacts {
        run_key: 1,
        run_id: RunId::new_unchecked(format!("scheduled__{logical_date}")),
        run_type: RunType::Scheduled,
        logical_date: start,
        data_interval: DataInterval::new(start, start + chrono::TimeDelta::days(1)),
        run_after: start,
        created_at: start,
        start_date: None,
        conf: json!({"limit": 9, "who": "me"}).as_object().cloned().unwrap(),
        asset_events: Vec::new(),
    };
    let dag = dag();
    let facts = RenderFacts {
        dag: &dag,
        task_id: "load",
        run: &run,
        try_number: 2,
        max_tries: 3,
        map_index: -1,
        is_test: false,
    };
    RenderContext::new(&facts, Arc::new(Known))
}

/// Seoul's midnight of 10 March 2024.
const LOGICAL_DATE: &str = "2024-03-09T15:00:00Z";

fn check(cases: &[(&str, &str)]) {
    let renderer = Renderer::new(context(LOGICAL_DATE));
    for (text, expected) in cases {
        match renderer.render_text(text) {
            Ok(rendered) => assert_eq!(rendered, *expected, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

fn check_errors(cases: &[(&str, &[&str])]) {
    let renderer = Renderer::new(context(LOGICAL_DATE));
    for (text, parts) in cases {
        let error = renderer.render_text(text).expect_err(text).message;
        for part in *parts {
            assert!(error.contains(part), "{text}: {error:?} lacks {part:?}");
        }
    }
}

#[test]
fn dates() {
    check(&[
        ("{{ ds }}", "2024-03-09"),
        ("{{ ds_nodash }}", "20240309"),
        ("{{ ds_local }} {{ ds_local_nodash }}", "2024-03-10 20240310"),
        ("{{ ts }}", "2024-03-09T15:00:00+00:00"),
        ("{{ ts_local }}", "2024-03-10T00:00:00+09:00"),
        ("{{ ts_nodash }}", "20240309T150000"),
        ("{{ ts_nodash_with_tz }}", "20240309T150000+0000"),
        ("{{ logical_date }}", "2024-03-09T15:00:00+00:00"),
        ("DATE('{{ execution_date }}')", "DATE('2024-03-09T15:00:00+00:00')"),
        ("{{ data_interval_start }} {{ data_interval_end }}", "2024-03-09T15:00:00+00:00 2024-03-10T15:00:00+00:00"),
        ("{{ data_interval_end | ds }} {{ data_interval_end | ds_nodash }}", "2024-03-10 20240310"),
        (
            "{{ data_interval_end | ts }} {{ data_interval_end | ts_nodash_with_tz }}",
            "2024-03-10T15:00:00+00:00 20240310T150000+0000",
        ),
        ("{{ prev_ds }} {{ next_ds }} {{ next_ds_nodash }}", "2024-03-08 2024-03-10 20240310"),
        ("{{ yesterday_ds }} {{ tomorrow_ds }} {{ tomorrow_ds_nodash }}", "2024-03-08 2024-03-10 20240310"),
        ("{{ logical_date.strftime('%Y/%m/%d %H:%M:%S.%f') }}", "2024/03/09 15:00:00.000000"),
        ("{{ logical_date.in_timezone('Asia/Seoul').strftime('%Y-%m-%d %z') }}", "2024-03-10 +0900"),
        ("{{ logical_date.date() }} {{ logical_date.year }} {{ logical_date.isoweekday() }}", "2024-03-09 2024 6"),
        ("{{ logical_date.add(days=-9, hours=1) }}", "2024-02-29T16:00:00+00:00"),
        ("{{ logical_date.subtract(months=1).to_date_string() }}", "2024-02-09"),
        ("{{ logical_date.add(macros.timedelta(days=1)) | ds }}", "2024-03-10"),
        ("{{ logical_date.replace(day=1).to_datetime_string() }}", "2024-03-01 15:00:00"),
        ("{{ logical_date.start_of('month') | ds }} {{ logical_date.end_of('month') | ds }}", "2024-03-01 2024-03-31"),
        ("{{ data_interval_end.diff(data_interval_start).in_hours() }}", "24"),
        ("{{ 'early' if logical_date < data_interval_end else 'late' }}", "early"),
    ]);
}

#[test]
fn microseconds_show_only_when_there_are_any() {
    let renderer = Renderer::new(context("2024-03-09T15:00:00.000120Z"));
    assert_eq!(renderer.render_text("{{ ts }}").unwrap(), "2024-03-09T15:00:00.000120+00:00");
}

/// Runs that stand for a moment cover nothing that could tell the dates beside theirs.
#[test]
fn dates_before_and_after_are_the_schedules() {
    let interval = |text: &str| TimetableKind::Trigger {
        interval: Some(text.parse().unwrap()),
        run_immediately: RunImmediately::default(),
    };
    let fires = TimetableKind::Trigger { interval: None, run_immediately: RunImmediately::default() };
    let listed = json!({"at": ["2024-01-02", "2024-01-05", "2024-01-09"]});
    for (schedule, kind, date, expected) in [
        (json!("@daily"), TimetableKind::Interval, "2024-01-05", "2024-01-04 2024-01-06"),
        (json!("@daily"), fires, "2024-01-05", "2024-01-04 2024-01-06"),
        (json!("0 0 * * 1,4"), fires, "2024-01-04", "2024-01-01 2024-01-08"),
        (json!("@weekly"), interval("24h"), "2024-01-07", "2023-12-31 2024-01-14"),
        (json!({"every": "2d"}), fires, "2024-01-05", "2024-01-03 2024-01-07"),
        (json!({"every": "2d"}), TimetableKind::Interval, "2024-01-05", "2024-01-03 2024-01-07"),
        // From 31 July on; others go back by months as they are.
        (json!({"every": "1mo"}), fires, "2023-09-30", "2023-08-31 2023-10-30"),
        (json!({"every": "1mo"}), fires, "2023-07-31", "2023-06-30 2023-08-31"),
        (json!({"every": "1mo"}), fires, "2023-09-15", "2023-08-15 2023-10-15"),
        (listed.clone(), TimetableKind::Interval, "2024-01-05", "2024-01-02 2024-01-09"),
        (listed.clone(), fires, "2024-01-02", "None 2024-01-05"),
        (listed, fires, "2024-01-09", "2024-01-05 None"),
    ] {
        let mut dag = dag();
        dag.start_date = Some(at("2023-07-31T00:00:00Z"));
        dag.timetable =
            Timetable { schedule: Schedule::from_value(&schedule).unwrap(), kind, timezone: chrono_tz::Tz::UTC };
        let date = at(&format!("{date}T00:00:00Z"));
        let planned = dag.timetable.run_at(date, Some(date)).unwrap();
        let run = RunFacts {
            run_key: 1,
            run_id: RunId::new_unchecked("backfill__x"),
            run_type: RunType::Backfill,
            logical_date: planned.logical_date,
            data_interval: planned.data_interval,
            run_after: planned.run_after,
            created_at: planned.run_after,
            start_date: None,
            conf: Map::new(),
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
        let shown = |text: &str| renderer.render_text(text).unwrap();
        assert_eq!(shown("{{ prev_ds }} {{ next_ds }}"), expected, "{schedule} {kind:?}");
        let moments = "{{ prev_execution_date | ds }} {{ next_execution_date | ds }}";
        assert_eq!(shown(moments), expected, "{schedule} {kind:?}");
        let nodash = shown("{{ prev_ds_nodash }} {{ next_ds_nodash }}");
        assert_eq!(nodash, expected.replace('-', ""), "{schedule} {kind:?}");
    }
}

#[test]
fn a_manual_run_has_no_neighbours() {
    let (dag, logical_date) = (dag(), at(LOGICAL_DATE));
    let run = RunFacts {
        run_key: 1,
        run_id: RunId::new_unchecked("manual__x"),
        run_type: RunType::Manual,
        logical_date,
        data_interval: DataInterval::point(logical_date),
        run_after: logical_date,
        created_at: logical_date,
        start_date: None,
        conf: Map::new(),
        asset_events: Vec::new(),
    };
    let facts = RenderFacts {
        dag: &dag,
        task_id: "load",
        run: &run,
        try_number: 1,
        max_tries: 0,
        map_index: -1,
        is_test: true,
    };
    let renderer = Renderer::new(RenderContext::new(&facts, Arc::new(Known)));
    assert_eq!(
        renderer.render_text("{{ prev_ds }} {{ next_ds }} {{ test_mode }}").unwrap(),
        "2024-03-09 2024-03-09 True"
    );
}

#[test]
fn case_102_macros_filters_and_none() {
    check(&[
        ("{{ ds_add(ds, -9) }}", "2024-02-29"),
        ("{{ macros.ds_add('2023-03-01', -1) }} {{ macros.ds_add('2024-12-31', 1) }}", "2023-02-28 2025-01-01"),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%y') }}", "09.03.24"),
        ("{{ macros.datetime.strptime('31/01/2024', '%d/%m/%Y') | ds }}", "2024-01-31"),
        ("{{ macros.datetime(2024, 2, 29) }}", "2024-02-29T00:00:00+00:00"),
        ("{{ macros.datetime_diff_for_humans(data_interval_end, data_interval_start) }}", "1 day after"),
        ("{{ macros.json.dumps({'a': [1]}) }} {{ macros.json.loads('{\"b\": 2}').b }}", "{\"a\":[1]} 2"),
        ("{{ (params.nothing | ds) is none }} {{ params.nothing }}", "True None"),
        ("{{ [1, 'a', none] }} {{ {'a': {'b': true}} }}", r#"[1,"a",null] {"a":{"b":true}}"#),
    ]);
}

#[test]
fn facts_of_the_run() {
    check(&[
        ("{{ params.limit }} {{ params.s3_bucket }} {{ params['who'] }}", "9 from-params me"),
        (
            "{{ dag_run.conf.get('limit') }} {{ dag_run.conf.get('x', 'none given') }} {{ dag_run.conf['who'] }}",
            "9 none given me",
        ),
        (
            "{{ dag.dag_id }} {{ task.task_id }} {{ ti.task_id }} {{ ti.try_number }} {{ try_number }}",
            "nps load load 2 2",
        ),
        ("{{ run_id }} {{ dag_run.run_type }}", "scheduled__2024-03-09T15:00:00Z scheduled"),
        ("{{ task_instance_key_str }}", "nps__load__20240309"),
        ("{{ 'a-b'.upper().replace('-', '_') }} {{ 'x,y'.split(',')[1] }} {{ '-'.join(['a', 'b']) }}", "A_B y a-b"),
    ]);
}

#[test]
fn lookups() {
    check(&[
        ("{{ var.value.bucket }} {{ var.value['bucket'] }}", "landing landing"),
        ("{{ var.value.get('nosuch', 'a default') }} {{ var.value.get('bucket') }}", "a default landing"),
        ("{{ var.value.nosuch | default('fallback') }}", "fallback"),
        ("{{ var.json.settings.region.name }} {{ var.json.settings.days + 1 }}", "ap-northeast-2 8"),
        (
            "{{ conn.redshift_dev.login }}@{{ conn.redshift_dev.host }}:{{ conn.redshift_dev.port }}",
            "loader@db.example:5439",
        ),
        ("{{ conn['redshift_dev'].extra_dejson.iam_role }}", "arn:aws:iam::1:role/x"),
        ("{{ ti.xcom_pull(task_ids='count').rows }} {{ ti.xcom_pull('count')['rows'] }}", "42 42"),
        ("{{ ti.xcom_pull(task_ids=['count'])[0].rows }}", "42"),
        ("{{ ti.xcom_pull(task_ids='each', map_indexes=2) }}", "20"),
        ("{{ ti.xcom_pull('each', map_indexes=[2, 0, 7]) | tojson }}", "[20, 0, null]"),
        ("{{ ti.xcom_pull('each', map_indexes=7) | default('nothing') }}", "nothing"),
        ("{{ ti.xcom_pull(task_ids='nosuch') | default('nothing') }}", "nothing"),
        (
            "{{ ti.xcom_pull('count', key='rows') }} {{ ti.xcom_pull(['count', 'before'], key='rows') | tojson }}",
            "42 [42, null]",
        ),
        ("{{ ti.xcom_pull('count', key='other') | default('nothing') }}", "nothing"),
        (
            "{{ ti.xcom_pull('pairs', key='rows') | tojson }} {{ ti.xcom_pull('pairs', key='rows', map_indexes=1) }}",
            "[1, 2] 2",
        ),
        ("{{ ti.xcom_pull('before', include_prior_dates=true).rows }}", "41"),
        ("{{ ti.xcom_pull('before', key='rows', include_prior_dates=True) }}", "41"),
        ("{{ ti.xcom_pull('count', include_prior_dates=true).rows }}", "42"),
        ("{{ ti.xcom_pull('before', include_prior_dates=false) | default('nothing') }}", "nothing"),
        ("{{ ti.xcom_pull('nosuch', include_prior_dates=true) | default('nothing') }}", "nothing"),
    ]);
}

#[test]
fn case_102_undefined_names_are_errors_that_say_the_name() {
    check_errors(&[
        ("{{ dss }}", &["'dss' is not defined", "did you mean 'ds'?"]),
        ("{{ dss.foo }}", &["'dss' is not defined"]),
        ("{% if not_there %}x{% endif %}", &["'not_there' is not defined"]),
        ("{{ params.limt }}", &["params has no 'limt'", "did you mean 'limit'?"]),
        ("{{ params.other }}", &["params has no 'other'", "limit, nothing, s3_bucket, who"]),
        ("{{ var.value.nosuch }}", &["there is no variable 'nosuch'", "var.value.get('nosuch'"]),
        ("{{ var.value.broken | default('x') }}", &["cannot look up variable 'broken'", "the database is away"]),
        ("{{ var.json.bucket.x }}", &["variable 'bucket' is not JSON"]),
        ("{{ conn.nosuch.host }}", &["there is no connection 'nosuch'"]),
        ("{{ logical_date.nosuch }}", &["'logical_date.nosuch' is not defined"]),
        ("{{ ti.xcom_pull(task_ids='nosuch') }}", &["no result for xcom_pull(task_ids='nosuch')"]),
        (
            "{{ ti.xcom_pull('each', map_indexes=1, include_prior_dates=true) }}",
            &["include_prior_dates", "leave map_indexes out"],
        ),
        ("{{ inlets }}", &["'inlets' is not defined", "is not offered"]),
        ("{{ params.other | ds }}", &["what the filter 'ds' is given is not defined"]),
    ]);
}

#[test]
fn other_errors_say_what_to_do() {
    check_errors(&[
        ("{{ logical_date + 1 }}", &["write .add(days=1)"]),
        ("{{ logical_date.strftime('%Q') }}", &["'%Q' is not a date format"]),
        ("{{ logical_date.add(day=1) }}", &["day"]),
        ("{{ logical_date.add(days=99999999) }}", &["out of range"]),
        ("{{ logical_date.in_timezone('Mars/Olympus') }}", &["'Mars/Olympus' is not a time zone"]),
        ("{{ macros.uuid }}", &["macros.uuid is not offered", "retry"]),
        ("{{ macros.uuid.uuid4() }}", &["macros.uuid is not offered"]),
        ("{{ macros.datetime.now() }}", &["does not know the present time"]),
        ("{{ macros.ds_add('yesterday', 1) }}", &["'yesterday' is not a date"]),
        ("{{ ds | nosuch }}", &["nosuch"]),
        ("{% include 'x' %}", &["not offered"]),
        ("{{ ds", &["end of"]),
    ]);
}

#[test]
fn nothing_runs_for_ever_or_fills_the_memory() {
    let nested = "{% for a in range(90000) %}{% for b in range(90000) %}x{% endfor %}{% endfor %}";
    check_errors(&[
        (nested, &["too many steps"]),
        ("{{ ('a' * 90000).replace('a', 'b' * 90000)|length }}", &["a text of more than 16 MiB"]),
        ("{{ ('a' * 90000)|replace('a', 'b' * 90000)|length }}", &["a text of more than 16 MiB"]),
        ("{{ range(9000)|join('b' * 90000)|length }}", &["a text of more than 16 MiB"]),
        ("{{ ('b' * 90000).join(range(9000))|length }}", &["a text of more than 16 MiB"]),
        ("{% for a in range(90000) %}{{ 'x' * 100000 }}{% endfor %}", &["MiB"]),
        ("{{ 'x' * 9999999999 }}", &["too large"]),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", &["recursion"]),
    ]);
}

#[test]
fn text_without_jinja_is_untouched() {
    check(&[
        ("${#list[@]} {x} 100%\n", "${#list[@]} {x} 100%\n"),
        ("{{ ds }}\n", "2024-03-09\n"),
        ("<{{ '<&>' }}>", "<<&>>"),
    ]);
}

#[test]
fn every_name_of_the_context_is_known_before_there_is_a_run() {
    let renderer = Renderer::new(context(LOGICAL_DATE));
    let every = "{{ conn }}{{ dag }}{{ dag_run }}{{ data_interval_end }}{{ data_interval_start }}{{ ds }}{{ ds_add }}{{ ds_format }}{{ ds_local }}\
        {{ ds_local_nodash }}{{ ds_nodash }}{{ execution_date }}{{ incremental_filter }}{{ logical_date }}{{ macros }}{{ map_index }}{{ next_ds }}{{ next_ds_nodash }}\
        {{ next_execution_date }}{{ params }}{{ prev_ds }}{{ prev_ds_nodash }}{{ prev_execution_date }}{{ run_id }}{{ task }}{{ task_instance }}\
        {{ task_instance_key_str }}{{ test_mode }}{{ ti }}{{ tomorrow_ds }}{{ tomorrow_ds_nodash }}{{ try_number }}{{ ts }}{{ ts_local }}\
        {{ ts_nodash }}{{ ts_nodash_with_tz }}{{ var }}{{ yesterday_ds }}{{ yesterday_ds_nodash }}";
    let rendered = renderer.render_text(every).unwrap();
    assert!(!rendered.contains("s3cret"));
    for name in referenced_names(every) {
        assert!(is_known_name(&name), "{name}");
    }
}

#[test]
fn only_marked_parameters_are_rendered() {
    let schema = json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", TEMPLATE_MARKER: true},
            "keys": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}], TEMPLATE_MARKER: true},
            "maybe": {"anyOf": [{"type": "string", TEMPLATE_MARKER: true}, {"type": "null"}]},
            "list": {"type": "array", "items": {"type": "string", TEMPLATE_MARKER: true}},
            "options": {"type": "object", "properties": {"a": {"type": "string", TEMPLATE_MARKER: true}, "b": {"type": "string"}}},
            "env": {"type": "object", "additionalProperties": {"type": "string", TEMPLATE_MARKER: true}},
            "nested": {TEMPLATE_MARKER: true},
            "plain": {"type": "string"}
        }
    });
    let parameters = json!({
        "query": "{{ ds }}", "keys": ["a/{{ ds }}", "b"], "maybe": "{{ params.limit }}", "list": ["{{ ds }}"],
        "options": {"a": "{{ ds }}", "b": "{{ ds }}"}, "env": {"DAY": "{{ ds }}"},
        "nested": {"x": [{"y": "{{ ds }}", "z": 1}], "t": true}, "plain": "{{ ds }}"
    });
    let rendered = render_parameters(&schema, &parameters, &context(LOGICAL_DATE)).unwrap();
    let day = "2024-03-09";
    assert_eq!(
        rendered,
        json!({
            "query": day, "keys": [format!("a/{day}"), "b"], "maybe": "9", "list": [day],
            "options": {"a": day, "b": "{{ ds }}"}, "env": {"DAY": day},
            "nested": {"x": [{"y": day, "z": 1}], "t": true}, "plain": "{{ ds }}"
        })
    );
}

#[test]
fn every_failing_parameter_is_reported() {
    let schema = json!({"properties": {"a": {TEMPLATE_MARKER: true}, "b": {TEMPLATE_MARKER: true}}});
    let parameters = json!({"a": ["ok", "line\n{{ nosuch }}"], "b": {"c": "{{ dss }}"}});
    let errors = render_parameters(&schema, &parameters, &context(LOGICAL_DATE)).unwrap_err();
    let found: BTreeMap<&str, Option<usize>> = errors.iter().map(|error| (error.field.as_str(), error.line)).collect();
    assert_eq!(found, BTreeMap::from([("a[1]", Some(2)), ("b.c", Some(1))]));
    assert_eq!(errors[0].to_string(), "cannot render 'a[1]': 'nosuch' is not defined");
}
