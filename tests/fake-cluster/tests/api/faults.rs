//! What the fault plan does to requests.

use std::time::Duration;

use fake_cluster::{Fault, Kind, Verb};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Fixture, object, refusal};

fn map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}}))
}

#[tokio::test(start_paused = true)]
async fn requests_fail_as_often_as_the_plan_says() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    fixture.cluster.faults().inject(Fault::fail(503).on(Verb::Create).of("configmaps").times(2));
    for _ in 0..2 {
        let (code, reason, _) = refusal(maps.create(&PostParams::default(), &map("a")).await);
        assert_eq!((code, reason.as_str()), (503, "ServiceUnavailable"));
    }
    maps.create(&PostParams::default(), &map("a")).await.expect("created");
    assert_eq!(fixture.cluster.counters().requests(Verb::Create, "configmaps"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_hides_what_was_done() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    fixture.cluster.faults().inject(Fault::lose_response().on(Verb::Create));
    assert!(matches!(maps.create(&PostParams::default(), &map("a")).await, Err(kube::Error::Service(_))));
    assert!(fixture.cluster.object(Kind::ConfigMap, "ci", "a").is_some());
    fixture.cluster.faults().inject(Fault::drop_connection().on(Verb::Create));
    assert!(matches!(maps.create(&PostParams::default(), &map("b")).await, Err(kube::Error::Service(_))));
    assert_eq!(fixture.cluster.object(Kind::ConfigMap, "ci", "b"), None);
}

#[tokio::test(start_paused = true)]
async fn flow_control_answers_in_plain_text() {
    let fixture = Fixture::new();
    fixture.cluster.faults().inject(Fault::too_many_requests(3));
    let request = Request::get("/api/v1/namespaces/ci/pods").body(Vec::new().into()).expect("a request");
    let answer = fixture.cluster.client().send(request).await.expect("an answer");
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "3");
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test(start_paused = true)]
async fn answers_can_be_late() {
    let fixture = Fixture::new();
    fixture.cluster.faults().inject(Fault::delay(Duration::from_secs(30)).on(Verb::Get));
    let begun = Instant::now();
    assert_eq!(fixture.pods.get_opt("p").await.expect("an answer"), None);
    assert_eq!(begun.elapsed().as_secs(), 30);
}
