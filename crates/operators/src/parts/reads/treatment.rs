//! What happens to columns on their way from the source to a file: personal data is masked, hashed or left out, clocks
//! without a zone become UTC, and dates that are none are refused or become NULL.
//!
//! Values are changed before anything else sees them: encoders, errors, logs and ledger know the treated ones only.

mod clock;
mod rows;

use std::collections::BTreeMap;

use chrono_tz::Tz;
use futures::{StreamExt, stream};
use millrace_model::ledger::{DROPPED, MASKED, hash_key_of, hashed_with, moved_from, zone_moved_from};
use millrace_operator_api::ports::{RowStream, SourceColumn, SqlSource, ValueType};
use millrace_operator_api::{PortError, PortErrorKind, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::{JsonSchema, Schema};
use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::parts::column_name::position;
use crate::parts::parameter::rendered_option;
use crate::parts::written_moments::Forms;
pub use clock::Leaps;
use rows::treated;

/// Characters of a hash.
pub const HASH_LENGTH: u64 = 64;

/// What is done to a column: `mask`, `hash`, `drop`, or `{timezone: Asia/Seoul}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Treatment {
    Personal(Personal),
    Clock(Clock),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Personal {
    /// Every value becomes `***`.
    Mask,
    /// Every value becomes its HMAC-SHA256, 64 hexadecimal digits: equal values stay equal, and without the key nobody
    /// finds them by trying.
    Hash,
    /// The column is left out.
    Drop,
}

impl Personal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::Hash => "hash",
            Self::Drop => "drop",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Mask, Self::Hash, Self::Drop].into_iter().find(|known| known.name() == name)
    }
}

/// Which columns were masked, hashed or left out, by the ledger's words for what became of them.
pub fn personal_columns(changed: &BTreeMap<String, String>) -> BTreeMap<String, Personal> {
    let done = |how: &str| match how {
        MASKED => Some(Personal::Mask),
        DROPPED => Some(Personal::Drop),
        how => hash_key_of(how).map(|_| Personal::Hash),
    };
    changed.iter().filter_map(|(name, how)| Some((name.clone(), done(how)?))).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The zone whose clocks the column's times were read from.
    pub timezone: String,
}

/// What is done with dates that no calendar has, such as MySQL's `0000-00-00`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = or_nothing)]
pub enum ZeroDates {
    #[default]
    Error,
    Null,
    Keep,
}

impl<'de> Deserialize<'de> for ZeroDates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `null` without quotes is nothing to YAML.
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("null") => Ok(Self::Null),
            Some("error") => Ok(Self::Error),
            Some("keep") => Ok(Self::Keep),
            Some(other) => Err(D::Error::unknown_variant(other, &["error", "null", "keep"])),
        }
    }
}

fn or_nothing(schema: &mut Schema) {
    schema.insert("type".to_owned(), json!(["string", "null"]));
    if let Some(words) = schema.get_mut("enum").and_then(|words| words.as_array_mut()) {
        words.push(Value::Null);
    }
}

pub type Treatments = BTreeMap<String, Treatment>;

/// Finds mistakes that show in the file already.
pub fn check(columns: &Treatments, has_key: bool, source_timezone: Option<&str>, problems: &mut Problems) {
    let is_hash = |treatment: &Treatment| *treatment == Treatment::Personal(Personal::Hash);
    if !has_key && let Some((name, _)) = columns.iter().find(|(_, treatment)| is_hash(treatment)) {
        problems.add(
            format!("columns.{name}"),
            "hash needs hash_conn_id, the connection whose password is the key: without a key anybody finds e-mail \
             addresses or numbers by trying",
        );
    }
    for (name, treatment) in columns {
        if let Treatment::Clock(clock) = treatment
            && let Err(problem) = zone(&clock.timezone)
        {
            problems.add(format!("columns.{name}"), problem);
        }
    }
    if let Some(name) = source_timezone
        && let Err(problem) = zone(name)
    {
        problems.add("source_timezone", problem);
    }
}

fn zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("'{name}' is no time zone; write one such as Asia/Seoul or UTC"))
}

/// The parameters as they stand in the DAG file.
pub struct Treating<'a> {
    pub columns: &'a Treatments,
    pub hash_conn_id: Option<&'a Template<String>>,
    pub source_timezone: Option<&'a Template<String>>,
    pub zero_dates: ZeroDates,
}

impl<'a> Treating<'a> {
    /// Renders them and fetches the key.
    pub async fn rendered(self, context: &TaskContext, source: &dyn SqlSource) -> Result<Rendered<'a>, TaskError> {
        let key = match rendered_option("hash_conn_id", self.hash_conn_id)? {
            Some(conn_id) => Some(HashKey::of(context, conn_id).await?),
            None => None,
        };
        let source_timezone = rendered_option("source_timezone", self.source_timezone)?
            .filter(|zone| !zone.is_empty())
            .or_else(|| source.source_timezone().map(ToOwned::to_owned));
        Ok(Rendered::new(self.columns, key, source_timezone, self.zero_dates))
    }
}

/// The key of `hash`.
#[derive(Clone)]
pub struct HashKey {
    /// The connection whose password it is.
    pub conn_id: String,
    pub key: SecretString,
}

impl HashKey {
    pub async fn of(context: &TaskContext, conn_id: String) -> Result<Self, TaskError> {
        Ok(Self { key: context.ports.secret(context, &conn_id).await?, conn_id })
    }
}

pub struct Rendered<'a> {
    columns: &'a Treatments,
    key: Option<HashKey>,
    source_timezone: Option<String>,
    zero_dates: ZeroDates,
    /// Columns by which rows are told apart later.
    keys: Vec<String>,
    /// How texts that are read as times may be written.
    forms: Forms,
}

