pub(crate) const NAME: &str = "m0028_webhooks";
pub(crate) const DESCRIPTION: &str = "addresses at which other systems start runs and tell of assets";

// The secret is sealed, not digested: a signature is checked with the secret itself.
pub(crate) const UP: &str = r#"
CREATE TABLE webhook (
    name TEXT PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES "user" (name),
    dag_id TEXT,
    asset TEXT,
    sealed_secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    CHECK ((dag_id IS NULL) <> (asset IS NULL))
);
CREATE INDEX webhook_of_user ON webhook (user_name);
"#;

pub(crate) const DOWN: &str = "
DROP TABLE webhook;
";
