//! A hash of rows that does not care for their order, such that SQL can compute the same.
//!
//! A row's message is, for each column in order, `<bytes>:<text>` for a value and `~` for NULL, where the text is the
//! canonical one (see [`canonical`](super::canonical)), and of a float, which no SQL writes as another does, its eight bytes. The row's hash is the first 60 bits of the message's MD5: the most
//! that fits a signed 64-bit number on every engine. The hash of many rows is the sum of theirs, with their count.
//!
//! MD5 because MySQL, PostgreSQL and Redshift all have it. It finds accidents, not forgeries. Many rows are hashed
//! at a time: one alone waits for itself at every step.

use std::fmt;

use fearless_simd::Level;
use md5::{Digest, Md5};
use millrace_operator_api::ports::{CanonicalForm, RowBatch};

use super::canonical::{Scratch, hashed};
use super::messages::{BLOCK, Messages};

/// Fewer, and the compiler unrolls the loops over them instead of making vectors.
const LANES: usize = 32;
const BITS: u32 = 60;
/// A row of so many bytes is hashed by itself: most lanes would have nothing to do beside it.
const LONG: usize = 1 << 20;

/// How many rows, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint {
    pub rows: u64,
    pub sum: u128,
}

impl Fingerprint {
    pub fn add(&mut self, hash: u64) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from(hash));
    }

    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Of the rows of both.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.merge(other);
        self
    }

    /// What [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (rows, sum) = text.strip_prefix("rows3:")?.split_once(':')?;
        Some(Self { rows: rows.parse().ok()?, sum: u128::from_str_radix(sum, 16).ok()? })
    }
}

/// `rows3:<count>:<sum in hex>`; the 3 is the version of the canonical texts and of the hash.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows3:{}:{:x}", self.rows, self.sum)
    }
}

/// Hashes rows of columns with these forms.
pub struct RowHasher {
    forms: Vec<CanonicalForm>,
    messages: Messages,
}

impl RowHasher {
    pub fn new(forms: Vec<CanonicalForm>) -> Self {
        Self { forms, messages: Messages::default() }
    }

    /// The hash of each row of the batch, in order. `columns` picks the batch's columns that are hashed, one for each form.
    pub fn hash_picked(&mut self, batch: &RowBatch, columns: &[usize], hashes: &mut Vec<u64>) {
        self.hash_rows(batch, |column| columns.get(column).copied(), hashes);
    }

    /// Adds the batch's rows, with all of their columns.
    pub fn add(&mut self, batch: &RowBatch, to: &mut Fingerprint) {
        let mut hashes = Vec::with_capacity(batch.len());
        self.hash_rows(batch, Some, &mut hashes);
        for hash in hashes {
            to.add(hash);
        }
    }

    /// `picks` says which of the batch's columns is the one of a form.
    fn hash_rows(&mut self, batch: &RowBatch, picks: impl Fn(usize) -> Option<usize>, hashes: &mut Vec<u64>) {
        let Self { forms, messages } = self;
        let picked: Vec<(usize, CanonicalForm)> =
            forms.iter().enumerate().filter_map(|(at, form)| Some((picks(at)?, *form))).collect();
        let may_be_long = batch.byte_len() >= LONG;
        for row in 0..batch.len() {
            let cells = picked.iter().map(|(column, form)| (batch.span(row, *column), *form));
            if may_be_long
                && cells.clone().filter_map(|(span, _)| span).map(|(start, end)| end - start).sum::<usize>() >= LONG
            {
                messages.hash(hashes);
                hashes.push(hash_alone(batch.bytes(), cells));
                continue;
            }
            for (span, form) in cells {
                messages.cell(batch.bytes(), span, form);
            }
            messages.end();
        }
        messages.hash(hashes);
    }
}

/// The hash of one row, whose cells are not copied where they are canonical as they are.
fn hash_alone(bytes: &[u8], cells: impl Iterator<Item = (Option<(usize, usize)>, CanonicalForm)>) -> u64 {
    let (mut hash, mut scratch) = (Md5::new(), Scratch::default());
    for (span, form) in cells {
        match span.and_then(|(start, end)| hashed(&bytes[start..end], form, &mut scratch)) {
            Some(text) => {
                hash.update(format!("{}:", text.len()));
                hash.update(text);
            }
            None => hash.update(b"~"),
        }
    }
    let digest = hash.finalize();
    let word = |at: usize| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
    digest_bits(word(0), word(4))
}

type Lanes = [u32; LANES];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

impl Messages {
    /// Appends the hash of each, in their order, by the widest instructions that the machine has, and forgets them.
    fn hash(&mut self, hashes: &mut Vec<u64>) {
        let (bytes, blocks) = (self.bytes(), self.blocks());
        fearless_simd::dispatch!(Level::new(), _simd => hash_with(bytes, blocks, hashes));
        self.clear();
    }
}

