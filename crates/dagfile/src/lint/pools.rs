//! Tasks that can never run, because of the pools that there are.

use millrace_model::pool::PoolFault;

use super::{Finding, Linted};

pub(super) fn unknown_pool(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    find(linted, "pool", |fault| matches!(fault, PoolFault::Unknown { .. }), found);
}

pub(super) fn pool_too_small(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    find(linted, "pool_slots", |fault| matches!(fault, PoolFault::TooSmall { .. }), found);
}

fn find(linted: &Linted<'_>, key: &'static str, is_it: impl Fn(&PoolFault) -> bool, found: &mut Vec<Finding>) {
    let Some(pools) = &linted.options.pools else { return };
    for task in &linted.dag.tasks {
        if let Some(fault) = PoolFault::of(task, pools).filter(&is_it) {
            found.push(Finding::task(task, key, fault.to_string(), fault.hint()));
        }
    }
}
