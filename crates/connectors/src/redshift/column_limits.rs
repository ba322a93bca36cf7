//! What COPY would refuse or cut in rows that go to Redshift by files, found while they are read: the rules of rows that go
//! straight, value by value, with a glance before them that most values pass.

use memchr::memchr;
use millrace_operator_api::ports::{ColumnLimit, CsvFormat, FileKind, ValueType};

use crate::parts::dialect::Dialect;
use crate::parts::exact::Keeps;
use crate::parts::room;
use crate::redshift::limits::{LONGEST_SUPER, Limit, is_plain_day};

/// What a column of the type keeps of a value that it takes.
pub fn keeps_of(type_name: &str) -> Keeps {
    match Limit::of(type_name) {
        Limit::Float { is_double } => Keeps::Float { is_double },
        Limit::Decimal { .. } | Limit::Timestamp => Keeps::of_postgres(type_name),
        Limit::Date => Keeps::of_postgres("date"),
        Limit::Nothing if is_clock(type_name) => Keeps::of_postgres(type_name),
        _ => Keeps::All,
    }
}

/// A time of day or a length of time: the engine reads them, and drops what it has no place for.
fn is_clock(type_name: &str) -> bool {
    type_name.starts_with("time") || type_name.starts_with("interval")
}

struct RedshiftColumn {
    limit: Limit,
    keeps: Keeps,
    value: ValueType,
    may_round: bool,
    may_cut: bool,
    blanks_as_null: bool,
    /// A value of no bytes would become NULL.
    loses_empty: bool,
}

pub fn column_limit(type_name: &str, value: &ValueType, format: &CsvFormat) -> Option<Box<dyn ColumnLimit>> {
    let limit = Limit::of(type_name);
    let is_read_as_told = format.date_format.is_some() || format.time_format.is_some();
    let is_surely_held = match (&limit, value) {
        (Limit::Nothing, _) => !is_clock(type_name),
        (Limit::Boolean, ValueType::Bool) => true,
        // How they are written is for COPY to know.
        (Limit::Date | Limit::Timestamp, _) => is_read_as_told,
        (Limit::Integer { .. } | Limit::Decimal { .. }, ValueType::Integer { .. } | ValueType::Bit { .. }) => {
            room::holds(type_name, value, Dialect::Redshift)
        }
        (Limit::Integer { .. }, ValueType::Year) => true,
        (Limit::Float { is_double }, ValueType::Float { bits }) => *is_double || *bits <= 32,
        _ => false,
    };
    if is_surely_held {
        return None;
    }
    let is_bytes = matches!((&limit, value), (Limit::Varbyte(_), ValueType::Bytes { .. }));
    Some(Box::new(RedshiftColumn {
        keeps: keeps_of(type_name),
        limit,
        value: value.clone(),
        may_round: format.may_round(),
        may_cut: format.truncate_columns,
        blanks_as_null: format.blanks_as_null,
        loses_empty: is_bytes && format.kind == FileKind::Csv && !format.empty_as_null,
    }))
}

impl RedshiftColumn {
    /// True where the first look shows that the value is held.
    fn is_plain(&self, value: &[u8]) -> bool {
        match &self.limit {
            Limit::Integer { highest, .. } => {
                // One digit less than the highest has.
                let digits = value.strip_prefix(b"-").unwrap_or(value);
                let most = if *highest > i128::from(i32::MAX) { 18 } else { 4 };
                !digits.is_empty() && digits.len() <= most && digits.iter().all(u8::is_ascii_digit)
            }
            Limit::Decimal { precision, scale } => {
                let digits = value.strip_prefix(b"-").unwrap_or(value);
                let point = memchr(b'.', digits).unwrap_or(digits.len());
                let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
                !whole.is_empty()
                    && whole.len() <= precision.saturating_sub(*scale)
                    && fraction.len() <= *scale
                    && whole.iter().chain(fraction).all(u8::is_ascii_digit)
            }
            Limit::Date => value.len() == 10 && is_plain_day(value),
            Limit::Timestamp => value.len() >= 19 && is_plain_day(value) && self.keeps.is_plain(value),
            Limit::Super => self.value == ValueType::Json && value.len() <= LONGEST_SUPER,
            Limit::Varbyte(most) => matches!(self.value, ValueType::Bytes { .. }) && value.len() / 2 <= *most,
            _ => false,
        }
    }

    fn text_refusal(&self, value: &[u8]) -> Option<String> {
        if memchr(0, value).is_some() {
            return Some(
                "holds a NUL byte, which Redshift's text cannot hold; take it out in the query, or by nul_bytes: remove \
                 of table_copy, or of a load without files (sql_conn_id)"
                    .to_owned(),
            );
        }
        match &self.limit {
            Limit::Varchar(most) if self.may_cut || value.len() <= *most => None,
            Limit::Char(_) if self.may_cut && value.is_ascii() => None,
            limit => limit.refusal(value),
        }
    }
}

