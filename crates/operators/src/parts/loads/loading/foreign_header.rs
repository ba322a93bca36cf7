//! The header of a file that somebody else wrote, which COPY passes over: where it names the table's columns in another
//! order, the fields would go into the wrong ones.

use std::borrow::Cow;
use std::io::Read;

use csv_core::{ReadRecordResult, ReaderBuilder};
use flate2::read::MultiGzDecoder;
use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{Column, CsvFormat, FileKind, ObjectInfo, ObjectStore, TableName, Warehouse};

use crate::parts::loads::drift::described;
use crate::parts::loads::file_columns::{FILES_AT_ONCE, bytes_of};
use crate::parts::report::while_doing;

/// A header that is longer is not looked at.
const LONGEST: u64 = 64 << 10;
/// So much of a packed file holds its beginning: a block of zstd has up to 128 KB, which can't be unpacked in part.
const PACKED: u64 = 192 << 10;

/// Refuses such files. The columns of a table that names none of them are no matter of this.
pub async fn refuse_other_order(
    store: &dyn ObjectStore,
    warehouse: &dyn Warehouse,
    target: &TableName,
    (format, objects): (&CsvFormat, &[ObjectInfo]),
) -> Result<(), TaskError> {
    if format.kind != FileKind::Csv || format.ignore_header == 0 {
        return Ok(());
    }
    let table = described(warehouse, target, &[]).await?;
    let headers: Vec<_> = objects.iter().map(|object| header(store, format, object)).collect();
    let headers: Vec<Option<Vec<String>>> = stream::iter(headers).buffered(FILES_AT_ONCE).try_collect().await?;
    for (object, names) in objects.iter().zip(headers) {
        if let Some(names) = names.filter(|names| is_other_order(names, &table)) {
            return Err(TaskError::Fail(format!(
                "the header of {} names the columns of {target} in another order ({}), and fields go into columns by their place: \
                 list them in `columns` as they stand in the file",
                object.url(),
                names.join(", ")
            )));
        }
    }
    Ok(())
}

/// The last of the lines that are passed over, where it is one.
async fn header(
    store: &dyn ObjectStore,
    format: &CsvFormat,
    object: &ObjectInfo,
) -> Result<Option<Vec<String>>, TaskError> {
    if object.size == 0 {
        return Ok(None);
    }
    let longest = if format.gzip || format.zstd { PACKED } else { LONGEST };
    let start = bytes_of(store, object, 0..object.size.min(longest)).await;
    let start = start.map_err(|error| while_doing(&format!("reading the header of {}", object.url()), error))?;
    let start = unpacked(&start, format);
    Ok(record(start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start), format))
}

/// As much of it as the bytes hold: they are the beginning of a file, and what is broken in them is said by the load.
fn unpacked<'a>(bytes: &'a [u8], format: &CsvFormat) -> Cow<'a, [u8]> {
    let mut text = Vec::new();
    let mut read = |packed: &mut dyn Read| drop(packed.take(LONGEST).read_to_end(&mut text));
    match (format.gzip, format.zstd) {
        (true, _) => read(&mut MultiGzDecoder::new(bytes)),
        (_, true) => match zstd::Decoder::with_buffer(bytes) {
            Ok(mut packed) => read(&mut packed),
            Err(_) => return Cow::Borrowed(&[]),
        },
        _ => return Cow::Borrowed(bytes),
    }
    Cow::Owned(text)
}

