//! Tables over literal pods, as a cluster shows them.

use k8s_openapi::api::core::v1::Pod;
use piculet_core::observation::{Ended, Observation, Seen, WaitPhase, Waiting};
use piculet_core::outcome::{Deadline, NeverStarted, Outcome};
use serde_json::{Value, json};

use super::observe;

const OURS: &str = "wp-1";

fn pod(metadata: &Value, status: &Value) -> Pod {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "wp-1", "uid": "uid-1"},
        "spec": {
            "nodeName": "node-1",
            "initContainers": [{"name": "init-wp-1"}, {"name": "mesh", "restartPolicy": "Always"}],
            "containers": [
                {"name": "istio-proxy", "resources": {"limits": {"memory": "1Gi"}}},
                {"name": "wp-1", "resources": {"limits": {"memory": "64Mi"}}}
            ]
        },
        "status": status
    });
    for (key, value) in metadata.as_object().expect("a map") {
        pod["metadata"][key] = value.clone();
    }
    serde_json::from_value(pod).expect("a pod")
}

fn look(status: Value) -> Observation {
    observe(&pod(&json!({}), &status), OURS)
}

/// The status of our container behind an injected one that says something else.
fn beside(state: Value) -> Value {
    json!([
        container("istio-proxy", json!({"terminated": {"exitCode": 99, "reason": "Error"}})),
        container(OURS, state)
    ])
}

fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn terminated(code: i32, reason: &str) -> Value {
    json!({"terminated": {
        "exitCode": code, "reason": reason,
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:30Z"
    }})
}

fn outcome(status: Value) -> Outcome {
    match look(status).seen {
        Seen::Ended(ended) => ended.outcome,
        other => panic!("not ended: {other:?}"),
    }
}

fn waiting(status: Value) -> Waiting {
    match look(status).seen {
        Seen::Waiting(waiting) => waiting,
        other => panic!("not waiting: {other:?}"),
    }
}

fn never(reason: NeverStarted, message: &str) -> Outcome {
    Outcome::NeverStarted { reason, message: message.to_owned() }
}

#[test]
fn who_ends_badly_before_the_phase_is_final_may_learn_why() {
    for (code, phase, settled) in [
        (137, "Running", false),
        (143, "Running", false),
        (137, "Failed", true),
        (137, "Succeeded", true),
        (1, "Running", false),
        (1, "Failed", true),
        (0, "Running", true),
    ] {
        let look = look(json!({"phase": phase, "containerStatuses": beside(terminated(code, "Error"))}));
        assert_eq!(look.settled, settled, "{code} in a pod that is {phase}");
    }
    let oom = look(json!({"phase": "Running", "containerStatuses": beside(terminated(137, "OOMKilled"))}));
    assert!(oom.settled);
    let status = json!({"phase": "Running", "containerStatuses": beside(terminated(137, "Error"))});
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:40Z", "deletionGracePeriodSeconds": 30});
    assert!(observe(&pod(&deleted, &status), OURS).settled);
}

#[test]
fn the_end_of_our_container_counts_and_of_no_other() {
    for (state, expected) in [
        (terminated(0, "Completed"), Outcome::Exited { code: 0 }),
        (terminated(7, "Error"), Outcome::Exited { code: 7 }),
        (terminated(137, "Error"), Outcome::Exited { code: 137 }),
        (terminated(137, "OOMKilled"), Outcome::OomKilled { limit: Some(64 << 20), code: Some(137) }),
        (terminated(143, "OOMKilled"), Outcome::OomKilled { limit: Some(64 << 20), code: Some(143) }),
        (terminated(0, "OOMKilled"), Outcome::OomKilled { limit: Some(64 << 20), code: Some(0) }),
        (json!({"terminated": {"exitCode": 139, "signal": 11}}), Outcome::Signaled { signal: 11 }),
        (json!({"terminated": {"exitCode": 1, "signal": 11}}), Outcome::Exited { code: 1 }),
        (json!({"terminated": {"exitCode": 137, "signal": 0}}), Outcome::Exited { code: 137 }),
    ] {
        let status = json!({"phase": "Failed", "containerStatuses": beside(state.clone())});
        assert_eq!(outcome(status), expected, "{state}");
    }
}

#[test]
fn times_are_the_containers_own() {
    let status = json!({"phase": "Succeeded", "containerStatuses": beside(terminated(0, "Completed"))});
    let observation = look(status);
    assert_eq!((observation.uid.as_str(), observation.node.as_deref()), ("uid-1", Some("node-1")));
    assert_eq!(observation.going, None);
    assert_eq!(
        observation.seen,
        Seen::Ended(Ended {
            outcome: Outcome::Exited { code: 0 },
            started: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            finished: Some("2026-01-01T00:00:30Z".parse().unwrap()),
        })
    );
}

