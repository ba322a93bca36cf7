//! Staged rows into their table, within the short transaction: all at once, and where some of them break a rule of the table,
//! in pieces, so that they are named.

use millrace_operator_api::ports::LoadRequest;
use millrace_operator_api::{PortError, PortErrorKind};

use super::anatomy;
use super::connect::{SqliteFile, literal};
use super::session::Session;
use super::stage::STAGING;
use crate::parts::pieces::{Pieces, Written};
use crate::parts::row_counts::require_inserted;
use crate::parts::rows::{Refusal, Rejects, row_text};
use crate::parts::sql::{list, list_of, quote, same_keys, scalar_number};
use crate::parts::upsert::{Nulls, SEQUENCE, Upsert, delete_gone};

#[derive(Clone, Copy)]
pub struct Writing<'a> {
    pub file: &'a SqliteFile,
    pub request: &'a LoadRequest,
    /// Columns of the rows that the table takes.
    pub names: &'a [String],
    /// Quoted.
    pub target: &'a str,
    /// None: the rows only come to others.
    pub upsert: Option<Upsert<'a>>,
}

impl Writing<'_> {
    /// With the refused rows, where there are more now than those in `rejects`.
    pub async fn write(
        &self,
        connection: &mut Session,
        rejects: &Rejects,
    ) -> Result<(Written, Option<Rejects>), PortError> {
        let file = self.file;
        file.run(connection, "SAVEPOINT millrace_all").await?;
        let all = self.upsert.map_or(STAGING, |upsert| upsert.rows);
        let error = match self.rows(connection, all).await {
            Ok(written) => return Ok((written, None)),
            Err(error) if is_rule(&error) => error,
            Err(error) => return Err(error),
        };
        file.run(connection, "ROLLBACK TO millrace_all").await?;
        if !self.is_rule_of_the_table(connection, &error).await? {
            return Err(error);
        }
        if anatomy::refers_to_itself(file, connection, &self.request.target).await? {
            // A row may wait for one of another piece.
            return Err(error);
        }
        let mut rejects = rejects.clone();
        let (written, _) = self.pieces(connection, &mut rejects).await?;
        Ok((written, Some(rejects)))
    }

    /// What keeps rows from going ends no load: it is said when they are to go after it.
    pub async fn delete_gone(&self, connection: &mut Session) -> Result<Written, PortError> {
        let mut written = Written::default();
        let Some(upsert) = self.upsert.filter(|_| !self.request.gone.is_empty()) else { return Ok(written) };
        let file = self.file;
        file.run(connection, "SAVEPOINT millrace_gone").await?;
        for condition in &self.request.gone {
            let same = same_keys(self.target, "i", upsert.keys);
            match file.run(connection, &delete_gone(self.target, condition, upsert.staging, &same)).await {
                Ok(deleted) => written = written.and(Written { deleted: Some(deleted), ..Written::default() }),
                Err(error) if error.kind == PortErrorKind::Data => {
                    tracing::info!(error = error.message, "rows that are gone stay until the others have come");
                    file.run(connection, "ROLLBACK TO millrace_gone").await?;
                    written = Written::default();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        file.run(connection, "RELEASE millrace_gone").await?;
        Ok(written)
    }

    /// Takes the rows out of staging that the table refuses, for those who fill one like it at once. Changes nothing else.
    pub async fn winnow(
        &self,
        connection: &mut Session,
        rejects: &Rejects,
        error: PortError,
    ) -> Result<Rejects, PortError> {
        let file = self.file;
        if anatomy::refers_to_itself(file, connection, &self.request.target).await? {
            return Err(error);
        }
        let mut rejects = rejects.clone();
        file.run(connection, "BEGIN IMMEDIATE").await?;
        let trial = async {
            file.run(connection, &format!("DELETE FROM {} WHERE 1", self.target)).await?;
            self.pieces(connection, &mut rejects).await
        };
        let refused = trial.await;
        // The first error counts.
        let undone = file.run(connection, "ROLLBACK").await;
        let (_, refused) = refused?;
        undone?;
        for number in refused {
            file.run(connection, &format!("DELETE FROM {STAGING} WHERE {} = {number}", quote(SEQUENCE))).await?;
        }
        Ok(rejects)
    }

    /// And the numbers of those that were refused.
    async fn pieces(&self, connection: &mut Session, rejects: &mut Rejects) -> Result<(Written, Vec<u64>), PortError> {
        let file = self.file;
        if let Some(upsert) = &self.upsert {
            // For whoever looks for the next best row of a key.
            let waiting = format!(
                "CREATE INDEX IF NOT EXISTS temp.millrace_waiting ON {} ({}) WHERE {} < 0",
                STAGING.trim_start_matches("temp."),
                list(upsert.keys),
                quote(SEQUENCE)
            );
            file.run(connection, &waiting).await?;
        }
        let mut written = Written { inserted: Some(0), ..Written::default() };
        let (mut pieces, mut refused) = (Pieces::of(rejects.numbered()), Vec::new());
        while let Some(piece) = pieces.pop() {
            file.run(connection, "SAVEPOINT millrace_piece").await?;
            let done = self.rows(connection, &piece.of(STAGING)).await;
            match &done {
                Err(error) if is_rule(error) && self.is_rule_of_the_table(connection, error).await? => {
                    file.run(connection, "ROLLBACK TO millrace_piece").await?
                }
                Err(_) => return done.map(|done| (done, refused)),
                Ok(_) => 0,
            };
            file.run(connection, "RELEASE millrace_piece").await?;
            match done {
                Ok(done) => written = written.and(done),
                Err(_) if !piece.is_one_row() => pieces.split(piece),
                Err(error) => {
                    self.refuse(connection, piece.first, &error, rejects).await?;
                    refused.push(piece.first);
                    if let Some(next) = self.let_next_in(connection, piece.first).await? {
                        pieces.let_in(next);
                    }
                }
            }
        }
        Ok((written, refused))
    }

    /// A refused row is as one that did not come: the next best of its key takes its place.
    async fn let_next_in(&self, connection: &mut Session, number: u64) -> Result<Option<u64>, PortError> {
        let Some(upsert) = &self.upsert else { return Ok(None) };
        let find = upsert.find_next_best(number, Nulls::Distinct);
        let next = scalar_number(&self.file.ask(connection, &find).await?);
        if let Some(next) = next {
            self.file.run(connection, &upsert.let_in(next)).await?;
        }
        Ok(next)
    }

    /// And not that of another table, which a trigger writes to, as far as SQLite's words tell it.
    async fn is_rule_of_the_table(&self, connection: &mut Session, error: &PortError) -> Result<bool, PortError> {
        let (file, target) = (self.file, &self.request.target);
        if !anatomy::has_triggers(file, connection, target).await? {
            return Ok(true);
        }
        match Place::of(BrokenRule::of(error, &target.name).said.as_str(), &target.name) {
            Place::Target => Ok(true),
            Place::Elsewhere => Ok(false),
            Place::Index(index) => anatomy::has_index(file, connection, target, index).await,
            Place::Check(words) => anatomy::has_check(file, connection, target, words).await,
        }
    }

    async fn refuse(
        &self,
        connection: &mut Session,
        number: u64,
        error: &PortError,
        rejects: &mut Rejects,
    ) -> Result<(), PortError> {
        let mut rule = BrokenRule::of(error, &self.request.target.name);
        if error.code.as_deref() == Some(REFERENCE) {
            let (to_others, from_others) = anatomy::references(self.file, connection, &self.request.target).await?;
            // Only a row that is there can be one that others refer to.
            match (to_others, from_others && self.upsert.is_some()) {
                (false, true) => rule.reason = REFERRED_TO,
                (true, true) => rule.reason = EITHER_END,
                _ => {}
            }
        }
        let select = format!("SELECT {} FROM {STAGING} WHERE {} = {number}", list(self.names), quote(SEQUENCE));
        let found = self.file.ask(connection, &select).await?;
        let cells = found.rows.into_iter().next().unwrap_or_default();
        let value = match rule.columns.as_slice() {
            [only] => {
                self.names.iter().position(|name| name.eq_ignore_ascii_case(only)).and_then(|at| cells.get(at)?.clone())
            }
            _ => None,
        };
        rejects.add_numbered(
            number,
            Refusal {
                line: 0,
                column: (!rule.columns.is_empty()).then(|| rule.columns.join(", ")),
                value: value.map(String::into_bytes),
                row: Some(row_text(self.names, cells.iter().map(|cell| cell.as_deref().map(str::as_bytes)))),
                reason: format!("{} ({})", rule.reason, rule.said),
            },
        )
    }

    /// All of them, or a piece, as `rows` says it.
    async fn rows(&self, connection: &mut Session, rows: &str) -> Result<Written, PortError> {
        let (file, request, target) = (self.file, self.request, self.target);
        let Some(upsert) = self.upsert else {
            let insert = format!(
                "INSERT INTO {target} ({0}) SELECT {0} FROM {rows} AS s ORDER BY s.{1}",
                list(self.names),
                quote(SEQUENCE)
            );
            return Ok(Written { inserted: Some(file.run(connection, &insert).await?), ..Written::default() });
        };
        let upsert = Upsert { rows, ..upsert };
        let mut written = Written::default();
        let late = request.late_before.as_ref().and_then(|before| upsert.count_late(&literal(before)));
        if let Some(count_late) = late {
            written.late = scalar_number(&file.ask(connection, &count_late).await?);
        }
        written.deleted = Some(file.run(connection, &upsert.delete_existing_doubles()).await?);
        if written.deleted != Some(0) {
            let what = "removing rows whose key occurs more than once";
            anatomy::refuse_followers(file, connection, &request.target, what).await?;
        }
        let (updated, kept) = self.update(connection, &upsert).await?;
        (written.updated, written.kept) = (Some(updated), kept);
        let new = scalar_number(&file.ask(connection, &upsert.count_new()).await?);
        written.inserted = Some(file.run(connection, &upsert.insert()).await?);
        if let Some(new) = new {
            require_inserted(&request.target, new, written.inserted)?;
        }
        Ok(written)
    }

    /// How many rows were updated, and how many a trigger kept as they were though others came in.
    async fn update(&self, connection: &mut Session, upsert: &Upsert<'_>) -> Result<(u64, Option<u64>), PortError> {
        let file = self.file;
        let Some(update) = upsert.update() else { return Ok((0, None)) };
        if !anatomy::has_triggers(file, connection, &self.request.target).await? {
            return Ok((file.run(connection, &update).await?, None));
        }
        let (old, new, before) =
            (list_of("t", upsert.columns), list_of("s", upsert.columns), list_of("b", upsert.columns));
        let changing = upsert.select_reached(&old, &format!("({old}) IS NOT ({new})"));
        file.run(connection, "DROP TABLE IF EXISTS temp.millrace_before").await?;
        file.run(connection, &format!("CREATE TEMP TABLE millrace_before AS {changing}")).await?;
        let updated = file.run(connection, &update).await?;
        let kept = format!(
            "SELECT COUNT(*) FROM {} AS t JOIN temp.millrace_before AS b ON {} WHERE ({old}) IS ({before})",
            upsert.target,
            same_keys("t", "b", upsert.keys)
        );
        Ok((updated, scalar_number(&file.ask(connection, &kept).await?)))
    }
}

/// SQLite's extended codes for the rules that a row can break, and what is said of it.
const RULES: [(&str, &str); 7] = [
    ("275", "is refused by a check of the table"),
    (REFERENCE, "refers to a row that is not there"),
    ("1299", "is NULL, and the column takes no NULL"),
    ("1555", HAS_KEY),
    ("2067", HAS_KEY),
    ("2579", HAS_KEY),
    ("3091", "is not of the column's type"),
];
const REFERENCE: &str = "787";
const REFERRED_TO: &str = "takes away a value that rows of another table still refer to";
const EITHER_END: &str =
    "refers to a row that is not there, or takes away a value that rows of another table still refer to";
const HAS_KEY: &str = "has a key that is there already";

fn rule_of(error: &PortError) -> Option<(&'static str, &'static str)> {
    RULES.into_iter().find(|(code, _)| error.code.as_deref() == Some(code))
}

/// A row breaks a rule of the table.
pub fn is_rule(error: &PortError) -> bool {
    rule_of(error).is_some()
}

/// Whose a rule is, by what SQLite says of it.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    /// Of the table, or it is not said.
    Target,
    Elsewhere,
    /// Of the table with this index.
    Index(&'a str),
    /// Of the table with a check of this name, or of these words.
    Check(&'a str),
}

impl<'a> Place<'a> {
    fn of(said: &'a str, target: &str) -> Self {
        if let Some(check) = said.strip_prefix("CHECK constraint failed: ") {
            return Self::Check(check);
        }
        let keys = said.strip_prefix("UNIQUE constraint failed: ");
        if let Some(index) = keys.and_then(|keys| keys.strip_prefix("index '")?.strip_suffix('\'')) {
            return Self::Index(index);
        }
        let of_type = || Some(said.strip_prefix("cannot store ")?.rsplit_once(" column ")?.1);
        match keys.or_else(|| said.strip_prefix("NOT NULL constraint failed: ")).or_else(of_type) {
            Some(column) if column_of(column, target).is_none() => Self::Elsewhere,
            _ => Self::Target,
        }
    }
}

/// Of `table.column`.
fn column_of<'a>(named: &'a str, table: &str) -> Option<&'a str> {
    let (of, column) = named.split_at_checked(table.len())?;
    column.strip_prefix('.').filter(|_| of.eq_ignore_ascii_case(table))
}

#[derive(Debug, PartialEq, Eq)]
struct BrokenRule {
    columns: Vec<String>,
    reason: &'static str,
    /// In SQLite's words, which quote the rule and no value.
    said: String,
}

impl BrokenRule {
    fn of(error: &PortError, table: &str) -> Self {
        let (code, reason) = rule_of(error).unwrap_or(("", "is not taken by the table"));
        let said = error.message.split_once(&format!("(code: {code}) ")).map_or(&*error.message, |(_, said)| said);
        let named = ["UNIQUE", "NOT NULL"].into_iter().find_map(|kind| {
            let columns = said.strip_prefix(kind)?.strip_prefix(" constraint failed: ")?;
            // Of an index on what is worked out the name alone is told.
            columns.split(", ").map(|column| column_of(column, table).map(ToOwned::to_owned)).collect()
        });
        Self { columns: named.unwrap_or_default(), reason, said: said.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_rule_are_read_from_what_is_said() {
        let broken = |code: &str, said: &str| {
            let message =
                format!("connection \"dw\": INSERT INTO: error returned from database: (code: {code}) {said}");
            let error = PortError::new(PortErrorKind::Data, message).with_code(code);
            assert!(is_rule(&error));
            let broken = BrokenRule::of(&error, "주문");
            assert_eq!(broken.said, said);
            (broken.columns.join(" "), broken.reason)
        };
        assert_eq!(broken("2067", "UNIQUE constraint failed: 주문.a, 주문.b c"), ("a b c".to_owned(), HAS_KEY));
        assert_eq!(broken("2067", "UNIQUE constraint failed: index 'by_lower'"), (String::new(), HAS_KEY));
        assert_eq!(broken("1299", "NOT NULL constraint failed: 주문.v").0, "v");
        assert_eq!(broken("275", "CHECK constraint failed: length(v) < 11").0, "");
        let other = PortError::new(PortErrorKind::Data, "a trigger").with_code("1811");
        assert!(!is_rule(&other));
    }

    #[test]
    fn a_rule_of_another_table_is_told_by_its_name() {
        for (said, place) in [
            ("UNIQUE constraint failed: Orders.a, Orders.b", Place::Target),
            ("UNIQUE constraint failed: seen.a", Place::Elsewhere),
            ("NOT NULL constraint failed: orders.v", Place::Target),
            ("NOT NULL constraint failed: orders2.v", Place::Elsewhere),
            ("UNIQUE constraint failed: index 'by_lower'", Place::Index("by_lower")),
            ("CHECK constraint failed: v > 0", Place::Check("v > 0")),
            ("cannot store TEXT value in INTEGER column orders.v", Place::Target),
            ("cannot store TEXT value in INTEGER column seen.v", Place::Elsewhere),
            ("FOREIGN KEY constraint failed", Place::Target),
        ] {
            assert_eq!(Place::of(said, "orders"), place, "{said}");
        }
    }
}
