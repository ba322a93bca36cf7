//! What each operator does with S3: which parameters name the bucket and the keys, and what it does with them. From this
//! the permissions of a DAG are derived. An operator that touches S3 adds its lines to [`ON_S3`].

use Extent::{Beginning, Folder, Object};
use Need::{CopiedFrom, CopiedTo, Delete, List, Read, Write};

/// What is done with objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    List,
    Read,
    Write,
    Delete,
    /// The store copies it, with its tags.
    CopiedFrom,
    /// The store copies another one there, with its tags.
    CopiedTo,
}

/// What the parameter with the key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The object with exactly this key; each of them when it is a list.
    Object,
    /// Every object whose key begins so: a prefix, or an object and its parts beside it.
    Beginning,
    /// Every object under this prefix, which ends with a `/` or is meant to.
    Folder,
}

/// One thing that an operator does with S3.
///
/// A key that is an `s3://` address names its bucket itself. An operator that is given neither bucket nor key, but
/// `from_task`, means the object that that task writes.
#[derive(Debug, Clone, Copy)]
pub struct S3Use {
    /// The operator's canonical name.
    pub operator: &'static str,
    /// The parameter with the bucket. Left out of a task, it is the bucket of the operator's other lines.
    pub bucket: &'static str,
    /// The parameter with the key, keys or prefix.
    pub key: &'static str,
    pub extent: Extent,
    /// A key that is not there is told from one that is not allowed only by those who may list, so all may.
    pub needs: &'static [Need],
    /// What Redshift does there itself, by COPY and UNLOAD.
    pub warehouse: &'static [Need],
    /// The parameter with the connection to S3, and the one with the warehouse.
    pub connections: (&'static str, &'static str),
}

impl S3Use {
    const fn also_by(self, warehouse: &'static [Need]) -> Self {
        Self { warehouse, ..self }
    }

    const fn over(self, connections: (&'static str, &'static str)) -> Self {
        Self { connections, ..self }
    }
}

/// COPY lists what it is told to read.
const COPY: &[Need] = &[List, Read];
/// UNLOAD looks at what it has written.
const UNLOAD: &[Need] = &[List, Read, Write];

const fn on(
    operator: &'static str,
    bucket: &'static str,
    key: &'static str,
    extent: Extent,
    needs: &'static [Need],
) -> S3Use {
    let connections = ("aws_conn_id", "warehouse_conn_id");
    S3Use { operator, bucket, key, extent, needs, warehouse: &[], connections }
}

/// What is done with objects that stand between a source and a warehouse.
pub const STAGED: &[Need] = &[List, Read, Write, Delete];

/// The operators that touch S3.
pub static ON_S3: &[S3Use] = &[
    on("copy", "s3_bucket", "s3_key", Beginning, &[List, Read]).also_by(COPY),
    on("replace", "s3_bucket", "s3_key", Beginning, &[List, Read]).also_by(COPY),
    on("s3_cleanup", "bucket", "keys", Beginning, &[List, Read, Delete]),
    on("s3_cleanup", "bucket", "prefix", Beginning, &[List, Delete]),
    on("s3_copy", "s3_bucket", "s3_key", Beginning, &[List, Read, CopiedFrom]),
    on("s3_copy", "s3_bucket", "s3_prefix", Beginning, &[List, Read, CopiedFrom]),
    on("s3_copy", "dest_bucket", "dest_key", Beginning, &[List, Read, Write, CopiedTo]),
    on("s3_copy", "dest_bucket", "dest_prefix", Beginning, &[List, Read, Write, CopiedTo]),
    on("s3_get", "s3_bucket", "s3_key", Object, &[List, Read]),
    on("s3_list", "s3_bucket", "s3_prefix", Beginning, &[List]),
    on("s3_move", "s3_bucket", "s3_key", Beginning, &[List, Read, Delete, CopiedFrom]),
    on("s3_move", "s3_bucket", "s3_prefix", Beginning, &[List, Read, Delete, CopiedFrom]),
    on("s3_move", "dest_bucket", "dest_key", Beginning, &[List, Read, Write, CopiedTo]),
    on("s3_move", "dest_bucket", "dest_prefix", Beginning, &[List, Read, Write, CopiedTo]),
    on("s3_head", "s3_bucket", "s3_key", Object, &[List, Read]),
    on("s3_presign", "s3_bucket", "s3_key", Object, &[List, Read]),
    on("s3_put", "s3_bucket", "s3_key", Object, &[List, Read, Write]),
    on("sql_to_s3", "s3_bucket", "s3_key", Beginning, &[List, Read, Write, Delete]),
    on("swap", "s3_bucket", "s3_key", Beginning, &[List, Read]).also_by(COPY),
    on("table_copy", "s3_staging", "s3_staging", Folder, STAGED).also_by(COPY).over(("s3_conn_id", "target_conn_id")),
    on("unload", "s3_bucket", "s3_key", Beginning, &[List, Read, Delete]).also_by(UNLOAD),
    on("upload", "s3_bucket", "s3_key", Beginning, &[List, Read, Write, Delete]),
    on("upsert", "s3_bucket", "s3_key", Beginning, &[List, Read]).also_by(COPY),
    on("wait_for_key", "s3_bucket", "s3_key", Object, &[List, Read]),
    on("wait_for_key", "s3_bucket", "s3_prefix", Beginning, &[List]),
];

/// What the operator of this canonical name does with S3.
pub fn of(operator: &str) -> impl Iterator<Item = &'static S3Use> {
    ON_S3.iter().filter(move |line| line.operator == operator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_parameter(operator: &str, name: &str) -> bool {
        let entry = crate::ALL.iter().find(|entry| entry.name == operator);
        entry.is_some_and(|entry| (entry.schema)().as_value()["properties"].get(name).is_some())
    }

    #[test]
    fn every_operator_with_a_connection_to_s3_says_what_it_does_there() {
        for entry in crate::ALL {
            let has_connection = ["aws_conn_id", "s3_conn_id"].iter().any(|name| has_parameter(entry.name, name));
            assert_eq!(has_connection, of(entry.name).next().is_some(), "{}", entry.name);
        }
    }

    #[test]
    fn the_parameters_named_are_those_of_the_operators() {
        for line in ON_S3 {
            let mut names = vec![line.bucket, line.key, line.connections.0];
            names.extend((!line.warehouse.is_empty()).then_some(line.connections.1));
            for name in names {
                assert!(has_parameter(line.operator, name), "{}: {name}", line.operator);
            }
        }
    }
}
