use super::*;

fn read(texts: &[&str]) -> Result<CopyOptions, Vec<String>> {
    parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), true)
}

#[test]
fn options_are_read_in_every_way_of_writing() {
    let expected = CsvFormat {
        delimiter: Some(';'),
        quote: Some('\''),
        ignore_header: 2,
        null_as: Some("\\N".to_owned()),
        gzip: true,
        max_error: 10,
        time_format: Some("auto".to_owned()),
        other: vec!["STATUPDATE OFF".to_owned(), "COMPUPDATE".to_owned(), "REGION 'eu-west-1'".to_owned()],
        ..CsvFormat::default()
    };
    let one_each = read(&[
        "csv",
        "delimiter ';'",
        "quote as ''''",
        "ignoreheader 2",
        "null as '\\N'",
        "gzip",
        "maxerror 10",
        "timeformat 'auto'",
        "statupdate off",
        "compupdate",
        "region 'eu-west-1'",
    ]);
    assert_eq!(one_each.unwrap().format, expected);
    let in_one = read(&[
        "FORMAT AS CSV QUOTE '''' DELIMITER AS ';' IGNOREHEADER AS 2 NULL '\\\\N' GZIP MAXERROR AS 10 TIMEFORMAT AS 'auto' STATUPDATE OFF COMPUPDATE REGION 'eu-west-1';",
    ]);
    assert_eq!(in_one.unwrap().format, expected);
}

#[test]
fn flags_have_their_fields() {
    let format =
        read(&["csv", "emptyasnull", "blanksasnull", "truncatecolumns", "acceptinvchars", "dateformat 'YYYY'"])
            .unwrap()
            .format;
    assert!(format.empty_as_null && format.blanks_as_null && format.truncate_columns && format.accept_inv_chars);
    assert_eq!(format.date_format.as_deref(), Some("YYYY"));
    assert!(!read(&["csv"]).unwrap().says_header);
    assert!(read(&["csv", "ignoreheader 0"]).unwrap().says_header);
}

#[test]
fn mistakes_are_told_all_at_once_with_the_way_out() {
    let cases: &[(&[&str], &str)] = &[
        (&["csv", "ignorheader 1"], "'ignorheader' is not an option of COPY; did you mean 'ignoreheader'?"),
        (&["csv", "frobnicate"], "'frobnicate' is not an option of COPY; known are acceptanydate"),
        (&["csv", "csv"], "csv stands there twice"),
        (&["gzip"], "the format is missing"),
        (&["csv", "fixedwidth '1:2'"], "csv and fixedwidth exclude each other"),
        (&["csv", "escape"], "csv refuses escape"),
        (&["csv removequotes"], "csv refuses removequotes"),
        (&["parquet", "maxerror 3"], "parquet refuses maxerror"),
        (&["format as parquet", "gzip"], "parquet refuses gzip: the file says itself"),
        (&["parquet", "region 'eu-west-1'"], "parquet refuses region"),
        (&["orc", "ignoreheader 1"], "orc refuses ignoreheader"),
        (&["json 'auto'", "null as 'x'"], "json refuses null"),
        (&["json"], "json needs 'auto'"),
        (&["avro 'auto'", "gzip"], "avro refuses gzip"),
        (&["fixedwidth 'a:1'", "delimiter '|'"], "fixedwidth refuses delimiter"),
        (&["delimiter '|'", "quote '\"'"], "quote has a meaning with csv only"),
        (&["shapefile simplify 0.1"], "simplify auto only"),
        (&["csv", "gzip", "zstd"], "gzip and zstd exclude each other"),
        (&["csv", "delimiter '||'"], "delimiter needs one ASCII character"),
        (&["csv", "delimiter '\"'"], "must not be the same character"),
        (&["csv", "maxerror 100001"], "from 0 to 100000"),
        (&["csv", "maxerror many"], "from 0 to 100000"),
        (&["csv", "ignoreheader"], "number of lines"),
        (&["csv", "null as 'a,b'"], "must not hold the delimiter"),
        (&["json 'bogus'"], "json needs 'auto'"),
        (&["avro 'noshred'"], "avro needs 'auto'"),
        (&["fixedwidth 'a:1,b:x'"], "fixedwidth needs labels and widths"),
        (&["csv", "comprows 0"], "comprows needs a number"),
        (&["csv", "dateformat 'bogus'"], "dateformat needs 'auto' or year, month and day"),
        (&["csv", "timeformat 'nonsense'"], "timeformat needs 'auto', 'epochsecs'"),
        (&["parquet", "noload"], "parquet refuses noload"),
        (&["csv", "null as '\\N"], "a quote is not closed in: null"),
        (&["csv", "'x'"], "where the name of an option should be"),
        (&["csv", "region 'x; drop'"], "region needs"),
    ];
    for (texts, expected) in cases {
        let problems = read(texts).expect_err(&format!("{texts:?} must be refused"));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{texts:?}: {problems:?}");
    }
    assert_eq!(read(&["csv csv", "escape", "maxerror x"]).unwrap_err().len(), 3);
}

