//! Upsert on engines whose rows have an address (PostgreSQL: `ctid`, SQLite: `rowid`), from a staging table with a
//! sequence number for each row, or an address that grows with each.
//!
//! Existing rows are updated where they stand, never deleted and inserted again: foreign keys with ON DELETE CASCADE
//! would take their children along, and columns that the file does not have would lose their values.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{LoadMethod, LoadRequest, TableName};

use crate::parts::failure::{data, invalid};
use crate::parts::sql::{keys_not_null, list, list_of, quote, same_keys};

/// The keys and the order key of an upsert must come with the rows.
pub fn check_keys(request: &LoadRequest, columns: &[String]) -> Result<(), PortError> {
    let LoadMethod::Upsert { keys, order_key } = &request.method else { return Ok(()) };
    if keys.is_empty() {
        return Err(invalid(format!("an upsert into {} needs at least one key column", request.target)));
    }
    match keys.iter().chain(order_key).find(|key| !columns.contains(key)) {
        Some(missing) => Err(invalid(format!(
            "the upsert into {} goes by column {missing:?}, which the files do not have; they have {}",
            request.target,
            columns.join(", ")
        ))),
        None => Ok(()),
    }
}

/// Whether a column of text can say which row is the newer one.
pub struct TextOrder<'a> {
    /// Quoted.
    pub target: &'a str,
    /// Quoted.
    pub staging: &'a str,
    pub keys: &'a [String],
    pub order_key: &'a str,
    /// One that knows regular expressions, ` COLLATE …`, or nothing where all do.
    pub collation: &'a str,
}

impl TextOrder<'_> {
    /// Counts what stands against the order of a text column: 0 unless its values are numbers whose order as text is
    /// another one, as '99' stands above '100'. Asked of the incoming rows and of those with their keys.
    pub fn objections(&self) -> String {
        let Self { target, staging, keys, order_key, collation } = self;
        let key = quote(order_key);
        format!(
            "SELECT CASE WHEN MIN(LENGTH(SPLIT_PART(k, '.', 1))) <> MAX(LENGTH(SPLIT_PART(k, '.', 1))) OR \
             (COUNT(DISTINCT k) > 1 AND SUM(CASE WHEN k LIKE '-%' THEN 1 ELSE 0 END) > 0) THEN 1 ELSE 0 END FROM \
             (SELECT {key}{collation} AS k FROM {staging} UNION ALL SELECT t.{key}{collation} FROM {target} AS t \
             JOIN {staging} AS s ON {same}) AS n WHERE k ~ '^-?[0-9]+([.][0-9]+)?$'",
            same = same_keys("t", "s", keys),
        )
    }
}

pub fn out_of_order(target: &TableName, order_key: &str) -> PortError {
    invalid(format!(
        "the upsert into {target} goes by order key {order_key:?}, a column of text that holds numbers of different \
         lengths: as text '99' is above '100'; make it a column of numbers, or go by another one"
    ))
}

/// `order_key` is one that the rows have alike, where the last of such rows can't be told by their place either.
pub fn tied(ties: u64, keys: &[String], order_key: Option<&String>) -> PortError {
    let order = order_key.map_or_else(
        || "there is no order_key: which of them is to stay can't be told".to_owned(),
        |order| {
            format!(
                "they have one {order}, the order_key: which of them is the last can't be told, because Redshift reads files \
                 side by side"
            )
        },
    );
    data(format!(
        "{ties} values of {} come in several rows that differ, and {order}; name an order_key that tells such rows apart, or let \
         the query give one row for each key",
        keys.join(", ")
    ))
}

/// Name of the sequence number in staging tables that have one.
pub const SEQUENCE: &str = "millrace_seq";

/// Counts the keys of incoming rows below `before`, a literal, that are new to the target or newer there: a key may come more
/// than once. Asked before anything is written. `keys` are what tells rows `s` apart, and that `t` has the key of `s`; `order`
/// is the order key, quoted, with a collation where it needs one.
pub fn count_late(
    target: &str,
    staging: &str,
    (keys, same): &(String, String),
    (order, before): (&str, &str),
) -> String {
    format!(
        "SELECT COUNT(*) FROM (SELECT DISTINCT {keys} FROM {staging} AS s WHERE s.{order} < {before} AND NOT EXISTS \
         (SELECT 1 FROM {target} AS t WHERE {same} AND t.{order} >= s.{order})) AS late"
    )
}

