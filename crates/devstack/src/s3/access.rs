//! Who may do what (everyone with the key, everything), and the place where planned failures happen: after the
//! signature was checked, before anything is done.

use std::time::Duration;

use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::CutAnswer;
use super::sessions::{Sessions, expired};
use crate::faults::{Fault, Faults};

/// The account that owns every bucket here.
pub(crate) const ACCOUNT: &str = "000000000000";

/// Tells GetObject to fail after some bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct CutBody {
    pub(super) after: u64,
}

/// Tells GetObject to send its body slowly.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowBody {
    pub(super) bytes: u64,
    pub(super) every: Duration,
}

/// Tells UploadPart to forget the part after it said that it was kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct LosePart;

pub(super) struct Access {
    faults: Faults,
    sessions: Sessions,
}

impl Access {
    pub(super) fn new(faults: Faults, sessions: Sessions) -> Self {
        Self { faults, sessions }
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "Signature is required"));
        };
        let token = context.headers().get("x-amz-security-token").map(|token| token.as_bytes());
        self.sessions.check(&credentials.access_key, token)?;
        for header in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
            let owner = context.headers().get(header);
            if owner.is_some_and(|owner| owner.as_bytes() != ACCOUNT.as_bytes()) {
                return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied"));
            }
        }
        let Some(fault) = self.faults.take(context.s3_op().name()) else { return Ok(()) };
        let cut = context.extensions_mut().get::<CutAnswer>().cloned();
        match fault {
            Fault::InternalError => Err(S3Error::with_message(S3ErrorCode::InternalError, "planned failure")),
            Fault::Throttle => Err(S3Error::with_message(S3ErrorCode::SlowDown, "Please reduce your request rate.")),
            Fault::Delay(duration) => {
                tokio::time::sleep(duration).await;
                Ok(())
            }
            Fault::CutConnection => {
                if let Some(cut) = cut {
                    cut.set();
                }
                Err(S3Error::new(S3ErrorCode::InternalError))
            }
            Fault::LoseAnswer => {
                if let Some(cut) = cut {
                    cut.set();
                }
                Ok(())
            }
            Fault::CutBody { after } => {
                context.extensions_mut().insert(CutBody { after });
                Ok(())
            }
            Fault::SlowBody { bytes, every } => {
                context.extensions_mut().insert(SlowBody { bytes, every });
                Ok(())
            }
            Fault::LosePart => {
                context.extensions_mut().insert(LosePart);
                Ok(())
            }
            Fault::ExpiredCredentials => Err(expired()),
            // Planned for the other stand-in: nothing to do here.
            Fault::FailStatement(_) | Fault::AbortStatement => Ok(()),
        }
    }
}
