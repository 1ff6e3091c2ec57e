//! Log lines on disk, and disks that fail. Files are real; time is virtual.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use piculet_core::id::Sequence;
use piculet_core::outbox::Limits;
use piculet_core::report::LogTotal;
use piculet_link::message::HeldDecision;
use piculet_link::supervisor::Closed;
use piculet_link::wire;
use piculet_link::wire::agent::ReceivedBody;
use tempfile::TempDir;
use tokio::time::{Instant, advance, sleep, timeout};

use crate::agent::{Agent, Plan, finished, line, step};
use crate::reports::accepted;
use crate::server::{Call, key, welcome};

const MIB: u64 = 1 << 20;
const LINES: u64 = 4096;

/// 1 MiB of memory for logs, 16 MiB of disk.
fn plan(directory: &TempDir) -> Plan {
    let mut plan = Plan::default();
    plan.supervisor.limits = Limits { spool_bytes: 1 << 20, unacknowledged_log_bytes: 128 << 10, ..Limits::default() };
    plan.disk = Some((directory.path().to_owned(), 16 * MIB));
    plan
}

/// Says lines of 1 KiB.
async fn flood(agent: &Agent, lines: std::ops::Range<u64>) {
    for number in lines {
        agent.lines(&key("w1"), vec![line(number, format!("{number:01024}"))]).await;
    }
    sleep(Duration::from_secs(1)).await;
}

/// The blocks in the one folder of a directory, the oldest first.
fn blocks(directory: &TempDir) -> Vec<PathBuf> {
    let number = |path: &Path| path.to_str()?.rsplit('-').next()?.parse::<u64>().ok();
    let files = fs::read_dir(directory.path().join("piculet-logs-0")).unwrap().map(|entry| entry.unwrap().path());
    let mut blocks: Vec<_> = files.filter(|path| !path.ends_with("lock")).collect();
    blocks.sort_by_key(|path| number(path));
    blocks
}