#[test]
fn every_format_of_copy_is_taken() {
    let kind = |texts: &[&str]| read(texts).unwrap().format.kind;
    assert_eq!(kind(&["parquet", "statupdate off", "acceptinvchars"]), FileKind::Parquet);
    assert_eq!(kind(&["delimiter '|'", "escape", "removequotes", "maxerror 3"]), FileKind::Delimited);
    assert_eq!(kind(&["format as json 'auto ignorecase'", "gzip"]), FileKind::Other("JSON 'auto ignorecase'".into()));
    assert_eq!(kind(&["fixedwidth 'id:3,name:9'"]), FileKind::Other("FIXEDWIDTH 'id:3,name:9'".into()));
    assert_eq!(kind(&["orc"]), FileKind::Other("ORC".into()));
    assert!(read(&["csv", "zstd", "encrypted"]).unwrap().format.zstd);
}

#[test]
fn values_that_copy_knows_are_taken() {
    for text in [
        "json 's3://b/paths.json'",
        "json 'noshred'",
        "avro 'auto ignorecase'",
        "fixedwidth 'id:3, name:9'",
        "csv comprows 1",
        "csv dateformat 'auto'",
        "csv dateformat as 'DD.MON.YY'",
        "csv timeformat 'epochmillisecs'",
        "csv timeformat 'YYYY-MM-DD HH24:MI:SS'",
        "csv timeformat 'auto'",
    ] {
        assert!(read(&[text]).is_ok(), "{text}");
    }
}

#[test]
fn values_of_refused_options_are_never_repeated() {
    for text in [
        "credentials 'aws_access_key_id=AKIAVERYSECRET;aws_secret_access_key=hunter22'",
        "iam_role 'arn:aws:iam::1:role/hunter22'",
        "access_key_id 'hunter22' secret_access_key 'hunter22'",
        "iam_rolle 'hunter22'",
        "credentials 'hunter22",
    ] {
        let shown = read(&["csv", text]).unwrap_err().join("\n");
        assert!(!shown.contains("hunter22") && !shown.contains("AKIA"), "{shown}");
    }
}

#[test]
fn nothing_is_missing_while_templates_are_not_rendered() {
    assert!(parse(&["ignoreheader 1".to_owned()], false).is_ok());
    assert!(parse(&[], true).is_err());
}

#[test]
fn other_engines_say_what_they_can_not_do() {
    let format =
        read(&["csv", "statupdate off", "fillrecord", "trimblanks", "ignoreblanklines", "region 'x'"]).unwrap().format;
    assert_eq!(unknown_to("sqlite", &format), ["TRIMBLANKS"]);
    assert!(unknown_to("redshift", &format).is_empty());
}
