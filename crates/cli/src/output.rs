//! How lists and single things are printed: `-o table|json|yaml|plain`. Data goes to standard output, notices to standard
//! error; a closed pipe is not a failure.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use clap::ValueEnum;

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;
use serde_json::Value;

/// A line below the header, and nothing else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
    /// Columns separated by two spaces, without borders: for `awk`.
    Plain,
}

/// Prints a list. `columns` says what table and plain show, in this order; json and yaml show every field.
pub fn print_list<T: Serialize>(format: Format, columns: &[&str], rows: &[T]) -> anyhow::Result<()> {
    let rows: Vec<Value> = rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    let text = match format {
        Format::Json => json(&Value::Array(rows))?,
        Format::Yaml => yaml(&Value::Array(rows))?,
        Format::Table => table(columns, &rows),
        Format::Plain => plain(columns, &rows),
    };
    print_text(&text)
}

/// Prints one thing: a list of `key  value` for people, an object for programs.
pub fn print_one<T: Serialize>(format: Format, thing: &T) -> anyhow::Result<()> {
    let value = serde_json::to_value(thing)?;
    let text = match format {
        Format::Json => json(&value)?,
        Format::Yaml => yaml(&value)?,
        Format::Table | Format::Plain => {
            let Value::Object(map) = &value else { return print_text(&cell(&value)) };
            let rows: Vec<Vec<String>> = map.iter().map(|(key, value)| vec![key.clone(), cell(value)]).collect();
            aligned(&rows)
        }
    };
    print_text(&text)
}

/// Writes to standard output, with a line break at the end. A terminal obeys no sequence of it but those of colours, for
/// what tasks print, and what others wrote, may set its title, make links or write into its clipboard. A file or pipe gets
/// it as it is.
pub fn print_text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { Cow::Owned(tamed(text)) } else { Cow::Borrowed(text) };
    let written =
        out.write_all(text.as_bytes()).and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
    ignore_closed_pipe(written.and_then(|()| out.flush()))
}

/// Control characters written as `^[`, but for tabs, ends of lines and sequences of colours.
fn tamed(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after = rest
            .strip_prefix("\u{1b}[")
            .map_or("", |after| after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
        let length = match letter {
            '\u{1b}' if after.starts_with('m') => rest.len() - after.len() + 1,
            _ => letter.len_utf8(),
        };
        match letter {
            '\n' | '\t' => shown.push(letter),
            '\u{1b}' if length > 1 => shown.push_str(&rest[..length]),
            '\0'..='\u{1f}' => shown.extend(['^', char::from(letter as u8 + 64)]),
            '\u{7f}' => shown.push_str("^?"),
            '\u{80}'..='\u{9f}' => shown.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => shown.push(letter),
        }
        rest = &rest[length..];
    }
    shown
}

/// "1 file", "2 files"; `of` is the word for one.
pub fn counted(count: impl Display, of: &str) -> String {
    let count = count.to_string();
    let ending = if count == "1" { "" } else { "s" };
    format!("{count} {of}{ending}")
}

/// Names that one line lists.
const LISTED: usize = 5;

/// The first of the names, and how many more there are.
pub fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED { format!("{shown} and {} more", names.len() - LISTED) } else { shown }
}

/// Writes a sentence for a person to standard error.
pub fn notice(text: impl AsRef<str>) {
    // Nobody may be listening, and there is nowhere else to say so.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

fn ignore_closed_pipe(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("could not write to standard output"),
    }
}

fn json(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

fn yaml(value: &Value) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).map_err(|e| anyhow::anyhow!("could not write YAML: {e}"))
}

/// A value as it stands in a table: texts bare, null as nothing, lists joined.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace(['\n', '\t'], " "),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn cells(columns: &[&str], row: &Value) -> Vec<String> {
    columns.iter().map(|column| cell(&row[*column])).collect()
}

fn table(columns: &[&str], rows: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().copied());
    for row in rows {
        table.add_row(cells(columns, row));
    }
    table.trim_fmt()
}

fn plain(columns: &[&str], rows: &[Value]) -> String {
    let mut lines = vec![columns.iter().map(|c| (*c).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| cells(columns, row)));
    aligned(&lines)
}

/// Pads every column but the last to its widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, value) in row.iter().enumerate() {
            line.push_str(value);
            if index + 1 < columns {
                line.push_str(&" ".repeat(widths[index] - value.chars().count() + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_terminal_obeys_nothing_of_a_log_but_colours() {
        let text = "\u{1b}[1;31mred\u{1b}[0m\t\u{1b}]0;title\u{7} \u{1b}]8;;http://x\u{1b}\\\\ \u{1b}[2J\u{1b}[3\r\u{9b}31m\u{7f} 한\n";
        let shown = "\u{1b}[1;31mred\u{1b}[0m\t^[]0;title^G ^[]8;;http://x^[\\\\ ^[[2J^[[3^M\\u009b31m^? 한\n";
        assert_eq!(tamed(text), shown);
    }

    #[test]
    fn plain_is_aligned_and_shows_lists() {
        let rows = vec![json!({"a": "x", "b": ["p", "q"]}), json!({"a": "longer", "b": null})];
        assert_eq!(plain(&["a", "b"], &rows), "a       b\nx       p, q\nlonger\n");
    }
}
