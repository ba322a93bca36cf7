//! Rows that Redshift writes to S3 itself, and the load that takes them up: the stand-in on both sides, and PostgreSQL.

use std::sync::atomic::{AtomicU32, Ordering};

use millrace_testkit::Postgres;

use crate::support::{TestHome, Warehouse};

const SOURCE: &str = r"
    CREATE TABLE facts (id int, note varchar(40), n int, day date);
    INSERT INTO facts VALUES (1, 'a', 1, '2024-01-01'), (2, NULL, NULL, NULL), (3, '', 3, '2024-01-03'), (4, E'x\\\\,y', 4, NULL)";
/// In another order, and with a column that the files do not have.
const TARGET: &str = "CREATE TABLE copied (day date, id int, added varchar(9), n int, note varchar(40))";

fn dag(options: &str, target: &str, copy: &str) -> String {
    static FOLDERS: AtomicU32 = AtomicU32::new(0);
    let key = format!("facts/{}/", FOLDERS.fetch_add(1, Ordering::Relaxed));
    format!(
        "
schedule: none
tasks:
  out:
    operator: unload
    warehouse_conn_id: redshift_dev
    query: SELECT id, note, n, day FROM facts
    s3_bucket: warehouse-landing
    s3_key: {key}
    unload_options: [{options}]
  load:
    operator: copy
    depends_on: [out]
    from_task: out
    warehouse_conn_id: {target}
    table: copied
    method: replace
{copy}"
    )
}

#[test]
fn what_is_unloaded_comes_back_as_it_was() {
    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    let warehouse = Warehouse::start();
    warehouse.connect(&mut home);
    warehouse.query(SOURCE);
    warehouse.query(TARGET);
    let postgres = Postgres::shared().unwrap().create_database().unwrap();
    postgres.execute(TARGET).unwrap();
    home.set("MILLRACE_CONN_PG_DW", postgres.url());
    let rows = "SELECT id, note, n, day::text FROM copied ORDER BY id";
    let expected = warehouse.query("SELECT id, note, n, day::text FROM facts ORDER BY id");
    assert_eq!((expected[1][1].as_str(), expected[2][1].as_str()), ("NULL", ""));
    let of_postgres = || -> Vec<Vec<String>> {
        let rows = postgres.query(rows).unwrap().into_iter();
        rows.map(|row| row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_owned())).collect()).collect()
    };
    for options in ["csv, manifest", "csv, header, gzip, \"delimiter ';'\", \"null as 'nil'\", manifest", "csv"] {
        for target in ["redshift_dev", "pg_dw"] {
            home.write_dag("facts.yaml", &dag(options, target, ""));
            home.ok(&["dags", "test", "facts"]);
        }
        assert_eq!(warehouse.query(rows), expected, "{options}");
        assert_eq!(of_postgres(), expected, "{options}");
    }

    // In these files a text can't be told from NULL: nothing is written, and nothing that was there is gone.
    warehouse.query(r"UPDATE facts SET note = E'\\N' WHERE id = 1");
    home.write_dag("facts.yaml", &dag("csv, manifest", "redshift_dev", ""));
    let refused = home.run(&["dags", "test", "facts"]).exits(1);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains(r"texts that are exactly '\N', in note (1)"), "{said}");
    home.write_dag("facts.yaml", &dag("csv, manifest, \"null as '~'\"", "pg_dw", ""));
    home.ok(&["dags", "test", "facts"]);
    assert_eq!(of_postgres()[0][1], r"\N");
    // Without a text for NULL there are three ways, and it must be said which.
    home.write_dag("facts.yaml", &dag("csv, \"null as ''\"", "pg_dw", ""));
    let refused = home.run(&["dags", "test", "facts"]).exits(1);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("written with an empty field for NULL"), "{said}");
    home.write_dag("facts.yaml", &dag("csv, \"null as ''\"", "pg_dw", "    copy_options: [csv, emptyasnull]"));
    home.ok(&["dags", "test", "facts"]);
    assert_eq!(of_postgres()[2], ["3", "NULL", "3", "2024-01-03"]);
}