impl<'a> Rendered<'a> {
    /// `source_timezone` of every clock without a zone that `columns` does not name.
    pub fn new(
        columns: &'a Treatments,
        key: Option<HashKey>,
        source_timezone: Option<String>,
        zero_dates: ZeroDates,
    ) -> Self {
        Self { columns, key, source_timezone, zero_dates, keys: Vec::new(), forms: Forms::new(None) }
    }

    /// Texts that are read as times may be written in these forms.
    #[must_use]
    pub fn in_forms(self, forms: Option<&[String]>) -> Self {
        Self { forms: Forms::new(forms), ..self }
    }

    /// Of these columns no two times become one: a time that the clocks skipped, which would be the moment of another one,
    /// is refused. What they showed twice is one time in the source already.
    #[must_use]
    pub fn keeping_apart(self, keys: &[String]) -> Self {
        Self { keys: keys.to_vec(), ..self }
    }

    /// What is said of the column at this place.
    fn named(&self, columns: &[SourceColumn], at: usize) -> Option<&'a Treatment> {
        self.columns.iter().find(|(name, _)| position(columns, name) == Some(at)).map(|(_, treatment)| treatment)
    }

    /// The zone of every clock that `columns` does not name.
    pub fn source_timezone(&self) -> Option<&str> {
        self.source_timezone.as_deref()
    }

    /// The zone in which the column's clock runs; `None` for a column that has its zone, or none that is known.
    pub fn clock_of(&self, columns: &[SourceColumn], at: usize) -> Option<Tz> {
        match self.named(columns, at) {
            Some(Treatment::Clock(clock)) => clock.timezone.parse().ok(),
            Some(Treatment::Personal(_)) => None,
            None if columns[at].value == (ValueType::Timestamp { zoned: false }) => {
                self.source_timezone.as_deref()?.parse().ok()
            }
            None => None,
        }
    }

    /// Which of the columns will not be written as they are read, and what becomes of them.
    pub fn changes(&self, columns: &[SourceColumn]) -> BTreeMap<String, String> {
        let change = |at: usize| match self.named(columns, at) {
            Some(Treatment::Personal(Personal::Mask)) => Some(MASKED.to_owned()),
            Some(Treatment::Personal(Personal::Hash)) => {
                Some(hashed_with(self.key.as_ref().map_or("no connection", |key| &key.conn_id)))
            }
            Some(Treatment::Personal(Personal::Drop)) => Some(DROPPED.to_owned()),
            _ => self.clock_of(columns, at).and_then(|zone| match &columns[at].value {
                ValueType::Timestamp { .. } if zone == Tz::UTC => None,
                value if value.is_text() => Some(format!("read as times of {zone}")),
                _ => Some(moved_from(zone.name())),
            }),
        };
        (0..columns.len()).filter_map(|at| Some((columns[at].name.clone(), change(at)?))).collect()
    }

    /// Treats streams that have some of the columns only, without those that were dropped.
    pub fn apply_to_part(&self, rows: RowStream) -> Result<(RowStream, Leaps), TaskError> {
        let columns: Treatments = self
            .columns
            .iter()
            .filter(|(name, _)| position(&rows.columns, name).is_some())
            .map(|(name, treatment)| (name.clone(), treatment.clone()))
            .collect();
        let key = self.key.clone();
        let part = Rendered::new(&columns, key, self.source_timezone.clone(), self.zero_dates);
        Rendered { forms: self.forms.clone(), ..part.keeping_apart(&self.keys) }.apply(rows)
    }

    pub fn apply(&self, rows: RowStream) -> Result<(RowStream, Leaps), TaskError> {
        let (mut streams, leaps) = self.apply_all(vec![rows])?;
        let rows = streams.pop().ok_or_else(|| TaskError::Fail("the source gave no answer".to_owned()))?;
        Ok((rows, leaps))
    }

    /// The streams of several readers of one query.
    pub fn apply_all(&self, streams: Vec<RowStream>) -> Result<(Vec<RowStream>, Leaps), TaskError> {
        let leaps = Leaps::default();
        let streams = streams.into_iter().map(|rows| treated(rows, self, &leaps)).collect::<Result<_, _>>()?;
        Ok((streams, leaps))
    }
}

/// What was done to columns when they were moved, for rows that are read once more.
#[derive(Clone)]
pub struct Repeated {
    columns: Treatments,
    key: Option<HashKey>,
}

impl Repeated {
    /// By column, from the words of the ledger; none for a column whose values can't be made again.
    pub fn treatment(how: &str) -> Option<Treatment> {
        match (zone_moved_from(how), hash_key_of(how)) {
            (Some(zone), _) => Some(Treatment::Clock(Clock { timezone: zone.to_owned() })),
            (None, Some(_)) => Some(Treatment::Personal(Personal::Hash)),
            (None, None) => None,
        }
    }

    pub fn new(columns: Treatments, key: Option<HashKey>) -> Self {
        Self { columns, key }
    }

    /// The columns that come of these.
    pub fn outcome(&self, columns: Vec<SourceColumn>) -> Result<Vec<SourceColumn>, PortError> {
        Ok(self.apply(RowStream { columns, batches: stream::empty().boxed() })?.columns)
    }

    /// Days that are none are left: whoever compares knows them.
    pub fn apply(&self, rows: RowStream) -> Result<RowStream, PortError> {
        let treating = Rendered::new(&self.columns, self.key.clone(), None, ZeroDates::Keep);
        let treated = treating.apply_to_part(rows);
        treated.map(|(rows, _)| rows).map_err(|error| PortError::new(PortErrorKind::Invalid, error.to_string()))
    }
}
