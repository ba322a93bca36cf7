//! Who may do what (everyone with the key, everything), and the place where planned failures happen: after the
//! signature was checked, before anything is done.

use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::CutAnswer;
use crate::faults::{Fault, Faults};

/// Tells GetObject to fail after some bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct CutBody {
    pub(super) after: u64,
}

pub(super) struct Access {
    faults: Faults,
}

impl Access {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults }
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "Signature is required"));
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
            // Planned for the other stand-in: nothing to do here.
            Fault::FailStatement(_) | Fault::AbortStatement => Ok(()),
        }
    }
}