/// The fields of the record before the first that is loaded. `None`: it does not end here.
fn record(mut bytes: &[u8], format: &CsvFormat) -> Option<Vec<String>> {
    let one = |given: Option<char>, usual: u8| given.map_or(Some(usual), |given| u8::try_from(given).ok());
    let mut reader =
        ReaderBuilder::new().delimiter(one(format.delimiter, b',')?).quote(one(format.quote, b'"')?).build();
    let mut fields = vec![0; bytes.len()];
    let mut ends = vec![0; bytes.len()];
    for number in 1..=format.ignore_header {
        let (result, read, _, count) = reader.read_record(bytes, &mut fields, &mut ends);
        if result != ReadRecordResult::Record {
            return None;
        }
        if number == format.ignore_header {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let cells = starts.zip(&ends[..count]).map(|(start, end)| String::from_utf8_lossy(&fields[start..*end]));
            return Some(cells.map(|cell| cell.trim().to_owned()).collect());
        }
        bytes = &bytes[read..];
    }
    None
}

/// Some columns of a table may take no values; those that are named stand in its order, unless the fields go astray.
fn is_other_order(names: &[String], table: &[Column]) -> bool {
    let place = |name: &String| table.iter().position(|column| column.name.to_lowercase() == name.to_lowercase());
    let places: Option<Vec<usize>> = names.iter().map(place).collect();
    places.is_some_and(|places| !places.is_sorted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_before_the_rows_is_the_header() {
        let read = |text: &str, lines: u32, delimiter: Option<char>| {
            record(text.as_bytes(), &CsvFormat { ignore_header: lines, delimiter, ..CsvFormat::default() })
        };
        let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read("last, first\nKim,Min\n", 1, None), names(&["last", "first"]));
        assert_eq!(read("made today\n\"la;st\";first\r\nKim;Min\n", 2, Some(';')), names(&["la;st", "first"]));
        assert_eq!(read("one line that does not end", 1, None), None);
        assert_eq!(read("a\n", 2, None), None);
    }

    #[test]
    fn the_beginning_of_a_packed_file_is_enough() {
        // Digits that can't be packed well.
        let rows: String =
            (1..40_000_u64).map(|row| format!("{:016x}\n", row.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let text = format!("b,a\n{rows}");
        let mut gzip = flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast());
        let mut packed = Vec::new();
        gzip.read_to_end(&mut packed).unwrap();
        // Written by `cat` of two files.
        let mut twice = Vec::new();
        for part in ["b,", "a\n1,2\n"] {
            flate2::read::GzEncoder::new(part.as_bytes(), flate2::Compression::best()).read_to_end(&mut twice).unwrap();
        }
        let zipped = zstd::encode_all(text.as_bytes(), 3).unwrap();
        let gzip = CsvFormat { ignore_header: 1, gzip: true, ..CsvFormat::default() };
        let zstd = CsvFormat { ignore_header: 1, zstd: true, ..CsvFormat::default() };
        let longest = usize::try_from(PACKED).unwrap();
        assert!(packed.len() > longest && zipped.len() > longest, "{} {}", packed.len(), zipped.len());
        for (bytes, format) in [(&packed[..longest], &gzip), (&twice[..], &gzip), (&zipped[..longest], &zstd)] {
            assert_eq!(record(&unpacked(bytes, format), format), Some(vec!["b".to_owned(), "a".to_owned()]));
        }
        assert_eq!(record(&unpacked(b"no gzip", &gzip), &gzip), None);
        assert_eq!(record(&unpacked(b"no zstd", &zstd), &zstd), None);
    }

    #[test]
    fn only_the_same_names_in_another_order_are_refused() {
        let column = |name: &str| Column {
            name: name.to_owned(),
            type_name: "text".to_owned(),
            base_type: None,
            is_nullable: true,
            default: None,
        };
        let table = [column("first"), column("last"), column("made")];
        let is_other =
            |names: &[&str]| is_other_order(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), &table);
        assert!(is_other(&["last", "FIRST"]));
        assert!(is_other(&["made", "first"]), "another column may be computed");
        assert!(!is_other(&["First", "Last"]) && !is_other(&["first", "last", "made"]));
        assert!(!is_other(&["Vorname", "Name"]), "names of their own may mean anything");
        assert!(!is_other(&["last"]), "the load itself counts the fields");
    }
}
