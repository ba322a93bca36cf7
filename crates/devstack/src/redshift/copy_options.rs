//! COPY as it is written: where from, into what, and how to read it.

use sqlparser::tokenizer::Token;

use super::answer::SqlError;
use super::source::Source;
use super::tokens::{Cursor, Name, Piece};

/// An `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) bucket: String,
    pub(super) key: String,
}

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self, SqlError> {
        let (bucket, key) = url
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(bucket, _)| !bucket.is_empty())
            .ok_or_else(|| {
                SqlError::new(format!("Invalid S3 URI: \"{url}\" (the stand-in reads s3://bucket/key only)"))
            })?;
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

/// How bytes become fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv {
        quote: u8,
    },
    Delimited,
    /// By order; the file knows its NULLs.
    Parquet,
}

/// How texts become dates and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TimeFormat {
    #[default]
    Standard,
    Auto,
    EpochSeconds,
    EpochMilliseconds,
}

/// A COPY statement.
#[derive(Debug, Clone)]
pub(super) struct CopyStatement {
    pub(super) table: Name,
    pub(super) columns: Option<Vec<String>>,
    pub(super) from: Location,
    pub(super) manifest: bool,
    pub(super) format: Format,
    pub(super) delimiter: u8,
    pub(super) gzip: bool,
    pub(super) zstd: bool,
    /// Lines left out at the start of each file.
    pub(super) ignore_header: u64,
    pub(super) null_as: String,
    pub(super) empty_as_null: bool,
    pub(super) blanks_as_null: bool,
    pub(super) ignore_blank_lines: bool,
    pub(super) fill_record: bool,
    pub(super) trim_blanks: bool,
    pub(super) truncate_columns: bool,
    pub(super) round_decimals: bool,
    /// What replaces a character that is not UTF-8; `None` refuses it.
    pub(super) replace_invalid: Option<char>,
    pub(super) accept_any_date: bool,
    pub(super) date_auto: bool,
    pub(super) time_format: TimeFormat,
    /// Rows that may fail.
    pub(super) max_errors: u64,
    pub(super) explicit_ids: bool,
    pub(super) no_load: bool,
}

/// Reads COPY table [(columns)] FROM 's3://…' authorization options.
pub(super) fn parse_copy(source: &Source<'_>) -> Result<CopyStatement, SqlError> {
    let mut cursor = Cursor::new(source.pieces);
    cursor.expect_word("copy")?;
    let table = cursor.expect_name()?;
    let columns = match cursor.peek() {
        Some(piece) if piece.token == Token::LParen => Some(cursor.expect_columns()?),
        _ => None,
    };
    cursor.expect_word("from")?;
    let url = cursor.expect_string()?;
    let mut options = Options::default();
    let mut copy = CopyStatement {
        table,
        columns,
        from: Location::parse(url)?,
        manifest: false,
        format: Format::Delimited,
        delimiter: b'|',
        gzip: false,
        zstd: false,
        ignore_header: 0,
        null_as: "\\N".to_owned(),
        empty_as_null: false,
        blanks_as_null: false,
        ignore_blank_lines: false,
        fill_record: false,
        trim_blanks: false,
        truncate_columns: false,
        round_decimals: false,
        replace_invalid: None,
        accept_any_date: false,
        date_auto: false,
        time_format: TimeFormat::Standard,
        max_errors: 0,
        explicit_ids: false,
        no_load: false,
    };
    while cursor.peek().is_some() {
        if !options.authorization.take(&mut cursor)? {
            options.take(&mut cursor, &mut copy)?;
        }
    }
    options.authorization.require()?;
    options.finish(&mut copy)?;
    Ok(copy)
}

/// How the statement proves that it may read or write the bucket. Any well-formed one is as good as another here.
#[derive(Debug, Default)]
pub(super) struct Authorization {
    role: bool,
    credentials: bool,
    access_key: bool,
    secret_key: bool,
}

