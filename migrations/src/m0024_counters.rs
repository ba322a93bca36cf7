pub(crate) const NAME: &str = "m0024_counters";
pub(crate) const DESCRIPTION: &str = "what all processes together have counted, for the metrics";

// `labels` is a JSON list of texts. Counts only grow.
pub(crate) const UP: &str = "
CREATE TABLE counter (
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name, labels)
);
";

pub(crate) const DOWN: &str = "
DROP TABLE counter;
";
