//! The JSON Schema of a DAG file, for editors: completion, documentation and squiggles while one types.

use millrace_model::execution::WeightRule;
use millrace_model::trigger_rule::TriggerRule;
use millrace_operator_api::entry::{Catalogue, OperatorEntry};
use serde_json::{Map, Value, json};

use crate::keys::{self, DAG_ALIASES};
use crate::roles;
use crate::schema_walk::properties;

/// Derived from the table of operators, so that it can't fall behind. Draft 7, which every editor knows.
pub fn dag_schema(catalogue: Catalogue) -> Value {
    let mut dag_properties = dag_properties();
    for (alias, own) in DAG_ALIASES {
        let description = format!("Airflow's name of '{own}'.");
        dag_properties.insert((*alias).to_owned(), json!({ "description": description, "deprecated": true }));
    }
    let shared = shared_properties(catalogue);
    dag_properties.insert(
        "default_args".to_owned(),
        described(
            "What all tasks have unless they say otherwise; also parameters of their operators.",
            json!({"type": ["object", "null"], "properties": &shared}),
        ),
    );
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Millrace DAG",
        "description": "A DAG: a schedule, and tasks with dependencies.",
        "type": "object",
        "anyOf": [{ "required": ["tasks"] }, { "required": ["groups"] }, { "required": ["include"] }],
        "properties": dag_properties,
        "patternProperties": { "^(x-|\\.)": true },
        "additionalProperties": false,
        "definitions": {
            "duration": {
                "description": "A length of time: 3m, 1h30m, PT3M, or seconds as a number.",
                "type": ["string", "number"]
            },
            "calendars": { "type": ["string", "array"], "items": { "type": "string" } },
            "date": {
                "description": "A date (2024-01-31), or date and time with or without an offset. Without one it is the DAG's time zone.",
                "type": ["string", "null"]
            },
            "callback": {
                "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
                "properties": {
                    "webhook": { "type": "string", "description": "The connection with the address, and the secret that signs as its password." },
                    "command": { "type": "string", "description": "A command of bash; it finds DAG_ID, RUN_ID, TASK_ID, EVENT and REASON in its environment." }
                }
            },
            "callbacks": { "anyOf": [
                { "$ref": "#/definitions/callback" },
                { "type": "array", "items": { "$ref": "#/definitions/callback" } },
                { "type": "null" }
            ] },
            "task": task_schema(catalogue),
            "tasks": { "anyOf": [
                { "type": "object", "minProperties": 1, "additionalProperties": { "$ref": "#/definitions/task" } },
                { "type": "array", "minItems": 1, "items": { "allOf": [{ "$ref": "#/definitions/task" }, { "required": ["task_id"] }] } }
            ] },
            "for_each": {
                "description": "One for each item: under each name a list, or {file: a.yaml} with a file that holds one. ${{ name }} puts the item in.",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": { "anyOf": [{ "type": "array" }, { "type": "string" }, { "type": "object", "required": ["file"], "properties": { "file": { "type": "string" } } }] }
            },
            "groups": { "type": ["object", "null"], "additionalProperties": { "$ref": "#/definitions/group" } },
            "group": group_schema(&shared)
        }
    })
}

fn described(description: &str, mut schema: Value) -> Value {
    schema["description"] = Value::String(description.to_owned());
    schema
}

fn callbacks(description: &str) -> Value {
    json!({ "allOf": [{ "$ref": "#/definitions/callbacks" }], "description": description })
}

