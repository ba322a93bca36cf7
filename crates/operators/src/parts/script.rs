//! What a SQL script says about transactions itself, for the log. The warehouse carries it out: it gets the whole script,
//! because temporary tables and settings live as long as the session.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Begin,
    Commit,
    Rollback,
}

/// What a reader of the log should know about the script's own BEGIN, COMMIT and ROLLBACK. Nothing with `autocommit`, where
/// they mean what they always mean.
pub fn notices(statements: &[String], autocommit: bool) -> Vec<String> {
    let mut notices = Vec::new();
    if autocommit {
        return notices;
    }
    let mut first = 1;
    for (index, statement) in statements.iter().enumerate() {
        let number = index + 1;
        let Some(control) = control(statement) else { continue };
        if control == Control::Begin {
            notices.push(format!("statement {number} (BEGIN) changes nothing: a transaction is open already"));
            continue;
        }
        let before = match number - first {
            0 => None,
            1 => Some(format!("statement {first} is")),
            _ => Some(format!("statements {first} to {index} are")),
        };
        first = number + 1;
        notices.extend(before.map(|before| match control {
            Control::Rollback => format!("statement {number} is the script's own ROLLBACK: {before} undone there"),
            _ => format!(
                "statement {number} is the script's own COMMIT: {before} committed there, whatever becomes of the later ones"
            ),
        }));
    }
    notices
}

/// Which statements of a script, as far as it was run, the script itself has undone, or the end of its session.
pub fn undone(statements: &[String], autocommit: bool) -> Vec<bool> {
    let mut undone = vec![false; statements.len()];
    // Where the open transaction began; `None` where each statement commits itself.
    let mut open = (!autocommit).then_some(0);
    let mut savepoints: Vec<(String, usize)> = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        let words = words(statement);
        let name = || words.last().cloned().unwrap_or_default();
        let since = match words.first().map(String::as_str) {
            Some("SAVEPOINT") => {
                savepoints.push((name(), index));
                None
            }
            Some("ROLLBACK") if words.iter().any(|word| word == "TO") => {
                savepoints.iter().rev().find(|(known, _)| *known == name()).map(|(_, at)| *at)
            }
            _ => match control(statement) {
                Some(Control::Begin) => {
                    open = open.or(Some(index));
                    None
                }
                Some(ended) => {
                    let began = std::mem::replace(&mut open, (!autocommit).then_some(index + 1));
                    began.filter(|_| ended == Control::Rollback)
                }
                None => None,
            },
        };
        if let Some(since) = since {
            undone[since..index].fill(true);
        }
    }
    // Whoever begins a transaction of their own has to end it.
    if let Some(since) = open.filter(|_| autocommit) {
        undone[since..].fill(true);
    }
    undone
}

/// What a statement says about the transaction, if that is all it says.
fn control(statement: &str) -> Option<Control> {
    let words = words(statement);
    let (first, rest) = words.split_first()?;
    let second = rest.first().map_or("", String::as_str);
    let is_plain = rest.is_empty() || (rest.len() == 1 && matches!(second, "WORK" | "TRANSACTION"));
    match first.as_str() {
        "BEGIN" => Some(Control::Begin),
        "START" if second == "TRANSACTION" => Some(Control::Begin),
        "COMMIT" | "END" if is_plain => Some(Control::Commit),
        "ROLLBACK" | "ABORT" if is_plain => Some(Control::Rollback),
        _ => None,
    }
}

fn words(statement: &str) -> Vec<String> {
    // A script is a few words where it speaks of transactions, and may be megabytes where it does not.
    without_leading_comments(statement)
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
        .split_whitespace()
        .take(6)
        .map(str::to_ascii_uppercase)
        .collect()
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
    use super::{notices, undone};

    fn check(statements: &[&str], autocommit: bool) -> String {
        let statements: Vec<String> = statements.iter().map(|text| (*text).to_owned()).collect();
        notices(&statements, autocommit).join("\n")
    }

    #[test]
    fn own_transactions_are_told() {
        assert_eq!(check(&["a", "b"], false), "");
        assert_eq!(check(&["BEGIN", "a", "COMMIT"], true), "");
        let text =
            check(&["-- x\n/* y */ start transaction;", "a", "b", "END work;", "c", "rollback", "commit"], false);
        assert_eq!(
            text,
            "statement 1 (BEGIN) changes nothing: a transaction is open already\n\
             statement 4 is the script's own COMMIT: statements 1 to 3 are committed there, whatever becomes of the later ones\n\
             statement 6 is the script's own ROLLBACK: statement 5 is undone there"
        );
        assert_eq!(check(&["a", "ROLLBACK TO SAVEPOINT s", "COMMIT PREPARED 'x'"], false), "");
    }

    #[test]
    fn what_a_script_takes_back_is_undone() {
        let check = |statements: &[&str], autocommit: bool| {
            let texts: Vec<String> = statements.iter().map(|text| (*text).to_owned()).collect();
            let undone = undone(&texts, autocommit);
            statements
                .iter()
                .zip(undone)
                .filter(|(_, undone)| *undone)
                .map(|(text, _)| *text)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(check(&["a", "b"], false), "");
        assert_eq!(check(&["a", "commit", "b", "c", "rollback;", "d"], false), "b c");
        assert_eq!(check(&["a", "rollback", "begin", "b", "-- no\nrollback", "c"], true), "begin b");
        assert_eq!(check(&["begin", "a", "end", "b", "abort"], true), "");
        assert_eq!(check(&["a", "begin", "b", "c"], true), "begin b c");
        assert_eq!(check(&["a", "commit", "b"], false), "");
        let nested =
            ["a", "savepoint s", "b", "savepoint t", "c", "rollback to t", "d", "ROLLBACK TO SAVEPOINT S", "e"];
        assert_eq!(check(&nested[..7], false), "savepoint t c");
        assert_eq!(check(&nested, false), "savepoint s b savepoint t c rollback to t d");
    }
}