#[test]
fn an_exit_code_that_somebody_made_up_is_none() {
    for (reason, code, start) in
        [("ContainerStatusUnknown", 137, "the kubelet lost"), ("Unknown", 255, "the container runtime lost")]
    {
        let state = json!({"terminated": {"exitCode": code, "reason": reason, "message": "The container\n is gone"}});
        let status = json!({"phase": "Failed", "containerStatuses": beside(state)});
        let Outcome::Unknown { message } = outcome(status) else { panic!("{reason} is unknown") };
        assert!(message.starts_with(start) && message.ends_with("The container is gone"), "{message}");
    }
    let epoch = "1970-01-01T00:00:00Z";
    let state = json!({"terminated": {"exitCode": 255, "reason": "Unknown", "startedAt": epoch, "finishedAt": epoch}});
    let Seen::Ended(ended) = look(json!({"phase": "Failed", "containerStatuses": beside(state)})).seen else {
        panic!("it is over");
    };
    assert_eq!((ended.started, ended.finished), (None, None), "the epoch is no time");
    let state = json!({"terminated": {
        "exitCode": 128, "reason": "StartError", "message": "exec: \"x\": not found",
        "startedAt": epoch, "finishedAt": "2026-01-01T00:00:30Z"
    }});
    let Seen::Ended(ended) = look(json!({"phase": "Failed", "containerStatuses": beside(state)})).seen else {
        panic!("it is over");
    };
    assert_eq!(ended.outcome, never(NeverStarted::Config, "exec: \"x\": not found"));
    assert_eq!(ended.started, None, "it never ran");
}

