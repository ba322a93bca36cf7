//! The rows of two sides, value by value.

use std::collections::BTreeMap;

use super::buckets::Row;

/// A row that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key's columns and values; all columns where there is no key.
    pub key: Vec<(String, Option<String>)>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The columns that differ: name, value in the source, value in the target.
    Changed(Vec<(String, Option<String>, Option<String>)>),
    OnlyInSource,
    OnlyInTarget,
    /// The other one has rows of this key too, but fewer.
    MoreInSource,
    MoreInTarget,
}

pub struct Found {
    pub named: Vec<Difference>,
    pub different: u64,
}

/// `keys` empty: a row is its own key.
pub fn compare(source: Vec<Row>, target: Vec<Row>, names: &[&str], keys: &[usize], most: usize) -> Found {
    let all: Vec<usize> = (0..names.len()).collect();
    let keys = if keys.is_empty() { &all[..] } else { keys };
    let mut by_key: BTreeMap<Row, (Vec<Row>, Vec<Row>)> = BTreeMap::new();
    let key_of = |row: &Row| keys.iter().map(|key| row[*key].clone()).collect::<Vec<_>>();
    for row in source {
        by_key.entry(key_of(&row)).or_default().0.push(row);
    }
    for row in target {
        by_key.entry(key_of(&row)).or_default().1.push(row);
    }
    let mut found = Found { named: Vec::new(), different: 0 };
    for (key, (mut source, mut target)) in by_key {
        let is_in_both = !source.is_empty() && !target.is_empty();
        without_equals(&mut source, &mut target);
        let key: Vec<(String, Option<String>)> =
            keys.iter().zip(key).map(|(at, value)| (names[*at].to_owned(), value.map(text))).collect();
        let pairs = source.len().max(target.len());
        let (mut source, mut target) = (source.into_iter(), target.into_iter());
        for _ in 0..pairs {
            let kind = match (source.next(), target.next()) {
                (Some(a), Some(b)) => Kind::Changed(changed(a, b, names)),
                (Some(_), None) if is_in_both => Kind::MoreInSource,
                (Some(_), None) => Kind::OnlyInSource,
                _ if is_in_both => Kind::MoreInTarget,
                _ => Kind::OnlyInTarget,
            };
            found.different += 1;
            if found.named.len() < most {
                found.named.push(Difference { key: key.clone(), kind });
            }
        }
    }
    found
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Takes away, from both, what both have.
fn without_equals(source: &mut Vec<Row>, target: &mut Vec<Row>) {
    source.retain(|row| match target.iter().position(|other| other == row) {
        Some(same) => {
            target.swap_remove(same);
            false
        }
        None => true,
    });
}

fn changed(source: Row, target: Row, names: &[&str]) -> Vec<(String, Option<String>, Option<String>)> {
    let both = names.iter().zip(source.into_iter().zip(target));
    both.filter(|(_, (a, b))| a != b).map(|(name, (a, b))| ((*name).to_owned(), a.map(text), b.map(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&str>]) -> Row {
        cells.iter().map(|cell| cell.map(|cell| cell.as_bytes().to_vec())).collect()
    }

    #[test]
    fn differing_rows_are_named_by_their_key() {
        let source = vec![row(&[Some("1"), Some("a")]), row(&[Some("2"), None]), row(&[Some("3"), Some("c")])];
        let target = vec![row(&[Some("4"), Some("d")]), row(&[Some("2"), Some("")]), row(&[Some("1"), Some("a")])];
        let found = compare(source, target, &["id", "note"], &[0], 10);
        let key = |id: &str| vec![("id".to_owned(), Some(id.to_owned()))];
        let changed = Kind::Changed(vec![("note".to_owned(), None, Some(String::new()))]);
        assert_eq!(
            found.named,
            [
                Difference { key: key("2"), kind: changed },
                Difference { key: key("3"), kind: Kind::OnlyInSource },
                Difference { key: key("4"), kind: Kind::OnlyInTarget },
            ]
        );
    }

    #[test]
    fn doubles_are_counted_and_the_list_has_an_end() {
        let one = || row(&[Some("1"), Some("a")]);
        let found = compare(vec![one()], vec![one(), one(), one()], &["id", "note"], &[0], 1);
        assert_eq!((found.different, found.named.len()), (2, 1));
        assert_eq!(found.named[0].kind, Kind::MoreInTarget, "the row is in the source, once");
        let found = compare(vec![one(), one()], vec![one()], &["id", "note"], &[0], 10);
        assert_eq!(found.named[0].kind, Kind::MoreInSource);
        let found = compare(vec![one()], vec![row(&[Some("1"), Some("b")])], &["id", "note"], &[], 10);
        assert_eq!(found.different, 2, "without a key there is no telling which became which");
    }
}
