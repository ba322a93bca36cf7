//! Inputs that nobody thought of: texts of a corpus, changed at random but repeatably.
//!
//! A few hundred of them in a test run; for as long as `MILLRACE_FUZZ_SECONDS` says where that is set, from the seed
//! `MILLRACE_FUZZ_SEED`. An input that lets the check say something that it has not said yet joins the corpus: that
//! leads deeper than chance alone, and needs no compiler that counts branches.
//!
//! The input that is at work stands in a file, which is left behind by whatever ends the process: a panic, a full stack,
//! a hang. Those of panics are kept in `tests/fuzz/NAME` of the repository, and are the first inputs of each later run.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An input that takes longer hangs, also on a machine that has much else to do.
const HANGS: Duration = Duration::from_mins(1);
const LONGEST: usize = 64 * 1024;

/// One thing that takes input.
#[derive(Debug)]
pub struct Fuzz {
    name: &'static str,
    rounds: u64,
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Fuzz {
    /// `rounds` inputs unless a time is given.
    pub fn new(name: &'static str, rounds: u64) -> Self {
        Self { name, rounds, corpus: Vec::new(), words: Vec::new() }
    }

    /// An input to begin with.
    #[must_use]
    pub fn seed(mut self, input: impl AsRef<[u8]>) -> Self {
        self.corpus.push(input.as_ref().to_vec());
        self
    }

    /// Inputs to begin with.
    #[must_use]
    pub fn seeds(mut self, inputs: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.corpus.extend(inputs.into_iter().map(|input| input.as_ref().to_vec()));
        self
    }

    /// The files of a folder of the repository whose names end so, those below included.
    #[must_use]
    pub fn files(mut self, folder: &str, ending: &str) -> Self {
        let mut folders = vec![repository().join(folder)];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.push(path);
                }
            }
        }
        // The same order on each machine.
        found.sort();
        assert!(!found.is_empty(), "there is no file *{ending} in {folder}");
        self.corpus.extend(found.iter().filter_map(|path| fs::read(path).ok()));
        self
    }

    /// What the input is made of: put in, and in the place of something else.
    #[must_use]
    pub fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        self
    }

    /// Panics with the first input that `check` panics on. What it returns says which way the input took.
    pub fn run<Way: Hash>(mut self, check: impl Fn(&[u8]) -> Way) {
        let seconds: u64 = number("MILLRACE_FUZZ_SECONDS");
        let mut random = Random(number("MILLRACE_FUZZ_SEED"));
        let at_work = AtWork::begin(self.name);
        let kept = repository().join("tests/fuzz").join(self.name);
        let mut first: Vec<Vec<u8>> = at_work.left_behind.iter().cloned().collect();
        let mut names: Vec<PathBuf> = fs::read_dir(&kept).into_iter().flatten().flatten().map(|it| it.path()).collect();
        names.sort();
        first.extend(names.iter().filter_map(|path| fs::read(path).ok()));
        first.extend(self.corpus.iter().cloned());

        let mut ways = HashSet::new();
        let mut attempt = |input: &[u8]| {
            at_work.on(input);
            match catch_unwind(AssertUnwindSafe(|| check(input))) {
                Ok(way) => ways.insert(digest(&way)),
                Err(panic) => {
                    let file = kept.join(format!("{:016x}", digest(&input)));
                    let written = fs::create_dir_all(&kept).and_then(|()| fs::write(&file, input));
                    let text = String::from_utf8_lossy(&input[..input.len().min(2000)]);
                    let place = written.map_or_else(|error| error.to_string(), |()| file.display().to_string());
                    at_work.end();
                    panic!("{}: {}\nthe input, kept in {place}:\n{text}", self.name, said(&*panic));
                }
            }
        };
        for input in &first {
            attempt(input);
        }
        let began = Instant::now();
        let mut round = 0;
        while if seconds > 0 { began.elapsed().as_secs() < seconds } else { round < self.rounds } {
            let input = changed(&mut random, &self.corpus, &self.words);
            if attempt(&input) {
                self.corpus.push(input);
            }
            round += 1;
        }
        let count = ways.len();
        assert!(count > 1, "{}: all inputs take one way; what is looked at?", self.name);
        if seconds > 0 {
            at_work.say(&format!("{}: {round} inputs, {count} ways", self.name));
        }
        at_work.end();
    }
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn number(variable: &str) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

/// The input that is looked at, in a file and under watch.
struct AtWork {
    path: PathBuf,
    file: Option<fs::File>,
    left_behind: Option<Vec<u8>>,
    since: Arc<Mutex<Option<Instant>>>,
}

