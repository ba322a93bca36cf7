//! COPY's text format, read into row batches and written from cells.

use bytes::{BufMut, BytesMut};
use millrace_operator_api::PortError;
use millrace_operator_api::ports::RowBatch;

use crate::parts::failure::data;

/// Room of a row that is used again; what one long row needed is given back.
const KEPT: usize = 1 << 20;

/// Puts the pieces of a COPY stream together into rows.
pub struct CopyTextReader {
    /// For each column: whether a leading `\x` belongs to the text form of bytes and is left out.
    is_bytes: Vec<bool>,
    /// The beginning of a row whose end has not come yet. The server sends whole rows, but the protocol doesn't promise it.
    partial: Vec<u8>,
}

impl CopyTextReader {
    pub fn new(is_bytes: Vec<bool>) -> Self {
        Self { is_bytes, partial: Vec::new() }
    }

    pub fn read(&mut self, mut chunk: &[u8], batch: &mut RowBatch) -> Result<(), PortError> {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            if self.partial.is_empty() {
                self.row(chunk, end, batch)?;
            } else {
                let mut row = std::mem::take(&mut self.partial);
                row.extend_from_slice(&chunk[..end]);
                self.row(&row, row.len(), batch)?;
                row.clear();
                self.partial = if row.capacity() > KEPT { Vec::new() } else { row };
            }
            chunk = &chunk[end + 1..];
        }
        self.partial.extend_from_slice(chunk);
        Ok(())
    }

    /// The row is `bytes[..length]`.
    fn row(&self, bytes: &[u8], length: usize, batch: &mut RowBatch) -> Result<(), PortError> {
        let row = &bytes[..length];
        let mut cells = 0;
        if self.is_bytes.is_empty() {
            return Ok(());
        }
        let mut start = 0;
        let mut escape = escape_from(row, 0);
        loop {
            let end = memchr::memchr(b'\t', &row[start..]).map_or(row.len(), |length| start + length);
            if escape < start {
                escape = escape_from(row, start);
            }
            if escape < end {
                push_escaped(&row[start..end], self.is_bytes.get(cells).copied().unwrap_or(false), batch);
            } else {
                batch.push_part(bytes, (start, end));
            }
            cells += 1;
            if end == row.len() {
                break;
            }
            start = end + 1;
        }
        if cells == self.is_bytes.len() {
            Ok(())
        } else {
            Err(data(format!("the server sent a row of {cells} values where {} were announced", self.is_bytes.len())))
        }
    }
}

fn push_escaped(cell: &[u8], is_bytes: bool, batch: &mut RowBatch) {
    if cell == b"\\N" {
        return batch.push(None);
    }
    let mut rest = match cell {
        [b'\\', b'\\', b'x', digits @ ..] if is_bytes => digits,
        _ => cell,
    };
    batch.push_written(|out| {
        out.reserve(rest.len());
        while let Some(at) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..at]);
            out.push(match rest.get(at + 1) {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => *other,
                None => b'\\',
            });
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    });
}

fn escape_from(row: &[u8], start: usize) -> usize {
    memchr::memchr(b'\\', &row[start..]).map_or(row.len(), |at| start + at)
}

/// Writes a cell as COPY text reads it; the caller puts tabs and newlines between.
pub fn write_cell(out: &mut BytesMut, cell: Option<&[u8]>) {
    let Some(mut rest) = cell else {
        out.put_slice(b"\\N");
        return;
    };
    while let Some(at) = first_special(rest) {
        out.put_slice(&rest[..at]);
        out.put_slice(match rest[at] {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

fn first_special(text: &[u8]) -> Option<usize> {
    const AT_A_TIME: usize = 64;
    let is_special = |byte: u8| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r');
    // Most texts have none, which is seen many bytes at a time.
    let has_one = |text: &&[u8]| text.iter().fold(false, |any, byte| any | is_special(*byte));
    let chunk = text.chunks(AT_A_TIME).position(|chunk| has_one(&chunk))? * AT_A_TIME;
    text[chunk..].iter().position(|byte| is_special(*byte)).map(|at| chunk + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_in_any_pieces() {
        let rows: [[Option<&[u8]>; 3]; 4] = [
            [None, Some(b""), Some(b"\\N")],
            [Some(b"a\tb\nc\rd\\e"), Some("\u{c8fc}\u{bb38}".as_bytes()), None],
            [Some(b"\\"), Some(b"\n"), Some(b"\t")],
            [Some(b""), Some(b""), Some(b"")],
        ];
        let mut text = BytesMut::new();
        for row in rows {
            for (index, cell) in row.into_iter().enumerate() {
                if index > 0 {
                    text.put_u8(b'\t');
                }
                write_cell(&mut text, cell);
            }
            text.put_u8(b'\n');
        }
        for piece in 1..text.len() {
            let mut reader = CopyTextReader::new(vec![false; 3]);
            let mut batch = RowBatch::new(3);
            for chunk in text.chunks(piece) {
                reader.read(chunk, &mut batch).expect("reads");
            }
            let back: Vec<Vec<Option<&[u8]>>> = batch.rows().map(Iterator::collect).collect();
            assert_eq!(back, rows.map(|row| row.to_vec()));
        }
    }

    #[test]
    fn the_room_of_a_long_row_is_given_back() {
        let long = "a\\\\b".repeat(1 << 20);
        let mut reader = CopyTextReader::new(vec![false; 2]);
        let mut batch = RowBatch::new(2);
        for chunk in format!("1\t{long}\n2\tshort\n").as_bytes().chunks(64 << 10) {
            reader.read(chunk, &mut batch).expect("reads");
        }
        assert_eq!(batch.cell(0, 1).map(<[u8]>::len), Some(3 << 20));
        assert_eq!(batch.cell(1, 1), Some(&b"short"[..]));
        assert!(reader.partial.capacity() <= KEPT);
    }

    #[test]
    fn bytes_lose_their_prefix_and_text_does_not() {
        let mut reader = CopyTextReader::new(vec![true, false]);
        let mut batch = RowBatch::new(2);
        reader.read(b"\\\\xab01\t\\\\xab01\n", &mut batch).expect("reads");
        assert_eq!(batch.cell(0, 0), Some(&b"ab01"[..]));
        assert_eq!(batch.cell(0, 1), Some(&b"\\xab01"[..]));
    }
}
