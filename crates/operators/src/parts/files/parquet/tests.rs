use millrace_operator_api::ports::ValueType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Row;

use super::*;

fn column(name: &str, value: ValueType) -> SourceColumn {
    SourceColumn { name: name.to_owned(), type_name: String::new(), value }
}

fn read(bytes: Vec<u8>) -> (Vec<Row>, usize) {
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let groups = reader.num_row_groups();
    (reader.get_row_iter(None).unwrap().map(Result::unwrap).collect(), groups)
}

fn encode(columns: &[SourceColumn], rows: &[&[Option<&str>]]) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = ParquetEncoder::new(Vec::new(), columns, Compression::Zstd, 10, 1)?;
    for row in rows {
        let mut batch = RowBatch::new(columns.len());
        row.iter().for_each(|cell| batch.push(cell.map(str::as_bytes)));
        encoder.encode(batch)?;
    }
    encoder.finish()
}

#[test]
fn every_type_is_read_back() {
    let columns = [
        column("정수", ValueType::Integer { bits: 8, signed: false }),
        column("u", ValueType::Integer { bits: 64, signed: false }),
        column("d9", ValueType::Decimal { precision: Some(9), scale: Some(2) }),
        column("d18", ValueType::Decimal { precision: Some(18), scale: Some(0) }),
        column("d38", ValueType::Decimal { precision: Some(38), scale: Some(10) }),
        column("d65", ValueType::Decimal { precision: Some(65), scale: Some(30) }),
        column("f", ValueType::Float { bits: 32 }),
        column("g", ValueType::Float { bits: 64 }),
        column("b", ValueType::Bool),
        column("t", ValueType::TEXT),
        column("h", ValueType::Bytes { max_bytes: None }),
        column("day", ValueType::Date),
    ];
    let full: &[Option<&str>] = &[
        Some("255"),
        Some("18446744073709551615"),
        Some("-1234567.89"),
        Some("999999999999999999"),
        Some("-9999999999999999999999999999.9999999999"),
        Some("0.000000000000000000000000000001"),
        Some("0.1"),
        Some("-Infinity"),
        Some("t"),
        Some("\u{c8fc}\n\u{1f600}\\N"),
        Some("00ff"),
        Some("0001-01-01"),
    ];
    let (rows, _) = read(encode(&columns, &[full, &[None; 12]]).unwrap());
    let shown: Vec<String> = rows[0].get_column_iter().map(|(name, field)| format!("{name}={field}")).collect();
    assert_eq!(shown[0], "정수=255");
    assert_eq!(shown[1], "u=18446744073709551615.");
    assert_eq!(shown[2], "d9=-1234567.89");
    assert_eq!(shown[4], "d38=-9999999999999999999999999999.9999999999");
    assert_eq!(shown[5], "d65=\"0.000000000000000000000000000001\"");
    assert_eq!(shown[7], "g=-inf");
    assert_eq!(shown[9], "t=\"\u{c8fc}\n\u{1f600}\\N\"");
    assert!(shown[11].contains("0001-01-01"), "{}", shown[11]);
    assert!(rows[1].get_column_iter().all(|(_, field)| field.to_string() == "null"));
}

#[test]
fn a_value_that_does_not_fit_is_placed_and_not_shown() {
    let columns = [column("id", ValueType::Integer { bits: 16, signed: true }), column("note", ValueType::TEXT)];
    let error = encode(&columns, &[&[Some("1"), None], &[Some("secret"), None]]).unwrap_err().to_string();
    assert_eq!(
        error,
        "row 12, column 1 (id) (integer(16)): it is no whole number of that size; the value looks like 'xxxxxx' (6 bytes)"
    );
    let error = encode(&columns, &[&[Some("32768"), None]]).unwrap_err().to_string();
    assert!(error.contains("not in -32768 to 32767"), "{error}");
}

#[test]
fn row_groups_leave_as_they_are_full() {
    let columns = [column("a", ValueType::TEXT)];
    let mut encoder = ParquetEncoder::new(Vec::new(), &columns, Compression::None, 0, 1).unwrap();
    let mut most = 0;
    for number in 0..200 {
        let mut batch = RowBatch::new(1);
        (0..250).for_each(|row| batch.push(Some(format!("{number}-{row}-{}", "x".repeat(1_000)).as_bytes())));
        encoder.encode(batch).unwrap();
        most = most.max(encoder.held);
        let left = encoder.sink().unwrap().len();
        assert_eq!(left > "PAR1".len(), number >= 49, "{left} bytes after {number}");
    }
    assert!(most <= ROW_GROUP);
    let bytes = encoder.finish().unwrap();
    let (rows, groups) = read(bytes);
    assert_eq!((rows.len(), groups), (50_000, 4));
    let group = |beside| ParquetEncoder::new(Vec::new(), &columns, Compression::None, 0, beside).unwrap().row_group;
    assert!((1..=32).all(|beside| group(beside) * beside <= ROW_GROUP), "all of a task together");
    assert!(rows[49_999].to_string().contains("199-249-x"));
}

#[test]
fn a_file_without_rows_has_its_columns() {
    let bytes = encode(&[column("a", ValueType::TEXT)], &[]).unwrap();
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    assert_eq!(reader.metadata().file_metadata().schema_descr().num_columns(), 1);
    assert_eq!(reader.num_row_groups(), 0);
}
