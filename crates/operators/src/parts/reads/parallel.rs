//! One query read by several connections at a time: in ranges of a column, all of one moment.

pub mod steady;

use std::sync::Arc;

use futures::TryStreamExt;
use futures::future::try_join_all;
use millrace_operator_api::ports::{RowStream, SqlSource, ValueType};
use millrace_operator_api::{TaskContext, TaskError};

use crate::parts::report::while_doing;

/// The streams, one for each range; one for the whole query where the source has one reader only.
pub async fn open(
    context: &TaskContext,
    source: &Arc<dyn SqlSource>,
    query: &str,
    column: &str,
    readers: usize,
) -> Result<Vec<RowStream>, TaskError> {
    if let Some(problem) = steady::refusal(query) {
        return Err(TaskError::Fail(problem));
    }
    // A semicolon has no place in the middle of a statement.
    let query = query.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    // One more, for the bounds: they must be those of the same moment.
    let Some(snapshot) = source.snapshot(readers + 1).await? else {
        context.info("split_by: this source is read by one connection only");
        return Ok(vec![source.query(query).await?]);
    };
    let mut readers = snapshot.readers;
    if let Some(note) = snapshot.note {
        context.warning(format!("split_by: reading with {} connections at most: {note}", readers.len()));
    }
    let Some(first) = readers.pop() else {
        return Err(TaskError::Retry("split_by: the source gave no reader".to_owned()));
    };
    if readers.is_empty() {
        return Ok(vec![first.query(query).await?]);
    }
    let by = format!("q.{}", first.quote(column));
    let bounds = format!("SELECT MIN({by}), MAX({by}) FROM ({query}\n) q");
    let bounds = read_bounds(first.as_ref(), &bounds, column).await?;
    let conditions = conditions(&by, bounds, readers.len());
    context.info(format!("split_by: reading {} ranges of {column} at a time", conditions.len()));
    let queries = readers.iter().zip(&conditions).map(|(reader, condition)| {
        let part = format!("SELECT * FROM ({query}\n) q{condition}");
        async move { reader.query(&part).await }
    });
    Ok(try_join_all(queries).await?)
}

async fn read_bounds(reader: &dyn SqlSource, statement: &str, column: &str) -> Result<Option<(i128, i128)>, TaskError> {
    let attempted = format!("looking for the bounds of {column} (split_by)");
    let rows = reader.query(statement).await.map_err(|error| while_doing(&attempted, error))?;
    let value = rows.columns.first().map(|column| column.value.clone()).unwrap_or_default();
    let is_whole = match value {
        ValueType::Integer { .. } => true,
        ValueType::Decimal { scale, .. } => scale.is_none_or(|scale| scale == 0),
        _ => false,
    };
    if !is_whole {
        let message = format!("split_by: {column} is of type {value}, and only whole numbers can be cut into ranges");
        return Err(TaskError::Fail(message));
    }
    let batches: Vec<_> = rows.batches.try_collect().await.map_err(|error| while_doing(&attempted, error))?;
    let number = |index| {
        let cell = batches.first()?.cell(0, index)?;
        std::str::from_utf8(cell).ok()?.parse::<i128>().ok()
    };
    Ok(number(0).zip(number(1)))
}

/// Conditions that every row meets exactly one of.
fn conditions(by: &str, bounds: Option<(i128, i128)>, readers: usize) -> Vec<String> {
    let Some((least, most)) = bounds.filter(|(least, most)| least <= most) else { return vec![String::new()] };
    // Numbers of 38 digits may lie further apart than any whole number of this machine says: one range then.
    let Some(width) = most.checked_sub(least).and_then(|width| width.checked_add(1)) else {
        return vec![String::new()];
    };
    let count = i128::try_from(readers).unwrap_or(1).min(width).max(1);
    if count == 1 {
        return vec![String::new()];
    }
    // Of the quotient and the rest apart, since the whole product may be too much.
    let bound = |number: i128| least + width / count * number + width % count * number / count;
    (0..count)
        .map(|number| {
            let (from, to) = (bound(number), bound(number + 1));
            match number {
                // NULL is in no range.
                0 => format!(" WHERE {by} < {to} OR {by} IS NULL"),
                last if last == count - 1 => format!(" WHERE {by} >= {from}"),
                _ => format!(" WHERE {by} >= {from} AND {by} < {to}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::conditions;

    #[test]
    fn ranges_meet_and_leave_nothing_out() {
        assert_eq!(
            conditions("q.id", Some((1, 10)), 3),
            [" WHERE q.id < 4 OR q.id IS NULL", " WHERE q.id >= 4 AND q.id < 7", " WHERE q.id >= 7"]
        );
        assert_eq!(conditions("q.id", Some((5, 6)), 8), [" WHERE q.id < 6 OR q.id IS NULL", " WHERE q.id >= 6"]);
        for alone in [None, Some((7, 7)), Some((9, 3))] {
            assert_eq!(conditions("q.id", alone, 4), [""]);
        }
        let whole = conditions("q.id", Some((i64::MIN.into(), u64::MAX.into())), 2);
        assert_eq!(whole[1], " WHERE q.id >= 4611686018427387904");
    }

    #[test]
    fn ranges_of_numbers_of_38_digits_go_upwards() {
        let nines = 10_i128.pow(38) - 1;
        let bounds: Vec<i128> = conditions("q.id", Some((10_i128.pow(34), nines)), 4)
            .iter()
            .filter_map(|text| text.split(" >= ").nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(bounds.len(), 3);
        assert!(bounds.is_sorted() && bounds[0] > 0 && bounds[2] < nines, "{bounds:?}");
        assert_eq!(conditions("q.id", Some((-nines, nines)), 4), [""], "too far apart");
    }
}