/// Whether two NULLs in a key are one: only where a unique index is NULLS NOT DISTINCT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    Distinct,
    Equal,
}

#[derive(Clone, Copy)]
pub struct Upsert<'a> {
    /// Quoted.
    pub target: &'a str,
    /// Quoted. Nothing but [`keep_best_incoming`](Self::keep_best_incoming) changes it.
    pub staging: &'a str,
    /// What comes in: `staging`, or a subquery of it.
    pub rows: &'a str,
    /// Rows may be refused, so that those which are not the best of their key may be wanted after all: they stay in `staging`,
    /// under the negative of their number.
    pub may_refuse: bool,
    /// Those of the file.
    pub columns: &'a [String],
    pub keys: &'a [String],
    pub order_key: Option<&'a String>,
    /// An incoming row whose order key is NULL or an empty text overwrites any.
    pub null_is_newest: bool,
    /// What tells one row from another: `tableoid` and `ctid` (a `ctid` alone repeats over partitions), or `rowid`.
    pub row_address: &'a [&'a str],
    /// What the rows of staging came in order of: a column of their own, or `ctid` where that grows.
    pub sequence: &'a str,
    /// Between the column list of an INSERT and its rows: `OVERRIDING SYSTEM VALUE ` where identity columns need it.
    pub overriding: &'a str,
    /// Behind the order key wherever it is compared: ` COLLATE …`, or nothing.
    pub collation: &'a str,
}

/// SQL: the row has NULL or an empty text there, whatever the column is.
pub fn has_no_value(row: &str, quoted: &str) -> String {
    format!("COALESCE(CAST({row}.{quoted} AS VARCHAR), '') = ''")
}

/// Deletes the rows of the target that meet a condition, unless one of staging is the `same` as they are: that one is as good
/// as never gone, and what refers to it stays.
pub fn delete_gone(target: &str, condition: &str, staging: &str, same: &str) -> String {
    format!("DELETE FROM {target} WHERE {}", which_is_gone(condition, staging, same))
}

pub fn which_is_gone(condition: &str, staging: &str, same: &str) -> String {
    format!("({condition}) AND NOT EXISTS (SELECT 1 FROM {staging} AS i WHERE {same})")
}

/// The rows of a staging table, quoted, which are to come in, where others wait for those to be refused.
pub fn rows_not_waiting(staging: &str) -> String {
    format!("(SELECT * FROM {staging} WHERE {} > 0)", quote(SEQUENCE))
}

