//! Logs: every byte once, to the end, whatever becomes of connections and pods.

mod connections;
mod fate;
mod requests;
mod text;

use std::time::Duration;

use fake_cluster::Script;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use piculet_cluster::{Applied, Gap, Opening, Tail, TailEnd, TailTarget, Tailed};
use tokio::time::timeout;

use crate::setup::{NAMESPACE, STEP, Setup};

/// What was read of a log.
#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    gaps: Vec<(usize, Gap)>,
    end: Option<TailEnd>,
}

impl Log {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// The text of a log that was read to its end without a gap.
    fn complete(&self) -> &str {
        assert_eq!((&self.end, self.gaps.len()), (&Some(TailEnd::Complete), 0), "{:?}", self.gaps);
        self.text()
    }

    /// Takes what comes next; `None` after the end.
    async fn read(&mut self, tail: &mut Tail) -> Option<()> {
        match tail.next().await? {
            Tailed::Pieces(pieces) => {
                for piece in pieces {
                    let feeds = piece.bytes.iter().filter(|byte| **byte == b'\n').count();
                    assert_eq!(feeds, usize::from(piece.bytes.ends_with(b"\n")), "a piece is of one line");
                    self.bytes.extend_from_slice(&piece.bytes);
                }
            }
            Tailed::Gap(gap) => self.gaps.push((self.bytes.len(), gap)),
            Tailed::End(end) => self.end = Some(end),
        }
        Some(())
    }
}

fn target(made: &Applied, name: &str) -> TailTarget {
    TailTarget { pod: name.to_owned(), uid: made.pod_uid(), container: STEP.to_owned(), first_line: None }
}

fn tail(setup: &Setup, made: &Applied, name: &str) -> Tail {
    setup.cluster.tail(target(made, name), &setup.cluster.watch(), Opening::default())
}

/// Reads to the end.
async fn all(mut tail: Tail) -> Log {
    let mut log = Log::default();
    while log.read(&mut tail).await.is_some() {}
    assert!(log.end.is_some());
    log
}

fn pods(setup: &Setup) -> Api<Pod> {
    Api::namespaced(setup.fake.client(), NAMESPACE)
}

/// Makes a pod that plays a script, and reads its log.
async fn log_of(setup: &Setup, script: Script) -> Log {
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", script).await;
    timeout(Duration::from_secs(24 * 3600), all(tail(setup, &made, "wp-1"))).await.expect("it ends")
}

/// Whether a log is what was written. Container runtimes differ in whether they end an unfinished last line.
fn is_log_of(log: &[u8], written: &[u8]) -> bool {
    log == written || (!written.ends_with(b"\n") && log.strip_suffix(b"\n") == Some(written))
}

/// What a script's lines are as a log.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|number| line(number) + "\n").collect()
}
