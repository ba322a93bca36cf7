//! Spans as OTLP's JSON has them.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::SpanFields;

/// Who says it.
pub struct Resource {
    pub service: String,
    pub host: String,
}

pub fn request(resource: &Resource, spans: &[SpanFields]) -> Value {
    let mut about = Map::new();
    about.insert("service.name".to_owned(), resource.service.clone().into());
    about.insert("service.version".to_owned(), env!("CARGO_PKG_VERSION").into());
    about.insert("host.name".to_owned(), resource.host.clone().into());
    about.insert("process.pid".to_owned(), std::process::id().into());
    let spans: Vec<Value> = spans.iter().map(|fields| span(&fields.0)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&about) },
        "scopeSpans": [{ "scope": { "name": "millrace", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }]})
}

/// Of what an event says, what is not an attribute.
const OWN: &[&str] = &["message", "begin", "end", "error", "traceparent"];

fn span(fields: &Map<String, Value>) -> Value {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| fields.get(name).and_then(Value::as_i64).unwrap_or_default();
    let name = text("message");
    let Ids { trace, span, parent } = ids(name, fields);
    let nanoseconds = |name: &str| (i128::from(number(name)) * 1000).to_string();
    let mut about = Map::new();
    for (name, value) in fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        let name = if name.contains('.') { name.clone() } else { format!("millrace.{name}") };
        about.insert(name, value.clone());
    }
    // SERVER for requests, INTERNAL for the rest.
    let kind = if fields.contains_key("http.request.method") { 2 } else { 1 };
    let error = text("error");
    let status = if error.is_empty() { json!({}) } else { json!({ "code": 2, "message": error }) };
    let mut span = json!({
        "traceId": trace, "spanId": span, "name": name, "kind": kind,
        "startTimeUnixNano": nanoseconds("begin"), "endTimeUnixNano": nanoseconds("end"),
        "attributes": attributes(&about), "status": status,
    });
    if let Some(parent) = parent {
        span["parentSpanId"] = parent.into();
    }
    span
}

fn attributes(fields: &Map<String, Value>) -> Value {
    let value = |value: &Value| match value {
        Value::Bool(flag) => json!({ "boolValue": flag }),
        // 64 bits do not go into every JSON reader's numbers.
        Value::Number(number) if number.is_i64() || number.is_u64() => json!({ "intValue": number.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    fields.iter().map(|(key, it)| json!({ "key": key, "value": value(it) })).collect()
}

struct Ids {
    trace: String,
    span: String,
    parent: Option<String>,
}

/// Of what belongs to a run, by its names; of a request, as its sender says; of everything else, new ones.
fn ids(name: &str, fields: &Map<String, Value>) -> Ids {
    let plain = |name: &str| fields.get(name).map(Value::to_string).unwrap_or_default();
    if let (Some(dag), Some(run)) = (fields.get("dag"), fields.get("run")) {
        let whole = [dag.to_string(), run.to_string()];
        let run_span = digest(&[&whole[0], &whole[1], "run"], 8);
        let trace = digest(&[&whole[0], &whole[1]], 16);
        return if name == "run" {
            Ids { trace, span: run_span, parent: None }
        } else {
            let its = [plain("task"), plain("map_index"), plain("try"), plain("begin")];
            let span = digest(&[&whole[0], &whole[1], name, &its[0], &its[1], &its[2], &its[3]], 8);
            Ids { trace, span, parent: Some(run_span) }
        };
    }
    let random = || millrace_settings::keyring::random_bytes::<24>().unwrap_or([1; 24]);
    let bytes = hex::encode(random());
    let (trace, span) = bytes.split_at(32);
    match fields.get("traceparent").and_then(Value::as_str).and_then(parent_of) {
        Some((trace, parent)) => Ids { trace, span: span.to_owned(), parent: Some(parent) },
        None => Ids { trace: trace.to_owned(), span: span.to_owned(), parent: None },
    }
}

/// Of the header of W3C Trace Context: `00-<trace>-<span>-<flags>`.
fn parent_of(header: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = header.trim().split('-').collect();
    let [version, trace, span, _flags, ..] = parts.as_slice() else { return None };
    let is_hex = |text: &str, length: usize| {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && text.bytes().any(|byte| byte != b'0')
    };
    let is_known = version.len() == 2 && *version != "ff";
    (is_known && is_hex(trace, 32) && is_hex(span, 16)).then(|| ((*trace).to_owned(), (*span).to_owned()))
}

/// The first bytes of a digest, as hex.
fn digest(parts: &[&str], bytes: usize) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    hex::encode(&digest.finalize()[..bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> SpanFields {
        SpanFields(value.as_object().cloned().unwrap_or_default())
    }

    #[test]
    fn a_try_lies_within_its_run_whoever_says_so() {
        let run = fields(json!({"message": "run", "dag": "d", "run": "r", "begin": 1_000_000, "end": 3_000_000}));
        let attempt = |number: u64| {
            fields(
                json!({"message": "try", "dag": "d", "run": "r", "task": "t", "try": number, "begin": 2, "end": 3, "error": "no"}),
            )
        };
        let resource = Resource { service: "millrace".to_owned(), host: "here".to_owned() };
        let sent = request(&resource, &[run, attempt(1), attempt(2)]);
        let spans = &sent["resourceSpans"][0]["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["startTimeUnixNano"], "1000000000");
        assert_eq!(
            (spans[0]["traceId"].as_str().map(str::len), spans[0]["spanId"].as_str().map(str::len)),
            (Some(32), Some(16))
        );
        assert_eq!(spans[0].get("parentSpanId"), None);
        for attempt in [&spans[1], &spans[2]] {
            assert_eq!((&attempt["traceId"], &attempt["parentSpanId"]), (&spans[0]["traceId"], &spans[0]["spanId"]));
            assert_eq!(attempt["status"], json!({"code": 2, "message": "no"}));
        }
        assert_ne!(spans[1]["spanId"], spans[2]["spanId"]);
        let other = request(&resource, &[fields(json!({"message": "run", "dag": "d", "run": "r2"}))]);
        assert_ne!(other["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"], spans[0]["traceId"]);
    }

    #[test]
    fn a_request_goes_on_with_its_senders_trace() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parent_of(header).map(|ids| ids.1), Some("00f067aa0ba902b7".to_owned()));
        for bad in [
            "",
            "00-x-y-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parent_of(bad), None, "{bad}");
        }
    }
}
