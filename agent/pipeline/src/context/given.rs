//! A context from what a person gives on a command line.

use piculet_core::secret::Secret;

use super::{Author, Context, Trusted, UnknownEvent};

/// What a person gives.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The event's name.
    pub event: String,
    /// The branch; for a pull request the one that it is for.
    pub branch: String,
    /// `NAME=value`, each. A `CI_*` name that a context knows sets that; all others become variables.
    pub variables: Vec<String>,
    /// `NAME=value`, each.
    pub secrets: Vec<String>,
    /// See [`Context::id_prefix`].
    pub id_prefix: String,
}

/// What can't be used of it. Never holds a value: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// There is no such event.
    #[error(transparent)]
    Event(#[from] UnknownEvent),
    /// An option isn't NAME=value.
    #[error("{option} number {place} is not NAME=value")]
    NoPair {
        /// The option.
        option: &'static str,
        /// Which of them, from 1.
        place: usize,
    },
    /// A variable has a value that it can't have.
    #[error("{name} must be {wanted}")]
    Value {
        /// The variable.
        name: String,
        /// What it has to be.
        wanted: &'static str,
    },
}

impl Context {
    /// What a pipeline file sees if this is all that is known: a trusted repository `local/pipeline`, whose default
    /// branch is the given one unless `CI_REPO_DEFAULT_BRANCH` says otherwise.
    ///
    /// # Errors
    /// If something makes no sense.
    pub fn given(given: &Given) -> Result<Self, GivenError> {
        let mut context = Self { event: given.event.parse()?, id_prefix: given.id_prefix.clone(), ..Self::default() };
        context.repository.owner = "local".to_owned();
        context.repository.name = "pipeline".to_owned();
        context.repository.default_branch.clone_from(&given.branch);
        context.repository.trusted = Trusted::ALL;
        context.commit.branch.clone_from(&given.branch);
        context.commit.sha = "0000000000000000000000000000000000000000".to_owned();
        context.commit.message = "a local run".to_owned();
        context.commit.author = Author { name: "local".to_owned(), ..Author::default() };
        context.pipeline.number = 1;
        if context.event.is_pull_request() {
            context.commit.target_branch.clone_from(&given.branch);
        }
        for (name, value) in pairs("--var", &given.variables)? {
            context.set(name, value)?;
        }
        for (name, value) in pairs("--secret", &given.secrets)? {
            context.secrets.insert(name.to_owned(), Secret::new(value));
        }
        Ok(context)
    }

    /// Sets what a variable stands for, or the variable.
    fn set(&mut self, name: &str, value: &str) -> Result<(), GivenError> {
        let wrong = |wanted| GivenError::Value { name: name.to_owned(), wanted };
        let text = value.to_owned();
        match name {
            "CI_REPO" => {
                let (owner, repository) = value.split_once('/').ok_or_else(|| wrong("owner/name"))?;
                owner.clone_into(&mut self.repository.owner);
                repository.clone_into(&mut self.repository.name);
            }
            "CI_REPO_OWNER" => self.repository.owner = text,
            "CI_REPO_NAME" => self.repository.name = text,
            "CI_REPO_URL" => self.repository.url = text,
            "CI_REPO_CLONE_URL" => self.repository.clone_url = text,
            "CI_REPO_CLONE_SSH_URL" => self.repository.clone_ssh_url = text,
            "CI_REPO_DEFAULT_BRANCH" => self.repository.default_branch = text,
            "CI_REPO_PRIVATE" => {
                self.repository.private = value.parse().map_err(|_| wrong("true or false"))?;
            }
            "CI_COMMIT_SHA" => self.commit.sha = text,
            "CI_COMMIT_REF" => self.commit.reference = text,
            "CI_COMMIT_BRANCH" => self.commit.branch = text,
            "CI_COMMIT_SOURCE_BRANCH" => self.commit.source_branch = text,
            "CI_COMMIT_TARGET_BRANCH" => self.commit.target_branch = text,
            "CI_COMMIT_TAG" => self.commit.tag = text,
            "CI_COMMIT_MESSAGE" => self.commit.message = text,
            "CI_COMMIT_AUTHOR" => self.commit.author.name = text,
            "CI_COMMIT_AUTHOR_EMAIL" => self.commit.author.email = text,
            "CI_COMMIT_PULL_REQUEST" => {
                self.commit.pull_request = Some(value.parse().map_err(|_| wrong("a number"))?);
            }
            "CI_PIPELINE_NUMBER" => self.pipeline.number = value.parse().map_err(|_| wrong("a number"))?,
            "CI_PIPELINE_FILES" => {
                let files = serde_json::from_str(value).map_err(|_| wrong("a JSON list of paths"))?;
                self.commit.changed_files = Some(files);
            }
            "CI_PIPELINE_CRON" => self.pipeline.cron = text,
            "CI_SYSTEM_HOST" => self.system.host = text,
            "CI_SYSTEM_PLATFORM" => self.system.platform = text,
            "CI_SYSTEM_URL" => self.system.url = text,
            "CI_FORGE_TYPE" => self.forge.kind = text,
            "CI_FORGE_URL" => self.forge.url = text,
            _ => {
                self.variables.insert(name.to_owned(), text);
            }
        }
        Ok(())
    }
}

fn pairs<'a>(option: &'static str, texts: &'a [String]) -> Result<Vec<(&'a str, &'a str)>, GivenError> {
    let pairs = texts.iter().enumerate().map(|(i, text)| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(GivenError::NoPair { option, place: i + 1 }),
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::{Context, Given, GivenError};

    fn given(event: &str, variables: &[&str], secrets: &[&str]) -> Result<Context, GivenError> {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (variables, secrets) = (list(variables), list(secrets));
        Context::given(&Given {
            event: event.to_owned(),
            branch: "dev".to_owned(),
            variables,
            secrets,
            id_prefix: "x".to_owned(),
        })
    }

    #[test]
    fn what_a_context_knows_is_set_and_the_rest_are_variables() {
        let variables = ["CI_REPO=acme/shop", "CI_COMMIT_TAG=v1", "CI_PIPELINE_FILES=[\"a\"]", "COLOUR=a=b"];
        let context = given("tag", &variables, &["TOKEN=hunter2=x"]).unwrap();
        assert_eq!(context.event, Event::Tag);
        assert_eq!(context.repository.full_name(), "acme/shop");
        assert_eq!(context.commit.tag, "v1");
        assert_eq!(context.commit.changed_files.as_deref(), Some(&["a".to_owned()][..]));
        assert_eq!(context.variables["COLOUR"], "a=b");
        assert_eq!(context.secrets["TOKEN"].expose(), "hunter2=x");
        assert_eq!(context.repository.default_branch, "dev");
    }

    #[test]
    fn what_makes_no_sense_is_named_without_its_value() {
        assert_eq!(given("push", &[], &["hunter2"]).unwrap_err().to_string(), "--secret number 1 is not NAME=value");
        let error = given("push", &["CI_PIPELINE_NUMBER=x"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "CI_PIPELINE_NUMBER must be a number");
        assert!(given("psuh", &[], &[]).is_err());
    }
}
