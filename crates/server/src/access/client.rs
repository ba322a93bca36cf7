//! Where a request comes from. Proxies say so in headers; only those that the configuration names are believed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::{HeaderMap, header};

/// An address, or all that begin like it: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no network; write an address, or one with the number of its leading bits, as 10.0.0.0/8")]
pub struct NetworkError {
    text: String,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError { text: text.to_owned() };
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| error())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(error()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// A list with commas between, as the configuration has it.
    pub fn list(text: &str) -> Result<Vec<Self>, NetworkError> {
        text.split(',').filter(|part| !part.trim().is_empty()).map(str::parse).collect()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let beside = u32::from(32 - self.bits);
                mine.to_bits().checked_shr(beside) == other.to_bits().checked_shr(beside)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => {
                let beside = u32::from(128 - self.bits);
                mine.to_bits().checked_shr(beside) == other.to_bits().checked_shr(beside)
            }
            _ => false,
        }
    }
}

/// Who sent a request, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub address: IpAddr,
    /// It came so to us, or to the last proxy that is believed, as that one says.
    pub is_https: bool,
    /// What the browser has in its address bar.
    pub host: Option<String>,
}

impl Client {
    /// Whether a proxy that the configuration does not name says for whom it asks; or its client says so, to look like one.
    pub fn has_unnamed_proxy(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> bool {
        headers.contains_key("x-forwarded-for") && !trusted.iter().any(|network| network.contains(peer))
    }

    pub fn of((peer, is_tls): (IpAddr, bool), headers: &HeaderMap, trusted: &[Network]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let host = text(headers, header::HOST.as_str());
        if !is_trusted(peer) {
            return Self { address: peer, is_https: is_tls, host };
        }
        // Each proxy adds whom it heard at the end: the last one that is no proxy of ours is the client. What stands before
        // it the client may have made up.
        let mut address = peer;
        let told: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|it| it.to_str().ok())
            .flat_map(|it| it.split(','))
            .collect();
        for part in told.iter().rev() {
            let Ok(before) = part.trim().parse() else { break };
            address = before;
            if !is_trusted(before) {
                break;
            }
        }
        let last = |name| text(headers, name).and_then(|it| Some(it.rsplit(',').next()?.trim().to_owned()));
        let is_https = last("x-forwarded-proto").map_or(is_tls, |proto| proto.eq_ignore_ascii_case("https"));
        Self { address, is_https, host: last("x-forwarded-host").or(host) }
    }
}

impl Client {
    /// What is added to cookies, so that what came over HTTPS is sent over HTTPS only.
    pub fn secure_cookies(&self) -> &'static str {
        if self.is_https { "; Secure" } else { "" }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)], trusted: &str) -> Client {
        let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        Client::of((peer.parse().unwrap(), false), &headers.collect(), &Network::list(trusted).unwrap())
    }

    #[test]
    fn networks_are_read_and_compared_by_their_bits() {
        let within =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.200.3.4") && !within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("127.0.0.1", "127.0.0.1") && !within("127.0.0.1", "127.0.0.2"));
        assert!(within("127.0.0.1", "::ffff:127.0.0.1"), "the same address, written for IPv6");
        assert!(within("0.0.0.0/0", "8.8.8.8") && within("2001:db8::/32", "2001:db8:1::1"));
        assert!(!within("2001:db8::/32", "2001:db9::1") && !within("0.0.0.0/0", "::1"));
        for bad in ["", "10.0.0/8", "10.0.0.0/33", "host", "::1/129"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert_eq!(Network::list(" 10.0.0.0/8 , ::1 ,").unwrap().len(), 2);
    }

    #[test]
    fn only_proxies_of_ours_are_believed() {
        let told =
            [("x-forwarded-for", "6.6.6.6, 9.9.9.9, 10.0.0.2"), ("x-forwarded-proto", "https"), ("host", "inner")];
        let stranger = client("8.8.8.8", &told, "10.0.0.0/8");
        assert_eq!((stranger.address.to_string().as_str(), stranger.is_https), ("8.8.8.8", false));
        let ours = client("10.0.0.1", &told, "10.0.0.0/8");
        assert_eq!((ours.address.to_string().as_str(), ours.is_https), ("9.9.9.9", true));
        assert_eq!(ours.host.as_deref(), Some("inner"));
        let named = client("10.0.0.1", &[("host", "inner"), ("x-forwarded-host", "millrace.example")], "10.0.0.1");
        assert_eq!((named.address.to_string().as_str(), named.is_https), ("10.0.0.1", false));
        assert_eq!(named.host.as_deref(), Some("millrace.example"));
        let nonsense = client("10.0.0.1", &[("x-forwarded-for", "1.2.3.4, nonsense")], "10.0.0.1");
        assert_eq!(nonsense.address.to_string(), "10.0.0.1");
    }
}
