use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::report::LogLine;
use tempfile::TempDir;

use super::super::{LogPlace, Page, Store, StoreError};
use super::{Pace, SLICE_BYTES};
use crate::record::{StepWrite, Write};

const LINE_BYTES: usize = 1 << 20;
const ALL: Page = Page { from: 0, lines: usize::MAX, bytes: usize::MAX };

fn of_file(path: &Path) -> Store {
    Store::open(path).unwrap()
}

/// As if the workflow had been submitted.
fn submit(store: &Store, workflow: i64) {
    let row = (workflow, workflow.to_string());
    store.writer().connection.execute("INSERT INTO workflows VALUES (?1, ?2, '{}')", row).unwrap();
}

/// Lines of a mebibyte each.
fn lines(workflow: u64, count: u64) -> Write {
    let line = |number| LogLine {
        number,
        time: Timestamp::UNIX_EPOCH,
        bytes: Bytes::from(vec![b'a' + u8::try_from(workflow).unwrap(); LINE_BYTES]),
    };
    let lines = (0..count).map(line).collect();
    Write::Step(Box::new(StepWrite { workflow, position: 0, document: "{}".to_owned(), part: None, lines }))
}

fn kept(store: &Store, workflow: u64) -> usize {
    store.lines_now(LogPlace { workflow, step: 0 }, ALL).unwrap().len()
}

fn blocks(store: &Store) -> u32 {
    store.writer().connection.query_row("SELECT count(*) FROM log_blocks", (), |row| row.get(0)).unwrap()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn a_forgotten_log_goes_in_slices_that_need_no_room() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    let wal = folder.path().join("server.db-wal");
    let store = of_file(&path);
    submit(&store, 1);
    submit(&store, 2);
    let slices = 3;
    let count = SLICE_BYTES / LINE_BYTES as u64 * slices;
    store.write_now(&[lines(1, count), lines(2, 3)]).unwrap();
    let count = u32::try_from(count).unwrap();
    assert!(!store.tidy_now(Pace::Idle).unwrap(), "nothing was forgotten");
    assert_eq!(size(&wal), 0);

    store.write_now(&[Write::ForgetWorkflow(1)]).unwrap();
    assert_eq!(blocks(&store), count + 3, "a batch doesn't wait for that");
    assert!(store.tidy_now(Pace::Busy).unwrap());
    let left = blocks(&store);
    assert!(left < count && left > 3, "{left} are left");
    let file = size(&path);
    // What is written meanwhile takes the room that is free by now.
    store.write_now(&[lines(3, 4)]).unwrap();
    submit(&store, 3);

    // A server that is killed goes on with it.
    drop(store);
    assert_eq!(size(&path), file);
    let store = of_file(&path);
    let mut turns = 0;
    while store.tidy_now(Pace::Busy).unwrap() {
        turns += 1;
    }
    assert!((slices - 1..=slices + 1).contains(&turns), "{turns}");
    assert!(size(&wal) < SLICE_BYTES / 8, "{} bytes were written to delete {SLICE_BYTES}", size(&wal));
    assert_eq!((blocks(&store), kept(&store, 2), kept(&store, 3)), (7, 3, 4));
}

#[test]
fn a_workflow_that_starts_anew_has_a_new_log_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    let store = of_file(&path);
    submit(&store, 1);
    store.write_now(&[Write::ForgetLogs(1), lines(1, 3)]).unwrap();
    for again in 1..4 {
        store.write_now(&[Write::ForgetLogs(1), lines(1, again)]).unwrap();
        assert_eq!(kept(&store, 1), usize::try_from(again).unwrap());
    }
    drop(store);
    let store = of_file(&path);
    assert_eq!((blocks(&store), kept(&store, 1)), (3 + 1 + 2 + 3, 3));
    while store.tidy_now(Pace::Busy).unwrap() {}
    assert_eq!((blocks(&store), kept(&store, 1)), (3, 3));
    store.write_now(&[Write::ForgetWorkflow(1)]).unwrap();
    submit(&store, 2);
    store.write_now(&[lines(2, 1)]).unwrap();
    store.write_now(&[Write::ForgetWorkflow(2), Write::ForgetLogs(2)]).unwrap();
    while store.tidy_now(Pace::Busy).unwrap() {}
    assert_eq!(blocks(&store), 0);
    let renewed =
        store.writer().connection.query_row("SELECT count(*) FROM renewed_logs", (), |row| row.get::<_, u32>(0));
    assert_eq!(renewed.unwrap(), 0);
}

#[test]
fn a_full_disk_has_room_again_for_what_was_forgotten() {
    let store = of_file(&TempDir::new().unwrap().path().join("server.db"));
    submit(&store, 1);
    store.write_now(&[lines(1, 8)]).unwrap();
    let pages: u32 = store.writer().connection.query_row("PRAGMA page_count", (), |row| row.get(0)).unwrap();
    store.writer().connection.pragma_update(None, "max_page_count", pages + 8).unwrap();
    let error = store.write_now(&[lines(2, 7)]).unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    assert_eq!(kept(&store, 1), 8);
    submit(&store, 2);
    // What a batch forgets makes way for its own lines, and what one before it forgot, too.
    store.write_now(&[Write::ForgetWorkflow(1), lines(2, 7)]).unwrap();
    assert_eq!((blocks(&store), kept(&store, 2)), (7, 7));
    store.write_now(&[Write::ForgetWorkflow(2)]).unwrap();
    assert_eq!(blocks(&store), 7);
    store.write_now(&[lines(3, 7)]).unwrap();
    assert_eq!((blocks(&store), kept(&store, 3)), (7, 7));
}

#[test]
fn memory_forgets_without_being_asked_to() {
    let store = Store::in_memory().unwrap();
    submit(&store, 1);
    store.write_now(&[lines(1, 3)]).unwrap();
    store.write_now(&[Write::ForgetWorkflow(1)]).unwrap();
    assert_eq!(blocks(&store), 0);
}
