//! What every warehouse must do alike, on each of them.

use std::sync::Arc;

use anyhow::Result;
use millrace_model::ids::TaskId;
use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{
    BuildRequest, CsvFormat, LoadMethod, LoadReport, LoadRows, TableCheck, TableName, ValueType, Warehouse,
};
use millrace_operator_api::{PortErrorKind, TaskContext};

use crate::world::{Cells, Journal, World, again, refused, some, stream_of, upsert, work};

/// A warehouse under test, with the SQL that is its own.
pub struct Subject {
    pub warehouse: Arc<dyn Warehouse>,
    pub context: TaskContext,
    /// `analytics.nps` or `nps`.
    pub table: &'static str,
}

impl Subject {
    pub async fn rows(&self, sql: &str) -> Result<Cells> {
        let answers = self.warehouse.execute(&[sql.to_owned()], true, &self.context.work).await?;
        Ok(answers.into_iter().next().unwrap_or_default().rows)
    }

    pub async fn run(&self, sql: &str) -> Result<()> {
        self.rows(sql).await.map(|_| ())
    }

    async fn table_rows(&self) -> Result<Cells> {
        self.rows(&format!("SELECT id, at, score, note FROM {} ORDER BY id, score", self.table)).await
    }

    fn name(&self) -> TableName {
        let (schema, name) =
            self.table.split_once('.').map_or((None, self.table), |(schema, name)| (Some(schema.to_owned()), name));
        TableName { schema, name: name.to_owned() }
    }
}

fn nulls(format: &mut CsvFormat) {
    format.null_as = Some("\\N".to_owned());
}

async fn load(world: &World, subject: &Subject, method: LoadMethod, generation: u32, text: &str) -> Result<LoadReport> {
    let mut request = world.request(subject.table, method, &[("in.csv", text)]).await?;
    nulls(&mut request.format);
    request.work = work(generation);
    request.columns = Some(["id", "at", "score"].map(ToOwned::to_owned).to_vec());
    Ok(subject.warehouse.load(request).await?)
}

/// The table must have `id, at, score, note` with a default of 'x' for `note`, and be empty.
pub async fn methods_do_what_they_say(world: &World, subject: &Subject) -> Result<()> {
    let load = async |method, generation, text| load(world, subject, method, generation, text).await;
    let first = load(LoadMethod::Append, 1, "1,2024-01-01 00:00:00,10\n2,2024-01-02 00:00:00,\\N\n").await?;
    assert_eq!((first.rows_read, first.rows_inserted, first.was_loaded_before), (Some(2), Some(2), false));
    assert_eq!(
        subject.table_rows().await?,
        [some(&["1", "2024-01-01 00:00:00", "10", "x"]), some(&["2", "2024-01-02 00:00:00", "NULL", "x"])]
    );
    // The same work never happens twice; another one does what its method says.
    assert!(
        load(LoadMethod::Append, 1, "1,2024-01-01 00:00:00,10\n2,2024-01-02 00:00:00,\\N\n").await?.was_loaded_before
    );
    assert_eq!(subject.table_rows().await?.len(), 2);
    load(LoadMethod::Append, 2, "1,2024-01-01 00:00:00,10\n").await?;
    assert_eq!(subject.table_rows().await?.len(), 3, "append looks for no duplicates");

    let replaced =
        load(LoadMethod::Replace, 3, "1,2024-01-01 00:00:00,10\n2,2024-01-05 00:00:00,20\n3,\\N,30\n").await?;
    assert_eq!((replaced.rows_deleted, replaced.rows_inserted), (Some(3), Some(3)));
    upsert_keeps_the_newest(world, subject).await
}

