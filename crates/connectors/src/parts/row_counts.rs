//! Numbers of rows that must agree before a load is seen by anybody: afterwards it is too late, because a retry finds the
//! load done.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{LoadMethod, LoadRequest, SmallResult, TableName};

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
    if is_plain { require_inserted(&request.target, taken, inserted) } else { Ok(()) }
}

/// `None` where the database does not say it.
pub fn require_inserted(target: &TableName, wanted: u64, inserted: Option<u64>) -> Result<(), PortError> {
    match inserted {
        Some(inserted) if inserted != wanted => Err(data(format!(
            "{wanted} rows were to be inserted into {target}, but {inserted} were (a trigger or a rule of the table may have \
             changed that); nothing was loaded"
        ))),
        _ => Ok(()),
    }
}

/// `kept` rows are as they were though other values came in, and no trigger can have made the same of those.
pub fn require_updated(target: &TableName, kept: Option<u64>) -> Result<(), PortError> {
    match kept {
        Some(kept) if kept > 0 => Err(data(format!(
            "{kept} rows of {target} were to be updated and are as they were (a rule of the table may have kept them); nothing \
             was loaded"
        ))),
        _ => Ok(()),
    }
}

/// How many rows one statement of a transaction must insert.
#[derive(Clone, Copy)]
pub struct Awaited<'a> {
    /// Its number among the statements, from 0.
    pub statement: usize,
    pub rows: u64,
    pub target: &'a TableName,
}

impl Awaited<'_> {
    pub fn judge(&self, statement: usize, done: &SmallResult) -> Result<(), PortError> {
        if statement == self.statement { require_inserted(self.target, self.rows, done.rows_affected) } else { Ok(()) }
    }
}
