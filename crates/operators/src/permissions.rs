//! What each operator does with S3: which parameters name the bucket and the keys, and what it does with them. From this
//! the permissions of a DAG are derived. An operator that touches S3 adds its lines to [`ON_S3`].

use Extent::{Beginning, Object};
use Need::{Delete, List, Read, Write};

/// What is done with objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    List,
    Read,
    Write,
    Delete,
}

/// What the parameter with the key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The object with exactly this key; each of them when it is a list.
    Object,
    /// Every object whose key begins so: a prefix, or an object and its parts beside it.
    Beginning,
}

/// One thing that an operator does with S3, through the connection of its `aws_conn_id`.
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
}

const fn on(
    operator: &'static str,
    bucket: &'static str,
    key: &'static str,
    extent: Extent,
    needs: &'static [Need],
) -> S3Use {
    S3Use { operator, bucket, key, extent, needs }
}

/// The operators that touch S3.
pub static ON_S3: &[S3Use] = &[
    on("copy", "s3_bucket", "s3_key", Beginning, &[List, Read]),
    on("replace", "s3_bucket", "s3_key", Beginning, &[List, Read]),
    on("s3_cleanup", "bucket", "keys", Object, &[List, Read, Delete]),
    on("s3_cleanup", "bucket", "prefix", Beginning, &[List, Delete]),
    on("s3_copy", "s3_bucket", "s3_key", Object, &[List, Read]),
    on("s3_copy", "s3_bucket", "s3_prefix", Beginning, &[List, Read]),
    on("s3_copy", "dest_bucket", "dest_key", Object, &[List, Read, Write]),
    on("s3_copy", "dest_bucket", "dest_prefix", Beginning, &[List, Read, Write]),
    on("s3_get", "s3_bucket", "s3_key", Object, &[List, Read]),
    on("s3_list", "s3_bucket", "s3_prefix", Beginning, &[List]),
    on("s3_move", "s3_bucket", "s3_key", Object, &[List, Read, Delete]),
    on("s3_move", "s3_bucket", "s3_prefix", Beginning, &[List, Read, Delete]),
    on("s3_move", "dest_bucket", "dest_key", Object, &[List, Read, Write]),
    on("s3_move", "dest_bucket", "dest_prefix", Beginning, &[List, Read, Write]),
    on("s3_presign", "s3_bucket", "s3_key", Object, &[List, Read]),
    on("s3_put", "s3_bucket", "s3_key", Object, &[List, Read, Write]),
    on("sql_to_s3", "s3_bucket", "s3_key", Beginning, &[List, Read, Write, Delete]),
    on("swap", "s3_bucket", "s3_key", Beginning, &[List, Read]),
    on("unload", "s3_bucket", "s3_key", Beginning, &[List, Read, Write, Delete]),
    on("upload", "s3_bucket", "s3_key", Beginning, &[List, Read, Write, Delete]),
    on("upsert", "s3_bucket", "s3_key", Beginning, &[List, Read]),
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
            assert_eq!(has_parameter(entry.name, "aws_conn_id"), of(entry.name).next().is_some(), "{}", entry.name);
        }
    }

    #[test]
    fn the_parameters_named_are_those_of_the_operators() {
        for line in ON_S3 {
            for name in [line.bucket, line.key] {
                assert!(has_parameter(line.operator, name), "{}: {name}", line.operator);
            }
        }
    }
}
