//! `s3_copy`: objects to another place.

use millrace_operator_api::OperatorEntry;

use crate::parts::files::relocation::relocation;

pub const ENTRY: OperatorEntry = OperatorEntry::of::<S3Copy>("s3_copy", "copies objects inside S3")
    .aliases(&["S3CopyObjectOperator"])
    .parameter_aliases(&[
        ("source_bucket_name", "s3_bucket"),
        ("source_bucket_key", "s3_key"),
        ("dest_bucket_name", "dest_bucket"),
        ("dest_bucket_key", "dest_key"),
    ]);

relocation! {
    /// Copies one object, or all under a prefix, without the bytes passing through here; objects beyond 5 GiB go in parts.
    ///
    /// Headers and metadata come along, tags do not. A place that is taken is an error, unless `replace` is true or an
    /// earlier try of the same task wrote it. A prefix is taken as it is: `nps` also means `nps_old.csv`. With the key of a list
    /// that `sql_to_s3` wrote its parts come along, and a list names them at their new place.
    pub struct S3Copy { is_move: false }
}