impl Authorization {
    /// Takes one clause when it comes next.
    pub(super) fn take(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, SqlError> {
        if cursor.take_words(&["iam_role"]) {
            self.role = true;
            if cursor.take_words(&["default"]) {
                return Ok(true);
            }
            for role in cursor.expect_string()?.split(',') {
                check_role(role)?;
            }
        } else if cursor.take_words(&["credentials"]) || cursor.take_words(&["with", "credentials"]) {
            cursor.take_words(&["as"]);
            self.credentials = true;
            check_credentials(cursor.expect_string()?)?;
        } else if cursor.take_words(&["access_key_id"]) {
            cursor.expect_string()?;
            self.access_key = true;
        } else if cursor.take_words(&["secret_access_key"]) {
            cursor.expect_string()?;
            self.secret_key = true;
        } else if cursor.take_words(&["session_token"]) {
            cursor.expect_string()?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn require(&self) -> Result<(), SqlError> {
        let keys = self.access_key && self.secret_key;
        match usize::from(self.role) + usize::from(self.credentials) + usize::from(keys) {
            1 => Ok(()),
            0 => Err(SqlError::new(
                "CREDENTIALS argument is required: name IAM_ROLE, CREDENTIALS, or ACCESS_KEY_ID and SECRET_ACCESS_KEY",
            )),
            _ => Err(SqlError::new("Invalid credentials: name one kind of authorization only")),
        }
    }
}

fn check_role(role: &str) -> Result<(), SqlError> {
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let well_formed = matches!(parts.as_slice(), ["arn", partition, "iam", "", account, resource]
        if partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) && resource.starts_with("role/"));
    if well_formed {
        Ok(())
    } else {
        Err(SqlError::new("Invalid IAM role: expected arn:aws:iam::<12 digits>:role/<name>"))
    }
}

fn check_credentials(text: &str) -> Result<(), SqlError> {
    let mut key = false;
    let mut secret = false;
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("aws_iam_role", role)) => return check_role(role),
            Some(("aws_access_key_id", _)) => key = true,
            Some(("aws_secret_access_key", _)) => secret = true,
            Some(("token" | "master_symmetric_key", _)) => {}
            // The text may hold a secret: it is not repeated.
            _ => return Err(SqlError::new("Invalid credentials: expected key=value pairs separated by semicolons")),
        }
    }
    if key && secret { Ok(()) } else { Err(SqlError::new("Invalid credentials: role or key and secret are missing")) }
}

/// Options that have a meaning for files of text only.
const OF_TEXTS: &[&str] = &[
    "csv",
    "quote",
    "delimiter",
    "gzip",
    "zstd",
    "ignoreheader",
    "null",
    "emptyasnull",
    "blanksasnull",
    "ignoreblanklines",
    "trimblanks",
    "truncatecolumns",
    "roundec",
    "acceptanydate",
    "dateformat",
    "timeformat",
    "maxerror",
    "region",
    "compupdate",
];

/// What was said, to refuse what does not go together.
#[derive(Debug, Default)]
struct Options {
    authorization: Authorization,
    csv: bool,
    parquet: bool,
    /// What was said besides, that a columnar format does not take.
    of_texts: Vec<&'static str>,
    quote: Option<u8>,
    delimiter: Option<u8>,
}

