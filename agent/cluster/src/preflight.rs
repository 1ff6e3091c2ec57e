//! What the agent may do, asked before it is needed.

use std::fmt;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use piculet_pods::settings::Isolation;

use crate::attempts::CallError;
use crate::cluster::Cluster;
use crate::identity::SYSTEM_NAMESPACE;

/// How many rights are asked for at once.
const AT_ONCE: usize = 16;

/// What anchors are.
const ANCHORS: &str = "configmaps";

/// Rights that no workflow runs without.
const REQUIRED: &[(&str, &[&str])] = &[
    ("pods", &["create", "get", "list", "watch", "delete"]),
    ("pods/log", &["get"]),
    ("persistentvolumeclaims", &["create"]),
    ("services", &["create"]),
    ("secrets", &["create"]),
];

const ANCHOR: &str = "nothing owns the objects of a workflow, so what it leaves behind stays if the agent is killed";
const TAKE_OVER: &str =
    "an agent that gets a workflow of another one can't say so, and that one may take its pods away";
const RECOGNISE: &str = "an object that is there already is taken for the workflow's own without a look at whose it is";
const SWEEP: &str = "at a workflow's end only what this agent knows of is removed, and what the anchor owned";
const DELETE: &str = "what a workflow made waits for the cluster's garbage collector";
const EVENTS: &str = "while a pod waits its step's log says only what stands in the pod itself";
const IDENTITY: &str = "the identity of the cluster is unknown to piculet's own server";
const PLATFORMS: &str =
    "the platforms of the nodes are unknown, and piculet's own server places no workflow here that asks for one";

/// Where workflows run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// In the [`Cluster`]'s own namespace.
    OneNamespace,
    /// In a namespace for each organization: see [`Cluster::in_namespace`]. Which ones nobody knows before.
    ManyNamespaces,
}

/// What a right is needed on.
#[derive(Debug, Clone, Copy)]
enum Scope {
    /// Any object where workflows run.
    Workflows,
    /// This one namespace itself.
    Namespace(&'static str),
    /// Any object of the cluster.
    Cluster,
}

/// What keeps workflows apart from others.
const POLICIES: &str = "networkpolicies";

/// Rights that no workflow runs without that is to be kept apart from others: it must not run in the open.
const ISOLATION_REQUIRED: &[(&str, &[&str])] = &[("networkpolicies", &["create"])];
/// Rights that something is lost without, then.
const ISOLATION: &[(&str, &str, Scope, &str)] = &[
    ("networkpolicies", "get", Scope::Workflows, RECOGNISE),
    ("networkpolicies", "list", Scope::Workflows, SWEEP),
    ("networkpolicies", "delete", Scope::Workflows, DELETE),
];

const NAMESPACES: &str = "no workflow can run of an organization whose namespace does not exist already";
/// Rights to make the namespaces of organizations.
const MANY: &[(&str, &str, Scope, &str)] =
    &[("namespaces", "get", Scope::Cluster, NAMESPACES), ("namespaces", "create", Scope::Cluster, NAMESPACES)];

/// Rights that something is lost without.
const OPTIONAL: &[(&str, &str, Scope, &str)] = &[
    (ANCHORS, "create", Scope::Workflows, ANCHOR),
    (ANCHORS, "get", Scope::Workflows, RECOGNISE),
    (ANCHORS, "patch", Scope::Workflows, TAKE_OVER),
    (ANCHORS, "delete", Scope::Workflows, DELETE),
    ("persistentvolumeclaims", "get", Scope::Workflows, RECOGNISE),
    ("services", "get", Scope::Workflows, RECOGNISE),
    ("secrets", "get", Scope::Workflows, RECOGNISE),
    (ANCHORS, "list", Scope::Workflows, SWEEP),
    ("persistentvolumeclaims", "list", Scope::Workflows, SWEEP),
    ("services", "list", Scope::Workflows, SWEEP),
    ("secrets", "list", Scope::Workflows, SWEEP),
    ("persistentvolumeclaims", "delete", Scope::Workflows, DELETE),
    ("services", "delete", Scope::Workflows, DELETE),
    ("secrets", "delete", Scope::Workflows, DELETE),
    ("events", "list", Scope::Workflows, EVENTS),
    ("events", "watch", Scope::Workflows, EVENTS),
    ("namespaces", "get", Scope::Namespace(SYSTEM_NAMESPACE), IDENTITY),
    ("nodes", "list", Scope::Cluster, PLATFORMS),
];

/// What the agent may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// Every right that is used, the required ones first.
    pub rights: Vec<Right>,
    /// Why the API server would not even create a Secret, though the agent may: the namespace doesn't exist or is
    /// going, a quota is used up, or an admission policy is against it. A sentence. Not known for many namespaces.
    pub obstacle: Option<String>,
}

