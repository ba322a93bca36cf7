//! COPY's options as people write them (`csv`, `ignoreheader 1`, `null as '\N'`), read and checked against each other.

use millrace_operator_api::ports::{CsvFormat, FileKind};

use super::option_words::{Cursor, Token, one_character, tokens};

/// What was written, before the file itself is asked what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CsvFormat,
    /// Whether IGNOREHEADER stands there: without it the file says whether it has a header.
    pub says_header: bool,
    /// The key names a list of the objects.
    pub is_manifest: bool,
}

/// Options that change nothing about the rows, so that an engine without them may pass over them.
const WITHOUT_EFFECT: &[&str] = &["STATUPDATE", "COMPUPDATE", "COMPROWS", "REGION"];
/// What every engine knows how to do.
const KNOWN_EVERYWHERE: &str = "ROUNDEC";

/// Every option that is understood, for "did you mean".
const KNOWN: &[&str] = &[
    "ACCEPTANYDATE",
    "ACCEPTINVCHARS",
    "AVRO",
    "BLANKSASNULL",
    "BZIP2",
    "COMPROWS",
    "COMPUPDATE",
    "CSV",
    "DATEFORMAT",
    "DELIMITER",
    "EMPTYASNULL",
    "ENCODING",
    "ENCRYPTED",
    "ESCAPE",
    "EXPLICIT_IDS",
    "FILLRECORD",
    "FIXEDWIDTH",
    "FORMAT",
    "GZIP",
    "IGNOREBLANKLINES",
    "IGNOREHEADER",
    "JSON",
    "LZOP",
    "MANIFEST",
    "MAXERROR",
    "NULL",
    "ORC",
    "PARQUET",
    "QUOTE",
    "REGION",
    "REMOVEQUOTES",
    "ROUNDEC",
    "SHAPEFILE",
    "STATUPDATE",
    "TIMEFORMAT",
    "TRIMBLANKS",
    "TRUNCATECOLUMNS",
    "ZSTD",
];

/// Options that COPY has and this operator refuses, each with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("IAM_ROLE", "the role belongs to the connection (extra: iam_role)"),
    ("CREDENTIALS", "credentials belong to the connection"),
    ("ACCESS_KEY_ID", "credentials belong to the connection"),
    ("SECRET_ACCESS_KEY", "credentials belong to the connection"),
    ("SESSION_TOKEN", "credentials belong to the connection"),
    ("MASTER_SYMMETRIC_KEY", "keys belong to the connection (extra: master_symmetric_key); write encrypted only"),
    ("NOLOAD", "it would load nothing and look like a success"),
    ("SSH", "rows come from objects in S3"),
    ("READRATIO", "rows come from objects in S3"),
    ("ADDQUOTES", "it belongs to UNLOAD"),
    ("ALLOWOVERWRITE", "it belongs to UNLOAD"),
    ("PARALLEL", "it belongs to UNLOAD"),
    ("HEADER", "it belongs to UNLOAD; to pass over header lines write ignoreheader 1"),
];

/// Names of formats; a file has one.
const FORMATS: &[&str] = &["CSV", "FIXEDWIDTH", "JSON", "AVRO", "PARQUET", "ORC", "SHAPEFILE"];

/// Options that the format refuses.
const EXCLUDED: &[(&str, &[&str])] = &[
    ("CSV", &["ESCAPE", "REMOVEQUOTES"]),
    ("FIXEDWIDTH", &["DELIMITER", "QUOTE", "ESCAPE", "REMOVEQUOTES"]),
    ("JSON", &["DELIMITER", "QUOTE", "ESCAPE", "FILLRECORD", "IGNOREBLANKLINES", "NULL", "REMOVEQUOTES"]),
    (
        "AVRO",
        &[
            "DELIMITER",
            "QUOTE",
            "ESCAPE",
            "FILLRECORD",
            "IGNOREBLANKLINES",
            "IGNOREHEADER",
            "NULL",
            "REMOVEQUOTES",
            "GZIP",
            "BZIP2",
            "LZOP",
            "ZSTD",
        ],
    ),
    ("SHAPEFILE", &["DELIMITER", "QUOTE", "ESCAPE", "IGNOREHEADER", "NULL", "REMOVEQUOTES", "FILLRECORD"]),
];

