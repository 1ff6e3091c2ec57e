//! Objects are made once, whatever becomes of requests and answers.

use std::time::Duration;

use fake_cluster::{ADMIN, Failure, Fault, Kind, Rule, Script, Settings, Verb};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use piculet_cluster::{ApplyError, CallError};
use piculet_core::id::Epoch;
use piculet_core::outcome::NeverStarted;
use piculet_pods::anchor::HOLDER_KEY;
use piculet_pods::label::EPOCH;
use serde_json::json;
use tokio::time::Instant;

use crate::setup::{NAMESPACE, Setup, anchor_object, anchor_of, others, pod};

#[tokio::test(start_paused = true)]
async fn making_an_object_again_changes_nothing() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    for object in others(&anchor).into_iter().chain([pod(&anchor, "wp-1").into()]) {
        let first = setup.cluster.ensure(&object).await.unwrap();
        let second = setup.cluster.ensure(&object).await.unwrap();
        assert_eq!((first.adopted, second.adopted), (false, true), "{object:?}");
        assert_eq!(first.uid, second.uid);
    }
    let again = setup.anchor("1").await;
    assert_eq!((anchor.adopted, again.adopted, anchor.uid), (false, true, again.uid));
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_creation_was_not_answered_is_found() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::lose_response().on(Verb::Create).of("configmaps"));
    let anchor = setup.anchor("1").await;
    assert!(anchor.adopted);
    setup.fake.faults().inject(Fault::lose_response().on(Verb::Create).of("pods"));
    let made = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
    assert!(made.adopted);
    assert_eq!(setup.count(Kind::Pod), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_answer_is_not_believed() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.fake.faults().inject(Fault::lose_response().on(Verb::Create).of("pods"));
    // The pod that was created fills the quota.
    let quota = Failure::new(403, "Forbidden", "exceeded quota: compute, requested: pods=1, used: pods=1");
    setup.fake.faults().inject(Fault::fail_with(quota.clone()).on(Verb::Create).of("pods").always());
    let made = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
    assert!(made.adopted);
    assert_eq!(setup.count(Kind::Pod), 1);

    // If there is none, the refusal holds.
    setup.fake.faults().clear();
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Create).of("pods"));
    setup.fake.faults().inject(Fault::fail_with(quota.clone()).on(Verb::Create).of("pods"));
    let error = setup.cluster.ensure(&pod(&anchor, "wp-2").into()).await.unwrap_err();
    assert_eq!(error.reason(), NeverStarted::Quota);

    // If nobody can say, it is not known.
    setup.fake.faults().inject(Fault::lose_response().on(Verb::Create).of("pods"));
    setup.fake.faults().inject(Fault::fail_with(quota).on(Verb::Create).of("pods"));
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Get).of("pods").always());
    let error = setup.cluster.ensure(&pod(&anchor, "wp-3").into()).await.unwrap_err();
    assert_eq!(error.code(), "cluster-unreachable");
    assert!(error.to_string().contains("find out whether there is a Pod 'wp-3' in namespace 'ci'"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_no_try_was_answered_for_is_found_when_patience_ends() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.fake.faults().inject(Fault::lose_response().on(Verb::Create).of("pods"));
    setup.fake.faults().inject(Fault::fail(503).on(Verb::Create).of("pods").always());
    let made = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
    assert!(made.adopted);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_not_adopted_after_a_lost_answer_either() {
    let setup = Setup::new();
    let [ours, theirs] = [setup.anchor("1").await, setup.anchor("2").await];
    setup.cluster.ensure(&pod(&theirs, "wp-1").into()).await.unwrap();
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Create).of("pods"));
    setup.fake.faults().inject(Fault::fail(403).on(Verb::Create).of("pods"));
    let error = setup.cluster.ensure(&pod(&ours, "wp-1").into()).await.unwrap_err();
    assert_eq!(error.code(), "object-refused");

    let going = setup.run(&ours, "wp-2", Script::new().forever().ignores_sigterm()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    setup.cluster.stop("wp-2", &going.pod_uid(), None, None).await.unwrap();
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Create).of("pods"));
    setup.fake.faults().inject(Fault::fail(403).on(Verb::Create).of("pods"));
    let error = setup.cluster.ensure(&pod(&ours, "wp-2").into()).await.unwrap_err();
    assert_eq!(error.code(), "object-refused");
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again() {
    for fault in [
        Fault::drop_connection().times(3),
        Fault::fail(500).times(3),
        Fault::fail(503).times(3),
        Fault::fail(504).times(3),
        Fault::fail(401).times(3),
        // Two requests used the same quota.
        Fault::fail(409).times(3),
    ] {
        let setup = Setup::new();
        let anchor = setup.anchor("1").await;
        setup.fake.faults().inject(fault.clone().on(Verb::Create).of("pods"));
        let started = Instant::now();
        setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
        assert_eq!(setup.fake.faults().pending(), 0);
        assert!(started.elapsed() < Duration::from_secs(2), "{fault:?}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_says_when() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::too_many_requests(7).on(Verb::Create).of("configmaps"));
    let started = Instant::now();
    setup.anchor("1").await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(7) && waited < Duration::from_secs(8), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_made_again() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::delay(Duration::from_secs(3600)).on(Verb::Create).of("configmaps"));
    let started = Instant::now();
    setup.anchor("1").await;
    assert!(started.elapsed() < Duration::from_secs(32));
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.fake.faults().inject(Fault::fail(503).always().on(Verb::Create));
    let started = Instant::now();
    let error = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap_err();
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(110) && waited <= Duration::from_secs(120), "{waited:?}");
    assert_eq!((error.code(), error.reason()), ("cluster-unreachable", NeverStarted::Cluster));
    let seconds = waited.as_secs();
    assert_eq!(
        error.to_string(),
        format!(
            "It was not possible to create Pod 'wp-1' in namespace 'ci' within {seconds} s: \
             the server is currently unable to handle the request"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_a_class_and_the_clusters_words() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let words = "pods \"wp-1\" is forbidden: exceeded quota: compute, requested: cpu=2, used: cpu=9, limited: cpu=10";
    setup.fake.faults().inject(Fault::fail_with(Failure::new(403, "Forbidden", words)).on(Verb::Create));
    let error = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap_err();
    assert_eq!((error.reason(), error.message().as_str()), (NeverStarted::Quota, words));

    let mut invalid = pod(&anchor, "wp-1");
    invalid.spec.as_mut().unwrap().containers[0].name = "Not A Name".to_owned();
    let error = setup.cluster.ensure(&invalid.into()).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), ("object-refused", NeverStarted::Config));
    assert!(error.message().contains("spec.containers[0].name"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_object_of_somebody_else_is_left_alone() {
    let setup = Setup::new();
    let [ours, theirs] = [setup.anchor("1").await, setup.anchor("2").await];
    setup.cluster.ensure(&pod(&theirs, "wp-1").into()).await.unwrap();
    let error = setup.cluster.ensure(&pod(&ours, "wp-1").into()).await.unwrap_err();
    assert_eq!(error.code(), "object-occupied");
    assert_eq!(
        error.to_string(),
        "There is a Pod 'wp-1' in namespace 'ci' already, and it belongs to workflow '2' of server 'server' under \
         epoch 1. Delete it if nobody needs it."
    );

    let mut unstamped = pod(&theirs, "wp-2");
    unstamped.metadata.annotations = None;
    setup.cluster.ensure(&unstamped.into()).await.unwrap();
    let error = setup.cluster.ensure(&pod(&ours, "wp-2").into()).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Occupied { owner, .. } if owner == "ConfigMap 'anchor-2'"), "{error}");

    let error = setup.cluster.ensure_anchor(&anchor_object("1", "another server")).await.unwrap_err();
    assert!(
        matches!(&error, ApplyError::Occupied { owner, .. } if owner == "workflow '1' of server 'server' under epoch 1"),
        "{error}"
    );

    let foreign = ConfigMap { metadata: anchor_object("3", "server").metadata, ..ConfigMap::default() };
    let mut foreign = foreign;
    foreign.metadata.annotations = None;
    let api = Api::<ConfigMap>::namespaced(setup.fake.client(), NAMESPACE);
    api.create(&PostParams::default(), &foreign).await.unwrap();
    let error = setup.cluster.ensure_anchor(&anchor_object("3", "server")).await.unwrap_err();
    assert!(matches!(error, ApplyError::Occupied { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_anchor_of_another_run_is_left_alone() {
    let setup = Setup::new();
    let mut theirs = anchor_of("1", "server", Epoch(2));
    theirs.data = Some([(HOLDER_KEY.to_owned(), "agent-7f9c".to_owned())].into());
    let theirs = setup.cluster.ensure_anchor(&theirs).await.unwrap();
    for epoch in [Epoch(1), Epoch(3)] {
        let error = setup.cluster.ensure_anchor(&anchor_of("1", "server", epoch)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "There is a ConfigMap 'anchor-1' in namespace 'ci' already, and it belongs to workflow '1' of server \
             'server' under epoch 2, held by 'agent-7f9c'. Delete it if nobody needs it."
        );
    }
    let again = setup.anchor_of("1", Epoch(2)).await;
    assert_eq!((again.adopted, again.uid), (true, theirs.uid));
}

#[tokio::test(start_paused = true)]
async fn the_anchor_of_another_run_that_is_going_is_waited_for() {
    let setup = Setup::new();
    let mut held = anchor_of("1", "server", Epoch(1));
    held.metadata.finalizers = Some(vec!["example.org/hold".to_owned()]);
    let held = setup.cluster.ensure_anchor(&held).await.unwrap();
    let api = Api::<ConfigMap>::namespaced(setup.fake.client(), NAMESPACE);
    api.delete(&held.name, &DeleteParams::default()).await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let free = json!({ "metadata": { "finalizers": null } });
        api.patch(&held.name, &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    };
    let (made, ()) = tokio::join!(setup.anchor_of("1", Epoch(2)), release);
    assert_eq!((made.adopted, made.uid == held.uid), (false, false));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_anchor_of_the_same_name_owned_is_not_ours() {
    let setup = Setup::with(Settings { garbage_collection: Duration::from_secs(3600), ..Settings::default() });
    let old = setup.anchor("1").await;
    setup.cluster.ensure(&pod(&old, "wp-1").into()).await.unwrap();
    let api = Api::<ConfigMap>::namespaced(setup.fake.client(), NAMESPACE);
    api.delete(&old.name, &DeleteParams::background()).await.unwrap();
    let new = setup.anchor("1").await;
    assert_eq!((&old.name, old.uid == new.uid), (&new.name, false));
    let error = setup.cluster.ensure(&pod(&new, "wp-1").into()).await.unwrap_err();
    assert_eq!(error.code(), "object-occupied");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_becomes_free_is_waited_for() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let old = setup.run(&anchor, "wp-1", Script::new().forever().ignores_sigterm()).await;
    let api = Api::<Pod>::namespaced(setup.fake.client(), NAMESPACE);
    tokio::time::sleep(Duration::from_secs(5)).await;
    api.delete("wp-1", &DeleteParams::default().grace_period(20)).await.unwrap();

    let started = Instant::now();
    let new = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
    assert!(!new.adopted);
    assert_ne!(new.uid, old.uid);
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(19) && waited < Duration::from_secs(30), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_stays_taken_is_an_error() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let mut held = anchor_object("2", "server");
    held.metadata.finalizers = Some(vec!["example.org/hold".to_owned()]);
    let held = setup.cluster.ensure_anchor(&held).await.unwrap();
    let api = Api::<ConfigMap>::namespaced(setup.fake.client(), NAMESPACE);
    api.delete(&held.name, &DeleteParams::default()).await.unwrap();

    let error = setup.cluster.ensure_anchor(&anchor_object("2", "server")).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), ("object-terminating", NeverStarted::Cluster));
    assert_ne!(anchor.uid, held.uid);
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_told_in_the_clusters_words() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.fake.access().restrict(fake_cluster::ADMIN, vec![fake_cluster::Rule::new(&["configmaps"], &["*"])]);
    let error = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap_err();
    assert_eq!(error.reason(), NeverStarted::Cluster);
    let ApplyError::Refused { error: error @ CallError::Refused { .. }, .. } = &error else { panic!("{error:?}") };
    assert!(error.is_forbidden());
    assert!(error.to_string().starts_with("The cluster refused to create Pod 'wp-1' in namespace 'ci': "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn without_an_owner_an_object_is_ours_if_it_was_made_for_the_same() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let orphan = |epoch: &str, kind| {
        let mut object = others(&anchor).into_iter().find(|object| object.kind() == kind).unwrap();
        object.metadata_mut().owner_references = None;
        object.metadata_mut().annotations.as_mut().unwrap().insert(EPOCH.to_owned(), epoch.to_owned());
        object
    };
    for kind in ["Secret", "Service", "PersistentVolumeClaim"] {
        let made = setup.cluster.ensure(&orphan("1", kind)).await.unwrap();
        assert!(!made.adopted);
        assert!(setup.cluster.ensure(&orphan("1", kind)).await.unwrap().adopted);
        let refused = setup.cluster.ensure(&orphan("2", kind)).await;
        assert!(matches!(refused, Err(ApplyError::Occupied { .. })), "another run's: {refused:?}");
    }
    // Who may not look takes it for ours: its name is made of what is unique.
    let rule = Rule::new(&["secrets"], &["create"]).in_namespace(NAMESPACE);
    setup.fake.access().restrict(ADMIN, vec![rule]);
    assert!(setup.cluster.ensure(&orphan("1", "Secret")).await.unwrap().adopted);
}
