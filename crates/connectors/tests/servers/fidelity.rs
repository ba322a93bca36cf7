//! Every value arrives as it was: each kind of value, each load method, from a file and straight from a source.

use anyhow::{Context, Result};
use millrace_operator_api::ports::{FileKind, LoadMethod, LoadRequest, LoadRows, NewColumn, TableName, ValueType};

use millrace_testkit::TestDatabase;

use crate::loads::Subject;
use crate::world::{Cells, NULL_MARKER, World, csv_of, some, stream_of, upsert, work};

/// A column and values that its type must hold.
pub struct Sample {
    pub name: &'static str,
    pub value: ValueType,
    pub cells: &'static [&'static str],
}

const fn int(bits: u8, signed: bool) -> ValueType {
    ValueType::Integer { bits, signed }
}

/// "NULL" is NULL. Names are as ugly as they come.
pub fn samples(engine: &str) -> Vec<Sample> {
    let sample = |name, value, cells| Sample { name, value, cells };
    let chars = |max_chars, max_bytes| ValueType::Text { max_chars: Some(max_chars), max_bytes: Some(max_bytes) };
    let mut samples = vec![
        sample("id", int(64, true), &["1", "2", "3", "4", "5", "6"]),
        sample("t", int(8, false), &["0", "255", "NULL", "7", "8", "9"]),
        sample("m", int(24, true), &["-8388608", "8388607", "NULL", "0", "1", "2"]),
        sample("u", int(32, false), &["4294967295", "0", "NULL", "1", "2", "3"]),
        sample("big", int(64, true), &["-9223372036854775808", "9223372036854775807", "NULL", "0", "1", "2"]),
        sample("ubig", int(64, false), &["18446744073709551615", "0", "NULL", "1", "9007199254740993", "3"]),
        sample(
            "d38",
            ValueType::Decimal { precision: Some(38), scale: Some(10) },
            &[
                "1234567890123456789012345678.0123456789",
                "-0.0000000001",
                "NULL",
                "0.1000000000",
                "12.5000000000",
                "99999999.9999999999",
            ],
        ),
        sample(
            "f",
            ValueType::Float { bits: 64 },
            &["0.1", "1.7976931348623157e+308", "NULL", "-0.30000000000000004", "5e-324", "123456789.12345679"],
        ),
        sample(
            "주문 \"이름\"",
            chars(40, 160),
            &["", "NULL", "\\N", "a,\"b\"\nc\rd\te\\f", "\u{1f600} \u{c8fc}\u{bb38}", " NULL "],
        ),
        sample("select", ValueType::TEXT, &["'", "--", ";drop", "$$", "\\", "NULL"]),
        sample("day", ValueType::Date, &["0001-01-01", "9999-12-31", "NULL", "2024-02-29", "1970-01-01", "1582-10-15"]),
        sample(
            "at",
            ValueType::Timestamp { zoned: false },
            &[
                "0001-01-01 00:00:00",
                "9999-12-31 23:59:59.999999",
                "NULL",
                "2024-02-29 12:34:56.000001",
                "1969-12-31 23:59:59",
                "2024-03-31 02:30:00",
            ],
        ),
        sample("hex", ValueType::Bytes { max_bytes: None }, &["00ff", "5c4e", "NULL", "0a0d", "deadbeef", "00"]),
        sample("n", ValueType::Bit { length: 1 }, &["1", "0", "NULL", "1", "0", "1"]),
        sample("y", ValueType::Year, &["2024", "1901", "NULL", "2155", "0", "1999"]),
        sample(
            "id2",
            ValueType::Uuid,
            &[
                "00000000-0000-0000-0000-000000000000",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
                "NULL",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13",
            ],
        ),
    ];
    samples.extend(rarer_samples(engine));
    samples
}

