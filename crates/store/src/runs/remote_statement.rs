//! Work handed to an outside engine. The intent is recorded before it is sent, so that a retry attaches to it instead of
//! sending it again.

use chrono::{DateTime, Utc};
use millrace_model::change::InstanceKey;

use crate::sql::{Row, micros, values};
use crate::{Result, Store, sql};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteStatementState {
    /// About to be sent; it may or may not have arrived.
    Intended,
    /// The engine has it, under `remote_id`.
    Sent,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatement {
    pub instance: InstanceKey,
    pub generation: u32,
    /// Names the piece of work; the same on every try of the generation. Unique with the two above.
    pub client_token: String,
    /// The connection it went to.
    pub conn_id: String,
    /// The engine's own id, once it has one.
    pub remote_id: Option<String>,
    pub state: RemoteStatementState,
    /// What the operator needs to attach again; its own business.
    pub details: String,
}

impl RemoteStatementState {
    pub const ALL: &[Self] = &[Self::Intended, Self::Sent, Self::Succeeded, Self::Failed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Sent => "sent",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }
}

fn read_statement(row: &Row) -> Result<RemoteStatement> {
    Ok(RemoteStatement {
        instance: row.int("instance_id")?,
        generation: row.count("generation")?,
        client_token: row.text("client_token")?,
        conn_id: row.text("conn_id")?,
        remote_id: row.opt_text("remote_id")?,
        state: row.word("state", RemoteStatementState::parse)?,
        details: row.text("details")?,
    })
}

impl Store {
    /// Writes it, or moves what is recorded under the same token on to this state and id.
    pub async fn record_remote_statement(&self, statement: &RemoteStatement, now: DateTime<Utc>) -> Result<()> {
        let tx = self.begin("record a remote statement").await?;
        let sql = "INSERT INTO remote_statement (instance_id, generation, client_token, conn_id, remote_id, state, \
                   details, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) \
                   ON CONFLICT (instance_id, generation, client_token) DO UPDATE SET state = excluded.state, \
                   remote_id = COALESCE(excluded.remote_id, remote_statement.remote_id), details = excluded.details, \
                   changed_at = excluded.changed_at";
        let values = values![
            statement.instance,
            i64::from(statement.generation),
            statement.client_token.as_str(),
            statement.conn_id.as_str(),
            statement.remote_id.clone(),
            statement.state.as_str(),
            statement.details.as_str(),
            micros(now),
        ];
        sql::run(&tx.inner, "record a remote statement", sql, values).await?;
        tx.commit().await
    }

    /// Those of one generation whose end is not recorded, oldest first.
    pub async fn unsettled_statements(&self, instance: InstanceKey, generation: u32) -> Result<Vec<RemoteStatement>> {
        let sql = "SELECT * FROM remote_statement WHERE instance_id = $1 AND generation = $2 \
                   AND state IN ('intended', 'sent') ORDER BY id";
        let values = values![instance, i64::from(generation)];
        let rows = sql::all(self.reader(), "read remote statements", sql, values).await?;
        rows.iter().map(read_statement).collect()
    }
}
