//! `millrace doctor aws`, on the stand-ins for S3, STS and Redshift.

use serde_json::{Value, json};

use crate::support::{ACCESS_KEY, SECRET_KEY, TestHome, Warehouse};

const ORDERS: &str = "
schedule: none
params:
  s3_bucket: warehouse-landing
tasks:
  extract_orders:
    operator: sql_to_s3
    sql_conn_id: shop
    query: SELECT 1
    s3_bucket: \"{{ params.s3_bucket }}\"
    s3_key: orders/{{ ds }}.csv
  load_orders:
    operator: upsert
    depends_on: [extract_orders]
    warehouse_conn_id: redshift_dev
    from_task: extract_orders
    schema: analytics
    table: orders
    upsert_keys: [id]
  clean_up:
    operator: s3_cleanup
    depends_on: [load_orders]
    bucket: \"{{ params.s3_bucket }}\"
    keys: [old/a.csv, \"old/{{ ds }}.csv\"]
  keep:
    operator: s3_move
    depends_on: [load_orders]
    aws_conn_id: archive
    s3_key: s3://warehouse-landing/orders/list.csv
    dest_key: kept/list.csv
";

const ROLE: &str = "arn:aws:iam::000000000000:role/loader";

fn home(warehouse: &Warehouse, sts_url: &str, role: &str) -> TestHome {
    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    warehouse.connect(&mut home);
    let archive = json!({
        "conn_type": "aws", "login": ACCESS_KEY, "password": SECRET_KEY,
        "extra": {"endpoint_url": warehouse.s3_url(), "sts_endpoint_url": sts_url, "region_name": "eu-central-1",
                  "role_arn": role, "kms_key_id": "alias/lake"},
    });
    home.run_with_input(&["connections", "add", "archive", "--conn-json", "-"], &archive.to_string()).exits(0);
    home.ok(&["connections", "add", "shop", "--conn-uri", "sqlite:///shop.db"]);
    home.write_dag("orders.yaml", ORDERS);
    home
}

fn said<'a>(report: &'a Value, status: &str) -> Vec<&'a str> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["status"] == status).map(|check| check["what"].as_str().unwrap()).collect()
}

#[test]
fn what_a_dag_uses_of_aws_is_tried_and_its_least_policy_is_printed() {
    let warehouse = Warehouse::start();
    let sts = warehouse.sts(ROLE);
    let home = home(&warehouse, &sts.endpoint_url(), ROLE);
    let report = home.json(&["doctor", "aws", "orders"]);
    assert_eq!(said(&report, "fail"), [""; 0], "{report}");
    assert_eq!(said(&report, "warn"), [""; 0], "{report}");
    let fine = said(&report, "ok").join("\n");
    for part in [
        "aws_default: s3://warehouse-landing/orders/*.csv* can be listed",
        "aws_default: s3://warehouse-landing/old/a.csv* can be listed",
        "archive: s3://warehouse-landing/kept/list.csv* can be listed",
        "archive: arn:aws:iam::000000000000:user/",
        "region eu-central-1",
        "redshift_dev: Redshift",
    ] {
        assert!(fine.contains(part), "{part}\n{fine}");
    }
    // Whoever was asked about is the role, not the keys it is taken with.
    assert!(!fine.contains(&format!("user/{ACCESS_KEY}")), "{fine}");

    let role = "arn:aws:iam::123456789012:role/redshift-read-s3";
    let landing = "arn:aws:s3:::warehouse-landing";
    let listing = |keys: &[&str]| {
        json!({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [landing],
               "Condition": {"StringLike": {"s3:prefix": keys}}})
    };
    let allow =
        |actions: &[&str], resources: &[&str]| json!({"Effect": "Allow", "Action": actions, "Resource": resources});
    let in_landing = |key: &str| format!("{landing}/{key}");
    let expected = json!([
        {"connection": "archive", "of": "its credentials", "policy": {"Version": "2012-10-17", "Statement": [
            allow(&["sts:AssumeRole"], &[ROLE]),
        ]}},
        {"connection": "archive", "of": format!("the role {ROLE}"), "policy": {"Version": "2012-10-17", "Statement": [
            listing(&["kept/list.csv*", "orders/list.csv*"]),
            {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
             "Resource": ["arn:aws:kms:eu-central-1:*:key/*"],
             "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/lake"]}}},
            allow(&["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"],
                  &[&in_landing("kept/list.csv*")]),
            allow(&["s3:DeleteObject", "s3:GetObject", "s3:GetObjectTagging"], &[&in_landing("orders/list.csv*")]),
        ]}},
        {"connection": "aws_default", "of": "its credentials", "policy": {"Version": "2012-10-17", "Statement": [
            listing(&["_millrace/*", "old/*.csv*", "old/a.csv*", "orders/*.csv*"]),
            allow(&["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
                  &[&in_landing("_millrace/*"), &in_landing("orders/*.csv*")]),
            allow(&["s3:DeleteObject", "s3:GetObject"], &[&in_landing("old/*.csv*"), &in_landing("old/a.csv*")]),
        ]}},
        {"connection": "redshift_dev", "of": "its credentials", "policy": {"Version": "2012-10-17", "Statement": [
            allow(&["redshift-data:BatchExecuteStatement", "redshift-data:ExecuteStatement",
                    "redshift-serverless:GetCredentials"], &["arn:aws:redshift-serverless:us-east-1:*:workgroup/*"]),
            allow(&["redshift-data:CancelStatement", "redshift-data:DescribeStatement",
                    "redshift-data:GetStatementResult"], &["*"]),
        ]}},
        {"connection": "redshift_dev", "of": format!("the role {role}, which COPY and UNLOAD act with"),
         "policy": {"Version": "2012-10-17", "Statement": [
            listing(&["orders/*.csv*"]),
            allow(&["s3:GetObject"], &[&in_landing("_millrace/*"), &in_landing("orders/*.csv*")]),
        ]}},
    ]);
    assert_eq!(report["policies"], expected, "{:#}", report["policies"]);

    let page = home.ok(&["doctor", "aws"]).stdout;
    assert!(page.contains("Connection archive, its credentials:"), "{page}");
    assert!(!home.printed().contains(SECRET_KEY));
}

