//! Where a server is.

use std::fmt;
use std::str::FromStr;

use http::uri::{Authority, Uri};

/// The address of a server: `https://host:port`, or `http://host:port` without encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Uri);

/// A text that is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's address {problem}; write it as https://host:port, or as http://host:port without encryption")]
pub struct BadAddress {
    problem: &'static str,
}

impl BadAddress {
    /// What is wrong, to be said of the address.
    pub(crate) fn problem(&self) -> &'static str {
        self.problem
    }
}

impl Address {
    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |problem| Err(BadAddress { problem });
        // Without a scheme, the library would take the host for one in `host:port`, or refuse the port.
        let Some((scheme, _)) = text.split_once("://") else { return bad("has no scheme") };
        if !matches!(scheme, "http" | "https") {
            return bad("has a scheme that is neither http nor https");
        }
        let Ok(uri) = text.parse::<Uri>() else { return bad("can't be read") };
        if uri.host().is_none_or(str::is_empty) {
            return bad("has no host");
        }
        // It would show up wherever the address does.
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return bad("has a user name; the token says who the agent is");
        }
        let has_port = |authority: &Authority| authority.as_str() != authority.host();
        if uri.authority().is_some_and(|authority| has_port(authority) && authority.port_u16().is_none()) {
            return bad("has a port that is no number up to 65535");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return bad("has a path");
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}", self.0.scheme_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_show_as_they_were_written() {
        for text in ["https://ci.example.org", "http://127.0.0.1:9000", "https://[::1]:443"] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_encrypted()), (text, text.starts_with("https")));
        }
        assert_eq!("https://ci.example.org/".parse::<Address>().unwrap().to_string(), "https://ci.example.org");
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (text, problem) in [
            ("", "has no scheme"),
            ("ci.example.org:9000", "has no scheme"),
            ("grpc://ci.example.org", "neither http nor https"),
            ("https://", "can't be read"),
            ("https://:9000", "has no host"),
            ("https://ci.example.org:port", "has a port"),
            ("https://ci.example.org:65536", "has a port"),
            ("https://me:hunter2@ci.example.org", "has a user name"),
            ("https://ci.example.org/agents", "has a path"),
            ("https://ci.example.org?a=b", "has a path"),
        ] {
            let told = text.parse::<Address>().unwrap_err().to_string();
            assert!(told.contains(problem) && !told.contains("hunter2"), "{text}: {told}");
        }
    }
}
