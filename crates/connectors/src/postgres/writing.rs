//! Staged rows into their table, within the short transaction: all at once, and where some of them may be refused and break a
//! rule of the table, in pieces.

use millrace_operator_api::ports::{LoadRequest, SmallResult};
use millrace_operator_api::{PortError, PortErrorKind};

use super::keys::{self, Key};
use super::parents::Reference;
use super::references;
use super::refusal::{RuleOf, named, reason};
use super::stage::STAGING;
use crate::parts::dialect::Dialect;
use crate::parts::doubles;
use crate::parts::pieces::{Pieces, Written};
use crate::parts::row_counts::{require_inserted, require_updated};
use crate::parts::rows::{CellKind, LoadColumn, Refusal, Rejects, row_text};
use crate::parts::session::picks;
use crate::parts::sql::{list, list_of, literal, quote, same_keys, scalar_number};
use crate::parts::upsert::{Nulls, SEQUENCE, Upsert, delete_gone, tied};
use crate::parts::wire::WireClient;

/// A statement would write one row twice.
const CARDINALITY_VIOLATION: &str = "21000";
/// A table like that which a swap builds, on which its rows are tried.
const TRIAL: &str = "millrace_trial";

pub struct Writing<'a> {
    pub client: &'a WireClient,
    pub request: &'a LoadRequest,
    /// Those of the rows that the table takes, and their names.
    pub columns: &'a [LoadColumn],
    pub names: &'a [String],
    /// Quoted.
    pub target: &'a str,
    /// None: the rows only come to others.
    pub upsert: Option<Upsert<'a>>,
    pub key: Key,
}

