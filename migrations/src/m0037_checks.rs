pub(crate) const NAME: &str = "m0037_checks";
pub(crate) const DESCRIPTION: &str = "what checks found stands in the ledger";

// JSON: name, whether it passed, what was found.
pub(crate) const UP: &str = "
ALTER TABLE load_ledger ADD COLUMN checks TEXT;
";

pub(crate) const DOWN: &str = "
ALTER TABLE load_ledger DROP COLUMN checks;
";
