pub(crate) const NAME: &str = "m0023_identities";
pub(crate) const DESCRIPTION: &str = "who people are to the provider that they sign in with";

// A subject is its provider's own and is given to nobody else later; names and e-mail addresses are.
pub(crate) const UP: &str = r#"
CREATE TABLE user_identity (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_name TEXT NOT NULL REFERENCES "user" (name),
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX user_identity_of_user ON user_identity (user_name);
"#;

pub(crate) const DOWN: &str = "
DROP TABLE user_identity;
";
