//! What the API says of itself: OpenAPI 3.1, made from the table of addresses and from the very types that are read and
//! written. JSON Schema 2020-12, as schemars derives it, is the dialect of OpenAPI 3.1.

use http::Method;
use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::access::permission::Access;
use crate::doors::Door;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What one parameter of an address holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Number,
    /// With a fraction.
    Seconds,
    Flag,
    Instant,
    /// One of these.
    Words(&'static [&'static str]),
    /// One of these, or with `-` before it.
    Order(&'static [&'static str]),
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Number => json!({"type": "integer"}),
            Self::Seconds => json!({"type": "number", "minimum": 0, "description": "Seconds"}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Instant => json!({"type": "string", "description": "A date or an instant, RFC 3339"}),
            Self::Words(words) => json!({"type": "string", "enum": words}),
            Self::Order(names) => {
                let down = names.iter().map(|name| format!("-{name}"));
                let both: Vec<String> = names.iter().map(ToString::to_string).chain(down).collect();
                json!({"type": "string", "enum": both})
            }
        }
    }
}

/// One parameter behind the address.
#[derive(Clone, Copy)]
struct Asked {
    name: &'static str,
    kind: Kind,
    text: &'static str,
    is_many: bool,
}

impl Asked {
    fn parameter(&self) -> Value {
        let (name, text, schema) = (self.name, self.text, self.kind.schema());
        if !self.is_many {
            return json!({"name": name, "in": "query", "description": text, "schema": schema});
        }
        let schema = json!({"type": "array", "items": schema});
        json!({"name": name, "in": "query", "description": text, "style": "form", "explode": true, "schema": schema})
    }
}

#[derive(Clone, Copy)]
struct Given {
    status: u16,
    text: &'static str,
    kind: &'static str,
    schema: Option<SchemaOf>,
}

/// What an address does, for whoever reads the document.
#[derive(Clone)]
pub struct Operation {
    summary: &'static str,
    query: Vec<Asked>,
    headers: Vec<(&'static str, &'static str)>,
    takes: Option<SchemaOf>,
    gives: Vec<Given>,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.summary)
    }
}

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// What it does, in the imperative.
pub(crate) fn op(summary: &'static str) -> Operation {
    Operation { summary, query: Vec::new(), headers: Vec::new(), takes: None, gives: Vec::new() }
}

impl Operation {
    /// The names that may stand behind the address, and whether more than once.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, bool)> {
        self.query.iter().map(|asked| (asked.name, asked.is_many)).collect()
    }

    /// Of such answers the ETag is told.
    fn gives_json(&self) -> bool {
        self.gives.iter().any(|given| given.status == 200 && given.kind == JSON)
    }

    pub fn summary(&self) -> &'static str {
        self.summary
    }

    pub(crate) fn page(self) -> Self {
        self.query("limit", Kind::Number, "How many, 50 unless told, never more than 100").query(
            "offset",
            Kind::Number,
            "How many are passed over",
        )
    }

    /// `order_by`, one of these names.
    pub(crate) fn ordered(self, names: &'static [&'static str]) -> Self {
        self.query("order_by", Kind::Order(names), "- for the other direction")
    }

    pub(crate) fn query(mut self, name: &'static str, kind: Kind, text: &'static str) -> Self {
        self.query.push(Asked { name, kind, text, is_many: false });
        self
    }

    /// May stand there several times, with a value of this kind each.
    pub(crate) fn many(mut self, name: &'static str, kind: Kind, text: &'static str) -> Self {
        self.query.push(Asked { name, kind, text, is_many: true });
        self
    }

    pub(crate) fn header(mut self, name: &'static str, text: &'static str) -> Self {
        self.headers.push((name, text));
        self
    }

    pub(crate) fn takes<T: JsonSchema>(mut self) -> Self {
        self.takes = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    pub(crate) fn gives<T: JsonSchema>(self) -> Self {
        self.answers::<T>(200, "Done")
    }

    pub(crate) fn creates<T: JsonSchema>(self) -> Self {
        self.answers::<T>(201, "Made")
    }

    pub(crate) fn gives_nothing(mut self) -> Self {
        self.gives.push(Given { status: 204, text: "Done; there is nothing to say", kind: "", schema: None });
        self
    }

    /// A text of this kind, or a stream.
    pub(crate) fn gives_text(mut self, kind: &'static str) -> Self {
        self.gives.push(Given {
            status: 200,
            text: "Done",
            kind,
            schema: Some(SchemaGenerator::subschema_for::<String>),
        });
        self
    }

    fn answers<T: JsonSchema>(mut self, status: u16, text: &'static str) -> Self {
        let schema: SchemaOf = SchemaGenerator::subschema_for::<T>;
        self.gives.push(Given { status, text, kind: JSON, schema: Some(schema) });
        self
    }
}

