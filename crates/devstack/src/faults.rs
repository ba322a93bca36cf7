//! Planned failures, shared by both stand-ins.

mod control;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use control::{RunningFaultsPort, serve_faults};

/// One way to fail. In JSON: `"throttle"`, `{"delay": 1.5}`, `{"cut_body": {"after": 1000}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answer 500 (S3 `InternalError`, Data API `InternalServerException`) without doing anything.
    InternalError,
    /// Ask the client to slow down (S3 503 `SlowDown`, Data API `ThrottlingException`) without doing anything.
    Throttle,
    /// Wait, then go on normally.
    Delay(#[serde(with = "seconds")] Duration),
    /// Cut the connection before anything is done.
    CutConnection,
    /// Do the work, then cut the connection instead of answering.
    LoseAnswer,
    /// S3 GetObject only: cut the connection after this many bytes of the body.
    CutBody {
        /// Bytes that still arrive.
        after: u64,
    },
    /// S3 GetObject only: send the body in pieces of `bytes`, with a pause of `every` before each.
    SlowBody {
        /// Of a piece.
        bytes: u64,
        /// Between two pieces.
        #[serde(with = "seconds")]
        every: Duration,
    },
    /// S3 UploadPart only: say that the part was kept, and forget it. CompleteMultipartUpload then finds it missing.
    LosePart,
    /// Refuse the credentials as expired (S3 `ExpiredToken`, Data API `ExpiredTokenException`) without doing anything.
    ExpiredCredentials,
    /// Redshift statements only: the statement becomes FAILED with this error text.
    FailStatement(String),
    /// Redshift statements only: the statement becomes ABORTED, as when an administrator cancels it.
    AbortStatement,
}

/// A duration in JSON: seconds, also parts of one.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(|_| D::Error::custom(format!("{seconds} is no number of seconds")))
    }
}

#[derive(Debug)]
struct Rule {
    operation: String,
    left: u32,
    fault: Fault,
}

/// A shared handle: tests plan failures on it while the stand-in runs.
///
/// `operation` is the API operation (`PutObject`, `ExecuteStatement` …), for the Redshift stand-in also the first
/// word of a statement (`COPY`, `MERGE`, `COMMIT` …), or `*` for all API operations. Rules are used in the order in which they were planned.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Faults {
    /// No failure planned.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plans `fault` for the next `times` uses of `operation`.
    pub fn inject(&self, operation: impl Into<String>, fault: Fault, times: u32) {
        let rule = Rule { operation: operation.into(), left: times, fault };
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Forgets everything planned.
    pub fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many planned failures have not happened yet.
    pub fn pending(&self) -> u32 {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|rule| rule.left).sum()
    }

    /// What is planned, in order: the operation, how it fails, and how often from now on.
    pub fn planned(&self) -> Vec<(String, Fault, u32)> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter().map(|rule| (rule.operation.clone(), rule.fault.clone(), rule.left)).collect()
    }

    /// Uses up one planned failure of an API operation.
    pub(crate) fn take(&self, operation: &str) -> Option<Fault> {
        self.take_where(|rule| rule == operation || rule == "*")
    }

    /// Uses up one planned failure of a statement; `*` does not match, because it means API operations.
    pub(crate) fn take_statement(&self, verb: &str) -> Option<Fault> {
        self.take_where(|rule| rule.eq_ignore_ascii_case(verb))
    }

    fn take_where(&self, matches: impl Fn(&str) -> bool) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let position = rules.iter().position(|rule| rule.left > 0 && matches(&rule.operation))?;
        let rule = &mut rules[position];
        rule.left -= 1;
        let fault = rule.fault.clone();
        if rule.left == 0 {
            rules.remove(position);
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_used_as_often_as_planned_and_only_for_its_operation() {
        let faults = Faults::new();
        faults.inject("PutObject", Fault::Throttle, 2);
        faults.inject("*", Fault::InternalError, 1);
        assert_eq!(faults.take("PutObject"), Some(Fault::Throttle));
        assert_eq!(faults.take("GetObject"), Some(Fault::InternalError));
        assert_eq!(faults.take("GetObject"), None);
        assert_eq!(faults.take_statement("COPY"), None);
        assert_eq!(faults.take("PutObject"), Some(Fault::Throttle));
        assert_eq!(faults.pending(), 0);
    }
}
