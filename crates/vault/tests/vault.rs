//! What is looked up where, and which sealed values open.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_settings::{ConnectionForm, Home, Keyring, KeyringError, Masker};
use millrace_store::{Store, StoreOptions, schema};
use millrace_vault::{NamedConnection, Origin, Vault, VaultError};
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// A home with its key file and its database.
struct House {
    folder: TempDir,
    store: Store,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("millrace.db").display());
        schema::migrate(&url, true, now()).await.unwrap();
        let home = Some(folder.path().to_owned());
        let store = Store::open(&StoreOptions { url, max_connections: 2, home }).await.unwrap();
        Self { folder, store }
    }

    fn home(&self) -> Home {
        Home::at(self.folder.path()).unwrap()
    }

    fn vault(&self, environment: &[(&str, &str)]) -> Vault {
        let keyring = Arc::new(Keyring::open_or_create(&self.home()).unwrap());
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Vault::new(Some(self.store.clone()), Some(keyring), Masker::new(), environment)
    }

    /// The next vault makes a key of its own, which opens nothing of before.
    fn replace_key(&self) {
        std::fs::remove_file(self.home().key_file()).unwrap();
    }
}

fn form(password: &str) -> ConnectionForm {
    let form = json!({"conn_type": "mysql", "host": "db", "password": password, "extra": {"api_key": "of-extra"}});
    ConnectionForm::from_value(form).unwrap()
}

fn password(found: &NamedConnection) -> &str {
    found.form.password.as_ref().unwrap().expose_secret()
}

#[tokio::test]
async fn the_environment_comes_before_the_database_and_cannot_be_written() {
    let house = House::new().await;
    let bare = house.vault(&[]);
    bare.put_connection("prod", form("of-the-database"), "test", now()).await.unwrap();
    bare.put_variable("region", "of-the-database", None, "test", now()).await.unwrap();

    let vault = house.vault(&[
        ("MILLRACE_CONN_PROD", "mysql://me:of-the-environment@db/x"),
        ("MILLRACE_VAR_REGION", "of-the-environment"),
    ]);
    let found = vault.connection("prod").await.unwrap().unwrap();
    assert_eq!((found.origin, password(&found)), (Origin::Environment, "of-the-environment"));
    assert_eq!(vault.masker().mask("of-the-environment"), "***", "told to the masker before it was handed out");
    let listed = vault.connections().await.unwrap();
    assert_eq!(
        listed.iter().map(|it| (it.conn_id.as_str(), it.origin)).collect::<Vec<_>>(),
        [("prod", Origin::Environment)]
    );
    let variable = vault.variable("region").await.unwrap().unwrap();
    assert_eq!((variable.origin, variable.value.expose_secret()), (Origin::Environment, "of-the-environment"));

    let refused = vault.put_connection("prod", form("another"), "test", now()).await;
    assert!(
        matches!(&refused, Err(VaultError::InEnvironment { variable, .. }) if variable == "MILLRACE_CONN_PROD"),
        "{refused:?}"
    );
    let refused = vault.delete_variable("region", "test", now()).await;
    assert!(
        matches!(&refused, Err(VaultError::InEnvironment { variable, .. }) if variable == "MILLRACE_VAR_REGION"),
        "{refused:?}"
    );
    assert_eq!(password(&bare.connection("prod").await.unwrap().unwrap()), "of-the-database", "and stands as it stood");
}

#[tokio::test]
async fn rows_that_were_swapped_open_neither() {
    let house = House::new().await;
    let vault = house.vault(&[]);
    for name in ["one", "two"] {
        vault.put_connection(name, form(&format!("of-{name}")), "test", now()).await.unwrap();
        vault.put_variable(name, &format!("of-{name}"), None, "test", now()).await.unwrap();
    }
    let [mut one, mut two] = <[_; 2]>::try_from(house.store.connections().await.unwrap()).unwrap();
    std::mem::swap(&mut one.sealed_password, &mut two.sealed_password);
    let [mut first, mut second] = <[_; 2]>::try_from(house.store.variables().await.unwrap()).unwrap();
    std::mem::swap(&mut first.sealed_value, &mut second.sealed_value);
    for row in [one, two] {
        house.store.put_connection(&row, millrace_store::Told::default(), "test", now()).await.unwrap();
    }
    for row in [first, second] {
        house.store.put_variable(&row, millrace_store::Told::default(), "test", now()).await.unwrap();
    }
    for name in ["one", "two"] {
        let opened = vault.connection(name).await;
        assert!(matches!(opened, Err(VaultError::Keyring(KeyringError::Corrupt { .. }))), "{opened:?}");
        let opened = vault.variable(name).await;
        assert!(matches!(opened, Err(VaultError::Keyring(KeyringError::Corrupt { .. }))), "{opened:?}");
        let shown = vault.shown_connection(name).await.unwrap().unwrap();
        assert_eq!(password(&shown), "***");
        assert!(shown.problem.is_some() && shown.form.extra.is_empty());
    }
}

