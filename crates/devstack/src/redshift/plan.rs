//! What PostgreSQL is to do for a statement of Redshift.

use super::copy_options::CopyStatement;
use super::tokens::{Name, quote_literal};
use super::unload::UnloadStatement;

/// What a statement is.
#[derive(Debug)]
pub(super) enum Plan {
    /// One statement of PostgreSQL with what belongs to it.
    Run(Run),
    Copy(Box<CopyStatement>),
    Unload(Box<UnloadStatement>),
    /// Commits the transaction that it runs in.
    Truncate {
        sql: String,
    },
    /// Cannot run in a transaction (VACUUM); the word is for the message.
    Alone {
        word: &'static str,
        sql: Vec<String>,
    },
    Begin,
    Commit,
    Rollback,
}

/// One statement of PostgreSQL with what belongs to it.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Written to: locked against other writers first, as Redshift does.
    pub(super) lock: Option<Name>,
    /// Skip everything when this table is there already.
    pub(super) unless_exists: Option<Name>,
    pub(super) sql: String,
    /// Run afterwards, in the same transaction.
    pub(super) after: Vec<String>,
}

impl Plan {
    pub(super) fn run(sql: String) -> Self {
        Self::Run(Run { sql, ..Run::default() })
    }
}

/// Gives a new or changed table Redshift's rules for its columns.
pub(super) fn adopt(table: &Name) -> String {
    format!("SELECT redshift_stand_in.adopt({}::regclass)", quote_literal(&table.quoted()))
}
