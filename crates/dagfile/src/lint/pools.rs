//! Tasks that can never run, because of the pools that there are. A pool that is not there is an error of the file.

use millrace_model::pool::PoolFault;

use super::{Finding, Linted};

pub(super) fn pool_too_small(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let Some(pools) = &linted.options.pools else { return };
    for task in &linted.dag.tasks {
        if let Some(fault @ PoolFault::TooSmall { .. }) = PoolFault::of(task, pools) {
            found.push(Finding::task(task, "pool_slots", fault.to_string(), fault.hint()));
        }
    }
}
