//! SIGKILL at each effect of each kind of load into each kind of target: it is there once, whole, and nothing is left.

use crate::strikes::{Kind, Load, Moment, Strikes, holds};

macro_rules! by_files {
    ($more:literal) => {
        concat!(
            "
  extract:
    operator: sql_to_s3
    sql_conn_id: shop
    query: SELECT id, changed_at, note FROM orders
    s3_bucket: warehouse-landing
    s3_key: out/{{ dag.dag_id }}/{{ run_id }}.csv
    max_rows_per_file: 1000
  load:
    operator: copy
    depends_on: [extract]
    warehouse_conn_id: {target}
    from_task: extract
    {schema}
    table: orders
",
            $more
        )
    };
}

macro_rules! direct {
    ($more:literal) => {
        concat!(
            "
  load:
    operator: copy
    warehouse_conn_id: {target}
    sql_conn_id: shop
    query: SELECT id, changed_at, note FROM orders
    {schema}
    table: orders
",
            $more
        )
    };
}

macro_rules! table_copy {
    ($more:literal) => {
        concat!(
            "
  copy:
    operator: table_copy
    source_conn_id: shop
    target_conn_id: {target}
",
            $more
        )
    };
}

macro_rules! concat_upsert {
    ($rows:ident) => {
        $rows!(
            "    method: upsert
    upsert_keys: id
    order_key: changed_at
    delete_missing: {sql_conn_id: shop, query: SELECT id FROM orders}
"
        )
    };
}

const BY_CHANGE: &str = table_copy!(
    "    tables: {source: public.orders, target: {copied}, primary_key: id, sync_mode: incremental_sync,
             incremental_field: changed_at, watermark: stored, deletes: reconcile}
"
);
const BY_CHANGE_BY_FILES: &str = table_copy!(
    "    s3_staging: s3://warehouse-landing/staging
    s3_conn_id: aws_default
    direct_rows: 0
    tables: {source: public.orders, target: {copied}, primary_key: id, sync_mode: incremental_sync,
             incremental_field: changed_at, watermark: stored, deletes: reconcile}
"
);

/// A table that is built and put into the place of what was loaded: the same rows, so that it is seen to be right.
const SUMMARY: &str = direct!(
    "    method: replace
  summary:
    operator: summary_table
    depends_on: [load]
    warehouse_conn_id: {target}
    {schema}
    table: orders
    select: SELECT id, changed_at, note FROM {table}
    checks: {unique: id}
"
);

const BY_UPLOAD: &str = "
  extract:
    operator: extract
    sql_conn_id: shop
    query: SELECT id, changed_at, note FROM orders
  upload:
    operator: upload
    depends_on: [extract]
    from_task: extract
    s3_bucket: warehouse-landing
    s3_key: out/uploaded/{{ run_id }}.csv
  load:
    operator: copy
    depends_on: [upload]
    warehouse_conn_id: {target}
    from_task: upload
    {schema}
    table: orders
    method: replace
";

const UNLOADED: &str = direct!(
    "    method: replace
  unload:
    operator: unload
    depends_on: [load]
    warehouse_conn_id: {target}
    {schema}
    table: orders
    s3_bucket: warehouse-landing
    s3_key: unloaded/{{ run_id }}/
  clean:
    operator: s3_cleanup
    depends_on: [unload]
    bucket: warehouse-landing
    prefix: unloaded/{{ run_id }}/
"
);

const FILES_AND_KEYS: &[(&str, &str)] = &[("extract", "extract"), ("load", "load"), ("load", "reconcile")];
const FILES: &[(&str, &str)] = &[("extract", "extract"), ("load", "load")];

// What the program says to PostgreSQL, as target and as source.
fn rows(piece: &[u8]) -> bool {
    piece.first() == Some(&b'd')
}

fn insert(piece: &[u8]) -> bool {
    holds(piece, &["INSERT INTO", "orders"])
}

fn commit(piece: &[u8]) -> bool {
    holds(piece, &["COMMIT"])
}

fn delete(piece: &[u8]) -> bool {
    holds(piece, &["DELETE", "NOT EXISTS"])
}

fn rename(piece: &[u8]) -> bool {
    holds(piece, &["RENAME TO"])
}

