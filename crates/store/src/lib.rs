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

mod active;
mod alert;
mod alone;
mod api_token;
mod asset;
mod audit;
mod backfill;
mod changes;
mod checkpoint;
mod clean;
mod clear;
mod commit;
mod conditions;
mod connecting;
mod connection;
mod counter;
mod dag;
mod dag_file;
mod delete;
mod entity;
mod error;
mod examine;
pub mod faults;
mod file_alert;
mod file_stamp;
mod grant;
mod identity;
mod import_error;
mod instance;
mod instance_list;
mod job;
mod leader;
mod ledger;
mod mark;
mod note;
mod notification;
mod passed_date;
mod past;
mod pool;
mod remote_statement;
mod repin;
mod run;
mod run_date;
pub mod schema;
mod scope;
mod session;
mod set_aside;
mod setting;
mod signal;
mod sql;
mod store;
mod tables;
mod take;
mod task_try;
mod transfer;
mod trigger;
mod triggered;
mod trouble;
mod tx;
mod url;
mod user;
mod variable;
mod version_cache;
mod wake;
mod webhook;
mod xcom;

pub use active::{ActiveRun, ActiveScope, FinishedRun, SchedulerDag};
pub use alert::{AlertFilter, AlertRow};
pub use alone::Alone;
pub use api_token::{ApiTokenRow, NewToken};
pub use asset::AssetRow;
pub use audit::{AuditFilter, AuditRow, Told};
pub use backfill::{
    BackfillDate, BackfillProgress, BackfillReport, BackfillRow, BackfillState, DateOutcome, NewBackfill, NewPart,
    Reprocess,
};
pub use changes::Change;
pub use checkpoint::CheckpointRow;
pub use clean::{Archive, CLEANED, CleanReport, CleanRequest, NoArchive};
pub use clear::{ClearReport, ClearRequest, ClearedInstance, TouchedRun};
pub use commit::{CommitReport, CreatedRun};
pub use conditions::DateSpan;
pub use connecting::POSTGRES_WRITER_SETTINGS;
pub use connection::{ConnectionRow, SealedStamp};
pub use counter::{Counted, CounterRow, RUN_ENDS, TURN_ENDS, WAIT_ENDS};
pub use dag::{DagFilter, DagListRow, DagRow, DagVersionRow};
pub use dag_file::{SyncDag, SyncOutcome, SyncWhat};
pub use delete::Gone;
pub use error::{Result, StoreError};
pub use examine::Examination;
pub use file_stamp::StampedFile;
pub use grant::{GrantRow, Granted};
pub use identity::VouchedFor;
pub use import_error::ImportErrorRow;
pub use instance::{InstanceRow, Lease, RunningInstance};
pub use instance_list::{InstanceFilter, ListedInstance};
pub use job::{Health, JobRow, NewJob};
pub use leader::{Leader, Leadership};
pub use ledger::{LedgerFilter, LedgerLine, LedgerRow};
pub use mark::{MarkReport, MarkRequest, MarkRunRequest};
pub use note::LONGEST_NOTE;
pub use notification::{NotificationFilter, NotificationRow};
pub use passed_date::SlotRow;
pub use past::EarlierRun;
pub use pool::{PoolRow, PoolUse};
pub use remote_statement::{RemoteStatement, RemoteStatementState};
pub use repin::{NewestVersion, RepinRequest, Repinned};
pub use run::{ActiveCounts, Page, RunFilter, RunOrder, RunRow, RunSummary};
pub use run_date::RunDate;
pub use scope::{RunChoice, Selection};
pub use session::{NewSession, SessionRow};
pub use set_aside::SetAside;
pub use signal::{Signal, SignalKind};
pub use store::{Backend, ConnectionPool, Store, StoreOptions};
pub use take::{TakeRequest, Taken, TakenFrom};
pub use task_try::TryRow;
pub use transfer::TransferReport;
pub use trigger::{Keyed, RequestKey, RunRequest};
pub use triggered::{AskingTask, AskingTry};
pub(crate) use tx::Tx;
pub use user::UserRow;
pub use variable::VariableRow;
pub use webhook::{WebhookRow, WebhookTarget};
pub use xcom::{ListLength, ListedXcom, XcomFilter};
