//! Values on their way from one database into another, where the two columns are not of one kind: `12.0` into integers,
//! texts into timestamps, '' into NULL. What needs nothing passes untouched.

mod integers;

use std::collections::BTreeMap;

use chrono::{NaiveTime, Timelike};
use memchr::memchr;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{RowBatch, SourceColumn, ValueType};

use crate::parts::loads::unknown_clock::is_moment_type;
use crate::parts::reads::reading::refused_value::RowNames;
use crate::parts::written_moments::{Forms, WrittenMoment};
pub use integers::Decimals;
use integers::integer;

/// What a column of the target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Timestamp,
    /// A timestamp with zone.
    Moment,
    Date,
    Other,
}

impl Kind {
    fn of(type_name: &str) -> Self {
        let name = type_name.to_ascii_lowercase();
        let first = name.split(['(', ' ']).next().unwrap_or_default();
        match first {
            "smallint" | "integer" | "int" | "bigint" | "int2" | "int4" | "int8" | "tinyint" | "mediumint" => {
                Self::Integer
            }
            "timestamp" | "timestamptz" | "datetime" if is_moment_type(&name) => Self::Moment,
            "timestamp" | "datetime" => Self::Timestamp,
            "date" => Self::Date,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Pass,
    EmptyIsNull,
    Integer,
    Timestamp,
    Moment,
    Date,
}

/// Brings rows into the form that the target's columns take, and remembers the highest value of one column.
pub struct Converter {
    rules: Vec<Rule>,
    texts: Vec<bool>,
    names: RowNames,
    empty_as_null: bool,
    /// Of each column whether NUL bytes are taken out of its values, and whether one had some.
    without_nul: Vec<(bool, bool)>,
    /// Empty texts so far that became NULL.
    emptied: u64,
    decimals: Decimals,
    forms: Forms,
    /// Rows so far.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    scratch: String,
    bounds: Option<Bounds>,
    merges: bool,
}

/// The lowest and the highest value of a column so far.
struct Bounds {
    column: usize,
    is_number: bool,
    lowest: Option<Vec<u8>>,
    highest: Option<Vec<u8>>,
    /// Rows that have none.
    missing: u64,
}

impl Bounds {
    fn look(&mut self, batch: &RowBatch) {
        for row in 0..batch.len() {
            let Some(cell) = batch.cell(row, self.column).filter(|cell| !cell.is_empty()) else {
                self.missing += 1;
                continue;
            };
            if self.highest.as_ref().is_none_or(|highest| self.is_above(cell, highest)) {
                self.highest = Some(cell.to_vec());
            }
            if self.lowest.as_ref().is_none_or(|lowest| self.is_above(lowest, cell)) {
                self.lowest = Some(cell.to_vec());
            }
        }
    }

    /// Days and moments are in the order of their text.
    fn is_above(&self, one: &[u8], other: &[u8]) -> bool {
        if self.is_number { number_of(one) > number_of(other) } else { one > other }
    }
}

fn number_of(cell: &[u8]) -> Option<i128> {
    std::str::from_utf8(cell).ok()?.trim().parse().ok()
}

pub struct Shape<'a> {
    pub columns: &'a [SourceColumn],
    /// For each of them the type of the target's column; `None` where it is made as the source has it.
    pub target_types: &'a [Option<String>],
    pub primary_key: &'a [String],
    pub empty_as_null: bool,
    /// Takes NUL bytes out of texts. A key keeps them: it would be another one.
    pub removes_nul: bool,
    pub decimals: Decimals,
    pub formats: Option<&'a [String]>,
    pub show_values: bool,
}

impl Converter {
    pub fn new(shape: &Shape<'_>) -> Self {
        let is_key = |column: &SourceColumn| shape.primary_key.contains(&column.name);
        let rules = shape
            .columns
            .iter()
            .zip(shape.target_types)
            .map(|(column, target)| {
                let is_text = column.value.is_text();
                let is_number =
                    matches!(column.value, ValueType::Decimal { .. } | ValueType::Float { .. } | ValueType::Money);
                match target.as_deref().map_or(Kind::Other, Kind::of) {
                    Kind::Integer if is_text || is_number => Rule::Integer,
                    Kind::Timestamp if is_text => Rule::Timestamp,
                    Kind::Moment if is_text => Rule::Moment,
                    Kind::Date if is_text => Rule::Date,
                    _ if is_text && shape.empty_as_null && !is_key(column) => Rule::EmptyIsNull,
                    _ => Rule::Pass,
                }
            })
            .collect();
        Self {
            rules,
            texts: shape.columns.iter().map(|column| column.value.is_text()).collect(),
            names: RowNames::new(shape.columns, shape.primary_key, shape.show_values),
            empty_as_null: shape.empty_as_null,
            without_nul: shape
                .columns
                .iter()
                .map(|column| (shape.removes_nul && column.value.is_text() && !is_key(column), false))
                .collect(),
            emptied: 0,
            decimals: shape.decimals,
            forms: Forms::new(shape.formats),
            rows: 0,
            bytes: 0,
            scratch: String::new(),
            bounds: None,
            merges: false,
        }
    }

