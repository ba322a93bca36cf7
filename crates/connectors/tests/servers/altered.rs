//! A value arrives as it was, or the load says which one does not fit and what would help: no rounding, no cut, no NULL in
//! the place of ''.

use anyhow::{Context, Result};
use millrace_operator_api::ports::{LoadMethod, LoadRequest, LoadRows, TableName, ValueType};
use millrace_operator_api::{PortError, PortErrorKind};

use crate::loads::Subject;
use crate::world::{Cells, NULL_MARKER, World, csv_of, refused, some, stream_of, upsert, work};

/// A column's type, a value that it would change, and what is said about it.
pub struct Lossy {
    pub type_name: &'static str,
    pub value: &'static str,
    pub said: &'static str,
    /// What the column holds where rounding is allowed; `None` where that changes nothing.
    pub rounded: Option<&'static str>,
    /// COPY of Redshift can't tell this one.
    pub direct_only: bool,
}

pub const fn lossy(type_name: &'static str, value: &'static str, said: &'static str) -> Lossy {
    Lossy { type_name, value, said, rounded: None, direct_only: false }
}

struct Loads<'a> {
    world: &'a World,
    subject: &'a Subject,
    schema: Option<&'a str>,
    next: u32,
}

impl Loads<'_> {
    fn table(&self, name: &str) -> TableName {
        TableName { schema: self.schema.map(ToOwned::to_owned), name: name.to_owned() }
    }

    async fn request(
        &mut self,
        table: &TableName,
        columns: &[(&str, ValueType)],
        rows: &Cells,
        direct: bool,
        method: LoadMethod,
    ) -> Result<LoadRequest> {
        self.next += 1;
        let mut request = if direct {
            LoadRequest::new(table.clone(), method, LoadRows::direct(stream_of(columns, rows)), work(0))
        } else {
            let mut request = self.world.request("x", method, &[("altered.csv", &csv_of(rows))]).await?;
            request.target = table.clone();
            request.format.null_as = Some(NULL_MARKER.to_owned());
            request
        };
        request.columns = Some(columns.iter().map(|(name, _)| (*name).to_owned()).collect());
        request.work = work(5_000 + self.next);
        request.show_values = true;
        Ok(request)
    }

    async fn load(&self, request: LoadRequest) -> Result<(), PortError> {
        self.subject.warehouse.load(request).await.map(|_| ())
    }
}

pub async fn what_a_column_would_change_is_refused(
    world: &World,
    subject: &Subject,
    schema: Option<&str>,
    cases: &[Lossy],
) -> Result<()> {
    let mut loads = Loads { world, subject, schema, next: 0 };
    let columns = [("id", ValueType::Integer { bits: 64, signed: true }), ("v", ValueType::TEXT)];
    for (number, case) in cases.iter().enumerate() {
        let table = loads.table(&format!("altered_{number}"));
        subject.run(&format!("CREATE TABLE {table} (id bigint, v {})", case.type_name)).await?;
        let rows = vec![some(&["1", "NULL"]), some(&["2", case.value])];
        for direct in [true, false] {
            if case.direct_only && !direct {
                continue;
            }
            let what = || format!("{} into {}, direct: {direct}", case.value, case.type_name);
            let request = loads.request(&table, &columns, &rows, direct, LoadMethod::Append).await?;
            let error = refused(loads.load(request).await).with_context(what)?;
            assert_eq!(error.kind, PortErrorKind::Data, "{}: {}", what(), error.message);
            for word in [case.said, "column v", case.value, &table.to_string()] {
                assert!(error.message.contains(word), "{}: {word:?} is missing in {}", what(), error.message);
            }
            let count = subject.rows(&format!("SELECT COUNT(*) FROM {table}")).await?;
            assert_eq!(count, [some(&["0"])], "{}: nothing is loaded", what());
            if let Some(rounded) = case.rounded {
                let mut request = loads.request(&table, &columns, &rows, direct, LoadMethod::Replace).await?;
                request.format.other.push("ROUNDEC".to_owned());
                loads.load(request).await.with_context(what)?;
                let found = subject.rows(&format!("SELECT v FROM {table} WHERE id = 2")).await?;
                assert_eq!(found, [some(&[rounded])], "{}", what());
                subject.run(&format!("DELETE FROM {table}")).await?;
            }
        }
    }
    Ok(())
}

