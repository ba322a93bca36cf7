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

/// What a statement says about the transaction, if that is all it says.
fn control(statement: &str) -> Option<Control> {
    let words: Vec<String> = without_leading_comments(statement)
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
        .split_whitespace()
        .map(str::to_ascii_uppercase)
        .collect();
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
    use super::notices;

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
}
