//! Tokens of RDS: a task that takes longer than a token lives signs in again and again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use chrono::{DateTime, TimeDelta, Utc};
use millrace_operator_api::context::Clock;
use millrace_operator_api::ports::Ports;
use millrace_testkit::wait_until;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::tls::Encrypting;
use crate::world::{cells, refused};

const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One that is moved by hand.
struct Hands(Mutex<DateTime<Utc>>);

impl Clock for Hands {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    fn forward(&self, length: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += length;
    }
}

/// What AWS's own client would send as a password at that moment.
fn token(place: &str, user: &str, at: DateTime<Utc>) -> Result<String> {
    let identity = Credentials::new("akid", "skid", None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(Duration::from_mins(15));
    settings.signature_location = SignatureLocation::QueryParams;
    let parameters = v4::SigningParams::builder().identity(&identity).region("eu-west-1").name("rds-db");
    let parameters = parameters.time(SystemTime::from(at)).settings(settings).build()?.into();
    let mut url = format!("https://{place}/?Action=connect&DBUser={user}");
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    for (name, value) in instructions.params() {
        url.push_str(&format!("&{name}={}", utf8_percent_encode(value, IN_QUERY)));
    }
    Ok(url.trim_start_matches("https://").to_owned())
}

/// The server takes the token of the moment alone, as RDS does, and refuses the one of twenty minutes before.
#[tokio::test]
async fn sessions_long_after_the_first_are_opened_and_killed_by_tokens_of_their_own() -> Result<()> {
    let mariadb = Encrypting::start().await?;
    let database = mariadb.server.create_database()?;
    let extra = json!({
        "iam": true, "region_name": "eu-west-1", "aws_access_key_id": "akid", "aws_secret_access_key": "skid",
        "ssl_ca": mariadb.known,
    });
    mariadb.connect("localhost", extra)?;
    mariadb.world.change("tls", |connection| connection.login = Some("reader".to_owned()));
    let place = format!("localhost:{}", mariadb.server.port());
    let clock = Arc::new(Hands(Mutex::new("2026-01-01T00:00:00Z".parse()?)));
    let take = |verb: &str| -> Result<()> {
        let token = token(&place, "reader", clock.now())?;
        database.execute(&format!("{verb} USER reader@'%' IDENTIFIED BY '{token}'"))
    };
    take("CREATE")?;
    database.execute("GRANT ALL ON *.* TO reader@'%'")?;
    let mut context = mariadb.world.context(1);
    context.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let source = mariadb.world.connectors.source(&context, "tls").await?;
    let one = || async { cells(source.query("SELECT 1").await?).await };
    assert_eq!(one().await?[0][0].as_deref(), Some("1"));

    clock.forward(TimeDelta::minutes(20));
    let error = refused(source.query("SELECT 1").await)?;
    assert!(error.message.contains("Access denied"), "the server knows the old one only: {error}");
    take("ALTER")?;
    assert_eq!(one().await?[0][0].as_deref(), Some("1"));

    // A query that nobody waits for any more is killed by a session that is opened for it.
    let running =
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'reader' AND INFO LIKE '%of a long task%'";
    let is_running = |wanted: &'static str| {
        let database = &database;
        async move || database.query(running).is_ok_and(|rows| rows[0][0] == wanted)
    };
    let rows = source.query("SELECT SLEEP(3000), 'of a long task'").await?;
    wait_until("the query runs", Duration::from_secs(30), is_running("1")).await?;
    clock.forward(TimeDelta::minutes(20));
    take("ALTER")?;
    drop(rows);
    wait_until("the query is killed", Duration::from_secs(30), is_running("0")).await?;
    Ok(())
}