#[expect(clippy::too_many_lines, reason = "a table: a property for each key")]
fn dag_properties() -> Map<String, Value> {
    let date = |text: &str| json!({ "allOf": [{ "$ref": "#/definitions/date" }], "description": text });
    let text = |description: &str| described(description, json!({ "type": "string" }));
    let whole = |description: &str, default: u32| {
        described(description, json!({ "type": "integer", "minimum": 1, "default": default }))
    };
    let fields = [
        ("dag_id", text("The DAG's name; by default the file's.")),
        ("description", text("One line for lists.")),
        (
            "schedule",
            described(
                "When it runs: a cron text, @daily and the like, @once, @continuous, {every: 6h} (also 1mo, 1y), a list of cron texts, {at: [dates]}, {assets: [names]} (also beside cron or every), or none.",
                json!({ "type": ["string", "null", "array", "object"], "examples": ["0 2 * * *", "@daily", "none"] }),
            ),
        ),
        ("start_date", date("The first data interval begins here or later.")),
        ("end_date", date("No run has a logical date after it.")),
        (
            "timezone",
            described(
                "The zone whose wall clock the schedule means.",
                json!({ "type": "string", "default": "UTC", "examples": ["Asia/Seoul"] }),
            ),
        ),
        (
            "catchup",
            described(
                "Whether every missed run is made up for, or only the latest.",
                json!({ "type": "boolean", "default": false }),
            ),
        ),
        (
            "misfire",
            described(
                "Which missed runs are made up for: all, latest, none, or the newest of those not too late. Says more than catchup, and takes its place.",
                json!({ "anyOf": [
                    { "enum": ["all", "latest", "none"] },
                    { "type": "object", "minProperties": 1, "additionalProperties": false, "properties": {
                        "within": { "$ref": "#/definitions/duration" },
                        "max": { "type": "integer", "minimum": 1, "maximum": 1000 }
                    } }
                ] }),
            ),
        ),
        (
            "calendar",
            described(
                "Days on which the schedule starts nothing, by the names of calendar files: calendars/NAME.yaml.",
                json!({ "anyOf": [
                    { "$ref": "#/definitions/calendars" },
                    { "type": "object", "additionalProperties": false, "properties": {
                        "exclude": { "$ref": "#/definitions/calendars" },
                        "include": { "$ref": "#/definitions/calendars" },
                        "shift": { "enum": ["skip", "next_business_day"], "default": "skip" },
                        "compare": { "enum": ["run_after", "logical_date"], "default": "run_after" }
                    } }
                ] }),
            ),
        ),
        (
            "maintenance",
            described(
                "Windows in which nothing of it starts: 22:00..04:00, Sat 22:00..Sun 04:00, or from one moment to another.",
                json!({ "type": ["string", "array"], "items": { "type": "string" } }),
            ),
        ),
        (
            "timetable",
            described(
                "interval: a run covers the time between two schedule times and starts at its end. trigger: a run starts at the time itself.",
                json!({ "anyOf": [
                    { "enum": ["interval", "trigger"] },
                    { "type": "object", "required": ["kind"], "additionalProperties": false, "properties": {
                        "kind": { "enum": ["interval", "trigger"] },
                        "interval": { "$ref": "#/definitions/duration" },
                        "run_immediately": { "anyOf": [{ "type": "boolean" }, { "$ref": "#/definitions/duration" }] }
                    } }
                ] }),
            ),
        ),
        ("max_active_runs", whole("How many runs of this DAG may run at the same time.", 16)),
        ("max_active_tasks", whole("How many tasks of one run may run at the same time.", 16)),
        (
            "fail_fast",
            described(
                "The first task that fails for good ends the run: what runs is stopped, what waits is skipped.",
                json!({ "type": "boolean", "default": false }),
            ),
        ),
        (
            "dagrun_timeout",
            json!({ "allOf": [{ "$ref": "#/definitions/duration" }], "description": "A run that has been running for longer is failed." }),
        ),
        (
            "tags",
            described("Words to find it by.", json!({ "type": ["array", "string"], "items": { "type": "string" } })),
        ),
        ("owner", text("Who answers for it.")),
        (
            "params",
            described(
                "Values for {{ params.name }}; a run's conf overrides them.",
                json!({ "type": ["object", "null"] }),
            ),
        ),
        ("for_each", json!({ "$ref": "#/definitions/for_each" })),
        (
            "include",
            described(
                "Files whose keys lie below this file's, by their path in the dags folder.",
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
            ),
        ),
        (
            "overlays",
            described("Under an environment's name, what differs there.", json!({ "type": ["object", "null"] })),
        ),
        (
            "deadline",
            described(
                "People are told of a run that is not finished so long after its data interval has ended.",
                json!({ "anyOf": [
                    { "$ref": "#/definitions/duration" },
                    { "type": "object", "required": ["within"], "additionalProperties": false, "properties": {
                        "within": { "$ref": "#/definitions/duration" },
                        "reference": { "enum": ["run_after", "logical_date", "start_date"], "default": "run_after" }
                    } }
                ] }),
            ),
        ),
        ("on_failure", callbacks("Who is told when a run has failed.")),
        ("on_success", callbacks("Who is told when a run has succeeded.")),
        ("on_alert", callbacks("Who is told when a run is late or long, or the DAG was paused after failures.")),
        (
            "longer_than_usual",
            described(
                "People are told of a run that takes longer than the earlier ones.",
                json!({ "anyOf": [
                    { "type": "boolean" },
                    { "type": "object", "additionalProperties": false, "properties": {
                        "percent": { "type": "integer", "minimum": 101, "default": 200 },
                        "min_runs": { "type": "integer", "minimum": 1, "default": 5 }
                    } }
                ] }),
            ),
        ),
        (
            "max_consecutive_failed_dag_runs",
            described(
                "The DAG is paused after so many failed runs in a row; 0: never.",
                json!({ "type": "integer", "minimum": 0, "default": 0 }),
            ),
        ),
        (
            "concurrency",
            described(
                "How many runs with the same key may run at the same time, over all DAGs.",
                json!({ "anyOf": [
                    { "type": "object", "required": ["key"], "additionalProperties": false, "properties": {
                        "key": { "type": "string", "examples": ["{{ params.region }}"] },
                        "limit": { "type": "integer", "minimum": 1, "default": 1 }
                    } },
                    { "type": "integer", "minimum": 1, "deprecated": true, "description": "max_active_tasks" }
                ] }),
            ),
        ),
        (
            "tasks",
            described(
                "The tasks by name, or a list of tasks with task_id.",
                json!({ "allOf": [{ "$ref": "#/definitions/tasks" }] }),
            ),
        ),
        (
            "groups",
            described(
                "Tasks that belong together, by the group's name.",
                json!({ "allOf": [{ "$ref": "#/definitions/groups" }] }),
            ),
        ),
    ];
    fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn expand_schema(description: &str, may_be_a_list: bool) -> Value {
    let kinds = if may_be_a_list { json!(["array", "object"]) } else { json!(["object"]) };
    described(description, json!({ "type": kinds, "examples": [{ "results_of": "a_task" }] }))
}

fn group_schema(shared: &Map<String, Value>) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "for_each": { "$ref": "#/definitions/for_each" },
            "description": described("What its tasks do together.", json!({ "type": "string" })),
            "depends_on": described(
                "The tasks and groups that come before its first tasks.",
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }, { "type": "null" }] }),
            ),
            "expand": expand_schema("One instance of every task for each item of a list.", true),
            "expand_zip": expand_schema("One instance of every task for each place in these lists.", false),
            "prefix_ids": described(
                "Whether its tasks are called group.task.",
                json!({ "type": "boolean", "default": true }),
            ),
            "default_args": described(
                "What its tasks have unless they say otherwise.",
                json!({ "type": ["object", "null"], "properties": shared }),
            ),
            "tasks": { "allOf": [{ "$ref": "#/definitions/tasks" }] },
            "groups": { "allOf": [{ "$ref": "#/definitions/groups" }] }
        }
    })
}

