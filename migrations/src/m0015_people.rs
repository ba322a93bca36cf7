pub(crate) const NAME: &str = "m0015_people";
pub(crate) const DESCRIPTION: &str =
    "sessions apart from tokens, what tokens may, people who are shut out, grants for DAGs, what a change changed";

// session: `token_hash` is of the token that the cookie holds now, `previous_hash` of the one before, which is good until
// the new one has been used; `form_key` keys the tokens of forms and stays for the whole session.
// api_token: `scope` is a list of words, NULL for everything that its person may.
// dag_grant: a role for one DAG, or for all with a tag.
// idempotency_key: the run that a request made, for whoever sends the same request again.
pub(crate) const UP: &str = r#"
ALTER TABLE "user" ADD COLUMN disabled_at BIGINT;
ALTER TABLE "user" ADD COLUMN password_changed_at BIGINT;
UPDATE "user" SET role = 'operator' WHERE role = 'user';

CREATE TABLE session (
    id {ID_NEVER_REUSED},
    user_name TEXT NOT NULL REFERENCES "user" (name),
    token_hash TEXT NOT NULL UNIQUE,
    previous_hash TEXT,
    form_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX session_of_user ON session (user_name);
CREATE INDEX session_by_previous ON session (previous_hash);
INSERT INTO session (user_name, token_hash, form_key, created_at, rotated_at, last_used_at, expires_at)
SELECT user_name, token_hash, token_hash, created_at, created_at, COALESCE(last_used_at, created_at), expires_at
FROM api_token WHERE label = 'session' AND expires_at IS NOT NULL;
DELETE FROM api_token WHERE label = 'session';

ALTER TABLE api_token ADD COLUMN scope TEXT;

CREATE TABLE dag_grant (
    id {ID},
    user_name TEXT NOT NULL REFERENCES "user" (name),
    dag_id TEXT,
    tag TEXT,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK ((dag_id IS NULL AND tag IS NOT NULL) OR (dag_id IS NOT NULL AND tag IS NULL))
);
CREATE INDEX dag_grant_of_user ON dag_grant (user_name);

CREATE TABLE idempotency_key (
    person TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    dag_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (person, key)
);
CREATE INDEX idempotency_key_of_time ON idempotency_key (at);

ALTER TABLE audit_log ADD COLUMN state_before TEXT;
ALTER TABLE audit_log ADD COLUMN state_after TEXT;
"#;

pub(crate) const DOWN: &str = r#"
ALTER TABLE audit_log DROP COLUMN state_after;
ALTER TABLE audit_log DROP COLUMN state_before;
DROP TABLE idempotency_key;
DROP TABLE dag_grant;
ALTER TABLE api_token DROP COLUMN scope;
INSERT INTO api_token (user_name, label, token_hash, created_at, expires_at, last_used_at)
SELECT user_name, 'session', token_hash, created_at, expires_at, last_used_at FROM session;
DROP TABLE session;
UPDATE "user" SET role = 'user' WHERE role IN ('operator', 'editor');
ALTER TABLE "user" DROP COLUMN password_changed_at;
ALTER TABLE "user" DROP COLUMN disabled_at;
"#;
