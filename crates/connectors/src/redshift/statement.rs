//! One remote statement: its token, its states, its answer.

use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use aws_sdk_redshiftdata::types::{Field, StatementStatusString, StatusString};
use sha2::{Digest, Sha256};

/// The same for the same step, SQL and try of the same work, so that sending it again attaches to what was sent before.
/// 64 characters, the most that is allowed.
pub fn token(marker: &str, try_number: u32, step: &str, statements: &[String]) -> String {
    let mut digest = Sha256::new();
    for part in [marker, &try_number.to_string(), step].into_iter().chain(statements.iter().map(String::as_str)) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Finished,
    Failed,
    Aborted,
}

pub fn state(answer: &DescribeStatementOutput) -> State {
    match answer.status() {
        Some(StatusString::Finished) => State::Finished,
        Some(StatusString::Failed) => State::Failed,
        Some(StatusString::Aborted) => State::Aborted,
        _ => State::Running,
    }
}

/// What is known of a failure.
#[derive(Debug, Default)]
pub struct Failure {
    /// Of the statements as they were sent, from 0.
    pub index: Option<usize>,
    pub message: String,
    /// By which the system tables know it.
    pub query_id: Option<i64>,
}

pub fn failure(answer: &DescribeStatementOutput) -> Failure {
    let failed = answer.sub_statements().iter().enumerate().find(|(_, part)| {
        matches!(part.status(), Some(StatementStatusString::Failed | StatementStatusString::Aborted))
    });
    let message = failed
        .and_then(|(_, part)| part.error())
        .filter(|text| !text.is_empty())
        .or_else(|| answer.error())
        .unwrap_or("no reason was given")
        .to_owned();
    let query_id = failed.map_or_else(|| answer.redshift_query_id(), |(_, part)| part.redshift_query_id());
    Failure { index: failed.map(|(index, _)| index), message, query_id: (query_id > 0).then_some(query_id) }
}

pub fn text_of(field: &Field) -> Option<String> {
    match field {
        Field::StringValue(text) => Some(text.clone()),
        Field::LongValue(number) => Some(number.to_string()),
        Field::DoubleValue(number) => Some(number.to_string()),
        Field::BooleanValue(flag) => Some(flag.to_string()),
        Field::BlobValue(bytes) => Some(hex::encode(bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn tokens_are_the_same_for_the_same_and_differ_for_the_rest() {
        let sql = ["a".to_owned(), "b".to_owned()];
        let first = token("work", 1, "load", &sql);
        assert_eq!(first.len(), 64);
        assert_eq!(first, token("work", 1, "load", &sql));
        assert_ne!(first, token("work", 2, "load", &sql));
        assert_ne!(first, token("work", 1, "stage", &sql));
        assert_ne!(first, token("work", 1, "load", &["ab".to_owned()]));
    }
}
