//! The objects of one attempt at a step: its Secrets and its pod.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use piculet_core::id::{Attempt, StepIndex};
use piculet_core::workload::{Problem, Step, StepKind, Workload};
use serde_json::json;

use crate::environment::StepStart;
use crate::label::Identity;
use crate::names::{Names, StepNames, WorkflowNames};
use crate::object::Object;
use crate::options::StepOptions;
use crate::plan::{Context, PlanError};
use crate::settings::{AccessMode, Security, Settings};
use crate::{image, label, limits, names, pod, remedy, script};

/// Where a step's author writes its options.
const OPTIONS: &str = "backend_options.kubernetes";

/// The objects of one attempt at a step. `Debug` hides the values of its Secrets.
#[derive(Clone, PartialEq)]
pub struct StepObjects {
    /// To be created before the pod, which refers to them.
    pub secrets: Vec<Secret>,
    /// The pod.
    pub pod: Pod,
    /// The name of the container that the step is; others may be beside it.
    pub container: String,
    /// The line that the container's log begins with, if that is known.
    pub first_line: Option<String>,
    /// What the step's log has to say if the step fails because something was denied to it: it runs as a user whom its image
    /// may not know.
    pub if_denied: Option<String>,
    /// What the step's log has to say: fields that were left out, each with the reason and a stable code.
    pub notes: Vec<String>,
}

impl StepObjects {
    /// All objects, in the order in which they are to be created.
    pub fn into_objects(self) -> impl Iterator<Item = Object> {
        self.secrets.into_iter().map(Object::from).chain([Object::from(self.pod)])
    }
}

impl fmt::Debug for StepObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: Vec<_> = self.secrets.iter().map(|secret| secret.metadata.name.as_deref()).collect();
        f.debug_struct("StepObjects")
            .field("secrets", &secrets)
            .field("pod", &self.pod)
            .field("container", &self.container)
            .field("notes", &self.notes)
            .finish()
    }
}

/// What is the same for every attempt at a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) index: StepIndex,
    pub(crate) settings: &'a Settings,
    pub(crate) context: &'a Context,
    pub(crate) workflow: &'a WorkflowNames,
    pub(crate) names: &'a Names<'a>,
    pub(crate) start: &'a StepStart,
}

/// What [`Build::objects`] made.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) objects: StepObjects,
    pub(crate) mounts_workspace: bool,
}

/// What the parts of a pod are made from, and what they find wrong on the way.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) build: Build<'a>,
    pub(crate) step: &'a Step,
    pub(crate) settings: &'a Settings,
    pub(crate) names: StepNames,
    pub(crate) options: StepOptions,
    /// The operator's settings, as far as they hold for this step.
    pub(crate) security: Security,
    pub(crate) problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Draft<'_> {
    /// Something that can't be made; `field` is the step's.
    pub(crate) fn problem(&mut self, code: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { code, field: field.into(), message: message.into() });
    }

    /// Something that the step's log has to say.
    pub(crate) fn note(&mut self, code: &'static str, field: impl Into<String>, message: impl Into<String>) {
        let note = Problem { code, field: field.into(), message: message.into() };
        self.notes.push(note.to_string());
    }

    /// A field of the step's options that was left out.
    pub(crate) fn left_out(&mut self, option: &str, why: &str) {
        self.note("option-not-possible", format!("{OPTIONS}.{option}"), format!("{why}, so it was left out"));
    }

    /// Whether the step gets the workflow's workspace.
    pub(crate) fn mounts_workspace(&self) -> bool {
        let declined = self.step.spec.kind == StepKind::Service && self.options.workspace_volume == Some(false);
        !self.step.spec.workspace_base.is_empty() && !declined
    }

    /// Whether the step has to run on the node of the others that get it, because its volume is one for one node.
    pub(crate) fn shares_node_volume(&self) -> bool {
        self.settings.access_mode == AccessMode::Rwo && self.mounts_workspace()
    }
}

