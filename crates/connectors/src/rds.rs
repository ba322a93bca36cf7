//! Signed tokens as passwords of databases on RDS and Aurora.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::Clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;

use crate::parts::failure::{chain, invalid};

/// Of AWS: a token opens connections for a quarter of an hour; what was opened stays open.
const VALID: Duration = Duration::from_mins(15);

const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Signs a token for each session that is opened: what opens one after a quarter of an hour is a token of its own.
#[derive(Clone)]
pub struct Tokens {
    /// As AWS is asked for credentials: the endpoint of the database is none of AWS.
    signer: Arc<Connection>,
    place: String,
    user: String,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// `None`: the connection signs in by its password.
    pub fn of(connection: &Connection, default_port: u16, clock: &Arc<dyn Clock>) -> Result<Option<Self>, PortError> {
        if !connection.extra.flag("iam") {
            return Ok(None);
        }
        let missing = |what: &str| invalid(format!("connection {:?}: iam needs {what}", connection.conn_id));
        let host = connection.host.as_deref().filter(|host| !host.is_empty()).ok_or_else(|| missing("a host"))?;
        let user = connection.login.clone().filter(|user| !user.is_empty()).ok_or_else(|| missing("a login"))?;
        let mut signer = connection.clone();
        signer.extra.0.remove("host");
        let place = format!("{host}:{}", connection.port.unwrap_or(default_port));
        Ok(Some(Self { signer: Arc::new(signer), place, user, clock: Arc::clone(clock) }))
    }

    pub async fn sign(&self) -> Result<SecretString, PortError> {
        // Boxed, since the search for AWS keys holds kilobytes.
        let (region, credentials) = Box::pin(crate::aws::credentials(&self.signer)).await?;
        let token = token(&credentials, &region, &self.place, &self.user, self.clock.now().into());
        let conn_id = &self.signer.conn_id;
        token
            .map(SecretString::from)
            .map_err(|error| invalid(format!("connection {conn_id:?}: no token can be signed: {error}")))
    }
}

/// With `iam: true` in its extra, the connection demands TLS, with the server's name checked: a token that somebody else
/// reads opens the database.
pub fn encrypted(mut connection: Connection) -> Result<Connection, PortError> {
    if !connection.extra.flag("iam") {
        return Ok(connection);
    }
    let conn_id = connection.conn_id.clone();
    let extra = &connection.extra;
    let mode = ["sslmode", "ssl_mode"].into_iter().find_map(|name| extra.text(name));
    let mode = mode.unwrap_or("verify-full").to_ascii_lowercase().replace('_', "-");
    if !matches!(mode.as_str(), "verify-full" | "verify-identity" | "verify-ca") {
        return Err(invalid(format!(
            "connection {conn_id:?}: iam sends a token in place of a password, so sslmode must be verify-full (or verify-ca), \
             not {mode}; give the file of RDS's certificate authorities in ssl_ca or sslrootcert"
        )));
    }
    // Both names are known for both: PostgreSQL's and MySQL's.
    for (one, other) in [("ssl_ca", "sslrootcert"), ("sslrootcert", "ssl_ca")] {
        if let Some(file) = connection.extra.text(one).map(ToOwned::to_owned) {
            connection.extra.0.entry(other).or_insert_with(|| file.into());
        }
    }
    let mode = if mode == "verify-ca" { mode } else { "verify-full".to_owned() };
    connection.extra.0.remove("ssl_mode");
    connection.extra.0.insert("sslmode".to_owned(), mode.into());
    Ok(connection)
}

fn token(credentials: &Credentials, region: &str, place: &str, user: &str, now: SystemTime) -> Result<String, String> {
    let identity = credentials.clone().into();
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(VALID);
    settings.signature_location = SignatureLocation::QueryParams;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| chain(&error))?
        .into();
    let mut url = format!("https://{place}/?Action=connect&DBUser={}", utf8_percent_encode(user, IN_QUERY));
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|error| chain(&error))?;
    let (instructions, _) = sign(request, &parameters).map_err(|error| chain(&error))?.into_parts();
    for (name, value) in instructions.params() {
        url.push_str(&format!("&{name}={}", utf8_percent_encode(value, IN_QUERY)));
    }
    Ok(url.trim_start_matches("https://").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_operator_api::connection::Extra;

    struct Standing;

    impl Clock for Standing {
        fn now(&self) -> chrono::DateTime<chrono::Utc> {
            "2016-01-01T00:00:00Z".parse().unwrap()
        }
    }

    fn database(extra: serde_json::Value) -> Connection {
        Connection {
            conn_id: "shop".to_owned(),
            conn_type: "mysql".to_owned(),
            host: Some("prod.abc.eu-west-1.rds.amazonaws.com".to_owned()),
            login: Some("reader".to_owned()),
            password: None,
            port: None,
            schema: None,
            extra: Extra(extra.as_object().cloned().unwrap_or_default()),
        }
    }

    #[test]
    fn a_token_is_the_one_that_other_clients_make() {
        // The instant and the token of botocore's own test.
        let credentials = Credentials::new("akid", "skid", None, None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_478_540_373);
        let token =
            token(&credentials, "us-east-1", "prod-instance.us-east-1.rds.amazonaws.com:3306", "someusername", now);
        let token = token.unwrap();
        assert!(
            token.starts_with("prod-instance.us-east-1.rds.amazonaws.com:3306/?Action=connect&DBUser=someusername&")
        );
        assert!(token.contains("X-Amz-Date=20161107T173933Z") && token.contains("X-Amz-Expires=900"), "{token}");
        assert!(token.contains("X-Amz-Credential=akid%2F20161107%2Fus-east-1%2Frds-db%2Faws4_request"), "{token}");
        let signature = "X-Amz-Signature=d1138cdbc0ca63eec012ec0fc6c2267e03642168f5884a7795320d4c18374c61";
        assert!(token.contains(signature), "{token}");
    }

    #[tokio::test]
    async fn a_token_travels_by_tls_only() {
        let keys = serde_json::json!({
            "iam": true, "region_name": "eu-west-1", "aws_access_key_id": "akid", "aws_secret_access_key": "skid",
            "ssl_ca": "/etc/rds.pem",
        });
        let with = |name: &str, value: &str| {
            let mut extra = keys.clone();
            extra[name] = value.into();
            database(extra)
        };
        for mode in ["disabled", "preferred", "require"] {
            let error = encrypted(with("ssl_mode", mode)).unwrap_err();
            assert!(error.message.contains("sslmode must be verify-full"), "{}", error.message);
        }
        let connection = encrypted(database(keys.clone())).unwrap();
        assert_eq!(connection.extra.text("sslmode"), Some("verify-full"));
        assert_eq!(connection.extra.text("sslrootcert"), Some("/etc/rds.pem"));
        let clock: Arc<dyn Clock> = Arc::new(Standing);
        let tokens = Tokens::of(&connection, 3306, &clock).unwrap().unwrap();
        let token = secrecy::ExposeSecret::expose_secret(&tokens.sign().await.unwrap()).to_owned();
        assert!(
            token.starts_with("prod.abc.eu-west-1.rds.amazonaws.com:3306/?Action=connect&DBUser=reader&"),
            "{token}"
        );
        assert!(token.contains("X-Amz-Date=20160101T000000Z"), "{token}");
        let plain = database(serde_json::json!({}));
        assert!(Tokens::of(&plain, 3306, &clock).unwrap().is_none());
        assert_eq!(encrypted(plain).unwrap().extra.text("sslmode"), None);
    }
}
