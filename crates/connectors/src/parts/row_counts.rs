//! Numbers of rows that must agree before a load is seen by anybody: afterwards it is too late, because a retry finds the
//! load done.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{LoadMethod, LoadRequest};

use crate::parts::failure::data;

/// `read` are the rows of the files, refused ones included; `None` where that could not be found out.
pub fn require_all_read(request: &LoadRequest, read: Option<u64>) -> Result<(), PortError> {
    match (request.expected_rows, read) {
        (Some(expected), Some(read)) if expected != read => Err(data(format!(
            "{expected} rows were written to the files, but {read} were read from them; nothing was loaded"
        ))),
        _ => Ok(()),
    }
}

/// Every row that was taken must have come into the table: a trigger or a rule may have swallowed some.
pub fn require_all_inserted(request: &LoadRequest, taken: u64, inserted: Option<u64>) -> Result<(), PortError> {
    let is_plain = matches!(request.method, LoadMethod::Append | LoadMethod::Replace);
    match inserted {
        Some(inserted) if is_plain && inserted != taken => Err(data(format!(
            "{taken} rows were to be inserted into {}, but {inserted} were (a trigger or a rule of the table may have \
             changed that); nothing was loaded",
            request.target
        ))),
        _ => Ok(()),
    }
}