#[expect(clippy::inline_always, reason = "compiled once for each kind of machine")]
#[inline(always)]
fn hash_with(bytes: &[u8], blocks: &[u32], hashes: &mut Vec<u64>) {
    let first = hashes.len();
    hashes.resize(first + blocks.len(), 0);
    let hashes = &mut hashes[first..];
    let mut state = START.map(|word| [word; LANES]);
    // Of each lane: where its next block is, how many are left, whose they are.
    let (mut place, mut left, mut owner) = ([0_usize; LANES], [0_u32; LANES], [usize::MAX; LANES]);
    let (mut next, mut next_place) = (0, 0);
    loop {
        for lane in 0..LANES {
            if left[lane] > 0 {
                continue;
            }
            if let Some(hash) = hashes.get_mut(owner[lane]) {
                *hash = digest_bits(state[0][lane], state[1][lane]);
                owner[lane] = usize::MAX;
            }
            if let Some(count) = blocks.get(next) {
                (place[lane], left[lane], owner[lane]) = (next_place, *count, next);
                next += 1;
                next_place += *count as usize * BLOCK;
                for (word, start) in state.iter_mut().zip(START) {
                    word[lane] = start;
                }
            }
        }
        if left.iter().all(|left| *left == 0) {
            return;
        }
        let mut words = [[0_u32; LANES]; 16];
        for lane in 0..LANES {
            if left[lane] == 0 {
                continue;
            }
            let block = &bytes[place[lane]..place[lane] + BLOCK];
            for (word, four) in words.iter_mut().zip(block.chunks_exact(4)) {
                word[lane] = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            }
            place[lane] += BLOCK;
            left[lane] -= 1;
        }
        compress(&mut state, &words);
    }
}

/// The first 15 hexadecimal digits.
fn digest_bits(a: u32, b: u32) -> u64 {
    ((u64::from(a.swap_bytes()) << 32) | u64::from(b.swap_bytes())) >> (64 - BITS)
}

const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// One step of MD5 on every lane, into `a`.
#[expect(clippy::inline_always, reason = "inlined, its loop becomes vector instructions")]
#[inline(always)]
fn step<const SHIFT: u32>(
    mix: impl Fn(u32, u32, u32) -> u32,
    a: &mut Lanes,
    [b, c, d]: [&Lanes; 3],
    (word, sine): (&Lanes, u32),
) {
    for lane in 0..LANES {
        let sum = a[lane].wrapping_add(mix(b[lane], c[lane], d[lane])).wrapping_add(word[lane]).wrapping_add(sine);
        a[lane] = b[lane].wrapping_add(sum.rotate_left(SHIFT));
    }
}

/// Sixteen steps: each of the four words has its turn four times.
macro_rules! round {
    ($mix:expr, [$s0:literal, $s1:literal, $s2:literal, $s3:literal], $start:literal + $stride:literal, $first:literal,
     $words:ident, $a:ident, $b:ident, $c:ident, $d:ident) => {
        for turn in 0..4 {
            let at = 4 * turn;
            let word = |i: usize| (&$words[($start + $stride * (at + i)) % 16], SINES[$first + at + i]);
            step::<$s0>($mix, &mut $a, [&$b, &$c, &$d], word(0));
            step::<$s1>($mix, &mut $d, [&$a, &$b, &$c], word(1));
            step::<$s2>($mix, &mut $c, [&$d, &$a, &$b], word(2));
            step::<$s3>($mix, &mut $b, [&$c, &$d, &$a], word(3));
        }
    };
}

