//! "Did you mean …?"

/// The candidate nearest to `word`, when it is near enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > 60 {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= (length.max(candidate.chars().count()) / 3).clamp(1, 4))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The hint for an unknown word: the nearest candidate, else all of them if they are few.
pub(crate) fn hint(word: &str, candidates: &[&str]) -> Option<String> {
    match nearest(word, candidates.iter().copied()) {
        Some(near) => Some(format!("did you mean '{near}'?")),
        None if (1..=12).contains(&candidates.len()) => Some(format!("known here: {}", candidates.join(", "))),
        None => None,
    }
}
