//! The DAG files of the workloads.

use crate::sources::Sources;

pub type File = (String, String);

const HEAD: &str = "schedule: none\nstart_date: 2020-01-01\ntasks:\n";

/// A query's rows as one CSV object.
fn extract(task: &str, connection: &str, query: &str, key: &str) -> String {
    format!(
        "  {task}:\n    operator: sql_to_s3\n    sql_conn_id: {connection}\n    aws_conn_id: lake\n    \
         query: {query}\n    s3_bucket: lake\n    s3_key: {key}.csv\n    replace: true\n"
    )
}

fn load(task: &str, operator: &str, from: &str, table: &str, more: &str) -> String {
    format!(
        "  {task}:\n    operator: {operator}\n    depends_on: [{from}]\n    warehouse_conn_id: target\n    \
         aws_conn_id: lake\n    from_task: {from}\n    schema: warehouse\n    table: {table}\n{more}"
    )
}

pub fn workloads(sources: &Sources) -> Vec<File> {
    let database = sources.mariadb.name();
    let mut files = vec![("warm_up.yaml".to_owned(), format!("{HEAD}  a:\n    operator: noop\n"))];
    for table in ["nps", "orders"] {
        let query = format!("SELECT * FROM {table}");
        let mariadb = extract("extract", "mariadb", &query, table);
        let postgres = extract("extract", "postgres", &format!("SELECT * FROM prod.{table}"), table);
        let append = load("load", "copy", "extract", table, "    method: append\n");
        for (source, task) in [("mariadb", &mariadb), ("postgres", &postgres)] {
            files.push((format!("{source}_{table}.yaml"), format!("{HEAD}{task}")));
            files.push((format!("bare_{source}_{table}.yaml"), format!("{HEAD}{task}    fingerprint: false\n")));
        }
        files.push((format!("table_{table}.yaml"), format!("{HEAD}{mariadb}{append}")));
    }
    for table in ["nps", "orders"] {
        let copy = format!(
            "  copy:\n    operator: table_copy\n    source_conn_id: mariadb\n    target_conn_id: target\n    tables:\n      \
             source: {database}.{table}\n      target: warehouse.{table}\n      primary_key: id\n      empty_as_null: false\n"
        );
        let direct = format!(
            "  copy:\n    operator: copy\n    warehouse_conn_id: target\n    sql_conn_id: mariadb\n    query: SELECT * FROM {table}\n    \
             schema: warehouse\n    table: {table}\n    method: append\n"
        );
        files.push((format!("copy_{table}.yaml"), format!("{HEAD}{copy}")));
        files.push((format!("direct_{table}.yaml"), format!("{HEAD}{direct}")));
    }
    // Half of the rows are there already.
    let (shift, changes) = (sources.rows.shift(), sources.rows.changes);
    let query = format!("SELECT id + {shift} AS id, created_at, score FROM nps WHERE id <= {changes}");
    let (extract, upsert) = (
        extract("extract", "mariadb", &query, "changes"),
        load("upsert", "upsert", "extract", "nps", "    upsert_keys: [id]\n"),
    );
    files.push(("upsert.yaml".to_owned(), format!("{HEAD}{extract}{upsert}")));
    files
}
