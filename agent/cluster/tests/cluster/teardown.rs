//! Everything goes, whatever fails, and nothing that isn't ours.

use std::time::Duration;

use fake_cluster::{ADMIN, Fault, Kind, Rule, Script, Verb};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use piculet_cluster::{Anchor, ObjectName, Stopped, Teardown};
use piculet_core::id::{Epoch, PodUid};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::setup::{NAMESPACE, Setup, anchor_object, others, pod};

const GRACE: Duration = Duration::from_secs(10);
const EPOCH: Epoch = Epoch(1);

/// A workflow with two pods and one of each other kind.
async fn workflow(setup: &Setup, key: &str) -> Anchor {
    run_of(setup, key, EPOCH).await
}

/// The same of another run of it.
async fn run_of(setup: &Setup, key: &str, epoch: Epoch) -> Anchor {
    let anchor = setup.anchor_of(key, epoch).await;
    for object in others(&anchor) {
        setup.cluster.ensure(&object).await.unwrap();
    }
    setup.run(&anchor, &format!("wp-{key}-0"), Script::new()).await;
    setup.run(&anchor, &format!("wp-{key}-1"), Script::new().forever()).await;
    sleep(Duration::from_secs(5)).await;
    anchor
}

const KINDS: [(Kind, usize); 5] =
    [(Kind::Pod, 2), (Kind::ConfigMap, 1), (Kind::Secret, 1), (Kind::Service, 1), (Kind::PersistentVolumeClaim, 1)];

/// How many objects of each kind there are, in workflows' worth.
fn workflows(setup: &Setup) -> [usize; 5] {
    KINDS.map(|(kind, of_one)| setup.count(kind) / of_one)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_and_nothing_else_touched() {
    let setup = Setup::new();
    let ours = workflow(&setup, "1").await;
    workflow(&setup, "2").await;
    let report = setup.cluster.teardown("1", EPOCH, Some(&ours), &[], GRACE).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.errors, []);
    assert_eq!(workflows(&setup), [1; 5]);

    let again = setup.cluster.teardown("1", EPOCH, Some(&ours), &[], GRACE).await;
    assert_eq!(again, Teardown::default());
}

