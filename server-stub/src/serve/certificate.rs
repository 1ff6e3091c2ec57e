//! What a certificate says of its holder and of its time. Whether it can be trusted is decided elsewhere, by TLS.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// When a certificate may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    from: Timestamp,
    until: Timestamp,
}

impl Validity {
    /// That of a certificate in DER; `None` if it is none.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let time = |seconds| Timestamp::from_second(seconds).ok();
        let validity = certificate.validity();
        Some(Self { from: time(validity.not_before.timestamp())?, until: time(validity.not_after.timestamp())? })
    }

    /// Why it can't be used at a moment, as in `expired at 2026-01-01T00:00:00Z`.
    pub(super) fn problem(self, now: Timestamp) -> Option<String> {
        if now > self.until {
            Some(format!("holds a certificate that expired at {}", self.until))
        } else if now < self.from {
            Some(format!("holds a certificate that is not valid before {}", self.from))
        } else {
            None
        }
    }
}

/// The name of a certificate's holder: the subject's common name, else the first of its other names.
pub(super) fn holder(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut common_names = certificate.subject().iter_common_name();
    if let Some(name) = common_names.find_map(|name| name.as_str().ok().filter(|name| !name.is_empty())) {
        return Some(name.to_owned());
    }
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::{Validity, holder};

    fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_holder_has_the_common_name_or_the_first_of_the_others() {
        let uri = || SanType::URI("spiffe://ci/agent".try_into().unwrap());
        assert_eq!(
            holder(&der(|params| params.distinguished_name.push(DnType::CommonName, "agent-1"))).unwrap(),
            "agent-1"
        );
        assert_eq!(holder(&der(|params| params.subject_alt_names = vec![uri()])).unwrap(), "spiffe://ci/agent");
        let both = der(|params| {
            params.distinguished_name.push(DnType::CommonName, "agent-1");
            params.subject_alt_names = vec![uri()];
        });
        assert_eq!(holder(&both).unwrap(), "agent-1");
        assert_eq!(holder(&der(|_| {})), None);
        assert_eq!(holder(b"no certificate"), None);
    }

    #[test]
    fn a_certificate_has_its_time() {
        let validity = Validity::of(&der(|params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }));
        let validity = validity.unwrap();
        let (from, until): (Timestamp, Timestamp) =
            ("2020-01-01T00:00:00Z".parse().unwrap(), "2021-01-01T00:00:00Z".parse().unwrap());
        let second = SignedDuration::from_secs(1);
        assert_eq!((validity.problem(from), validity.problem(until)), (None, None));
        assert!(validity.problem(from - second).unwrap().ends_with("not valid before 2020-01-01T00:00:00Z"));
        assert!(validity.problem(until + second).unwrap().ends_with("expired at 2021-01-01T00:00:00Z"));
    }
}
