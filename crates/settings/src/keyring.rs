//! Encryption at rest: XChaCha20-Poly1305 with named keys. The first key seals, every key opens, `rotate` moves all
//! values to the first. A process that runs while another one rotates the keys reads their file again: before it seals,
//! and when it is to open what none of its keys has sealed.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, Key, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};

use crate::home::{self, Home, HomeError};

const NONCE_LENGTH: usize = 24;

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("{path}, line {line}: expected `<key id>:<32 bytes in base64>`")]
    BadKeyFile { path: String, line: usize },
    #[error("{path} holds no key; delete the file to have one made, if nothing was encrypted yet")]
    NoKey { path: String },
    #[error(
        "the value of {name} was encrypted with key '{key_id}', which is not in {path}; put that line there (every machine that uses the database needs the same file), or enter the value again"
    )]
    UnknownKey { name: String, key_id: String, path: String },
    #[error(
        "the stored value of {name} can't be decrypted: it was changed, or belongs to another name; enter it again"
    )]
    Corrupt { name: String },
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// The keys of a home, as its file last had them.
pub struct Keyring {
    path: PathBuf,
    keys: RwLock<Arc<Keys>>,
}

/// Never empty.
type Keys = Vec<(String, XChaCha20Poly1305)>;

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().iter().map(|(id, _)| id)).finish()
    }
}

/// `count` random bytes from the operating system.
pub fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT], KeyringError> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(|e| KeyringError::Random(e.to_string()))?;
    Ok(bytes)
}

fn new_key_line() -> Result<String, KeyringError> {
    let id = hex::encode(random_bytes::<4>()?);
    Ok(format!("{id}:{}\n", BASE64.encode(random_bytes::<32>()?)))
}

fn parse(text: &str, path: &str) -> Result<Keys, KeyringError> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = || KeyringError::BadKeyFile { path: path.to_owned(), line: index + 1 };
        let (id, encoded) = line.split_once(':').ok_or_else(bad)?;
        let bytes: [u8; 32] = BASE64.decode(encoded.trim()).ok().and_then(|b| b.try_into().ok()).ok_or_else(bad)?;
        keys.push((id.trim().to_owned(), XChaCha20Poly1305::new(&Key::<XChaCha20Poly1305>::from(bytes))));
    }
    if keys.is_empty() {
        return Err(KeyringError::NoKey { path: path.to_owned() });
    }
    Ok(keys)
}

impl Keyring {
    /// Reads the home's key file, or makes one (mode 0600) when there is none.
    pub fn open_or_create(home: &Home) -> Result<Self, KeyringError> {
        let path = home.key_file();
        if home::read_if_present(&path)?.is_none() {
            home.create()?;
            home::create_private_file(&path, new_key_line()?.as_bytes())?;
        }
        Self::open(home)?.ok_or(KeyringError::NoKey { path: path.display().to_string() })
    }