fn question(piece: &[u8]) -> bool {
    holds(piece, &["changed_at", "note", "orders"])
}

fn question_for_keys(piece: &[u8]) -> bool {
    holds(piece, &["id", "orders"]) && !holds(piece, &["note"])
}

const COPY: &[(&str, &str)] = &[("copy", "copy"), ("copy", "reconcile"), ("copy", "check")];

const INTO_POSTGRES: &[Load] = &[
    Load {
        dag: "append",
        tasks: by_files!("    method: append\n"),
        moments: &[Moment::S3("GetObject", 0, false), Moment::Written(rows, 1), Moment::Written(commit, 1)],
        with_deletes: false,
        appends: true,
        ledger: FILES,
    },
    Load {
        dag: "replace",
        tasks: by_files!("    method: replace\n"),
        moments: &[Moment::Written(rows, 1), Moment::Written(insert, 1), Moment::Written(commit, 1), Moment::Locked],
        with_deletes: true,
        appends: false,
        ledger: FILES,
    },
    Load {
        dag: "upsert",
        tasks: concat_upsert!(by_files),
        moments: &[
            Moment::Written(insert, 1),
            Moment::Locked,
            Moment::Written(commit, 1),
            Moment::Read(question_for_keys),
            Moment::Written(delete, 1),
        ],
        with_deletes: true,
        appends: false,
        ledger: FILES_AND_KEYS,
    },
    Load {
        dag: "swap",
        tasks: by_files!("    method: swap\n"),
        moments: &[Moment::Written(rename, 1), Moment::Written(commit, 1)],
        with_deletes: true,
        appends: false,
        ledger: FILES,
    },
];

#[test]
fn files_into_postgres_survive_a_kill_at_every_effect() {
    Strikes::new(Kind::Postgres).survive(INTO_POSTGRES);
}

const STRAIGHT_INTO_POSTGRES: &[Load] = &[
    Load {
        dag: "direct",
        tasks: direct!("    method: replace\n"),
        moments: &[Moment::Read(question), Moment::Written(rows, 1), Moment::Written(commit, 1)],
        with_deletes: true,
        appends: false,
        ledger: &[("load", "load")],
    },
    Load {
        dag: "full",
        tasks: table_copy!("    tables: {source: public.orders, target: {copied}, primary_key: id}\n"),
        moments: &[Moment::Read(question), Moment::Written(insert, 1), Moment::Written(commit, 1), Moment::Locked],
        with_deletes: true,
        appends: false,
        ledger: &[("copy", "copy"), ("copy", "check")],
    },
    Load {
        dag: "by_change",
        tasks: BY_CHANGE,
        moments: &[
            Moment::Read(question),
            Moment::Written(insert, 1),
            Moment::Written(commit, 1),
            Moment::Read(question_for_keys),
            Moment::Written(rows, 2),
            Moment::Written(delete, 1),
            Moment::Locked,
        ],
        with_deletes: true,
        appends: false,
        ledger: COPY,
    },
    Load {
        dag: "summary",
        tasks: SUMMARY,
        moments: &[Moment::Written(rename, 1), Moment::Written(commit, 1)],
        with_deletes: true,
        appends: false,
        ledger: &[("load", "load"), ("summary", "build")],
    },
];

#[test]
fn rows_straight_into_postgres_survive_a_kill_at_every_effect() {
    Strikes::new(Kind::Postgres).survive(STRAIGHT_INTO_POSTGRES);
}

const INTO_SQLITE: &[Load] = &[
    Load {
        dag: "append",
        tasks: by_files!("    method: append\n"),
        moments: &[Moment::S3("GetObject", 0, false), Moment::InTransaction],
        with_deletes: false,
        appends: true,
        ledger: FILES,
    },
    Load {
        dag: "replace",
        tasks: direct!("    method: replace\n"),
        moments: &[Moment::Read(question), Moment::InTransaction],
        with_deletes: true,
        appends: false,
        ledger: &[("load", "load")],
    },
    Load {
        dag: "upsert",
        tasks: concat_upsert!(by_files),
        moments: &[Moment::S3("GetObject", 0, true), Moment::InTransaction, Moment::Read(question_for_keys)],
        with_deletes: true,
        appends: false,
        ledger: FILES_AND_KEYS,
    },
    Load {
        dag: "by_change",
        tasks: BY_CHANGE,
        moments: &[Moment::Read(question), Moment::InTransaction, Moment::Read(question_for_keys)],
        with_deletes: true,
        appends: false,
        ledger: COPY,
    },
];