impl Options {
    #[expect(clippy::too_many_lines, reason = "a table: an arm for each option")]
    fn take(&mut self, cursor: &mut Cursor<'_>, copy: &mut CopyStatement) -> Result<(), SqlError> {
        if cursor.take_words(&["format"]) {
            cursor.take_words(&["as"]);
        }
        let word = cursor.peek().and_then(Piece::word).ok_or_else(|| cursor.unexpected())?;
        let not_emulated = |what: &str| Err(SqlError::not_emulated(&format!("COPY … {}", what.to_ascii_uppercase())));
        let before = cursor.clone();
        cursor.next();
        let of_texts = OF_TEXTS.iter().find(|known| **known == word.as_str());
        self.of_texts.extend(of_texts);
        match word.as_str() {
            "csv" => self.csv = true,
            "parquet" => self.parquet = true,
            "quote" => {
                cursor.take_words(&["as"]);
                self.quote = Some(one_byte(cursor.expect_string()?, "QUOTE")?);
            }
            "delimiter" => {
                cursor.take_words(&["as"]);
                self.delimiter = Some(one_byte(cursor.expect_string()?, "DELIMITER")?);
            }
            "manifest" => copy.manifest = true,
            "gzip" => copy.gzip = true,
            "zstd" => copy.zstd = true,
            "ignoreheader" => {
                cursor.take_words(&["as"]);
                copy.ignore_header = unsigned(cursor.expect_number()?, "IGNOREHEADER")?;
            }
            "null" => {
                cursor.take_words(&["as"]);
                copy.null_as = null_marker(cursor.expect_string()?);
            }
            "emptyasnull" => copy.empty_as_null = true,
            "blanksasnull" => copy.blanks_as_null = true,
            "ignoreblanklines" => copy.ignore_blank_lines = true,
            "fillrecord" => copy.fill_record = true,
            "trimblanks" => copy.trim_blanks = true,
            "truncatecolumns" => copy.truncate_columns = true,
            "roundec" => copy.round_decimals = true,
            "acceptinvchars" => {
                cursor.take_words(&["as"]);
                let replacement = match cursor.peek().and_then(Piece::string) {
                    Some(text) => {
                        cursor.next();
                        let mut characters = text.chars();
                        match (characters.next(), characters.next()) {
                            (Some(one), None) if one.is_ascii() && one != '\0' => one,
                            _ => return Err(SqlError::new("ACCEPTINVCHARS takes one ASCII character")),
                        }
                    }
                    None => '?',
                };
                copy.replace_invalid = Some(replacement);
            }
            "acceptanydate" => copy.accept_any_date = true,
            "dateformat" => {
                cursor.take_words(&["as"]);
                let format = cursor.expect_string()?;
                copy.date_auto = match format {
                    "auto" => true,
                    "YYYY-MM-DD" => false,
                    _ => return not_emulated(&format!("DATEFORMAT '{format}'")),
                };
            }
            "timeformat" => {
                cursor.take_words(&["as"]);
                let format = cursor.expect_string()?;
                copy.time_format = match format {
                    "auto" => TimeFormat::Auto,
                    "epochsecs" => TimeFormat::EpochSeconds,
                    "epochmillisecs" => TimeFormat::EpochMilliseconds,
                    "YYYY-MM-DD HH:MI:SS" | "YYYY-MM-DD HH24:MI:SS" => TimeFormat::Standard,
                    _ => return not_emulated(&format!("TIMEFORMAT '{format}'")),
                };
            }
            "maxerror" => {
                cursor.take_words(&["as"]);
                copy.max_errors = unsigned(cursor.expect_number()?, "MAXERROR")?;
                if copy.max_errors > 100_000 {
                    return Err(SqlError::new("MAXERROR must be between 0 and 100000"));
                }
            }
            "explicit_ids" => copy.explicit_ids = true,
            "noload" => copy.no_load = true,
            "region" => {
                cursor.take_words(&["as"]);
                cursor.expect_string()?;
            }
            "statupdate" | "compupdate" => take_switch(cursor),
            "comprows" => {
                cursor.expect_number()?;
            }
            "encoding" => {
                cursor.take_words(&["as"]);
                let utf8 = cursor.peek().is_some_and(|piece| {
                    piece.is_word("utf8") || piece.string().is_some_and(|text| text.eq_ignore_ascii_case("utf8"))
                });
                if !utf8 {
                    return not_emulated("ENCODING other than UTF8");
                }
                cursor.next();
            }
            what @ ("fixedwidth"
            | "json"
            | "avro"
            | "orc"
            | "shapefile"
            | "bzip2"
            | "lzop"
            | "escape"
            | "removequotes"
            | "encrypted"
            | "master_symmetric_key"
            | "ssh"
            | "readratio") => {
                if self.csv && matches!(what, "fixedwidth" | "removequotes" | "escape") {
                    return Err(SqlError::new(format!("CSV is not compatible with {}", what.to_ascii_uppercase())));
                }
                return not_emulated(what);
            }
            _ => return Err(before.unexpected()),
        }
        Ok(())
    }

    fn finish(self, copy: &mut CopyStatement) -> Result<(), SqlError> {
        if copy.gzip && copy.zstd {
            return Err(SqlError::new("GZIP is not compatible with ZSTD"));
        }
        if self.parquet {
            if let Some(option) = self.of_texts.first() {
                let option = option.to_ascii_uppercase();
                return Err(SqlError::new(format!("{option} argument is not supported for PARQUET based COPY")));
            }
            copy.format = Format::Parquet;
            // No text can be it: the file knows its NULLs.
            "\0\0".clone_into(&mut copy.null_as);
            return Ok(());
        }
        if self.quote.is_some() && !self.csv {
            return Err(SqlError::new("QUOTE is allowed with CSV only"));
        }
        copy.format = if self.csv { Format::Csv { quote: self.quote.unwrap_or(b'"') } } else { Format::Delimited };
        copy.delimiter = self.delimiter.unwrap_or(if self.csv { b',' } else { b'|' });
        if copy.format == (Format::Csv { quote: copy.delimiter }) {
            return Err(SqlError::new("QUOTE and DELIMITER must differ"));
        }
        Ok(())
    }
}

