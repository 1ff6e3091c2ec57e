//! When the first pod of a workflow comes.

use std::time::Duration;

use fake_cluster::{ADMIN, Fault, Rule, Verb};
use tokio::time::Instant;

use crate::setup::{Setup, others};

async fn claim(setup: &Setup, key: &str) -> Duration {
    let anchor = setup.anchor(key).await;
    setup.cluster.ensure(&others(&anchor)[0]).await.unwrap();
    let began = Instant::now();
    setup.cluster.until_bound(&format!("volume-{key}")).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_comes_by_itself_is_waited_for() {
    let setup = Setup::new();
    let waited = claim(&setup, "1").await;
    assert!(waited < Duration::from_millis(900), "{waited:?}");
    let phase = &setup.fake.objects(fake_cluster::Kind::PersistentVolumeClaim)[0]["status"]["phase"];
    assert_eq!(phase, "Bound");
}

#[tokio::test(start_paused = true)]
async fn a_class_that_waits_for_pods_is_waited_for_once() {
    let classes = fake_cluster::Classes { binds_at_once: false, ..fake_cluster::Classes::default() };
    let setup = Setup::with(fake_cluster::Settings { classes, ..fake_cluster::Settings::default() });
    let first = claim(&setup, "1").await;
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&first), "{first:?}");
    assert_eq!(claim(&setup, "2").await, Duration::ZERO, "it is known now");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_look_does_not_wait() {
    let setup = Setup::new();
    setup
        .fake
        .access()
        .restrict(ADMIN, vec![Rule::new(&["configmaps"], &["*"]), Rule::new(&["persistentvolumeclaims"], &["create"])]);
    assert_eq!(claim(&setup, "1").await, Duration::ZERO);
    setup.fake.access().lift(ADMIN);
    setup.fake.faults().inject(Fault::fail(500).on(Verb::Get).of("persistentvolumeclaims").always());
    assert_eq!(claim(&setup, "2").await, Duration::ZERO);
}