/// What an answer that refuses holds.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its members are written where problems are; here they are only described")]
struct Problem {
    r#type: String,
    /// The code in words.
    title: String,
    status: u16,
    /// What was attempted on what, and how to mend it.
    detail: String,
    /// One of those that `millrace explain` lists.
    code: String,
    help: String,
    /// The member of the body that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// The two directions have schemas of their own: what may be left out on the way in is there on the way out.
struct Schemas {
    reads: SchemaGenerator,
    writes: SchemaGenerator,
}

fn generator(contract: Contract) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.contract = contract;
        settings.meta_schema = None;
    });
    settings.into_generator()
}

/// The addresses under `/api/v1` that say what they do.
pub(crate) fn document(doors: &[Door]) -> Value {
    let mut schemas = Schemas { reads: generator(Contract::Deserialize), writes: generator(Contract::Serialize) };
    let mut paths: Map<String, Value> = Map::new();
    for door in doors {
        let Some(operation) = door.operation.as_deref() else { continue };
        let value = schemas.operation(door, operation);
        let path = paths.entry(door.path.clone()).or_insert_with(|| json!({}));
        path[door.method.as_str().to_ascii_lowercase()] = value;
    }
    let mut components = schemas.writes.take_definitions(true);
    components.append(&mut schemas.reads.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Instants are RFC 3339 in UTC with microseconds. Lists hold 100 rows at the most. Whatever is refused \
                            is answered with application/problem+json. A GET says ETag; a change with If-Match is made only if \
                            that is still so (412).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"basic": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API token: POST /api/v1/tokens"},
            },
        },
    })
}

/// `getDagsDagRuns`
fn operation_id(door: &Door) -> String {
    let words = door.path.trim_start_matches("/api/v1").split(|letter: char| !letter.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty()).map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    });
    std::iter::once(door.method.as_str().to_ascii_lowercase()).chain(words).collect()
}