/// The table must be as [`methods_do_what_they_say`] leaves it before: 1, 2 and 3, the last without a time.
pub async fn upsert_keeps_the_newest(world: &World, subject: &Subject) -> Result<()> {
    let load = async |method, generation, text| load(world, subject, method, generation, text).await;
    subject.run(&format!("UPDATE {} SET note = 'kept' WHERE id = 1", subject.table)).await?;

    // 1: twice in the file, the highest order key wins. 2: the existing one is newer. 3: NULL is lowest. 4: a tie, the last
    // in the file wins. 5: NULL loses against a value.
    let by_time = upsert(&["id"], Some("at"));
    // Redshift reads files in no order, so that there the row of 4 comes twice as it is.
    let tied = if subject.warehouse.engine() == "redshift" { 41 } else { 40 };
    let text = format!(
        "1,2024-01-03 00:00:00,12\n1,2024-01-02 00:00:00,11\n2,2024-01-04 00:00:00,99\n3,2024-01-01 00:00:00,31\n\
         4,2024-01-01 00:00:00,{tied}\n4,2024-01-01 00:00:00,41\n5,2024-01-01 00:00:00,50\n5,\\N,51\n"
    );
    let text = text.as_str();
    let report = load(by_time.clone(), 4, text).await?;
    let expected = [
        some(&["1", "2024-01-03 00:00:00", "12", "kept"]),
        some(&["2", "2024-01-05 00:00:00", "20", "x"]),
        some(&["3", "2024-01-01 00:00:00", "31", "x"]),
        some(&["4", "2024-01-01 00:00:00", "41", "x"]),
        some(&["5", "2024-01-01 00:00:00", "50", "x"]),
    ];
    assert_eq!(subject.table_rows().await?, expected);
    assert_eq!((report.rows_read, report.rows_inserted, report.rows_updated), (Some(8), Some(2), Some(2)));
    // Once more with the same file: nothing changes.
    load(by_time, 5, text).await?;
    assert_eq!(subject.table_rows().await?, expected);
    // Without an order key the incoming row wins.
    load(upsert(&["id"], None), 6, "2,2024-01-01 00:00:00,21\n").await?;
    assert_eq!(subject.table_rows().await?[1], some(&["2", "2024-01-01 00:00:00", "21", "x"]));
    Ok(())
}

/// The table must have `id, at, score, note`, and be empty.
pub async fn a_run_made_again_under_its_id_loads_again(world: &World, subject: &Subject) -> Result<()> {
    let mut request =
        world.request(subject.table, LoadMethod::Append, &[("in.csv", "1,2024-01-01 00:00:00,1,a\n")]).await?;
    assert!(!subject.warehouse.load(again(&request)).await?.was_loaded_before);
    let report = subject.warehouse.load(again(&request)).await?;
    assert_eq!((report.was_loaded_before, report.rows_read), (true, Some(1)), "its marker knows the rows");
    // Deleted with its history, and made again for the same date.
    request.work.run_created_at += chrono::TimeDelta::microseconds(1);
    assert!(!subject.warehouse.load(again(&request)).await?.was_loaded_before);
    assert!(subject.warehouse.load(request).await?.was_loaded_before);
    assert_eq!(subject.table_rows().await?.len(), 2);
    Ok(())
}

/// The table must have `id, at, score, note`, and be empty.
pub async fn files_that_are_not_what_was_written_load_nothing(world: &World, subject: &Subject) -> Result<()> {
    let text = "1,2024-01-01 00:00:00,1,a\n2,2024-01-01 00:00:00,2,b\n";
    for method in [LoadMethod::Append, LoadMethod::Replace, LoadMethod::Swap, upsert(&["id"], None)] {
        let mut request = world.request(subject.table, method.clone(), &[("in.csv", text)]).await?;
        request.expected_rows = Some(3);
        let error = refused(subject.warehouse.load(again(&request)).await)?;
        assert_eq!(error.kind, PortErrorKind::Data, "{method:?}: {}", error.message);
        assert!(error.message.contains("3 rows were written to the files, but 2 were read"), "{}", error.message);
        assert!(subject.table_rows().await?.is_empty(), "{method:?}");
        // Another run has written the same key: as many bytes, as many rows.
        request.expected_rows = Some(2);
        world.put("in.csv", text.replace(",1,a", ",7,z").into_bytes()).await?;
        let error = refused(subject.warehouse.load(again(&request)).await)?;
        assert_eq!(error.kind, PortErrorKind::Unavailable, "{method:?}: {}", error.message);
        assert!(error.message.contains("s3://lake/in.csv is not the file any more"), "{}", error.message);
        assert!(subject.table_rows().await?.is_empty(), "{method:?}");
    }
    // A quote that nobody closes would make the rest of the rows a part of one value.
    // (Redshift's own COPY counts it as one row that MAXERROR allows.)
    let allowed: &[u32] = if subject.warehouse.engine() == "redshift" { &[0] } else { &[0, 10] };
    for max_error in allowed {
        let open = "1,2024-01-01 00:00:00,1,a\n2,2024-01-01 00:00:00,2,\"b\n3,2024-01-01 00:00:00,3,c\n";
        let mut request = world.request(subject.table, LoadMethod::Append, &[("open.csv", open)]).await?;
        request.format.max_error = *max_error;
        let error = refused(subject.warehouse.load(request).await)?;
        assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
        assert!(error.message.contains("quote"), "{}", error.message);
        assert!(subject.table_rows().await?.is_empty());
    }
    // Nothing of it counts as done.
    let mut request = world.request(subject.table, LoadMethod::Append, &[("in.csv", text)]).await?;
    request.expected_rows = Some(2);
    assert!(!subject.warehouse.load(request).await?.was_loaded_before);
    assert_eq!(subject.table_rows().await?.len(), 2);
    Ok(())
}

