//! A long list, a page at a time.

use minijinja::Value;

use crate::links;
use crate::query::Parameters;
use crate::rendering::values;

/// What the links to the neighbouring pages keep of what was asked for: `&dag=orders&actor=ada`.
pub(super) fn kept(parameters: &Parameters, names: &[&str]) -> String {
    let one = |name: &&str| Some(format!("&{name}={}", links::encode(parameters.text(name)?)));
    names.iter().filter_map(one).collect()
}

/// Where one stands: the places of the first and the last line that are shown, and the offsets of the neighbours, if there
/// are any. A page has `most` lines.
pub(super) fn paging(offset: u64, shown: usize, most: u64, total: u64) -> Value {
    values! {
        first => offset + 1,
        last => offset + shown as u64,
        earlier => (offset > 0).then(|| offset.saturating_sub(most)),
        later => Some(offset + most).filter(|next| *next < total),
    }
}
