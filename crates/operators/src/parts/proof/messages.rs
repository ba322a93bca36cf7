//! The messages of rows that are to be hashed, one after another, each padded as MD5 wants it.
//!
//! Cells are short, and there are many: what is usual takes a handful of instructions and no call.

use millrace_operator_api::ports::{CanonicalForm, append_part};

use super::canonical::{Scratch, hashed, stands};

/// Bytes that MD5 takes at a time.
pub const BLOCK: usize = 64;

/// Room that is kept for the next messages.
const KEPT: usize = 4 << 20;

#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    /// First byte of the message that is being written; each begins at a block.
    start: usize,
    /// Blocks of each whole message.
    blocks: Vec<u32>,
    scratch: Scratch,
}

impl Messages {
    /// Whole blocks, once each message has ended.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many each message has, in their order.
    pub fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// Adds the cell that is `bytes[start..end]`, or NULL, to the message.
    #[expect(clippy::inline_always, reason = "a call for each cell costs as much as what it does")]
    #[inline(always)]
    pub fn cell(&mut self, bytes: &[u8], span: Option<(usize, usize)>, form: CanonicalForm) {
        match span {
            Some(span) if stands(bytes, span, form) => append(&mut self.bytes, bytes, span),
            // As PostgreSQL writes them.
            Some((start, end)) if form == CanonicalForm::Truth && matches!(&bytes[start..end], b"t" | b"f") => {
                self.bytes.extend_from_slice(if bytes[start] == b't' { b"1:1" } else { b"1:0" });
            }
            Some((start, end)) => self.other(&bytes[start..end], form),
            None => self.bytes.push(b'~'),
        }
    }

    /// Adds a cell that is not hashed as it stands.
    fn other(&mut self, cell: &[u8], form: CanonicalForm) {
        let Self { bytes, scratch, .. } = self;
        match hashed(cell, form, scratch) {
            Some(text) => append(bytes, text, (0, text.len())),
            None => bytes.push(b'~'),
        }
    }

    /// Ends the message.
    pub fn end(&mut self) {
        let length = self.bytes.len() - self.start;
        self.bytes.push(0x80);
        let zeros = (BLOCK + BLOCK - 8 - (length + 1) % BLOCK) % BLOCK;
        self.bytes.extend_from_slice(&[0; BLOCK][..zeros]);
        self.bytes.extend_from_slice(&(length as u64).wrapping_mul(8).to_le_bytes());
        self.blocks.push(((self.bytes.len() - self.start) / BLOCK) as u32);
        self.start = self.bytes.len();
    }

    /// Forgets them, and gives back what long ones needed.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.blocks.clear();
        self.start = 0;
        self.scratch.keep_at_most(KEPT);
    }
}

/// Adds `<length>:<text>`, of the text that is `bytes[start..end]`.
#[expect(clippy::inline_always, reason = "a call for each cell costs as much as what it does")]
#[inline(always)]
fn append(out: &mut Vec<u8>, bytes: &[u8], (start, end): (usize, usize)) {
    match LENGTHS.get(end - start) {
        Some((text, written)) => {
            out.extend_from_slice(text);
            out.truncate(out.len() - text.len() + usize::from(*written));
        }
        None => out.extend_from_slice(format!("{}:", end - start).as_bytes()),
    }
    append_part(out, bytes, (start, end));
}

/// How lengths below a thousand are written, and in how many bytes.
static LENGTHS: [([u8; 4], u8); 1000] = {
    let mut lengths = [([b':'; 4], 0); 1000];
    let mut length = 0;
    while length < lengths.len() {
        let digits = if length < 10 {
            1
        } else if length < 100 {
            2
        } else {
            3
        };
        let (mut at, mut rest) = (digits, length);
        while at > 0 {
            at -= 1;
            lengths[length].0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        lengths[length].1 = digits as u8 + 1;
        length += 1;
    }
    lengths
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_before_canonical_texts_of_any_length() {
        for length in [0, 9, 10, 31, 32, 33, 99, 100, 999, 1000, 1234, 100_000] {
            let text = "x".repeat(length);
            let written = |bytes: &str, form| {
                let mut messages = Messages::default();
                messages.cell(b"before", Some((0, 6)), CanonicalForm::Plain);
                messages.cell(bytes.as_bytes(), Some((0, length)), form);
                messages.cell(b"", None, form);
                String::from_utf8(messages.bytes().to_vec()).unwrap()
            };
            assert_eq!(written(&text, CanonicalForm::Padded), format!("6:before{length}:{text}~"));
            // Other cells may follow in the batch.
            let more = format!("{text}{}", "y".repeat(40));
            assert_eq!(written(&more, CanonicalForm::Plain), written(&text, CanonicalForm::Padded));
        }
    }

    #[test]
    fn a_message_is_padded_over_what_was_there() {
        let mut messages = Messages::default();
        for round in 0..3 {
            for length in 0..200 {
                messages.cell(&[b'x'; 240], Some((0, length)), CanonicalForm::Plain);
                messages.end();
                let start = messages.bytes().len() - *messages.blocks().last().unwrap() as usize * BLOCK;
                let message = &messages.bytes()[start..];
                let text = format!("{length}:{}", "x".repeat(length));
                assert_eq!(&message[..text.len()], text.as_bytes(), "{round}");
                assert_eq!(message[text.len()], 0x80);
                let (zeros, bits) = message[text.len() + 1..].split_at(message.len() - text.len() - 9);
                assert!(zeros.len() < BLOCK && zeros.iter().all(|byte| *byte == 0));
                assert_eq!(bits, (8 * text.len() as u64).to_le_bytes());
            }
            messages.clear();
        }
    }

    #[test]
    fn the_room_of_a_long_row_is_given_back() {
        let long = format!("[{}]", vec!["1"; KEPT].join(" , "));
        let mut messages = Messages::default();
        messages.cell(long.as_bytes(), Some((0, long.len())), CanonicalForm::Json);
        messages.end();
        assert!(messages.bytes().len() > KEPT);
        messages.clear();
        assert!(messages.bytes.capacity() <= KEPT);
    }
}
