//! What a pipeline runs for: the event, the repository, the commit, the variables and the secrets.

mod event;
mod given;

use std::collections::BTreeMap;

use piculet_core::secret::Secret;

pub use self::event::{Event, UnknownEvent};
pub use self::given::{Given, GivenError};

/// The image of the clone step where a file names none.
pub const DEFAULT_CLONE_IMAGE: &str = "docker.io/woodpeckerci/plugin-git:2.10.0";

/// Everything that a pipeline file's meaning depends on, apart from the file.
///
/// Empty texts are unknown: no variable is made of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// What happened.
    pub event: Event,
    /// Where it happened.
    pub repository: Repository,
    /// What is to be built.
    pub commit: Commit,
    /// The run itself.
    pub pipeline: Pipeline,
    /// The run before it on the same branch.
    pub previous: Option<Previous>,
    /// The server.
    pub system: System,
    /// Where the repository is hosted.
    pub forge: Forge,
    /// Given by a person who started the pipeline. They are put into the file and into the steps that are no plugins.
    pub variables: BTreeMap<String, String>,
    /// By name; letter case doesn't matter. Never put into the file, only into the steps that name them.
    pub secrets: BTreeMap<String, Secret>,
    /// Ids of steps are made from it, from the workflow's name and from the step's position. They differ within a
    /// workflow; workflows whose names are the same need [`identify_steps`](crate::identify_steps).
    pub id_prefix: String,
    /// The image of the clone step where a file names none.
    pub clone_image: String,
    /// How long each workflow may take; `None` leaves it to the agent.
    pub timeout_seconds: Option<u64>,
    /// Steps with `local: false` in their conditions don't run.
    pub local: bool,
}

impl Default for Context {
    /// A push of nothing to nowhere.
    fn default() -> Self {
        Self {
            event: Event::Push,
            repository: Repository::default(),
            commit: Commit::default(),
            pipeline: Pipeline::default(),
            previous: None,
            system: System::default(),
            forge: Forge::default(),
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            id_prefix: String::new(),
            clone_image: DEFAULT_CLONE_IMAGE.to_owned(),
            timeout_seconds: None,
            local: false,
        }
    }
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repository {
    /// The user or organisation.
    pub owner: String,
    /// Its name below the owner.
    pub name: String,
    /// The forge's id of it.
    pub remote_id: String,
    /// Its page.
    pub url: String,
    /// To clone it by HTTP.
    pub clone_url: String,
    /// To clone it by SSH.
    pub clone_ssh_url: String,
    /// For example `main`.
    pub default_branch: String,
    /// Not everybody may read it.
    pub private: bool,
    /// What its pipelines may use.
    pub trusted: Trusted,
}

impl Repository {
    /// `owner/name`.
    pub fn full_name(&self) -> String {
        match (self.owner.as_str(), self.name.as_str()) {
            ("", name) => name.to_owned(),
            (owner, "") => owner.to_owned(),
            (owner, name) => format!("{owner}/{name}"),
        }
    }
}

/// What the pipelines of a repository may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trusted {
    /// `dns`, `dns_search`, `extra_hosts`, `network_mode`.
    pub network: bool,
    /// `volumes`, `devices`, `tmpfs`.
    pub volumes: bool,
    /// `privileged`.
    pub security: bool,
}

impl Trusted {
    /// Everything.
    pub const ALL: Self = Self { network: true, volumes: true, security: true };
}

/// A commit, and how it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// Its hash.
    pub sha: String,
    /// The git reference, for example `refs/heads/main`. Empty: made from event, branch, tag and pull request.
    pub reference: String,
    /// Of a pull request the branch that it is for.
    pub branch: String,
    /// Of a pull request, where it comes from.
    pub source_branch: String,
    /// Of a pull request, where it is to go.
    pub target_branch: String,
    /// The tag's name, for the events tag and release.
    pub tag: String,
    /// The release is none for everybody.
    pub prerelease: bool,
    /// Its message; may have several lines.
    pub message: String,
    /// Who wrote it.
    pub author: Author,
    /// The pull request's number.
    pub pull_request: Option<u64>,
    /// The pull request's labels.
    pub pull_request_labels: Vec<String>,
    /// Paths that changed; `None`: unknown.
    pub changed_files: Option<Vec<String>>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    /// Their name.
    pub name: String,
    /// Their mail address.
    pub email: String,
    /// Their picture's URL.
    pub avatar: String,
}

/// A run of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pipeline {
    /// Counts the runs of the repository.
    pub number: u64,
    /// The run that this one repeats; 0: none.
    pub parent: u64,
    /// Its page.
    pub url: String,
    /// The page of what it runs for.
    pub forge_url: String,
    /// Who started it.
    pub author: String,
    /// For the event deployment.
    pub deploy_target: String,
    /// For the event deployment.
    pub deploy_task: String,
    /// The cron job's name, for the event cron. Empty: unknown.
    pub cron: String,
    /// Seconds since the Unix epoch.
    pub created: Option<i64>,
}

/// An earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// What it ran for.
    pub event: Event,
    /// What it built.
    pub commit: Commit,
    /// The run itself.
    pub pipeline: Pipeline,
    /// How it ended: Woodpecker's words, for example `success`.
    pub status: String,
    /// Seconds since the Unix epoch.
    pub started: Option<i64>,
    /// Seconds since the Unix epoch.
    pub finished: Option<i64>,
}

/// The server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Scripts look at it to learn whether they run in a pipeline (`CI`).
    pub name: String,
    /// Its page.
    pub url: String,
    /// Its host name, which `when.instance` looks at. Empty: unknown.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Where the steps will run, for example `linux/amd64`; `when.platform` looks at it if the file has no such label.
    /// Empty: unknown.
    pub platform: String,
}

impl Default for System {
    /// `CI=woodpecker`: that is what scripts know.
    fn default() -> Self {
        Self {
            name: "woodpecker".to_owned(),
            url: String::new(),
            host: String::new(),
            version: String::new(),
            platform: String::new(),
        }
    }
}

/// Where repositories are hosted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forge {
    /// For example `gitea`.
    pub kind: String,
    /// Its page.
    pub url: String,
}

impl Commit {
    /// The git reference: the given one, else made from what is known.
    pub(crate) fn reference(&self, event: Event) -> String {
        if !self.reference.is_empty() {
            return self.reference.clone();
        }
        match (event, self.pull_request) {
            (Event::Tag | Event::Release, _) if !self.tag.is_empty() => format!("refs/tags/{}", self.tag),
            (event, Some(number)) if event.is_pull_request() => format!("refs/pull/{number}/head"),
            _ if !self.branch.is_empty() => format!("refs/heads/{}", self.branch),
            _ => String::new(),
        }
    }

    /// The tag's name, where there is one.
    pub(crate) fn tag(&self, event: Event) -> String {
        if !self.tag.is_empty() {
            return self.tag.clone();
        }
        let reference = self.reference(event);
        reference.strip_prefix("refs/tags/").unwrap_or_default().to_owned()
    }
}