/// One block of every lane.
#[expect(clippy::inline_always, reason = "compiled once for each kind of machine")]
#[inline(always)]
fn compress(state: &mut [Lanes; 4], words: &[Lanes; 16]) {
    let [mut a, mut b, mut c, mut d] = *state;
    round!(|x, y, z| z ^ (x & (y ^ z)), [7, 12, 17, 22], 0 + 1, 0, words, a, b, c, d);
    round!(|x, y, z| y ^ (z & (x ^ y)), [5, 9, 14, 20], 1 + 5, 16, words, a, b, c, d);
    round!(|x, y, z| x ^ y ^ z, [4, 11, 16, 23], 5 + 3, 32, words, a, b, c, d);
    round!(|x, y, z: u32| y ^ (x | !z), [6, 10, 15, 21], 0 + 7, 48, words, a, b, c, d);
    for (word, added) in state.iter_mut().zip([a, b, c, d]) {
        for (word, added) in word.iter_mut().zip(added) {
            *word = word.wrapping_add(added);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(forms: &[CanonicalForm], rows: &[&[Option<&str>]]) -> Vec<u64> {
        let mut batch = RowBatch::new(forms.len());
        rows.iter().flat_map(|row| row.iter()).for_each(|cell| batch.push(cell.map(str::as_bytes)));
        let mut hashes = Vec::new();
        let columns: Vec<usize> = (0..forms.len()).collect();
        RowHasher::new(forms.to_vec()).hash_picked(&batch, &columns, &mut hashes);
        hashes
    }

    #[test]
    fn a_rows_hash_begins_as_the_md5_of_its_message() {
        let plain = [CanonicalForm::Plain; 3];
        assert_eq!(hash(&plain, &[&[Some("7"), None, Some("")]]), [0xcab_3873_cef6_4826], "printf '1:7~0:' | md5sum");
        // Just below, at and above the ends of blocks.
        let known: &[(usize, u64)] = &[
            (0, 0x9a1_c7ee_2c7c_e38d),
            (3, 0x19_ef08_86ba_8dfe),
            (52, 0x8eb_b413_e94e_4e26),
            (53, 0xb0e_2634_5c02_fe30),
            (60, 0x688_6cb3_f694_e3a7),
            (61, 0x356_94d9_2954_3ea8),
            (124, 0x8ef_4ca5_a149_a3e8),
            (125, 0xe61_4394_71bc_7cda),
            (1000, 0xd22_dd64_2596_f417),
        ];
        for (length, expected) in known {
            let text = "x".repeat(*length);
            assert_eq!(hash(&plain[..1], &[&[Some(&text)]]), [*expected], "{length} times x");
        }
    }

    #[test]
    fn messages_of_any_length_keep_their_order_and_their_hash() {
        let texts: Vec<String> = (0..200).map(|n| "x".repeat(n * 7 % 307)).collect();
        let rows: Vec<[Option<&str>; 1]> = texts.iter().map(|text| [Some(text.as_str())]).collect();
        let rows: Vec<&[Option<&str>]> = rows.iter().map(<[_; 1]>::as_slice).collect();
        let together = hash(&[CanonicalForm::Plain], &rows);
        for (row, hashed) in rows.iter().zip(&together) {
            assert_eq!(hash(&[CanonicalForm::Plain], &[row]), [*hashed], "{:?}", row[0].map(str::len));
        }
        let mut sorted = together.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 200, "all lengths and texts differ");
    }

    #[test]
    fn a_long_row_among_others_has_the_hash_that_it_has_among_its_like() {
        let texts = ["x".repeat(LONG - 1), "y".repeat(LONG), "z".to_owned()];
        let forms = [CanonicalForm::Plain, CanonicalForm::Padded, CanonicalForm::Float { bits: 64 }];
        let rows: Vec<[Option<&str>; 3]> = texts.iter().map(|text| [Some(text.as_str()), None, Some("0.10")]).collect();
        let rows: Vec<&[Option<&str>]> = rows.iter().map(<[_; 3]>::as_slice).collect();
        let together = hash(&forms, &rows);
        assert_eq!(together.len(), 3);
        for (row, hashed) in rows.iter().zip(&together) {
            assert_eq!(hash(&forms, &[row]), [*hashed]);
            let mut messages = Messages::default();
            for (cell, form) in row.iter().zip(forms) {
                let text = cell.unwrap_or_default().as_bytes();
                messages.cell(text, cell.map(|_| (0, text.len())), form);
            }
            messages.end();
            let mut in_lanes = Vec::new();
            messages.hash(&mut in_lanes);
            assert_eq!(in_lanes, [*hashed]);
        }
    }

    #[test]
    fn null_empty_and_shifted_cells_differ() {
        let plain = [CanonicalForm::Plain; 2];
        let rows: &[&[Option<&str>]] = &[
            &[None, Some("")],
            &[Some(""), None],
            &[Some("~"), Some("")],
            &[Some("ab"), Some("c")],
            &[Some("a"), Some("bc")],
            &[Some("a2:bc"), None],
        ];
        let mut hashes = hash(&plain, rows);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), rows.len());
    }

    #[test]
    fn fingerprints_add_up_in_any_order_and_are_read_back() {
        let (mut one, mut other) = (Fingerprint::default(), Fingerprint::default());
        for hash in [5, (1 << 60) - 1, 7] {
            one.add(hash);
        }
        for hash in [7, 5, (1 << 60) - 1] {
            other.add(hash);
        }
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "rows3:3:100000000000000b");
        assert_eq!(Fingerprint::parse(&one.to_string()), Some(one));
        assert_eq!(Fingerprint::parse("sha256:00"), None);
    }
}
