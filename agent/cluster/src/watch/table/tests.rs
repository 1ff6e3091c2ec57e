use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use piculet_core::id::PodUid;

use super::{REMEMBERED, Table};
use crate::watch::{Interest, PodNews};

const KEY: &str = "workflow";

fn pod(name: &str, uid: &str, version: u32, workflow: &str) -> Pod {
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_string()),
            labels: Some(BTreeMap::from([(KEY.to_owned(), workflow.to_owned())])),
            ..ObjectMeta::default()
        },
        ..Pod::default()
    }
}

fn label(workflow: &str) -> Interest {
    Interest::Label { key: KEY, value: workflow.to_owned() }
}

/// Everything that a subscriber has to hear: `+name/uid@version`, and for what is absent `-name/uid@version` if the watch
/// showed how it went, `?name/uid@version` if a list missed it.
fn news(table: &mut Table, subscriber: u64) -> Vec<String> {
    std::iter::from_fn(|| table.take(subscriber))
        .map(|news| {
            let sign = match news {
                PodNews::Present(_) => '+',
                PodNews::Absent { witnessed: true, .. } => '-',
                PodNews::Absent { witnessed: false, .. } => '?',
            };
            let version = news.pod().metadata.resource_version.as_deref().unwrap_or_default();
            format!("{sign}{}/{}@{version}", news.name(), news.uid())
        })
        .collect()
}

#[test]
fn only_what_is_of_interest_is_heard() {
    let mut table = Table::default();
    let [first, second] = ["1", "2"].map(|workflow| table.subscribe(label(workflow)));
    let one = table.subscribe(Interest::Pod(PodUid::new("u1")));
    assert_eq!(table.applied(pod("a", "u1", 1, "1")), [first, one]);
    assert_eq!(table.applied(pod("b", "u2", 2, "1")), [first]);
    assert_eq!(table.applied(pod("c", "u3", 3, "3")), [0; 0]);
    assert_eq!(news(&mut table, first), ["+a/u1@1", "+b/u2@2"]);
    assert_eq!(news(&mut table, second), [""; 0]);
    assert_eq!(news(&mut table, one), ["+a/u1@1"]);
}

#[test]
fn a_slow_subscriber_hears_the_newest_of_each_pod() {
    let mut table = Table::default();
    let slow = table.subscribe(label("1"));
    for version in 0..1000 {
        table.applied(pod("a", "u1", version, "1"));
        table.applied(pod("b", "u2", version, "1"));
    }
    table.deleted(pod("b", "u2", 1000, "1"));
    assert_eq!(table.subscribers[&slow].order.len(), 2);
    assert_eq!(news(&mut table, slow), ["+a/u1@999", "-b/u2@1000"]);
    table.applied(pod("a", "u1", 1001, "1"));
    assert_eq!(news(&mut table, slow), ["+a/u1@1001"]);
}

#[test]
fn a_pod_that_takes_the_name_of_another_hides_nothing_of_it() {
    let mut table = Table::default();
    let subscriber = table.subscribe(label("1"));
    table.applied(pod("a", "u1", 1, "1"));
    table.deleted(pod("a", "u1", 2, "1"));
    table.applied(pod("a", "u2", 3, "1"));
    assert_eq!(news(&mut table, subscriber), ["-a/u1@2", "+a/u2@3"]);
}

#[test]
fn a_late_subscriber_hears_of_what_is_there() {
    let mut table = Table::default();
    table.applied(pod("a", "u1", 1, "1"));
    table.applied(pod("b", "u2", 2, "2"));
    let late = table.subscribe(label("1"));
    assert_eq!(news(&mut table, late), ["+a/u1@1"]);
}

#[test]
fn a_list_tells_what_changed_and_what_is_absent() {
    let mut table = Table::default();
    let subscriber = table.subscribe(label("1"));
    for (name, uid) in [("a", "u1"), ("b", "u2"), ("c", "u3")] {
        table.applied(pod(name, uid, 1, "1"));
    }
    news(&mut table, subscriber);

    table.list_begins();
    assert_eq!(table.applied(pod("a", "u1", 1, "1")), [0; 0]);
    table.applied(pod("b", "u2", 5, "1"));
    table.applied(pod("d", "u4", 6, "1"));
    assert_eq!(table.list_ends(), [subscriber]);
    assert_eq!(news(&mut table, subscriber), ["+b/u2@5", "+d/u4@6", "?c/u3@1"]);
    assert_eq!(table.len(), 3);
}

#[test]
fn a_list_that_broke_is_not_taken_for_a_complete_one() {
    let mut table = Table::default();
    let subscriber = table.subscribe(label("1"));
    table.applied(pod("a", "u1", 1, "1"));
    table.applied(pod("b", "u2", 1, "1"));
    news(&mut table, subscriber);
    table.list_begins();
    table.applied(pod("a", "u1", 1, "1"));
    table.list_begins();
    table.applied(pod("b", "u2", 1, "1"));
    table.list_ends();
    assert_eq!(news(&mut table, subscriber), ["?a/u1@1"]);
}

#[test]
fn a_created_pod_is_missed_by_the_next_list() {
    let mut table = Table::default();
    let subscriber = table.subscribe(label("1"));
    table.created(pod("a", "u1", 1, "1"));
    assert_eq!(news(&mut table, subscriber), ["+a/u1@1"]);
    table.list_begins();
    table.list_ends();
    assert_eq!(news(&mut table, subscriber), ["?a/u1@1"]);
}

#[test]
fn a_pod_that_is_created_during_a_list_is_not_missed_by_it() {
    let mut table = Table::default();
    let subscriber = table.subscribe(label("1"));
    table.list_begins();
    table.created(pod("a", "u1", 1, "1"));
    table.list_ends();
    assert_eq!(news(&mut table, subscriber), ["+a/u1@1"]);
}

#[test]
fn a_late_answer_neither_ages_nor_revives_a_pod() {
    let mut table = Table::default();
    let subscriber = table.subscribe(label("1"));
    table.applied(pod("a", "u1", 7, "1"));
    table.created(pod("a", "u1", 6, "1"));
    assert_eq!(news(&mut table, subscriber), ["+a/u1@7"]);
    table.deleted(pod("a", "u1", 8, "1"));
    table.created(pod("a", "u1", 6, "1"));
    assert_eq!(news(&mut table, subscriber), ["-a/u1@8"]);
    assert_eq!(table.len(), 0);
}

#[test]
fn the_memory_of_deleted_pods_is_bounded() {
    let mut table = Table::default();
    for number in 0..REMEMBERED + 10 {
        table.deleted(pod("a", &number.to_string(), 1, "1"));
    }
    assert_eq!(table.deleted.len(), REMEMBERED);
}

#[test]
fn who_is_gone_hears_nothing() {
    let mut table = Table::default();
    let subscriber = table.subscribe(label("1"));
    table.unsubscribe(subscriber);
    assert_eq!(table.applied(pod("a", "u1", 1, "1")), [0; 0]);
    assert_eq!(news(&mut table, subscriber), [""; 0]);
}
