//! By which way rows go: straight, or as files of some kind, by one method.

use serde_json::json;

use super::dice::Dice;
use super::table::{Method, Table, VERSION};
use crate::copies::databases::{Database, Kind};
use crate::tasks::Task;
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `table_copy`, which replaces all rows.
    Copied,
    /// A load without an object in between.
    Direct,
    /// A file's format and compression.
    File(&'static str, &'static str),
}

pub const WAYS: [Way; 8] = [
    Way::Copied,
    Way::File("csv", "none"),
    Way::File("parquet", "none"),
    Way::Direct,
    Way::File("csv", "gzip"),
    Way::File("parquet", "zstd"),
    Way::File("csv", "zstd"),
    Way::Direct,
];

const METHODS: [Method; 5] = [Method::Append, Method::Upsert, Method::Replace, Method::UpsertNewest, Method::Swap];

impl Way {
    /// Of the `turn`-th movement: forty turns see every way with every method.
    pub fn at(turn: u64) -> (Self, Method) {
        let way = WAYS[usize::try_from(turn % WAYS.len() as u64).unwrap_or(0)];
        let method = METHODS[usize::try_from(turn % METHODS.len() as u64).unwrap_or(0)];
        if way == Self::Copied { (way, Method::Replace) } else { (way, method) }
    }

    /// Redshift takes no time with a zone from Parquet, which has no such type.
    pub fn into(self, target: Kind, table: &Table) -> Self {
        let has_zoned_time = table.columns.iter().any(|(_, sort)| sort.ddl == "timetz");
        match self {
            Self::File("parquet", _) if has_zoned_time && target.is_redshift() => Self::File("csv", "none"),
            other => other,
        }
    }

    /// The tasks that move the rows: one, or one that writes a file and one that loads it.
    pub fn steps<'a>(
        self,
        world: &'a World,
        dice: &mut Dice,
        (source, target): (&Database, &Database),
        table: &Table,
        method: Method,
        turn: u64,
    ) -> Steps<'a> {
        if self == Self::Copied {
            let copied = json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "show_values": true,
                "tables": {"source": table.dotted(), "target": format!("{}.{}", target.schema, table.name),
                           "primary_key": table.keys, "empty_as_null": false},
            });
            return Steps { extract: None, load: Task::new(world, "table_copy", copied) };
        }
        let mut load = json!({"warehouse_conn_id": target.conn_id, "table": table.name, "show_values": true});
        let mut extract = None;
        if let Self::File(format, compression) = self {
            let key = format!("{}/{turn}", table.name);
            let mut parameters = json!({
                "sql_conn_id": source.conn_id, "query": table.query(source), "s3_bucket": "lake", "s3_key": key,
                "aws_conn_id": "s3", "format": format, "compression": compression,
            });
            if format == "csv" {
                parameters["header"] = json!(dice.is_one_in(2));
                // To Redshift an empty field is an empty text and nothing else.
                let markers = if target.kind.is_redshift() { ["(none)", "<nil>"] } else { ["(none)", ""] };
                parameters["null_marker"] = json!(dice.one_of(&markers));
            }
            if dice.is_one_in(2) {
                parameters["max_rows_per_file"] = json!(7);
            }
            extract = Some(Task::new(world, "sql_to_s3", parameters));
            load["s3_bucket"] = json!("lake");
            load["s3_key"] = json!(key);
            load["aws_conn_id"] = json!("s3");
        } else {
            load["sql_conn_id"] = json!(source.conn_id);
            load["query"] = json!(table.query(source));
        }
        if target.schema == "dw" {
            load["schema"] = json!("dw");
        }
        load["method"] = json!(match method {
            Method::Append => "append",
            Method::Replace => "replace",
            Method::Swap => "swap",
            Method::Upsert | Method::UpsertNewest => "upsert",
        });
        if matches!(method, Method::Upsert | Method::UpsertNewest) {
            load["upsert_keys"] = json!(table.keys);
        }
        if method == Method::UpsertNewest {
            load["order_key"] = json!(VERSION);
        }
        Steps { extract, load: Task::new(world, "copy", load) }
    }
}

pub struct Steps<'a> {
    pub extract: Option<Task<'a>>,
    pub load: Task<'a>,
}
