//! The provider of identities, by the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use millrace_server::{OidcOptions, Web, WebAnswer, WebRequest};
use millrace_vault::Vault;
use secrecy::{ExposeSecret, SecretString};

use crate::app::App;
use crate::failure::usage;

/// The variable that holds the client's secret.
const SECRET: &str = "oidc_client_secret";

/// None: people sign in with passwords only.
pub async fn provider(app: &App, vault: &Vault) -> anyhow::Result<Option<OidcOptions>> {
    let settings = &app.config.oidc;
    if settings.issuer.is_empty() {
        return Ok(None);
    }
    let public_url = app.config.server.public_url.trim_end_matches('/');
    for (key, value) in [("server.public_url", public_url), ("oidc.client_id", &settings.client_id)] {
        if value.is_empty() {
            return Err(usage(format!("oidc.issuer is set and {key} is not: signing in with a provider takes both")));
        }
    }
    for (key, url) in [("oidc.issuer", settings.issuer.as_str()), ("server.public_url", public_url)] {
        let is_address = url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
        if !is_address {
            return Err(usage(format!("{key} = {url}: expected an address such as https://login.example")));
        }
    }
    if !settings.scopes.split_whitespace().any(|scope| scope == "openid") {
        return Err(usage(format!("oidc.scopes = {}: 'openid' must be among them", settings.scopes)));
    }
    let authorities = (!settings.ca_file.is_empty()).then(|| app.home.root().join(&settings.ca_file));
    let domains = settings.allowed_domains.split(',').map(|it| it.trim().trim_start_matches('@').to_owned());
    Ok(Some(OidcOptions {
        issuer: settings.issuer.clone(),
        client_id: settings.client_id.clone(),
        client_secret: client_secret(app, vault).await?,
        label: settings.label.clone(),
        scopes: settings.scopes.split_whitespace().collect::<Vec<_>>().join(" "),
        groups_claim: settings.groups_claim.clone(),
        roles: settings.roles.parse().map_err(|error| usage(format!("oidc.roles: {error}")))?,
        allowed_domains: domains.filter(|domain| !domain.is_empty()).collect(),
        public_url: public_url.to_owned(),
        keyring: app.keyring()?,
        web: web(authorities),
    }))
}

async fn client_secret(app: &App, vault: &Vault) -> anyhow::Result<SecretString> {
    let secret = if app.config.oidc.client_secret.is_empty() {
        let found = vault.variable(SECRET).await.with_context(|| format!("the variable {SECRET} cannot be read"))?;
        found.map(|variable| variable.value).unwrap_or_default()
    } else {
        SecretString::from(app.config.oidc.client_secret.clone())
    };
    app.masker.add(secret.expose_secret());
    Ok(secret)
}

/// Asks others as connectors do.
fn web(authorities: Option<PathBuf>) -> Web {
    Arc::new(move |request: WebRequest| {
        let authorities = authorities.as_ref().map(|path| path.display().to_string());
        Box::pin(async move {
            let WebRequest { method, url, headers, body } = request;
            let (status, body) = millrace_connectors::ask(method, &url, &headers, body, authorities.as_deref()).await?;
            Ok(WebAnswer { status, body })
        })
    })
}
