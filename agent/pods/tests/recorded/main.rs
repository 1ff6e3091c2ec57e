//! What a real cluster once showed of pods, replayed: each sequence has to end as the table says, whatever was cut off it.
//!
//! `tests/fixtures/recorded` holds what the scenarios of `tests/e2e` brought, a file for each; `PICULET_RECORD` writes it anew.

#![expect(clippy::unwrap_used, reason = "a test may panic where it is set up, too")]

mod replay;

use std::fs;
use std::path::PathBuf;

use piculet_core::outcome::StepState::{self, Failure, Success};
use replay::{pods, replay};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/recorded")
}

/// The scenario, and for each of its pods, in the order of their creation: the state of its step, its class, and its exit code.
type Row = (&'static str, &'static [(StepState, &'static str, Option<i32>)]);

const TABLE: &[Row] = &[
    ("configmap", &[NEVER_STARTED]),
    ("configmap-volume", &[NEVER_STARTED]),
    ("deleted", &[(Failure, "pod_deleted", None); 3]),
    ("disk", &[(Failure, "evicted", None)]),
    ("evicted", &[(Failure, "evicted", None); 2]),
    (
        "exit-codes",
        &[
            (Success, "exited", Some(0)),
            (Failure, "exited", Some(1)),
            (Failure, "exited", Some(7)),
            (Failure, "exited", Some(255)),
        ],
    ),
    ("images", &[NEVER_STARTED; 3]),
    ("missing", &[NEVER_STARTED; 3]),
    ("never-pulled", &[NEVER_STARTED]),
    ("node-lost", &[(Failure, "node_lost", None)]),
    (
        "out-of-memory",
        &[(Failure, "oom_killed", Some(137)), (Failure, "oom_killed", Some(1)), (Failure, "oom_killed", Some(0))],
    ),
    ("preempted", &[(Failure, "preempted", None); 2]),
    ("sidecar", &[(Success, "exited", Some(0)), (Failure, "exited", Some(7))]),
    ("signals", &[(Failure, "exited", Some(139)), (Failure, "exited", Some(137)), (Failure, "exited", Some(134))]),
    ("unbound", &[NEVER_STARTED]),
    ("unschedulable", &[NEVER_STARTED; 2]),
    ("userns", &[NEVER_STARTED]),
];

const NEVER_STARTED: (StepState, &str, Option<i32>) = (Failure, "never_started", None);

#[test]
fn each_pod_ends_as_it_did() {
    for (scenario, expected) in TABLE {
        let recorded = pods(&fs::read_to_string(folder().join(format!("{scenario}.jsonl"))).unwrap());
        let ends: Vec<_> = recorded.iter().map(|pod| replay(pod, pod.seen.len())).collect();
        let ends: Vec<_> = ends.iter().map(|end| (end.state, end.class, end.exit_code)).collect();
        assert_eq!(ends, *expected, "{scenario}");
    }
}

#[test]
fn no_part_of_a_sequence_makes_a_success_of_what_was_none() {
    for (scenario, expected) in TABLE {
        let recorded = pods(&fs::read_to_string(folder().join(format!("{scenario}.jsonl"))).unwrap());
        for (pod, (state, ..)) in recorded.iter().zip(*expected) {
            for length in 0..pod.seen.len() {
                let end = replay(pod, length);
                assert!(
                    end.state != Success || *state == Success,
                    "{scenario}: {} after {length} of {} looks: {end:?}",
                    pod.name,
                    pod.seen.len()
                );
            }
        }
    }
}

#[test]
fn every_recording_is_in_the_table() {
    let mut files: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut known: Vec<_> = TABLE.iter().map(|(scenario, _)| folder().join(format!("{scenario}.jsonl"))).collect();
    known.sort();
    assert_eq!(files, known);
}