#[expect(clippy::too_many_lines, reason = "a list of values")]
fn rarer_samples(engine: &str) -> Vec<Sample> {
    let sample = |name, value, cells| Sample { name, value, cells };
    let time = |beyond_day, zoned| ValueType::Time { beyond_day, zoned };
    // SQLite keeps a REAL without a fraction as an integer, which has no sign of zero.
    let odd: &[&str] = match engine {
        "sqlite" => &["NaN", "Infinity", "NULL", "-Infinity", "0.5", "0"],
        _ => &["NaN", "Infinity", "NULL", "-Infinity", "-0", "0"],
    };
    let mut samples = vec![
        sample("doc", ValueType::Json, &[r#"{"a": [1, null]}"#, r#""주문""#, "NULL", "[]", "1.5", r#"{"\"": ""}"#]),
        sample(
            "moment",
            ValueType::Timestamp { zoned: true },
            &[
                "2024-01-01 00:00:00.000001+00",
                "0001-01-01 00:00:00+00",
                "NULL",
                "9999-12-31 23:59:59.999999+00",
                "2024-03-31 02:30:00+00",
                "1969-12-31 23:59:59+00",
            ],
        ),
        sample(
            "clock",
            time(false, false),
            &["23:59:59.999999", "00:00:00", "NULL", "12:34:56", "00:00:00.000001", "24:00:00"],
        ),
        sample(
            "clock_there",
            time(false, true),
            &["12:00:00+09", "00:00:00+00", "NULL", "23:59:59.999999-08", "12:00:00+05:30", "01:00:00+00"],
        ),
        sample(
            "length",
            time(true, false),
            &["-838:59:59", "838:59:59.999999", "NULL", "00:00:00", "-00:00:00.000001", "25:00:00"],
        ),
        sample(
            "span",
            ValueType::Interval,
            &["1 year 2 mons -3 days +25:00:00.5", "00:00:00", "NULL", "-1 mons", "1 day", "-00:00:00.000001"],
        ),
        sample(
            "list",
            ValueType::Array { of: Box::new(int(32, true)) },
            &["{1,NULL,-2}", "{}", "NULL", "{2147483647}", "{0}", "{{1,2},{3,4}}"],
        ),
        sample(
            "words",
            ValueType::Array { of: Box::new(ValueType::TEXT) },
            &[r#"{"a,b","","say \"hi\"",NULL}"#, "{}", "NULL", r#"{"NULL"}"#, "{주문}", r#"{"\\N"}"#],
        ),
        sample("sum", ValueType::Money, &["-1234.50", "0.00", "NULL", "92233720368547758.07", "0.01", "1.00"]),
        sample("flags", ValueType::BitString { max_length: Some(9) }, &["0101", "", "NULL", "000000000", "1", "0"]),
        sample("mood", ValueType::Enum { max_chars: Some(2) }, &["행복", "", "NULL", "a", "\\N", "b"]),
        sample("tags", ValueType::Set { max_chars: Some(8) }, &["x,y", "", "NULL", "x", "주,문", "y"]),
        sample("pairs", ValueType::Other, &[r#""a"=>"1", "b"=>NULL"#, "", "NULL", "POINT(1 2)", "::1", "[1,4)"]),
        sample(
            "f32",
            ValueType::Float { bits: 32 },
            &["0.1", "3.4028235e+38", "NULL", "1.1754944e-38", "-0.5", "16777216"],
        ),
        sample("odd", ValueType::Float { bits: 64 }, odd),
        sample("odd32", ValueType::Float { bits: 32 }, &["NaN", "Infinity", "NULL", "-Infinity", "1e-45", "0"]),
        sample(
            "d65",
            ValueType::Decimal { precision: Some(65), scale: Some(0) },
            &["99999999999999999999999999999999999999999999999999999999999999999", "-1", "NULL", "0", "1", "2"],
        ),
        sample(
            "any_number",
            ValueType::Decimal { precision: None, scale: None },
            &["NaN", "0.00000000000000000001", "NULL", "-12345678901234567890.5", "0", "1"],
        ),
        sample("bits", ValueType::Bit { length: 64 }, &["18446744073709551615", "0", "NULL", "1", "2", "3"]),
        sample("truth", ValueType::Bool, &["t", "f", "NULL", "t", "f", "t"]),
    ];
    if engine != "redshift" {
        // Redshift reads a CSV field of no bytes as NULL there, and has no such days.
        samples.push(sample("none", ValueType::Bytes { max_bytes: None }, &["", "00", "NULL", "", "5c78", "ff"]));
        samples.push(sample(
            "days",
            ValueType::Date,
            &["infinity", "-infinity", "NULL", "0044-03-15 BC", "2024-01-01", "0001-01-01"],
        ));
    }
    samples
}

fn table_of(samples: &[Sample]) -> Cells {
    let rows = samples.iter().map(|sample| sample.cells.len()).max().unwrap_or(0);
    (0..rows).map(|row| some(&samples.iter().map(|sample| sample.cells[row]).collect::<Vec<_>>())).collect()
}

/// How rows are read back: without any code that loaded them, where there is such a way.
pub enum Reader<'a> {
    Database(&'a TestDatabase),
    Warehouse(&'a Subject),
}

impl Reader<'_> {
    /// By `id`; bytes as hex.
    async fn rows(&self, table: &TableName, columns: &str) -> Result<Cells> {
        let table = &table.to_string();
        match self {
            Self::Database(database) => {
                let columns = columns
                    .split(", ")
                    .map(|name| match name.strip_prefix("HEX:") {
                        Some(name) => format!("encode({name}, 'hex')"),
                        None => name.to_owned(),
                    })
                    .collect::<Vec<_>>()
                    .join(", ");
                database.query(&format!("SELECT {columns} FROM {table} ORDER BY id"))
            }
            Self::Warehouse(subject) => {
                let columns = columns.replace("HEX:", "");
                subject.rows(&format!("SELECT {columns} FROM {table} ORDER BY id")).await
            }
        }
    }
}

fn is_same(value: &ValueType, found: Option<&String>, expected: Option<&String>) -> bool {
    match (value, found, expected) {
        // The same bits, however they are written.
        (ValueType::Float { .. }, Some(found), Some(expected)) => {
            found.parse::<f64>().map(f64::to_bits) == expected.parse::<f64>().map(f64::to_bits)
        }
        (ValueType::Money, Some(found), Some(expected)) => {
            found.trim_end_matches('0').trim_end_matches('.') == expected.trim_end_matches('0').trim_end_matches('.')
        }
        (ValueType::Bool, Some(found), Some(expected)) => (found == "t" || found == "1") == (expected == "t"),
        (_, found, expected) => found == expected,
    }
}

pub async fn every_value_arrives_by_every_method(
    world: &World,
    subject: &Subject,
    schema: Option<&str>,
    reader: &Reader<'_>,
) -> Result<()> {
    let samples = samples(subject.warehouse.engine());
    let rows = table_of(&samples);
    let typed: Vec<(&str, ValueType)> = samples.iter().map(|sample| (sample.name, sample.value.clone())).collect();
    let columns: Vec<NewColumn> = typed
        .iter()
        .map(|(name, value)| NewColumn {
            name: (*name).to_owned(),
            type_name: subject.warehouse.column_type(value),
            is_nullable: true,
        })
        .collect();
    let listed: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = format!("\"{}\"", column.name.replace('"', "\"\""));
            if matches!(column.name.as_str(), "hex" | "none") { format!("HEX:{name}") } else { name }
        })
        .collect();
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let methods = [LoadMethod::Append, LoadMethod::Replace, LoadMethod::Swap, upsert(&["id"], Some("at"))];
    for (number, method) in methods.into_iter().enumerate() {
        for direct in [false, true] {
            let name = format!("values_{number}_{direct}");
            let table = TableName { schema: schema.map(ToOwned::to_owned), name };
            let keys = ["id".to_owned()];
            subject.warehouse.create_table(&table, &columns, &keys, false).await?;
            subject.warehouse.create_table(&table, &columns, &keys, true).await?;
            let generation = 100 + u32::try_from(number)? * 2 + u32::from(direct);
            let mut request = if direct {
                let rows = LoadRows::direct(stream_of(&typed, &rows));
                LoadRequest::new(table.clone(), method.clone(), rows, work(generation))
            } else {
                let file = csv_of(&rows);
                let mut request = world.request("x", method.clone(), &[("values.csv", &file)]).await?;
                request.target = table.clone();
                request.format.null_as = Some(NULL_MARKER.to_owned());
                request
            };
            request.work = work(generation);
            request.columns = Some(names.clone());
            request.show_values = true;
            let report = subject
                .warehouse
                .load(request)
                .await
                .with_context(|| format!("{table} by {method:?}, direct: {direct}"))?;
            assert_eq!(report.rows_read, Some(6), "{method:?} direct: {direct}");
            let found = reader.rows(&table, &listed.join(", ")).await?;
            for (row, (found, expected)) in found.iter().zip(&rows).enumerate() {
                for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert!(
                        is_same(&samples[column].value, found.as_ref(), expected.as_ref()),
                        "{method:?} direct: {direct}, row {}, column {} ({}): {found:?} where {expected:?} is expected",
                        row + 1,
                        samples[column].name,
                        samples[column].value
                    );
                }
            }
            assert_eq!(found.len(), rows.len());
        }
    }
    Ok(())
}

/// Random texts, many of them ugly, from a seed that is shown.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 20] = [
            "",
            "a",
            ",",
            "\"",
            "\"\"",
            "\n",
            "\r\n",
            "\r",
            "\\",
            "\\N",
            "\\.",
            "\t",
            "'",
            "주문",
            "\u{1f600}",
            " ",
            "NULL",
            "%s",
            "$1",
            "\u{200b}",
        ];
        (0..self.below(6)).map(|_| PIECES[usize::try_from(self.below(20)).unwrap_or(0)]).collect()
    }
}

