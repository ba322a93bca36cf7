//! Keys of an upsert that tell rows apart no more, because of what was done to their values when they were extracted.

use std::collections::BTreeMap;

use millrace_operator_api::TaskError;
use millrace_operator_api::ports::LoadMethod;

use super::{Loading, Marks};
use crate::parts::reads::treatment::Personal;

/// Refuses an upsert by columns that were masked or left out, whose order was hashed away, or whose times may have met.
/// `own`: what this task itself does to columns.
pub fn check(loading: &Loading, marks: &[Marks], own: &BTreeMap<String, Personal>) -> Result<(), TaskError> {
    let LoadMethod::Upsert { keys, order_key } = &loading.method else { return Ok(()) };
    let handed = loading.handed.as_ref();
    let done_to = |name: &str| {
        let told = handed.map(|handed| &handed.object.personal);
        let marked = marks.iter().filter_map(|marks| marks.shape.as_ref()).map(|shape| &shape.personal);
        let mut all = told.into_iter().chain(marked).chain([own]).flatten();
        all.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, done)| *done)
    };
    let fail = |message: String| Err(TaskError::Fail(format!("the upsert into {}: {message}", loading.target)));
    for key in keys {
        match done_to(key) {
            Some(Personal::Mask) => {
                return fail(format!(
                    "{key} was masked when the rows were extracted, so all of them have one key; hash it there, or take \
                     another key"
                ));
            }
            Some(Personal::Drop) => {
                return fail(format!("{key} was left out when the rows were extracted; keep it, or take another key"));
            }
            Some(Personal::Hash) | None => {}
        }
        let may_meet =
            |handed: &&super::Handed| handed.object.skipped.iter().any(|name| name.eq_ignore_ascii_case(key));
        if let Some(handed) = handed.filter(may_meet) {
            return fail(format!(
                "some times of {key} stand in an hour that the clocks of the source skipped, and as moments two of them may be \
                 one key; for_table: {{key: {key}, …}} in task '{}' names the row, and source_timezone may not be the clock's own",
                handed.task
            ));
        }
    }
    match order_key.as_deref().and_then(|key| Some((key, done_to(key)?))) {
        Some((key, done)) => fail(format!(
            "order_key {key} was {} when the rows were extracted, and does not say any more which row is the newest; \
             take another column",
            match done {
                Personal::Mask => "masked",
                Personal::Hash => "hashed",
                Personal::Drop => "left out",
            }
        )),
        None => Ok(()),
    }
}
