pub(crate) const NAME: &str = "m0029_grant_ids";
pub(crate) const DESCRIPTION: &str = "the id of a grant that was taken back never names another";

// PostgreSQL gives no number twice; SQLite changes the kind of a key only with the table.
pub(crate) const UP: &str = r#"{SQLITE_ONLY}
CREATE TABLE dag_grant_with_ids (
    id {ID_NEVER_REUSED},
    user_name TEXT NOT NULL REFERENCES "user" (name),
    dag_id TEXT,
    tag TEXT,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK ((dag_id IS NULL AND tag IS NOT NULL) OR (dag_id IS NOT NULL AND tag IS NULL))
);
INSERT INTO dag_grant_with_ids (id, user_name, dag_id, tag, role, created_at)
SELECT id, user_name, dag_id, tag, role, created_at FROM dag_grant ORDER BY id;
DROP TABLE dag_grant;
ALTER TABLE dag_grant_with_ids RENAME TO dag_grant;
CREATE INDEX dag_grant_of_user ON dag_grant (user_name);
{END}"#;

pub(crate) const DOWN: &str = r#"{SQLITE_ONLY}
CREATE TABLE dag_grant_as_before (
    id {ID},
    user_name TEXT NOT NULL REFERENCES "user" (name),
    dag_id TEXT,
    tag TEXT,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK ((dag_id IS NULL AND tag IS NOT NULL) OR (dag_id IS NOT NULL AND tag IS NULL))
);
INSERT INTO dag_grant_as_before (id, user_name, dag_id, tag, role, created_at)
SELECT id, user_name, dag_id, tag, role, created_at FROM dag_grant ORDER BY id;
DROP TABLE dag_grant;
ALTER TABLE dag_grant_as_before RENAME TO dag_grant;
CREATE INDEX dag_grant_of_user ON dag_grant (user_name);
{END}"#;
