pub(crate) const NAME: &str = "m0034_backfill_runs";
pub(crate) const DESCRIPTION: &str = "how many runs a backfill began with";

// A later backfill takes runs over, and then they are no longer found by this one's id. Unknown of those made before.
pub(crate) const UP: &str = "
ALTER TABLE backfill ADD COLUMN runs BIGINT;
";

pub(crate) const DOWN: &str = "
ALTER TABLE backfill DROP COLUMN runs;
";
