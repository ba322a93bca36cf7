//! Who is told how tries begin, and how they and runs end: the callbacks that DAGs and tasks name, and what each is told.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::alert::AlertKind;
use crate::change::{InstanceKey, RunKey};
use crate::ids::{DagId, RunId, TaskId};

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Callback {
    /// The connection that holds the address and the secret that signs.
    Webhook(String),
    /// Run by bash.
    Command(String),
}

/// Of a DAG, about its runs, or of a task, about its tries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callbacks {
    /// The run has failed; the task has, and is not tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Callback>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_success: Vec<Callback>,
    /// Of a task: a try has failed and is repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_retry: Vec<Callback>,
    /// Of a task: a try begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_execute: Vec<Callback>,
    /// Of a task: a try has found that there is nothing to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_skipped: Vec<Callback>,
    /// Of a DAG: an alert was raised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_alert: Vec<Callback>,
}

impl Callbacks {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn of(&self, event: NoticeEvent) -> &[Callback] {
        match event {
            NoticeEvent::Failure => &self.on_failure,
            NoticeEvent::Success => &self.on_success,
            NoticeEvent::Retry => &self.on_retry,
            NoticeEvent::Execute => &self.on_execute,
            NoticeEvent::Skipped => &self.on_skipped,
            NoticeEvent::Alert(_) => &self.on_alert,
        }
    }
}

/// What somebody is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeEvent {
    Failure,
    Success,
    Retry,
    Execute,
    Skipped,
    Alert(AlertKind),
}

impl NoticeEvent {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Success => "success",
            Self::Retry => "retry",
            Self::Execute => "execute",
            Self::Skipped => "skipped",
            Self::Alert(kind) => kind.as_str(),
        }
    }
}

impl fmt::Display for NoticeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which try a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeTry {
    pub instance: InstanceKey,
    pub task_id: TaskId,
    pub map_index: i32,
    pub try_number: u32,
}

/// One thing that one callback is told, at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub run: RunKey,
    pub dag_id: DagId,
    /// Empty: it is about the DAG's file.
    pub run_id: RunId,
    pub logical_date: DateTime<Utc>,
    /// None: it is about the run.
    pub of_try: Option<NoticeTry>,
    pub event: NoticeEvent,
    pub reason: Option<String>,
    pub callback: Callback,
    pub at: DateTime<Utc>,
}
