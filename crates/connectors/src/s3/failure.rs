//! What an S3 error means, and which permission is missing.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use millrace_operator_api::{PortError, PortErrorKind};

use crate::aws::sign_on_hint;
use crate::parts::failure::chain;

/// `what` completes "cannot …"; `permission` is the IAM action that it takes.
pub fn explain<E>(conn_id: &str, what: &str, permission: &str, error: &SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code().map(ToOwned::to_owned).or_else(|| status.map(|status| status.to_string()));
    let kind = match kind(status, error.code(), matches!(error, SdkError::ConstructionFailure(_))) {
        // The request was never sent: a role was refused, or nobody has credentials to sign it with.
        PortErrorKind::Unavailable if status.is_none() && is_refused_sign_in(&chain(error)) => PortErrorKind::Denied,
        kind => kind,
    };
    let words = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        // HEAD answers have no body: the status is all there is.
        _ => match status {
            Some(status) => format!("HTTP status {status}"),
            None => chain(error),
        },
    };
    let hint = match kind {
        PortErrorKind::Denied if error.code() == Some("ExpiredToken") => {
            "; the credentials have expired: renew them, or use a role, whose credentials renew themselves".to_owned()
        }
        PortErrorKind::Denied if status.is_none() => sign_on_hint(&chain(error)).unwrap_or_default().to_owned(),
        PortErrorKind::Denied => format!("; the permission {permission} may be missing, or the key may be wrong"),
        _ => String::new(),
    };
    let failure = PortError::new(kind, format!("connection {conn_id:?}: cannot {what}: {words}{hint}"));
    match code {
        Some(code) => failure.with_code(code),
        None => failure,
    }
}

fn is_refused_sign_in(words: &str) -> bool {
    sign_on_hint(words).is_some()
        || words.contains("loading credentials")
            && ["AccessDenied", "ExpiredToken", "no providers"].iter().any(|word| words.contains(word))
}

fn kind(status: Option<u16>, code: Option<&str>, is_construction: bool) -> PortErrorKind {
    match (status, code) {
        (
            _,
            Some(
                "SlowDown"
                | "Throttling"
                | "ThrottlingException"
                | "RequestTimeout"
                | "RequestTimeTooSkewed"
                | "InternalError"
                // A part that the store lost: the upload as a whole has to be made again.
                | "InvalidPart"
                | "NoSuchUpload",
            ),
        ) => PortErrorKind::Unavailable,
        (_, Some("NoSuchKey" | "NoSuchBucket" | "NotFound")) | (Some(404), _) => {
            PortErrorKind::NotFound
        }
        (_, Some("PreconditionFailed" | "ConditionalRequestConflict")) | (Some(409 | 412), _) => {
            PortErrorKind::AlreadyExists
        }
        // Expired credentials are a 400.
        (_, Some("ExpiredToken" | "TokenRefreshRequired" | "InvalidToken")) | (Some(401 | 403), _) => PortErrorKind::Denied,
        (Some(408 | 429 | 500..), _) => PortErrorKind::Unavailable,
        (Some(400..500), _) => PortErrorKind::Invalid,
        (None, _) if is_construction => PortErrorKind::Invalid,
        // No answer: the network, a timeout, a broken connection.
        (None, _) => PortErrorKind::Unavailable,
        _ => PortErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_have_their_kinds() {
        assert_eq!(kind(Some(404), None, false), PortErrorKind::NotFound);
        assert_eq!(kind(Some(403), Some("AccessDenied"), false), PortErrorKind::Denied);
        assert_eq!(kind(Some(412), Some("PreconditionFailed"), false), PortErrorKind::AlreadyExists);
        assert_eq!(kind(Some(503), Some("SlowDown"), false), PortErrorKind::Unavailable);
        assert_eq!(kind(None, None, false), PortErrorKind::Unavailable);
        assert_eq!(kind(Some(400), Some("InvalidBucketName"), false), PortErrorKind::Invalid);
    }
}
