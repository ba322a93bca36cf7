//! What the provider signs with, and everything that can be wrong with a token.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Map, Value, json};

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    Nonce,
    NoNonce,
    Audience,
    /// For several, and given to another.
    AuthorizedParty,
    Issuer,
    Expired,
    NoExpiry,
    NotYet,
    NoSubject,
    Signature,
    /// Signed by a key that is told to nobody.
    UnknownKey,
    /// `alg: none`, without a signature.
    Unsigned,
    /// Signed with the public key as a shared secret.
    SharedSecret,
    NoToken,
}

/// RSA, for tokens as most providers sign them; the stand-in's only, and public like all of it.
const RSA: &str = include_str!("rsa_key.base64");

pub(super) struct Keys {
    rsa: RsaKeyPair,
    elliptic: EcdsaKeyPair,
    /// Names both.
    name: String,
}

impl Keys {
    /// # Panics
    /// When the machine gives no random numbers.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let der = STANDARD.decode(RSA.split_whitespace().collect::<String>()).expect("the file is base64");
        let rsa = RsaKeyPair::from_der(&der).expect("the file is a key");
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("random numbers");
        let elliptic =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).expect("a key as made");
        Self { rsa, elliptic, name: uuid::Uuid::new_v4().simple().to_string() }
    }

    pub fn public(&self) -> Value {
        let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let point = self.elliptic.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [
            { "kty": "oct", "kid": "not for signatures", "k": "AAAA" },
            { "kty": "RSA", "use": "sig", "kid": format!("{}-rsa", self.name), "alg": "RS256", "n": text(&rsa.n), "e": text(&rsa.e) },
            { "kty": "EC", "use": "sig", "kid": format!("{}-ec", self.name), "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) },
        ]})
    }

    /// Signed by RSA, or by the elliptic key for whoever asks for it with the claim `alg`.
    pub fn token(&self, mut claims: Map<String, Value>, mistake: Option<Mistake>) -> Value {
        let is_elliptic = claims.remove("alg").is_some_and(|alg| alg == "ES256");
        let number = |claims: &Map<String, Value>, name: &str| claims[name].as_i64().unwrap_or_default();
        let (mut alg, mut kid) = if is_elliptic { ("ES256", "ec") } else { ("RS256", "rsa") };
        match mistake {
            None | Some(Mistake::Signature) => {}
            Some(Mistake::Nonce) => drop(claims.insert("nonce".into(), "another".into())),
            Some(Mistake::NoNonce) => drop(claims.remove("nonce")),
            Some(Mistake::Audience) => drop(claims.insert("aud".into(), json!(["another client"]))),
            Some(Mistake::AuthorizedParty) => {
                let both = json!([claims["aud"], "another client"]);
                claims.insert("aud".into(), both);
                claims.insert("azp".into(), "another client".into());
            }
            Some(Mistake::Issuer) => drop(claims.insert("iss".into(), "https://elsewhere.example".into())),
            Some(Mistake::Expired) => {
                let past = number(&claims, "iat") - 3600;
                claims.insert("exp".into(), past.into());
            }
            Some(Mistake::NoExpiry) => drop(claims.remove("exp")),
            Some(Mistake::NotYet) => {
                let later = number(&claims, "iat") + 3600;
                claims.insert("nbf".into(), later.into());
            }
            Some(Mistake::NoSubject) => drop(claims.remove("sub")),
            Some(Mistake::UnknownKey) => kid = "unknown",
            Some(Mistake::Unsigned) => alg = "none",
            Some(Mistake::SharedSecret) => alg = "HS256",
            Some(Mistake::NoToken) => return Value::Null,
        }
        let header = json!({ "alg": alg, "typ": "JWT", "kid": format!("{}-{kid}", self.name) });
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(&header), text(&Value::Object(claims)));
        let mut signature = match alg {
            "none" => Vec::new(),
            "HS256" => {
                let public = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public.n);
                ring::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            "ES256" => {
                let made = self.elliptic.sign(&SystemRandom::new(), signed.as_bytes()).expect("random numbers");
                made.as_ref().to_vec()
            }
            _ => {
                let mut made = vec![0; self.rsa.public().modulus_len()];
                let random = SystemRandom::new();
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut made).expect("random numbers");
                made
            }
        };
        if mistake == Some(Mistake::Signature) {
            signature[7] ^= 1;
        }
        Value::String(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
