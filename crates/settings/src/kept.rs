//! What was shown masked and comes back, changed or not: `***` stands for the secret that was there.
//!
//! Where it stands for none (a shown text was edited around it, or nothing was there) the value is refused: kept as it is
//! it would be three stars for a password, and nobody would know.

use std::collections::HashMap;

use serde_json::Value;

use crate::Masker;
use crate::mask::{MASK, has_masked_password, is_sensitive_name};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{place}' holds *** where no secret is known that it could stand for; enter the secret itself there")]
pub struct UnknownSecret {
    /// The names that lead to it, with dots between them.
    pub place: String,
}

/// Puts the secrets of `before` where `***` stands for them in `new`. `masker` is the one that `before` was shown with;
/// `place` is the name of the whole.
pub fn keep_secrets(
    new: &mut Value,
    before: Option<&Value>,
    place: &str,
    masker: &Masker,
) -> Result<(), UnknownSecret> {
    Keeping { masker }.value(new, before, place, is_sensitive_name(place))
}

/// As [`keep_secrets`], of a text and what was shown in its place.
pub fn keep_secret_text(
    new: &mut String,
    before: Option<(&str, &str)>,
    place: &str,
    is_secret: bool,
) -> Result<(), UnknownSecret> {
    if !new.contains(MASK) {
        return Ok(());
    }
    let refused = || Err(UnknownSecret { place: place.to_owned() });
    if let Some((before, shown)) = before {
        if new == MASK || new == shown {
            before.clone_into(new);
        }
        if new == before {
            return Ok(());
        }
        let count = |text: &str| text.matches(MASK).count();
        let hides_part = shown != before && shown != MASK;
        if hides_part && count(new) > count(before) {
            return refused();
        }
    }
    if (is_secret && new == MASK) || has_masked_password(new) { refused() } else { Ok(()) }
}

struct Keeping<'a> {
    masker: &'a Masker,
}

impl Keeping<'_> {
    fn value(
        &self,
        new: &mut Value,
        before: Option<&Value>,
        place: &str,
        is_secret: bool,
    ) -> Result<(), UnknownSecret> {
        match (new, before) {
            (new, Some(before)) if new == MASK => new.clone_from(before),
            (Value::String(text), before) => {
                let before = before.and_then(Value::as_str).map(|before| (before, self.masker.mask(before)));
                let before = before.as_ref().map(|(before, shown)| (*before, shown.as_str()));
                keep_secret_text(text, before, place, is_secret)?;
            }
            (Value::Object(map), before) => {
                for (name, value) in map {
                    let is_secret = is_secret || is_sensitive_name(name);
                    let before = before.and_then(|before| before.get(name));
                    self.value(value, before, &format!("{place}.{name}"), is_secret)?;
                }
            }
            (Value::Array(items), before) => {
                let before = before.and_then(Value::as_array).map_or([].as_slice(), Vec::as_slice);
                let is_as_long = items.len() == before.len();
                let shown = if items.iter().any(holds_mask) { self.by_what_is_shown(before) } else { HashMap::new() };
                for (number, item) in items.iter_mut().enumerate().filter(|(_, item)| holds_mask(item)) {
                    // Items move: what is shown alike is it, and only of equal ones the place says which.
                    let at_place = before.get(number).filter(|_| is_as_long);
                    let found = shown.get(&item.to_string()).copied().flatten().or(at_place);
                    self.value(item, found, &format!("{place}[{number}]"), is_secret)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Items by the JSON that is shown of them; none where they differ and are shown alike.
    fn by_what_is_shown<'b>(&self, items: &'b [Value]) -> HashMap<String, Option<&'b Value>> {
        let mut by_shown = HashMap::with_capacity(items.len());
        for item in items {
            let first = by_shown.entry(self.masker.mask_value(item).to_string()).or_insert(Some(item));
            *first = first.filter(|first| *first == item);
        }
        by_shown
    }
}

fn holds_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MASK),
        Value::Array(items) => items.iter().any(holds_mask),
        Value::Object(map) => map.values().any(holds_mask),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(new: Value, before: Value) -> Result<Value, String> {
        let masker = Masker::new();
        masker.add("known-word");
        let mut new = new;
        let before = Some(before).filter(|before| !before.is_null());
        keep_secrets(&mut new, before.as_ref(), "it", &masker).map_err(|refused| refused.place)?;
        Ok(new)
    }

    #[test]
    fn what_is_shown_masked_keeps_what_it_was() {
        let before =
            json!({"host": "h", "token": "abcdef", "url": "x://u:pw@h", "said": "a known-word b", "pin_token": 7});
        let shown = json!({"host": "g", "token": "***", "url": "x://u:***@h", "said": "a *** b", "pin_token": "***"});
        let mut same = before.clone();
        same["host"] = json!("g");
        assert_eq!(kept(shown, before), Ok(same));
    }

    #[test]
    fn stars_that_stand_for_nothing_are_refused() {
        let before = json!({"url": "x://u:pw@h", "said": "a known-word b"});
        for (new, place) in [
            (json!({"url": "x://u:***@other"}), "it.url"),
            (json!({"said": "a *** c"}), "it.said"),
            (json!({"token": "***"}), "it.token"),
            (json!({"more": {"db": ["x://u:***@h"]}}), "it.more.db[0]"),
        ] {
            assert_eq!(kept(new, before.clone()), Err(place.to_owned()));
        }
        assert_eq!(kept(json!("x://u:***@h"), Value::Null), Err("it".to_owned()));
    }

    #[test]
    fn stars_that_are_only_stars_stay() {
        for same in [json!("a *** b"), json!({"title": "*** new ***"}), json!(["***", "rows"])] {
            assert_eq!(kept(same.clone(), json!({"other": 1})), Ok(same));
        }
        assert_eq!(kept(json!("*** b"), json!("*** a")), Ok(json!("*** b")));
    }

    #[test]
    fn items_of_a_list_are_found_again_by_what_was_shown() {
        let before = json!([{"name": "a", "password": "first"}, {"name": "b", "password": "second"}]);
        let fewer = json!([{"name": "b", "password": "***"}]);
        assert_eq!(kept(fewer, before.clone()), Ok(json!([{"name": "b", "password": "second"}])));
        let changed = json!([{"name": "c", "password": "***"}]);
        assert_eq!(kept(changed, before.clone()), Err("it[0].password".to_owned()));
        let renamed = json!([{"name": "c", "password": "***"}, {"name": "b", "password": "***"}]);
        assert_eq!(kept(renamed, before).unwrap()[0]["password"], "first");
    }

    /// By comparing each with each this would take minutes.
    #[test]
    fn long_lists_are_compared_once() {
        let before: Vec<Value> = (0..20_000).map(|n| json!({"n": n, "password": format!("secret {n}")})).collect();
        let shown: Vec<Value> = (0..20_000).rev().map(|n| json!({"n": n, "password": "***"})).collect();
        let kept = kept(shown.into(), before.clone().into()).unwrap();
        assert!(before.iter().rev().eq(kept.as_array().unwrap()));
    }
}
