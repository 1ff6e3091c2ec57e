//! The variables that every workflow has: `CI_*`, as Woodpecker's documentation lists them.
//!
//! Those that only the agent knows are its own: `CI_MACHINE`, `CI_SYSTEM_PLATFORM`, `CI_PIPELINE_STATUS`,
//! `CI_PIPELINE_STARTED`, `CI_STEP_STARTED`, `CI_SCRIPT`.

use std::collections::BTreeMap;

use crate::context::{Commit, Context, Event, Previous};

/// Of more changed files than this there is no list, so that the environment doesn't burst.
const MAX_FILES: usize = 500;

/// The variables of a workflow; none is empty.
pub(crate) fn variables(context: &Context, workflow: &str, number: usize) -> BTreeMap<String, String> {
    let mut list = Variables(BTreeMap::new());
    let system = &context.system;
    list.set("CI", &system.name);
    list.set("CI_SYSTEM_NAME", &system.name);
    list.set("CI_SYSTEM_URL", &system.url);
    list.set("CI_SYSTEM_HOST", &system.host);
    list.set("CI_SYSTEM_VERSION", &system.version);
    list.set("CI_FORGE_TYPE", &context.forge.kind);
    list.set("CI_FORGE_URL", &context.forge.url);

    let repository = &context.repository;
    let trusted = repository.trusted;
    list.set("CI_REPO", repository.full_name());
    list.set("CI_REPO_NAME", &repository.name);
    list.set("CI_REPO_OWNER", &repository.owner);
    list.set("CI_REPO_REMOTE_ID", &repository.remote_id);
    list.set("CI_REPO_SCM", "git");
    list.set("CI_REPO_URL", &repository.url);
    list.set("CI_REPO_CLONE_URL", &repository.clone_url);
    list.set("CI_REPO_CLONE_SSH_URL", &repository.clone_ssh_url);
    list.set("CI_REPO_DEFAULT_BRANCH", &repository.default_branch);
    list.set("CI_REPO_PRIVATE", repository.private);
    list.set("CI_REPO_TRUSTED", trusted.network && trusted.volumes && trusted.security);
    list.set("CI_REPO_TRUSTED_NETWORK", trusted.network);
    list.set("CI_REPO_TRUSTED_VOLUMES", trusted.volumes);
    list.set("CI_REPO_TRUSTED_SECURITY", trusted.security);

    let pipeline = &context.pipeline;
    list.set("CI_PIPELINE_NUMBER", pipeline.number);
    list.set("CI_PIPELINE_PARENT", pipeline.parent);
    list.set("CI_PIPELINE_EVENT", context.event);
    list.set("CI_PIPELINE_URL", &pipeline.url);
    list.set("CI_PIPELINE_FORGE_URL", &pipeline.forge_url);
    list.set("CI_PIPELINE_DEPLOY_TARGET", &pipeline.deploy_target);
    list.set("CI_PIPELINE_DEPLOY_TASK", &pipeline.deploy_task);
    list.set("CI_PIPELINE_AUTHOR", &pipeline.author);
    list.set("CI_PIPELINE_AVATAR", &context.commit.author.avatar);
    list.set_if("CI_PIPELINE_CREATED", pipeline.created);
    if let Some(files) = context.commit.changed_files.as_ref().filter(|files| files.len() <= MAX_FILES) {
        list.set("CI_PIPELINE_FILES", serde_json::Value::from(files.as_slice()));
    }

    list.set("CI_WORKFLOW_NAME", workflow);
    list.set("CI_WORKFLOW_NUMBER", number);
    list.set("CI_STEP_URL", &pipeline.url);

    list.commit("CI_COMMIT", &context.commit, context.event);
    list.set("CI_COMMIT_TAG", context.commit.tag(context.event));
    if context.event == Event::Release {
        list.set("CI_COMMIT_PRERELEASE", context.commit.prerelease);
    }
    if context.event.is_pull_request() {
        list.set_if("CI_COMMIT_PULL_REQUEST", context.commit.pull_request);
        list.set("CI_COMMIT_PULL_REQUEST_LABELS", context.commit.pull_request_labels.join(","));
    }
    if let Some(previous) = &context.previous {
        list.previous(previous);
    }
    list.0
}

struct Variables(BTreeMap<String, String>);