#[test]
fn a_phase_is_never_an_exit_code() {
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    for phase in ["Succeeded", "Failed", "Running", "Unknown"] {
        let observation = look(json!({"phase": phase, "containerStatuses": beside(running.clone())}));
        let started = Some("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(observation.seen, Seen::Running { started }, "{phase}: the end is still to come");
        assert_eq!(observation.going, None);
    }
    let status = json!({"phase": "Succeeded"});
    assert_eq!(look(status).seen, Seen::Running { started: None });
}

#[test]
fn what_ended_once_has_ended() {
    let mut own = container(OURS, json!({"waiting": {"reason": "ContainerCreating"}}));
    own["lastState"] = terminated(3, "Error");
    assert_eq!(outcome(json!({"phase": "Running", "containerStatuses": [own]})), Outcome::Exited { code: 3 });
}

#[test]
fn a_pod_that_failed_without_our_container_says_why() {
    let none = json!([]);
    let other = json!([container("istio-proxy", terminated(0, "Completed"))]);
    let running = beside(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
    let waiting = beside(json!({"waiting": {"reason": "ContainerCreating"}}));
    let evicted = |reason: &str| Outcome::Evicted { reason: reason.to_owned() };
    for (statuses, reason, message, expected) in [
        (&none, "OutOfcpu", "no cpu", never(NeverStarted::Cluster, "no cpu")),
        (&none, "NodeAffinity", "", never(NeverStarted::Cluster, "NodeAffinity")),
        (&none, "UnexpectedAdmissionError", "gpu", never(NeverStarted::Cluster, "gpu")),
        (&none, "SysctlForbidden", "no", never(NeverStarted::Config, "no")),
        (&none, "Evicted", "DiskPressure", never(NeverStarted::Cluster, "DiskPressure")),
        (&none, "Odd", "Pod was rejected: odd", never(NeverStarted::Cluster, "Pod was rejected: odd")),
        (&other, "NodeLost", "", Outcome::NodeLost { node: Some("node-1".to_owned()) }),
        (&none, "Preempting", "critical pod", Outcome::Preempted { reason: "critical pod".to_owned() }),
        (&none, "DeadlineExceeded", "", Outcome::DeadlineExceeded { which: Deadline::Workflow }),
        (&running, "Evicted", "low on memory", evicted("low on memory")),
        (&waiting, "Evicted", "low on memory", evicted("low on memory")),
        (&running, "Terminated", "node shutdown", evicted("node shutdown")),
        (&none, "", "", Outcome::Unknown { message: "its pod failed without giving a reason".to_owned() }),
        (&other, "Odd", "some words", Outcome::Unknown { message: "some words".to_owned() }),
    ] {
        let status = json!({"phase": "Failed", "reason": reason, "message": message, "containerStatuses": statuses});
        assert_eq!(outcome(status), expected, "{reason}");
    }
}

#[test]
fn a_pod_that_was_never_taken_was_not_asked_to_go() {
    let rejected = look(json!({"phase": "Failed", "reason": "Evicted", "message": "DiskPressure"}));
    assert_eq!(rejected.going, None);
    let statuses = beside(terminated(137, "Error"));
    let evicted = look(json!({"phase": "Failed", "reason": "Evicted", "message": "m", "containerStatuses": statuses}));
    assert_eq!(evicted.going, Some(Outcome::Evicted { reason: "m".to_owned() }));
    let Seen::Ended(ended) = evicted.seen else { panic!("it is over") };
    assert_eq!(ended.outcome, Outcome::Exited { code: 137 }, "what was seen stays what was seen");
}

#[test]
fn who_asked_a_pod_to_go_is_told() {
    let node_lost = || Outcome::NodeLost { node: Some("node-1".to_owned()) };
    let running = beside(json!({"running": {}}));
    let over = beside(terminated(143, "Error"));
    let evicted = |reason: &str| Outcome::Evicted { reason: reason.to_owned() };
    let preempted = Outcome::Preempted { reason: "made room".to_owned() };
    for (reason, message, statuses, expected) in [
        ("PreemptionByScheduler", "made room", &running, preempted),
        ("EvictionByEvictionAPI", "Eviction API: evicting", &over, evicted("Eviction API: evicting")),
        ("DeletionByTaintManager", "taint", &running, node_lost()),
        ("DeletionByTaintManager", "taint", &over, evicted("taint")),
        ("DeletionByPodGC", "PodGC: node no longer exists", &running, node_lost()),
        ("TerminationByKubelet", "", &over, evicted("TerminationByKubelet")),
    ] {
        let status = json!({"phase": "Running", "containerStatuses": statuses, "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
        ]});
        let metadata = json!({"deletionTimestamp": "2026-01-01T00:00:40Z", "deletionGracePeriodSeconds": 20});
        let observation = observe(&pod(&metadata, &status), OURS);
        assert_eq!(observation.going, Some(expected), "{reason}");
        // Announced, and then not done: the controller takes such a condition back after a while.
        assert_eq!(look(status).going, None, "{reason}");
    }
}

#[test]
fn a_deletion_counts_unless_it_clearly_came_after_the_end() {
    let status = json!({"phase": "Succeeded", "containerStatuses": beside(terminated(0, "Completed"))});
    let going = |deadline: &str, grace: i64| {
        let metadata = json!({"deletionTimestamp": deadline, "deletionGracePeriodSeconds": grace});
        observe(&pod(&metadata, &status), OURS).going
    };
    // Finished at :30.
    assert_eq!(going("2026-01-01T00:00:53Z", 20), None, "asked at :33");
    let deleted = Some(Outcome::PodDeleted { by: None });
    assert_eq!(going("2026-01-01T00:00:52Z", 20), deleted, "asked at :32, by a clock that may differ");
    assert_eq!(going("2026-01-01T00:00:50Z", 20), deleted, "asked in the same second");
    assert_eq!(going("2026-01-01T00:00:40Z", 20), Some(Outcome::PodDeleted { by: None }), "asked at :20");
    assert!(!look(status).asked);
    let running = json!({"phase": "Running", "containerStatuses": beside(json!({"running": {}}))});
    let metadata = json!({"deletionTimestamp": "2099-01-01T00:00:00Z"});
    let observation = observe(&pod(&metadata, &running), OURS);
    assert_eq!(observation.going, Some(Outcome::PodDeleted { by: None }), "it still runs");
    assert_eq!((observation.seen, observation.asked), (Seen::Running { started: None }, true));
}

#[test]
fn a_disruption_after_the_end_changes_nothing() {
    let status = json!({"phase": "Failed", "reason": "Evicted", "containerStatuses": beside(terminated(0, "Completed")),
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet",
            "lastTransitionTime": "2026-01-01T00:01:00Z"}]});
    let observation = look(status);
    assert_eq!(observation.going, None, "the container was over half a minute before");
    assert!(matches!(observation.seen, Seen::Ended(Ended { outcome: Outcome::Exited { code: 0 }, .. })));
}

#[test]
fn an_init_container_that_failed_means_that_ours_never_starts() {
    let status = json!({"phase": "Failed",
        "initContainerStatuses": [container("init-wp-1", json!({"terminated": {
            "exitCode": 1, "reason": "Error", "message": "mkdir: denied"}}))],
        "containerStatuses": [container(OURS, json!({"waiting": {"reason": "PodInitializing"}}))]});
    assert_eq!(
        outcome(status),
        never(NeverStarted::Cluster, "the init container 'init-wp-1' ended with exit code 1: Error, mkdir: denied")
    );
    let fine = json!({"phase": "Running",
        "initContainerStatuses": [container("init-wp-1", terminated(0, "Completed")), container("mesh", terminated(1, "Error"))],
        "containerStatuses": [container(OURS, json!({"running": {}}))]});
    assert_eq!(look(fine).seen, Seen::Running { started: None }, "a sidecar may end as it likes");
}

