//! `s3_move`: objects to another place, and away from where they were.

use millrace_operator_api::OperatorEntry;

use crate::parts::files::relocation::relocation;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<S3Move>("s3_move", "moves objects inside S3").aliases(&["s3_rename"]).parameter_aliases(&[
        ("source_bucket_name", "s3_bucket"),
        ("source_bucket_key", "s3_key"),
        ("dest_bucket_name", "dest_bucket"),
        ("dest_bucket_key", "dest_key"),
    ]);

relocation! {
    /// Moves one object, or all under a prefix: copies as `s3_copy` does, then removes the source.
    ///
    /// A source that somebody overwrites meanwhile is not removed. A try that follows one which died between copying and
    /// removing finishes the work, and one that follows a finished move succeeds. Parts of a list go with it, as `s3_copy` does.
    pub struct S3Move { is_move: true }
}