/// Tables of random texts and numbers; several loads of each, and the table equals the source after each of them.
pub async fn random_tables_arrive_whole(
    world: &World,
    subject: &Subject,
    schema: Option<&str>,
    reader: &Reader<'_>,
) -> Result<()> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_729);
    let mut random = Random(seed);
    for round in 0..6u32 {
        let typed = [("id", int(64, true)), ("a", ValueType::TEXT), ("b", ValueType::TEXT), ("n", int(32, true))];
        let columns: Vec<NewColumn> = typed
            .iter()
            .map(|(name, value)| NewColumn {
                name: (*name).to_owned(),
                type_name: subject.warehouse.column_type(value),
                is_nullable: true,
            })
            .collect();
        let rows: Cells = (0..random.below(60))
            .map(|id| {
                let mut text = || (random.below(5) > 0).then(|| random.text());
                let (a, b) = (text(), text());
                let n = i32::from_ne_bytes(u32::try_from(random.next() >> 32).unwrap_or(0).to_ne_bytes());
                vec![Some(id.to_string()), a, b, Some(n.to_string())]
            })
            .collect();
        let table = TableName { schema: schema.map(ToOwned::to_owned), name: format!("random_{round}") };
        subject.warehouse.create_table(&table, &columns, &["id".to_owned()], false).await?;
        for step in 0..3u32 {
            let method = match random.below(3) {
                _ if step == 0 => LoadMethod::Append,
                0 => LoadMethod::Replace,
                1 => LoadMethod::Swap,
                _ => upsert(&["id"], None),
            };
            let direct = random.below(2) == 0;
            let mut request = if direct || rows.is_empty() {
                let rows = LoadRows::direct(stream_of(&typed, &rows));
                LoadRequest::new(table.clone(), method.clone(), rows, work(0))
            } else {
                let file = csv_of(&rows);
                let mut request = world.request("x", method.clone(), &[("random.csv", &file)]).await?;
                request.target = table.clone();
                request.format.null_as = Some(NULL_MARKER.to_owned());
                request
            };
            request.work = work(1000 + round * 10 + step);
            request.columns = Some(typed.iter().map(|(name, _)| (*name).to_owned()).collect());
            request.show_values = true;
            subject
                .warehouse
                .load(request)
                .await
                .with_context(|| format!("{method:?} direct: {direct}, SEED={seed}"))?;
            let found = reader.rows(&table, "\"id\", \"a\", \"b\", \"n\"").await?;
            assert_eq!(found, rows, "round {round}, {method:?}, direct: {direct}, SEED={seed}");
        }
    }
    Ok(())
}