/// The table must take doubles and NULLs in `id`, and be empty.
pub async fn upsert_removes_doubles_and_never_matches_null(world: &World, subject: &Subject) -> Result<()> {
    subject
        .run(&format!(
            "INSERT INTO {} (id, at, score) VALUES (1, '2024-01-01 00:00:00', 1), (1, '2024-01-09 00:00:00', 2), \
             (1, '2024-01-05 00:00:00', 3), (2, '2024-01-01 00:00:00', 4), (2, '2024-01-01 00:00:00', 5), (NULL, '2024-01-01 00:00:00', 6)",
            subject.table
        ))
        .await?;
    let text = "1,2024-01-06 00:00:00,7\n\\N,2024-01-02 00:00:00,8\n\\N,2024-01-02 00:00:00,8\n";
    let mut request = world.request(subject.table, upsert(&["id"], Some("at")), &[("in.csv", text)]).await?;
    nulls(&mut request.format);
    request.columns = Some(["id", "at", "score"].map(ToOwned::to_owned).to_vec());
    subject.warehouse.load(request).await?;
    let left = subject
        .rows(&format!(
            "SELECT id, score FROM {} ORDER BY CASE WHEN id IS NULL THEN 1 ELSE 0 END, id, score",
            subject.table
        ))
        .await?;
    // The newest of the three stays, newer than the incoming; key 2 did not come in and is left alone.
    assert_eq!(
        left,
        [
            some(&["1", "2"]),
            some(&["2", "4"]),
            some(&["2", "5"]),
            some(&["NULL", "6"]),
            some(&["NULL", "8"]),
            some(&["NULL", "8"])
        ]
    );
    Ok(())
}

/// A failing load changes nothing, and says what is wrong where.
pub async fn a_bad_value_leaves_everything_as_it_was(world: &World, subject: &Subject, words: &[&str]) -> Result<()> {
    subject.run(&format!("INSERT INTO {} (id, at, score) VALUES (1, '2024-01-01 00:00:00', 1)", subject.table)).await?;
    let before = subject.table_rows().await?;
    let text = "id,at,score\n7,\"2024-01-01 00:00:00\",1\n8,2024-01-01 00:00:00,12.5\n";
    let mut request = world.request(subject.table, LoadMethod::Replace, &[("bad.csv", text)]).await?;
    request.format.ignore_header = 1;
    request.columns = Some(["id", "at", "score"].map(ToOwned::to_owned).to_vec());
    let error = refused(subject.warehouse.load(request).await)?;
    for word in words {
        assert!(error.message.contains(word), "{word:?} is missing in: {}", error.message);
    }
    assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
    assert_eq!(subject.table_rows().await?, before);
    Ok(())
}

