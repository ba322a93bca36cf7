pub(crate) const NAME: &str = "m0014_ledger";
pub(crate) const DESCRIPTION: &str = "what a movement read and wrote, to be compared again";

// JSON: the query that was read and the table that was written.
pub(crate) const UP: &str = "
ALTER TABLE load_ledger ADD COLUMN rows_from TEXT;
ALTER TABLE load_ledger ADD COLUMN rows_into TEXT;
CREATE INDEX load_ledger_of_time ON load_ledger (ended_at);
";

pub(crate) const DOWN: &str = "
DROP INDEX load_ledger_of_time;
ALTER TABLE load_ledger DROP COLUMN rows_into;
ALTER TABLE load_ledger DROP COLUMN rows_from;
";
