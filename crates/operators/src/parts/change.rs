//! What a statement of a script does to rows, for the ledger. The statement itself is the database's: nothing is changed in it.

use crate::parts::one_select::skipped;

/// What became of the rows that a statement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Inserted,
    Updated,
    Deleted,
    /// Inserted or updated: the statement counts both as one.
    Written,
    /// Inserted into a table that the statement made, which not every database counts.
    Made,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Change<'a> {
    pub done: Done,
    /// As the statement writes it.
    pub table: Option<&'a str>,
}

/// `None`: the statement changes no rows, or does not count them.
pub fn of(statement: &str) -> Option<Change<'_>> {
    let words = words(statement);
    let is = |at: usize, wanted: &str| words.get(at).is_some_and(|word: &&str| word.eq_ignore_ascii_case(wanted));
    let find = |wanted: &str, from: usize| (from..words.len()).find(|at| is(*at, wanted));
    let verbs = ["INSERT", "UPDATE", "DELETE", "MERGE", "SELECT"];
    let verb = if is(0, "WITH") { (1..words.len()).find(|at| verbs.iter().any(|verb| is(*at, verb)))? } else { 0 };
    let table = |mut at: usize| {
        while is(at, "ONLY") {
            at += 1;
        }
        words.get(at).copied()
    };
    let after = |word: &str| find(word, verb).and_then(|at| table(at + 1));
    let (done, table) = match words.get(verb)?.to_ascii_uppercase().as_str() {
        "INSERT" => {
            let is_both = find("CONFLICT", verb).is_some() || (is(verb + 1, "OR") && is(verb + 2, "REPLACE"));
            (if is_both { Done::Written } else { Done::Inserted }, after("INTO"))
        }
        "REPLACE" | "MERGE" => (Done::Written, after("INTO")),
        "UPDATE" if is(verb + 1, "OR") => (Done::Updated, table(verb + 3)),
        "UPDATE" => (Done::Updated, table(verb + 1)),
        "DELETE" => (Done::Deleted, after("FROM")),
        "SELECT" => (Done::Made, Some(find("INTO", verb).and_then(|at| made(&words, at + 1))?)),
        "CREATE" => {
            let at = find("TABLE", verb).filter(|at| *at <= verb + 3)?;
            let name = made(&words, at + 1)?;
            // STORED AS says how the files of an external table are written.
            (at + 2..words.len()).find(|at| is(*at, "AS") && !is(*at - 1, "STORED"))?;
            (Done::Made, Some(name))
        }
        _ => return None,
    };
    Some(Change { done, table })
}

/// The name of a table that is made, behind the words that say how.
fn made<'a>(words: &[&'a str], from: usize) -> Option<&'a str> {
    let how = ["TEMP", "TEMPORARY", "LOCAL", "GLOBAL", "UNLOGGED", "TABLE", "IF", "NOT", "EXISTS"];
    words[from.min(words.len())..]
        .iter()
        .copied()
        .find(|word| !how.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

/// The words outside of parentheses, texts and comments; a name with its dots and quotes is one.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut depth, mut begin, mut at) = (Vec::new(), 0_usize, None, 0);
    while let Some(character) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match character {
            '`' => rest[1..].find('`').map_or(rest.len(), |end| end + 2),
            // What is not closed is not understood; the database has said so, or reads it in another way.
            _ => skipped(rest).unwrap_or(rest.len()),
        };
        let is_name = matches!(character, '"' | '`' | '.' | '_')
            || (length == 0 && (character.is_alphanumeric() || character == '$'));
        if depth == 0 && is_name {
            begin = begin.or(Some(at));
        } else if let Some(begin) = begin.take() {
            words.push(&text[begin..at]);
        }
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += length.max(character.len_utf8());
    }
    words.extend(begin.map(|begin| &text[begin..]));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_statement_does_is_read_from_its_words() {
        let cases = [
            ("-- daily\ninsert into dw.t (a, b) select a, 'update x' from s", Some((Done::Inserted, "dw.t"))),
            ("INSERT INTO \"my schema\".\"주 문\" VALUES (1)", Some((Done::Inserted, "\"my schema\".\"주 문\""))),
            ("INSERT INTO `a b`.t VALUES ('a;''b', $$ ) $$)", Some((Done::Inserted, "`a b`.t"))),
            ("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET v = 1", Some((Done::Written, "t"))),
            ("INSERT OR REPLACE INTO t VALUES (1)", Some((Done::Written, "t"))),
            ("REPLACE INTO t VALUES (1)", Some((Done::Written, "t"))),
            ("MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE", Some((Done::Written, "t"))),
            ("UPDATE ONLY t SET a = (SELECT 1 FROM u)", Some((Done::Updated, "t"))),
            ("UPDATE OR IGNORE t SET a = 1", Some((Done::Updated, "t"))),
            ("/* ; */ DELETE FROM t USING s WHERE t.id = s.id", Some((Done::Deleted, "t"))),
            (
                "WITH s AS (DELETE FROM u RETURNING *), r (a) AS (SELECT 1) INSERT INTO t TABLE s",
                Some((Done::Inserted, "t")),
            ),
            ("CREATE TEMP TABLE IF NOT EXISTS t DISTKEY(a) AS SELECT 1 AS a", Some((Done::Made, "t"))),
            ("create table dw.t (a, b) as select 1, 2", Some((Done::Made, "dw.t"))),
            ("SELECT a INTO TEMP TABLE t FROM s", Some((Done::Made, "t"))),
            ("CREATE TABLE t (a int GENERATED ALWAYS AS (b + 1) STORED)", None),
            ("CREATE VIEW v AS SELECT * FROM t", None),
            ("CREATE EXTERNAL TABLE s.t (a int) STORED AS PARQUET LOCATION 's3://lake/t'", None),
            (
                "CREATE EXTERNAL TABLE s.t STORED AS PARQUET LOCATION 's3://lake/t' AS SELECT 1",
                Some((Done::Made, "s.t")),
            ),
            ("CREATE MATERIALIZED VIEW v AS TABLE t", None),
            ("WITH s AS (SELECT 1) SELECT * FROM s", None),
            ("SELECT 'insert into t'", None),
            ("TRUNCATE t", None),
            ("", None),
        ];
        for (statement, expected) in cases {
            let expected = expected.map(|(done, table)| Change { done, table: Some(table) });
            assert_eq!(of(statement), expected, "{statement}");
        }
        // Never out of its bounds, whatever stands there.
        for text in ["INSERT", "insert into", "UPDATE", "CREATE TABLE", "'", "\"", "`", "WITH", "SELECT INTO", "주"] {
            of(text);
        }
    }
}