/// Build, check, swap; a failed check leaves the live table alone.
pub async fn summaries_are_built_checked_and_swapped(subject: &Subject) -> Result<()> {
    subject.run(&format!("INSERT INTO {} (id, at, score) VALUES (1, '2024-01-01 00:00:00', 1)", subject.table)).await?;
    let before = subject.table_rows().await?;
    let build = |generation: u32, select: &str, keep_failed: bool| BuildRequest {
        target: subject.name(),
        select: select.to_owned(),
        columns_ddl: None,
        checks: vec![
            TableCheck::MinRows(1),
            TableCheck::Unique(vec!["id".into()]),
            TableCheck::NotNull(vec!["id".into(), "score".into()]),
            TableCheck::Sql { name: "scores".into(), sql: "SELECT COUNT(*) FROM {table} WHERE score > 0".into() },
        ],
        keep_failed,
        also: Vec::new(),
        work: work(generation),
    };
    let empty = "SELECT id, at, score, note FROM source_rows WHERE 1 = 0 -- nothing";
    let of_another = WorkId { task_id: TaskId::new_unchecked("another"), ..work(8) };
    let of_another =
        subject.warehouse.build_and_swap(BuildRequest { work: of_another, ..build(8, empty, true) }).await?;
    // A test of the DAG is an installation of its own.
    let of_a_test =
        BuildRequest { work: WorkId { installation: "test-77".to_owned(), ..work(9) }, ..build(9, empty, true) };
    let before_last = subject.warehouse.build_and_swap(of_a_test).await?.kept_as.expect("kept");
    let failed = subject.warehouse.build_and_swap(build(10, empty, true)).await?;
    assert!(!failed.was_swapped);
    assert_eq!(failed.checks[0].found, "0 rows");
    let kept = failed.kept_as.expect("kept");
    assert_eq!(subject.table_rows().await?, before);
    for kept in [&kept, &before_last] {
        assert!(subject.rows(&format!("SELECT * FROM {kept}")).await?.is_empty(), "the built table stands there");
    }

    let doubled = "SELECT id, at, score, note FROM source_rows UNION ALL SELECT id, at, score, note FROM source_rows;";
    let failed = subject.warehouse.build_and_swap(build(11, doubled, false)).await?;
    assert!(!failed.was_swapped && failed.kept_as.is_none());
    assert_eq!(failed.checks[1].found, "2 keys occur more than once, for example id=5");
    assert_eq!(subject.table_rows().await?, before);

    let good = build(12, "SELECT id, at, score, note FROM source_rows", false);
    let swapped = subject.warehouse.build_and_swap(good.clone()).await?;
    assert!(swapped.was_swapped && !swapped.was_built_before, "{:?}", swapped.checks);
    assert_eq!(swapped.rows, Some(2));
    let after = [some(&["5", "2024-01-01 00:00:00", "50", "a"]), some(&["6", "2024-01-01 00:00:00", "60", "b"])];
    assert_eq!(subject.table_rows().await?, after);
    for gone in [kept, before_last] {
        assert!(subject.rows(&format!("SELECT * FROM {gone}")).await.is_err(), "{gone} went with the success");
    }
    let of_another = of_another.kept_as.expect("kept");
    assert!(subject.rows(&format!("SELECT * FROM {of_another}")).await?.is_empty(), "another task's stays");
    subject.run(&format!("DROP TABLE {of_another}")).await?;
    assert!(subject.warehouse.build_and_swap(good).await?.was_built_before);
    // Defaults and NOT NULL have survived.
    subject.run(&format!("INSERT INTO {} (id, at, score) VALUES (9, '2024-01-01 00:00:00', 1)", subject.table)).await?;
    assert_eq!(subject.table_rows().await?[2], some(&["9", "2024-01-01 00:00:00", "1", "x"]));
    let columns = subject.warehouse.describe(&subject.name()).await?;
    assert!(columns.iter().any(|column| column.name == "score" && !column.is_nullable), "{columns:?}");
    values_and_age_are_checked(subject).await
}