#[tokio::test]
async fn what_no_key_opens_can_be_entered_again() {
    let house = House::new().await;
    let before = house.vault(&[]);
    before.put_connection("prod", form("lost"), "test", now()).await.unwrap();
    before.put_variable("token", "lost", None, "test", now()).await.unwrap();
    house.replace_key();

    let vault = house.vault(&[]);
    let foreign = vault.check_keys().await;
    assert!(matches!(foreign, Err(VaultError::ForeignKeys { count: 2 })), "{foreign:?}");
    // Three stars stand for what was there, and nobody knows what that was.
    for kept in [
        vault.put_connection("prod", form("***"), "test", now()).await,
        vault.put_variable("token", "***", None, "test", now()).await,
    ] {
        assert!(matches!(kept, Err(VaultError::Keyring(KeyringError::UnknownKey { .. }))), "{kept:?}");
    }
    assert!(!vault.put_connection("prod", form("new"), "test", now()).await.unwrap(), "replaced");
    assert_eq!(password(&vault.connection("prod").await.unwrap().unwrap()), "new");
    assert!(vault.delete_variable("token", "test", now()).await.unwrap(), "and what cannot be opened can be deleted");
    vault.check_keys().await.unwrap();
}

#[tokio::test]
async fn everything_is_sealed_again_with_a_new_key_once() {
    let house = House::new().await;
    let before = house.vault(&[]);
    before.put_connection("prod", form("first"), "test", now()).await.unwrap();
    before.put_connection("open", ConnectionForm::parse("mysql://db/x").unwrap(), "test", now()).await.unwrap();
    before.put_variable("token", "second", None, "test", now()).await.unwrap();
    let key_file = house.home().key_file();
    let old_line = std::fs::read_to_string(&key_file).unwrap();
    Keyring::add_key(&house.home()).unwrap();

    let vault = house.vault(&[]);
    assert_eq!(vault.reseal_connections("test", now()).await.unwrap(), 1, "the other one has nothing that is sealed");
    assert_eq!(vault.reseal_variables("test", now()).await.unwrap(), 1);
    assert_eq!(vault.reseal_connections("test", now()).await.unwrap(), 0);
    assert_eq!(vault.reseal_variables("test", now()).await.unwrap(), 0);

    // Without the old key everything opens: nothing was left behind it.
    let both = std::fs::read_to_string(&key_file).unwrap();
    std::fs::write(&key_file, both.replace(&old_line, "")).unwrap();
    let alone = house.vault(&[]);
    let found = alone.connection("prod").await.unwrap().unwrap();
    assert_eq!((password(&found), found.form.extra["api_key"].as_str()), ("first", Some("of-extra")));
    assert_eq!(alone.variable("token").await.unwrap().unwrap().value.expose_secret(), "second");
    assert_eq!(password(&before.connection("prod").await.unwrap().unwrap()), "first", "who runs reads the new key");
}

#[tokio::test]
async fn without_a_database_the_environment_is_all_there_is() {
    let environment = BTreeMap::from([("MILLRACE_VAR_REGION".to_owned(), "seoul".to_owned())]);
    let vault = Vault::new(None, None, Masker::new(), environment);
    assert_eq!(vault.variable("region").await.unwrap().unwrap().value.expose_secret(), "seoul");
    assert!(vault.variable("other").await.unwrap().is_none());
    let refused = vault.put_variable("other", "x", None, "test", now()).await;
    assert!(matches!(refused, Err(VaultError::NoDatabase { .. })), "{refused:?}");
}