/// One right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// For example `create`.
    pub verb: &'static str,
    /// For example `pods` or `pods/log`.
    pub resource: &'static str,
    /// The namespace that it is needed in; `None`: the whole cluster.
    pub namespace: Option<String>,
    /// The only object that it is needed for; `None`: any.
    pub name: Option<&'static str>,
    /// What it is needed for.
    pub need: Need,
    /// Whether the agent has it.
    pub access: Access,
}

/// What a right is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No workflow runs without it.
    Required,
    /// Something is lost without it.
    Optional {
        /// What: a sentence without its full stop.
        lost: &'static str,
    },
    /// Where workflows run in many namespaces: something is lost in those whose own Role doesn't give it.
    InEach {
        /// What: as above.
        lost: &'static str,
    },
}

/// Whether the agent has a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It has.
    Allowed,
    /// It has not.
    Denied,
    /// The API server would not say.
    Unknown {
        /// Its words.
        message: String,
    },
}

impl Preflight {
    /// The required rights that are denied.
    pub fn missing(&self) -> impl Iterator<Item = &Right> {
        self.rights.iter().filter(|right| right.need == Need::Required && right.access == Access::Denied)
    }

    /// The optional rights that are denied. Who may make no anchor misses no other right on anchors.
    pub fn reduced(&self) -> impl Iterator<Item = &Right> {
        let on_anchors = |right: &Right| right.resource == ANCHORS;
        let denied = |right: &Right| right.need != Need::Required && right.access == Access::Denied;
        let makes_none = self.rights.iter().any(|right| on_anchors(right) && right.verb == "create" && denied(right));
        self.rights
            .iter()
            .filter(move |right| denied(right) && !(makes_none && on_anchors(right) && right.verb != "create"))
    }

    /// Whether workflows can run.
    pub fn is_sufficient(&self) -> bool {
        self.missing().next().is_none() && self.obstacle.is_none()
    }
}

impl fmt::Display for Right {
    /// A sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, namespace, name, need, access } = self;
        let not = match access {
            Access::Allowed => "may",
            Access::Denied => "may not",
            Access::Unknown { .. } => "perhaps may",
        };
        write!(f, "The agent {not} {verb} {resource} ")?;
        match (name, namespace) {
            (Some(name), _) => write!(f, "named '{name}'")?,
            (None, Some(namespace)) => write!(f, "in namespace '{namespace}'")?,
            (None, None) => f.write_str("in the whole cluster")?,
        }
        match (access, need) {
            (Access::Allowed, _) => f.write_str("."),
            (Access::Denied, Need::Required) => f.write_str(": no workflow can run. Extend its Role."),
            (Access::Denied, Need::Optional { lost }) => write!(f, ": {lost}."),
            (Access::Denied, Need::InEach { lost }) => {
                write!(f, ": in a namespace whose own Role does not allow it either, {lost}.")
            }
            (Access::Unknown { message }, _) => write!(f, ": the API server would not say ({message})."),
        }
    }
}

