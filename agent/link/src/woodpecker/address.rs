//! Where a Woodpecker server is: a target of gRPC.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::uri::{Authority, Uri};

/// The port of a target that names none. That is gRPC's own, with TLS or without.
const PORT: u16 = 443;
/// The port of an address that begins with `http://` and names none.
const HTTP_PORT: u16 = 80;

/// Schemes of targets that other clients of gRPC know, and what keeps them from being used here.
const FOREIGN: [(&str, &str); 5] = [
    ("unix-abstract", "names a socket without a file; give the server one with a path"),
    ("ipv4", "has a scheme that only some clients know; write the address alone"),
    ("ipv6", "has a scheme that only some clients know; write the address alone"),
    ("vsock", "names a socket of a virtual machine"),
    ("xds", "needs a control plane of xDS"),
];

/// The address of a Woodpecker server.
///
/// It is a target of gRPC, as the Woodpecker agent takes it: `host:port`, `dns:///host:port`, `unix:///path`. As gRPC
/// does it, a target without a port means port 443, and one without a host this machine. `https://host:port` and
/// `http://host:port` are understood, too, and say whether there is TLS; of others, [`Address::encrypted`] says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    place: Place,
    /// What its scheme says of TLS, if it has one that says it.
    scheme: Option<bool>,
    is_encrypted: bool,
}

/// What to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A host, without the brackets of IPv6, and a port.
    Tcp(String, u16),
    /// The file of a socket.
    Unix(PathBuf),
}

/// A text that is no address of a Woodpecker server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's address {problem}; write it as host:port, as unix:///path, or as https://host:port")]
pub struct BadAddress {
    problem: &'static str,
}

impl Address {
    /// Says whether the connection is encrypted.
    ///
    /// # Errors
    /// If the address has a scheme that says otherwise.
    pub fn encrypted(self, is_encrypted: bool) -> Result<Self, BadAddress> {
        match self.scheme {
            Some(true) if !is_encrypted => bad("begins with https://, which contradicts that TLS is off"),
            Some(false) if is_encrypted => bad("begins with http://, which contradicts that TLS is on"),
            _ => Ok(Self { is_encrypted, ..self }),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether what is said goes unencrypted over a network.
    pub fn is_exposed(&self) -> bool {
        !self.is_encrypted && matches!(self.place, Place::Tcp(..))
    }

    /// The host that its certificate is for.
    pub(super) fn host(&self) -> &str {
        match &self.place {
            Place::Tcp(host, _) => host,
            // What gRPC's own client says of itself on a socket.
            Place::Unix(_) => "localhost",
        }
    }

    /// Its port, if it has one.
    pub(super) fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Tcp(_, port) => Some(*port),
            Place::Unix(_) => None,
        }
    }

    /// The file of the socket, if it is one.
    pub(super) fn socket(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp(..) => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// The address as HTTP has it: scheme, host and port, and no path.
    pub(super) fn uri(&self) -> Uri {
        self.uri_of(if self.is_encrypted { "https" } else { "http" })
    }

    /// The same, with another scheme.
    pub(super) fn uri_of(&self, scheme: &'static str) -> Uri {
        let authority = match &self.place {
            Place::Tcp(host, port) => authority(host, *port),
            Place::Unix(_) => "localhost".to_owned(),
        };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
        uri.expect("the authority was read from one, and all else is constant")
    }
}

impl std::str::FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        if text.is_empty() {
            return bad("is empty");
        }
        let (place, scheme) = match text.split_once(':') {
            Some(("unix", path)) => (socket(path)?, None),
            Some(("dns" | "passthrough", rest)) => (endpoint(rest)?, None),
            Some(("https", rest)) if rest.starts_with("//") => (url(rest, PORT)?, Some(true)),
            Some(("http", rest)) if rest.starts_with("//") => (url(rest, HTTP_PORT)?, Some(false)),
            Some((scheme, _)) if let Some((_, problem)) = FOREIGN.iter().find(|(known, _)| *known == scheme) => {
                return bad(problem);
            }
            Some((_, rest)) if rest.starts_with("//") => return bad("has a scheme that gRPC does not know"),
            _ => (tcp(text, PORT)?, None),
        };
        Ok(Self { place, scheme, is_encrypted: scheme.unwrap_or(false) })
    }
}

fn bad<T>(problem: &'static str) -> Result<T, BadAddress> {
    Err(BadAddress { problem })
}

/// `unix:path`, `unix:/path`, `unix:///path`; and `unix://path`, which the Woodpecker agent takes for a path, too.
fn socket(rest: &str) -> Result<Place, BadAddress> {
    match rest.strip_prefix("//").unwrap_or(rest) {
        "" => bad("names no path of a socket"),
        path => Ok(Place::Unix(PathBuf::from(path))),
    }
}

/// What follows `dns:` or `passthrough:`. Before the third slash there may be a server to ask.
fn endpoint(rest: &str) -> Result<Place, BadAddress> {
    match rest.strip_prefix("//").map(|rest| rest.split_once('/')) {
        None => tcp(rest, PORT),
        Some(Some(("", endpoint))) => tcp(endpoint, PORT),
        Some(Some(_)) => bad("names a DNS server; names are looked up as this machine does it"),
        Some(None) => bad("has two slashes where there should be three"),
    }
}