#[tokio::test(start_paused = true)]
async fn pods_get_their_grace_and_are_waited_for() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.run(&anchor, "wp-1", Script::new().forever().ignores_sigterm()).await;
    sleep(Duration::from_secs(5)).await;
    let started = Instant::now();
    let report = setup.cluster.teardown("1", EPOCH, Some(&anchor), &[], GRACE).await;
    assert!(report.is_complete());
    assert_eq!(setup.count(Kind::Pod), 0);
    let waited = started.elapsed();
    assert!(waited >= GRACE && waited < GRACE + Duration::from_secs(5), "{waited:?}");
    assert_eq!((report.deleted, setup.fake.counters().requests(Verb::Delete, "pods")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_stops_nothing() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    for fault in [
        Fault::fail(500).on(Verb::Delete).of("pods").times(3),
        Fault::drop_connection().on(Verb::Delete).of("services").always(),
        Fault::fail(403).on(Verb::Delete).of("secrets").always(),
        Fault::drop_connection().on(Verb::List).of("persistentvolumeclaims").times(3),
        Fault::lose_response().on(Verb::Delete).of("configmaps"),
    ] {
        setup.fake.faults().inject(fault);
    }
    let started = Instant::now();
    let report = setup.cluster.teardown("1", EPOCH, Some(&anchor), &[], GRACE).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    // The anchor owned them: the garbage collector took what could not be deleted.
    assert_eq!(workflows(&setup), [0; 5]);
    assert!(report.left.is_empty(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_is_named() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    let held = json!({ "metadata": { "finalizers": ["example.org/hold"] } });
    let api = Api::<Secret>::namespaced(setup.fake.client(), NAMESPACE);
    api.patch("secret-1", &PatchParams::default(), &Patch::Merge(held)).await.unwrap();
    let started = Instant::now();
    let report = setup.cluster.teardown("1", EPOCH, Some(&anchor), &[], GRACE).await;
    assert!(started.elapsed() <= GRACE + setup.cluster.limits().teardown);
    assert!(!report.is_complete());
    let left: Vec<_> = report.left.iter().map(ToString::to_string).collect();
    assert_eq!(left, ["Secret 'secret-1' (being deleted, held by example.org/hold)"]);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_listed_is_left_to_the_garbage_collector() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    setup
        .fake
        .access()
        .restrict(ADMIN, vec![Rule::new(&["pods", "configmaps", "services", "persistentvolumeclaims"], &["*"])]);
    let started = Instant::now();
    let report = setup.cluster.teardown("1", EPOCH, Some(&anchor), &[], GRACE).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(report.is_complete(), "{report:?}");
    assert!(matches!(report.errors.as_slice(), [error] if error.to_string().contains("list secrets")), "{report:?}");
    assert_eq!(workflows(&setup), [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_later_run_of_the_same_workflow_is_not_ours() {
    let setup = Setup::new();
    let old = setup.anchor("1").await;
    setup.cluster.teardown("1", EPOCH, Some(&old), &[], GRACE).await;
    let new = workflow(&setup, "1").await;
    assert_ne!(old.uid, new.uid);
    let report = setup.cluster.teardown("1", EPOCH, Some(&old), &[], GRACE).await;
    assert_eq!(report, Teardown::default());
    assert_eq!(workflows(&setup), [1; 5]);
}

#[tokio::test(start_paused = true)]
async fn an_anchor_that_nobody_knows_of_goes_too() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::lose_response().on(Verb::Create));
    setup.fake.faults().inject(Fault::drop_connection().always());
    let unanswered = setup.cluster.ensure_anchor(&anchor_object("1", "server")).await;
    assert_eq!(unanswered.unwrap_err().code(), "cluster-unreachable");
    setup.fake.faults().clear();
    assert_eq!(setup.count(Kind::ConfigMap), 1);
    let report = setup.cluster.teardown("1", EPOCH, None, &[], GRACE).await;
    assert_eq!((report.is_complete(), setup.count(Kind::ConfigMap)), (true, 0));
}

#[tokio::test(start_paused = true)]
async fn without_an_anchor_another_run_is_left_alone() {
    let setup = Setup::new();
    let theirs = run_of(&setup, "1", Epoch(2)).await;
    let report = setup.cluster.teardown("1", EPOCH, None, &[], GRACE).await;
    assert_eq!(report, Teardown::default());
    assert_eq!(workflows(&setup), [1; 5]);

    // Ours goes from beside theirs.
    let mut ours = anchor_object("1", "server");
    ours.metadata.name = Some("another-name".to_owned());
    let ours = setup.cluster.ensure_anchor(&ours).await.unwrap();
    setup.run(&ours, "ours", Script::new().forever()).await;
    let report = setup.cluster.teardown("1", EPOCH, None, &[], GRACE).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.deleted, workflows(&setup)), (2, [1; 5]));
    assert!(setup.cluster.teardown("1", Epoch(2), Some(&theirs), &[], GRACE).await.is_complete());
    assert_eq!(workflows(&setup), [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_stamped_is_not_taken_for_ours() {
    let setup = Setup::new();
    let mut unstamped = anchor_object("1", "server");
    unstamped.metadata.annotations = None;
    let api = Api::<ConfigMap>::namespaced(setup.fake.client(), NAMESPACE);
    api.create(&PostParams::default(), &unstamped).await.unwrap();
    assert_eq!(setup.cluster.teardown("1", EPOCH, None, &[], GRACE).await, Teardown::default());
    assert_eq!(setup.count(Kind::ConfigMap), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_does_not_hold_it_for_ever() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    setup.fake.faults().inject(Fault::drop_connection().always());
    let started = Instant::now();
    let report = setup.cluster.teardown("1", EPOCH, Some(&anchor), &[], GRACE).await;
    assert!(started.elapsed() <= GRACE + setup.cluster.limits().teardown + Duration::from_secs(1));
    assert!(!report.is_complete());
    assert!(report.errors.iter().all(|error| error.code() == "cluster-unreachable"));
    assert_eq!(report.errors.len(), 1 + 5, "one deletion, five lists, each asked again and again: {report:?}");
    setup.fake.faults().clear();
    assert!(setup.cluster.teardown("1", EPOCH, Some(&anchor), &[], GRACE).await.is_complete());
    assert_eq!(workflows(&setup), [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn pods_that_can_not_be_deleted_hold_up_nothing_else() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    setup.fake.faults().inject(Fault::delay(Duration::from_secs(3600)).on(Verb::Delete).of("pods").always());
    let started = Instant::now();
    let report = setup.cluster.teardown("1", EPOCH, Some(&anchor), &[], GRACE).await;
    assert!(started.elapsed() <= GRACE + setup.cluster.limits().teardown + Duration::from_secs(1));
    // The garbage collector took them with the anchor.
    assert_eq!((workflows(&setup), report.left.len()), ([0; 5], 0));
    assert!(report.errors.iter().any(|error| error.to_string().contains("no answer within 10 s")), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn only_the_pod_that_is_meant_is_stopped() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().forever().ignores_sigterm()).await;
    sleep(Duration::from_secs(5)).await;

    let other = PodUid::new("another");
    assert_eq!(setup.cluster.stop("wp-1", &other, None, None).await, Ok(Stopped::Gone));
    assert_eq!(setup.cluster.stop("wp-2", &other, None, None).await, Ok(Stopped::Gone));
    let metadata = setup.fake.object(Kind::Pod, NAMESPACE, "wp-1").unwrap()["metadata"].clone();
    assert!(metadata["deletionTimestamp"].is_null());

    // As it was made, it waited; now it runs.
    let as_made = Some(made.resource_version.as_str());
    assert_eq!(setup.cluster.stop("wp-1", &made.pod_uid(), as_made, None).await, Ok(Stopped::Changed));
    assert_eq!(setup.cluster.stop("wp-1", &other, as_made, None).await, Ok(Stopped::Gone));
    let metadata = setup.fake.object(Kind::Pod, NAMESPACE, "wp-1").unwrap()["metadata"].clone();
    assert!(metadata["deletionTimestamp"].is_null());

    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Delete).times(2));
    let grace = Some(Duration::from_millis(6500));
    let now = metadata["resourceVersion"].as_str();
    assert_eq!(setup.cluster.stop("wp-1", &made.pod_uid(), now, grace).await, Ok(Stopped::Asked));
    let metadata = setup.fake.object(Kind::Pod, NAMESPACE, "wp-1").unwrap()["metadata"].clone();
    assert_eq!(metadata["deletionGracePeriodSeconds"], 7);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(setup.cluster.stop("wp-1", &made.pod_uid(), None, grace).await, Ok(Stopped::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_stop_is_no_error() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().forever()).await;
    setup.fake.faults().inject(Fault::lose_response().on(Verb::Delete));
    assert!(setup.cluster.stop("wp-1", &made.pod_uid(), None, Some(Duration::ZERO)).await.is_ok());
    let api = Api::<Pod>::namespaced(setup.fake.client(), NAMESPACE);
    assert!(api.get_opt("wp-1").await.unwrap().is_none());
    // Another pod of the same name is not in danger.
    setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
    assert_eq!(setup.cluster.stop("wp-1", &made.pod_uid(), None, Some(Duration::ZERO)).await, Ok(Stopped::Gone));
    assert!(api.get_opt("wp-1").await.unwrap().is_some());
    api.delete("wp-1", &DeleteParams::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_listed_is_deleted_by_its_name_if_nothing_owns_it() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let mut made = Vec::new();
    for mut object in others(&anchor) {
        object.metadata_mut().owner_references = None;
        setup.cluster.ensure(&object).await.unwrap();
        made.push(ObjectName::from(&object));
    }
    let rule = |resources: &[&str], verbs: &[&str]| Rule::new(resources, verbs).in_namespace(NAMESPACE);
    let rules = vec![rule(&["pods"], &["*"]), rule(&["secrets", "persistentvolumeclaims"], &["create", "delete"])];
    setup.fake.access().restrict(ADMIN, rules);
    setup.fake.faults().inject(Fault::fail(500).on(Verb::Delete).of("secrets").times(1));

    let report = setup.cluster.teardown("1", EPOCH, Some(&anchor), &made, GRACE).await;
    assert_eq!(report.deleted, 0, "what an anchor owns goes with it: {report:?}");
    let report = setup.cluster.teardown("1", EPOCH, None, &made, GRACE).await;
    assert_eq!((report.deleted, report.is_complete()), (2, true), "{report:?}");
    assert_eq!([Kind::Secret, Kind::PersistentVolumeClaim].map(|kind| setup.count(kind)), [0, 0]);
    assert_eq!(setup.count(Kind::Service), 1, "what may be neither seen nor deleted stays");
}