#[test]
fn a_waiting_container_says_what_for() {
    use NeverStarted::{Cluster, Config, ImagePull};
    use WaitPhase::{Create, PullAgain};
    for (reason, message, phase, class, hopeless, words) in [
        ("ContainerCreating", "", Create, Cluster, false, ""),
        ("PodInitializing", "", Create, Cluster, false, ""),
        ("ErrImagePull", "not\nfound", PullAgain, ImagePull, false, "ErrImagePull: not found"),
        ("ImagePullBackOff", "Back-off", PullAgain, ImagePull, false, "ImagePullBackOff: Back-off"),
        ("InvalidImageName", "bad", PullAgain, ImagePull, true, "InvalidImageName: bad"),
        ("ErrImageNeverPull", "", PullAgain, ImagePull, true, "ErrImageNeverPull"),
        (
            "CreateContainerConfigError",
            "secret \"x\" not found",
            Create,
            Config,
            false,
            "CreateContainerConfigError: secret \"x\" not found",
        ),
        ("CreateContainerError", "timeout", Create, Cluster, false, "CreateContainerError: timeout"),
        ("RunContainerError", "", Create, Config, false, "RunContainerError"),
        ("SomethingNew", "words", Create, Cluster, false, "SomethingNew: words"),
    ] {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        let status = json!({"phase": "Pending", "containerStatuses": beside(state)});
        let expected = Waiting { phase, reason: class, hopeless, message: words.to_owned() };
        assert_eq!(waiting(status), expected, "{reason}");
    }
}

#[test]
fn after_the_sandbox_creating_means_pulling() {
    let status = |ready: &str| {
        json!({"phase": "Pending", "containerStatuses": beside(json!({"waiting": {"reason": "ContainerCreating"}})),
            "conditions": [{"type": "PodReadyToStartContainers", "status": ready}]})
    };
    assert_eq!(waiting(status("True")).phase, WaitPhase::Pull);
    assert_eq!(waiting(status("False")).phase, WaitPhase::Create);
}

#[test]
fn the_trouble_of_an_init_container_is_ours() {
    let status = json!({"phase": "Pending",
        "initContainerStatuses": [
            container("other", json!({"waiting": {"reason": "PodInitializing"}})),
            container("init-wp-1", json!({"waiting": {"reason": "InvalidImageName", "message": "busy box"}}))
        ],
        "containerStatuses": [container(OURS, json!({"waiting": {"reason": "PodInitializing"}}))]});
    let expected = Waiting {
        phase: WaitPhase::PullAgain,
        reason: NeverStarted::ImagePull,
        hopeless: true,
        message: "InvalidImageName: busy box".to_owned(),
    };
    assert_eq!(waiting(status), expected);
}

#[test]
fn the_schedulers_words_are_passed_on() {
    let pending = |message: &str| {
        let mut pod = pod(
            &json!({}),
            &json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            ]}),
        );
        pod.spec.as_mut().unwrap().node_name = None;
        match observe(&pod, OURS).seen {
            Seen::Waiting(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    };
    let nodes = pending("0/3 nodes are available: 3 Insufficient cpu.");
    assert_eq!((nodes.phase, nodes.reason), (WaitPhase::Schedule, NeverStarted::Unschedulable));
    assert_eq!(nodes.message, "0/3 nodes are available: 3 Insufficient cpu.");
    assert_eq!(pending("pod has unbound immediate PersistentVolumeClaims").reason, NeverStarted::Volume);
    assert_eq!(pending("persistentvolumeclaim \"cache\" not found").reason, NeverStarted::Volume);
    assert_eq!(pending("").message, "");

    let taken = waiting(json!({"phase": "Pending"}));
    assert_eq!(taken.phase, WaitPhase::Create, "it has a node");
}

#[test]
fn a_pod_without_anything_is_waiting_for_a_node() {
    let observation = observe(&Pod::default(), OURS);
    let expected = Waiting {
        phase: WaitPhase::Schedule,
        reason: NeverStarted::Unschedulable,
        hopeless: false,
        message: String::new(),
    };
    assert_eq!(observation.seen, Seen::Waiting(expected));
    assert_eq!((observation.uid.as_str(), observation.node, observation.going), ("", None, None));
}

#[test]
fn the_clusters_words_have_an_end() {
    let message = "é ".repeat(5000);
    let state = json!({"waiting": {"reason": "ErrImagePull", "message": message}});
    let said = waiting(json!({"phase": "Pending", "containerStatuses": beside(state)})).message;
    assert!(said.chars().count() < 1100 && said.ends_with('…'), "{}", said.len());
}
