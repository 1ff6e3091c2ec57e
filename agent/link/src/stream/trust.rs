//! What keeps TLS from coming about, in words for people: what it was, and what to do.
//!
//! Layers above TLS wrap its errors, and HTTP/2 keeps only their words; both are looked through here.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// How rustls begins the words for an alert; their end is the alert's name.
const ALERT: &str = "received fatal alert: ";

/// What of an error is a matter of certificates, or of TLS where none is spoken; `None` if it is something else, such
/// as a connection that broke. A clause, without the full stop.
pub fn tls_problem(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return explain(error);
        }
        // An io::Error passes over what it holds when it is asked for its source.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => {
                let words = error.to_string();
                if let Some((_, name)) = words.split_once(ALERT) {
                    return alert(name.trim_end_matches('.'));
                }
                if words.contains("HTTP/2 was not negotiated") {
                    return Some(NO_HTTP2.to_owned());
                }
                error.source()
            }
        };
    }
    None
}

/// What an error of HTTP/2 without TLS says of the other side: its first bytes are no frame.
pub(super) fn speaks_something_else(reason: &str) -> Option<String> {
    reason.contains("frame with invalid size").then(|| {
        "what answers speaks no HTTP/2 without TLS; should the address begin with https://, or is it another port?"
            .to_owned()
    })
}

const NO_HTTP2: &str = "what answers speaks TLS, but not HTTP/2 as agents need it; is it the port for agents?";

fn explain(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(error) => Some(certificate(error)),
        // Its name is the last of its words.
        rustls::Error::AlertReceived(description) => alert(&format!("{description:?}")),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            Some("no TLS is spoken at this address; should it begin with http://, or is it another port?".to_owned())
        }
        rustls::Error::PeerIncompatible(why) => {
            Some(format!("the two sides have no version or method of TLS in common ({why:?})"))
        }
        rustls::Error::NoApplicationProtocol => Some(NO_HTTP2.to_owned()),
        _ => None,
    }
}

/// What is wrong with the server's certificate.
fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the server's certificate comes from an authority that is not trusted; give \
             that authority's certificate as CA file, or let the server present the certificates in between"
                .to_owned()
        }
        // Authorities are found by their names: one that was made anew under its old name is one of these.
        CertificateError::BadSignature => "the server's certificate is not signed by the trusted authority of that \
             name; if the authority was made anew, give its new certificate as CA file"
            .to_owned(),
        // The library's words have the current time in them, and would be news each time.
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired; renew it there, or set the clock of this machine right".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; set the clocks of both machines right".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the server's certificate is for another name ({error}); dial it by a name of its certificate, or say \
                 which name it has to have"
            )
        }
        CertificateError::Revoked => "the server's certificate was revoked; it needs a new one".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not one for servers; it needs another one".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server presents the certificate of an authority as its own; it needs one that is issued for servers"
                .to_owned()
        }
        other => format!("the server's certificate can't be trusted: {other}"),
    }
}

/// What a server said before it hung up. It looks at nothing of the agent but its certificate.
fn alert(name: &str) -> Option<String> {
    let is = |description: AlertDescription| format!("{description:?}") == name;
    let of_certificates = [
        AlertDescription::UnknownCA,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::DecryptError,
        AlertDescription::AccessDenied,
    ];
    if is(AlertDescription::CertificateRequired) {
        Some("the server asks for a client certificate; give one, with its key".to_owned())
    } else if of_certificates.into_iter().any(is) {
        Some(format!(
            "the server does not accept the client certificate ({name}); give one of an authority that it knows, and \
             that has not expired"
        ))
    } else if is(AlertDescription::NoApplicationProtocol) {
        Some(NO_HTTP2.to_owned())
    } else if is(AlertDescription::UnrecognisedName) {
        Some("the server does not know the name under which it was dialed; check the address".to_owned())
    } else if [
        AlertDescription::ProtocolVersion,
        AlertDescription::HandshakeFailure,
        AlertDescription::InsufficientSecurity,
    ]
    .into_iter()
    .any(is)
    {
        Some(format!(
            "the two sides have no version or method of TLS in common, or the server asks for a client certificate \
             ({name})"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::{AlertDescription, CertificateError, Error};

    use super::tls_problem;

    #[test]
    fn an_error_is_found_below_others() {
        let below = |error: Error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        let told = tls_problem(&below(Error::InvalidCertificate(CertificateError::UnknownIssuer))).unwrap();
        assert!(told.contains("authority that is not trusted"), "{told}");
        // HTTP/2 keeps words only.
        for alert in [AlertDescription::CertificateRequired, AlertDescription::UnknownCA] {
            let words = io::Error::other(Error::AlertReceived(alert).to_string());
            assert_eq!(tls_problem(&words), tls_problem(&below(Error::AlertReceived(alert))), "{alert:?}");
            assert!(tls_problem(&words).unwrap().contains("client certificate"));
        }
    }

    #[test]
    fn what_is_no_matter_of_trust_is_left_alone() {
        assert_eq!(tls_problem(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
        assert_eq!(tls_problem(&Error::DecryptError), None);
        assert_eq!(tls_problem(&Error::AlertReceived(AlertDescription::InternalError)), None);
    }

    #[test]
    fn the_same_trouble_has_the_same_words_at_another_time() {
        let at = |seconds| {
            let time = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            let not_after = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
            tls_problem(&Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }))
        };
        assert_eq!(at(10), at(20));
    }
}
