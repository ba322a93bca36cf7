//! COPY's options as people write them (`csv`, `ignoreheader 1`, `null as '\N'`), read and checked against each other.

use millrace_operator_api::ports::CsvFormat;

/// What was written, before the file itself is asked what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CsvFormat,
    /// Whether IGNOREHEADER stands there: without it the file says whether it has a header.
    pub says_header: bool,
    pub is_csv: bool,
}

/// Options that change nothing about the rows, so that an engine without them may pass over them.
const WITHOUT_EFFECT: &[&str] = &["STATUPDATE", "COMPUPDATE", "COMPROWS", "REGION"];

/// Every option that is understood, for "did you mean".
const KNOWN: &[&str] = &[
    "ACCEPTANYDATE",
    "ACCEPTINVCHARS",
    "BLANKSASNULL",
    "BZIP2",
    "COMPROWS",
    "COMPUPDATE",
    "CSV",
    "DATEFORMAT",
    "DELIMITER",
    "EMPTYASNULL",
    "ENCODING",
    "EXPLICIT_IDS",
    "FILLRECORD",
    "FORMAT",
    "GZIP",
    "IGNOREBLANKLINES",
    "IGNOREHEADER",
    "LZOP",
    "MAXERROR",
    "NULL",
    "QUOTE",
    "REGION",
    "ROUNDEC",
    "STATUPDATE",
    "TIMEFORMAT",
    "TRIMBLANKS",
    "TRUNCATECOLUMNS",
    "ZSTD",
];

/// Options that COPY has and this operator refuses, each with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("IAM_ROLE", "the role belongs to the connection (extra: role_arn)"),
    ("CREDENTIALS", "credentials belong to the connection"),
    ("ACCESS_KEY_ID", "credentials belong to the connection"),
    ("SECRET_ACCESS_KEY", "credentials belong to the connection"),
    ("SESSION_TOKEN", "credentials belong to the connection"),
    ("MASTER_SYMMETRIC_KEY", "keys belong to the connection, and files encrypted by their writer can't be loaded yet"),
    ("ENCRYPTED", "files encrypted by their writer can't be loaded yet"),
    (
        "MANIFEST",
        "a manifest of exactly the objects found is made here; s3_key names the data (prefix: true for several)",
    ),
    ("NOLOAD", "it would load nothing and look like a success"),
    ("SSH", "rows come from objects in S3"),
    ("READRATIO", "rows come from objects in S3"),
    ("FIXEDWIDTH", "it excludes CSV, and only CSV files can be loaded"),
    ("ESCAPE", "it excludes CSV: in CSV a quote is doubled instead"),
    ("REMOVEQUOTES", "it excludes CSV, which takes quotes away by itself"),
    ("ADDQUOTES", "it belongs to UNLOAD"),
    ("ALLOWOVERWRITE", "it belongs to UNLOAD"),
    ("PARALLEL", "it belongs to UNLOAD"),
    ("HEADER", "it belongs to UNLOAD; to pass over header lines write ignoreheader 1"),
    ("JSON", "only CSV files can be loaded"),
    ("AVRO", "only CSV files can be loaded"),
    ("PARQUET", "only CSV files can be loaded"),
    ("ORC", "only CSV files can be loaded"),
    ("SHAPEFILE", "only CSV files can be loaded"),
];

/// Reads the options; `is_whole` is false while some of them are templates still, so that nothing is said to be missing.
pub fn parse(texts: &[String], is_whole: bool) -> Result<CopyOptions, Vec<String>> {
    let mut reader = Reader::default();
    for text in texts {
        match tokens(text) {
            Ok(tokens) => reader.read(&tokens),
            Err(problem) => reader.problems.push(problem),
        }
    }
    reader.finish(is_whole)
}

/// Options for which `engine` has no meaning.
pub fn unknown_to<'a>(engine: &str, format: &'a CsvFormat) -> Vec<&'a str> {
    let is_harmless = |option: &str| WITHOUT_EFFECT.iter().any(|name| option.starts_with(name));
    if engine == "redshift" {
        return Vec::new();
    }
    format.other.iter().map(String::as_str).filter(|option| !is_harmless(option)).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let mut quoted = String::new();
            let mut characters = rest[1..].char_indices().peekable();
            let end = loop {
                match characters.next() {
                    Some((_, '\'')) if characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                        characters.next();
                        quoted.push('\'');
                    }
                    Some((at, '\'')) => break 1 + at + 1,
                    Some((_, character)) => quoted.push(character),
                    None => return Err(format!("a quote is not closed in: {}", first_word(text))),
                }
            };
            tokens.push(Token::Quoted(quoted));
            rest = rest[end..].trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '\'').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].trim_end_matches([';', ',']).to_owned()));
            rest = rest[end..].trim_start();
        }
    }
    tokens.retain(|token| *token != Token::Word(String::new()));
    Ok(tokens)
}