impl Build<'_> {
    /// Builds the objects and checks that they fit.
    pub(crate) fn objects(self, attempt: Attempt, owner: Option<&OwnerReference>) -> Result<Built, PlanError> {
        let step = self.workload.step(self.index);
        self.checked(step, attempt, owner).map_err(|mut problems| {
            for problem in &mut problems {
                problem.field = format!("step '{}': {}", step.spec.name, problem.field);
            }
            PlanError { problems }
        })
    }

    fn checked(self, step: &Step, attempt: Attempt, owner: Option<&OwnerReference>) -> Result<Built, Vec<Problem>> {
        let decoded = StepOptions::decode(OPTIONS, &step.spec.kubernetes, &self.settings.allow_from_step)?;
        let mut draft = Draft {
            build: self,
            step,
            settings: self.settings,
            names: self.names.of(self.index, attempt),
            security: pod::security_for(self.settings, step, &decoded.options),
            options: decoded.options,
            problems: Vec::new(),
            notes: decoded.notes.iter().map(Problem::to_string).collect(),
        };
        self.say_twin(&mut draft);
        let registry = registry_secret(&mut draft);
        let (spec, secret_values) = pod::spec(&mut draft, registry.is_some());
        let variables = (!secret_values.is_empty()).then(|| Secret {
            metadata: ObjectMeta { name: Some(draft.names.step_secret.clone()), ..ObjectMeta::default() },
            type_: Some("Opaque".to_owned()),
            immutable: Some(true),
            data: Some(secret_values),
            ..Secret::default()
        });
        let mut pod = Pod {
            metadata: ObjectMeta { name: Some(draft.names.pod.clone()), ..ObjectMeta::default() },
            spec: Some(spec),
            status: None,
        };
        let labels = self.labels(&draft);
        let identity = self.identity(step, attempt).annotations();
        let stamp = |metadata: &mut ObjectMeta| {
            metadata.namespace = Some(self.settings.namespace.clone());
            metadata.labels = Some(labels.clone());
            metadata.annotations = Some(identity.clone());
            metadata.owner_references = owner.map(|owner| vec![owner.clone()]);
        };
        stamp(&mut pod.metadata);
        let labels_of_pod = pod.metadata.labels.get_or_insert_default();
        labels_of_pod.extend(users_labels(&draft));
        if draft.shares_node_volume() {
            labels_of_pod.insert(label::NODE_VOLUME.to_owned(), label::NODE_VOLUME_SHARED.to_owned());
        }
        pod.metadata.annotations = Some(annotations(&draft, identity.clone()));
        let mut secrets: Vec<_> = registry.into_iter().chain(variables).collect();
        for secret in &mut secrets {
            stamp(&mut secret.metadata);
            draft.problems.extend(limits::secret("secret_environment", secret));
        }
        for object in secrets.iter().cloned().map(Object::from).chain([Object::from(pod.clone())]) {
            draft.problems.extend(limits::object("environment", &object));
        }
        if !draft.problems.is_empty() {
            return Err(draft.problems);
        }
        let mounts_workspace = draft.mounts_workspace();
        let runs_script = step.spec.entrypoint.is_empty();
        let first_line = script::first_line(&step.spec.commands).filter(|_| runs_script);
        let if_denied = pod.spec.as_ref().and_then(remedy::if_denied);
        let Draft { names: StepNames { container, .. }, notes, .. } = draft;
        Ok(Built { objects: StepObjects { secrets, pod, container, first_line, if_denied, notes }, mounts_workspace })
    }

    fn identity(&self, step: &Step, attempt: Attempt) -> Identity {
        Identity {
            server: self.context.server.clone(),
            workflow: self.workload.id.clone(),
            epoch: self.context.epoch,
            step: Some((step.id.clone(), attempt)),
        }
    }

    /// The labels that the agent gives to all objects of a step.
    fn labels(&self, draft: &Draft<'_>) -> BTreeMap<String, String> {
        let mut labels = label::of_workflow(self.workload, &self.workflow.key, self.settings.allow_from_step.labels);
        let step = names::label_value(&draft.step.spec.name);
        labels.insert(label::STEP.to_owned(), step.clone());
        labels.insert(label::STEP_LEGACY.to_owned(), step);
        if draft.step.spec.kind == StepKind::Service {
            labels.insert(label::SERVICE.to_owned(), names::label_value(&draft.names.pod));
        }
        labels
    }

    fn say_twin(&self, draft: &mut Draft<'_>) {
        if let Some(twin) = self.names.host_twin(self.index) {
            let message = format!(
                "the step '{}' gets the same host name; who asks for it may reach either of the two",
                twin.spec.name
            );
            draft.note("host-name-shared", "name", message);
        }
    }
}

/// The labels that the step and the operator want on the pod. Neither can take one of the agent's own.
fn users_labels(draft: &Draft<'_>) -> BTreeMap<String, String> {
    let mut labels = draft.options.labels.clone();
    labels.extend(draft.settings.pod_labels.clone());
    labels.retain(|key, _| !label::is_reserved(key));
    labels
}

fn annotations(draft: &Draft<'_>, identity: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut annotations = draft.options.annotations.clone();
    annotations.extend(draft.settings.pod_annotations.clone());
    annotations.extend(identity);
    annotations
}

/// The credentials for the image's registry, if the step has them.
fn registry_secret(draft: &mut Draft<'_>) -> Option<Secret> {
    let auth = draft.step.spec.registry_auth.as_ref()?;
    if auth.username.is_empty() || auth.password.expose().is_empty() {
        return None;
    }
    let image = draft.step.spec.image.trim();
    let Some(registry) = image::registry(image) else {
        draft.problem(
            "image-registry",
            "image",
            format!("{image:?} names no registry that the credentials could be for"),
        );
        return None;
    };
    let entry = json!({ "username": auth.username, "password": auth.password.expose() });
    let config = json!({ "auths": { registry: entry } });
    let data = BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(config.to_string().into_bytes()))]);
    Some(Secret {
        metadata: ObjectMeta { name: Some(draft.names.registry_secret.clone()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        immutable: Some(true),
        data: Some(data),
        ..Secret::default()
    })
}
