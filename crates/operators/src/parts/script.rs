//! A SQL script cut into pieces that are each one transaction.
//!
//! The script's own BEGIN and COMMIT are never sent: what stands between them is sent as one transaction. So they mean
//! the same on every engine, and on services where a statement is a session by itself.

/// Statements that are executed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub statements: Vec<String>,
    /// Each statement commits by itself.
    pub autocommit: bool,
    /// The number of the piece's first statement in the script, from 1.
    pub first: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub pieces: Vec<Piece>,
    /// What a reader of the log should know about the script's own transactions.
    pub notices: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Begin,
    Commit,
    Rollback,
}

/// The error says which statement can't be.
pub fn plan(statements: &[String], autocommit: bool) -> Result<Plan, String> {
    let mut plan = Plan::default();
    let mut open: Vec<String> = Vec::new();
    let mut first = 1;
    let mut in_transaction = !autocommit;
    for (index, statement) in statements.iter().enumerate() {
        let number = index + 1;
        match control(statement) {
            Some(Control::Begin) => {
                if in_transaction {
                    plan.notices
                        .push(format!("statement {number} (BEGIN) changes nothing: a transaction is open already"));
                } else {
                    plan.close(&mut open, true, first);
                    in_transaction = true;
                }
            }
            Some(Control::Commit) => {
                if in_transaction && !open.is_empty() {
                    plan.notices.push(format!(
                        "statement {number} is the script's own COMMIT: statements {first} to {index} are committed there, \
                         whatever becomes of the later ones"
                    ));
                }
                plan.close(&mut open, !in_transaction, first);
                in_transaction = !autocommit;
            }
            Some(Control::Rollback) => {
                return Err(format!(
                    "statement {number} is a ROLLBACK, which a script can't use: an error rolls back by itself"
                ));
            }
            None => {
                if open.is_empty() {
                    first = number;
                }
                open.push(statement.clone());
            }
        }
    }
    plan.close(&mut open, !in_transaction, first);
    Ok(plan)
}

impl Plan {
    fn close(&mut self, open: &mut Vec<String>, autocommit: bool, first: usize) {
        if !open.is_empty() {
            self.pieces.push(Piece { statements: std::mem::take(open), autocommit, first });
        }
    }
}

/// What a statement says about the transaction, if that is all it says.
fn control(statement: &str) -> Option<Control> {
    let words: Vec<String> = without_leading_comments(statement)
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase)
        .collect();
    let (first, rest) = words.split_first()?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let is_plain = matches!(rest.as_slice(), [] | ["WORK" | "TRANSACTION"]);
    // BEGIN also opens a block of statements (of a procedure); a transaction's is followed by its modes at most.
    let has_modes = rest.iter().all(|word| {
        [
            "WORK",
            "TRANSACTION",
            "ISOLATION",
            "LEVEL",
            "READ",
            "WRITE",
            "ONLY",
            "COMMITTED",
            "UNCOMMITTED",
            "REPEATABLE",
            "SERIALIZABLE",
            "DEFERRED",
            "IMMEDIATE",
            "EXCLUSIVE",
            "WITH",
            "CONSISTENT",
            "SNAPSHOT",
        ]
        .contains(word)
    });
    match first.as_str() {
        "BEGIN" if has_modes => Some(Control::Begin),
        "START" if rest.first() == Some(&"TRANSACTION") => Some(Control::Begin),
        "COMMIT" | "END" if is_plain => Some(Control::Commit),
        "ROLLBACK" | "ABORT" if is_plain => Some(Control::Rollback),
        _ => None,
    }
}

fn without_leading_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let rest = if let Some(comment) = text.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = text.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            return text;
        };
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statements: &[&str], autocommit: bool) -> String {
        let statements: Vec<String> = statements.iter().map(|text| (*text).to_owned()).collect();
        match plan(&statements, autocommit) {
            Ok(plan) => {
                let pieces: Vec<String> = plan
                    .pieces
                    .iter()
                    .map(|piece| {
                        let kind = if piece.autocommit { "each" } else { "together" };
                        format!("{}@{} {kind}", piece.statements.join("+"), piece.first)
                    })
                    .collect();
                format!("{} ({} notices)", pieces.join(", "), plan.notices.len())
            }
            Err(error) => error,
        }
    }

    #[test]
    fn a_script_is_one_transaction_unless_it_says_otherwise() {
        assert_eq!(check(&["a", "b"], false), "a+b@1 together (0 notices)");
        assert_eq!(check(&["a", "b"], true), "a+b@1 each (0 notices)");
        assert_eq!(check(&["BEGIN", "a", "b"], false), "a+b@2 together (1 notices)");
        assert_eq!(check(&["begin;", "a", "COMMIT;"], false), "a@2 together (2 notices)");
        assert_eq!(check(&["a", "begin", "b"], false), "a+b@1 together (1 notices)");
        assert_eq!(check(&["a", "commit", "b"], false), "a@1 together, b@3 together (1 notices)");
        assert_eq!(check(&["-- x\n/* y */ start transaction", "a", "end"], false), "a@2 together (2 notices)");
        assert_eq!(check(&["a", "begin", "b", "commit", "c"], true), "a@1 each, b@3 together, c@5 each (1 notices)");
        assert_eq!(check(&["commit", "begin"], false), " (1 notices)");
    }

    #[test]
    fn blocks_and_savepoints_are_not_transactions() {
        let block = "BEGIN INSERT INTO t VALUES (1)";
        assert_eq!(
            check(&[block, "ROLLBACK TO SAVEPOINT s"], false),
            format!("{block}+ROLLBACK TO SAVEPOINT s@1 together (0 notices)")
        );
        assert!(check(&["a", "ROLLBACK"], false).starts_with("statement 2 is a ROLLBACK"));
    }
}
