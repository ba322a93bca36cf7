//! Dates and times in texts: the forms in which they may be written, and what one of them says.

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

/// Tried in this order.
const USUAL: &[&str] = &[
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
];

/// Why a form can't be used.
pub fn form_problem(form: &str) -> Option<String> {
    if StrftimeItems::new(form).any(|item| item == Item::Error) {
        return Some(format!("'{form}' is no format; write one such as %Y-%m-%d %H:%M:%S"));
    }
    (!form.contains('%')).then(|| format!("'{form}' names no part of a date, such as %Y"))
}

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenMoment {
    /// As it stands there, whatever its offset.
    pub clock: NaiveDateTime,
    /// Where it says how far the clock was from UTC.
    pub utc: Option<NaiveDateTime>,
}

/// The forms that are tried, in their order.
#[derive(Debug, Clone)]
pub struct Forms(Vec<String>);

impl Forms {
    /// `None`: the usual ones.
    pub fn new(forms: Option<&[String]>) -> Self {
        Self(forms.map_or_else(|| USUAL.iter().map(|form| (*form).to_owned()).collect(), <[String]>::to_vec))
    }

    /// What the first form says that the text has; otherwise why it says nothing.
    pub fn read(&self, text: &str) -> Result<WrittenMoment, String> {
        self.0
            .iter()
            .find_map(|form| read(text.trim(), form))
            .ok_or_else(|| format!("is in none of the forms {}", self.0.join(", ")))
    }
}

fn read(text: &str, form: &str) -> Option<WrittenMoment> {
    let written = parse(text, form)?;
    // chrono takes 24 for the year 24.
    let is_whole = !form.contains("%Y") || text.contains(&format!("{:04}", written.clock.year().unsigned_abs()));
    is_whole.then_some(written)
}

fn parse(text: &str, form: &str) -> Option<WrittenMoment> {
    if ["%z", "%:z", "%#z"].iter().any(|zone| form.contains(zone)) {
        let text = text.strip_suffix('Z').map_or_else(|| text.to_owned(), |text| format!("{text}+00:00"));
        let at = DateTime::parse_from_str(&text, form).ok()?;
        return Some(WrittenMoment { clock: at.naive_local(), utc: Some(at.naive_utc()) });
    }
    let clock = NaiveDateTime::parse_from_str(text, form)
        .ok()
        .or_else(|| NaiveDate::parse_from_str(text, form).ok()?.and_hms_opt(0, 0, 0))?;
    Some(WrittenMoment { clock, utc: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_have_all_of_their_digits() {
        let said =
            |text: &str, forms: Option<&[String]>| Forms::new(forms).read(text).map(|said| said.clock.to_string());
        assert_eq!(said("2024-01-02", None).as_deref(), Ok("2024-01-02 00:00:00"));
        assert_eq!(said("0024/1/2", None).as_deref(), Ok("0024-01-02 00:00:00"));
        for text in ["24-01-02", "1/2/24", "05/06/07", "24/01/02 10:00:00"] {
            assert!(said(text, None).is_err_and(|why| why.starts_with("is in none of the forms")), "{text}");
        }
        let german = |form: &str| vec![form.to_owned()];
        assert!(said("1.2.24", Some(&german("%d.%m.%Y"))).is_err());
        assert_eq!(said("1.2.24", Some(&german("%d.%m.%y"))).as_deref(), Ok("2024-02-01 00:00:00"));
    }
}
