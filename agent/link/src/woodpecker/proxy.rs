//! The HTTP proxy before a server, as Go's programs find it.

use http::Uri;
use http::uri::Authority;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use piculet_core::secret::Secret;

use super::Address;

/// What the machine says of proxies: the values of `HTTPS_PROXY` and `NO_PROXY`. The first may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    https: Option<Secret>,
    exceptions: String,
}

/// A text that names no proxy that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; a proxy is written as http://host:port")]
pub struct BadProxy {
    problem: &'static str,
}

impl Proxies {
    /// Takes `HTTPS_PROXY` and `NO_PROXY`; empty is as good as absent.
    ///
    /// # Errors
    /// If the first names no HTTP proxy.
    pub fn new(https: &str, exceptions: &str) -> Result<Self, BadProxy> {
        let https = https.trim();
        if https.is_empty() {
            return Ok(Self::default());
        }
        let url = match https.split_once("://") {
            None => format!("http://{https}"),
            Some(("http", _)) => https.to_owned(),
            Some(_) => return Err(BadProxy { problem: "proxies of this kind are not used here" }),
        };
        let uri = url.parse::<Uri>().ok();
        if uri.as_ref().and_then(Uri::authority).map(Authority::host).is_none_or(str::is_empty) {
            return Err(BadProxy { problem: "it can't be read" });
        }
        Ok(Self { https: Some(Secret::new(url)), exceptions: exceptions.to_owned() })
    }

    /// The proxy on the way to an address, if there is one. As with Go there never is on the way to this machine.
    pub(super) fn towards(&self, address: &Address) -> Option<Intercept> {
        let https = self.https.as_ref().filter(|_| address.socket().is_none())?;
        let host = address.host();
        let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if is_here {
            return None;
        }
        let matcher = Matcher::builder().https(https.expose()).no(self.exceptions(address.port()?)).build();
        // Go asks for the proxy of https, with TLS or without.
        matcher.intercept(&address.uri_of("https"))
    }

    /// The exceptions for a port. Go knows `host:port` among them, and the library hosts alone.
    fn exceptions(&self, port: u16) -> String {
        let hosts = self.exceptions.split(',').map(|exception| match exception.trim().rsplit_once(':') {
            Some((host, text)) if !host.contains(':') && text.parse() == Ok(port) => host,
            _ => exception.trim(),
        });
        hosts.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::Proxies;

    fn proxy(exceptions: &str, address: &str) -> Option<String> {
        let proxies = Proxies::new("http://proxy:3128", exceptions).unwrap();
        proxies.towards(&address.parse().unwrap()).map(|proxy| proxy.uri().to_string())
    }

    #[test]
    fn a_proxy_is_used_but_for_what_is_excepted_and_for_this_machine() {
        let through = Some("http://proxy:3128/".to_owned());
        assert_eq!(proxy("", "ci.example.org:9000"), through);
        assert_eq!(proxy("other.org,10.1.0.0/16", "10.0.0.1:9000"), through);
        for exceptions in ["ci.example.org", ".example.org", "*", "a, example.org"] {
            assert_eq!(proxy(exceptions, "ci.example.org:9000"), None, "{exceptions}");
        }
        assert_eq!(proxy("10.0.0.0/8", "10.0.0.1:9000"), None);
        assert_eq!(proxy("ci.example.org:9000", "ci.example.org:9000"), None);
        assert_eq!(proxy("ci.example.org:9001", "ci.example.org:9000"), through);
        assert_eq!(proxy("fd00::/8", "[fd00::1]:9000"), None);
        for here in ["localhost:9000", "127.0.0.1:9000", "[::1]:9000", "unix:/run/ci.sock"] {
            assert_eq!(proxy("", here), None, "{here}");
        }
        assert_eq!(proxy("", "http://ci:9000"), through);
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        for text in ["socks5://me:hunter2@proxy", "https://me:hunter2@proxy", "http://", "a b:hunter2"] {
            let told = Proxies::new(text, "").unwrap_err().to_string();
            assert!(told.contains("http://host:port") && !told.contains("hunter2"), "{told}");
        }
        let proxies = Proxies::new("me:hunter2@proxy:3128", "").unwrap();
        assert!(!format!("{proxies:?}").contains("hunter2"));
        assert!(proxies.towards(&"ci:9000".parse().unwrap()).unwrap().basic_auth().is_some());
        assert_eq!(Proxies::new(" ", "*").unwrap(), Proxies::default());
    }
}