impl Cluster {
    /// Asks the API server for every right that this crate uses, some at a time, and for a creation on trial. Of NetworkPolicies
    /// only if each workflow is to have one.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn preflight(&self, places: Places, isolation: Isolation) -> Result<Preflight, CallError> {
        let (workflows, need, more) = match places {
            Places::OneNamespace => (Scope::Workflows, Need::Required, [].as_slice()),
            Places::ManyNamespaces => (Scope::Cluster, Need::InEach { lost: "no workflow can run" }, MANY),
        };
        // Boxed: the compiler can't see that a stream of plain ones may move between threads.
        let mut questions: Vec<BoxFuture<'_, Result<Right, CallError>>> = Vec::new();
        let (also_required, also): (&[(_, &[_])], &[_]) =
            if isolation == Isolation::Off { (&[], &[]) } else { (ISOLATION_REQUIRED, ISOLATION) };
        for (resource, verbs) in REQUIRED.iter().chain(also_required) {
            for verb in *verbs {
                questions.push(Box::pin(self.right(resource, verb, workflows, need)));
            }
        }
        for (resource, verb, scope, lost) in OPTIONAL.iter().chain(also).chain(more) {
            let (scope, need) = match (scope, places) {
                (Scope::Workflows, Places::ManyNamespaces) => (workflows, Need::InEach { lost }),
                _ => (*scope, Need::Optional { lost }),
            };
            questions.push(Box::pin(self.right(resource, verb, scope, need)));
        }
        let rights = stream::iter(questions).buffered(AT_ONCE).try_collect().await?;
        let mut preflight = Preflight { rights, obstacle: None };
        if places == Places::OneNamespace && preflight.is_sufficient() {
            preflight.obstacle = self.obstacle().await?;
        }
        Ok(preflight)
    }

    /// Creates a Secret on trial: a dry run passes authorisation and admission, and stores nothing.
    async fn obstacle(&self) -> Result<Option<String>, CallError> {
        let namespace = self.namespace();
        let api = Api::<Secret>::namespaced(self.client().clone(), namespace);
        let metadata = ObjectMeta { generate_name: Some("piculet-check-".to_owned()), ..ObjectMeta::default() };
        let trial = Secret { metadata, ..Secret::default() };
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let attempts = self.attempts(format!("try to create a Secret in the namespace '{namespace}'"));
        match attempts.ask(|| api.create(&params, &trial)).await {
            Ok(_) => Ok(None),
            Err(CallError::Refused { code: 404, .. }) => Ok(Some(format!(
                "The namespace '{namespace}' does not exist: no workflow can run. Create it, or name another in pods.namespace."
            ))),
            Err(CallError::Refused { message, .. }) => Ok(Some(format!(
                "Nothing can be created in the namespace '{namespace}': no workflow can run. The API server says: {message}"
            ))),
            Err(error) => Err(error),
        }
    }

    async fn right(
        &self,
        resource: &'static str,
        verb: &'static str,
        scope: Scope,
        need: Need,
    ) -> Result<Right, CallError> {
        let (namespace, name) = match scope {
            Scope::Workflows => (Some(self.namespace().to_owned()), None),
            Scope::Namespace(name) => (None, Some(name)),
            Scope::Cluster => (None, None),
        };
        let access = self.access(resource, verb, scope).await?;
        Ok(Right { verb, resource, namespace, name, need, access })
    }

    async fn access(&self, resource: &str, verb: &str, scope: Scope) -> Result<Access, CallError> {
        let api = Api::<SelfSubjectAccessReview>::all(self.client().clone());
        let (kind, subresource) = match resource.split_once('/') {
            Some((kind, subresource)) => (kind, Some(subresource.to_owned())),
            None => (resource, None),
        };
        let (namespace, name) = match scope {
            Scope::Workflows => (Some(self.namespace()), None),
            // To the API server a request for a namespace is one in it.
            Scope::Namespace(name) => (Some(name), Some(name)),
            Scope::Cluster => (None, None),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(if kind == POLICIES { "networking.k8s.io" } else { "" }.to_owned()),
                    resource: Some(kind.to_owned()),
                    subresource,
                    verb: Some(verb.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    name: name.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let attempts = self.attempts(format!("say whether the agent may {verb} {resource}"));
        let params = PostParams::default();
        match attempts.ask(|| api.create(&params, &review)).await {
            Ok(answer) => Ok(verdict(answer.status)),
            Err(CallError::Refused { message, .. }) => Ok(Access::Unknown { message }),
            Err(error) => Err(error),
        }
    }
}

fn verdict(status: Option<SubjectAccessReviewStatus>) -> Access {
    match status {
        Some(SubjectAccessReviewStatus { allowed: true, .. }) => Access::Allowed,
        Some(SubjectAccessReviewStatus { evaluation_error: Some(message), .. }) => Access::Unknown { message },
        Some(_) => Access::Denied,
        None => Access::Unknown { message: "an empty answer".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Need, Preflight, Right};

    fn right(need: Need, access: Access) -> Right {
        Right { verb: "list", resource: "pods", namespace: Some("ci".to_owned()), name: None, need, access }
    }

    #[test]
    fn rights_are_sentences() {
        let lost = "something is lost";
        let unknown = Access::Unknown { message: "webhook down".to_owned() };
        for (right, sentence) in [
            (right(Need::Required, Access::Allowed), "The agent may list pods in namespace 'ci'."),
            (
                right(Need::Required, Access::Denied),
                "The agent may not list pods in namespace 'ci': no workflow can run. Extend its Role.",
            ),
            (
                Right { namespace: None, ..right(Need::Optional { lost }, Access::Denied) },
                "The agent may not list pods in the whole cluster: something is lost.",
            ),
            (
                Right { namespace: None, ..right(Need::InEach { lost }, Access::Denied) },
                "The agent may not list pods in the whole cluster: in a namespace whose own Role does not allow it either, \
                 something is lost.",
            ),
            (
                Right { namespace: None, name: Some("one"), ..right(Need::Optional { lost }, Access::Denied) },
                "The agent may not list pods named 'one': something is lost.",
            ),
            (
                right(Need::Required, unknown),
                "The agent perhaps may list pods in namespace 'ci': the API server would not say (webhook down).",
            ),
        ] {
            assert_eq!(right.to_string(), sentence);
        }
    }

    #[test]
    fn only_a_required_right_stops_the_agent() {
        let lost = "something";
        let mut preflight = Preflight { rights: vec![right(Need::Optional { lost }, Access::Denied)], obstacle: None };
        assert!(preflight.is_sufficient());
        assert_eq!(preflight.reduced().count(), 1);
        preflight.rights.push(right(Need::Required, Access::Denied));
        assert!(!preflight.is_sufficient());
    }
}