/// What may be shown of an option: its value might be a secret in the wrong place.
fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[derive(Default)]
struct Reader {
    options: CopyOptions,
    seen: Vec<String>,
    problems: Vec<String>,
}

/// The tokens of one text, read from left to right.
struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Cursor<'_> {
    fn word(&self) -> Option<String> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }

    fn skip_word(&mut self, wanted: &str) -> bool {
        let is_there = self.word().as_deref() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn quoted(&mut self) -> Option<String> {
        self.skip_word("AS");
        match self.tokens.get(self.at) {
            Some(Token::Quoted(text)) => {
                self.at += 1;
                Some(text.clone())
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u32> {
        self.skip_word("AS");
        let number = self.word()?.parse().ok()?;
        self.at += 1;
        Some(number)
    }

    fn one_of(&mut self, words: &[&str]) -> Option<String> {
        let word = self.word().filter(|word| words.contains(&word.as_str()))?;
        self.at += 1;
        Some(word)
    }
}

impl Reader {
    fn problem(&mut self, message: impl Into<String>) {
        self.problems.push(message.into());
    }

    fn read(&mut self, tokens: &[Token]) {
        let mut cursor = Cursor { tokens, at: 0 };
        while cursor.at < tokens.len() {
            let Some(name) = cursor.word() else {
                self.problem("a quoted text stands where the name of an option should be");
                return;
            };
            cursor.at += 1;
            // Whatever follows a refused or unknown option may be its value, and a secret: it is neither read nor shown.
            if !self.option(&name, &mut cursor) {
                return;
            }
        }
    }

    /// False when nothing after it in the same text can be understood.
    fn option(&mut self, name: &str, cursor: &mut Cursor<'_>) -> bool {
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            self.problem(format!("{} is not taken: {reason}", name.to_ascii_lowercase()));
            return false;
        }
        if KNOWN.contains(&name) && name != "FORMAT" {
            if self.seen.iter().any(|seen| seen == name) {
                self.problem(format!("{} stands there twice", name.to_ascii_lowercase()));
            }
            self.seen.push(name.to_owned());
        }
        let format = &mut self.options.format;
        let problem = match name {
            "CSV" => {
                self.options.is_csv = true;
                None
            }
            "FORMAT" => {
                cursor.skip_word("AS");
                match cursor.word() {
                    Some(word) => {
                        cursor.at += 1;
                        return self.option(&word, cursor);
                    }
                    None => Some("format needs a name; write csv".to_owned()),
                }
            }
            "GZIP" => {
                format.gzip = true;
                None
            }
            "EMPTYASNULL" => {
                format.empty_as_null = true;
                None
            }
            "BLANKSASNULL" => {
                format.blanks_as_null = true;
                None
            }
            "TRUNCATECOLUMNS" => {
                format.truncate_columns = true;
                None
            }
            "ACCEPTINVCHARS" => {
                format.accept_inv_chars = true;
                match cursor.quoted().as_deref() {
                    None | Some("?") => None,
                    Some(_) => Some(
                        "acceptinvchars puts '?' in place of what is not UTF-8; another character can't be chosen"
                            .to_owned(),
                    ),
                }
            }
            "DELIMITER" => match cursor.quoted().as_deref().map(one_character) {
                Some(Some(character)) => {
                    format.delimiter = Some(character);
                    None
                }
                _ => Some(
                    "delimiter needs one ASCII character in quotes, such as delimiter ';' or delimiter '\\t'"
                        .to_owned(),
                ),
            },
            "QUOTE" => match cursor.quoted().as_deref().map(one_character) {
                Some(Some(character)) => {
                    format.quote = Some(character);
                    None
                }
                _ => Some("quote needs one ASCII character in quotes, such as quote as '\"'".to_owned()),
            },
            "NULL" => match cursor.quoted() {
                Some(text) => {
                    format.null_as = Some(text.replace("\\\\", "\\"));
                    None
                }
                None => Some("null needs a text in quotes, such as null as '\\N'".to_owned()),
            },
            "IGNOREHEADER" => match cursor.number() {
                Some(lines) => {
                    format.ignore_header = lines;
                    self.options.says_header = true;
                    None
                }
                None => Some("ignoreheader needs a number of lines, such as ignoreheader 1".to_owned()),
            },
            "MAXERROR" => match cursor.number() {
                Some(count) if count <= 100_000 => {
                    format.max_error = count;
                    None
                }
                _ => Some("maxerror needs a number from 0 to 100000".to_owned()),
            },
            "DATEFORMAT" => match cursor.quoted() {
                Some(text) => {
                    format.date_format = Some(text);
                    None
                }
                None => Some("dateformat needs a text in quotes, such as dateformat 'auto'".to_owned()),
            },
            "TIMEFORMAT" => match cursor.quoted() {
                Some(text) => {
                    format.time_format = Some(text);
                    None
                }
                None => Some("timeformat needs a text in quotes, such as timeformat 'auto'".to_owned()),
            },
            "BZIP2" | "LZOP" | "ZSTD" | "ACCEPTANYDATE" | "EXPLICIT_IDS" | "FILLRECORD" | "IGNOREBLANKLINES"
            | "ROUNDEC" | "TRIMBLANKS" => {
                format.other.push(name.to_owned());
                None
            }
            "STATUPDATE" | "COMPUPDATE" => {
                let words: &[&str] = if name == "COMPUPDATE" {
                    &["ON", "OFF", "TRUE", "FALSE", "PRESET"]
                } else {
                    &["ON", "OFF", "TRUE", "FALSE"]
                };
                let value = cursor.one_of(words).map(|word| format!(" {word}")).unwrap_or_default();
                format.other.push(format!("{name}{value}"));
                None
            }
            "COMPROWS" => match cursor.number() {
                Some(rows) => {
                    format.other.push(format!("COMPROWS {rows}"));
                    None
                }
                None => Some("comprows needs a number of rows".to_owned()),
            },
            "ENCODING" => {
                cursor.skip_word("AS");
                match cursor.one_of(&["UTF8", "UTF16", "UTF16LE", "UTF16BE", "ISO88591"]) {
                    // What is read anyway.
                    Some(word) if word == "UTF8" => None,
                    Some(word) => {
                        format.other.push(format!("ENCODING AS {word}"));
                        None
                    }
                    None => Some("encoding needs utf8, utf16, utf16le, utf16be or iso88591".to_owned()),
                }
            }
            "REGION" => match cursor.quoted() {
                Some(region) if region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !region.is_empty() => {
                    format.other.push(format!("REGION '{region}'"));
                    None
                }
                _ => Some("region needs the name of a region in quotes, such as region 'us-east-1'".to_owned()),
            },
            _ => {
                self.unknown(name);
                return false;
            }
        };
        let is_understood = problem.is_none();
        self.problems.extend(problem);
        is_understood
    }

    fn unknown(&mut self, name: &str) {
        let shown: String = name.chars().take(32).collect::<String>().to_ascii_lowercase();
        let close = KNOWN
            .iter()
            .map(|known| (strsim::damerau_levenshtein(name, known), *known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
            .min();
        match close {
            Some((_, known)) => {
                self.problem(format!(
                    "'{shown}' is not an option of COPY; did you mean '{}'?",
                    known.to_ascii_lowercase()
                ));
            }
            None => {
                let known = KNOWN.join(", ").to_ascii_lowercase();
                self.problem(format!("'{shown}' is not an option of COPY; known are {known}"));
            }
        }
    }

    fn finish(mut self, is_whole: bool) -> Result<CopyOptions, Vec<String>> {
        let format = &self.options.format;
        let mut problems = Vec::new();
        if is_whole && self.problems.is_empty() && !self.options.is_csv {
            problems.push("csv is missing: only CSV files can be loaded, so write csv first".to_owned());
        }
        if format.delimiter.unwrap_or(',') == format.quote.unwrap_or('"') {
            problems.push("delimiter and quote must not be the same character".to_owned());
        }
        if let Some(marker) = &format.null_as {
            if marker.contains(['\n', '\r']) {
                problems.push("null as must not hold a line end, which separates the rows".to_owned());
            }
            if marker.contains(format.delimiter.unwrap_or(',')) {
                problems.push("null as must not hold the delimiter".to_owned());
            }
        }
        let compressions: Vec<String> = ["GZIP", "BZIP2", "LZOP", "ZSTD"]
            .iter()
            .filter(|name| self.seen.iter().any(|seen| seen == *name))
            .map(|name| name.to_ascii_lowercase())
            .collect();
        if compressions.len() > 1 {
            problems
                .push(format!("{} exclude each other: a file is compressed in one way", compressions.join(" and ")));
        }
        self.problems.append(&mut problems);
        if self.problems.is_empty() { Ok(self.options) } else { Err(self.problems) }
    }
}

fn one_character(text: &str) -> Option<char> {
    let mut characters = match text {
        "\\t" => "\t",
        other => other,
    }
    .chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) if only.is_ascii() && !matches!(only, '\n' | '\r' | '\0') => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<CopyOptions, Vec<String>> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), true)
    }

    #[test]
    fn options_are_read_in_every_way_of_writing() {
        let expected = CsvFormat {
            delimiter: Some(';'),
            quote: Some('\''),
            ignore_header: 2,
            null_as: Some("\\N".to_owned()),
            gzip: true,
            max_error: 10,
            time_format: Some("auto".to_owned()),
            other: vec!["STATUPDATE OFF".to_owned(), "COMPUPDATE".to_owned(), "REGION 'eu-west-1'".to_owned()],
            ..CsvFormat::default()
        };
        let one_each = read(&[
            "csv",
            "delimiter ';'",
            "quote as ''''",
            "ignoreheader 2",
            "null as '\\N'",
            "gzip",
            "maxerror 10",
            "timeformat 'auto'",
            "statupdate off",
            "compupdate",
            "region 'eu-west-1'",
        ]);
        assert_eq!(one_each.unwrap().format, expected);
        let in_one = read(&[
            "FORMAT AS CSV QUOTE '''' DELIMITER AS ';' IGNOREHEADER AS 2 NULL '\\\\N' GZIP MAXERROR AS 10 TIMEFORMAT AS 'auto' STATUPDATE OFF COMPUPDATE REGION 'eu-west-1';",
        ]);
        assert_eq!(in_one.unwrap().format, expected);
    }

    #[test]
    fn flags_have_their_fields() {
        let format =
            read(&["csv", "emptyasnull", "blanksasnull", "truncatecolumns", "acceptinvchars", "dateformat 'YYYY'"])
                .unwrap()
                .format;
        assert!(format.empty_as_null && format.blanks_as_null && format.truncate_columns && format.accept_inv_chars);
        assert_eq!(format.date_format.as_deref(), Some("YYYY"));
        assert!(!read(&["csv"]).unwrap().says_header);
        assert!(read(&["csv", "ignoreheader 0"]).unwrap().says_header);
    }

    #[test]
    fn mistakes_are_told_all_at_once_with_the_way_out() {
        let cases: &[(&[&str], &str)] = &[
            (&["csv", "ignorheader 1"], "'ignorheader' is not an option of COPY; did you mean 'ignoreheader'?"),
            (&["csv", "frobnicate"], "'frobnicate' is not an option of COPY; known are acceptanydate"),
            (&["csv", "csv"], "csv stands there twice"),
            (&["delimiter ','"], "csv is missing"),
            (&["csv", "fixedwidth '1:2'"], "fixedwidth is not taken: it excludes CSV"),
            (&["csv", "escape"], "escape is not taken"),
            (&["csv removequotes"], "removequotes is not taken"),
            (&["format as parquet"], "parquet is not taken: only CSV"),
            (&["csv", "manifest"], "prefix: true for several"),
            (&["csv", "gzip", "zstd"], "gzip and zstd exclude each other"),
            (&["csv", "delimiter '||'"], "delimiter needs one ASCII character"),
            (&["csv", "delimiter '\"'"], "must not be the same character"),
            (&["csv", "maxerror 100001"], "from 0 to 100000"),
            (&["csv", "maxerror many"], "from 0 to 100000"),
            (&["csv", "ignoreheader"], "number of lines"),
            (&["csv", "null as 'a,b'"], "must not hold the delimiter"),
            (&["csv", "noload"], "would load nothing"),
            (&["csv", "null as '\\N"], "a quote is not closed in: null"),
            (&["csv", "'x'"], "where the name of an option should be"),
            (&["csv", "region 'x; drop'"], "region needs"),
        ];
        for (texts, expected) in cases {
            let problems = read(texts).expect_err(&format!("{texts:?} must be refused"));
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{texts:?}: {problems:?}");
        }
        assert_eq!(read(&["csv csv", "escape", "maxerror x"]).unwrap_err().len(), 3);
    }

    #[test]
    fn values_of_refused_options_are_never_repeated() {
        for text in [
            "credentials 'aws_access_key_id=AKIAVERYSECRET;aws_secret_access_key=hunter22'",
            "iam_role 'arn:aws:iam::1:role/hunter22'",
            "access_key_id 'hunter22' secret_access_key 'hunter22'",
            "iam_rolle 'hunter22'",
            "credentials 'hunter22",
        ] {
            let shown = read(&["csv", text]).unwrap_err().join("\n");
            assert!(!shown.contains("hunter22") && !shown.contains("AKIA"), "{shown}");
        }
    }

    #[test]
    fn nothing_is_missing_while_templates_are_not_rendered() {
        assert!(parse(&["ignoreheader 1".to_owned()], false).is_ok());
        assert!(parse(&[], true).is_err());
    }

    #[test]
    fn other_engines_say_what_they_can_not_do() {
        let format = read(&["csv", "statupdate off", "fillrecord", "region 'x'"]).unwrap().format;
        assert_eq!(unknown_to("sqlite", &format), ["FILLRECORD"]);
        assert!(unknown_to("redshift", &format).is_empty());
    }
}
