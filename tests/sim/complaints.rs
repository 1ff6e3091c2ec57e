//! Which faults make programs complain, and of what.

use std::collections::BTreeSet;

use crate::plan::Plan;

const LINK: &[&str] = &["ServerUnreachable", "ServerDeaf", "ServerMute", "ServerSlow", "ServerKilled"];
const CLUSTER: &[&str] = &[
    "ClusterUnreachable",
    "StreamsCut",
    "HistoryExpired",
    "RequestsFail",
    "TooManyRequests",
    "RequestsBreak",
    "AnswersLost",
];

/// Words of a warning, and the faults of which at least one has to be in the plan.
const KNOWN: &[(&str, &[&str])] = &[
    ("Running workflows go on; their reports wait. code=\"link-", LINK),
    ("the server forgot that this workflow runs", LINK),
    ("the watch of the pods broke", CLUSTER),
    ("a workflow's own objects could not be made", CLUSTER),
    ("while a workflow's objects were removed", CLUSTER),
    ("an object is left", CLUSTER),
    ("a pod could not be stopped", CLUSTER),
    ("nobody says whether a pod is gone", CLUSTER),
    ("it is not known what became of the pod whose log is read", CLUSTER),
    ("nobody says what this agent may do", CLUSTER),
];

/// The lines of a diary that nothing in the plan explains.
pub(crate) fn unexplained(diary: &[String], plan: &Plan) -> Vec<String> {
    let faults: BTreeSet<_> = plan.faults.iter().map(|(_, fault)| fault.kind()).collect();
    let is_explained = |line: &str| {
        let mut known = KNOWN.iter().filter(|(words, _)| line.contains(words));
        known.any(|(_, kinds)| kinds.iter().any(|kind| faults.contains(*kind)))
    };
    let is_unexplained = |line: &&String| match line.split_whitespace().nth(1) {
        Some("ERROR") => true,
        Some("WARN") => !is_explained(line),
        _ => false,
    };
    diary.iter().filter(is_unexplained).cloned().collect()
}
