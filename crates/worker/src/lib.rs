//! The pool of local workers: takes claimed tries, renders their parameters, runs their operators, and sends back how
//! each ended.
//!
//! Invariants:
//! - A try that is taken always sends exactly one completion, whatever happens to it: success, error, panic, timeout,
//!   cancellation.
//! - The claim was committed before a try comes here; no transaction is open while an operator works.
//! - Nothing that is for people's eyes (logs, errors, rendered parameters) is written before it went through the masker.
//!   Results are for other tasks: they are kept as they are, and masked by whoever shows them.
//!
//! Must not import: the scheduler, a connector, a face.

mod attempt;
mod cancel;
mod environment;
mod equipment;
mod executor;
mod journal;
mod mapping;
mod note;
mod parameters;
mod patience;
mod report;
mod runs;
mod slot;
mod stopwatch;
mod told;
mod triggers;

pub use attempt::{run_attempt, run_until_ended};
pub use cancel::Cancel;
pub use equipment::{AttemptIo, Equipment, LookupFactory, SystemClock};
pub use executor::{LocalExecutor, LocalExecutorOptions};
pub use journal::{MemoryJournal, NoResults, StoreJournal, StoreResults};
pub use note::{Note, Notebook};
pub use parameters::{ParameterError, Rendered, masker, render};
pub use patience::ask_while;
pub use report::{AttemptLog, AttemptReport, LogSink};
pub use runs::StoreRuns;
pub use triggers::StoreTriggers;
