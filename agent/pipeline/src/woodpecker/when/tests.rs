use std::collections::BTreeMap;

use super::{Decision, Facts, Scope, When};
use crate::context::{Commit, Context, Event, Pipeline, Repository, System};
use crate::expression::Evaluator;
use crate::report::Report;
use crate::substitute::Substituted;
use crate::yaml;

fn context(event: Event) -> Context {
    Context {
        event,
        repository: Repository { owner: "acme".to_owned(), name: "shop".to_owned(), ..Repository::default() },
        commit: Commit {
            branch: "main".to_owned(),
            tag: if event == Event::Tag { "v1.2.3".to_owned() } else { String::new() },
            pull_request: event.is_pull_request().then_some(7),
            message: "Fix it [ALL]".to_owned(),
            changed_files: Some(vec!["src/a.go".to_owned(), "README.md".to_owned()]),
            ..Commit::default()
        },
        pipeline: Pipeline { cron: "nightly build".to_owned(), ..Pipeline::default() },
        system: System { host: "ci.example.org".to_owned(), ..System::default() },
        ..Context::default()
    }
}

fn decide(text: &str, context: &Context, scope: Scope) -> (Decision, Vec<String>) {
    let source = Substituted::none(text);
    let mut report = Report::new(&source);
    let node = yaml::load(text, &mut report).unwrap();
    let axis = BTreeMap::from([("GO".to_owned(), "1.26".to_owned()), ("DB".to_owned(), "pg".to_owned())]);
    let variables = BTreeMap::from([("CI_COMMIT_BRANCH".to_owned(), "main".to_owned())]);
    let expressions = Evaluator::new(&variables);
    let facts = Facts { context, axis: &axis, expressions: &expressions, platform: Some("linux/arm64") };
    let decision = When::read(&node, scope, &mut report).decide(&facts, scope, &mut report);
    (decision, report.into_found().into_iter().map(|found| format!("{}: {}", found.code, found.message)).collect())
}

/// Whether conditions hold for an event; anything that is reported fails the test.
fn holds(text: &str, event: Event) -> bool {
    let (decision, found) = decide(text, &context(event), Scope::Step);
    assert!(found.is_empty(), "{text}: {found:?}");
    matches!(decision, Decision::Runs { .. })
}

#[test]
fn each_filter_looks_at_its_own_fact() {
    use Event::{Cron, Manual, PullRequest, PullRequestMetadata, Push, Tag};
    for (text, event, expected) in [
        ("{event: push}", Push, true),
        ("{event: [tag, push]}", Push, true),
        ("{event: pull_request}", PullRequestMetadata, false),
        ("{event: []}", Push, false),
        ("{branch: main}", Push, true),
        ("{branch: [dev, 'm*']}", Push, true),
        ("{branch: {exclude: main}}", Push, false),
        ("{branch: {include: 'm*', exclude: [main]}}", Push, false),
        ("{branch: {include: ['m*', x], exclude: dev}}", Push, true),
        ("{branch: dev}", Push, false),
        ("{branch: dev}", PullRequest, false),
        ("{branch: dev}", Tag, true),
        ("{ref: refs/heads/*}", Push, true),
        ("{ref: 'refs/tags/v*'}", Tag, true),
        ("{ref: {include: 'refs/tags/v**', exclude: 'refs/tags/v1.**'}}", Tag, false),
        ("{ref: refs/pull/7/head}", PullRequest, true),
        ("{repo: acme/*}", Push, true),
        ("{repo: acme}", Push, false),
        ("{instance: ci.example.org}", Push, true),
        ("{instance: other.example.org}", Push, false),
        ("{platform: linux/*}", Push, true),
        ("{platform: [linux/amd64, windows/*]}", Push, false),
        ("{cron: 'nightly*'}", Cron, true),
        ("{cron: {include: [weekly], exclude: x}}", Cron, false),
        ("{cron: weekly}", Push, true),
        ("{path: 'src/**'}", Push, true),
        ("{path: ['docs/**', '*.md']}", PullRequest, true),
        ("{path: '*.go'}", Push, false),
        ("{path: '*.go'}", Manual, true),
        ("{path: {exclude: '*.md'}}", Push, true),
        ("{path: {exclude: ['*.md', 'src/*']}}", Push, false),
        ("{path: {include: 'src/*', exclude: ['**']}}", Push, false),
        ("{path: {include: nothing, ignore_message: '[all]'}}", Push, true),
        ("{path: {include: nothing, ignore_message: '[none]'}}", Push, false),
        ("{matrix: {GO: '1.*', DB: pg}}", Push, true),
        ("{matrix: {GO: 1.25}}", Push, false),
        ("{matrix: {OTHER: x}}", Push, false),
        ("{matrix: {exclude: {GO: '1.26', DB: my}}}", Push, true),
        ("{matrix: {exclude: {GO: '1.26', DB: pg}}}", Push, false),
        ("{matrix: {include: {DB: pg}, exclude: {GO: x}}}", Push, true),
        ("{evaluate: 'CI_COMMIT_BRANCH == \"main\"'}", Push, true),
        ("{evaluate: 'CI_COMMIT_BRANCH == \"dev\"'}", Push, false),
        ("{evaluate: ''}", Push, true),
        ("{local: false}", Push, true),
        ("{event: push, branch: dev}", Push, false),
        ("[{event: tag}, {event: push, branch: main}]", Push, true),
        ("[{event: tag}, {event: push, branch: dev}]", Push, false),
        ("[]", Push, true),
        ("{}", Push, true),
    ] {
        assert_eq!(holds(text, event), expected, "{text}, {event}");
    }
}

