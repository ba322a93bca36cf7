//! Files that mean harm, or are no files at all: an answer, soon, in little memory.

use millrace_dagfile::{MAX_FILE_SIZE, ReadOptions, ReadResult, read_dag_bytes, render_all};

use crate::catalogue::CATALOGUE;

fn read(bytes: &[u8]) -> ReadResult {
    let result = read_dag_bytes(bytes, &ReadOptions::new("x.yaml", CATALOGUE));
    // Showing it must work as well.
    let rendered = render_all(&result.diagnostics, "x.yaml", &String::from_utf8_lossy(bytes));
    assert!(rendered.len() < 100_000, "{} bytes of diagnostics", rendered.len());
    assert!(!rendered.contains('\u{1b}'));
    result
}

fn refused(bytes: &[u8], message: &str) {
    let result = read(bytes);
    assert!(result.dags.is_empty());
    let found: Vec<&str> = result.diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
    assert!(found.iter().any(|text| text.contains(message)), "{message}: {found:?}");
}

#[test]
fn aliases_cannot_explode() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    refused(text.as_bytes(), "more than 100000 values");

    let long = "x".repeat(500_000);
    let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 2_000].join(", "));
    refused(text.as_bytes(), "more than 4 MiB of text");

    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    refused(text.as_bytes(), "nested more than 64 deep");

    let mut text = "m0: &m0 {k: v}\n".to_owned();
    for level in 1..200 {
        text.push_str(&format!("m{level}: &m{level} {{<<: *m{0}, k{level}: *m{0}}}\n", level - 1));
    }
    refused(text.as_bytes(), "more than");

    refused(b"a: &a [*a]\n", "inside the value that it refers to");
    refused(b"a: *nowhere\n", "unknown anchor");
}

#[test]
fn nesting_is_bounded() {
    refused("[".repeat(100_000).as_bytes(), "nested too deep");
    refused("[\n".repeat(100).as_bytes(), "nested more than 64 deep");
    refused("{a: ".repeat(100_000).as_bytes(), "nested");
    refused("- ".repeat(100_000).as_bytes(), "nested more than 64 deep");
    let steps: String = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused(steps.as_bytes(), "nested more than 64 deep");
}

#[test]
fn size_is_bounded() {
    refused(&vec![b'a'; 2 * 1024 * 1024], "at most 1024 KiB");
    let many: String = (0..110_000).map(|_| "- a\n").collect();
    refused(many.as_bytes(), "more than 100000 values");
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let result = read(b"dag_id: x\n# \xc3\xa9 \xff\n");
    assert_eq!((result.diagnostics[0].line, result.diagnostics[0].column), (2, 5));
    refused(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0xff, 0xfe], "not text");
    refused(b"a: \x1b[31m\x00\x07\n", "");
    refused(b"", "the file is empty");
    refused(b"# nothing\n", "the file is empty");
    refused(b"---\n...\n", "the file is empty");
    refused(b"a: 1\n---\nb: 2\n", "a second document");
}

#[test]
fn a_long_line_is_quick() {
    let keys: String = (0..40_000).map(|index| format!("k{index}: é, ")).collect();
    let text = format!("params: {{{keys}}}\ntasks: {{a: {{operator: empty}}}}\n");
    assert!(text.len() < MAX_FILE_SIZE);
    assert!(read(text.as_bytes()).dags.len() == 1);

    let unknown: String = (0..20_000).map(|index| format!("k{index}: é, ")).collect();
    let result = read(format!("{{{unknown}}}").as_bytes());
    assert_eq!(result.diagnostics.len(), 100);
    assert!(result.diagnostics[99].message.contains("more problems"));
}

#[test]
fn many_tasks_are_quick() {
    let tasks: String =
        (0..5_000).map(|n| format!("  t{n}: {{operator: empty, depends_on: [t{}]}}\n", n.max(1) - 1)).collect();
    let result = read(format!("tasks:\n{tasks}").as_bytes());
    // The first depends on itself.
    assert_eq!(result.diagnostics.len(), 1, "{:?}", result.diagnostics);
    let tasks = tasks.replacen(", depends_on: [t0]", "", 1);
    assert_eq!(read(format!("tasks:\n{tasks}").as_bytes()).dags[0].tasks.len(), 5_000);
}

#[test]
fn wide_files_cost_no_squares() {
    let tags: String = (0..90_000).map(|n| format!("t{n},")).collect();
    assert_eq!(
        read(format!("tags: [{tags}]\ntasks: {{a: {{operator: empty}}}}\n").as_bytes()).dags[0].tags.len(),
        90_000
    );

    refused(format!("tasks: {{a: {{operator: empty, depends_on: [{tags}]}}}}\n").as_bytes(), "depends on 't0'");

    let shared: String = (0..20_000).map(|n| format!("  k{n}: 1\n")).collect();
    let tasks: String = (0..5_000).map(|n| format!("  t{n}: {{operator: empty}}\n")).collect();
    refused(format!("default_args:\n{shared}tasks:\n{tasks}").as_bytes(), "unknown key 'k0'");

    let templates: String = (0..15_000).map(|n| format!("k{n}: '{{{{ x{n} }}}}', ")).collect();
    refused(
        format!("tasks: {{a: {{operator: bash, bash_command: a, env: {{{templates}}}}}}}\n").as_bytes(),
        "uses 'x0'",
    );
}

/// Small and repeatable: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn mutated_files_never_panic() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut seeds: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    seeds.sort();
    let pieces: [&[u8]; 24] = [
        b"{{",
        b"}}",
        b"{%",
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!int ",
        b"- ",
        b": ",
        b"\n",
        b"\n  ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"'",
        b"\"",
        b"|\n",
        b"#",
        b"? ",
        b"\t",
        b"\xc3\xa9",
        b"\xff",
        b"%YAML 1.2\n---\n",
    ];
    let mut dice = Dice(0x5eed_1234_5678_9abc);
    for round in 0..4_000 {
        let mut bytes = seeds[dice.roll(seeds.len())].clone();
        for _ in 0..=dice.roll(6) {
            let at = dice.roll(bytes.len() + 1);
            match dice.roll(4) {
                0 => drop(bytes.splice(at..at, pieces[dice.roll(pieces.len())].iter().copied())),
                1 => bytes.truncate(at.max(1)),
                2 if at < bytes.len() => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
                _ => {
                    let end = (at + dice.roll(40)).min(bytes.len());
                    let cut: Vec<u8> = bytes.drain(at..end).collect();
                    let to = dice.roll(bytes.len() + 1);
                    bytes.splice(to..to, cut);
                }
            }
        }
        let result = read(&bytes);
        assert_eq!(result.dags.is_empty(), result.has_errors(), "round {round}");
    }
}
