pub(crate) const NAME: &str = "m0010_speed";
pub(crate) const DESCRIPTION: &str = "what each DAG file was like when it was last read";

// `dags` is JSON: each DAG of the file with the hash of its content. `stamps` is JSON: of the file and of every file that it includes or looked for in vain.
pub(crate) const UP: &str = "
CREATE TABLE dag_file (
    file_path TEXT PRIMARY KEY,
    dags TEXT NOT NULL,
    stamps TEXT NOT NULL,
    reader TEXT NOT NULL
);
";

pub(crate) const DOWN: &str = "
DROP TABLE dag_file;
";