#[expect(clippy::too_many_lines, reason = "a table: a property for each key")]
fn task_properties(operator_names: &[&str]) -> Map<String, Value> {
    let text = |description: &str| described(description, json!({ "type": "string" }));
    let duration = |text: &str| json!({ "allOf": [{ "$ref": "#/definitions/duration" }], "description": text });
    let flag = |text: &str| described(text, json!({ "type": "boolean", "default": false }));
    let rules: Vec<&str> = TriggerRule::ALL.iter().map(|rule| rule.as_str()).collect();
    let fields = [
        ("task_id", text("The task's name; left out where tasks stand by name.")),
        ("operator", described("The kind of work.", json!({ "enum": operator_names }))),
        (
            "depends_on",
            described(
                "The tasks and groups that come before.",
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }, { "type": "null" }] }),
            ),
        ),
        ("expand", expand_schema("One instance for each item of a list.", true)),
        ("expand_zip", expand_schema("One instance for each place in these lists.", false)),
        ("map_index_template", text("What the instances of a mapped task are called.")),
        (
            "trigger_rule",
            described("How the tasks before must have ended.", json!({ "enum": rules, "default": "all_success" })),
        ),
        (
            "depends_on_past",
            flag("Runs only when the same task of the run before ended well, or there is no run before."),
        ),
        (
            "wait_for_downstream",
            flag("As depends_on_past, and the tasks directly after it there must have ended well too."),
        ),
        (
            "wait_for_past_depends_before_skipping",
            flag("With depends_on_past: it is not skipped either before the same task of the run before ended well."),
        ),
        ("setup", flag("Prepares what the tasks up to its teardown need; they wait for its success.")),
        ("teardown", flag("Cleans up: runs when a setup before it succeeded, however the work in between ended.")),
        (
            "teardown_of",
            described(
                "The setups that it cleans up after; makes it a teardown that depends on them.",
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
            ),
        ),
        ("on_failure", callbacks("Who is told when it has failed and is not tried again.")),
        ("on_success", callbacks("Who is told when it has succeeded.")),
        ("on_retry", callbacks("Who is told when a try has failed and is repeated.")),
        ("on_execute", callbacks("Who is told when a try begins.")),
        ("on_skipped", callbacks("Who is told when a try has found nothing to do and skipped its task.")),
        ("on_failure_fail_dagrun", flag("Of a teardown: its failure fails the run.")),
        ("retries", described("Tries after the first.", json!({ "type": "integer", "minimum": 0 }))),
        ("retry_delay", duration("From the end of a failed try to the next.")),
        ("pool", text("The pool whose slots it takes.")),
        ("pool_slots", described("How many of them.", json!({ "type": "integer", "minimum": 1, "default": 1 }))),
        (
            "priority_weight",
            described(
                "Of tasks that are ready, the heavier one goes first.",
                json!({ "type": "integer", "default": 1 }),
            ),
        ),
        ("execution_timeout", duration("How long one try may take.")),
        (
            "retry_exponential_backoff",
            described(
                "true, or by what each wait between tries is multiplied.",
                json!({ "type": ["boolean", "number"], "default": false }),
            ),
        ),
        ("max_retry_delay", duration("No wait between tries is longer.")),
        (
            "weight_rule",
            described(
                "Whether a task also weighs what comes after it, before it, or neither.",
                json!({ "enum": WeightRule::ALL.iter().map(|rule| rule.as_str()).collect::<Vec<_>>(), "default": "downstream" }),
            ),
        ),
        (
            "max_active_tis_per_dag",
            described(
                "How many tries of this task may run at the same time, over all runs.",
                json!({ "type": "integer", "minimum": 1 }),
            ),
        ),
        (
            "max_active_tis_per_dagrun",
            described(
                "How many tries of this task may run at the same time in one run.",
                json!({ "type": "integer", "minimum": 1 }),
            ),
        ),
        (
            "concurrency",
            described(
                "How many tries with the same key may run at the same time, over all runs and DAGs.",
                json!({ "type": "object", "required": ["key"], "additionalProperties": false, "properties": {
                    "key": { "type": "string", "examples": ["{{ params.region }}"] },
                    "limit": { "type": "integer", "minimum": 1, "default": 1 }
                } }),
            ),
        ),
        ("owner", text("Who answers for it.")),
        ("description", text("What it does.")),
        (
            "outlets",
            described(
                "Assets that are up to date once the task has succeeded.",
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
            ),
        ),
    ];
    debug_assert!(fields.iter().all(|(name, _)| keys::OF_TASK.contains(name)));
    fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn parameter_properties(operator: &OperatorEntry) -> Map<String, Value> {
    let schema = (operator.schema)().to_value();
    let mut found: Map<String, Value> =
        properties(&schema).into_iter().map(|(name, schema)| (name.to_owned(), schema.clone())).collect();
    for (alias, own) in operator.parameter_aliases {
        if let Some(schema) = found.get(*own).cloned() {
            found.insert((*alias).to_owned(), described(&format!("Another name of '{own}'."), schema));
        }
    }
    found
}

