//! What a reader of DAG files is told from outside.

use std::fmt;

use chrono_tz::Tz;
use millrace_model::dag::DEFAULT_POOL;
use millrace_model::duration::Span;
use millrace_model::mapping::MAX_MAP_LENGTH;
use millrace_model::pool::PoolSizes;
use millrace_operator_api::entry::Catalogue;

/// Values of keys that neither the DAG nor its `default_args` give.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// Which of the `overlays` is used.
    pub environment: Option<String>,
    pub timezone: Tz,
    pub catchup: bool,
    pub max_active_runs: u32,
    pub max_active_tasks: u32,
    pub owner: Option<String>,
    pub retries: u32,
    pub retry_delay: Span,
    pub execution_timeout: Option<Span>,
    pub pool: String,
    pub pool_slots: u32,
    pub priority_weight: i32,
    /// Items of a mapped task at most.
    pub max_map_length: usize,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            environment: None,
            timezone: Tz::UTC,
            catchup: false,
            max_active_runs: 16,
            max_active_tasks: 16,
            owner: None,
            retries: 0,
            retry_delay: Span::from_seconds(300),
            execution_timeout: None,
            pool: DEFAULT_POOL.to_owned(),
            pool_slots: 1,
            priority_weight: 1,
            max_map_length: MAX_MAP_LENGTH,
        }
    }
}

/// How to read one file.
pub struct ReadOptions<'a> {
    /// Its path or name: the DAG id, when the file gives none, is its stem.
    pub file_name: &'a str,
    pub catalogue: Catalogue,
    pub defaults: Defaults,
    /// The text of a `.sql` or `.sh` file, by its path relative to the dags folder; `None` when there is no such file.
    /// The path never leaves the folder: it is not absolute and has no `..`. Whoever opens it must also see to links.
    /// Calendar files (`calendars/NAME.yaml`) come from here too.
    pub files: &'a dyn Fn(&str) -> Option<String>,
    /// The names of the calendars that there are; asked only to suggest one.
    pub calendars: &'a dyn Fn() -> Vec<String>,
    /// The pools of the installation: a task that names another is an error. `None`: it is not known which there are.
    pub pools: Option<&'a PoolSizes>,
}

impl<'a> ReadOptions<'a> {
    /// With the defaults of the product and without further files.
    pub fn new(file_name: &'a str, catalogue: Catalogue) -> Self {
        Self {
            file_name,
            catalogue,
            defaults: Defaults::default(),
            files: &|_| None,
            calendars: &Vec::new,
            pools: None,
        }
    }
}

impl fmt::Debug for ReadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOptions")
            .field("file_name", &self.file_name)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}