/// The rows are of 2024-01-01 with the notes `a`, `b` and `x`.
async fn values_and_age_are_checked(subject: &Subject) -> Result<()> {
    let accepted = |values: &[&str]| TableCheck::Accepted {
        column: "note".into(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let fresh = |day: &str| TableCheck::Fresh {
        column: "at".into(),
        not_before: format!("{day}T00:00:00Z").parse().unwrap_or_default(),
    };
    let wanted = [accepted(&["a", "b", "x"]), accepted(&["a", "b"]), fresh("2024-01-01"), fresh("2024-01-02")];
    let found = subject.warehouse.check(&subject.name(), &wanted).await?;
    assert_eq!(found.iter().map(|check| check.passed).collect::<Vec<_>>(), [true, false, true, false], "{found:?}");
    assert_eq!(found[1].found, "other values: \"x\" (1 rows)");
    assert!(found[3].found.starts_with("the newest is 2024-01-01 00:00:00"), "{}", found[3].found);
    Ok(())
}

/// Scripts: one transaction, or each statement on its own.
pub async fn scripts_roll_back_as_a_whole(subject: &Subject) -> Result<()> {
    let table = subject.table;
    let script = format!(
        "INSERT INTO {table} (id, at, score) VALUES (1, '2024-01-01 00:00:00', 1);\nINSERT INTO {table} (nope) VALUES (1);"
    );
    let statements = subject.warehouse.split(&script)?;
    assert_eq!(statements.len(), 2);
    let error = refused(subject.warehouse.execute(&statements, false, &work(20)).await)?;
    assert!(error.message.contains("nope"), "{}", error.message);
    assert!(error.message.contains("statement 2") || error.message.contains("number 1 on"), "{}", error.message);
    assert!(subject.table_rows().await?.is_empty());
    refused(subject.warehouse.execute(&statements, true, &work(21)).await)?;
    assert_eq!(subject.table_rows().await?.len(), 1);
    let missing = refused(
        subject.warehouse.describe(&TableName { schema: subject.name().schema, name: "nothing".into() }).await,
    )?;
    assert_eq!(missing.kind, PortErrorKind::NotFound, "{}", missing.message);
    Ok(())
}

/// Rows that cannot be taken go to the quarantine, within what is allowed; their values are shown in no message.
pub async fn refused_rows_go_to_the_quarantine(world: &World, subject: &Subject) -> Result<()> {
    let text = "1,2024-01-01 00:00:00,10\n2,2024-01-01 00:00:00,secret-a\n3,2024-01-01 00:00:00,30\n\
                4,2024-01-01 00:00:00,secret-b\n5,2024-01-01 00:00:00,50\n";
    let ask = async |generation: u32, max_error: u32, direct: bool| {
        let mut request = world.request(subject.table, LoadMethod::Append, &[("refused.csv", text)]).await?;
        if direct {
            let typed = [("id", ValueType::TEXT), ("at", ValueType::TEXT), ("score", ValueType::TEXT)];
            let rows: Cells = text.lines().map(|line| some(&line.split(',').collect::<Vec<_>>())).collect();
            request.rows = LoadRows::direct(stream_of(&typed, &rows));
        }
        request.columns = Some(["id", "at", "score"].map(ToOwned::to_owned).to_vec());
        request.format.max_error = max_error;
        request.quarantine = Some(TableName { name: "refused_rows".to_owned(), ..subject.name() });
        request.show_values = false;
        request.work = work(generation);
        anyhow::Ok(request)
    };
    for direct in [false, true] {
        let generation = 60 + 10 * u32::from(direct);
        let error = refused(subject.warehouse.load(ask(generation, 1, direct).await?).await)?;
        assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
        assert!(!error.message.contains("secret"), "a value is shown: {}", error.message);
        let report = subject.warehouse.load(ask(generation + 1, 2, direct).await?).await?;
        assert_eq!((report.rows_read, report.rows_inserted), (Some(5), Some(3)), "direct: {direct}");
        assert_eq!((report.rows_rejected, report.rejected.len()), (Some(2), 2), "direct: {direct}");
        assert!(!format!("{:?}", report.rejected).contains("secret"), "{:?}", report.rejected);
        assert_eq!(report.rejected[0].line, Some(2), "{:?}", report.rejected);
        assert_eq!(report.rejected[0].column.as_deref(), Some("score"));
    }
    let table = TableName { name: "refused_rows".to_owned(), ..subject.name() };
    let rows = subject
        .rows(&format!("SELECT file, line, column_name, value FROM {table} WHERE file LIKE 's3:%' ORDER BY line"))
        .await?;
    assert_eq!(
        rows,
        [
            some(&["s3://lake/refused.csv", "2", "score", "secret-a"]),
            some(&["s3://lake/refused.csv", "4", "score", "secret-b"])
        ]
    );
    // All of the row is there: JSON by column, or the line of the file where Redshift has read it.
    let of_files = subject.rows(&format!("SELECT source_row FROM {table} WHERE file LIKE 's3:%' AND line = 2")).await?;
    let line = of_files[0][0].clone().unwrap_or_default();
    let json = "{\"id\": \"2\", \"at\": \"2024-01-01 00:00:00\", \"score\": \"secret-a\"}";
    assert!([json, "2,2024-01-01 00:00:00,secret-a"].contains(&line.as_str()), "{line}");
    let direct =
        subject.rows(&format!("SELECT source_row FROM {table} WHERE file NOT LIKE 's3:%' AND line = 2")).await?;
    assert_eq!(direct, [some(&[json])]);
    // A quarantine of before has no such column, and gets it.
    subject.run(&format!("ALTER TABLE {table} DROP COLUMN source_row")).await?;
    subject.warehouse.load(ask(90, 2, false).await?).await?;
    let filled = subject.rows(&format!("SELECT COUNT(source_row), COUNT(*) FROM {table}")).await?;
    assert_eq!(filled, [some(&["2", "6"])]);
    let quarantined = format!("SELECT COUNT(*) FROM {table} WHERE target_table = '{}'", subject.table);
    assert_eq!(subject.rows(&quarantined).await?, [some(&["6"])]);
    // They come with the rows of a swap or not at all, like whatever else goes with it.
    let before = subject.table_rows().await?;
    let mut swap = ask(91, 2, false).await?;
    swap.method = LoadMethod::Swap;
    swap.also = vec![format!("CREATE TABLE {} (id bigint)", subject.table)];
    refused(subject.warehouse.load(again(&swap)).await)?;
    assert_eq!(subject.rows(&quarantined).await?, [some(&["6"])], "nothing was swapped");
    assert_eq!(subject.table_rows().await?, before);
    swap.also = vec![format!("UPDATE {} SET note = 'swapped' WHERE id = 3", subject.table)];
    subject.warehouse.load(swap).await?;
    assert_eq!(subject.rows(&quarantined).await?, [some(&["8"])]);
    let notes = subject.rows(&format!("SELECT id, note FROM {} ORDER BY id", subject.table)).await?;
    assert_eq!(notes, [some(&["1", "x"]), some(&["3", "swapped"]), some(&["5", "x"])]);
    Ok(())
}

/// Sixteen days are loaded at once and share most of their keys, which nothing enforces. The newest of each key stays, once.
pub async fn days_that_are_loaded_at_once_leave_no_double(
    world: &World,
    open: &(dyn Fn(TaskContext) -> futures::future::BoxFuture<'static, Result<Arc<dyn Warehouse>>> + Sync),
    subject: &Subject,
) -> Result<()> {
    const DAYS: u32 = 16;
    let mut loads = Vec::new();
    for day in 1..=DAYS {
        let mut context = world.context(1);
        context.journal = Arc::new(Journal::default());
        let warehouse = open(context).await?;
        let lines: String = (0..40 + day).map(|key| format!("{key},2024-01-{day:02} 00:00:00,{day}\n")).collect();
        let key = format!("day{day}.csv");
        let mut request =
            world.request(subject.table, upsert(&["id"], Some("at")), &[(key.as_str(), lines.as_str())]).await?;
        request.columns = Some(["id", "at", "score"].map(ToOwned::to_owned).to_vec());
        request.work = work(200 + day);
        loads.push(async move { warehouse.load(request).await });
    }
    for report in futures::future::join_all(loads).await {
        assert!(!report?.was_loaded_before);
    }
    let found = subject.rows(&format!("SELECT COUNT(*), COUNT(DISTINCT id) FROM {}", subject.table)).await?;
    assert_eq!(found, [some(&["56", "56"])]);
    let stale = subject.rows(&format!("SELECT COUNT(*) FROM {} WHERE id < 41 AND score <> 16", subject.table)).await?;
    assert_eq!(stale, [some(&["0"])], "an older day has overwritten a newer one");
    Ok(())
}
