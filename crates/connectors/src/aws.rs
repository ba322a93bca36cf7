//! What all AWS clients share: region, credentials, endpoint, and an HTTP client on rustls with ring.

use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::{PortError, PortErrorKind};
use secrecy::ExposeSecret;

use crate::parts::failure::invalid;

const DEFAULT_REGION: &str = "us-east-1";

/// The settings of a connection, made into an SDK configuration.
///
/// Keys are login and password, or `aws_access_key_id`, `aws_secret_access_key` and `aws_session_token` of the extra;
/// without any the SDK's own chain is asked (environment, profile, web identity, instance).
pub async fn config(connection: &Connection, keys_from_login: bool) -> Result<SdkConfig, PortError> {
    let conn_id = &connection.conn_id;
    let extra = &connection.extra;
    let endpoint = extra.text("endpoint_url").or_else(|| extra.text("host")).map(ToOwned::to_owned);
    let region = extra.text("region_name").or_else(|| extra.text("region"));
    let patience = Patience::of(connection)?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(connection, endpoint.as_deref())?)
        .retry_config(RetryConfig::standard().with_max_attempts(patience.attempts))
        .timeout_config(TimeoutConfig::builder().connect_timeout(patience.connect).read_timeout(patience.read).build());
    if let Some(name) = extra.text("profile_name") {
        loader = loader.profile_name(name);
    }
    // With an endpoint of one's own any region will do, and the chain need not be searched for one.
    if let Some(region) = region.or_else(|| endpoint.as_ref().map(|_| DEFAULT_REGION)) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(endpoint) = &endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let login = connection.login.as_deref().filter(|login| keys_from_login && !login.is_empty());
    let password = connection.password.as_ref().filter(|_| keys_from_login).map(|password| password.expose_secret());
    let key = login.or_else(|| extra.text("aws_access_key_id"));
    let secret = password.filter(|password| !password.is_empty()).or_else(|| extra.text("aws_secret_access_key"));
    match (key, secret) {
        (Some(key), Some(secret)) => {
            let token = extra.text("aws_session_token").map(ToOwned::to_owned);
            loader = loader.credentials_provider(Credentials::new(key, secret, token, None, "connection"));
        }
        (None, None) => {}
        _ => {
            return Err(invalid(format!(
                "connection {conn_id:?} has only one half of an access key: both the key's id and the secret are needed"
            )));
        }
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(invalid(format!("connection {conn_id:?} names no region; set region_name in its extra")));
    }
    assume_role(connection, config).await
}

/// How long and how often one request is tried.
struct Patience {
    connect: Duration,
    /// Of a single attempt's first byte: a part of a slow upload may take minutes.
    read: Duration,
    attempts: u32,
}

impl Patience {
    /// `config_kwargs` are those of botocore, as Airflow's connections have them.
    fn of(connection: &Connection) -> Result<Self, PortError> {
        let given = connection.extra.0.get("config_kwargs");
        let number = |place: &str| -> Result<Option<f64>, PortError> {
            let Some(value) = given.and_then(|given| given.pointer(place)).filter(|value| !value.is_null()) else {
                return Ok(None);
            };
            let number = value.as_f64().filter(|number| (0.0..=86_400.0).contains(number));
            number.map(Some).ok_or_else(|| {
                let name = place.trim_start_matches('/').replace('/', ".");
                let conn_id = &connection.conn_id;
                invalid(format!(
                    "connection {conn_id:?}: config_kwargs.{name} is {value}: a number up to 86400 is wanted"
                ))
            })
        };
        let length = |seconds: Option<f64>, or: Duration| seconds.map_or(or, Duration::from_secs_f64);
        let total = number("/retries/total_max_attempts")?;
        let attempts = match total {
            Some(total) => total,
            // This one counts the attempts after the first.
            None => number("/retries/max_attempts")?.map_or(5.0, |more| more + 1.0),
        };
        Ok(Self {
            connect: length(number("/connect_timeout")?, Duration::from_secs(10)),
            read: length(number("/read_timeout")?, Duration::from_mins(2)),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 86,401")]
            attempts: attempts.max(1.0) as u32,
        })
    }
}

/// The role of the connection, taken with the credentials found so far. The SDK asks for new ones before they expire, also
/// in the middle of a long upload. `role_arn` of a Redshift connection is the role that the cluster reads S3 with, so
/// there it is called `assume_role_arn`.
async fn assume_role(connection: &Connection, config: SdkConfig) -> Result<SdkConfig, PortError> {
    let (conn_id, extra) = (&connection.conn_id, &connection.extra);
    let is_redshift = connection.conn_type.eq_ignore_ascii_case("redshift");
    let role = extra.text("assume_role_arn").or_else(|| extra.text("role_arn").filter(|_| !is_redshift));
    let Some(role) = role else { return Ok(config) };
    if !role.starts_with("arn:") || !role.contains(":role/") {
        return Err(invalid(format!("connection {conn_id:?}: {role:?} is no role: arn:aws:iam::ACCOUNT:role/NAME")));
    }
    // As Airflow's connections have them.
    let options = extra.0.get("assume_role_kwargs").and_then(|value| value.as_object());
    let option = |name: &str| options.and_then(|options| options.get(name)).and_then(|value| value.as_str());
    let external_id = extra.text("external_id").or_else(|| option("ExternalId"));
    let session = extra.text("role_session_name").or_else(|| option("RoleSessionName")).unwrap_or("millrace");
    let Some(source) = config.credentials_provider() else {
        return Err(invalid(format!("connection {conn_id:?}: there are no credentials to take the role {role} with")));
    };
    let mut builder = config.to_builder();
    // The endpoint of S3 does not know roles.
    builder.set_endpoint_url(extra.text("sts_endpoint_url").map(ToOwned::to_owned));
    let mut provider = AssumeRoleProvider::builder(role).session_name(session).configure(&builder.build());
    if let Some(id) = external_id {
        provider = provider.external_id(id);
    }
    if let Some(seconds) = extra.number("role_duration_seconds") {
        provider = provider.session_length(Duration::from_secs(seconds));
    }
    let provider = provider.build_from_provider(source).await;
    Ok(config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build())
}