    /// Rows are merged by their keys: each has to have all of them.
    pub fn merges(&mut self) {
        self.merges = true;
    }

    /// Remembers the lowest and the highest value of a column, as they go into the target.
    pub fn remember_bounds(&mut self, column: usize, is_number: bool) {
        self.bounds = Some(Bounds { column, is_number, lowest: None, highest: None, missing: 0 });
    }

    /// The columns whose values are not written as they were read, and what becomes of them.
    pub fn changes(&self) -> BTreeMap<String, String> {
        let change = |column: usize| match self.rules[column] {
            Rule::Timestamp | Rule::Moment | Rule::Date => Some("read as dates"),
            Rule::Integer if self.texts[column] => Some("read as integers"),
            Rule::Integer if self.decimals != Decimals::Error => Some("made integers"),
            _ if self.without_nul[column].1 => Some("without NUL bytes"),
            _ => None,
        };
        let changed =
            (0..self.rules.len()).filter_map(|at| Some((self.names.column(at).to_owned(), change(at)?.to_owned())));
        changed.collect()
    }

    /// The columns whose empty texts become NULL.
    pub fn emptied(&self) -> Vec<String> {
        let is_emptied = |column: &usize| self.rules[*column] == Rule::EmptyIsNull;
        (0..self.rules.len()).filter(is_emptied).map(|column| self.names.column(column).to_owned()).collect()
    }

    /// How many values that were.
    pub fn emptied_values(&self) -> u64 {
        self.emptied
    }

