//! What a run of a DAG may be told: the params, one by one.

use millrace_model::dag::Dag;
use millrace_model::param::{self, Param};
use serde::Serialize;
use serde_json::Value;

use crate::server::Server;

#[derive(Debug, Serialize)]
pub(super) struct ShownParam {
    name: String,
    /// `string`, or what it may be: `"a", "b"`.
    kind: String,
    /// None: each run must say it.
    default: Option<String>,
    description: Option<String>,
}

impl Server {
    pub(super) fn shown_params(&self, dag: &Dag) -> Vec<ShownParam> {
        let shown = self.masked_members(&param::defaults(&dag.params));
        let masker = self.masker_of_dag(dag);
        let one = |(name, value): (&String, &Value)| {
            // What its schema says of it is a text of the file, as any other.
            let said = masker.mask_value(value);
            let param = Param::of(&said);
            ShownParam {
                name: name.clone(),
                kind: kind(param),
                default: shown.get(name).map(ToString::to_string),
                description: param.schema().and_then(|schema| schema.get("description")?.as_str().map(str::to_owned)),
            }
        };
        dag.params_in_order().map(one).collect()
    }
}

fn kind(param: Param<'_>) -> String {
    match param {
        Param::Plain(Value::Null) => String::new(),
        Param::Plain(Value::Bool(_)) => "boolean".to_owned(),
        Param::Plain(Value::Number(number)) if number.is_f64() => "number".to_owned(),
        Param::Plain(Value::Number(_)) => "integer".to_owned(),
        Param::Plain(Value::String(_)) => "string".to_owned(),
        Param::Plain(Value::Array(_)) => "array".to_owned(),
        Param::Plain(Value::Object(_)) => "object".to_owned(),
        Param::Schema(schema) => {
            let choices = schema
                .get("enum")
                .and_then(Value::as_array)
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            let format = schema.get("format").and_then(Value::as_str);
            choices.or_else(|| format.or(param.main_type()).map(str::to_owned)).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_param_may_be_is_said_in_a_word_or_as_a_choice() {
        let told = [
            (json!(5), "integer"),
            (json!(0.5), "number"),
            (json!({"type": ["string", "null"]}), "string"),
            (json!({"type": "string", "format": "date"}), "date"),
            (json!({"enum": ["a", 2]}), "\"a\", 2"),
            (json!({"any": "thing"}), "object"),
            (json!(null), ""),
        ];
        for (value, wanted) in told {
            assert_eq!(kind(Param::of(&value)), wanted, "{value}");
        }
    }
}