#[test]
fn loads_into_sqlite_survive_a_kill_at_every_effect() {
    Strikes::new(Kind::Lite).survive(INTO_SQLITE);
}

const INTO_REDSHIFT: &[Load] = &[
    Load {
        dag: "append",
        tasks: by_files!("    method: append\n"),
        moments: &[
            Moment::S3("PutObject", 3, true),
            Moment::Redshift("COPY", 0, false),
            Moment::Redshift("LOCK", 0, false),
        ],
        with_deletes: false,
        appends: true,
        ledger: FILES,
    },
    Load {
        dag: "upsert",
        tasks: concat_upsert!(by_files),
        moments: &[
            Moment::Redshift("COPY", 0, false),
            Moment::Redshift("UPDATE", 0, false),
            Moment::Locked,
            Moment::Read(question_for_keys),
            Moment::Redshift("INSERT", 3, false),
        ],
        with_deletes: true,
        appends: false,
        ledger: FILES_AND_KEYS,
    },
    Load {
        dag: "swap",
        tasks: by_files!("    method: swap\n"),
        moments: &[Moment::Redshift("ALTER", 0, false)],
        with_deletes: true,
        appends: false,
        ledger: FILES,
    },
];

#[test]
fn files_into_redshift_survive_a_kill_at_every_effect() {
    Strikes::new(Kind::Redshift).survive(INTO_REDSHIFT);
}

const STRAIGHT_INTO_REDSHIFT: &[Load] = &[
    Load {
        dag: "direct",
        tasks: direct!("    method: replace\n"),
        moments: &[
            Moment::Redshift("CREATE", 0, false),
            Moment::Redshift("INSERT", 0, false),
            Moment::Redshift("INSERT", 1, false),
        ],
        with_deletes: true,
        appends: false,
        ledger: &[("load", "load")],
    },
    Load {
        dag: "by_change",
        tasks: BY_CHANGE_BY_FILES,
        moments: &[
            Moment::Read(question),
            Moment::S3("PutObject", 0, true),
            Moment::Redshift("UPDATE", 0, false),
            Moment::Read(question_for_keys),
            // The keys on their way, and compared.
            Moment::Redshift("INSERT", 4, false),
            Moment::Redshift("LOCK", 1, false),
            Moment::Redshift("DELETE", 2, false),
        ],
        with_deletes: true,
        appends: false,
        ledger: COPY,
    },
    Load {
        dag: "summary",
        tasks: SUMMARY,
        moments: &[Moment::Redshift("BatchExecuteStatement", 2, true)],
        with_deletes: true,
        appends: false,
        ledger: &[("load", "load"), ("summary", "build")],
    },
];

const AROUND_REDSHIFT: &[Load] = &[
    Load {
        dag: "uploaded",
        tasks: BY_UPLOAD,
        moments: &[
            Moment::S3("PutObject", 0, false),
            Moment::S3("PutObject", 0, true),
            Moment::S3("PutObject", 1, true),
        ],
        with_deletes: true,
        appends: false,
        ledger: &[("extract", "extract"), ("upload", "upload"), ("load", "load")],
    },
    Load {
        dag: "unloaded",
        tasks: UNLOADED,
        moments: &[
            Moment::S3("PutObject", 0, true),
            Moment::Redshift("UNLOAD", 0, false),
            Moment::S3("PutObject", 1, true),
            Moment::S3("DeleteObjects", 0, false),
            Moment::S3("DeleteObjects", 0, true),
        ],
        with_deletes: true,
        appends: false,
        ledger: &[("load", "load"), ("unload", "extract"), ("clean", "delete")],
    },
];

#[test]
fn uploads_unloads_and_cleanups_survive_a_kill_at_every_effect() {
    Strikes::new(Kind::Redshift).survive(AROUND_REDSHIFT);
}

#[test]
fn rows_straight_into_redshift_survive_a_kill_at_every_effect() {
    Strikes::new(Kind::Redshift).survive(STRAIGHT_INTO_REDSHIFT);
}