impl Upsert<'_> {
    /// Leaves one incoming row for each key in staging: the one with the highest order key (NULL is lowest), of equal
    /// ones the last. Rows with a NULL in their key equal no other row and all stay, unless the database says otherwise.
    pub fn keep_best_incoming(&self, nulls: Nulls) -> String {
        let (staging, seq) = (self.staging, self.sequence);
        let mut ranked = match nulls {
            Nulls::Distinct => vec![keys_not_null("s", self.keys)],
            Nulls::Equal => Vec::new(),
        };
        let mut change = format!("DELETE FROM {staging}");
        if self.may_refuse {
            ranked.push(format!("s.{seq} > 0"));
            change = format!("UPDATE {staging} SET {seq} = -{seq}");
        }
        let ranked = if ranked.is_empty() { String::new() } else { format!(" WHERE {}", ranked.join(" AND ")) };
        let order =
            self.order_key.map(|key| format!("{}{} DESC NULLS LAST, ", quote(key), self.collation)).unwrap_or_default();
        format!(
            "{change} WHERE {seq} IN (SELECT {seq} FROM (SELECT {seq}, ROW_NUMBER() OVER \
             (PARTITION BY {keys} ORDER BY {order}{seq} DESC) AS millrace_rank FROM {staging} AS s{ranked}) AS ranked \
             WHERE millrace_rank > 1)",
            keys = list(self.keys),
        )
    }

    /// Asks for the number of the best row that waits for this one to be refused.
    pub fn find_next_best(&self, number: u64, nulls: Nulls) -> String {
        let (staging, seq) = (self.staging, self.sequence);
        let same = match nulls {
            Nulls::Distinct => same_keys("s", "r", self.keys),
            Nulls::Equal => {
                let same = |key: &String| format!("s.{0} IS NOT DISTINCT FROM r.{0}", quote(key));
                self.keys.iter().map(same).collect::<Vec<_>>().join(" AND ")
            }
        };
        let order = self
            .order_key
            .map(|key| format!("s.{}{} DESC NULLS LAST, ", quote(key), self.collation))
            .unwrap_or_default();
        format!(
            "SELECT -s.{seq} FROM {staging} AS s JOIN {staging} AS r ON {same} WHERE r.{seq} = {number} AND s.{seq} < 0 \
             ORDER BY {order}s.{seq} LIMIT 1"
        )
    }

    /// The row that waited under this number comes in.
    pub fn let_in(&self, number: u64) -> String {
        format!("UPDATE {0} SET {1} = {number} WHERE {1} = -{number}", self.staging, self.sequence)
    }

    /// Without an order key, counts the keys that come in with rows that differ, of which
    /// [`keep_best_incoming`](Self::keep_best_incoming) would keep whichever the query gave last. `row` is SQL for all of a
    /// row `s`, as something that can be compared.
    pub fn count_ties(&self, nulls: Nulls, row: &str) -> Option<String> {
        if self.order_key.is_some() {
            return None;
        }
        let complete = match nulls {
            Nulls::Distinct => format!(" WHERE {}", keys_not_null("s", self.keys)),
            Nulls::Equal => String::new(),
        };
        let (keys, rows) = (list(self.keys), self.rows);
        Some(format!(
            "SELECT COUNT(*) FROM (SELECT {keys} FROM (SELECT DISTINCT {row} FROM {rows} AS s{complete}) AS d GROUP BY {keys} \
             HAVING COUNT(*) > 1) AS t"
        ))
    }

    /// Of several existing rows with an incoming key, leaves the one with the highest order key. Counts rows of the target
    /// alone, however many rows of staging there are for each.
    pub fn delete_existing_doubles(&self) -> String {
        let address = self.row_address.iter().map(|part| format!("t.{part}")).collect::<Vec<_>>().join(", ");
        let named: Vec<String> = (0..self.row_address.len()).map(|index| format!("millrace_row{index}")).collect();
        let selected: Vec<String> =
            self.row_address.iter().zip(&named).map(|(part, name)| format!("t.{part} AS {name}")).collect();
        let order = self
            .order_key
            .map(|key| format!("t.{}{} DESC NULLS LAST, ", quote(key), self.collation))
            .unwrap_or_default();
        // DENSE_RANK gives one row one rank, also where it meets two of staging.
        format!(
            "DELETE FROM {target} WHERE ({row}) IN (SELECT {named} FROM (SELECT {selected}, DENSE_RANK() OVER \
             (PARTITION BY {keys} ORDER BY {order}{address}) AS millrace_rank FROM {target} AS t JOIN {rows} AS s ON {same}) \
             AS ranked WHERE millrace_rank > 1)",
            target = self.target,
            row = self.row_address.join(", "),
            named = named.join(", "),
            selected = selected.join(", "),
            keys = list_of("t", self.keys),
            rows = self.rows,
            same = same_keys("t", "s", self.keys),
        )
    }

    /// Existing rows `t` that are not newer than the incoming ones `s` with their keys.
    fn reached(&self) -> String {
        let not_newer = self.order_key.map(|key| {
            let key = quote(key);
            // A comparison with NULL is neither true nor false: NULL is lowest, and the incoming row wins a tie.
            let newest = self.unless_null("s", &key);
            format!(" AND (t.{key} IS NULL OR t.{key} <= s.{key}{}{newest})", self.collation)
        });
        format!("{}{}", same_keys("t", "s", self.keys), not_newer.unwrap_or_default())
    }

    /// What else lets an incoming row overwrite: that its order key is NULL or an empty text, where that makes it the newest.
    fn unless_null(&self, incoming: &str, key: &str) -> String {
        if self.null_is_newest { format!(" OR {}", has_no_value(incoming, key)) } else { String::new() }
    }

    /// Selects of the rows `t` that [`update`](Self::update) is to overwrite, with the incoming ones `s`, those that meet a
    /// condition.
    pub fn select_reached(&self, selected: &str, condition: &str) -> String {
        let (target, rows, reached) = (self.target, self.rows, self.reached());
        format!("SELECT {selected} FROM {target} AS t JOIN {rows} AS s ON {reached} WHERE {condition}")
    }

    /// Overwrites existing rows unless they are newer. `None` when the file has nothing but keys.
    pub fn update(&self) -> Option<String> {
        let assignments: Vec<String> = self
            .columns
            .iter()
            .filter(|column| !self.keys.contains(column))
            .map(|column| format!("{0} = s.{0}", quote(column)))
            .collect();
        if assignments.is_empty() {
            return None;
        }
        let (target, rows) = (self.target, self.rows);
        let assignments = assignments.join(", ");
        Some(format!("UPDATE {target} AS t SET {assignments} FROM {rows} AS s WHERE {}", self.reached()))
    }

    /// Both in one statement, where the database itself sees to it that no key occurs twice: PostgreSQL looks each key up
    /// once, where an UPDATE and an INSERT would read the whole target twice. Gives the numbers of inserted and of updated
    /// rows. A row that is inserted has no earlier version that the statement locked, which is what `xmax` tells. Fails
    /// with 21000 where a key comes in twice and both would be written.
    pub fn insert_or_update(&self) -> String {
        let existing = "millrace_existing";
        let assignments: Vec<String> = self
            .columns
            .iter()
            .filter(|column| !self.keys.contains(column))
            .map(|column| format!("{0} = excluded.{0}", quote(column)))
            .collect();
        let not_newer = self.order_key.map(|key| {
            let key = quote(key);
            let newest = self.unless_null("excluded", &key);
            format!(" WHERE {existing}.{key} IS NULL OR {existing}.{key} <= excluded.{key}{newest}")
        });
        let action = if assignments.is_empty() {
            "DO NOTHING".to_owned()
        } else {
            format!("DO UPDATE SET {}{}", assignments.join(", "), not_newer.unwrap_or_default())
        };
        format!(
            "WITH written AS (INSERT INTO {target} AS {existing} ({columns}) {overriding}SELECT {columns} FROM {rows} AS s \
             ON CONFLICT ({keys}) {action} RETURNING xmax = 0 AS is_new) \
             SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written",
            target = self.target,
            columns = list(self.columns),
            overriding = self.overriding,
            rows = self.rows,
            keys = list(self.keys),
        )
    }

    /// See [`count_late`]. `None` without an order key.
    pub fn count_late(&self, before: &str) -> Option<String> {
        let order = format!("{}{}", quote(self.order_key?), self.collation);
        let keys = (list_of("s", self.keys), same_keys("t", "s", self.keys));
        Some(count_late(self.target, self.rows, &keys, (&order, before)))
    }

    /// Counts the rows whose key is not there, which are to be inserted.
    pub fn count_new(&self) -> String {
        format!("SELECT COUNT(*) FROM {}", self.new_rows())
    }

    /// Inserts the rows whose key is not there.
    pub fn insert(&self) -> String {
        format!(
            "INSERT INTO {target} ({columns}) {overriding}SELECT {selected} FROM {new} ORDER BY s.{seq}",
            target = self.target,
            overriding = self.overriding,
            columns = list(self.columns),
            selected = list_of("s", self.columns),
            new = self.new_rows(),
            seq = self.sequence,
        )
    }

    fn new_rows(&self) -> String {
        format!(
            "{} AS s WHERE NOT EXISTS (SELECT 1 FROM {} AS t WHERE {})",
            self.rows,
            self.target,
            same_keys("t", "s", self.keys)
        )
    }
}
