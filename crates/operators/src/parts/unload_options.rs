//! UNLOAD's options as people write them (`csv`, `header`, `maxfilesize 100 mb`), read and checked against each other.

use millrace_operator_api::ports::Existing;

use crate::parts::files::csv::DEFAULT_NULL_MARKER;
use crate::parts::option_words::{Cursor, Token, is_fixed_width, is_name, one_character, tokens, unknown};

/// What was written, each option as Redshift reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnloadOptions {
    pub clauses: Vec<String>,
    pub existing: Existing,
    pub has_header: bool,
    pub has_manifest: bool,
    /// What stands for NULL, in formats that have texts only; empty where no text can be taken for it.
    pub null_marker: Option<String>,
    /// Columns that are in the keys of the files and not in the files.
    pub in_keys: Vec<String>,
    /// Options by which COPY reads what is written so.
    pub copy_options: Vec<String>,
}

/// Every option that is understood, for "did you mean".
const KNOWN: &[&str] = &[
    "ADDQUOTES",
    "ALLOWOVERWRITE",
    "BZIP2",
    "CLEANPATH",
    "CSV",
    "DELIMITER",
    "ENCRYPTED",
    "ESCAPE",
    "EXTENSION",
    "FIXEDWIDTH",
    "FORMAT",
    "GZIP",
    "HEADER",
    "JSON",
    "KMS_KEY_ID",
    "MANIFEST",
    "MAXFILESIZE",
    "NULL",
    "PARALLEL",
    "PARQUET",
    "PARTITION",
    "REGION",
    "ROWGROUPSIZE",
    "ZSTD",
];

/// Options that hold credentials.
const CREDENTIALS: &[&str] =
    &["ACCESS_KEY_ID", "CREDENTIALS", "IAM_ROLE", "MASTER_SYMMETRIC_KEY", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "WITH"];

/// Options that exclude each other.
const EXCLUDED: &[(&str, &[&str], &str)] = &[
    ("CSV", &["ADDQUOTES", "ESCAPE", "FIXEDWIDTH", "JSON", "PARQUET"], ""),
    ("PARQUET", &["BZIP2", "GZIP", "ZSTD"], ": its pages are compressed with SNAPPY"),
    ("PARQUET", &["HEADER"], ": the file always knows its columns' names"),
    ("PARQUET", &["ADDQUOTES", "DELIMITER", "ESCAPE", "FIXEDWIDTH", "JSON", "NULL"], ""),
    ("JSON", &["ADDQUOTES", "DELIMITER", "ESCAPE", "FIXEDWIDTH", "HEADER", "NULL"], ""),
    ("FIXEDWIDTH", &["DELIMITER", "HEADER"], ""),
    ("ALLOWOVERWRITE", &["CLEANPATH"], ": keep what is there, or remove it"),
    ("GZIP", &["BZIP2", "ZSTD"], ": a file is compressed in one way"),
    ("BZIP2", &["ZSTD"], ": a file is compressed in one way"),
];