/// Ends the log and acknowledges everything. Returns what arrived: how many lines of the step, and how many that lines
/// in their place count as `lost`.
async fn drain(agent: &Agent, call: &mut Call, lost: &str) -> (u64, u64) {
    agent.reporter.end_log(&key("w1"), &step(), LogTotal { lines: LINES, bytes: 0 }).await.unwrap();
    agent.report(&key("w1"), finished()).await;
    let (mut kept, mut announced, mut unfinished) = (0, 0, String::new());
    loop {
        let Ok(report) = timeout(Duration::from_secs(5), call.hear_report()).await else {
            // Or the agent would look for a server that is not silent.
            call.say(wire::server::ping());
            continue;
        };
        call.ack(&key("w1"), report.sequence.0);
        let ReceivedBody::Chunk { chunk, .. } = report.body else {
            assert!(matches!(report.body, ReceivedBody::Finished(_)));
            return (kept, announced);
        };
        if !chunk.lines.is_empty() {
            assert_eq!(chunk.first_line, kept + announced);
        }
        for piece in chunk.lines {
            unfinished.push_str(&String::from_utf8_lossy(&piece.bytes));
            if piece.continues {
                continue;
            }
            let text = std::mem::take(&mut unfinished);
            if let Some(words) = text.strip_prefix("[piculet] ") {
                assert!(words.contains(lost), "{words}");
                announced += words.split(' ').next().unwrap().parse::<u64>().unwrap();
            } else {
                assert_eq!(text, format!("{:01024}", kept + announced));
                kept += 1;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_takes_arrives_in_order_and_leaves_no_file() {
    let directory = TempDir::new().unwrap();
    let (agent, _server, mut call) = accepted(plan(&directory)).await;
    let began = Instant::now();
    for number in 0..LINES {
        agent.lines(&key("w1"), vec![line(number, format!("{number:01024}"))]).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "the runner waited for the network");
    sleep(Duration::from_secs(1)).await;
    let usage = *agent.usage.borrow();
    assert!(usage.spooled <= 1 << 20 && usage.on_disk > 3 * MIB && usage.lost_lines == 0, "{usage:?}");
    let sizes: u64 = blocks(&directory).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(sizes, usage.on_disk);

    assert_eq!(drain(&agent, &mut call, "").await, (LINES, 0));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((blocks(&directory).len(), agent.usage.borrow().on_disk), (0, 0));
    agent.closer.close(Instant::now() + Duration::from_secs(5));
    drop(call);
    assert_eq!(agent.ended().await, Ok(Closed::Flushed));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the folder goes with the agent");
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_back_is_said_and_the_log_goes_on() {
    let directory = TempDir::new().unwrap();
    let (agent, _server, mut call) = accepted(plan(&directory)).await;
    flood(&agent, 0..LINES).await;
    let blocks = blocks(&directory);
    let length = blocks[5].metadata().unwrap().len();
    OpenOptions::new().write(true).open(&blocks[5]).unwrap().set_len(10).unwrap();
    fs::write(&blocks[7], vec![0xFF; usize::try_from(length).unwrap()]).unwrap();
    fs::remove_file(&blocks[9]).unwrap();
    let (kept, lost) = drain(&agent, &mut call, "they were on the agent's disk and could not be read back.").await;
    assert_eq!((kept + lost, agent.usage.borrow().lost_lines), (LINES, lost));
    assert!(
        lost >= 3 * (length / 1024 - 1) && lost <= 3 * length / 1024,
        "{lost} lines in three blocks of {length} bytes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_the_server_does_not_want_any_more_leaves_no_file() {
    let directory = TempDir::new().unwrap();
    let (agent, mut server, call) = accepted(plan(&directory)).await;
    flood(&agent, 0..LINES).await;
    assert!(!blocks(&directory).is_empty());
    call.end(tonic::Status::unavailable("a restart"));
    let (call, _) = server.call().await;
    let decision = HeldDecision { key: key("w1"), keep: false, acknowledged: Sequence(1), log_lines: [].into() };
    call.say(wire::server::welcome(welcome([decision])));
    sleep(Duration::from_secs(1)).await;
    let usage = *agent.usage.borrow();
    assert_eq!((blocks(&directory).len(), usage.on_disk, usage.spooled), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_was_away_is_used_again_after_a_minute() {
    let directory = TempDir::new().unwrap();
    let (agent, _server, mut call) = accepted(plan(&directory)).await;
    let folder = directory.path().join("piculet-logs-0");
    fs::rename(&folder, directory.path().join("away")).unwrap();
    flood(&agent, 0..LINES / 2).await;
    let lost = agent.usage.borrow().lost_lines;
    assert!(lost > 0 && agent.usage.borrow().on_disk == 0);
    fs::rename(directory.path().join("away"), &folder).unwrap();
    for _ in 0..6 {
        // Or the agent would look for a server that is not silent.
        call.say(wire::server::ping());
        sleep(Duration::from_secs(10)).await;
    }
    flood(&agent, LINES / 2..LINES).await;
    assert!(agent.usage.borrow().on_disk > MIB, "{:?}", agent.usage.borrow());
    let (kept, announced) = drain(&agent, &mut call, "the disk for logs could not be written.").await;
    assert_eq!(kept + announced, LINES);
    assert_eq!(agent.usage.borrow().lost_lines, announced);
}

/// Another name of a file, in the same file system.
fn way_out(path: &Path) -> PathBuf {
    path.ancestors().nth(2).unwrap().join(path.file_name().unwrap())
}

#[tokio::test(start_paused = true)]
async fn blocks_that_hang_stick_no_log_and_are_lost_alone() {
    let directory = TempDir::new().unwrap();
    let (agent, _server, mut call) = accepted(plan(&directory)).await;
    flood(&agent, 0..LINES).await;
    // Whoever opens a pipe to read waits until somebody opens it to write. One thread less than there are.
    let pipes = [5, 9, 11].map(|number| blocks(&directory)[number].clone());
    for pipe in &pipes {
        fs::remove_file(pipe).unwrap();
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        // The agent may remove what it gives up.
        fs::hard_link(pipe, way_out(pipe)).unwrap();
    }
    let drained = drain(&agent, &mut call, "they were on the agent's disk and could not be read back.");
    tokio::pin!(drained);
    // As long as a thread is busy, virtual time stands still unless it is moved on: slowly, since reading takes real time.
    // Five minutes of it are less than what a disk gets that answers nothing at all.
    let moved_on = async {
        for turn in 0..300_000 * 50 {
            tokio::task::yield_now().await;
            if turn % 50 == 0 {
                advance(Duration::from_millis(1)).await;
            }
        }
    };
    let (kept, lost) = tokio::select! {
        drained = &mut drained => drained,
        () = moved_on => (0, 0),
    };
    // The threads go on: a test that fails must not wait for them.
    let _opened = pipes.map(|pipe| OpenOptions::new().read(true).write(true).open(way_out(&pipe)).unwrap());
    assert!(kept + lost == LINES && lost > 0 && lost < 150, "{kept} lines and {lost} lost");
}