impl AtWork {
    fn begin(name: &'static str) -> Self {
        let folder = repository().join("target/fuzz");
        // Without it, an input that ends the process is lost; the panics are not.
        let _ = fs::create_dir_all(&folder);
        let path = folder.join(name);
        let left_behind = fs::read(&path).ok();
        let file = fs::File::create(&path).ok();
        let since = Arc::new(Mutex::new(Some(Instant::now())));
        let (watched, shown) = (since.clone(), path.clone());
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let since = *watched.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(since) = since else { return };
                if since.elapsed() > HANGS {
                    complain(&format!("{name}: an input took longer than {HANGS:?}; it is in {}", shown.display()));
                    std::process::abort();
                }
            }
        });
        Self { path, file, left_behind, since }
    }

    fn on(&self, input: &[u8]) {
        // Kept open: for small inputs, opening would be most of the work.
        if let Some(file) = &self.file {
            let _ = file.set_len(0).and_then(|()| file.write_all_at(input, 0));
        }
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    #[expect(clippy::unused_self, reason = "said of what it was at work on")]
    fn say(&self, text: &str) {
        complain(text);
    }

    fn end(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = fs::remove_file(&self.path);
    }
}

#[expect(clippy::print_stderr, reason = "for whoever runs it")]
fn complain(text: &str) {
    eprintln!("{text}");
}

/// SplitMix64: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end`, without it; 0 for nothing.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    fn of<'a>(&mut self, things: &'a [Vec<u8>]) -> &'a [u8] {
        let place = self.below(things.len());
        things.get(place).map_or(&[], Vec::as_slice)
    }

    /// A part of so many bytes; mostly a short one.
    fn part(&mut self, length: usize) -> (usize, usize) {
        let begin = self.below(length + 1);
        let most = if self.below(4) == 0 { length - begin } else { 12.min(length - begin) };
        (begin, begin + self.below(most + 1))
    }
}

/// Numbers at which something ends.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "7",
    "29",
    "31",
    "59",
    "60",
    "99",
    "255",
    "256",
    "1000",
    "32768",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e308",
    "1e-400",
    "0.1",
    "00",
];

/// What text is hard to be right about.
const PIECES: &[&str] = &[
    "\0", "\n", "\r\n", "\t", " ", "\"", "'", "`", "\\", "{", "}", "[", "]", "(", ")", "{{", "}}", "{%", "%}", "{#",
    "#}", ":", ": ", ",", "-", "- ", "*", "&a", "*a", "!", "!!", "|", ">", "%", "%00", "%ff", "@", "#", "/", "//",
    "..", "~", "=", "?", ";", "\u{feff}", "\u{202e}", "é", "한", "😀", "\u{0301}", "null", "true", "\u{2028}", "<<",
    "---", "...", "\u{85}",
];

fn changed(random: &mut Random, corpus: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    let mut input = random.of(corpus).to_vec();
    for _ in 0..=random.below(4) {
        change(random, &mut input, corpus, words);
    }
    input.truncate(LONGEST);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[Vec<u8>]) {
    let (begin, end) = random.part(input.len());
    match random.below(10) {
        0 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] ^= 1 << random.below(8);
        }
        1 => drop(input.drain(begin..end)),
        2 => {
            let most = if random.below(20) == 0 { 400 } else { 3 };
            let part = input[begin..end].repeat(1 + random.below(most));
            input.splice(begin..begin, part);
        }
        3 => {
            let other = random.of(corpus).to_vec();
            let (from, to) = random.part(other.len());
            input.splice(begin..end, other[from..to].iter().copied());
        }
        4 | 5 => {
            let piece = PIECES[random.below(PIECES.len())];
            let end = if random.below(2) == 0 { begin } else { end };
            input.splice(begin..end, piece.bytes());
        }
        6 => replace_number(random, input),
        7 => move_line(random, input),
        _ => {
            let word = random.of(words).to_vec();
            let end = if random.below(2) == 0 { begin } else { end };
            input.splice(begin..end, word);
        }
    }
}

fn replace_number(random: &mut Random, input: &mut Vec<u8>) {
    let from = random.below(input.len());
    let Some(begin) = input[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else { return };
    let length = input[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[random.below(NUMBERS.len())];
    input.splice(begin..begin + length, number.bytes());
}

/// Away, to another place, or there too.
fn move_line(random: &mut Random, input: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = input.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let place = random.below(lines.len());
    let way = random.below(3);
    let Some(line) = lines.get(place).cloned() else { return };
    if way < 2 {
        lines.remove(place);
    }
    if way > 0 {
        let place = random.below(lines.len() + 1);
        lines.insert(place, line);
    }
    *input = lines.concat();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_check_is_found_kept_and_tried_again_first() {
        let kept = repository().join("tests/fuzz/fuzz_itself");
        let find = || {
            let found = catch_unwind(|| {
                Fuzz::new("fuzz_itself", 5_000).seed("abcdef 7").words(&["ab", "boom"]).run(|input| {
                    let is_bad = input.windows(4).any(|part| part == b"boom") && input.contains(&b'7');
                    assert!(!is_bad, "this one");
                    input.split(|byte| *byte == b'b').count().min(3)
                });
            });
            found.expect_err("it is found").downcast_ref::<String>().cloned().unwrap_or_default()
        };
        let said = find();
        assert!(said.contains("this one") && said.contains("fuzz_itself/"), "{said}");
        assert_eq!(find(), said, "the same input, at once");
        let files = fs::read_dir(&kept).expect("a folder").count();
        fs::remove_dir_all(&kept).expect("goes");
        assert_eq!(files, 1);
    }
}
