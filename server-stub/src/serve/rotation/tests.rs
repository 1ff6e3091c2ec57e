//! What becomes of files that change, look by look.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{Judge, News};
use crate::serve::files::{TlsFile, TlsFiles};

const NOW: &str = "2026-06-01T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// Certificate and key, valid for this year.
fn pair(year: i32) -> (String, String) {
    let mut params = CertificateParams::new(["server.test".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(year, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 1, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Folder(TempDir);

impl Folder {
    fn files(&self) -> TlsFiles {
        let path = |name| self.0.path().join(name);
        TlsFiles { certificate: path("tls.crt"), key: path("tls.key"), client_authority: None }
    }

    fn write(&self, certificate: &str, key: &str) {
        fs::write(self.files().certificate, certificate).unwrap();
        fs::write(self.files().key, key).unwrap();
    }
}

fn start((certificate, key): &(String, String)) -> (Folder, Judge) {
    let folder = Folder(TempDir::new().unwrap());
    folder.write(certificate, key);
    let files = folder.files();
    let seen = files.read().unwrap();
    let in_use = files.credentials(&seen).unwrap();
    (folder, Judge { files, in_use, seen: Ok(seen), is_judged: true, is_lamented: false })
}

impl Judge {
    fn looks(&mut self) -> Option<News> {
        self.look(self.files.read(), now())
    }
}

#[test]
fn what_changed_is_taken_at_the_second_look_and_once() {
    let (folder, mut judge) = start(&pair(2026));
    assert_eq!(judge.looks(), None);
    let before = judge.in_use.config.clone();
    let (certificate, key) = pair(2026);
    folder.write(&certificate, &key);
    assert_eq!(judge.looks(), None, "it may be half of it");
    assert_eq!(judge.looks(), Some(News::Taken));
    assert!(!std::sync::Arc::ptr_eq(&before, &judge.in_use.config));
    assert_eq!(judge.looks(), None);
}

#[test]
fn a_broken_pair_is_said_once_and_changes_nothing() {
    let first = pair(2026);
    let (folder, mut judge) = start(&first);
    let before = judge.in_use.config.clone();
    let mut told = Vec::new();
    let (certificate, key) = pair(2026);
    for (certificate, key) in [(&certificate, &first.1), (&certificate, &"garbage".to_owned()), (&pair(2020).0, &key)] {
        folder.write(certificate, key);
        for _ in 0..4 {
            told.extend(judge.looks());
        }
    }
    fs::remove_file(folder.files().certificate).unwrap();
    for _ in 0..4 {
        told.extend(judge.looks());
    }
    let files: Vec<_> = told
        .iter()
        .map(|news| match news {
            News::Kept(error) => error.file,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(files, [TlsFile::Key, TlsFile::Key, TlsFile::Key, TlsFile::Certificate]);
    assert!(std::sync::Arc::ptr_eq(&before, &judge.in_use.config));
    folder.write(&first.0, &first.1);
    assert_eq!((judge.looks(), judge.looks()), (None, Some(News::Taken)));
}

#[test]
fn an_expired_certificate_is_lamented_once_and_takes_no_better_ones_place() {
    let (folder, mut judge) = start(&pair(2026));
    let (certificate, key) = pair(2020);
    folder.write(&certificate, &key);
    assert_eq!(judge.looks(), None);
    let told = judge.looks();
    assert!(matches!(&told, Some(News::Kept(error)) if error.problem.contains("expired at 2021-")), "{told:?}");
    let later = now() + SignedDuration::from_hours(24 * 365);
    let told = judge.look(judge.files.read(), later);
    assert!(matches!(&told, Some(News::Useless(error)) if error.problem.contains("expired at 2027-")), "{told:?}");
    assert_eq!(judge.look(judge.files.read(), later), None);
}