fn shared_properties(catalogue: Catalogue) -> Map<String, Value> {
    let mut shared = task_properties(&[]);
    for own in
        ["task_id", "operator", "depends_on", "description", "outlets"].into_iter().chain(roles::KEYS.iter().copied())
    {
        shared.remove(own);
    }
    for operator in catalogue {
        for (name, schema) in parameter_properties(operator) {
            shared.entry(name).or_insert(schema);
        }
    }
    shared
}

fn task_schema(catalogue: Catalogue) -> Value {
    let names_of = |operator: &OperatorEntry| {
        std::iter::once(operator.name).chain(operator.aliases.iter().copied()).collect::<Vec<_>>()
    };
    let all_names: Vec<&str> = catalogue.iter().flat_map(names_of).collect();
    let mut common = task_properties(&all_names);
    common.insert("for_each".to_owned(), json!({ "$ref": "#/definitions/for_each" }));
    let cases: Vec<Value> = catalogue
        .iter()
        .map(|operator| {
            let mut properties = common.clone();
            properties.extend(parameter_properties(operator));
            json!({
                "if": { "properties": { "operator": { "enum": names_of(operator) } }, "required": ["operator"] },
                "then": {
                    "description": operator.summary,
                    "properties": properties,
                    "additionalProperties": false
                }
            })
        })
        .collect();
    // What an operator requires is not asked for here: it may stand in default_args or under another name.
    json!({ "type": "object", "required": ["operator"], "properties": common, "allOf": cases })
}
