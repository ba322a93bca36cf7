//! The log of a try.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use millrace_logs::{LogLine, TryId};
use millrace_model::error_code::ErrorCode;
use millrace_settings::Masker;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Instant, optional};
use crate::api::instances::instance_of;
use crate::events::may_still_write;
use crate::problem::{Answer, Problem};
use crate::query::{FARTHEST, Parameters, unknown};
use crate::server::Shared;

pub(crate) async fn get(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id, try_number)): Path<(String, String, String, u32)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer {
    let map_index = parameters.number::<i32>("map_index")?.unwrap_or(-1);
    let offset = parameters.number::<u64>("token")?.unwrap_or(0).min(FARTHEST);
    let (_, instance) = instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?;
    let id = TryId { dag_id, run_id, task_id, map_index, try_number };
    let logs = server.options.logs.clone();
    let is_live = instance.try_number <= try_number && may_still_write(instance.state);
    let page = logs.read_page(&id, offset, !is_live).await.map_err(|error| Problem::internal(&error))?;
    let Some(page) = page else {
        let text = format!("try {try_number} of task {} has written no log", id.task_id);
        return Err(Problem::new(ErrorCode::LOG_NOT_FOUND, text));
    };
    let masker = server.options.vault.masker().clone();
    let as_text = match parameters.text("format") {
        None => wants_text(&headers),
        Some("text") => true,
        Some(other) => return Err(unknown("format", other, FORMATS)),
    };
    if as_text {
        let name = file_name(&id);
        // Page by page, so that a log of any size passes.
        let over = async || true;
        let pages = logs.follow(id, offset, over).map(move |page| page.map(|page| text_of(&page.lines, &masker)));
        let mut response = Response::new(Body::from_stream(pages));
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
        }
        return Ok(response);
    }
    let line = |line: &LogLine| Line {
        timestamp: optional(line.at),
        level: serde_json::json!(line.level),
        event: masker.mask(&line.text),
    };
    let goes_on = !page.is_at_end || is_live;
    let continuation_token = goes_on.then(|| page.next_offset.to_string());
    Ok(Json(Log { content: page.lines.iter().map(line).collect(), continuation_token }).into_response())
}

pub(super) const FORMATS: &[&str] = &["text"];

/// As it is saved: `DAG.RUN.TASK.INDEX.TRY.log`, of letters that every file system takes.
fn file_name(id: &TryId) -> String {
    let index = if id.map_index < 0 { String::new() } else { format!(".{}", id.map_index) };
    let name = format!("{}.{}.{}{index}.{}.log", id.dag_id, id.run_id, id.task_id, id.try_number);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | '+');
    name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect()
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Log {
    content: Vec<Line>,
    /// To be sent as `token` for what comes after; none: it has ended.
    continuation_token: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LogLine")]
struct Line {
    timestamp: Option<Instant>,
    #[schemars(with = "String")]
    level: serde_json::Value,
    event: String,
}

pub(super) fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/plain") && !accept.contains("application/json")
}

fn text_of(lines: &[LogLine], masker: &Masker) -> String {
    let mut text = String::new();
    for line in lines {
        let shown = masker.mask(&line.text);
        match line.at {
            Some(at) => LogLine::write(&mut text, at, line.level, &shown),
            None => {
                text.push_str(&shown);
                text.push('\n');
            }
        }
    }
    text
}
