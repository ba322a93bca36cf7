//! What every try of a process shares, and what one try brings along.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures::future::BoxFuture;
use millrace_model::change::Assignment;
use millrace_operator_api::context::{Clock, Results, Runs, Slot, StatementJournal, Triggers};
use millrace_operator_api::entry::{Catalogue, OperatorEntry, find};
use millrace_operator_api::ports::Ports;
use millrace_settings::Masker;
use millrace_template::Lookup;
use serde_json::Value;

use crate::cancel::Cancel;
use crate::report::LogSink;

/// Makes what templates of a try may look up. The lookup may block; it is used on a thread where that is allowed.
pub type LookupFactory = Arc<dyn Fn(&Assignment) -> Arc<dyn Lookup> + Send + Sync>;

/// Shared by all tries.
pub struct Equipment {
    pub catalogue: Catalogue,
    pub ports: Arc<dyn Ports>,
    pub clock: Arc<dyn Clock>,
    pub masker: Masker,
    pub lookup: LookupFactory,
    /// Names the home in the marks that tasks leave outside.
    pub installation: String,
    /// How long a cancelled operator may clean up before it is dropped.
    pub cancel_grace: Duration,
    /// True under `tasks test`.
    pub is_test: bool,
    schemas: HashMap<&'static str, Value>,
}

/// What belongs to one try.
#[derive(Clone)]
pub struct AttemptIo {
    pub log: Arc<dyn LogSink>,
    pub journal: Arc<dyn StatementJournal>,
    pub results: Arc<dyn Results>,
    pub runs: Arc<dyn Runs>,
    pub triggers: Arc<dyn Triggers>,
    pub slot: Arc<dyn Slot>,
    pub cancel: Cancel,
}

impl Equipment {
    pub fn new(
        catalogue: Catalogue,
        ports: Arc<dyn Ports>,
        clock: Arc<dyn Clock>,
        masker: Masker,
        lookup: LookupFactory,
        installation: String,
    ) -> Self {
        let schemas = catalogue.iter().map(|entry| (entry.name, (entry.schema)().to_value())).collect();
        Self {
            catalogue,
            ports,
            clock,
            masker,
            lookup,
            installation,
            cancel_grace: Duration::from_secs(15),
            is_test: false,
            schemas,
        }
    }

    /// The operator and its schema.
    pub fn operator(&self, name: &str) -> Option<(&'static OperatorEntry, &Value)> {
        let entry = find(self.catalogue, name)?;
        Some((entry, &self.schemas[entry.name]))
    }
}

/// The machine's clock, in the microseconds that are stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    fn sleep(&self, length: TimeDelta) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(length.to_std().unwrap_or_default()))
    }
}
