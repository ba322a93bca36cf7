pub(crate) const NAME: &str = "m0020_browsing";
pub(crate) const DESCRIPTION: &str = "finding the instances that failed among a million others";

// Instances that succeed, which are nearly all, are never in it.
pub(crate) const UP: &str = "
CREATE INDEX task_instance_troubled ON task_instance (state, id)
    WHERE state IN ('failed', 'upstream_failed', 'up_for_retry');
";

pub(crate) const DOWN: &str = "
DROP INDEX task_instance_troubled;
";
