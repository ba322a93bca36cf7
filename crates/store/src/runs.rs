//! Runs, their task instances, and what tries leave behind.

pub(crate) mod active;
pub(crate) mod checkpoint;
pub(crate) mod instance;
pub(crate) mod instance_list;
pub(crate) mod ledger;
pub(crate) mod passed_date;
pub(crate) mod past;
pub(crate) mod remote_statement;
pub(crate) mod run;
pub(crate) mod run_date;
pub(crate) mod take;
pub(crate) mod task_try;
pub(crate) mod xcom;
