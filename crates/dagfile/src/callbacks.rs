//! `on_execute`, `on_success`, `on_failure`, `on_retry`, `on_skipped`, `on_alert`: who is told how a try begins, and how it
//! or a run ends.

use millrace_model::notice::{Callback, Callbacks};
use millrace_template::is_template;

use crate::fields::Reader;
use crate::tree::{Entry, Node, NodeKind};

/// Of a DAG.
pub(crate) const DAG_KEYS: &[&str] = &["on_failure", "on_success", "on_alert"];

/// Of a task; `default_args` may hold them too.
pub(crate) const TASK_KEYS: &[&str] = &["on_execute", "on_failure", "on_success", "on_retry", "on_skipped"];

const WAYS: &[&str] = &["webhook", "command"];
const SHAPE: &str = "{webhook: a_connection}, {command: a command of bash}, or a list of such";

pub(crate) fn read<'n>(
    reader: &mut Reader<'_>,
    keys: &[&'static str],
    get: &dyn Fn(&str) -> Option<&'n Entry>,
) -> Callbacks {
    let mut callbacks = Callbacks::default();
    for key in keys {
        let Some(entry) = get(key) else { continue };
        let read = list(reader, entry);
        match *key {
            "on_failure" => callbacks.on_failure = read,
            "on_success" => callbacks.on_success = read,
            "on_retry" => callbacks.on_retry = read,
            "on_execute" => callbacks.on_execute = read,
            "on_skipped" => callbacks.on_skipped = read,
            _ => callbacks.on_alert = read,
        }
    }
    callbacks
}

fn list(reader: &mut Reader<'_>, entry: &Entry) -> Vec<Callback> {
    match &entry.value.kind {
        NodeKind::Null => Vec::new(),
        NodeKind::Map(_) => one(reader, &entry.value).into_iter().collect(),
        NodeKind::List(items) => items.iter().filter_map(|item| one(reader, item)).collect(),
        _ => {
            reader.wrong_type(entry, SHAPE);
            Vec::new()
        }
    }
}

fn one(reader: &mut Reader<'_>, node: &Node) -> Option<Callback> {
    if !matches!(node.kind, NodeKind::Map(_)) {
        reader.error("wrong-type", node.span, format!("here must be {SHAPE}, not {}", node.kind.noun()));
        return None;
    }
    reader.unknown_keys(node.entries(), WAYS, "in a callback");
    match (node.get("webhook"), node.get("command")) {
        (Some(conn_id), None) => reader.name(conn_id).map(Callback::Webhook),
        (None, Some(command)) => {
            let text = reader.name(command)?;
            if is_template(&text) {
                let hint =
                    "it finds what happened in its environment, as $DAG_ID, $RUN_ID, $TASK_ID and $REASON; read a \
                            secret from a file"
                        .to_owned();
                let message = "a callback's command is no template".to_owned();
                reader.error_with_hint("bad-value", command.value.span, message, hint);
            }
            Some(Callback::Command(text))
        }
        (Some(_), Some(command)) => {
            reader.error("conflict", command.key_span, "a callback is either a webhook or a command; write two");
            None
        }
        (None, None) => {
            if node.entries().is_empty() {
                reader.error("missing-key", node.span, format!("a callback is {SHAPE}"));
            }
            None
        }
    }
}
