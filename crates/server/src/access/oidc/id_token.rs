//! Whether an ID token is what it says it is: signed by the provider, for us, now, and for this sign-in.
//!
//! The signatures are ring's, which TLS brings anyway. Only algorithms with a public key are known, and the key says for
//! which kind it is: neither `none` nor a public key taken for a shared secret gets anybody in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, RsaParameters, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

/// Seconds that two clocks may differ.
const SLACK: f64 = 60.0;
const LONGEST: usize = 64 * 1024;
const LONGEST_SUBJECT: usize = 255;

/// Of a JWK set, what can verify.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What the token must be for.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The provider may have a new one.
    UnknownKey,
    Other(&'static str),
}

/// What a verified token says.
pub(super) struct Claims {
    pub subject: String,
    all: Map<String, Value>,
}

impl Claims {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    pub fn is_email_verified(&self) -> bool {
        // Some providers send it as a text.
        self.all.get("email_verified").is_some_and(|value| *value == true || *value == "true")
    }

    /// The claim of this name, or the one that dots lead to: `realm_access.roles`.
    pub fn groups(&self, name: &str) -> Vec<String> {
        let nested = || {
            let mut names = name.split('.');
            let first = self.all.get(names.next()?)?;
            names.try_fold(first, |value, name| value.get(name))
        };
        match self.all.get(name).or_else(nested) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(some)) => some.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        }
    }
}

pub(super) fn verify(token: &str, keys: &[Jwk], expected: &Expected<'_>) -> Result<Claims, Wrong> {
    let bad = |reason| Wrong::Other(reason);
    if token.len() > LONGEST {
        return Err(bad("it is too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(bad("it is no JWT"))?;
    let (header, payload) = signed.split_once('.').ok_or(bad("it is no JWT"))?;
    let header: Header = decoded(header).ok_or(bad("its header cannot be read"))?;
    if header.crit.is_some() {
        return Err(bad("it asks for extensions that are not known"));
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| bad("its signature cannot be read"))?;
    let algorithm = Algorithm::named(&header.alg).ok_or(bad("it is not signed by an algorithm that is accepted"))?;
    let fitting = |key: &&Jwk| {
        key.kty == algorithm.kind()
            && key.usage.as_deref().is_none_or(|usage| usage == "sig")
            && key.alg.as_deref().is_none_or(|alg| alg == header.alg)
    };
    let mut fitting = keys.iter().filter(fitting);
    let key = match &header.kid {
        Some(kid) => fitting.find(|key| key.kid.as_ref() == Some(kid)).ok_or(Wrong::UnknownKey)?,
        None => {
            let only = fitting.next().ok_or(Wrong::UnknownKey)?;
            if fitting.next().is_some() {
                return Err(bad("it does not say which key signed it"));
            }
            only
        }
    };
    algorithm.verify(key, signed.as_bytes(), &signature).ok_or(bad("its signature is wrong"))?;
    let all: Map<String, Value> = decoded(payload).ok_or(bad("its claims cannot be read"))?;
    check(&all, expected).map_err(Wrong::Other)?;
    let subject = all.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || subject.contains('\0') {
        return Err(bad("it does not say who it is of"));
    }
    Ok(Claims { subject, all })
}

fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    if text("iss") != Some(expected.issuer) {
        return Err("it comes from another issuer");
    }
    let is_ours = |value: &Value| *value == expected.client_id;
    let for_us = match claims.get("aud") {
        Some(Value::Array(several)) => several.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !for_us {
        return Err("it was made for another client");
    }
    let is_for_several = matches!(claims.get("aud"), Some(Value::Array(several)) if several.len() > 1);
    if (is_for_several || claims.contains_key("azp")) && text("azp") != Some(expected.client_id) {
        return Err("it was given to another client");
    }
    let now = expected.now.timestamp_micros() as f64 / 1e6;
    if number("exp").ok_or("it does not say when it ends")? <= now - SLACK {
        return Err("it has ended");
    }
    let is_later = |name: &str| claims.contains_key(name) && number(name).is_none_or(|at| at > now + SLACK);
    if is_later("nbf") || is_later("iat") {
        return Err("it is not good yet; are the clocks right?");
    }
    let nonce = text("nonce").unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err("it belongs to another sign-in");
    }
    Ok(())
}

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

enum Algorithm {
    Rsa(&'static RsaParameters),
    /// Curve, and how a signature of it is verified.
    Elliptic(&'static str, usize, &'static signature::EcdsaVerificationAlgorithm),
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => Self::Elliptic("P-256", 32, &signature::ECDSA_P256_SHA256_FIXED),
            "ES384" => Self::Elliptic("P-384", 48, &signature::ECDSA_P384_SHA384_FIXED),
            _ => return None,
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::Elliptic(..) => "EC",
        }
    }

    fn verify(&self, key: &Jwk, signed: &[u8], signature: &[u8]) -> Option<()> {
        let number = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok();
        match self {
            Self::Rsa(parameters) => {
                let (n, e) = (number(&key.n)?, number(&key.e)?);
                let plain = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
                PublicKeyComponents { n: plain(&n), e: plain(&e) }.verify(parameters, signed, signature).ok()
            }
            Self::Elliptic(curve, length, algorithm) => {
                let (x, y) = (number(&key.x)?, number(&key.y)?);
                if key.crv.as_deref() != Some(curve) || x.len() != *length || y.len() != *length {
                    return None;
                }
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                UnparsedPublicKey::new(*algorithm, point).verify(signed, signature).ok()
            }
        }
    }
}
