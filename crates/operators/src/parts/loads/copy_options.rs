//! COPY's options as people write them (`csv`, `ignoreheader 1`, `null as '\N'`), read and checked against each other.

use millrace_operator_api::ports::{CsvFormat, FileKind};

use crate::parts::option_words::{Cursor, Token, is_fixed_width, one_character, tokens, unknown};

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
const WITHOUT_EFFECT: &[&str] = &["IGNOREBLANKLINES", "STATUPDATE", "COMPUPDATE", "COMPROWS", "REGION"];
/// What every engine knows how to do.
const KNOWN_EVERYWHERE: [&str; 2] = ["ROUNDEC", "FILLRECORD"];

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
    "NOLOAD",
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
const COLUMNAR: &[&str] = &["ACCEPTINVCHARS", "EXPLICIT_IDS", "FILLRECORD", "STATUPDATE", "MANIFEST"];

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
        |option: &str| KNOWN_EVERYWHERE.contains(&option) || WITHOUT_EFFECT.iter().any(|name| option.starts_with(name));
    if engine == "redshift" {
        return Vec::new();
    }
    let kind = match &format.kind {
        FileKind::Csv | FileKind::Parquet => None,
        FileKind::Delimited => Some("TEXT THAT IS NOT CSV"),
        FileKind::Other(name) => name.split(' ').next(),
    };
    // The forms that 'auto' knows are read by every engine.
    let is_form = |form: &Option<String>| form.as_deref().is_some_and(|form| !form.eq_ignore_ascii_case("auto"));
    let forms = [("DATEFORMAT", &format.date_format), ("TIMEFORMAT", &format.time_format)];
    let forms = forms.into_iter().filter(|(_, form)| is_form(form)).map(|(name, _)| name);
    let others = format.other.iter().map(String::as_str).filter(|option| !is_harmless(option));
    kind.into_iter().chain(forms).chain(others).collect()
}

/// The files are checked, and nothing is loaded.
pub fn loads_nothing(format: &CsvFormat) -> bool {
    format.other.iter().any(|option| option == "NOLOAD")
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
                Some(text) if is_plain(&text) && is_read_by(name, &text) => {
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
            "DATEFORMAT" => match cursor.quoted().filter(|text| is_date_format(text)) {
                Some(text) => {
                    format.date_format = Some(text);
                    None
                }
                None => {
                    Some("dateformat needs 'auto' or year, month and day in quotes, such as 'DD.MM.YYYY'".to_owned())
                }
            },
            "TIMEFORMAT" => match cursor.quoted().filter(|text| is_time_format(text)) {
                Some(text) => {
                    format.time_format = Some(text);
                    None
                }
                None => Some(
                    "timeformat needs 'auto', 'epochsecs', 'epochmillisecs' or the parts of a time in quotes, such as \
                     'DD.MM.YYYY HH:MI:SS'"
                        .to_owned(),
                ),
            },
            "BZIP2" | "LZOP" | "ACCEPTANYDATE" | "FILLRECORD" | "IGNOREBLANKLINES" | "ROUNDEC" | "TRIMBLANKS"
            | "ENCRYPTED" | "ESCAPE" | "REMOVEQUOTES" | "EXPLICIT_IDS" | "NOLOAD" => {
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
            "COMPROWS" => match cursor.number().filter(|rows| *rows > 0) {
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
                self.problem(unknown("COPY", KNOWN, name));
                return false;
            }
        };
        let is_understood = problem.is_none();
        self.problems.extend(problem);
        is_understood
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

/// Whether COPY knows such a value of the format.
fn is_read_by(format: &str, text: &str) -> bool {
    let is_place = text.strip_prefix("s3://").is_some_and(|place| place.contains('/'));
    match format {
        "FIXEDWIDTH" => is_fixed_width(text),
        "JSON" => is_place || ["auto", "auto ignorecase", "noshred"].contains(&text),
        _ => is_place || ["auto", "auto ignorecase"].contains(&text),
    }
}

/// One that names any part of a date: which of them are needed is for Redshift to say.
fn is_date_format(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    upper == "AUTO" || ["YY", "MM", "MON", "DD"].iter().any(|part| upper.contains(part))
}

fn is_time_format(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    ["AUTO", "EPOCHSECS", "EPOCHMILLISECS"].contains(&upper.as_str()) || upper.contains("HH") || is_date_format(text)
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
        ("PARQUET" | "ORC", _) => ": it takes acceptinvchars, explicit_ids, fillrecord and statupdate only",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