impl ColumnLimit for RedshiftColumn {
    fn refusal(&self, value: &[u8]) -> Option<String> {
        if value.is_empty() && self.loses_empty {
            return Some(
                "has no bytes, and COPY takes such a field of a CSV file for NULL in a VARBYTE column; let table_copy \
                 move it, which keeps it, or write NULLIF(column, '') in the query if NULL is meant"
                    .to_owned(),
            );
        }
        // Becomes NULL or stays a text of no characters.
        if value.is_empty() || (self.blanks_as_null && value.iter().all(u8::is_ascii_whitespace)) {
            return None;
        }
        if matches!(self.limit, Limit::Varchar(_) | Limit::Char(_)) {
            return self.text_refusal(value);
        }
        if self.is_plain(value) {
            return None;
        }
        self.limit.refusal(value).or_else(|| self.keeps.change(value, self.may_round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(type_name: &str, value: &ValueType, text: &str, format: &CsvFormat) -> Option<String> {
        column_limit(type_name, value, format)?.refusal(text.as_bytes())
    }

    #[test]
    fn every_limit_is_known_before_the_load() {
        let unsigned = ValueType::Integer { bits: 64, signed: false };
        let decimal = ValueType::Decimal { precision: None, scale: None };
        let moment = ValueType::Timestamp { zoned: true };
        let clock = ValueType::Timestamp { zoned: false };
        let bytes = ValueType::Bytes { max_bytes: None };
        let refused = [
            ("character varying(5)", ValueType::TEXT, "주문", "is 6 bytes long"),
            ("character varying(9)", ValueType::TEXT, "a\0b", "a NUL byte"),
            ("character(3)", ValueType::TEXT, "é", "more than one byte"),
            ("bigint", unsigned.clone(), "9223372036854775808", "out of the range of bigint"),
            ("smallint", ValueType::Integer { bits: 32, signed: true }, "32768", "out of the range"),
            ("integer", ValueType::TEXT, "12.0", "not a whole number"),
            ("numeric(18,2)", decimal.clone(), "12345678901234567.00", "17 digits before the point"),
            ("numeric(18,2)", decimal.clone(), "1.005", "roundec"),
            ("numeric(18,2)", decimal.clone(), "NaN", "not a number"),
            ("real", ValueType::Float { bits: 64 }, "0.1234567890123", "more digits than real"),
            ("timestamp without time zone", clock.clone(), "infinity", "not a timestamp"),
            ("timestamp without time zone", clock.clone(), "0000-00-00 00:00:00", "zero_dates: null"),
            ("timestamp without time zone", clock.clone(), "0044-03-15 00:00:00 BC", "years 1 to 9999"),
            ("date", ValueType::Date, "0044-03-15 BC", "years 1 to 9999"),
            ("date", clock, "2024-02-29 10:00:00", "time of day"),
            ("date", ValueType::TEXT, "today", "the moment of the load"),
            ("timestamp with time zone", ValueType::TEXT, "now", "the moment of the load"),
            ("super", ValueType::TEXT, "{", "not JSON"),
            ("varbyte(1)", bytes.clone(), "00ff", "2 bytes long"),
            ("time without time zone", ValueType::TEXT, "10:00:00+09", "an offset from UTC"),
            ("time without time zone", ValueType::TEXT, "anything", "write it as 10:20:30.5"),
            ("interval year to month", ValueType::TEXT, "1 mon 2 days", "less than a month"),
            ("varbyte(1)", bytes.clone(), "", "for NULL in a VARBYTE column; let table_copy move it"),
        ];
        for (type_name, value, text, reason) in refused {
            let said = refusal(type_name, &value, text, &CsvFormat::default()).unwrap_or_default();
            assert!(said.contains(reason), "{type_name} {value} {text}: {said}");
        }
        let longest = format!("\"{}\"", "a".repeat(LONGEST_SUPER));
        let said = refusal("super", &ValueType::Json, &longest, &CsvFormat::default()).unwrap_or_default();
        assert!(said.contains("super holds 16000000"), "{said}");
        let held = [
            ("character varying(6)", ValueType::TEXT, "주문"),
            ("bigint", unsigned, "9223372036854775807"),
            ("numeric(18,2)", decimal, "-1234567890123456.12"),
            ("timestamp with time zone", moment, "2024-02-29 23:59:59.123456+00"),
            ("date", ValueType::Date, "9999-12-31"),
            ("varbyte(2)", bytes, "00ff"),
            ("integer", ValueType::TEXT, ""),
            ("time without time zone", ValueType::TEXT, "10:00:00 PM"),
        ];
        for (type_name, value, text) in held {
            let said = refusal(type_name, &value, text, &CsvFormat::default());
            assert_eq!(said, None, "{type_name} {value} {text}");
        }
    }

    #[test]
    fn what_the_load_may_do_to_values_is_no_reason() {
        let columnar = CsvFormat { kind: FileKind::Parquet, ..CsvFormat::default() };
        assert_eq!(refusal("varbyte(1)", &ValueType::Bytes { max_bytes: None }, "", &columnar), None);
        let format = CsvFormat { truncate_columns: true, other: vec!["ROUNDEC".to_owned()], ..CsvFormat::default() };
        let decimal = ValueType::Decimal { precision: None, scale: None };
        assert_eq!(refusal("character varying(2)", &ValueType::TEXT, "주문", &format), None);
        assert_eq!(refusal("numeric(5,2)", &decimal, "1.005", &format), None);
        assert!(refusal("numeric(5,2)", &decimal, "1000", &format).is_some());
        let told = CsvFormat { date_format: Some("DD.MM.YYYY".to_owned()), ..CsvFormat::default() };
        assert_eq!(refusal("date", &ValueType::TEXT, "29.02.2024-00", &told), None);
    }

    #[test]
    fn columns_that_hold_whatever_comes_are_not_looked_at() {
        let format = CsvFormat::default();
        let is_looked_at = |type_name: &str, value: &ValueType| column_limit(type_name, value, &format).is_some();
        assert!(!is_looked_at("bigint", &ValueType::Integer { bits: 32, signed: false }));
        assert!(!is_looked_at("numeric(20,0)", &ValueType::Integer { bits: 64, signed: false }));
        assert!(!is_looked_at("double precision", &ValueType::Float { bits: 64 }));
        assert!(is_looked_at("bigint", &ValueType::Integer { bits: 64, signed: false }));
    }
}