/// Reads the options.
pub fn parse(texts: &[String]) -> Result<UnloadOptions, Vec<String>> {
    let mut reader = Reader::default();
    for text in texts {
        match tokens(text) {
            Ok(tokens) => reader.read(&tokens),
            Err(problem) => reader.problems.push(problem),
        }
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    options: UnloadOptions,
    seen: Vec<&'static str>,
    delimiter: Option<char>,
    null_as: Option<String>,
    /// Options of which COPY has the same.
    shared: Vec<String>,
    problems: Vec<String>,
}

impl Reader {
    fn read(&mut self, tokens: &[Token]) {
        let mut cursor = Cursor { tokens, at: 0 };
        while cursor.at < tokens.len() {
            let Some(name) = cursor.word() else {
                self.problems.push("a quoted text stands where the name of an option should be".to_owned());
                return;
            };
            cursor.at += 1;
            // Whatever follows an option that is not understood may be its value, and a secret: neither read nor shown.
            match self.option(&name, &mut cursor) {
                Ok(Some(clause)) => self.options.clauses.push(clause),
                Ok(None) => {}
                Err(problem) => {
                    self.problems.push(problem);
                    return;
                }
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table: an arm for each option")]
    fn option(&mut self, name: &str, cursor: &mut Cursor<'_>) -> Result<Option<String>, String> {
        if CREDENTIALS.contains(&name) {
            let shown = name.to_ascii_lowercase();
            return Err(format!("{shown} is not taken: credentials belong to the connection"));
        }
        let Some(known) = KNOWN.iter().find(|known| **known == name) else {
            return Err(unknown("UNLOAD", KNOWN, name));
        };
        if *known == "FORMAT" {
            cursor.skip_word("AS");
            return match cursor.one_of(&["CSV", "PARQUET", "JSON"]) {
                Some(format) => self.option(&format, cursor),
                None => {
                    Err("format needs csv, parquet or json; text with a delimiter is what is written without it".into())
                }
            };
        }
        if self.seen.contains(known) {
            return Err(format!("{} stands there twice", known.to_ascii_lowercase()));
        }
        self.seen.push(known);
        let clause = match *known {
            "CSV" | "PARQUET" | "JSON" => format!("FORMAT AS {name}"),
            "HEADER" => {
                self.options.has_header = true;
                name.to_owned()
            }
            "MANIFEST" => {
                self.options.has_manifest = true;
                if cursor.skip_word("VERBOSE") { "MANIFEST VERBOSE".to_owned() } else { name.to_owned() }
            }
            "ALLOWOVERWRITE" | "CLEANPATH" => {
                let is_overwritten = *known == "ALLOWOVERWRITE";
                self.options.existing = if is_overwritten { Existing::Overwrite } else { Existing::Remove };
                return Ok(None);
            }
            "PARALLEL" => match cursor.one_of(&["ON", "TRUE", "OFF", "FALSE"]).as_deref() {
                Some("ON" | "TRUE") => "PARALLEL ON".to_owned(),
                Some(_) => "PARALLEL OFF".to_owned(),
                None => return Err("parallel needs on or off".to_owned()),
            },
            "ENCRYPTED" => {
                if cursor.skip_word("AUTO") {
                    "ENCRYPTED AUTO".to_owned()
                } else {
                    name.to_owned()
                }
            }
            "DELIMITER" => {
                let character = cursor.quoted().as_deref().and_then(one_character);
                let Some(character) = character.filter(|character| *character != '"' && *character != '\\') else {
                    return Err("delimiter needs one ASCII character in quotes, such as delimiter ';'".to_owned());
                };
                self.delimiter = Some(character);
                format!("DELIMITER AS {}", literal(&character.to_string()))
            }
            "NULL" => {
                let text = cursor.quoted().filter(|text| !text.contains(['\n', '\r', '\0']));
                let text = text.ok_or("null as needs a text in quotes on one line, such as null as '\\N'")?;
                let clause = format!("NULL AS {}", literal(&text));
                self.null_as = Some(text);
                clause
            }
            "FIXEDWIDTH" => {
                let text = cursor.quoted().filter(|text| is_fixed_width(text));
                let text =
                    text.ok_or("fixedwidth needs columns and widths in quotes, such as fixedwidth 'id:8,name:20'")?;
                self.shared.push(format!("fixedwidth '{text}'"));
                format!("FIXEDWIDTH AS {}", literal(&text))
            }
            "REGION" => {
                let text = quoted_of(cursor, |c| c.is_ascii_alphanumeric() || c == '-');
                let text = text.ok_or("region needs a name in quotes, such as region 'eu-west-1'")?;
                self.shared.push(format!("region '{text}'"));
                format!("REGION AS '{text}'")
            }
            "EXTENSION" => {
                let text = quoted_of(cursor, |c| c.is_ascii_alphanumeric() || "._-".contains(c));
                format!("EXTENSION '{}'", text.ok_or("extension needs a text in quotes, such as extension 'csv'")?)
            }
            "KMS_KEY_ID" => {
                let text = quoted_of(cursor, |c| c.is_ascii_alphanumeric() || ":/-_".contains(c));
                format!("KMS_KEY_ID '{}'", text.ok_or("kms_key_id needs the id of a key in quotes")?)
            }
            "MAXFILESIZE" => format!(
                "MAXFILESIZE {}",
                size(cursor, 5.0, 6.2 * 1024.0)
                    .ok_or("maxfilesize needs a size from 5 mb to 6.2 gb, such as maxfilesize 100 mb",)?
            ),
            "ROWGROUPSIZE" => format!(
                "ROWGROUPSIZE {}",
                size(cursor, 32.0, 128.0)
                    .ok_or("rowgroupsize needs a size from 32 mb to 128 mb, such as rowgroupsize 64 mb",)?
            ),
            "PARTITION" => {
                let (names, clause) = partition(cursor).ok_or(
                    "partition needs columns in brackets: partition by (year, month), and include to keep them in the files",
                )?;
                self.options.in_keys = names;
                clause
            }
            _ => name.to_owned(),
        };
        Ok(Some(clause))
    }

    fn finish(mut self) -> Result<UnloadOptions, Vec<String>> {
        let has = |name: &str| self.seen.contains(&name);
        let mut problems = Vec::new();
        for (option, others, why) in EXCLUDED.iter().filter(|(option, ..)| has(option)) {
            for other in others.iter().filter(|other| has(other)) {
                let (option, other) = (option.to_ascii_lowercase(), other.to_ascii_lowercase());
                problems.push(format!("{option} and {other} exclude each other{why}"));
            }
        }
        for (option, needed) in [("ROWGROUPSIZE", "PARQUET"), ("KMS_KEY_ID", "ENCRYPTED")] {
            if has(option) && !has(needed) {
                let (option, needed) = (option.to_ascii_lowercase(), needed.to_ascii_lowercase());
                problems.push(format!("{option} has a meaning with {needed} only"));
            }
        }
        let is_text = !["FIXEDWIDTH", "JSON", "PARQUET"].iter().any(|name| has(name));
        // Left out, NULL would be written as '', and the text that COPY takes for NULL as itself.
        if is_text && self.null_as.is_none() {
            self.options.clauses.push(format!("NULL AS {}", literal(DEFAULT_NULL_MARKER)));
            self.null_as = Some(DEFAULT_NULL_MARKER.to_owned());
        }
        if let Some(null) = &self.null_as
            && is_text
            && null.contains(self.delimiter.unwrap_or(if has("CSV") { ',' } else { '|' }))
        {
            problems.push("null as must not hold the delimiter".to_owned());
        }
        // In text with ESCAPE a backslash of a value has another before it.
        let marker = self.null_as.clone().filter(|_| !has("ESCAPE")).unwrap_or_default();
        self.options.null_marker = is_text.then_some(marker);
        self.options.copy_options = self.copy_options();
        self.problems.append(&mut problems);
        if self.problems.is_empty() { Ok(self.options) } else { Err(self.problems) }
    }

    fn copy_options(&self) -> Vec<String> {
        let has = |name: &str| self.seen.contains(&name);
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "''");
        let mut options = self.shared.clone();
        for (option, of_copy) in [
            ("CSV", "csv"),
            ("PARQUET", "parquet"),
            ("JSON", "json 'auto'"),
            ("HEADER", "ignoreheader 1"),
            ("ADDQUOTES", "removequotes"),
            ("ESCAPE", "escape"),
            ("GZIP", "gzip"),
            ("BZIP2", "bzip2"),
            ("ZSTD", "zstd"),
            ("MANIFEST", "manifest"),
        ] {
            options.extend(has(option).then(|| of_copy.to_owned()));
        }
        let is_delimited = !["CSV", "FIXEDWIDTH", "JSON", "PARQUET"].iter().any(|name| has(name));
        let delimiter = self.delimiter.or(is_delimited.then_some('|'));
        options.extend(delimiter.map(|character| format!("delimiter '{}'", quoted(&character.to_string()))));
        options.extend(self.null_as.as_deref().map(|text| format!("null as '{}'", quoted(text))));
        options.extend((has("ENCRYPTED") && !has("KMS_KEY_ID")).then(|| "encrypted".to_owned()));
        options
    }
}

/// A literal of UNLOAD, where a backslash escapes.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn quoted_of(cursor: &mut Cursor<'_>, is_allowed: impl Fn(char) -> bool) -> Option<String> {
    cursor.quoted().filter(|text| !text.is_empty() && text.chars().all(is_allowed))
}

/// `100`, `100 mb`, `1.5gb`: megabytes unless said otherwise.
fn size(cursor: &mut Cursor<'_>, least: f64, most: f64) -> Option<String> {
    cursor.skip_word("AS");
    let word = cursor.word()?;
    cursor.at += 1;
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (digits, unit) = word.split_at(end);
    let unit = match cursor.word() {
        Some(next) if unit.is_empty() && !KNOWN.contains(&next.as_str()) => cursor.one_of(&["MB", "GB"])?,
        _ if unit.is_empty() => "MB".to_owned(),
        _ => unit.to_owned(),
    };
    let number: f64 = digits.parse().ok()?;
    let megabytes = match unit.as_str() {
        "MB" => number,
        "GB" => number * 1024.0,
        _ => return None,
    };
    (least..=most).contains(&megabytes).then(|| format!("{digits} {unit}"))
}

/// `by (a, b) include`, with and without spaces.
/// The columns that are not kept in the files, and the clause.
fn partition(cursor: &mut Cursor<'_>) -> Option<(Vec<String>, String)> {
    let mut text = String::new();
    while !text.ends_with(')') {
        match cursor.tokens.get(cursor.at)? {
            Token::Word(word) => {
                text.push_str(word);
                if !word.ends_with(')') {
                    text.push(' ');
                }
            }
            Token::Quoted(_) => return None,
        }
        cursor.at += 1;
    }
    let by = text.get(..2).filter(|by| by.eq_ignore_ascii_case("by"))?;
    let inside = text[by.len()..].trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let names: Vec<&str> = inside.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    if names.is_empty() || !names.iter().all(|name| is_name(name)) {
        return None;
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let is_kept = cursor.skip_word("INCLUDE");
    let include = if is_kept { " INCLUDE" } else { "" };
    let left_out = if is_kept { Vec::new() } else { names.into_iter().map(str::to_owned).collect() };
    Some((left_out, format!("PARTITION BY ({}){include}", quoted.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<UnloadOptions, Vec<String>> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_in_every_way_of_writing() {
        let options = read(&[
            "format as csv",
            "HEADER",
            "delimiter as ';'",
            "null as '\\N'",
            "gzip parallel off manifest verbose",
            "maxfilesize 6.2 gb",
            "partition by (year, month) include",
            "extension 'csv.gz' region 'eu-west-1'",
            "kms_key_id 'arn:aws:kms:eu-west-1:1:key/ab-1' encrypted auto",
            "cleanpath",
        ])
        .unwrap();
        assert_eq!(
            options.clauses,
            [
                "FORMAT AS CSV",
                "HEADER",
                "DELIMITER AS ';'",
                "NULL AS '\\\\N'",
                "GZIP",
                "PARALLEL OFF",
                "MANIFEST VERBOSE",
                "MAXFILESIZE 6.2 GB",
                "PARTITION BY (\"year\", \"month\") INCLUDE",
                "EXTENSION 'csv.gz'",
                "REGION AS 'eu-west-1'",
                "KMS_KEY_ID 'arn:aws:kms:eu-west-1:1:key/ab-1'",
                "ENCRYPTED AUTO",
            ]
        );
        assert_eq!(options.existing, Existing::Remove);
        assert!(options.has_header && options.has_manifest);
        let tight = read(&["parquet partition by(날짜,b) rowgroupsize 64mb maxfilesize 5"]).unwrap();
        assert_eq!(
            tight.clauses,
            ["FORMAT AS PARQUET", "PARTITION BY (\"날짜\", \"b\")", "ROWGROUPSIZE 64 MB", "MAXFILESIZE 5 MB"]
        );
        assert_eq!(read(&["addquotes", "escape", "allowoverwrite"]).unwrap().existing, Existing::Overwrite);
    }

    #[test]
    fn mistakes_are_told_all_at_once_with_the_way_out() {
        let cases: &[(&[&str], &str)] = &[
            (&["csv", "hedaer"], "'hedaer' is not an option of UNLOAD; did you mean 'header'?"),
            (&["csv", "frobnicate"], "known are addquotes"),
            (&["csv", "csv"], "csv stands there twice"),
            (&["csv", "format parquet"], "csv and parquet exclude each other"),
            (&["csv", "addquotes"], "csv and addquotes exclude"),
            (&["csv", "escape"], "csv and escape exclude"),
            (&["parquet", "gzip"], "parquet and gzip exclude each other: its pages"),
            (&["parquet", "header"], "parquet and header exclude"),
            (&["parquet", "null as 'x'"], "parquet and null exclude"),
            (&["json", "delimiter ';'"], "json and delimiter exclude"),
            (&["fixedwidth 'a:3'", "header"], "fixedwidth and header exclude"),
            (&["fixedwidth 'a'"], "fixedwidth needs"),
            (&["allowoverwrite", "cleanpath"], "allowoverwrite and cleanpath exclude"),
            (&["csv gzip zstd"], "gzip and zstd exclude"),
            (&["csv", "maxfilesize 4 mb"], "from 5 mb to 6.2 gb"),
            (&["csv", "maxfilesize 6.3 gb"], "from 5 mb to 6.2 gb"),
            (&["csv", "maxfilesize 9 kb"], "from 5 mb to 6.2 gb"),
            (&["csv", "rowgroupsize 64 mb"], "rowgroupsize has a meaning with parquet only"),
            (&["parquet", "rowgroupsize 1 gb"], "from 32 mb to 128 mb"),
            (&["csv", "kms_key_id 'k'"], "with encrypted only"),
            (&["csv", "parallel maybe"], "parallel needs on or off"),
            (&["csv", "partition by year"], "columns in brackets"),
            (&["csv", "partition by ()"], "columns in brackets"),
            (&["csv", "partition by (a;drop)"], "columns in brackets"),
            (&["csv", "delimiter '||'"], "one ASCII character"),
            (&["csv", "null as 'a,b'"], "must not hold the delimiter"),
            (&["null as 'a|b'"], "must not hold the delimiter"),
            (&["format as orc"], "csv, parquet or json"),
            (&["csv", "'x'"], "where the name of an option should be"),
            (&["csv", "region 'x; drop'"], "region needs"),
        ];
        for (texts, expected) in cases {
            let problems = read(texts).expect_err(&format!("{texts:?} must be refused"));
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{texts:?}: {problems:?}");
        }
        assert_eq!(read(&["csv", "csv", "escape", "parallel x"]).unwrap_err().len(), 3);
    }

    #[test]
    fn values_of_refused_options_are_never_repeated() {
        for text in [
            "credentials 'aws_access_key_id=AKIAVERYSECRET;aws_secret_access_key=hunter22'",
            "iam_role 'arn:aws:iam::1:role/hunter22'",
            "access_key_id 'hunter22' secret_access_key 'hunter22'",
            "master_symmetric_key 'hunter22'",
            "iam_rolle 'hunter22'",
            "credentials 'hunter22",
        ] {
            let shown = read(&["csv", text]).unwrap_err().join("\n");
            assert!(!shown.contains("hunter22") && !shown.contains("AKIA"), "{shown}");
        }
    }
}