/// What follows `https:` or `http:`.
fn url(rest: &str, port: u16) -> Result<Place, BadAddress> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    tcp(rest.strip_suffix('/').unwrap_or(rest), port)
}

fn tcp(text: &str, default: u16) -> Result<Place, BadAddress> {
    // An address of IPv6 is full of colons, and none of them is one before a port.
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Place::Tcp(ip.to_string(), default));
    }
    if text.contains('@') {
        return bad("has a user name; the token says who the agent is");
    }
    if text.contains('/') {
        return bad("has a path");
    }
    let Ok(authority) = text.parse::<Authority>() else { return bad("can't be read") };
    let host = authority.host();
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) if inner.parse::<IpAddr>().is_ok() => inner,
        Some(_) => return bad("has brackets around something else than an IPv6 address"),
        None => host,
    };
    let has_port = authority.as_str() != authority.host();
    let port = match authority.port_u16() {
        Some(port) => port,
        None if has_port => return bad("has a port that is no number up to 65535"),
        None => default,
    };
    // As Go has it, `:9000` is this machine.
    Ok(Place::Tcp(if host.is_empty() { "localhost" } else { host }.to_owned(), port))
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) => f.write_str(&authority(host, *port)),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn targets_of_grpc_are_understood() {
        for (text, shown, uri) in [
            ("localhost:9000", "localhost:9000", "http://localhost:9000/"),
            (
                " woodpecker-server.ci.svc:9000 ",
                "woodpecker-server.ci.svc:9000",
                "http://woodpecker-server.ci.svc:9000/",
            ),
            ("ci.example.org", "ci.example.org:443", "http://ci.example.org:443/"),
            (":9000", "localhost:9000", "http://localhost:9000/"),
            ("10.0.0.1:9000", "10.0.0.1:9000", "http://10.0.0.1:9000/"),
            ("[::1]:9000", "[::1]:9000", "http://[::1]:9000/"),
            ("[fd00::1]", "[fd00::1]:443", "http://[fd00::1]:443/"),
            ("fd00::1", "[fd00::1]:443", "http://[fd00::1]:443/"),
            ("dns:///ci:9000", "ci:9000", "http://ci:9000/"),
            ("dns:ci:9000", "ci:9000", "http://ci:9000/"),
            ("dns:ci", "ci:443", "http://ci:443/"),
            ("passthrough:///ci:9000", "ci:9000", "http://ci:9000/"),
            ("https://ci.example.org/", "ci.example.org:443", "https://ci.example.org:443/"),
            ("https://ci.example.org:9000", "ci.example.org:9000", "https://ci.example.org:9000/"),
            ("http://ci", "ci:80", "http://ci:80/"),
            ("unix:///run/ci.sock", "unix:/run/ci.sock", "http://localhost/"),
            ("unix:/run/ci.sock", "unix:/run/ci.sock", "http://localhost/"),
            ("unix:ci.sock", "unix:ci.sock", "http://localhost/"),
            ("unix://ci.sock", "unix:ci.sock", "http://localhost/"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.uri().to_string().as_str()), (shown, uri), "{text}");
            assert_eq!(address.is_encrypted(), text.starts_with("https"), "{text}");
            let stays_here = text.starts_with("unix") || address.is_encrypted();
            assert_eq!(address.is_exposed(), !stays_here, "{text}");
        }
    }

    #[test]
    fn a_host_is_called_a_host() {
        // A name that is a scheme elsewhere is a host here, as for gRPC.
        for (text, host) in [("localhost:9000", "localhost"), ("https:9000", "https"), ("[::1]:9", "::1")] {
            assert_eq!(text.parse::<Address>().unwrap().host(), host);
        }
        assert_eq!("unix:a".parse::<Address>().unwrap().host(), "localhost");
    }

    #[test]
    fn tls_is_said_beside_the_address_or_in_it() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        for text in ["ci:9000", "unix:/run/ci.sock", "https://ci"] {
            let encrypted = address(text).encrypted(true).unwrap();
            assert!(encrypted.is_encrypted() && encrypted.uri().scheme_str() == Some("https"), "{text}");
        }
        assert!(!address("ci:9000").encrypted(true).unwrap().encrypted(false).unwrap().is_encrypted());
        let told = |text: &str, is_encrypted| address(text).encrypted(is_encrypted).unwrap_err().to_string();
        assert!(told("https://ci", false).contains("TLS is off"));
        assert!(told("http://ci", true).contains("TLS is on"));
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (text, problem) in [
            ("", "is empty"),
            ("ci:port", "has a port"),
            ("ci:65536", "has a port"),
            ("ci:", "has a port"),
            ("ci 9000", "can't be read"),
            ("me:hunter2@ci:9000", "has a user name"),
            ("https://me:hunter2@ci", "has a user name"),
            ("https://ci/agents", "has a path"),
            ("ci:9000/agents", "has a path"),
            ("[ci]:9000", "has brackets"),
            ("tcp://ci:9000", "has a scheme"),
            ("xds:///ci", "xDS"),
            ("unix-abstract:ci", "without a file"),
            ("unix:", "no path"),
            ("dns://8.8.8.8/ci:9000", "a DNS server"),
            ("dns://ci", "three"),
        ] {
            let told = text.parse::<Address>().unwrap_err().to_string();
            assert!(told.contains(problem) && !told.contains("hunter2"), "{text}: {told}");
        }
    }
}
