//! From the bytes of MySQL's text protocol to the text of a cell.

use millrace_operator_api::ports::RowBatch;
use sqlx::mysql::{MySqlRow, MySqlTypeInfo};
use sqlx::{Decode, MySql, Row, Type, TypeInfo};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellForm {
    AsItIs,
    /// Big-endian bytes, shown as an integer.
    Bits,
    /// Shown as lower-case hex.
    Hex,
    /// Of the binary protocol: a number, little-endian.
    Signed,
    Unsigned,
    Float,
    Double,
    /// Of the binary protocol: the length, and then as many fields as are not zero.
    Date,
    Moment,
    Time,
}

/// True where the server's text is not the whole value: it prints six digits of a FLOAT.
pub fn loses_digits(info: &MySqlTypeInfo) -> bool {
    info.name() == "FLOAT"
}

/// As the binary protocol sends it.
pub fn binary_form_of(info: &MySqlTypeInfo) -> CellForm {
    match info.name() {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => CellForm::Signed,
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED"
        | "YEAR" => CellForm::Unsigned,
        "FLOAT" => CellForm::Float,
        "DOUBLE" => CellForm::Double,
        "DATE" => CellForm::Date,
        "DATETIME" | "TIMESTAMP" => CellForm::Moment,
        "TIME" => CellForm::Time,
        _ => form_of(info),
    }
}

pub fn form_of(info: &MySqlTypeInfo) -> CellForm {
    match info.name() {
        "BIT" => CellForm::Bits,
        "GEOMETRY" => CellForm::Hex,
        "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "SET" | "JSON" => {
            CellForm::AsItIs
        }
        // The flag that names go by is also set for text with a collation like utf8mb4_bin (MariaDB's JSON, for one);
        // only the collation `binary` says that there are no characters.
        "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB"
            if !<str as Type<MySql>>::compatible(info) =>
        {
            CellForm::Hex
        }
        _ => CellForm::AsItIs,
    }
}

/// The server's name of the type, lower case.
pub fn type_name(info: &MySqlTypeInfo) -> String {
    let name = match info.name() {
        "BOOLEAN" => "tinyint(1)",
        binary if <str as Type<MySql>>::compatible(info) => match binary {
            "BINARY" => "char",
            "VARBINARY" => "varchar",
            "TINYBLOB" => "tinytext",
            "BLOB" => "text",
            "MEDIUMBLOB" => "mediumtext",
            "LONGBLOB" => "longtext",
            other => return other.to_ascii_lowercase(),
        },
        other => return other.to_ascii_lowercase(),
    };
    name.to_owned()
}

pub fn push(batch: &mut RowBatch, cell: Option<&[u8]>, form: CellForm) {
    match (form, cell) {
        (CellForm::AsItIs, cell) => batch.push(cell),
        (_, None) => batch.push(None),
        (CellForm::Bits, Some(bytes)) => {
            let number = bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
            batch.push(Some(number.to_string().as_bytes()));
        }
        (CellForm::Hex, Some(bytes)) => batch.push(Some(hex::encode(bytes).as_bytes())),
        (_, Some(bytes)) => batch.push(Some(binary_text(form, bytes).as_bytes())),
    }
}

/// The driver takes the zero date of the binary protocol for NULL, which it is not.
pub fn binary_cell(row: &MySqlRow, index: usize) -> Result<Option<&[u8]>, sqlx::Error> {
    Ok(<&[u8] as Decode<MySql>>::decode(row.try_get_raw(index)?).ok())
}

fn binary_text(form: CellForm, bytes: &[u8]) -> String {
    let number = bytes.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    // The field of a date or a time; those that are not sent are zero.
    let field = |from: usize, length: usize| {
        bytes
            .get(from..from + length)
            .map_or(0, |field| field.iter().rev().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)))
    };
    let fraction = |micros: u32| if micros == 0 { String::new() } else { format!(".{micros:06}") };
    match form {
        CellForm::Signed => {
            let unused = 64 - 8 * bytes.len().min(8) as u32;
            (number.cast_signed().wrapping_shl(unused) >> unused).to_string()
        }
        CellForm::Float => float_text(f64::from(f32::from_bits(number as u32)), f32::from_bits(number as u32)),
        CellForm::Double => float_text(f64::from_bits(number), f64::from_bits(number)),
        CellForm::Date => format!("{:04}-{:02}-{:02}", field(1, 2), field(3, 1), field(4, 1)),
        CellForm::Moment => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{}",
            field(1, 2),
            field(3, 1),
            field(4, 1),
            field(5, 1),
            field(6, 1),
            field(7, 1),
            fraction(field(8, 4))
        ),
        CellForm::Time => {
            let sign = if field(1, 1) == 1 { "-" } else { "" };
            let hours = field(2, 4) * 24 + field(6, 1);
            format!("{sign}{hours:02}:{:02}:{:02}{}", field(7, 1), field(8, 1), fraction(field(9, 4)))
        }
        CellForm::Unsigned | CellForm::AsItIs | CellForm::Bits | CellForm::Hex => number.to_string(),
    }
}

/// The shortest text that reads back as the same bits; with an exponent where there would be many zeros.
fn float_text(size: f64, number: impl std::fmt::Display + std::fmt::LowerExp) -> String {
    let size = size.abs();
    if size == 0.0 || (1e-5..1e16).contains(&size) { number.to_string() } else { format!("{number:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_integers_and_bytes_are_hex() {
        let mut batch = RowBatch::new(4);
        push(&mut batch, Some(&[1]), CellForm::Bits);
        push(&mut batch, Some(&[0xff; 8]), CellForm::Bits);
        push(&mut batch, Some(&[0, 0xab]), CellForm::Hex);
        push(&mut batch, None, CellForm::Hex);
        let cells: Vec<Option<&[u8]>> = (0..4).map(|column| batch.cell(0, column)).collect();
        assert_eq!(cells, [Some(&b"1"[..]), Some(&b"18446744073709551615"[..]), Some(&b"00ab"[..]), None]);
    }

    #[test]
    fn binary_values_are_shown_as_the_server_would() {
        let cases: [(CellForm, &[u8], &str); 13] = [
            (CellForm::Signed, &[0xff], "-1"),
            (CellForm::Signed, &[0, 0, 0, 0, 0, 0, 0, 0x80], "-9223372036854775808"),
            (CellForm::Unsigned, &[0xff; 8], "18446744073709551615"),
            (CellForm::Float, &0.1_f32.to_le_bytes(), "0.1"),
            (CellForm::Float, &16_777_217_f32.to_le_bytes(), "16777216"),
            (CellForm::Float, &f32::MAX.to_le_bytes(), "3.4028235e38"),
            (CellForm::Double, &(-1e-300_f64).to_le_bytes(), "-1e-300"),
            (CellForm::Date, &[0], "0000-00-00"),
            (CellForm::Date, &[4, 0xe8, 7, 2, 29], "2024-02-29"),
            (CellForm::Moment, &[7, 0xe8, 7, 2, 29, 23, 59, 58], "2024-02-29 23:59:58"),
            (CellForm::Moment, &[11, 0xe8, 7, 2, 29, 0, 0, 0, 1, 0, 0, 0], "2024-02-29 00:00:00.000001"),
            (CellForm::Time, &[8, 1, 34, 0, 0, 0, 22, 59, 59], "-838:59:59"),
            (CellForm::Time, &[0], "00:00:00"),
        ];
        for (form, bytes, expected) in cases {
            assert_eq!(binary_text(form, bytes), expected, "{form:?} {bytes:?}");
        }
    }
}
