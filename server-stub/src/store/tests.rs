use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::report::LogLine;
use piculet_core::secret::Secret;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{LogPlace, Page, Store, StoreError};
use crate::record::{StepWrite, Write};

const ALL: Page = Page { from: 0, lines: usize::MAX, bytes: usize::MAX };

fn line(number: u64, text: &str) -> LogLine {
    LogLine { number, time: Timestamp::UNIX_EPOCH, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

fn lines(workflow: u64, position: usize, lines: Vec<LogLine>) -> Write {
    Write::Step(Box::new(StepWrite { workflow, position, document: "{}".to_owned(), part: None, lines }))
}

fn numbers(lines: &[LogLine]) -> Vec<u64> {
    lines.iter().map(|line| line.number).collect()
}

#[tokio::test]
async fn a_file_keeps_what_was_written_and_only_its_owner_reads_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    let store = Store::open(&path).unwrap();
    store.write(&Arc::new(vec![Write::ServerId("me".to_owned()), lines(1, 0, vec![line(0, "a")])])).await.unwrap();
    let place = LogPlace { workflow: 1, step: 0 };
    assert_eq!(store.lines(place, ALL).await.unwrap(), [line(0, "a")], "also through a reader of its own");
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.load().unwrap_err().to_string(), {
        let reason = "missing field `step` at line 1 column 2";
        format!(
            "the database holds step 0 of workflow 1 that can't be read: {reason}; restore it from a backup, or remove that row"
        )
    });
    assert_eq!(store.lines(place, ALL).await.unwrap(), [line(0, "a")]);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn pages_follow_each_other_over_holes() {
    let store = Store::in_memory().unwrap();
    let place = LogPlace { workflow: 7, step: 1 };
    let page = |from, lines| numbers(&store.lines_now(place, Page { from, lines, bytes: usize::MAX }).unwrap());
    assert!(page(0, 10).is_empty());
    store.write_now(&[lines(7, 1, (0..3).chain(5..8).map(|number| line(number, "x")).collect())]).unwrap();
    store
        .write_now(&[lines(7, 0, vec![line(0, "of another step")]), lines(8, 1, vec![line(0, "of another")])])
        .unwrap();
    assert_eq!(page(0, 2), [0, 1]);
    assert_eq!(page(2, 2), [2, 5]);
    assert_eq!(page(3, 9), [5, 6, 7]);
    assert_eq!(page(6, 9), [6, 7]);
    assert!(page(8, 9).is_empty());
    store.write_now(&[lines(7, 1, vec![line(4, "late"), line(8, "x")])]).unwrap();
    assert_eq!(page(2, 9), [2, 4, 5, 6, 7, 8], "what comes late has its place");
    let bytes = |from, bytes| numbers(&store.lines_now(place, Page { from, lines: 9, bytes }).unwrap());
    assert_eq!(bytes(4, 5), [4, 5], "four bytes and one");
    assert_eq!(bytes(4, 1), [4], "one line comes whatever its length");
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let store = Store::in_memory().unwrap();
    let twice = vec![lines(1, 0, vec![line(0, "a")]), Write::ServerId("a".to_owned()), Write::ServerId("b".to_owned())];
    let error = store.write_now(&twice).unwrap_err();
    assert!(matches!(error, StoreError::Contradiction { .. }), "{error}");
    assert!(error.to_string().starts_with("the database refused to store the server's identity: UNIQUE"), "{error}");
    assert_eq!(store.load().unwrap().server_id, None);
    assert_eq!(store.lines_now(LogPlace { workflow: 1, step: 0 }, ALL).unwrap(), []);
}

#[test]
fn what_can_not_be_used_is_said() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let said = |name: &str| Store::open(&path(name)).unwrap_err().to_string();

    let _first = Store::open(&path("used.db")).unwrap();
    assert!(said("used.db").contains("is in use by another piculet-server"), "{}", said("used.db"));
    std::os::unix::fs::symlink(path("used.db"), path("link.db")).unwrap();
    assert!(said("link.db").contains("used.db is in use by another piculet-server"), "{}", said("link.db"));

    std::fs::write(path("text.db"), "no database at all, but a text that is longer than a header").unwrap();
    assert!(said("text.db").contains("can't be used: file is not a database"), "{}", said("text.db"));

    Connection::open(path("foreign.db")).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    assert!(said("foreign.db").contains("not one of piculet-server"), "{}", said("foreign.db"));

    drop(Store::open(&path("newer.db")).unwrap());
    Connection::open(path("newer.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(said("newer.db").contains("has version 99 of the schema"), "{}", said("newer.db"));

    assert!(said("nowhere/x.db").contains("No such file or directory"), "{}", said("nowhere/x.db"));
}

#[test]
fn a_database_of_something_else_stays_as_it_is() {
    for (name, mode, beside) in
        [("plain?#%.db", "delete", 0), ("closed.db", "wal", 0), ("logged.db", "wal", 2), ("copied.db", "wal", 1)]
    {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        let theirs = Connection::open(&path).unwrap();
        theirs.pragma_update(None, "journal_mode", mode).unwrap();
        let spares = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        theirs.set_db_config(spares, beside > 0).unwrap();
        theirs.execute_batch("CREATE TABLE other (a)").unwrap();
        drop(theirs);
        if beside == 1 {
            std::fs::remove_file(super::beside(&path, "-shm")).unwrap();
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let look = || {
            let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap());
            // An index of the log that is there already says who has the database open.
            let is_index = |path: &std::path::Path| path.extension().is_some_and(|end| end == "db-shm");
            let text = |path: &std::path::Path| (!is_index(path)).then(|| std::fs::read(path).unwrap());
            let files = files.map(|file| (file.file_name(), text(&file.path())));
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            (files.collect::<std::collections::BTreeMap<_, _>>(), mode)
        };
        let before = look();
        assert_eq!(before.0.len(), 1 + beside, "{name}");
        assert!(matches!(Store::open(&path), Err(StoreError::Foreign { .. })));
        assert!(look() == before, "{name} was changed");
    }
}

#[test]
fn a_file_that_others_could_read_is_closed_to_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    let store = Store::open(&path).unwrap();
    store.write_now(&[Write::ServerId("me".to_owned())]).unwrap();
    // As a server that was killed leaves it: with its log beside it.
    let copy = TempDir::new().unwrap();
    for name in ["server.db", "server.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        std::fs::set_permissions(copy.path().join(name), std::fs::Permissions::from_mode(0o664)).unwrap();
    }
    let store = Store::open(&copy.path().join("server.db")).unwrap();
    assert_eq!(store.load().unwrap().server_id.as_deref(), Some("me"));
    for entry in std::fs::read_dir(copy.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn that_a_mode_is_not_kept_is_noticed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    // As file systems do that have no modes.
    let error = super::close_to_others(&path, |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.contains("can't be changed: the file system keeps it at 640; make it"), "{error}");
}

#[test]
fn deleted_secrets_are_not_left_in_the_file() {
    use crate::dispatch::{Dispatcher, Limits, Policy, Submission, Timing};
    use piculet_core::id::WorkflowId;
    use piculet_core::workload::WorkloadSpec;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    let store = Store::open(&path).unwrap();
    let policy = Policy {
        server_id: "s".to_owned(),
        protocol: 1,
        timing: Timing::default(),
        places: true,
        limits: Limits::default(),
    };
    let mut dispatcher = Dispatcher::new(policy);
    let now = crate::clock::Now { instant: tokio::time::Instant::now().into_std(), time: Timestamp::UNIX_EPOCH };
    let id = WorkflowId::new("w");
    let spec = WorkloadSpec { secrets: vec![Secret::new("canary-of-the-payload")], ..WorkloadSpec::default() };
    dispatcher.submit(vec![Submission::new(id.clone(), spec)], now).unwrap();
    let _touched = dispatcher.touched();
    store.write_now(&dispatcher.take_unsaved()).unwrap();
    assert_eq!(store.load().unwrap().workflows[0].spec.as_ref().unwrap().secrets.len(), 1);
    let stop = crate::mailbox::Stop { reason: "asked".to_owned(), grace: None };
    dispatcher.cancel(&id, stop, now).unwrap();
    let _touched = dispatcher.touched();
    store.write_now(&dispatcher.take_unsaved()).unwrap();
    assert_eq!(store.load().unwrap().workflows[0].spec, None);
    let has_secret = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        bytes.windows(6).any(|window| window == b"canary")
    };
    assert!(has_secret("server.db-wal"), "the log has what was written");
    store.tidy_now(super::Pace::Busy).unwrap();
    assert!(has_secret("server.db-wal"), "there is more to do than that");
    store.tidy_now(super::Pace::Idle).unwrap();
    assert!(!has_secret("server.db-wal") && !has_secret("server.db"), "while the server runs");
    drop(store);
    assert!(!has_secret("server.db"));
}