#[test]
fn no_changed_file_is_a_question_of_its_own() {
    let mut context = context(Event::Push);
    context.commit.changed_files = Some(Vec::new());
    let runs = |text: &str| matches!(decide(text, &context, Scope::Step).0, Decision::Runs { .. });
    assert!(runs("{path: nothing}"));
    assert!(runs("{path: {include: nothing, on_empty: true}}"));
    assert!(!runs("{path: {include: nothing, on_empty: off}}"));
    assert!(runs("{path: {on_empty: false, ignore_message: '[ALL]'}}"));
}

#[test]
fn what_cant_be_known_is_said_and_counts_as_matching() {
    let mut context = context(Event::Cron);
    context.system.host.clear();
    context.pipeline.cron.clear();
    let runs = Decision::Runs { on_success: true, on_failure: false };
    let said =
        |key: &str, why: &str| vec![format!("undecided-condition: `{key}` counts as matching, here and below: {why}")];
    let decided = |text: &str, context: &Context| decide(text, context, Scope::Step);
    assert_eq!(decided("{cron: x}", &context), (runs.clone(), said("cron", "the cron job has no name here")));
    assert_eq!(
        decided("{instance: x}", &context),
        (runs.clone(), said("instance", "the server has no host name here"))
    );
    assert_eq!(decided("[{instance: {exclude: x}}, {instance: y}]", &context).1.len(), 1, "it is said once");
    context.event = Event::Push;
    context.commit.changed_files = None;
    assert_eq!(decided("{path: x}", &context), (runs.clone(), said("path", "the changed files are unknown")));
    assert_eq!(decided("{path: x, branch: dev}", &context).1, Vec::<String>::new(), "it doesn't matter");
    assert_eq!(decided("{path: {include: x, ignore_message: FIX}}", &context), (runs, Vec::new()));
}

#[test]
fn status_says_after_what_a_step_runs() {
    for (text, on_success, on_failure) in [
        ("{event: push}", true, false),
        ("{status: success}", true, false),
        ("{status: failure}", false, true),
        ("{status: [success, failure]}", true, true),
        // A condition that doesn't hold has no say.
        ("[{status: failure, event: tag}, {event: push}]", true, false),
        ("[{event: tag, status: [success, failure]}, {event: push}]", true, false),
        ("[{event: tag}, {event: push, status: failure}]", false, true),
        ("[{status: failure}, {event: push}]", true, true),
        ("[{status: [success, failure]}, {status: failure}]", true, true),
        ("[{status: [failure, success]}, {event: push}]", true, true),
    ] {
        let expected = Decision::Runs { on_success, on_failure };
        assert_eq!(decide(text, &context(Event::Push), Scope::Step).0, expected, "{text}");
    }
}

#[test]
fn reasons_are_sentences() {
    for (text, why) in [
        ("{event: [tag, release, cron]}", "event is 'push', not tag, release or cron"),
        ("{event: nonsense}", "event is 'push', not any known one"),
        ("{branch: {exclude: 'm*'}}", "branch is 'main', which is excluded"),
        ("{path: docs/*}", "no file changed that `path` names"),
        ("{path: {exclude: '**'}}", "every changed file is excluded"),
        ("{evaluate: 'false'}", "`evaluate` is false"),
        ("{matrix: {GO: 1.1}}", "GO is '1.26', not 1.1"),
        ("[{event: tag}, {event: tag, branch: x}, {branch: x}]", "event is 'push', not tag; branch is 'main', not x"),
    ] {
        assert_eq!(decide(text, &context(Event::Push), Scope::Step).0, Decision::Skipped(why.to_owned()), "{text}");
    }
}

#[test]
fn workflows_ignore_the_matrix_and_say_so() {
    let (decision, found) = decide("{matrix: {GO: x}, local: false}", &context(Event::Push), Scope::Workflow);
    assert_eq!(decision, Decision::Runs { on_success: true, on_failure: false });
    assert_eq!(found, ["workflow-matrix: `matrix` is ignored in conditions of a workflow"]);
}

#[test]
fn steps_can_be_kept_from_local_runs() {
    let local = Context { local: true, ..context(Event::Push) };
    assert_eq!(decide("{local: false}", &local, Scope::Step).0, Decision::Skipped("`local` is false".to_owned()));
    assert!(matches!(decide("{local: true}", &local, Scope::Step).0, Decision::Runs { .. }));
}

#[test]
fn a_mistake_in_an_expression_is_an_error_even_if_nothing_depends_on_it() {
    let (_, found) = decide("{event: tag, evaluate: '1 +'}", &context(Event::Push), Scope::Step);
    assert_eq!(found, ["evaluate: the expression can't be read at character 4"]);
}