impl Variables {
    fn set(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        if !value.is_empty() {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn set_if(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    fn commit(&mut self, prefix: &str, commit: &Commit, event: Event) {
        let mut set = |name: &str, value: &str| self.set(&format!("{prefix}_{name}"), value);
        set("SHA", &commit.sha);
        set("REF", &commit.reference(event));
        set("BRANCH", &commit.branch);
        set("MESSAGE", &commit.message);
        set("AUTHOR", &commit.author.name);
        set("AUTHOR_EMAIL", &commit.author.email);
        set("AUTHOR_AVATAR", &commit.author.avatar);
        if event.is_pull_request() {
            set("SOURCE_BRANCH", &commit.source_branch);
            set("TARGET_BRANCH", &commit.target_branch);
            if !commit.source_branch.is_empty() && !commit.target_branch.is_empty() {
                set("REFSPEC", &format!("{}:{}", commit.source_branch, commit.target_branch));
            }
        }
    }

    fn previous(&mut self, previous: &Previous) {
        self.commit("CI_PREV_COMMIT", &previous.commit, previous.event);
        let pipeline = &previous.pipeline;
        self.set("CI_PREV_COMMIT_URL", &pipeline.forge_url);
        self.set("CI_PREV_PIPELINE_NUMBER", pipeline.number);
        self.set("CI_PREV_PIPELINE_PARENT", pipeline.parent);
        self.set("CI_PREV_PIPELINE_EVENT", previous.event);
        self.set("CI_PREV_PIPELINE_URL", &pipeline.url);
        self.set("CI_PREV_PIPELINE_FORGE_URL", &pipeline.forge_url);
        self.set("CI_PREV_PIPELINE_DEPLOY_TARGET", &pipeline.deploy_target);
        self.set("CI_PREV_PIPELINE_DEPLOY_TASK", &pipeline.deploy_task);
        self.set("CI_PREV_PIPELINE_STATUS", &previous.status);
        self.set_if("CI_PREV_PIPELINE_CREATED", pipeline.created);
        self.set_if("CI_PREV_PIPELINE_STARTED", previous.started);
        self.set_if("CI_PREV_PIPELINE_FINISHED", previous.finished);
    }
}

#[cfg(test)]
mod tests {
    use super::variables;
    use crate::context::{Author, Commit, Context, Event, Forge, Pipeline, Previous, Repository, System};

    fn lines(list: &std::collections::BTreeMap<String, String>) -> String {
        list.iter().map(|(name, value)| format!("{name}={}\n", value.escape_debug())).collect()
    }

    #[test]
    fn a_bare_context_has_few_variables() {
        let list = variables(&Context::default(), "build", 1);
        assert!(list.values().all(|value| !value.is_empty()));
        insta::assert_snapshot!(lines(&list), @r"
        CI=woodpecker
        CI_PIPELINE_EVENT=push
        CI_PIPELINE_NUMBER=0
        CI_PIPELINE_PARENT=0
        CI_REPO_PRIVATE=false
        CI_REPO_SCM=git
        CI_REPO_TRUSTED=false
        CI_REPO_TRUSTED_NETWORK=false
        CI_REPO_TRUSTED_SECURITY=false
        CI_REPO_TRUSTED_VOLUMES=false
        CI_SYSTEM_NAME=woodpecker
        CI_WORKFLOW_NAME=build
        CI_WORKFLOW_NUMBER=1
        ");
    }

    #[test]
    fn a_full_context_has_them_all() {
        let commit = Commit {
            sha: "9f2c".to_owned(),
            branch: "main".to_owned(),
            source_branch: "fix".to_owned(),
            target_branch: "main".to_owned(),
            message: "Fix it\n\nReally".to_owned(),
            author: Author { name: "Ada".to_owned(), email: "ada@x.org".to_owned(), avatar: "https://x/a".to_owned() },
            pull_request: Some(7),
            pull_request_labels: vec!["bug".to_owned(), "now".to_owned()],
            changed_files: Some(vec!["a b".to_owned(), "c".to_owned()]),
            ..Commit::default()
        };
        let pipeline = Pipeline {
            number: 42,
            url: "https://ci/42".to_owned(),
            forge_url: "https://git/7".to_owned(),
            author: "ada".to_owned(),
            created: Some(1_700_000_000),
            ..Pipeline::default()
        };
        let context = Context {
            event: Event::PullRequest,
            repository: Repository {
                owner: "acme".to_owned(),
                name: "shop".to_owned(),
                remote_id: "9".to_owned(),
                url: "https://git/acme/shop".to_owned(),
                clone_url: "https://git/acme/shop.git".to_owned(),
                clone_ssh_url: "ssh://git/acme/shop.git".to_owned(),
                default_branch: "main".to_owned(),
                private: true,
                ..Repository::default()
            },
            previous: Some(Previous {
                event: Event::Push,
                commit: commit.clone(),
                pipeline: pipeline.clone(),
                status: "success".to_owned(),
                started: Some(1),
                finished: Some(2),
            }),
            commit,
            pipeline,
            system: System {
                url: "https://ci".to_owned(),
                host: "ci".to_owned(),
                version: "3".to_owned(),
                ..System::default()
            },
            forge: Forge { kind: "gitea".to_owned(), url: "https://git".to_owned() },
            ..Context::default()
        };
        insta::assert_snapshot!(lines(&variables(&context, "build", 3)));
    }

    #[test]
    fn many_changed_files_are_not_listed() {
        let listed = |count| {
            let commit = Commit { changed_files: Some(vec!["a".to_owned(); count]), ..Commit::default() };
            variables(&Context { commit, ..Context::default() }, "w", 1).contains_key("CI_PIPELINE_FILES")
        };
        assert_eq!([listed(0), listed(500), listed(501)], [true, true, false]);
    }

    #[test]
    fn tags_come_from_the_name_or_the_reference() {
        let tag = |event, commit| variables(&Context { event, commit, ..Context::default() }, "w", 1);
        let named = tag(Event::Tag, Commit { tag: "v1".to_owned(), ..Commit::default() });
        assert_eq!((named["CI_COMMIT_TAG"].as_str(), named["CI_COMMIT_REF"].as_str()), ("v1", "refs/tags/v1"));
        let reference = Commit { reference: "refs/tags/v2".to_owned(), ..Commit::default() };
        assert_eq!(tag(Event::Release, reference)["CI_COMMIT_TAG"], "v2");
        let branch = tag(Event::Push, Commit { branch: "main".to_owned(), ..Commit::default() });
        assert_eq!(branch.get("CI_COMMIT_TAG"), None);
    }
}
