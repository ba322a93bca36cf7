//! What should happen next: from everything that is active, to the changes to make and the moment to look again.
//!
//! [`View`] is the planner's picture of the metadata database: DAGs, pools, active runs. [`plan`] takes what has changed
//! since the last turn (finished tries, new runs, the time) and decides: which runs begin, which tasks are claimed,
//! retried, skipped or given up, which runs end, each with its reason.
//!
//! Invariants:
//! - Pure: no clock, no database, no randomness; the same view, `now` and limits give the same plan.
//! - `plan` moves the view forward as though its batch had been committed. Whoever fails to commit, or is told that an
//!   item was stale, reads the runs concerned again and gives them back with [`View::put_run`].
//! - A run is looked at only when something in it changed. The cost of a turn grows with what changed and with what is
//!   started, never with idle DAGs, waiting runs or history.
//! - Claims stay within `max_active_tasks` of the run, the slots of the pool, the limits of the task and of its key, and
//!   the slots of the executor; running runs within `max_active_runs` of their DAG or backfill, and those
//!   that were ended or queued again by hand for as long as a try of them has not stopped.
//!
//! May import `model` only.

mod alerts;
mod assets;
mod backfill;
mod backoff;
mod claim;
mod condition;
mod create;
mod departed;
mod due_dates;
mod evaluate;
mod expand;
mod explain;
mod finish;
mod holders;
mod instance;
mod items;
mod lines;
mod mapping;
mod notices;
mod outlook;
mod outside;
mod past;
mod requests;
mod roles;
mod run;
mod run_keys;
mod start;
mod stop;
mod timeouts;
mod turn;
mod version;
mod vetoes;
mod view;
mod windows;

pub use alerts::{RecentRuns, RunEnd};
pub use backfill::{BackfillPart, BackfillPlan, BackfillWish, plan_backfill};
pub use condition::Condition;
pub use explain::{About, conditions_of, explain, explain_instance, explain_run, explain_schedule};
pub use finish::{FENCED_REASON, MAX_LOST_WORKERS, SHUTDOWN_REASON, UNSTORABLE_REASON};
pub use instance::InstanceSnapshot;
pub use lines::Begun;
pub use mapping::{Mapping, ResultLength};
pub use outlook::{Prospect, Upcoming, next_runs, outlook};
pub use past::{PastQuestion, PastRun};
pub use requests::{BackfillRange, ManualRun, NamedDate, RequestError, backfill_runs, manual_run, scheduled_run_id};
pub use run::RunSnapshot;
pub use turn::{Limits, Plan, plan};
pub use version::{DagVersion, KeyFacts, KeyRenderer};
pub use view::{BackfillFacts, DagFacts, PoolFacts, View};
pub use windows::HELD;