/// A Parquet file of three columns: 주문 (text), n (integer), at (timestamp).
pub fn parquet_file() -> Result<Vec<u8>> {
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    let schema = parquet::schema::parser::parse_message_type(
        "message rows { OPTIONAL INT64 n; OPTIONAL BYTE_ARRAY word (STRING); OPTIONAL INT64 at (TIMESTAMP(MICROS,false)); }",
    )?;
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema.into(), WriterProperties::builder().build().into())?;
    let mut group = writer.next_row_group()?;
    let mut number = 0;
    while let Some(mut column) = group.next_column()? {
        match number {
            0 => column.typed::<Int64Type>().write_batch(&[1, i64::MIN, 3], Some(&[1, 1, 1]), None)?,
            1 => {
                let words = ["주문,\"\n".into(), String::new()].map(|word: String| ByteArray::from(word.into_bytes()));
                column.typed::<ByteArrayType>().write_batch(&words, Some(&[1, 0, 1]), None)?
            }
            _ => column.typed::<Int64Type>().write_batch(&[-1, 0], Some(&[1, 1, 0]), None)?,
        };
        column.close()?;
        number += 1;
    }
    group.close()?;
    writer.close()?;
    Ok(file)
}

/// By order, whatever the columns are called.
pub async fn parquet_is_loaded(
    world: &World,
    subject: &Subject,
    schema: Option<&str>,
    reader: &Reader<'_>,
) -> Result<()> {
    let table = TableName { schema: schema.map(ToOwned::to_owned), name: "from_parquet".to_owned() };
    let typed = [("id", int(64, true)), ("a", ValueType::TEXT), ("at", ValueType::Timestamp { zoned: false })];
    let columns: Vec<NewColumn> = typed
        .iter()
        .map(|(name, value)| NewColumn {
            name: (*name).to_owned(),
            type_name: subject.warehouse.column_type(value),
            is_nullable: true,
        })
        .collect();
    subject.warehouse.create_table(&table, &columns, &[], false).await?;
    let mut request = world.request("x", LoadMethod::Append, &[]).await?;
    let LoadRows::Objects(files) = &mut request.rows else { anyhow::bail!("files are asked for") };
    files.objects.push(world.put("rows.parquet", parquet_file()?).await?);
    request.target = table.clone();
    request.format.kind = FileKind::Parquet;
    let report = subject.warehouse.load(request).await?;
    assert_eq!((report.rows_read, report.rows_inserted), (Some(3), Some(3)));
    assert_eq!(
        reader.rows(&table, "\"id\", \"a\", \"at\"").await?,
        [
            some(&["-9223372036854775808", "NULL", "1970-01-01 00:00:00"]),
            some(&["1", "주문,\"\n", "1969-12-31 23:59:59.999999"]),
            some(&["3", "", "NULL"]),
        ]
    );
    Ok(())
}