    /// Reads the home's key file; `None` when there is none. Writes nothing.
    pub fn open(home: &Home) -> Result<Option<Self>, KeyringError> {
        let path = home.key_file();
        let Some(text) = home::read_if_present(&path)? else { return Ok(None) };
        let keys = parse(&text, &path.display().to_string())?;
        Ok(Some(Self { path, keys: RwLock::new(Arc::new(keys)) }))
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what the file has now. One that is gone or broken changes nothing: what is known opens what it did.
    fn read_again(&self) -> Arc<Keys> {
        let text = home::read_if_present(&self.path).ok().flatten();
        if let Some(keys) = text.and_then(|text| parse(&text, &self.path.display().to_string()).ok()) {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        }
        self.keys()
    }

    /// Puts a new key in front; the old ones still open what they sealed.
    pub fn add_key(home: &Home) -> Result<Self, KeyringError> {
        let path = home.key_file();
        let old = home::read_if_present(&path)?.unwrap_or_default();
        home::write_private_file(&path, format!("{}{old}", new_key_line()?).as_bytes())?;
        Self::open_or_create(home)
    }

    /// Seals a text. `name` (`connection/mysql_prod`) is bound to it: the sealed text opens under that name only.
    pub fn seal(&self, name: &str, secret: &str) -> Result<String, KeyringError> {
        let keys = self.read_again();
        let (id, cipher) = &keys[0];
        let nonce = random_bytes::<NONCE_LENGTH>()?;
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: secret.as_bytes(), aad: name.as_bytes() })
            .map_err(|_| KeyringError::Corrupt { name: name.to_owned() })?;
        Ok(format!("v1:{id}:{}", BASE64.encode([&nonce[..], &sealed].concat())))
    }

    pub fn open_sealed(&self, name: &str, sealed: &str) -> Result<SecretString, KeyringError> {
        let corrupt = || KeyringError::Corrupt { name: name.to_owned() };
        let (id, encoded) = sealed.strip_prefix("v1:").and_then(|rest| rest.split_once(':')).ok_or_else(corrupt)?;
        let find = |keys: &Keys| keys.iter().find(|(key_id, _)| key_id == id).map(|(_, cipher)| cipher.clone());
        let cipher =
            find(&self.keys()).or_else(|| find(&self.read_again())).ok_or_else(|| KeyringError::UnknownKey {
                name: name.to_owned(),
                key_id: id.to_owned(),
                path: self.path.display().to_string(),
            })?;
        let bytes = BASE64.decode(encoded).map_err(|_| corrupt())?;
        let (nonce, body) = bytes.split_at_checked(NONCE_LENGTH).ok_or_else(corrupt)?;
        let nonce: [u8; NONCE_LENGTH] = nonce.try_into().map_err(|_| corrupt())?;
        let plain =
            cipher.decrypt(&XNonce::from(nonce), Payload { msg: body, aad: name.as_bytes() }).map_err(|_| corrupt())?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| corrupt())
    }

    /// Seals again with the first key; `None` when it already is.
    pub fn reseal(&self, name: &str, sealed: &str) -> Result<Option<String>, KeyringError> {
        if sealed.starts_with(&format!("v1:{}:", self.keys()[0].0)) {
            return Ok(None);
        }
        let secret = self.open_sealed(name, sealed)?;
        self.seal(name, secret.expose_secret()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_under_its_name_only_and_after_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let first = Keyring::open_or_create(&home).unwrap();
        let sealed = first.seal("connection/a", "pä$$").unwrap();
        assert!(!sealed.contains("pä$$"));
        assert_eq!(first.open_sealed("connection/a", &sealed).unwrap().expose_secret(), "pä$$");
        assert!(matches!(first.open_sealed("connection/b", &sealed), Err(KeyringError::Corrupt { .. })));
        assert!(first.reseal("connection/a", &sealed).unwrap().is_none());

        let second = Keyring::add_key(&home).unwrap();
        let again = second.reseal("connection/a", &sealed).unwrap().unwrap();
        assert_eq!(second.open_sealed("connection/a", &again).unwrap().expose_secret(), "pä$$");
        assert_eq!(
            first.open_sealed("connection/a", &again).unwrap().expose_secret(),
            "pä$$",
            "its file was read again"
        );
        let id = |sealed: &str| sealed.split(':').nth(1).map(str::to_owned);
        let (third, sealed) = (Keyring::add_key(&home).unwrap(), second.seal("connection/a", "new").unwrap());
        assert_eq!(id(&sealed), id(&third.seal("connection/a", "new").unwrap()), "the newest key seals");

        std::fs::remove_file(home.key_file()).unwrap();
        assert_eq!(first.open_sealed("connection/a", &again).unwrap().expose_secret(), "pä$$", "without a file, too");
        let elsewhere = Keyring::open_or_create(&Home::at(folder.path().join("elsewhere")).unwrap()).unwrap();
        let foreign = elsewhere.seal("connection/a", "x").unwrap();
        assert!(matches!(first.open_sealed("connection/a", &foreign), Err(KeyringError::UnknownKey { .. })));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::open_or_create(&Home::at(folder.path()).unwrap()).unwrap();
        let mut sealed = keyring.seal("variable/x", "value").unwrap();
        let last = sealed.pop().unwrap();
        sealed.push(if last == 'A' { 'B' } else { 'A' });
        assert!(matches!(keyring.open_sealed("variable/x", &sealed), Err(KeyringError::Corrupt { .. })));
    }
}
