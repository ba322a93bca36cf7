pub(crate) const NAME: &str = "m0040_items";
pub(crate) const DESCRIPTION: &str = "which item an instance of a mapped task ran for";

pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN item_digest BIGINT;
";

pub(crate) const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN item_digest;
";
