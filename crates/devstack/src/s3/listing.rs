//! ListObjectsV2: keys in order, rolled up at a delimiter, in pages.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::record::Object;

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// Keys and rolled-up prefixes up to and including this one are left out.
    pub(super) after: Option<&'a str>,
    pub(super) limit: usize,
}

/// One page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Object>>,
    pub(super) prefixes: Vec<String>,
    /// Ask again `after` this one; `None` on the last page.
    pub(super) next: Option<String>,
}

/// Cuts one page out of a bucket.
pub(super) fn page(objects: &BTreeMap<String, Arc<Object>>, query: Query<'_>) -> Page {
    let mut page = Page::default();
    if query.limit == 0 {
        return page;
    }
    let mut last = None;
    let mut from = match query.after {
        Some(after) if after >= query.prefix => Bound::Excluded(after.to_owned()),
        _ => Bound::Included(query.prefix.to_owned()),
    };
    // A page may have ended with a rolled-up prefix: everything below it was answered.
    if let Some(after) = query.after
        && rolled_up(after, query).is_some_and(|prefix| prefix == after)
    {
        from = after_prefix(after);
    }
    while let Some((key, object)) = objects.range((from, Bound::Unbounded)).next() {
        if !key.starts_with(query.prefix) {
            break;
        }
        if page.objects.len() + page.prefixes.len() == query.limit {
            page.next = last;
            break;
        }
        if let Some(prefix) = rolled_up(key, query) {
            last = Some(prefix.to_owned());
            from = after_prefix(prefix);
            page.prefixes.push(prefix.to_owned());
        } else {
            last = Some(key.clone());
            from = Bound::Excluded(key.clone());
            page.objects.push(Arc::clone(object));
        }
    }
    page
}

/// The common prefix that stands for `key`, when there is a delimiter behind the asked prefix.
fn rolled_up<'a>(key: &'a str, query: Query<'_>) -> Option<&'a str> {
    let delimiter = query.delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.strip_prefix(query.prefix)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&key[..query.prefix.len() + end])
}

/// The first key that does not start with `prefix` but comes behind all that do.
fn after_prefix(prefix: &str) -> Bound<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (last as u32 + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Bound::Included(chars.into_iter().collect());
        }
    }
    // Only a prefix of the very last characters has nothing behind it; the key itself is then the end.
    Bound::Excluded(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::record::{Checksums, Headers};

    fn check(keys: &[&str], query: Query<'_>, objects: &[&str], prefixes: &[&str], next: Option<&str>) {
        let bucket: BTreeMap<String, Arc<Object>> = keys
            .iter()
            .map(|key| {
                let object = Object {
                    key: (*key).to_owned(),
                    size: 0,
                    etag: String::new(),
                    modified: chrono::DateTime::UNIX_EPOCH,
                    headers: Headers::default(),
                    checksums: Checksums::default(),
                    parts: 0,
                    blobs: Vec::new(),
                };
                ((*key).to_owned(), Arc::new(object))
            })
            .collect();
        let page = page(&bucket, query);
        let found: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(found, objects);
        assert_eq!(page.prefixes, prefixes);
        assert_eq!(page.next.as_deref(), next);
    }

    const KEYS: &[&str] = &["a", "a/b", "a/c", "a/d/e", "b", "c/x"];

    #[test]
    fn everything_in_order() {
        check(KEYS, Query { prefix: "", delimiter: None, after: None, limit: 1000 }, KEYS, &[], None);
    }

    #[test]
    fn folders_are_rolled_up() {
        let query = Query { prefix: "", delimiter: Some("/"), after: None, limit: 1000 };
        check(KEYS, query, &["a", "b"], &["a/", "c/"], None);
        let query = Query { prefix: "a/", ..query };
        check(KEYS, query, &["a/b", "a/c"], &["a/d/"], None);
    }

    #[test]
    fn pages_continue_behind_keys_and_prefixes() {
        let query = Query { prefix: "", delimiter: Some("/"), after: None, limit: 2 };
        check(KEYS, query, &["a"], &["a/"], Some("a/"));
        let query = Query { after: Some("a/"), ..query };
        check(KEYS, query, &["b"], &["c/"], None);
        let query = Query { prefix: "a/", delimiter: None, after: Some("a/b"), limit: 1 };
        check(KEYS, query, &["a/c"], &[], Some("a/c"));
    }
}
