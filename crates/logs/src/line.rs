//! One line of a log.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Debug, Self::Info, Self::Warning, Self::Error].into_iter().find(|level| level.as_str() == text)
    }
}

/// A line as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `None` when the line was not written by us (a cut file, say).
    pub at: Option<DateTime<Utc>>,
    pub level: Level,
    pub text: String,
}

impl LogLine {
    pub fn parse(line: &str) -> Self {
        let parsed = line.split_once(' ').and_then(|(at, rest)| {
            let at = DateTime::parse_from_rfc3339(at).ok()?.with_timezone(&Utc);
            let (level, text) = rest.split_once(' ').unwrap_or((rest, ""));
            Some(Self { at: Some(at), level: Level::parse(level)?, text: text.to_owned() })
        });
        parsed.unwrap_or_else(|| Self { at: None, level: Level::Info, text: line.to_owned() })
    }

    /// Appends the lines of a text to `out`, each with instant and level.
    pub fn write(out: &mut String, at: DateTime<Utc>, level: Level, text: &str) {
        let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        for line in text.split('\n') {
            out.push_str(&at);
            out.push(' ');
            out.push_str(level.as_str());
            out.push(' ');
            out.push_str(line.trim_end_matches('\r'));
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back() {
        let at = DateTime::parse_from_rfc3339("2024-01-01T02:03:04.000005Z").unwrap().with_timezone(&Utc);
        let mut out = String::new();
        LogLine::write(&mut out, at, Level::Warning, "two\nlines ");
        assert_eq!(out, "2024-01-01T02:03:04.000005Z WARNING two\n2024-01-01T02:03:04.000005Z WARNING lines \n");
        let lines: Vec<LogLine> = out.lines().map(LogLine::parse).collect();
        assert_eq!(lines[1], LogLine { at: Some(at), level: Level::Warning, text: "lines ".into() });
        assert_eq!(LogLine::parse("from elsewhere").text, "from elsewhere");
    }
}