/// '' and NULL are two values in columns of any type that has an empty one.
pub async fn empty_values_are_no_null(
    world: &World,
    subject: &Subject,
    schema: Option<&str>,
    types: &[&str],
) -> Result<()> {
    let mut loads = Loads { world, subject, schema, next: 500 };
    let columns = [("id", ValueType::Integer { bits: 64, signed: true }), ("v", ValueType::Other)];
    let rows = vec![some(&["1", ""]), some(&["2", "NULL"])];
    for (number, type_name) in types.iter().enumerate() {
        let table = loads.table(&format!("empty_{number}"));
        subject.run(&format!("CREATE TABLE {table} (id bigint, v {type_name})")).await?;
        for direct in [true, false] {
            let request = loads.request(&table, &columns, &rows, direct, LoadMethod::Replace).await?;
            loads.load(request).await.with_context(|| (*type_name).to_owned())?;
            let found = subject
                .rows(&format!("SELECT id, CASE WHEN v IS NULL THEN 'null' ELSE 'value' END FROM {table} ORDER BY id"))
                .await?;
            assert_eq!(found, [some(&["1", "value"]), some(&["2", "null"])], "{type_name}, direct: {direct}");
        }
    }
    Ok(())
}

/// Numbers in a column of text: the highest wins, or the upsert is refused before a row is touched.
pub async fn numbers_as_text_are_compared_as_numbers(
    world: &World,
    subject: &Subject,
    schema: Option<&str>,
    knows_numbers: bool,
) -> Result<()> {
    let mut loads = Loads { world, subject, schema, next: 900 };
    let table = loads.table("by_text");
    subject.run(&format!("CREATE TABLE {table} (id bigint, version varchar(40), note varchar(10))")).await?;
    let columns = [
        ("id", ValueType::Integer { bits: 64, signed: true }),
        ("version", ValueType::TEXT),
        ("note", ValueType::TEXT),
    ];
    let method = || upsert(&["id"], Some("version"));
    for (number, direct) in [true, false].into_iter().enumerate() {
        subject.run(&format!("DELETE FROM {table}")).await?;
        subject.run(&format!("INSERT INTO {table} VALUES (1, '100', 'old'), (2, '20', 'old')")).await?;
        let rows = vec![
            some(&["1", "99", "stale"]),
            some(&["2", "100", "new"]),
            some(&["3", "9", "stale"]),
            some(&["3", "18446744073709551615", "new"]),
        ];
        let request = loads.request(&table, &columns, &rows, direct, method()).await?;
        let loaded = loads.load(request).await;
        let found = subject.rows(&format!("SELECT id, note FROM {table} ORDER BY id")).await?;
        if knows_numbers {
            loaded?;
            assert_eq!(found, [some(&["1", "old"]), some(&["2", "new"]), some(&["3", "new"])], "direct: {direct}");
        } else {
            let error = refused(loaded)?;
            assert!(error.message.contains("order key \"version\""), "{}", error.message);
            assert_eq!(found, [some(&["1", "old"]), some(&["2", "old"])], "direct: {direct}");
        }
        // Texts whose order is that of their numbers, and texts that are none, go by their order.
        let days = vec![
            some(&[&format!("{}", 10 + number), "20240102", "b"]),
            some(&[&format!("{}", 10 + number), "20240103", "c"]),
        ];
        let request = loads.request(&table, &columns, &days, direct, method()).await?;
        loads.load(request).await?;
        let found = subject.rows(&format!("SELECT note FROM {table} WHERE id = {}", 10 + number)).await?;
        assert_eq!(found, [some(&["c"])]);
    }
    Ok(())
}
