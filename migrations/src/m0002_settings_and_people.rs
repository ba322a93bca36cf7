pub(crate) const NAME: &str = "m0002_settings_and_people";
pub(crate) const DESCRIPTION: &str =
    "connections, variables, pools, users and their tokens, the audit log, settings of the installation";

pub(crate) const UP: &str = r#"
CREATE TABLE connection (
    conn_id TEXT PRIMARY KEY,
    conn_type TEXT NOT NULL,
    description TEXT,
    host TEXT,
    login TEXT,
    schema TEXT,
    port BIGINT,
    sealed_password TEXT,
    sealed_extra TEXT,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE variable (
    key TEXT PRIMARY KEY,
    sealed_value TEXT NOT NULL,
    description TEXT,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE pool (
    name TEXT PRIMARY KEY,
    slots BIGINT NOT NULL CHECK (slots >= -1),
    description TEXT,
    include_deferred BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE "user" (
    name TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE api_token (
    id {ID_NEVER_REUSED},
    user_name TEXT NOT NULL REFERENCES "user" (name),
    label TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX api_token_of_user ON api_token (user_name);

CREATE TABLE audit_log (
    id {ID},
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    dag_id TEXT,
    run_id TEXT,
    task_id TEXT,
    details TEXT NOT NULL
);
CREATE INDEX audit_log_of_dag ON audit_log (dag_id, id);

CREATE TABLE setting (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
"#;

pub(crate) const DOWN: &str = r#"
DROP TABLE setting;
DROP TABLE audit_log;
DROP TABLE api_token;
DROP TABLE "user";
DROP TABLE pool;
DROP TABLE variable;
DROP TABLE connection;
"#;
