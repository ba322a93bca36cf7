//! Secrets of webhooks.

use chrono::{DateTime, Utc};
use millrace_settings::keyring::random_bytes;
use millrace_store::{WebhookRow, WebhookTarget};
use secrecy::SecretString;

use crate::{Vault, VaultError};

/// Tools that look for leaked secrets know ours by it.
pub const WEBHOOK_PREFIX: &str = "mrw_";

/// A webhook that somebody wants.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    pub name: String,
    /// With whose rights.
    pub user_name: String,
    pub target: WebhookTarget,
    pub expires_at: Option<DateTime<Utc>>,
}

/// It stands in an address.
pub fn is_webhook_name(name: &str) -> bool {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    (1..=100).contains(&name.len()) && name.chars().all(is_good) && !name.chars().all(|letter| letter == '.')
}

fn sealed_name(name: &str) -> String {
    format!("webhook/{name}")
}

impl Vault {
    /// Gives the secret, which is told this once.
    pub async fn add_webhook(
        &self,
        new: NewWebhook,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<(String, WebhookRow), VaultError> {
        if !is_webhook_name(&new.name) {
            return Err(VaultError::BadWebhookName);
        }
        let (store, keyring) = self.writable(&format!("webhook '{}'", new.name))?;
        let secret = format!("{WEBHOOK_PREFIX}{}", hex::encode(random_bytes::<32>()?));
        let row = WebhookRow {
            sealed_secret: keyring.seal(&sealed_name(&new.name), &secret)?,
            name: new.name,
            user_name: new.user_name,
            target: new.target,
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
        };
        store.add_webhook(&row, actor, now).await?;
        Ok((secret, row))
    }

    pub fn webhook_secret(&self, row: &WebhookRow) -> Result<SecretString, VaultError> {
        let keyring = self.key(&format!("webhook '{}'", row.name))?;
        Ok(keyring.open_sealed(&sealed_name(&row.name), &row.sealed_secret)?)
    }

    /// Seals every webhook's secret again with the newest key. Returns how many were changed.
    pub async fn reseal_webhooks(&self) -> Result<usize, VaultError> {
        let (store, keyring) = self.writable("webhooks")?;
        let mut changed = 0;
        for row in store.webhooks(None).await? {
            if let Some(sealed) = keyring.reseal(&sealed_name(&row.name), &row.sealed_secret)? {
                store.reseal_webhook(&row.name, &sealed).await?;
                changed += 1;
            }
        }
        Ok(changed)
    }
}
