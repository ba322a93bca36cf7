//! The keys that secrets are sealed with: `rotate-key`.

use std::sync::Arc;

use millrace_settings::Keyring;
use millrace_vault::Vault;

use crate::app::App;
use crate::output::{counted, notice};

/// A new key in front of the key file; then everything stored is sealed again with it.
pub async fn rotate_key(app: &App) -> anyhow::Result<()> {
    let store = app.store().await?;
    let keyring = Arc::new(Keyring::add_key(&app.home)?);
    let vault = Vault::new(Some(store), Some(keyring), app.masker.clone(), app.environment.clone());
    let connections = vault.reseal_connections("cli", app.now()).await?;
    let variables = vault.reseal_variables("cli", app.now()).await?;
    let webhooks = vault.reseal_webhooks().await?;
    notice(format!(
        "encrypted {}, {} and {} again; the old keys stay in {} for backups made before. \
         Daemons that run with this home read the new key when they need it; a home on another machine must get the file.",
        counted(connections, "connection"),
        counted(variables, "variable"),
        counted(webhooks, "webhook"),
        app.home.key_file().display()
    ));
    Ok(())
}
