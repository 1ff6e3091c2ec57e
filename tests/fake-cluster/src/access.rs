//! Who may do what: the rules of a role, and the words of a refusal.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::Verb;
use crate::failure::Failure;
use crate::kind::Kind;

/// One rule of a role: these verbs on these resources of these groups. `*` stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The namespace in which it holds; `None` is everywhere, and also the cluster's own scope.
    pub namespace: Option<String>,
    /// API groups; the core group is the empty name.
    pub groups: Vec<String>,
    /// Resources, for example `pods` or `pods/log`.
    pub resources: Vec<String>,
    /// Names of objects; empty is all.
    pub names: Vec<String>,
    /// Verbs, for example `get`.
    pub verbs: Vec<String>,
}

impl Rule {
    /// A rule for all objects of some resources of the core group, everywhere.
    #[must_use]
    pub fn new(resources: &[&str], verbs: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            namespace: None,
            groups: vec![String::new()],
            resources: owned(resources),
            names: Vec::new(),
            verbs: owned(verbs),
        }
    }

    /// The rule for another API group.
    #[must_use]
    pub fn of_group(mut self, group: &str) -> Self {
        self.groups = vec![group.to_owned()];
        self
    }

    /// The rule in one namespace alone.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// A rule that allows everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::new(&["*"], &["*"]).of_group("*")
    }

    pub(crate) fn allows(&self, attempt: &Attempt<'_>) -> bool {
        let has = |words: &[String], wanted: &str| words.iter().any(|word| word == "*" || word == wanted);
        self.namespace.as_deref().is_none_or(|namespace| namespace == attempt.namespace)
            && has(&self.groups, attempt.group)
            && has(&self.resources, attempt.resource)
            && has(&self.verbs, attempt.verb)
            && (self.names.is_empty() || self.names.iter().any(|name| name == attempt.name))
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// With its part, for example `pods/log`.
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// The rules of every user. A user without rules may do everything.
#[derive(Debug, Default)]
pub struct Access {
    rules: Mutex<HashMap<String, Vec<Rule>>>,
}

impl Access {
    /// From now on `user` may do only what `rules` allow.
    pub fn restrict(&self, user: &str, rules: Vec<Rule>) {
        self.lock().insert(user.to_owned(), rules);
    }

    /// From now on `user` may do everything again.
    pub fn lift(&self, user: &str) {
        self.lock().remove(user);
    }

    pub(crate) fn rules_of(&self, user: &str) -> Vec<Rule> {
        self.lock().get(user).cloned().unwrap_or_else(|| vec![Rule::everything()])
    }

    pub(crate) fn allows(&self, user: &str, attempt: &Attempt<'_>) -> bool {
        self.lock().get(user).is_none_or(|rules| rules.iter().any(|rule| rule.allows(attempt)))
    }

    /// Refuses what `user` may not do, as the API server words it.
    pub(crate) fn check(
        &self,
        user: &str,
        verb: Verb,
        kind: Kind,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), Failure> {
        let attempt = Attempt { verb: verb.name(), group: kind.group(), resource, namespace, name };
        if self.allows(user, &attempt) {
            return Ok(());
        }
        let scope = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        let why = format!(
            "User {user:?} cannot {} resource {resource:?} in API group {:?} {scope}",
            verb.name(),
            kind.group()
        );
        Err(Failure::forbidden(kind, name, why))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Rule>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
