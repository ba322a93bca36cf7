//! Parameters of a list, as they stand in an address.

use std::str::FromStr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use http::request::Parts;
use millrace_model::instant::parse_instant;
use millrace_model::state::{RunState, RunType, TaskState};

use crate::problem::{Answer, Problem};

/// The most rows that one answer holds.
pub(crate) const MOST_ROWS: u64 = 100;
const USUAL_ROWS: u64 = 50;
pub(crate) const FARTHEST: u64 = 1 << 40;

/// Name and value, in the order of the address.
pub(crate) struct Parameters(pub Vec<(String, String)>);

/// The empty ones are there, too.
impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = QueryRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Query(given) = Query::from_request_parts(parts, state).await?;
        Ok(Self(given))
    }
}

impl Parameters {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// As it was sent; an empty one is neither number nor flag.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str()).collect()
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Answer<Option<T>> {
        let read = |text: &str| text.parse().map_err(|_| not_whole(name, text));
        self.given(name).map(read).transpose()
    }

    /// Of a form, where a field that was left empty says nothing.
    pub fn filled_number<T: FromStr>(&self, name: &str) -> Answer<Option<T>> {
        if self.text(name).is_none() { Ok(None) } else { self.number(name) }
    }

    pub fn flag(&self, name: &str) -> Answer<Option<bool>> {
        match self.given(name) {
            None => Ok(None),
            // Python's clients write them with a capital.
            Some("true" | "True") => Ok(Some(true)),
            Some("false" | "False") => Ok(Some(false)),
            Some(other) => {
                Err(Problem::invalid(format!("parameter '{name}' must be true or false, not '{}'", shortened(other))))
            }
        }
    }

    /// Limit (50 unless told, never more than 100) and offset.
    pub fn page(&self) -> Answer<(u64, u64)> {
        let limit = self.number::<u64>("limit")?.unwrap_or(USUAL_ROWS).min(MOST_ROWS);
        Ok((limit, self.offset()?))
    }

    pub fn instant(&self, name: &str) -> Answer<Option<DateTime<Utc>>> {
        let read = |text| {
            parse_instant(text, Tz::UTC).map_err(|error| Problem::invalid(format!("parameter '{name}': {error}")))
        };
        self.text(name).map(read).transpose()
    }

    /// Beyond every row there can be, one is as good as the other: sums with it stay in range.
    pub fn offset(&self) -> Answer<u64> {
        Ok(self.number::<u64>("offset")?.unwrap_or(0).min(FARTHEST))
    }

    /// `order_by`: a name, with `-` before it for the other direction. Gives the name and whether it goes down.
    pub fn order<'n>(&self, names: &[&'n str]) -> Answer<Option<(&'n str, bool)>> {
        let Some(text) = self.text("order_by") else { return Ok(None) };
        let (wanted, is_descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        match names.iter().find(|name| **name == wanted) {
            Some(name) => Ok(Some((name, is_descending))),
            None => Err(unknown("order_by", text, names)),
        }
    }

    pub fn run_states(&self) -> Answer<Vec<RunState>> {
        self.run_states_of("state")
    }

    pub fn run_states_of(&self, name: &str) -> Answer<Vec<RunState>> {
        self.all(name)
            .into_iter()
            .map(|text| RunState::parse(text).ok_or_else(|| unknown(name, text, RunState::ALL)))
            .collect()
    }

    pub fn task_states(&self) -> Answer<Vec<TaskState>> {
        self.all("state")
            .into_iter()
            .map(|text| TaskState::parse(text).ok_or_else(|| unknown("state", text, TaskState::ALL)))
            .collect()
    }

    pub fn run_type(&self) -> Answer<Option<RunType>> {
        self.text("run_type")
            .map(|text| RunType::parse(text).ok_or_else(|| unknown("run_type", text, RunType::ALL)))
            .transpose()
    }
}

pub(crate) fn not_whole(name: &str, text: &str) -> Problem {
    Problem::invalid(format!("parameter '{name}' must be a whole number, not '{}'", shortened(text)))
}

pub(crate) fn unknown(name: &str, text: &str, known: &[impl ToString]) -> Problem {
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    Problem::invalid(format!("parameter '{name}' must be one of {}, not '{}'", known.join(", "), shortened(text)))
}

pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn pages_are_capped() {
        assert_eq!(parameters(&[]).page().unwrap(), (50, 0));
        assert_eq!(parameters(&[("limit", "1000"), ("offset", "7")]).page().unwrap(), (100, 7));
        assert_eq!(parameters(&[("offset", "18446744073709551615")]).page().unwrap(), (50, FARTHEST));
        assert_eq!(parameters(&[("limit", "-1")]).page().unwrap_err().code.http_status, 422);
        assert_eq!(parameters(&[("limit", "")]).page().unwrap_err().code.http_status, 422);
        assert_eq!(parameters(&[("runs", "")]).filled_number::<u64>("runs").unwrap(), None);
        assert_eq!(parameters(&[("offset", "x")]).page().unwrap_err().code.http_status, 422);
    }

    #[test]
    fn states_and_flags_are_words() {
        assert_eq!(
            parameters(&[("state", "failed"), ("state", "running")]).run_states().unwrap(),
            [RunState::Failed, RunState::Running]
        );
        let problem = parameters(&[("state", "green")]).run_states().unwrap_err();
        assert!(problem.detail.contains("queued, running, success, failed"), "{}", problem.detail);
        assert_eq!(parameters(&[("paused", "false")]).flag("paused").unwrap(), Some(false));
        assert!(parameters(&[("paused", "maybe")]).flag("paused").is_err());
    }
}
