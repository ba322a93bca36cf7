//! Database URLs. Passwords may hold `%`, `@` and `/`, percent-encoded or as they are.

use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;

use crate::{Result, StoreError};

pub(crate) enum DatabaseUrl {
    Sqlite { path: PathBuf },
    Postgres { options: Box<PgConnectOptions>, shown: String },
}

impl DatabaseUrl {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        if let Some(rest) = url.strip_prefix("sqlite:") {
            return parse_sqlite(url, rest);
        }
        if let Some(rest) = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) {
            return parse_postgres(rest);
        }
        let scheme = url.split(':').next().unwrap_or_default();
        Err(refuse(scheme, "it begins neither with sqlite:// nor with postgres://"))
    }

    /// Without its password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Sqlite { path } => format!("sqlite://{}", path.display()),
            Self::Postgres { shown, .. } => shown.clone(),
        }
    }
}

fn refuse(shown: &str, problem: &str) -> StoreError {
    StoreError::Url { url: shown.to_owned(), problem: problem.to_owned() }
}

fn parse_sqlite(url: &str, rest: &str) -> Result<DatabaseUrl> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split('?').next().unwrap_or(path);
    if !path.starts_with('/') {
        return Err(refuse(url, "the path of the file must be absolute"));
    }
    if path.ends_with('/') {
        return Err(refuse(url, "it names a folder, not a file"));
    }
    Ok(DatabaseUrl::Sqlite { path: PathBuf::from(decode(path)) })
}

fn parse_postgres(rest: &str) -> Result<DatabaseUrl> {
    // Everything before the last '@' is user and password: a password may hold '@' and '/'.
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    // What follows a '?' may hold a password too.
    let without_query = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    let mut shown = format!("postgres://{}", without_query(place));
    let mut options = PgConnectOptions::from_str(&format!("postgres://{place}"))
        .map_err(|error| refuse(&shown, &error.to_string()))?
        .application_name("millrace");
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        options = options.username(&decode(user));
        if let Some(password) = password {
            options = options.password(&decode(password));
        }
        shown = format!("postgres://{}@{}", without_query(user), without_query(place));
    }
    Ok(DatabaseUrl::Postgres { options: Box::new(options), shown })
}

/// A '%' that begins no escape stays as it is.
fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), |decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_hold_anything() {
        for password in ["p%40ss", "p@ss", "a/b", "a%2Fb", "100%", "%zz", "a:b"] {
            let url = format!("postgres://millrace:{password}@db.example:5433/meta");
            let Ok(DatabaseUrl::Postgres { options, shown }) = DatabaseUrl::parse(&url) else {
                panic!("{url} must be read");
            };
            assert_eq!(options.get_host(), "db.example", "{url}");
            assert_eq!(options.get_port(), 5433, "{url}");
            assert_eq!(options.get_username(), "millrace", "{url}");
            assert_eq!(options.get_database(), Some("meta"), "{url}");
            assert_eq!(shown, "postgres://millrace@db.example:5433/meta", "the password is not shown");
        }
    }

    #[test]
    fn a_password_behind_the_address_is_not_shown() {
        let Ok(parsed) = DatabaseUrl::parse("postgres://me@db/meta?sslmode=disable&password=hunter22") else {
            panic!("must be read");
        };
        assert_eq!(parsed.shown(), "postgres://me@db/meta");
        let Err(error) = DatabaseUrl::parse("postgres://me@db:many/meta?password=hunter22") else {
            panic!("must be refused");
        };
        assert!(error.to_string().contains("db:many") && !error.to_string().contains("hunter22"), "{error}");
    }

    #[test]
    fn a_sqlite_path_is_absolute() {
        let Ok(DatabaseUrl::Sqlite { path }) = DatabaseUrl::parse("sqlite:///home/a%20b/millrace.db?mode=rwc") else {
            panic!("must be read");
        };
        assert_eq!(path, PathBuf::from("/home/a b/millrace.db"));
        for bad in ["sqlite://millrace.db", "sqlite::memory:", "sqlite:///tmp/", "mysql://x/y", "millrace.db"] {
            assert!(matches!(DatabaseUrl::parse(bad), Err(StoreError::Url { .. })), "{bad}");
        }
    }
}