const STAGED: &str = "
schedule: none
tasks:
  by_connection:
    operator: table_copy
    source_conn_id: shop
    target_conn_id: redshift_staged
    tables: {source: main.orders, target: analytics.orders}
  by_parameter:
    operator: table_copy
    source_conn_id: shop
    target_conn_id: redshift_dev
    s3_staging: s3://warehouse-landing/named
    s3_conn_id: owned
    tables: {source: main.orders, target: analytics.orders}
  out:
    operator: unload
    warehouse_conn_id: redshift_dev
    aws_conn_id: owned
    query: SELECT 1
    s3_bucket: warehouse-landing
    s3_key: out/{{ ds }}/
    unload_options: [csv, encrypted, cleanpath, \"kms_key_id 'arn:aws:kms:us-east-1:1:key/k'\"]
";

#[test]
fn what_goes_through_the_store_and_out_of_the_warehouse_is_in_the_policies_of_both() {
    let warehouse = Warehouse::start();
    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    warehouse.connect(&mut home);
    let owned = json!({
        "conn_type": "aws", "login": ACCESS_KEY, "password": SECRET_KEY,
        "extra": {"endpoint_url": warehouse.s3_url(), "region_name": "us-east-1", "expected_bucket_owner": "000000000000"},
    });
    let staged = json!({
        "conn_type": "redshift", "schema": "dev",
        "extra": {"endpoint_url": warehouse.redshift_url(), "region_name": "us-east-1", "workgroup_name": "dev",
                  "iam_role": "arn:aws:iam::123456789012:role/other", "aws_access_key_id": ACCESS_KEY,
                  "aws_secret_access_key": SECRET_KEY, "s3_staging": "s3://warehouse-landing/staging/", "s3_conn_id": "owned"},
    });
    for (conn_id, form) in [("owned", owned), ("redshift_staged", staged)] {
        home.run_with_input(&["connections", "add", conn_id, "--conn-json", "-"], &form.to_string()).exits(0);
    }
    home.ok(&["connections", "add", "shop", "--conn-uri", "sqlite:///shop.db"]);
    home.write_dag("staged.yaml", STAGED);
    let report = home.json(&["doctor", "aws", "staged"]);
    assert_eq!(said(&report, "fail"), [""; 0], "{report}");

    let landing = "arn:aws:s3:::warehouse-landing";
    let account = json!({"s3:ResourceAccount": "000000000000"});
    let listing = |keys: &[&str]| {
        json!({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [landing],
               "Condition": {"StringEquals": account, "StringLike": {"s3:prefix": keys}}})
    };
    let allow = |actions: &[&str], keys: &[&str]| {
        let resources: Vec<String> = keys.iter().map(|key| format!("{landing}/{key}")).collect();
        json!({"Effect": "Allow", "Action": actions, "Resource": resources, "Condition": {"StringEquals": account}})
    };
    let all = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"];
    let statements = |connection: &str, of: &str| {
        let policies = report["policies"].as_array().unwrap().iter();
        let found = policies.filter(|policy| policy["connection"] == connection);
        let found: Vec<&Value> = found
            .filter(|policy| policy["of"].as_str().unwrap().contains(of))
            .map(|policy| &policy["policy"]["Statement"])
            .collect();
        assert_eq!(found.len(), 1, "{connection}, {of}: {:#}", report["policies"]);
        found[0].clone()
    };
    assert_eq!(
        statements("owned", "its credentials"),
        json!([
            listing(&["_millrace/*", "named/*", "out/*/*", "staging/*"]),
            allow(&all, &["_millrace/*", "named/*", "staging/*"]),
            allow(&["s3:DeleteObject", "s3:GetObject"], &["out/*/*"]),
        ])
    );
    assert_eq!(
        statements("redshift_dev", "redshift-read-s3, which COPY and UNLOAD act with"),
        json!([
            listing(&["named/*", "out/*/*"]),
            {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
             "Resource": ["arn:aws:kms:us-east-1:1:key/k"]},
            allow(&all, &["out/*/*"]),
            allow(&["s3:GetObject"], &["named/*"]),
        ])
    );
    assert_eq!(
        statements("redshift_staged", "role/other"),
        json!([listing(&["staging/*"]), allow(&["s3:GetObject"], &["staging/*"])])
    );
    let page = home.ok(&["doctor", "aws", "staged"]).stdout;
    assert!(page.contains("owned: s3://warehouse-landing/staging/* can be listed"), "{page}");
    assert!(!home.printed().contains(SECRET_KEY));
}

#[test]
fn a_load_that_reads_its_source_itself_needs_nothing_of_s3() {
    let warehouse = Warehouse::start();
    let sts = warehouse.sts(ROLE);
    let home = home(&warehouse, &sts.endpoint_url(), ROLE);
    home.write_dag(
        "straight.yaml",
        "schedule: none\ntasks:\n  a: {operator: upsert, sql_conn_id: shop, query: SELECT 1 AS id, \
         warehouse_conn_id: redshift_dev, schema: analytics, table: orders, upsert_keys: [id]}\n",
    );
    let report = home.json(&["doctor", "aws", "straight"]);
    assert_eq!(said(&report, "warn"), [""; 0], "{report}");
    let policies = report["policies"].to_string();
    assert!(policies.contains("redshift") && !policies.contains("s3:"), "{policies}");
}

#[test]
fn what_is_missing_or_refused_fails_and_the_policy_is_printed_all_the_same() {
    let warehouse = Warehouse::start();
    let sts = warehouse.sts(ROLE);
    let home = home(&warehouse, &sts.endpoint_url(), "arn:aws:iam::000000000000:role/other");
    home.write_dag(
        "more.yaml",
        "schedule: none\ntasks:\n  a: {operator: s3_list, s3_bucket: nowhere, s3_prefix: x/}\n  \
         b: {operator: s3_get, s3_bucket: '{{ ds }}', s3_key: k}\n  \
         c: {operator: s3_get, s3_bucket: b, s3_key: k, aws_conn_id: absent}\n",
    );
    let report = home.run(&["doctor", "aws", "-o", "json"]).exits(1).json();
    let failed = said(&report, "fail").join("\n");
    for part in ["there is no connection absent", "NoSuchBucket", "sts:AssumeRole"] {
        assert!(failed.contains(part), "{part}\n{failed}");
    }
    assert!(said(&report, "warn").join("\n").contains("known at run time only"), "{report}");
    assert_eq!(report["policies"][0]["policy"]["Statement"][0]["Action"], json!(["sts:AssumeRole"]));
    let refused = home.run(&["doctor", "aws", "none_such"]).exits(1);
    assert!(refused.stderr.contains("no file in"), "{}", refused.stderr);
    assert!(!home.printed().contains(SECRET_KEY));
}
