//! A table of operators with every shape of parameter.

use std::collections::BTreeMap;

use millrace_operator_api::entry::Catalogue;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

pub static CATALOGUE: Catalogue = &[
    OperatorEntry::of::<Bash>("bash", "runs a command")
        .aliases(&["shell"])
        .parameter_aliases(&[("command", "bash_command")]),
    OperatorEntry::of::<Choose>("choose", "follows one of the tasks after it").chooses(),
    OperatorEntry::of::<Copy>("copy", "loads a table")
        .parameter_aliases(&[("redshift_conn_id", "warehouse_conn_id"), ("pg_conn_id", "warehouse_conn_id")]),
    OperatorEntry::of::<Empty>("empty", "does nothing").inline(),
    OperatorEntry::of::<Query>("sql", "runs SQL"),
];

macro_rules! does_nothing {
    () => {
        fn run<'a>(&'a self, _: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
            Box::pin(async { Ok(Outcome::default()) })
        }
    };
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, clippy::struct_field_names, reason = "only read from files")]
struct Bash {
    bash_command: Template<String>,
    #[serde(default)]
    env: Template<BTreeMap<String, String>>,
    #[serde(default)]
    inherit_env: bool,
}

impl Operator for Bash {
    does_nothing!();
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Choose {
    follow: Vec<String>,
}

impl Operator for Choose {
    does_nothing!();

    fn follows(&self) -> Vec<(String, String)> {
        self.follow.iter().map(|name| ("follow".to_owned(), name.clone())).collect()
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    Append,
    Replace,
    Upsert,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only read from files")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[expect(dead_code, reason = "only read from files")]
enum Check {
    MinRows(u64),
    Unique(Vec<String>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from files")]
struct Options {
    #[serde(default)]
    header: bool,
    #[serde(default)]
    nulls: Option<Template<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from files")]
struct Copy {
    warehouse_conn_id: Template<String>,
    table: Template<String>,
    #[serde(default)]
    method: Option<Method>,
    #[serde(default)]
    upsert_keys: Option<Template<OneOrMany>>,
    #[serde(default)]
    limit: Option<Template<u32>>,
    #[serde(default)]
    checks: Vec<Check>,
    #[serde(default)]
    options: Option<Options>,
}

impl Operator for Copy {
    fn check(&self, problems: &mut Problems) {
        if matches!(self.method, Some(Method::Upsert)) && self.upsert_keys.is_none() {
            problems.add("upsert_keys", "method: upsert needs a key");
        }
        if matches!(self.method, Some(Method::Replace)) && self.upsert_keys.is_some() {
            problems.add("upsert_keys", "only method: upsert has a key");
        }
    }

    does_nothing!();
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl Operator for Empty {
    does_nothing!();
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from files")]
struct Query {
    sql: Template<OneOrMany>,
}

impl Operator for Query {
    does_nothing!();
}
