//! DAGs and their files, with the assets that they make and wait for.

pub(crate) mod asset;
pub(crate) mod asset_event;
pub(crate) mod dag;
pub(crate) mod dag_file;
pub(crate) mod file_alert;
pub(crate) mod file_stamp;
pub(crate) mod import_error;
pub(crate) mod version_cache;