/// The region and the credentials of a connection of any type, for signing something by itself.
pub async fn credentials(connection: &Connection) -> Result<(String, Credentials), PortError> {
    let config = config(connection, false).await?;
    let credentials = provided(&connection.conn_id, &config).await?;
    Ok((region(&config), credentials))
}

/// The credentials that requests would be signed with: a role is taken for them.
async fn provided(conn_id: &str, config: &SdkConfig) -> Result<Credentials, PortError> {
    let Some(provider) = config.credentials_provider() else {
        return Err(invalid(format!("connection {conn_id:?}: no AWS credentials were found")));
    };
    provider.provide_credentials().await.map_err(|error| {
        let words = format!("loading credentials: {}", crate::parts::failure::chain(&error));
        let hint = sign_on_hint(&words).unwrap_or_default();
        PortError::new(PortErrorKind::Denied, format!("connection {conn_id:?}: no AWS credentials: {words}{hint}"))
    })
}

/// What to do where nobody has signed on, as the SDK's words tell.
pub fn sign_on_hint(words: &str) -> Option<&'static str> {
    let is_sign_on = words.contains("loading credentials")
        && ["SSO", "sso/cache", "access token", "UnauthorizedException"].iter().any(|sign| words.contains(sign));
    is_sign_on.then_some(
        "; the single sign-on has ended, or was not made by the user that Millrace runs as: as that user, aws sso login --profile \
         and the profile's name",
    )
}

fn region(config: &SdkConfig) -> String {
    config.region().map(|region| region.as_ref().to_owned()).unwrap_or_default()
}

/// Who AWS takes a connection for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsIdentity {
    pub region: String,
    /// `None` behind an endpoint of one's own that has no STS beside it: then nobody can be asked.
    pub arn: Option<String>,
}

/// Finds the credentials of a connection (taking its role), and asks STS whose they are. Needs no permission.
pub async fn aws_identity(connection: &Connection) -> Result<AwsIdentity, PortError> {
    let conn_id = &connection.conn_id;
    let config = config(connection, !connection.conn_type.eq_ignore_ascii_case("redshift")).await?;
    provided(conn_id, &config).await?;
    let region = region(&config);
    let endpoint = connection.extra.text("sts_endpoint_url").map(ToOwned::to_owned);
    if endpoint.is_none() && config.endpoint_url().is_some() {
        return Ok(AwsIdentity { region, arn: None });
    }
    let mut builder = config.into_builder();
    builder.set_endpoint_url(endpoint);
    let asked = aws_sdk_sts::Client::new(&builder.build()).get_caller_identity().send().await;
    let answer = asked.map_err(|error| {
        PortError::new(
            PortErrorKind::Denied,
            format!(
                "connection {conn_id:?}: STS does not accept the credentials: {}",
                crate::parts::failure::chain(&error)
            ),
        )
    })?;
    Ok(AwsIdentity { region, arn: answer.arn().map(ToOwned::to_owned) })
}

/// The file that `verify` names.
pub(crate) fn authorities(connection: &Connection) -> Option<&str> {
    let verify = connection.extra.0.get("verify").and_then(serde_json::Value::as_str);
    verify.filter(|text| !matches!(*text, "" | "true" | "True" | "false" | "False"))
}

/// `verify` is true, a path to a file of certificate authorities, or false. Certificates are always checked here, so
/// false is refused where it would matter: with https to an endpoint of one's own.
fn http_client(
    connection: &Connection,
    endpoint: Option<&str>,
) -> Result<aws_sdk_s3::config::SharedHttpClient, PortError> {
    let conn_id = &connection.conn_id;
    let mut trust = TrustStore::default();
    match (authorities(connection), connection.extra.0.get("verify")) {
        (Some(path), _) => {
            let pem = std::fs::read(path).map_err(|error| {
                PortError::new(
                    PortErrorKind::NotFound,
                    format!("connection {conn_id:?}: cannot read the authorities in {path}: {error}"),
                )
            })?;
            trust = TrustStore::empty().with_pem_certificate(pem);
        }
        (None, Some(serde_json::Value::Bool(false) | serde_json::Value::String(_)))
            if !connection.extra.flag("verify")
                && endpoint.is_some_and(|endpoint| endpoint.starts_with("https://")) =>
        {
            return Err(invalid(format!(
                "connection {conn_id:?}: certificates are always checked; instead of verify: false give the path of the \
                 endpoint's certificate authority in verify, or an endpoint_url with http://"
            )));
        }
        _ => {}
    }
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| invalid(format!("connection {conn_id:?}: TLS cannot be set up: {error}")))?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https())
}
