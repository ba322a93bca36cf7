//! Checks of a table's rows.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{CheckResult, TableCheck, TableName};

use super::connect::{SqliteFile, table};
use super::session::Session;
use crate::parts::checks;
use crate::parts::failure::while_doing;

pub async fn check(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
    wanted: &[TableCheck],
) -> Result<Vec<CheckResult>, PortError> {
    let mut results = Vec::with_capacity(wanted.len());
    for check in wanted {
        let answer = file.ask(connection, &checks::statement(check, &table(target))).await.map_err(|error| {
            while_doing(&format!("the check {} on {target} could not be made", checks::name(check)), error)
        })?;
        results.push(checks::judge(check, &answer));
    }
    Ok(results)
}