/// The names in braces, in order.
pub(crate) fn names(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

fn is_number(name: &str) -> bool {
    matches!(name, "id" | "key" | "map_index" | "try_number" | "version_number")
}

impl Schemas {
    fn operation(&mut self, door: &Door, operation: &Operation) -> Value {
        let group = door.path.trim_start_matches("/api/v1/").split('/').next().unwrap_or_default();
        let mut value = json!({
            "operationId": operation_id(door),
            "summary": operation.summary,
            "tags": [group],
            "responses": self.responses(door, operation),
        });
        let parameters = parameters(door, operation);
        if !parameters.is_empty() {
            value["parameters"] = json!(parameters);
        }
        if let Some(takes) = operation.takes {
            let schema = takes(&mut self.reads);
            value["requestBody"] = json!({"required": true, "content": {JSON: {"schema": schema}}});
        }
        match door.access {
            Access::Open => value["security"] = json!([]),
            Access::Act(act) | Access::OfSomeDag(act) => {
                value["description"] =
                    json!(format!("Takes `{}`: the role {}, or more.", act.name(), act.least().as_str()));
            }
        }
        value
    }

    fn responses(&mut self, door: &Door, operation: &Operation) -> Value {
        let problem = self.writes.subschema_for::<Problem>();
        let refusal = |text: &str| json!({"description": text, "content": {PROBLEM: {"schema": problem}}});
        let mut responses = Map::new();
        for given in &operation.gives {
            let entry = responses.entry(given.status.to_string()).or_insert_with(|| json!({"description": given.text}));
            if let Some(schema) = given.schema {
                entry["content"][given.kind] = json!({"schema": schema(&mut self.writes)});
            }
            if has_version(door, operation) && given.kind == JSON {
                let text = "The version of what is shown, for If-None-Match, and for If-Match of a change";
                entry["headers"]["ETag"] = json!({"description": text, "schema": {"type": "string"}});
            }
        }
        if has_version(door, operation) {
            responses.insert("304".to_owned(), json!({"description": "As If-None-Match says it is"}));
        }
        for (status, text) in refusals(door, operation) {
            responses.insert(status.to_owned(), refusal(text));
        }
        Value::Object(responses)
    }
}

/// Whether what it shows has an ETag.
fn has_version(door: &Door, operation: &Operation) -> bool {
    door.method == Method::GET && door.access != Access::Open && operation.gives_json()
}

/// What every address of its kind takes, beside what it says of itself.
fn conditions(door: &Door, operation: &Operation) -> Option<(&'static str, &'static str)> {
    let replaces = [Method::PATCH, Method::PUT, Method::DELETE].contains(&door.method);
    if has_version(door, operation) {
        Some(("If-None-Match", "ETags that are known: 304 if it is one of them still"))
    } else if replaces {
        Some(("If-Match", "The ETag that a GET of this address told: 412 if it is another now"))
    } else {
        None
    }
}

/// Every status that may be refused with: there is no `default`, so that a test finds an answer that nothing is said of.
fn refusals(door: &Door, operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let is_change = door.method != Method::GET;
    // The address of trying a connection is that of one connection, too, and that of materializing that of one asset.
    let is_one = ["/connections/test", "/assets/materialize"].iter().any(|end| door.path.ends_with(end));
    let is_named = !names(&door.path).is_empty() || is_one;
    let has_body = operation.takes.is_some();
    let is_known = door.access != Access::Open;
    let all = [
        (true, "400", "It cannot be read"),
        (is_known || has_body, "401", "Nobody, or nobody known"),
        (is_known || is_change, "403", "Somebody who may not"),
        (is_named || has_body, "404", "There is no such thing"),
        // `/backfills/dry_run` is an address of its own, and none of a backfill.
        (is_named, "405", "Another address has this name"),
        (is_change, "409", "Something else is there, or under way"),
        (is_change, "412", "It is no longer what If-Match says"),
        (has_body, "413", "The body is too long"),
        (is_known || has_body, "422", "It can be read, and is not right; the detail says what"),
        (is_known || has_body, "429", "Too many attempts or open streams; Retry-After says how long to wait"),
        (true, "5XX", "Something failed inside, or the database does not answer"),
    ];
    all.into_iter().filter(|(is_possible, ..)| *is_possible).map(|(_, status, text)| (status, text)).collect()
}

fn parameters(door: &Door, operation: &Operation) -> Vec<Value> {
    let in_path = names(&door.path).into_iter().map(|name| {
        let schema = if is_number(name) { Kind::Number.schema() } else { Kind::Text.schema() };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = operation.query.iter().map(Asked::parameter);
    let in_headers =
        operation.headers.iter().copied().chain(conditions(door, operation)).map(
            |(name, text)| json!({"name": name, "in": "header", "description": text, "schema": {"type": "string"}}),
        );
    in_path.chain(in_query).chain(in_headers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_come_from_the_address() {
        assert_eq!(names("/dags/{dag_id}/dagRuns/{run_id}"), ["dag_id", "run_id"]);
        let door = Door {
            method: Method::GET,
            path: "/api/v1/dags/{dag_id}/dagRuns".to_owned(),
            access: Access::Open,
            operation: None,
        };
        assert_eq!(operation_id(&door), "getDagsDagIdDagRuns");
    }
}
