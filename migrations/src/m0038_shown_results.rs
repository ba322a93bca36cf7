pub(crate) const NAME: &str = "m0038_shown_results";
pub(crate) const DESCRIPTION: &str = "results are kept as they may be shown, too";

// Whoever shows a result later may not know what was a secret when it was written. Null: there was none in it.
pub(crate) const UP: &str = "
ALTER TABLE xcom ADD COLUMN shown TEXT;
";

pub(crate) const DOWN: &str = "
ALTER TABLE xcom DROP COLUMN shown;
";