    pub fn highest(&self) -> Option<String> {
        let value = self.bounds.as_ref()?.highest.as_deref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    pub fn lowest(&self) -> Option<String> {
        let value = self.bounds.as_ref()?.lowest.as_deref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Rows without a value of that column.
    pub fn without_value(&self) -> u64 {
        self.bounds.as_ref().map_or(0, |bounds| bounds.missing)
    }

    pub fn convert(&mut self, batch: RowBatch) -> Result<RowBatch, PortError> {
        let (rows, bytes) = (batch.len() as u64, batch.byte_len() as u64);
        let batch = self.strip_nul(batch);
        let batch = if self.needs_rewriting(&batch) { self.rewritten(&batch)? } else { batch };
        if let Some(bounds) = &mut self.bounds {
            bounds.look(&batch);
        }
        if self.merges
            && let Some(unnamed) = self.names.unnamed(&batch, self.rows)
        {
            return Err(unnamed);
        }
        self.rows += rows;
        self.bytes += bytes;
        Ok(batch)
    }

    fn strip_nul(&mut self, batch: RowBatch) -> RowBatch {
        let has_nul = |column: usize| {
            (0..batch.len()).any(|row| batch.cell(row, column).is_some_and(|cell| memchr(0, cell).is_some()))
        };
        let mut found = false;
        for (column, (is_wanted, was_found)) in self.without_nul.iter_mut().enumerate() {
            if *is_wanted && has_nul(column) {
                (*was_found, found) = (true, true);
            }
        }
        if !found {
            return batch;
        }
        let mut out = RowBatch::new(batch.columns());
        for row in 0..batch.len() {
            for (column, (is_wanted, _)) in self.without_nul.iter().enumerate() {
                match batch.cell(row, column) {
                    Some(cell) if *is_wanted && memchr(0, cell).is_some() => {
                        let kept: Vec<u8> = cell.iter().copied().filter(|byte| *byte != 0).collect();
                        out.push(Some(&kept));
                    }
                    cell => out.push(cell),
                }
            }
        }
        out
    }

    fn needs_rewriting(&self, batch: &RowBatch) -> bool {
        self.rules.iter().enumerate().any(|(column, rule)| match rule {
            Rule::Pass => false,
            Rule::EmptyIsNull => (0..batch.len()).any(|row| batch.cell(row, column) == Some(b"")),
            _ => !batch.is_empty(),
        })
    }

    fn rewritten(&mut self, batch: &RowBatch) -> Result<RowBatch, PortError> {
        let mut out = RowBatch::new(batch.columns());
        for row in 0..batch.len() {
            for column in 0..batch.columns() {
                let Some(cell) = batch.cell(row, column) else {
                    out.push(None);
                    continue;
                };
                let rule = self.rules[column];
                if cell.is_empty() && rule != Rule::Pass && self.empty_as_null {
                    self.emptied += u64::from(rule == Rule::EmptyIsNull);
                    out.push(None);
                    continue;
                }
                self.scratch.clear();
                let why = match rule {
                    Rule::Pass | Rule::EmptyIsNull => {
                        out.push(Some(cell));
                        continue;
                    }
                    Rule::Integer => integer(cell, self.decimals, &mut self.scratch),
                    Rule::Timestamp | Rule::Moment => self.moment(cell).and_then(|at| {
                        let utc = match at.utc {
                            None if rule == Rule::Moment => return Err(NO_ZONE.to_owned()),
                            utc => utc.unwrap_or(at.clock),
                        };
                        if utc.nanosecond() % 1_000 != 0 {
                            return Err("has more than six digits of a second, and the target keeps six".to_owned());
                        }
                        self.scratch = utc.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
                        if let Some(whole) = self.scratch.strip_suffix(".000000") {
                            let length = whole.len();
                            self.scratch.truncate(length);
                        }
                        Ok(())
                    }),
                    Rule::Date => self.moment(cell).and_then(|at| {
                        if at.clock.time() != NaiveTime::MIN {
                            return Err(
                                "has a time of day, which a date drops; make the target's column a timestamp, or cut \
                                        the time off in a query"
                                    .to_owned(),
                            );
                        }
                        self.scratch = at.clock.format("%Y-%m-%d").to_string();
                        Ok(())
                    }),
                };
                match why {
                    Ok(()) => out.push(Some(self.scratch.as_bytes())),
                    Err(why) => return Err(self.names.refused(batch, (row, self.rows), column, &why)),
                }
            }
        }
        Ok(out)
    }

    fn moment(&self, cell: &[u8]) -> Result<WrittenMoment, String> {
        let read = self.forms.read(std::str::from_utf8(cell).map_err(|_| "is not UTF-8".to_owned())?);
        read.map_err(|why| format!("{why}; say how it is written in timestamp_formats"))
    }
}

/// Why a text is no moment that says only what a clock showed.
const NO_ZONE: &str = "says no zone, and the target's column keeps moments, for which it would be taken for UTC; say in which zone \
                       the clock ran, or that it was UTC, in columns: {at: {timezone: Asia/Seoul}}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::written_moments::form_problem;

    #[test]
    fn a_row_that_is_merged_has_all_of_its_key() {
        let columns = [SourceColumn::text("id"), SourceColumn::text("v")];
        let keys = ["id".to_owned()];
        let shape = Shape {
            columns: &columns,
            target_types: &[None, None],
            primary_key: &keys,
            empty_as_null: false,
            removes_nul: false,
            decimals: Decimals::Error,
            formats: None,
            show_values: false,
        };
        let batch = || {
            let mut batch = RowBatch::new(2);
            for cell in [Some(&b"1"[..]), None, None, Some(b"b")] {
                batch.push(cell);
            }
            batch
        };
        let mut copied = Converter::new(&shape);
        assert!(copied.convert(batch()).is_ok());
        let mut merged = Converter::new(&shape);
        merged.merges();
        let said = merged.convert(batch()).expect_err("the second row has no id").to_string();
        assert!(said.contains("row 2") && said.contains("id") && said.contains("anew with every copy"), "{said}");
    }

    fn converter(target: &str, show_values: bool) -> Converter {
        let columns = [
            SourceColumn {
                name: "id".into(),
                type_name: "bigint".into(),
                value: ValueType::Integer { bits: 64, signed: true },
            },
            SourceColumn::text("v"),
        ];
        Converter::new(&Shape {
            columns: &columns,
            target_types: &[Some("bigint".to_owned()), Some(target.to_owned())],
            primary_key: &["id".to_owned()],
            empty_as_null: true,
            removes_nul: false,
            decimals: Decimals::Error,
            formats: None,
            show_values,
        })
    }

    fn converted(converter: &mut Converter, values: &[&str]) -> Result<Vec<Option<String>>, PortError> {
        let mut batch = RowBatch::new(2);
        for (id, value) in values.iter().enumerate() {
            batch.push(Some((id + 5).to_string().as_bytes()));
            batch.push(Some(value.as_bytes()));
        }
        let out = converter.convert(batch)?;
        Ok((0..out.len()).map(|row| out.cell(row, 1).map(|c| String::from_utf8_lossy(c).into_owned())).collect())
    }

    #[test]
    fn case_82_errors_name_row_and_column_and_the_value_when_allowed() {
        let mut hidden = converter("integer", false);
        converted(&mut hidden, &["1.0", ""]).expect("'' is NULL");
        let error = converted(&mut hidden, &["12.5"]).expect_err("a fraction").message;
        assert!(error.contains("row 3 (id=5), column v") && !error.contains("12.5"), "{error}");
        let error = converted(&mut converter("bigint", true), &["12.5"]).expect_err("a fraction").message;
        assert!(error.contains("'12.5'"), "{error}");
        let error = converted(&mut converter("timestamp without time zone", true), &["soon"]).expect_err("no date");
        assert!(error.message.contains("row 1 (id=5), column v: the value 'soon' is in none"), "{}", error.message);
    }

    #[test]
    fn texts_become_moments_by_an_ordered_list() {
        let texts = [
            "2024-01-31 10:20:30.5",
            "2024-01-31T10:20:30Z",
            "2024-01-31T10:20:30+09:00",
            "2024/01/31",
            "20240131",
            "20240131102030",
            "",
        ];
        let found = converted(&mut converter("timestamp", false), &texts).expect("all are read");
        let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
        assert_eq!(
            found,
            [
                Some("2024-01-31 10:20:30.500000"),
                Some("2024-01-31 10:20:30"),
                Some("2024-01-31 01:20:30"),
                Some("2024-01-31 00:00:00"),
                Some("2024-01-31 00:00:00"),
                Some("2024-01-31 10:20:30"),
                None
            ]
        );
        assert_eq!(
            converted(&mut converter("date", false), &["2024/01/31"]).expect("a day"),
            [Some("2024-01-31".to_owned())]
        );
        // The day is the one that is written, whatever day it is in UTC then.
        assert_eq!(
            converted(&mut converter("date", false), &["2024-01-31T00:00:00+09:00"]).expect("a day"),
            [Some("2024-01-31".to_owned())]
        );
        for (target, text, reason) in [
            ("date", "2024-01-31 10:20:30", "a time of day"),
            ("date", "2024-01-31T10:20:30+09:00", "a time of day"),
            ("timestamp", "2024-01-31 10:20:30.1234567", "more than six digits"),
        ] {
            let error = converted(&mut converter(target, false), &[text]).expect_err("something would be lost").message;
            assert!(error.contains(reason), "{error}");
        }
        assert!(form_problem("%Q").is_some() && form_problem("day").is_some() && form_problem("%d.%m.%Y").is_none());
    }

    #[test]
    fn a_text_without_a_zone_is_no_moment() {
        for target in ["timestamp with time zone", "timestamptz", "timestamp(3) with time zone"] {
            let found = converted(&mut converter(target, false), &["2024-01-31T10:20:30+09:00", "20240131", ""]);
            let error = found.expect_err("it says no zone").message;
            assert!(error.contains("row 2") && error.contains("says no zone"), "{target}: {error}");
            let found = converted(&mut converter(target, false), &["2024-01-31T10:20:30+09:00", ""]).expect("a moment");
            assert_eq!(found, [Some("2024-01-31 01:20:30".to_owned()), None], "{target}");
        }
    }

    #[test]
    fn what_needs_nothing_is_not_touched() {
        let mut plain = converter("varchar(20)", false);
        assert_eq!(converted(&mut plain, &["a", ""]).expect("text"), [Some("a".to_owned()), None]);
        assert_eq!((plain.rows, plain.bytes), (2, 3));
    }
}
