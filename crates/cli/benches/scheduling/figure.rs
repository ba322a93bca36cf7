//! One line for each figure.

use std::collections::HashMap;

use serde_json::json;

/// What a figure must come to.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn number(self) -> f64 {
        match self {
            Self::AtMost(limit) | Self::AtLeast(limit) => limit,
        }
    }
}

pub struct Figures {
    database: &'static str,
    has_history: bool,
    /// As they came out on an empty database.
    before: HashMap<String, f64>,
}

impl Figures {
    pub fn new(database: &'static str) -> Self {
        Self { database, has_history: false, before: HashMap::new() }
    }

    /// From here on the database holds a million task instances.
    pub fn with_history(&mut self) {
        self.has_history = true;
    }

    pub fn without_history(&mut self) {
        self.has_history = false;
    }

    /// With history the baseline is the same figure without. Without a target it is for information.
    pub fn say(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        baseline: Option<f64>,
        target: impl Into<Option<Target>>,
    ) {
        let target = target.into();
        let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
        let mut line = json!({
            "name": name, "database": self.database, "value": round(value), "unit": unit,
            "baseline": baseline.map(round), "target": target.map(|target| round(target.number())), "ok": target.map(|target| target.holds(value)),
        });
        if self.has_history {
            let before = self.before.get(name).copied();
            let change = before.map(|before| (value / before - 1.0) * 100.0);
            line["name"] = json!(format!("{name}, with 1,000,000 task instances"));
            line["before"] = json!(before.map(round));
            line["change_percent"] = json!(change.map(|change| change.round()));
        } else {
            self.before.insert(name.to_owned(), value);
        }
        println!("{line}");
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}
