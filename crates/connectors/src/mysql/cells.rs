//! From the bytes of MySQL's text protocol to the text of a cell.

use millrace_operator_api::ports::RowBatch;
use sqlx::mysql::MySqlTypeInfo;
use sqlx::{MySql, Type, TypeInfo};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellForm {
    AsItIs,
    /// Big-endian bytes, shown as an integer.
    Bits,
    /// Shown as lower-case hex.
    Hex,
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
        (CellForm::Hex, Some(bytes)) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let hex: Vec<u8> = bytes
                .iter()
                .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
                .collect();
            batch.push(Some(&hex));
        }
    }
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
}