impl Writing<'_> {
    /// With the refused rows, where there are more now than those in `rejects`.
    pub async fn write(&self, rejects: &Rejects) -> Result<(Written, Option<Rejects>), PortError> {
        if !rejects.are_allowed() {
            return Ok((self.all().await?, None));
        }
        self.client.batch("SAVEPOINT millrace_all").await?;
        let error = match self.all().await {
            Ok(written) => return Ok((written, None)),
            Err(error) if is_rule(&error) => error,
            Err(error) => return Err(error),
        };
        self.client.batch("ROLLBACK TO SAVEPOINT millrace_all").await?;
        if self.owner_of_rule().await?.is_none() {
            return Err(error);
        }
        self.refuse_doubles().await?;
        if self.rows_may_wait_for_others().await? {
            return Err(error);
        }
        let mut nulls = Nulls::Distinct;
        if let Some(upsert) = self.upsert.as_ref().filter(|_| self.key == Key::Arbiter) {
            self.keep_best_incoming(upsert).await?;
            if self.nulls_are_one_key(upsert.keys).await? {
                nulls = Nulls::Equal;
                self.refuse_ties(upsert, nulls).await?;
                self.client.batch(&upsert.keep_best_incoming(nulls)).await?;
            }
        }
        let mut rejects = rejects.clone();
        let written = self.pieces(&mut rejects, nulls).await?;
        Ok((written, Some(rejects)))
    }

    /// What keeps rows from going ends no load: it is said when they are to go after it.
    pub async fn delete_gone(&self) -> Result<Written, PortError> {
        let mut written = Written::default();
        let Some(upsert) = self.upsert.as_ref().filter(|_| !self.request.gone.is_empty()) else { return Ok(written) };
        let client = self.client;
        client.batch("SAVEPOINT millrace_gone").await?;
        let deleting = async {
            for condition in &self.request.gone {
                let same = same_keys(self.target, "i", upsert.keys);
                let delete = delete_gone(self.target, condition, upsert.staging, &same);
                let deleted = client.query(&delete).await?.rows_affected;
                written = written.and(Written { deleted, ..Written::default() });
            }
            Ok(written)
        };
        match deleting.await {
            Ok(written) => client.batch("RELEASE SAVEPOINT millrace_gone").await.map(|()| written),
            Err(error) if is_refusal(&error) => {
                tracing::info!(error = error.message, "rows that are gone stay until the others have come");
                client.batch("ROLLBACK TO SAVEPOINT millrace_gone; RELEASE SAVEPOINT millrace_gone").await?;
                Ok(Written::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the rows out of staging that a table like the target refuses, for those who fill such a one at once.
    pub async fn winnow(&self, rejects: &Rejects) -> Result<Rejects, PortError> {
        let trial = format!("pg_temp.{TRIAL}");
        let client = self.client;
        let trying = Writing { target: &trial, upsert: None, ..*self };
        let mut rejects = rejects.clone();
        let winnowed = async {
            let trial = format!("CREATE TEMP TABLE {TRIAL} (LIKE {} INCLUDING ALL) ON COMMIT DROP", self.target);
            client.batch(&format!("BEGIN; {trial}")).await?;
            self.take_out_orphans(&mut rejects).await?;
            trying.pieces(&mut rejects, Nulls::Distinct).await
        };
        match winnowed.await {
            Ok(_) => client.batch("COMMIT").await.map(|()| rejects),
            Err(error) => {
                // The first error counts; a connection that is gone has rolled back by itself.
                let _ = client.batch("ROLLBACK").await;
                Err(error)
            }
        }
    }

    /// Rows that refer to none of another table: a trial, which is a temporary table, can't refer to any.
    async fn take_out_orphans(&self, rejects: &mut Rejects) -> Result<(), PortError> {
        for reference in Reference::all_of(self.client, &self.request.target).await? {
            if !reference.columns.iter().all(|column| self.names.contains(column)) {
                continue;
            }
            let found = self.client.query(&reference.find_orphans(STAGING, rejects.left() + 1)).await?;
            let numbers = found.rows.iter().filter_map(|row| row.first()?.as_deref()?.parse::<u64>().ok());
            let (code, constraint) = ("23503", named(Some(&reference.constraint)));
            for number in numbers {
                let reason = format!("{} ({constraint}SQLSTATE {code})", reason(code, "the table"));
                self.take_out(number, &reference.columns, reason, rejects).await?;
            }
        }
        Ok(())
    }

    async fn all(&self) -> Result<Written, PortError> {
        let Some(upsert) = &self.upsert else { return self.insert(STAGING).await };
        let late = self.count_late(upsert).await?;
        if self.key == Key::Arbiter
            && let Some(written) = self.insert_or_update(upsert).await?
        {
            return Ok(numbers_of(&written).and(late));
        }
        Ok(self.update_and_insert(upsert).await?.and(late))
    }

    /// Of a piece whose rows come as `rows` says it.
    async fn piece(&self, rows: &str, key: Key) -> Result<Written, PortError> {
        let Some(upsert) = self.upsert else { return self.insert(rows).await };
        let upsert = Upsert { rows, ..upsert };
        let late = self.count_late(&upsert).await?;
        if key == Key::Arbiter {
            return Ok(numbers_of(&self.client.query(&upsert.insert_or_update()).await?).and(late));
        }
        Ok(self.update_and_insert(&upsert).await?.and(late))
    }

    /// `nulls` of the key by which rows wait for better ones.
    async fn pieces(&self, rejects: &mut Rejects, nulls: Nulls) -> Result<Written, PortError> {
        let client = self.client;
        client.batch(&format!("CREATE INDEX ON {STAGING} ({})", quote(SEQUENCE))).await?;
        self.index_keys().await?;
        client.batch(&format!("ANALYZE {STAGING}")).await?;
        let mut written = Written { inserted: Some(0), ..Written::default() };
        let mut pieces = Pieces::of(rejects.numbered());
        while let Some(piece) = pieces.pop() {
            let rows = piece.of(STAGING);
            let mut done = self.tried(&rows, self.key).await?;
            if done.is_err() && piece.is_one_row() && self.key == Key::Arbiter {
                // What keeps it from being inserted may let it be updated.
                done = self.tried(&rows, Key::Unique).await?;
            }
            match done {
                Ok(done) => written = written.and(done),
                Err(_) if !piece.is_one_row() => pieces.split(piece),
                Err(error) => {
                    // Which row waits for this one is known while it is there.
                    let next = self.let_next_in(piece.first, nulls).await?;
                    self.refuse(piece.first, &error, rejects).await?;
                    if let Some(next) = next {
                        pieces.let_in(next);
                    }
                }
            }
        }
        Ok(written)
    }

    /// For whoever looks for the next best row of a key. Keys that no index takes, such as very long ones, do without.
    async fn index_keys(&self) -> Result<(), PortError> {
        let Some(upsert) = &self.upsert else { return Ok(()) };
        let waiting = format!("CREATE INDEX ON {STAGING} ({}) WHERE {} < 0", list(upsert.keys), quote(SEQUENCE));
        self.client.batch("SAVEPOINT millrace_index").await?;
        let end = match self.client.batch(&waiting).await {
            Ok(()) => "RELEASE SAVEPOINT millrace_index",
            Err(_) => "ROLLBACK TO SAVEPOINT millrace_index; RELEASE SAVEPOINT millrace_index",
        };
        self.client.batch(end).await
    }

    /// A refused row is as one that did not come: the next best of its key takes its place.
    async fn let_next_in(&self, number: u64, nulls: Nulls) -> Result<Option<u64>, PortError> {
        let Some(upsert) = &self.upsert else { return Ok(None) };
        let next = scalar_number(&self.client.query(&upsert.find_next_best(number, nulls)).await?);
        if let Some(next) = next {
            self.client.batch(&upsert.let_in(next)).await?;
        }
        Ok(next)
    }

    /// The inner error is that of a rule which a row breaks: nothing of the piece is written then.
    async fn tried(&self, rows: &str, key: Key) -> Result<Result<Written, PortError>, PortError> {
        const BACK: &str = "ROLLBACK TO SAVEPOINT millrace_piece; RELEASE SAVEPOINT millrace_piece";
        let client = self.client;
        client.batch("SAVEPOINT millrace_piece").await?;
        match self.piece(rows, key).await {
            Ok(written) => client.batch("RELEASE SAVEPOINT millrace_piece").await.map(|()| Ok(written)),
            Err(error) if is_rule(&error) || error.code.as_deref() == Some(CARDINALITY_VIOLATION) => {
                client.batch(BACK).await?;
                if is_rule(&error) && self.owner_of_rule().await?.is_none() {
                    return Err(error);
                }
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn refuse(&self, number: u64, error: &PortError, rejects: &mut Rejects) -> Result<(), PortError> {
        let code = error.code.as_deref().unwrap_or_default();
        let rule = self.client.broken_rule();
        // The indexes of a trial have names of their own.
        let constraint = named(rule.constraint.as_deref().filter(|_| rule.table.as_deref() != Some(TRIAL)));
        let (columns, why) = match (self.owner_of_rule().await?, rule.select_columns()) {
            (Some(RuleOf::Referring), _) => (Vec::new(), rule.still_referred_to()),
            (_, None) => (Vec::from_iter(rule.column.clone()), reason(code, "the table")),
            (_, Some(select)) => {
                let found = self.client.query(&select).await?.rows.into_iter();
                (found.filter_map(|row| row.into_iter().next()?).collect(), reason(code, "the table"))
            }
        };
        self.take_out(number, &columns, format!("{why} ({constraint}SQLSTATE {code})"), rejects).await
    }

    /// A row that is not to come in, because of these of its columns.
    async fn take_out(
        &self,
        number: u64,
        columns: &[String],
        reason: String,
        rejects: &mut Rejects,
    ) -> Result<(), PortError> {
        let client = self.client;
        let this_row = format!("FROM {STAGING} WHERE {} = {number}", quote(SEQUENCE));
        let found = client.query(&format!("SELECT {} {this_row}", list(self.names))).await?;
        let cells = found.rows.into_iter().next().unwrap_or_default();
        let value = match columns {
            [only] => self.names.iter().position(|name| name == only).and_then(|at| cells.get(at)?.clone()),
            _ => None,
        };
        let refusal = Refusal {
            line: 0,
            column: (!columns.is_empty()).then(|| columns.join(", ")),
            value: value.map(String::into_bytes),
            row: Some(row_text(self.names, cells.iter().map(|cell| cell.as_deref().map(str::as_bytes)))),
            reason,
        };
        rejects.add_numbered(number, refusal)?;
        client.batch(&format!("DELETE {this_row}")).await
    }

    /// Of the rule that the last error is about. `None` where it is that of a table which a trigger wrote to.
    async fn owner_of_rule(&self) -> Result<Option<RuleOf>, PortError> {
        let rule = self.client.broken_rule();
        if rule.table.as_deref() == Some(TRIAL) {
            return Ok(Some(RuleOf::Target));
        }
        let Some(asked) = rule.select_owner(&self.request.target) else { return Ok(None) };
        let found = self.client.query(&asked).await?;
        Ok(found.rows.first().and_then(|row| row.first()?.as_deref()).map(RuleOf::read))
    }

    /// Whether a unique index of these columns takes two NULLs for one, which no release before 15 knows.
    async fn nulls_are_one_key(&self, keys: &[String]) -> Result<bool, PortError> {
        let keys = keys.iter().map(|key| literal(key)).collect::<Vec<_>>().join(", ");
        let asked = format!(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indrelid = c.oid, \
             LATERAL (SELECT array_agg(a.attname::text) AS names FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) k \
             WHERE {} AND i.indisunique AND to_jsonb(i) ->> 'indnullsnotdistinct' = 'true' \
             AND k.names @> ARRAY[{keys}] AND k.names <@ ARRAY[{keys}] LIMIT 1",
            picks(&self.request.target, Dialect::Postgres)
        );
        Ok(!self.client.query(&asked).await?.rows.is_empty())
    }

    /// By a reference to the table itself, and by a key that a statement may break before it ends.
    async fn rows_may_wait_for_others(&self) -> Result<bool, PortError> {
        let asked = format!(
            "SELECT 1 FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE {} AND (k.contype = 'f' AND k.confrelid = k.conrelid OR k.contype IN ('p', 'u', 'x') AND k.condeferrable) LIMIT 1",
            picks(&self.request.target, Dialect::Postgres)
        );
        Ok(!self.client.query(&asked).await?.rows.is_empty())
    }

    async fn insert(&self, staging: &str) -> Result<Written, PortError> {
        let insert = format!(
            "INSERT INTO {} ({1}) OVERRIDING SYSTEM VALUE SELECT {1} FROM {staging} AS s",
            self.target,
            list(self.names)
        );
        Ok(Written { inserted: self.client.query(&insert).await?.rows_affected, ..Written::default() })
    }

    async fn count_late(&self, upsert: &Upsert<'_>) -> Result<Written, PortError> {
        let count = self.request.late_before.as_ref().and_then(|before| upsert.count_late(&literal(before)));
        let late = match count {
            Some(count) => scalar_number(&self.client.query(&count).await?),
            None => None,
        };
        Ok(Written { late, ..Written::default() })
    }

    async fn update_and_insert(&self, upsert: &Upsert<'_>) -> Result<Written, PortError> {
        let (client, target) = (self.client, &self.request.target);
        let mut written = Written { deleted: Some(0), ..Written::default() };
        if self.key == Key::MayRepeat {
            written.deleted = client.query(&upsert.delete_existing_doubles()).await?.rows_affected;
            if written.deleted != Some(0) {
                let found = client.query(&references::with_actions(target)).await?;
                references::judge_doubles(target, &found)?;
            }
        }
        // Only where something may take rows away: it is one more look at the whole target.
        let keeping = client.query(&keys::what_may_keep_rows(target)).await?;
        let changes = keeping.rows.first().map(|row| row.first().is_some_and(|cell| cell.as_deref() == Some("t")));
        (written.updated, written.kept) = self.update(upsert, changes).await?;
        let mut new = None;
        if changes.is_some() {
            new = scalar_number(&client.query(&upsert.count_new()).await?);
        }
        written.inserted = client.query(&upsert.insert()).await?.rows_affected;
        if let Some(new) = new {
            require_inserted(target, new, written.inserted)?;
        }
        Ok(written)
    }

    /// How many rows were updated, and how many kept. `changes` is there where something may keep rows as they were, and says
    /// whether it may change first what comes in ([`keys::what_may_keep_rows`]).
    async fn update(
        &self,
        upsert: &Upsert<'_>,
        changes: Option<bool>,
    ) -> Result<(Option<u64>, Option<u64>), PortError> {
        let Some(update) = upsert.update() else { return Ok((Some(0), None)) };
        let client = self.client;
        let updated = client.query(&update).await?.rows_affected;
        let Some(may_change) = changes else { return Ok((updated, None)) };
        // Whatever a trigger made of a row that this transaction has written, it was updated. Behind a savepoint that was done
        // under a number soon after that of the transaction; nobody else writes here meanwhile.
        let differs = self.columns.iter().map(differs).collect::<Vec<_>>().join(" OR ");
        let own = "age(pg_current_xact_id()::xid)";
        let is_kept = format!("age(t.xmin) NOT BETWEEN {own} - 10000000 AND {own} AND ({differs})");
        let kept = scalar_number(&client.query(&upsert.select_reached("COUNT(*)", &is_kept)).await?);
        if !may_change {
            require_updated(&self.request.target, kept)?;
        }
        Ok((updated, kept))
    }

    /// Few loads bring a key twice, and to look for such keys costs a tenth of the load: the database says when it meets one.
    /// `None` when an INSERT is refused, as by a rule about columns that the rows do not have, where an UPDATE may not be:
    /// nothing is written then, and staging has one row for each key.
    async fn insert_or_update(&self, upsert: &Upsert<'_>) -> Result<Option<SmallResult>, PortError> {
        const BACK: &str = "ROLLBACK TO SAVEPOINT millrace_written";
        let client = self.client;
        client.batch("SAVEPOINT millrace_written").await?;
        let mut written = client.query(&upsert.insert_or_update()).await;
        // Where a key that was met twice is still met, two NULLs are one to the index.
        for nulls in [Nulls::Distinct, Nulls::Equal] {
            if !matches!(&written, Err(error) if error.code.as_deref() == Some(CARDINALITY_VIOLATION)) {
                break;
            }
            client.batch(BACK).await?;
            self.refuse_doubles().await?;
            self.refuse_ties(upsert, nulls).await?;
            client.batch(&upsert.keep_best_incoming(nulls)).await?;
            written = client.query(&upsert.insert_or_update()).await;
        }
        match written {
            Ok(written) => Ok(Some(written)),
            Err(error) if is_refusal(&error) => {
                tracing::info!(error = error.message, "not by one statement; updating and inserting apart");
                client.batch(BACK).await?;
                self.keep_best_incoming(upsert).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub async fn keep_best_incoming(&self, upsert: &Upsert<'_>) -> Result<(), PortError> {
        // Without statistics the planner may take a million staged rows for a thousand.
        self.client.batch(&format!("ANALYZE {STAGING}")).await?;
        if upsert.keys == self.request.unique_by {
            return self.refuse_doubles().await;
        }
        self.refuse_ties(upsert, Nulls::Distinct).await?;
        self.client.batch(&upsert.keep_best_incoming(Nulls::Distinct)).await
    }

    pub async fn refuse_doubles(&self) -> Result<(), PortError> {
        let keys = &self.request.unique_by;
        if keys.is_empty() {
            return Ok(());
        }
        let found = self.client.query(&doubles::find(STAGING, keys, &list(keys))).await?;
        doubles::refuse(keys, &found, self.request.show_values)
    }

    async fn refuse_ties(&self, upsert: &Upsert<'_>, nulls: Nulls) -> Result<(), PortError> {
        // As text, for json and points have no equality.
        let row = format!("{}, ROW({})::text AS millrace_row", list_of("s", upsert.keys), list_of("s", upsert.columns));
        let Some(count) = upsert.count_ties(nulls, &row) else { return Ok(()) };
        match scalar_number(&self.client.query(&count).await?) {
            Some(ties @ 1..) => Err(tied(ties, upsert.keys, None)),
            _ => Ok(()),
        }
    }
}

fn numbers_of(written: &SmallResult) -> Written {
    let number = |column: usize| written.rows.first()?.get(column)?.as_deref()?.parse().ok();
    Written { inserted: number(0), updated: number(1), deleted: Some(0), ..Written::default() }
}

/// The server refuses what was asked, and would do so again.
fn is_refusal(error: &PortError) -> bool {
    let kinds = [PortErrorKind::Data, PortErrorKind::Invalid, PortErrorKind::Denied, PortErrorKind::Other];
    error.code.is_some() && kinds.contains(&error.kind)
}

/// A row breaks a rule of the table: the class of integrity.
pub fn is_rule(error: &PortError) -> bool {
    error.code.as_deref().is_some_and(|code| code.starts_with("23"))
}

/// Of the rows `t` and `s`. As text where a type may not know what is equal, as JSON does not.
fn differs(column: &LoadColumn) -> String {
    let name = quote(&column.name);
    let cast = if column.kind == CellKind::Free { "::text" } else { "" };
    format!("t.{name}{cast} IS DISTINCT FROM s.{name}{cast}")
}
