use super::{Compiled, Submission};
use crate::woodpecker::{FailureMode, Job, State, Step};

#[test]
fn rows_are_read_from_the_payload() {
    let compiled = Compiled::new("x")
        .then([])
        .then([Job::service("db", "postgres")])
        .then([Job::commands("a", "alpine", ["true"]), Job::plugin("b", "upload").failure(FailureMode::Cancel)]);
    let rows = Submission::from(&compiled).rows();
    let seen: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.kind.as_str(), row.failure)).collect();
    let expected = [
        ("db", "service", FailureMode::Ignore),
        ("a", "commands", FailureMode::Fail),
        ("b", "plugin", FailureMode::Cancel),
    ];
    assert_eq!(seen, expected);
    assert!(rows.iter().all(|row| row.uuid == compiled.uuid(&row.name) && row.state == State::Pending));
}

#[test]
fn what_can_not_be_read_has_no_rows_or_those_that_are_given() {
    for payload in ["", "{", "[]", "{}", r#"{"pipeline":null}"#, r#"{"pipeline":[{"steps":null},{}]}"#] {
        assert_eq!(Submission::raw(payload).rows(), []);
    }
    let step = Step::new("U", "a");
    assert_eq!(Submission::raw("{").steps([step.clone()]).rows(), [step]);
}

#[test]
fn repository_and_organisation_are_labels() {
    let submission = Submission::from(Compiled::new("x").label("gpu", "yes")).label("platform", "linux/arm64");
    let labels: Vec<_> = submission.all_labels().into_iter().collect();
    let expected = [("gpu", "yes"), ("org-id", "3"), ("platform", "linux/arm64"), ("repo", "acme/shop")];
    assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let bare = Submission { repo: None, org: None, ..Submission::raw("") };
    assert!(bare.all_labels().is_empty());
}
