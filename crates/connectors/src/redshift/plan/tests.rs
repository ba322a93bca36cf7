use super::*;

fn columns() -> Vec<Column> {
    [
        ("id", "bigint", false, None),
        ("at", "timestamp", true, None),
        ("score", "smallint", true, None),
        ("note", "varchar(9)", true, Some("'x'")),
    ]
    .into_iter()
    .map(|(name, type_name, is_nullable, default)| Column {
        name: name.into(),
        type_name: type_name.into(),
        is_nullable,
        default: default.map(Into::into),
    })
    .collect()
}

fn with_plan<T>(method: &LoadMethod, format: &CsvFormat, look: impl FnOnce(&LoadPlan<'_>) -> T) -> T {
    let target = TableName { schema: Some("analytics".into()), name: "nps".into() };
    let (table_columns, names) = (columns(), vec!["id".to_owned(), "at".to_owned(), "score".to_owned()]);
    look(&LoadPlan {
        target: &target,
        table_columns: &table_columns,
        columns: &names,
        fields: &names,
        types: &[],
        method,
        format,
        copy: Some(CopyFrom {
            manifest_url: "s3://b/m/1.manifest",
            credentials: "IAM_ROLE 'arn:aws:iam::123456789012:role/load'",
            symmetric_key: None,
            region: None,
        }),
        also: &[],
        marker: "home/dag/run/task/-1/0",
        hash: "00ff",
    })
}

fn staged(plan: &LoadPlan<'_>) -> Vec<String> {
    plan.stage(plan.copy.as_ref().expect("a COPY")).0
}

#[test]
fn copy_never_sees_the_target() {
    let format = CsvFormat { null_as: Some("\\N".into()), ignore_header: 1, gzip: true, ..CsvFormat::default() };
    let statements = with_plan(&LoadMethod::Replace, &format, staged);
    assert_eq!(
        statements[2],
        "COPY \"analytics\".\"millrace_staging_00ff\" (\"id\", \"at\", \"score\") FROM 's3://b/m/1.manifest' \
         IAM_ROLE 'arn:aws:iam::123456789012:role/load' MANIFEST CSV IGNOREHEADER 1 NULL AS '\\\\N' GZIP COMPUPDATE OFF STATUPDATE OFF"
    );
    assert!(statements.iter().all(|statement| !statement.contains("\"analytics\".\"nps\"")));
    assert!(statements[1].contains("\"id\" bigint NOT NULL"));
}

#[test]
fn a_columnar_file_goes_by_order_into_a_table_of_as_many_columns() {
    let format = CsvFormat { kind: FileKind::Parquet, ..CsvFormat::default() };
    let copy = "COPY \"analytics\".\"millrace_staging_00ff\" FROM 's3://b/m/1.manifest' \
                IAM_ROLE 'arn:aws:iam::123456789012:role/load' MANIFEST FORMAT AS PARQUET STATUPDATE OFF";
    assert_eq!(with_plan(&LoadMethod::Append, &format, staged)[2], copy);
    let method = LoadMethod::Upsert { keys: vec!["id".into()], order_key: None };
    let numbered = with_plan(&method, &format, staged);
    assert!(numbered[4].starts_with("COPY \"analytics\".\"millrace_staging_00ff_raw\" FROM"), "{}", numbered[4]);
    assert!(numbered[1].contains("IDENTITY") && !numbered[3].contains("IDENTITY"));
    assert!(numbered[5].contains("INSERT INTO \"analytics\".\"millrace_staging_00ff\" (\"id\", \"at\", \"score\")"));
}

#[test]
fn replace_is_one_short_transaction_by_name() {
    let (statements, counts) = with_plan(&LoadMethod::Replace, &CsvFormat::default(), |plan| plan.publish());
    assert_eq!(statements[0], "LOCK TABLE \"analytics\".\"nps\"");
    assert!(statements[1].starts_with("SELECT 1 / "));
    assert_eq!(counts, Counts { inserted: Some(4), updated: None, deleted: Some(2) });
    assert_eq!(statements[3], "DELETE FROM \"analytics\".\"nps\"");
    assert!(statements[5].starts_with("INSERT INTO \"analytics\".\"nps\" (\"id\", \"at\", \"score\") SELECT"));
    assert!(statements[6].contains("millrace_load_marker"));
    assert_eq!(statements.len(), 8);
    assert!(!statements.join(" ").to_uppercase().contains("TRUNCATE"));
}

#[test]
fn upsert_stays_within_one_batch_and_keeps_other_columns() {
    let method = LoadMethod::Upsert { keys: vec!["id".into()], order_key: Some("at".into()) };
    let (statements, counts) = with_plan(&method, &CsvFormat::default(), |plan| plan.publish());
    // One more is spent on SET query_group.
    assert!(statements.len() < 40);
    let doubles = &statements[2];
    assert!(doubles.contains("AS SELECT \"id\", \"at\", \"score\", \"note\" FROM"), "{doubles}");
    assert!(doubles.contains("ORDER BY t.\"at\" DESC NULLS LAST"), "{doubles}");
    // Only the keys that come in are ranked.
    assert!(doubles.contains("WHERE EXISTS (SELECT 1 FROM \"analytics\".\"millrace_staging_00ff\" AS i"), "{doubles}");
    assert_eq!((counts.updated, counts.inserted), (Some(6), Some(7)));
    assert!(statements[8].starts_with("UPDATE \"analytics\".\"nps\" SET \"id\" = i.\"id\""), "{}", statements[8]);
    let staged = with_plan(&method, &CsvFormat::default(), staged);
    assert!(staged[1].contains("\"millrace_seq\" bigint IDENTITY(1,1)"));
    assert!(staged[5].starts_with("SELECT COUNT(*) FROM (SELECT \"id\" FROM"), "{}", staged[5]);
    assert!(staged[6].contains("PARTITION BY \"id\" ORDER BY \"at\" DESC NULLS LAST, \"millrace_seq\" DESC"));
}

#[test]
fn every_entry_of_a_manifest_is_mandatory() {
    let text = manifest([("s3://b/a \"1\".csv", 7)]);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        value,
        json!({"entries": [{"url": "s3://b/a \"1\".csv", "mandatory": true, "meta": {"content_length": 7}}]})
    );
}

#[test]
fn credentials_come_from_the_connection() {
    let extra = |value: serde_json::Value| Extra(value.as_object().cloned().unwrap_or_default());
    assert_eq!(copy_credentials(&extra(json!({"role_arn": "arn:x"}))), "IAM_ROLE 'arn:x'");
    assert_eq!(copy_credentials(&extra(json!({}))), "IAM_ROLE default");
    assert_eq!(
        copy_credentials(&extra(json!({"aws_access_key_id": "k", "aws_secret_access_key": "s'"}))),
        "CREDENTIALS 'aws_access_key_id=k;aws_secret_access_key=s'''"
    );
}
