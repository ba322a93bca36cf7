//! The metadata database: every query, every guarded change, and the one writer.
//!
//! Invariants:
//! - `now` is an argument of every call; the database's clock is never asked. Instants are stored as microseconds since
//!   1970 in UTC, exactly.
//! - One unit of work is one transaction: begun by `begin`, by `begin_in_turn` where states of runs and instances change,
//!   or by `begin_as_leader` (see `tx`). Whatever ends it without its `commit` (an error, a panic, a caller that is
//!   dropped) rolls it back whole.
//! - A change of state is guarded by the state it was planned from. What no longer fits is left out and reported,
//!   never forced.
//! - A leader's [`Store::commit`] carries its epoch; a scheduler that has been replaced can change nothing.
//! - What a person asks for (trigger, clear, pause) is written with its audit row and a `signal` row for the scheduler in
//!   the same transaction.
//! - SQLite and PostgreSQL run the same suite of tests. SQLite has one writing connection with IMMEDIATE transactions.
//! - No database type leaves this crate.
//!
//! Must not import: any engine or face, the DAG file reader, the planner.

mod alerts;
mod commit;
mod conditions;
mod configuration;
mod dags;
mod database;
mod error;
pub mod faults;
mod people;
mod processes;
mod requests;
mod runs;
mod sql;
mod store;
mod tx;

pub use alerts::alert::{AlertFilter, AlertRow};
pub use alerts::notification::{NotificationFilter, NotificationRow};
pub use alerts::webhook::{WebhookRow, WebhookTarget};
pub use commit::{CommitReport, CreatedRun};
pub use conditions::DateSpan;
pub use configuration::connection::{ConnectionRow, SealedStamp};
pub use configuration::pool::{PoolRow, PoolUse};
pub use configuration::variable::VariableRow;
pub use dags::asset::{AssetConsumer, AssetProducer, AssetRow};
pub use dags::asset_event::{AssetEventFilter, CalledRun, NewAssetEvent};
pub use dags::dag::{DagFilter, DagListRow, DagRow, DagVersionRow};
pub use dags::dag_file::{SyncDag, SyncOutcome, SyncWhat};
pub use dags::file_stamp::StampedFile;
pub use dags::import_error::ImportErrorRow;
pub use database::clean::{Archive, CLEANED, CleanReport, CleanRequest, NoArchive};
pub use database::connecting::POSTGRES_WRITER_SETTINGS;
pub use database::examine::Examination;
pub use database::schema;
pub use database::transfer::TransferReport;
pub use error::{Result, StoreError};
pub use people::api_token::{ApiTokenRow, NewToken};
pub use people::audit::{AuditFilter, AuditRow, Told};
pub use people::grant::{GrantRow, Granted};
pub use people::identity::VouchedFor;
pub use people::session::{NewSession, SessionRow};
pub use people::user::UserRow;
pub use processes::alone::Alone;
pub use processes::changes::Change;
pub use processes::counter::{Counted, CounterRow, RUN_ENDS, TURN_ENDS, WAIT_ENDS};
pub use processes::job::{Health, JobRow, NewJob};
pub use processes::leader::{Leader, Leadership};
pub use processes::set_aside::SetAside;
pub use processes::signal::{Signal, SignalKind};
pub use requests::backfill::{
    BackfillDate, BackfillProgress, BackfillReport, BackfillRow, BackfillState, DateOutcome, NewBackfill, NewPart,
    Reprocess,
};
pub use requests::clear::{ClearReport, ClearRequest, ClearedInstance, TouchedRun};
pub use requests::delete::Gone;
pub use requests::mark::{MarkReport, MarkRequest, MarkRunRequest};
pub use requests::note::LONGEST_NOTE;
pub use requests::repin::{NewestVersion, RepinRequest, Repinned};
pub use requests::scope::{RunChoice, Selection};
pub use requests::trigger::{Keyed, RequestKey, RunRequest};
pub use requests::triggered::{AskingTask, AskingTry};
pub use runs::active::{ActiveRun, ActiveScope, FinishedRun, SchedulerDag};
pub use runs::checkpoint::CheckpointRow;
pub use runs::instance::{InstanceRow, Lease, RunningInstance};
pub use runs::instance_list::{InstanceFilter, ListedInstance};
pub use runs::ledger::{LedgerFilter, LedgerLine, LedgerRow};
pub use runs::passed_date::SlotRow;
pub use runs::past::EarlierRun;
pub use runs::remote_statement::{RemoteStatement, RemoteStatementState};
pub use runs::run::{ActiveCounts, Page, RunFilter, RunOrder, RunRow, RunSummary};
pub use runs::run_date::RunDate;
pub use runs::take::{TakeRequest, Taken, TakenFrom};
pub use runs::task_try::TryRow;
pub use runs::xcom::{ListLength, ListedXcom, XcomFilter};
pub use store::{Backend, ConnectionPool, Store, StoreOptions};
pub(crate) use tx::Tx;