/// The only options that columnar formats take.
const COLUMNAR: &[&str] = &["ACCEPTINVCHARS", "FILLRECORD", "STATUPDATE", "MANIFEST", "EXPLICIT_IDS"];

/// Options that mean text in lines with a delimiter, which is COPY's own format when none is named.
const DELIMITED: &[&str] = &["DELIMITER", "ESCAPE", "REMOVEQUOTES"];

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
    let is_harmless =
        |option: &str| option == KNOWN_EVERYWHERE || WITHOUT_EFFECT.iter().any(|name| option.starts_with(name));
    if engine == "redshift" {
        return Vec::new();
    }
    let kind = match &format.kind {
        FileKind::Csv | FileKind::Parquet => None,
        FileKind::Delimited => Some("TEXT THAT IS NOT CSV"),
        FileKind::Other(name) => name.split(' ').next(),
    };
    kind.into_iter().chain(format.other.iter().map(String::as_str).filter(|option| !is_harmless(option))).collect()
}

#[derive(Default)]
struct Reader {
    options: CopyOptions,
    seen: Vec<String>,
    problems: Vec<String>,
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
    #[expect(clippy::too_many_lines, reason = "a table: an arm for each option")]
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
            "CSV" => None,
            "MANIFEST" => {
                self.options.is_manifest = true;
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
            "ZSTD" => {
                format.zstd = true;
                None
            }
            "PARQUET" => {
                format.kind = FileKind::Parquet;
                None
            }
            "ORC" => {
                format.kind = FileKind::Other("ORC".to_owned());
                None
            }
            "FIXEDWIDTH" | "JSON" | "AVRO" => match cursor.quoted() {
                Some(text) if is_plain(&text) => {
                    format.kind = FileKind::Other(format!("{name} '{}'", text.replace('\'', "''")));
                    None
                }
                _ => Some(match name {
                    "FIXEDWIDTH" => {
                        "fixedwidth needs labels and widths in quotes, such as fixedwidth 'id:8,name:20'".to_owned()
                    }
                    "JSON" => {
                        "json needs 'auto', 'auto ignorecase', 'noshred' or the place of a file of paths in quotes"
                            .to_owned()
                    }
                    _ => "avro needs 'auto', 'auto ignorecase' or the place of a file of paths in quotes".to_owned(),
                }),
            },
            "SHAPEFILE" => {
                let simplify = cursor.skip_word("SIMPLIFY");
                let auto = simplify && cursor.skip_word("AUTO");
                let text = if auto { "SHAPEFILE SIMPLIFY AUTO" } else { "SHAPEFILE" };
                format.kind = FileKind::Other(text.to_owned());
                (simplify && !auto).then(|| "shapefile takes simplify auto only".to_owned())
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
            "BZIP2" | "LZOP" | "ACCEPTANYDATE" | "EXPLICIT_IDS" | "FILLRECORD" | "IGNOREBLANKLINES" | "ROUNDEC"
            | "TRIMBLANKS" | "ENCRYPTED" | "ESCAPE" | "REMOVEQUOTES" => {
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
        let has = |name: &str| self.seen.iter().any(|seen| seen == name);
        let mut problems = Vec::new();
        let formats: Vec<&str> = FORMATS.iter().copied().filter(|name| has(name)).collect();
        match formats.as_slice() {
            [] if DELIMITED.iter().any(|name| has(name)) => self.options.format.kind = FileKind::Delimited,
            [] if is_whole && self.problems.is_empty() => problems.push(
                "the format is missing: write csv first (or parquet, json 'auto', …; text with a delimiter is named by it: \
                 delimiter '|')"
                    .to_owned(),
            ),
            [] | [_] => {}
            several => problems.push(format!(
                "{} exclude each other: a file has one format",
                several.join(" and ").to_ascii_lowercase()
            )),
        }
        if let [only] = formats.as_slice() {
            for option in self.seen.iter().filter(|seen| seen != only) {
                let is_columnar = matches!(*only, "PARQUET" | "ORC");
                let excluded = EXCLUDED.iter().find(|(name, _)| name == only).map_or(&[][..], |(_, list)| list);
                if excluded.contains(&option.as_str())
                    || (is_columnar && !COLUMNAR.contains(&option.as_str()) && !FORMATS.contains(&option.as_str()))
                {
                    problems.push(format!(
                        "{} refuses {}{}",
                        only.to_ascii_lowercase(),
                        option.to_ascii_lowercase(),
                        why(only, option)
                    ));
                }
            }
        }
        let format = &self.options.format;
        let is_text = matches!(format.kind, FileKind::Csv);
        if has("QUOTE") && format.kind == FileKind::Delimited {
            problems.push("quote has a meaning with csv only".to_owned());
        }
        if is_text && format.delimiter.unwrap_or(',') == format.quote.unwrap_or('"') {
            problems.push("delimiter and quote must not be the same character".to_owned());
        }
        if let Some(marker) = &format.null_as {
            if marker.contains(['\n', '\r']) {
                problems.push("null as must not hold a line end, which separates the rows".to_owned());
            }
            if is_text && marker.contains(format.delimiter.unwrap_or(',')) {
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

/// What can stand in a literal without meaning anything else there.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\\', '\n', '\r', '\0'])
}

fn why(format: &str, option: &str) -> &'static str {
    match (format, option) {
        ("CSV", "ESCAPE") => ": in CSV a quote is doubled instead",
        ("CSV", "REMOVEQUOTES") => ", which it does by itself",
        ("PARQUET" | "ORC", "GZIP" | "BZIP2" | "LZOP" | "ZSTD") => ": the file says itself how it is compressed",
        ("PARQUET" | "ORC", "MAXERROR") => ": the first bad value ends the load",
        ("PARQUET" | "ORC", "REGION") => ": the bucket must be in the cluster's region",
        ("PARQUET" | "ORC", _) => ": it takes acceptinvchars, fillrecord, statupdate and explicit_ids only",
        _ => "",
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
            (&["gzip"], "the format is missing"),
            (&["csv", "fixedwidth '1:2'"], "csv and fixedwidth exclude each other"),
            (&["csv", "escape"], "csv refuses escape"),
            (&["csv removequotes"], "csv refuses removequotes"),
            (&["parquet", "maxerror 3"], "parquet refuses maxerror"),
            (&["format as parquet", "gzip"], "parquet refuses gzip: the file says itself"),
            (&["parquet", "region 'eu-west-1'"], "parquet refuses region"),
            (&["orc", "ignoreheader 1"], "orc refuses ignoreheader"),
            (&["json 'auto'", "null as 'x'"], "json refuses null"),
            (&["json"], "json needs 'auto'"),
            (&["avro 'auto'", "gzip"], "avro refuses gzip"),
            (&["fixedwidth 'a:1'", "delimiter '|'"], "fixedwidth refuses delimiter"),
            (&["delimiter '|'", "quote '\"'"], "quote has a meaning with csv only"),
            (&["shapefile simplify 0.1"], "simplify auto only"),
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
    fn every_format_of_copy_is_taken() {
        let kind = |texts: &[&str]| read(texts).unwrap().format.kind;
        assert_eq!(kind(&["parquet", "statupdate off", "acceptinvchars"]), FileKind::Parquet);
        assert_eq!(kind(&["delimiter '|'", "escape", "removequotes", "maxerror 3"]), FileKind::Delimited);
        assert_eq!(
            kind(&["format as json 'auto ignorecase'", "gzip"]),
            FileKind::Other("JSON 'auto ignorecase'".into())
        );
        assert_eq!(kind(&["fixedwidth 'id:3,name:9'"]), FileKind::Other("FIXEDWIDTH 'id:3,name:9'".into()));
        assert_eq!(kind(&["orc"]), FileKind::Other("ORC".into()));
        assert!(read(&["csv", "zstd", "encrypted"]).unwrap().format.zstd);
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
