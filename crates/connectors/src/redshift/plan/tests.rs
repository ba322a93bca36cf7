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
        base_type: None,
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
        gone: &[],
        also: &[],
        late_before: None,
        null_is_newest: false,
        unique_by: &[],
        is_own_table: false,
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
    assert_eq!(counts, Counts { inserted: Some(4), updated: None, deleted: vec![2], late: None });
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
fn what_is_gone_goes_before_the_rows_unless_one_comes_in_with_its_key() {
    let method = LoadMethod::Upsert { keys: vec!["note".into()], order_key: None };
    let gone = ["a".to_owned(), "b".to_owned()];
    let (statements, counts) =
        with_plan(&method, &CsvFormat::default(), |plan| LoadPlan { gone: &gone, copy: None, ..*plan }.publish());
    assert_eq!(counts.deleted, [2, 4]);
    let same =
        "\"analytics\".\"nps\".\"note\" = i.\"note\" AND LENGTH(\"analytics\".\"nps\".\"note\") = LENGTH(i.\"note\")";
    let of_a = format!(
        "FROM \"analytics\".\"nps\" WHERE (a) AND NOT EXISTS (SELECT 1 FROM \"analytics\".\"millrace_staging_00ff\" AS i WHERE {same})"
    );
    assert_eq!(statements[2..4], [format!("SELECT COUNT(*) {of_a}"), format!("DELETE {of_a}")]);
    assert!(statements[5].starts_with("DELETE FROM \"analytics\".\"nps\" WHERE (b)"), "{}", statements[5]);
    assert!(statements[6].starts_with("CREATE TEMP TABLE"), "{}", statements[6]);
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
    let session = json!({"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_session_token": "t"});
    assert_eq!(copy_credentials(&extra(session)), "CREDENTIALS 'aws_access_key_id=k;aws_secret_access_key=s;token=t'");
    for name in ["iam_role", "role_arn", "aws_iam_role"] {
        assert_eq!(copy_credentials(&extra(json!({name: "Default"}))), "IAM_ROLE default");
    }
    assert_eq!(
        copy_credentials(&extra(json!({"aws_access_key_id": "k", "aws_secret_access_key": "s'"}))),
        "CREDENTIALS 'aws_access_key_id=k;aws_secret_access_key=s'''"
    );
}

#[test]
fn every_option_stands_in_the_statement() {
    let csv = CsvFormat::default;
    let kind = |kind| CsvFormat { kind, ..CsvFormat::default() };
    let other = |option: &str| CsvFormat { other: vec![option.to_owned()], ..CsvFormat::default() };
    let own = |text: &str| kind(FileKind::Other(text.to_owned()));
    let fields = [
        (csv(), "CSV"),
        (CsvFormat { quote: Some('"'), delimiter: Some(','), ..csv() }, "CSV"),
        (CsvFormat { quote: Some('\''), ..csv() }, "CSV QUOTE AS ''''"),
        (CsvFormat { quote: Some('\\'), ..csv() }, "CSV QUOTE AS '\\\\'"),
        (CsvFormat { delimiter: Some('|'), ..csv() }, "CSV DELIMITER '|'"),
        (CsvFormat { delimiter: Some(','), ..kind(FileKind::Delimited) }, "DELIMITER ','"),
        (CsvFormat { ignore_header: 3, ..csv() }, "CSV IGNOREHEADER 3"),
        (CsvFormat { null_as: Some(String::new()), ..csv() }, "CSV NULL AS ''"),
        (CsvFormat { empty_as_null: true, ..csv() }, "CSV EMPTYASNULL"),
        (CsvFormat { blanks_as_null: true, ..csv() }, "CSV BLANKSASNULL"),
        (CsvFormat { gzip: true, ..csv() }, "CSV GZIP"),
        (CsvFormat { zstd: true, ..csv() }, "CSV ZSTD"),
        (CsvFormat { truncate_columns: true, ..csv() }, "CSV TRUNCATECOLUMNS"),
        (CsvFormat { accept_inv_chars: true, ..csv() }, "CSV ACCEPTINVCHARS"),
        (CsvFormat { max_error: 9, ..csv() }, "CSV MAXERROR 9"),
        (CsvFormat { date_format: Some("D'D".into()), ..csv() }, "CSV DATEFORMAT 'D''D'"),
        (CsvFormat { time_format: Some("auto".into()), ..csv() }, "CSV TIMEFORMAT 'auto'"),
        (own("JSON 'auto'"), "JSON 'auto'"),
        (own("AVRO 'auto'"), "AVRO 'auto'"),
        (own("FIXEDWIDTH 'id:8,name:20'"), "FIXEDWIDTH 'id:8,name:20'"),
        (own("SHAPEFILE SIMPLIFY AUTO"), "SHAPEFILE SIMPLIFY AUTO"),
    ];
    let quiet = "COMPUPDATE OFF STATUPDATE OFF";
    let further = [
        "BZIP2",
        "LZOP",
        "ACCEPTANYDATE",
        "FILLRECORD",
        "IGNOREBLANKLINES",
        "ROUNDEC",
        "TRIMBLANKS",
        "ESCAPE",
        "REMOVEQUOTES",
        "COMPROWS 1000",
        "ENCODING AS UTF16",
        "REGION 'eu-west-1'",
    ];
    let fields = fields.into_iter().map(|(format, options)| (format, format!("{options} {quiet}")));
    let further = further.iter().map(|option| (other(option), format!("CSV {quiet} {option}")));
    // What is said of the analysis stands in the place of what is usual; columnar files take less.
    let special = [
        (other("STATUPDATE ON"), "CSV COMPUPDATE OFF STATUPDATE ON"),
        (other("COMPUPDATE PRESET"), "CSV STATUPDATE OFF COMPUPDATE PRESET"),
        (kind(FileKind::Parquet), "FORMAT AS PARQUET STATUPDATE OFF"),
        (own("ORC"), "ORC STATUPDATE OFF"),
    ];
    let special = special.map(|(format, options)| (format, options.to_owned()));
    for (format, expected) in fields.chain(further).chain(special) {
        let copy = with_plan(&LoadMethod::Append, &format, staged).swap_remove(2);
        assert_eq!(copy.split_once(" MANIFEST ").map(|(_, options)| options), Some(expected.as_str()), "{format:?}");
    }
    // The key goes with ENCRYPTED only, the region not with columnar files.
    let with = |format: &CsvFormat| {
        with_plan(&LoadMethod::Append, format, |plan| {
            let from = CopyFrom {
                manifest_url: "s3://b/m",
                credentials: "IAM_ROLE default",
                symmetric_key: Some("k'"),
                region: Some("eu-west-1"),
            };
            plan.stage(&from).0.swap_remove(2)
        })
    };
    assert!(with(&other("ENCRYPTED")).contains(" MANIFEST MASTER_SYMMETRIC_KEY 'k''' REGION 'eu-west-1' CSV "));
    assert!(with(&csv()).contains(" MANIFEST REGION 'eu-west-1' CSV "));
    assert!(with(&kind(FileKind::Parquet)).contains(" MANIFEST FORMAT AS PARQUET "));
}
