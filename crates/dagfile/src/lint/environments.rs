//! Which environment a file is read for.

use super::{Finding, Linted, Place};

pub(super) fn unnamed_environment(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let Some(environment) = linted.environment else { return };
    let names: Vec<&str> = linted.overlays.iter().map(|(name, _)| name.as_str()).collect();
    let Some((_, span)) = linted.overlays.first() else { return };
    if names.contains(&environment) {
        return;
    }
    found.push(Finding {
        place: Place { span: Some(*span), ..Place::default() },
        message: format!(
            "the configured environment '{environment}' has no overlay here, which has {}: the file is read without one",
            names.join(", ")
        ),
        hint: format!("mend core.environment, or write `{environment}: {{}}` under overlays"),
    });
}