/// ON, OFF, TRUE, FALSE, PRESET, or nothing.
fn take_switch(cursor: &mut Cursor<'_>) {
    let _ = ["on", "off", "true", "false", "preset"].iter().any(|word| cursor.take_words(&[word]));
}

fn unsigned(number: i64, option: &str) -> Result<u64, SqlError> {
    u64::try_from(number).map_err(|_| SqlError::new(format!("{option} must not be negative")))
}

/// One ASCII character, perhaps written as `\t`, `\001` or `\x01`.
fn one_byte(text: &str, option: &str) -> Result<u8, SqlError> {
    let wrong = || SqlError::new(format!("{option} must be a single ASCII character"));
    let code = match text.as_bytes() {
        [byte] => *byte,
        [b'\'', b'\''] => b'\'',
        [b'\\', b'\\'] => b'\\',
        [b'\\', b't'] | [b'\\', b'\\', b't'] => b'\t',
        [b'\\', b'x' | b'X', digits @ ..] => {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            u8::from_str_radix(digits, 16).map_err(|_| wrong())?
        }
        [b'\\', digits @ ..] if !digits.is_empty() => {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            u8::from_str_radix(digits, 8).map_err(|_| wrong())?
        }
        _ => return Err(wrong()),
    };
    if code.is_ascii() && code != b'\n' && code != b'\r' { Ok(code) } else { Err(wrong()) }
}

/// `'\N'` and `'\\N'` are the same marker; `'\0'` and `'\000'` are the NUL character.
fn null_marker(text: &str) -> String {
    match text {
        "\\0" | "\\000" => "\0".to_owned(),
        text => text.replace("\\\\", "\\").replace("''", "'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redshift::tokens::tokenize;

    fn check(options: &str) -> Result<CopyStatement, SqlError> {
        let text = format!("COPY s.t (a, B) FROM 's3://lake/x/y' {options}");
        let pieces = tokenize(&text)?;
        parse_copy(&Source { text: &text, pieces: &pieces })
    }

    const ROLE: &str = "IAM_ROLE 'arn:aws:iam::123456789012:role/load'";

    #[test]
    fn options_are_understood() -> Result<(), SqlError> {
        let copy = check(&format!(
            "{ROLE} FORMAT AS CSV QUOTE AS '%' GZIP MANIFEST DELIMITER '\\t' IGNOREHEADER 1 NULL AS '\\N' EMPTYASNULL \
             TIMEFORMAT 'auto' MAXERROR 5 STATUPDATE OFF COMPUPDATE PRESET REGION 'eu-west-1' ACCEPTINVCHARS AS '^'"
        ))?;
        assert_eq!(copy.columns.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(copy.format, Format::Csv { quote: b'%' });
        assert_eq!(copy.delimiter, b'\t');
        assert_eq!(copy.null_as, "\\N");
        assert_eq!(copy.replace_invalid, Some('^'));
        assert_eq!((copy.gzip, copy.manifest, copy.ignore_header, copy.max_errors), (true, true, 1, 5));
        Ok(())
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (options, message) in [
            ("CSV", "CREDENTIALS argument is required"),
            ("IAM_ROLE 'role/load' CSV", "Invalid IAM role"),
            ("CREDENTIALS 'aws_access_key_id=a' CSV", "Invalid credentials"),
            (&format!("{ROLE} QUOTE '%'"), "QUOTE is allowed with CSV only"),
            (&format!("{ROLE} CSV ESCAPE"), "CSV is not compatible with ESCAPE"),
            (&format!("{ROLE} CSV GZIP ZSTD"), "GZIP is not compatible with ZSTD"),
            (&format!("{ROLE} CSV HEADER"), "syntax error at or near \"HEADER\""),
            (&format!("{ROLE} CSV MAXERROR 100001"), "MAXERROR must be between"),
            (&format!("{ROLE} ORC"), "does not emulate COPY … ORC"),
            (&format!("{ROLE} FORMAT AS PARQUET GZIP"), "GZIP argument is not supported for PARQUET based COPY"),
        ] {
            match check(options) {
                Ok(_) => panic!("{options} was taken"),
                Err(error) => assert!(error.message().contains(message), "{options}: {error}"),
            }
        }
    }
}
